# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Facts that are written down in more than one place agree."""

from __future__ import annotations

import ast
import re
import runpy
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import setuptools
import yaml

import roborefer_ros
from roborefer_ros.errors import ERRORS_BY_CODE
from roborefer_ros.types import Mode, PointFlag

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "roborefer_ros"
ACTION = (ROOT / "roborefer_msgs/action/ReferPoint.action").read_text()
POINT = (ROOT / "roborefer_msgs/msg/ReferredPoint.msg").read_text()

#: Python module -> rosdep key, where they differ
ROSDEP_KEYS = {
    "tf2_ros": "tf2_ros_py",
    "numpy": "python3-numpy",
    "cv2": "python3-opencv",
    "PIL": "python3-pil",
    "yaml": "python3-yaml",
}
#: from pip, in extras: rosdep has no keys, or the distributions' versions are too old
FROM_PIP = {
    "rosbags",
    "torch",
    "transformers",
    "tokenizers",
    "safetensors",
    "huggingface_hub",
    "open3d",
}
FROM_PIP |= {"httpx", "fastapi", "uvicorn", "pyarrow", "jinja2", "tqdm", "matplotlib", "shapely"}
FROM_PIP |= {
    "simplejpeg",
    "starlette",
    "pydantic",
    "pydantic_core",
    "prometheus_client",
    "ray",
    "peft",
    "wandb",
    "mujoco",
    "mink",
    "scipy",
}
#: folders and files that may know ROS
ROS_SIDE = ("nodes", "ros_compat", "client.py")


@pytest.fixture(scope="module")
def setup_arguments() -> dict[str, Any]:
    """What setup.py passes to setuptools."""
    captured: dict[str, Any] = {}
    patch = pytest.MonkeyPatch()
    patch.setattr(setuptools, "setup", lambda **kwargs: captured.update(kwargs))
    patch.chdir(ROOT)
    runpy.run_path(str(ROOT / "setup.py"))
    patch.undo()
    return captured


def package_xml(folder: Path) -> ET.Element:
    return ET.parse(folder / "package.xml").getroot()


def constants(text: str, prefix: str = "") -> dict[str, int]:
    found = re.findall(rf"^u?int\d+ ({prefix}[A-Z0-9_]+)=(\d+)", text, re.MULTILINE)
    return {name.removeprefix(prefix): int(value) for name, value in found}


def imports(path: Path) -> Iterator[str]:
    """Top-level modules that a file imports, except those of type checking only."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module.partition(".")[0]


def package_files() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


# --- versions and metadata -------------------------------------------------------------


def test_versions_agree(setup_arguments: dict[str, Any]) -> None:
    changelog = re.search(
        r"^(\d+\.\d+\.\d+) \(", (ROOT / "CHANGELOG.rst").read_text(), re.MULTILINE
    )
    assert changelog is not None
    assert {
        "package.xml": package_xml(ROOT).findtext("version"),
        "roborefer_msgs": package_xml(ROOT / "roborefer_msgs").findtext("version"),
        "setup.py": setup_arguments["version"],
        "CHANGELOG.rst": changelog[1],
    } == dict.fromkeys(
        ("package.xml", "roborefer_msgs", "setup.py", "CHANGELOG.rst"), roborefer_ros.__version__
    )


@pytest.mark.parametrize("folder", [".", "roborefer_msgs", "roborefer_ros/ros_compat/tf2_msgs"])
def test_package_xml_is_valid(folder: str) -> None:
    catkin_pkg = pytest.importorskip("catkin_pkg.package")
    warnings: list[str] = []
    package = catkin_pkg.parse_package(str(ROOT / folder), warnings=warnings)
    assert not warnings
    assert package.licenses == ["Apache-2.0"]


def test_licence_file_is_the_licence() -> None:
    assert "Apache License\n" in (ROOT / "LICENSE").read_text()


def test_colcon_finds_the_nested_package() -> None:
    defaults = yaml.safe_load((ROOT / "colcon_defaults.yaml").read_text())
    assert {verb: options["base-paths"] for verb, options in defaults.items()} == dict.fromkeys(
        ("list", "build", "test"), [".", "roborefer_msgs"]
    )


# --- numbers and names -----------------------------------------------------------------


def test_error_numbers_are_those_of_the_action() -> None:
    def constant(name: str) -> str:
        return re.sub(r"(?<!^)(?=[A-Z])", "_", name.removesuffix("Error")).upper()

    in_action = {name: code for name, code in constants(ACTION).items() if code >= 2500}
    assert in_action == {constant(cls.__name__): code for code, cls in ERRORS_BY_CODE.items()}
    assert constants(ACTION)["NONE"] == 0


def test_modes_and_flags_are_those_of_the_messages() -> None:
    assert constants(ACTION, "MODE_") == {mode.name: mode.value for mode in Mode}
    assert constants(POINT, "FLAG_") == {
        name: flag.value for name, flag in PointFlag.__members__.items()
    }


# --- what gets installed ---------------------------------------------------------------


def test_no_file_is_forgotten_in_the_install(setup_arguments: dict[str, Any]) -> None:
    installed = {file for _, files in setup_arguments["data_files"] for file in files}
    assert all((ROOT / file).is_file() for file in installed)
    for folder in ("launch", "config", "rviz"):
        present = {
            str(path.relative_to(ROOT))
            for path in (ROOT / folder).rglob("*")
            if path.is_file() and "__pycache__" not in path.parts
        }
        assert present, f"{folder} is empty"
        assert present <= installed
    assert (ROOT / "resource/roborefer_ros").is_file()


def test_every_folder_of_code_is_a_package(setup_arguments: dict[str, Any]) -> None:
    folders = {str(path.parent.relative_to(ROOT)).replace("/", ".") for path in package_files()}
    assert folders == set(setup_arguments["packages"])


def test_data_files_of_the_package_are_included(setup_arguments: dict[str, Any]) -> None:
    patterns = setup_arguments["package_data"]["roborefer_ros"]
    included = {path for pattern in patterns for path in PACKAGE.glob(pattern) if path.is_file()}
    assert PACKAGE / "py.typed" in included
    weights = {path for path in (PACKAGE / "demo_checkpoint").rglob("*") if path.is_file()}
    assert weights <= included


def test_entry_points_exist(setup_arguments: dict[str, Any]) -> None:
    for script in setup_arguments["entry_points"]["console_scripts"]:
        _, _, target = script.partition(" = ")
        module, _, function = target.partition(":")
        path = ROOT / module.replace(".", "/")
        source = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        tree = ast.parse(source.read_text())
        functions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
        assert function in functions, script


# --- imports ---------------------------------------------------------------------------


def test_every_import_has_a_dependency() -> None:
    import sys

    keys = {element.text for element in package_xml(ROOT) if element.tag.endswith("depend")}
    known = set(sys.stdlib_module_names) | FROM_PIP | {"roborefer_ros", "__future__"}
    for path in package_files():
        for module in imports(path):
            if module not in known:
                assert ROSDEP_KEYS.get(module, module) in keys, f"{path.name} imports {module}"


def test_core_knows_no_ros() -> None:
    ros = {element.text for element in package_xml(ROOT) if element.tag == "exec_depend"}
    ros -= set(ROSDEP_KEYS.values())
    ros |= {"tf2_ros"}
    for path in package_files():
        if path.relative_to(PACKAGE).parts[0] not in ROS_SIDE:
            assert not ros & set(imports(path)), f"{path.relative_to(ROOT)} imports ROS"


def test_extras_and_requirement_files_agree(setup_arguments: dict[str, Any]) -> None:
    def names(lines: list[str]) -> set[str]:
        return {re.split(r"[<>=!\[ ]", line)[0].lower() for line in lines if line[:1].isalpha()}

    def read(name: str) -> set[str]:
        return names((ROOT / "requirements" / name).read_text().splitlines())

    extras = setup_arguments["extras_require"]
    core = setup_arguments["install_requires"] + extras["model"] + extras["sim"]
    installed = read("core.txt") | read("images.txt") | read("torch.txt")
    assert names(core) <= installed
    assert names(extras["dev"]) | names(extras["eval"]) == read("dev.txt") | (
        names(extras["eval"]) & installed
    )


def test_numpy_and_opencv_are_left_to_a_distribution() -> None:
    """What stands outside images.txt is installed above a ROS 2 distribution, too."""
    for path in (ROOT / "requirements").glob("*.txt"):
        if path.name != "images.txt":
            lines = path.read_text().splitlines()
            assert not [line for line in lines if re.match(r"numpy|opencv", line)], path.name


def test_colcon_finds_pytest_in_the_extra_that_it_looks_for(
    setup_arguments: dict[str, Any],
) -> None:
    names = {re.split(r" |<|=|>|!", line)[0] for line in setup_arguments["extras_require"]["test"]}
    assert "pytest" in names
