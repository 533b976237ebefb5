# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Launch files and the RViz configuration name things that exist.

Where the launch packages of a ROS 2 distribution can be imported, the files are also loaded.
"""

from __future__ import annotations

import ast
import importlib.util
import re
import runpy
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from roborefer_ros.camera_presets import preset_names
from roborefer_ros.errors import ConfigurationError
from roborefer_ros.nodes.parameter_table import PARAMETERS

ROOT = Path(__file__).resolve().parents[2]
LAUNCH = sorted((ROOT / "launch").glob("*.launch.py"))
MAIN = (ROOT / "launch" / "roborefer.launch.py").read_text()


def calls(path: Path, name: str) -> list[dict[str, Any]]:
    """Keyword arguments that are literals, of every call of a function."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == name:
            found.append(
                {k.arg: k.value.value for k in node.keywords if isinstance(k.value, ast.Constant)}
            )
    return found


def test_executables_are_installed() -> None:
    scripts = (ROOT / "setup.py").read_text()
    nodes = [n for path in LAUNCH for kind in ("Node", "LifecycleNode") for n in calls(path, kind)]
    ours = [node for node in nodes if node.get("package") == "roborefer_ros"]
    assert {node["executable"] for node in ours} == {
        "roborefer_node",
        "sim_camera_node",
        "replay_camera_node",
    }
    for node in ours:
        assert f'"{node["executable"]} = ' in scripts


def test_overrides_are_parameters() -> None:
    tree = ast.parse(MAIN)
    (overrides,) = (
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "OVERRIDES"
    )
    assert set(overrides) <= {spec.name for spec in PARAMETERS}
    declared = re.findall(r'argument\(\s*"(\w+)"', MAIN)
    assert set(overrides) <= set(declared)
    # The demo passes only what the main file declares.
    demo = (ROOT / "launch" / "demo.launch.py").read_text()
    passed = re.search(r"launch_arguments=\{(.*?)\}\.items", demo, re.DOTALL)
    assert passed is not None
    assert set(re.findall(r'"(\w+)":', passed[1])) <= set(declared)


def test_all_presets_are_named() -> None:
    readme = (ROOT / "README.md").read_text()
    for name in preset_names():
        assert name in MAIN
        assert f"`{name}`" in readme


def test_rviz_shows_topics_of_the_node() -> None:
    config = yaml.safe_load((ROOT / "rviz" / "roborefer.rviz").read_text())
    visualization = (ROOT / "roborefer_ros/nodes/visualization.py").read_text()
    preset = yaml.safe_load((ROOT / "config/cameras/simulation.yaml").read_text())
    topics = [
        display["Topic"]["Value"]
        for display in config["Visualization Manager"]["Displays"]
        if "Topic" in display
    ]
    assert len(topics) >= 5
    for topic in topics:
        if topic.startswith("/roborefer/"):
            assert f'"~/{topic.removeprefix("/roborefer/")}"' in visualization
        else:
            assert topic in preset["remappings"].values()


class Recorded:
    """Stands for a launch action or substitution; keeps what it was made with."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.args, self.kwargs = args, kwargs

    def perform(self, context: dict[str, str]) -> str:
        """The value of a ``LaunchConfiguration``."""
        return context[self.args[0]]


@pytest.fixture
def launch(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Recorded]:
    """``roborefer.launch.py`` with the launch packages recorded: arguments -> its main node."""
    for module, names in {
        "ament_index_python.packages": (),
        "launch": ("LaunchDescription",),
        "launch.actions": (
            "DeclareLaunchArgument",
            "LogInfo",
            "OpaqueFunction",
            "SetEnvironmentVariable",
        ),
        "launch.substitutions": ("LaunchConfiguration",),
        "launch_ros.actions": ("Node",),
    }.items():
        stub: Any = types.ModuleType(module)
        for name in names:
            setattr(stub, name, type(name, (Recorded,), {}))
        monkeypatch.setitem(sys.modules, module, stub)
        parent, _, _ = module.rpartition(".")
        if parent not in ("", "launch"):
            monkeypatch.setitem(sys.modules, parent, types.ModuleType(parent))
    sys.modules["launch_ros.actions"].LifecycleNode = type("LifecycleNode", (Recorded,), {})
    sys.modules["ament_index_python.packages"].get_package_share_directory = lambda _: str(ROOT)
    sys.modules["ament_index_python.packages"].PackageNotFoundError = LookupError
    absent: set[str] = set()

    def prefix(package: str) -> str:
        if package in absent:
            raise LookupError(package)
        return "/opt/ros"

    sys.modules["ament_index_python.packages"].get_package_prefix = prefix
    content = runpy.run_path(str(ROOT / "launch" / "roborefer.launch.py"))

    def start(*, kind: str = "LifecycleNode", has_rviz: bool = True, **arguments: str) -> Recorded:
        absent.update(() if has_rviz else ("rviz2",))
        entities = content["generate_launch_description"]().args[0]
        declared = [e for e in entities if type(e).__name__ == "DeclareLaunchArgument"]
        values = {e.args[0]: e.kwargs["default_value"] for e in declared}
        assert set(arguments) <= set(values)
        actions = content["launch_nodes"]({**values, **arguments})
        assert sum(type(a).__name__ == "LifecycleNode" for a in actions) == 1
        (action,) = (a for a in actions if type(a).__name__ == kind)
        return action

    return start


def test_arguments_reach_the_node(launch: Callable[..., Recorded]) -> None:
    node = launch(
        camera="zed",
        camera_namespace="/",
        rgb_topic="/mine",
        imu_topic="/my_imu",
        model="echo",
        target_frame="base_link",
        namespace="arm",
        node_name="pointer",
        use_sim_time="true",
        log_level="debug",
    ).kwargs
    assert (node["namespace"], node["name"]) == ("arm", "pointer")
    assert node["arguments"][:3] == ["--ros-args", "--log-level", "debug"]
    remappings = dict(node["remappings"])
    assert remappings["rgb/image"] == "/mine"
    assert remappings["imu"] == "/my_imu"
    assert remappings["depth/image"] == "/zed/zed_node/depth/depth_registered"
    assert node["parameters"][-1] == {
        "model": "echo",
        "target_frame": "base_link",
        "use_sim_time": True,
    }


def test_a_parameter_file_wins_over_the_preset(
    launch: Callable[..., Recorded], tmp_path: Path
) -> None:
    """Only by "/**" can a file win over what was said before it; a name would win over both."""
    mine = tmp_path / "mine.yaml"
    mine.write_text("/**:\n  ros__parameters:\n    model: echo\n")
    node = launch(camera="azure_kinect", params_file=str(mine), device="cpu").kwargs
    assert node["parameters"] == [str(mine), {"device": "cpu"}]
    shipped = str(ROOT / "config" / "roborefer.yaml")
    at = node["arguments"].index("--params-file")
    assert node["arguments"][at + 1] == shipped
    assert node["arguments"][at + 2 : at + 4] == ["-p", "sync_slop_s:=0.03"]
    bare = launch(camera="zed", model="echo").kwargs
    assert bare["parameters"] == [{"model": "echo"}]
    assert "rgb_is_rectified:=true" in bare["arguments"]


def test_a_model_must_be_chosen(launch: Callable[..., Recorded], tmp_path: Path) -> None:
    """The bundled network must never drive a robot unasked."""
    with pytest.raises(ConfigurationError, match="model:=") as caught:
        launch()
    for choice in ("roborefer:demo", "echo", "roborefer:Zhoues/RoboRefer-2B-SFT", "roborefer-http"):
        assert choice in str(caught.value)
    without = tmp_path / "mine.yaml"
    without.write_text("/**:\n  ros__parameters:\n    device: cpu\n")
    with pytest.raises(ConfigurationError, match="model:="):
        launch(params_file=str(without))


def test_a_parameter_file_must_be_there(launch: Callable[..., Recorded]) -> None:
    with pytest.raises(ConfigurationError, match="/nowhere.yaml"):
        launch(model="echo", params_file="/nowhere.yaml")


def test_simulated_time_is_left_to_others_unless_given(launch: Callable[..., Recorded]) -> None:
    assert "use_sim_time" not in launch(model="echo").kwargs["parameters"][0]
    assert launch(model="echo", use_sim_time="false").kwargs["parameters"][0] == {
        "model": "echo",
        "use_sim_time": False,
    }
    with pytest.raises(ConfigurationError, match="use_sim_time"):
        launch(model="echo", use_sim_time="yes please")


def test_respawn(launch: Callable[..., Recorded]) -> None:
    node = launch(model="echo", respawn="true", respawn_delay="1.5").kwargs
    assert (node["respawn"], node["respawn_delay"]) == (True, 1.5)
    assert launch(model="echo").kwargs["respawn"] is False


def test_topics_follow_the_names(launch: Callable[..., Recorded]) -> None:
    node = launch(
        model="echo",
        namespace="robot1",
        camera_name="d435",
        depth_camera_info_topic="/depth_info",
    ).kwargs
    remappings = dict(node["remappings"])
    assert remappings["rgb/image"] == "/robot1/camera/d435/color/image_raw"
    assert remappings["depth/camera_info"] == "/depth_info"


def test_rviz_follows_the_node(launch: Callable[..., Recorded]) -> None:
    node = launch(
        kind="Node", model="echo", rviz="true", namespace="robot1", target_frame="arm_base"
    )
    content = yaml.safe_load(Path(node.kwargs["arguments"][1]).read_text())["Visualization Manager"]
    topics = {d["Topic"]["Value"] for d in content["Displays"] if "Topic" in d}
    assert "/robot1/roborefer/markers" in topics
    assert "/robot1/camera/camera/color/image_raw" in topics
    assert all(topic.startswith("/robot1/") for topic in topics)
    assert content["Global Options"]["Fixed Frame"] == "arm_base"


def test_without_rviz_the_node_starts(launch: Callable[..., Recorded]) -> None:
    warning = launch(kind="LogInfo", has_rviz=False, model="echo", rviz="true")
    assert "rviz2" in warning.kwargs["msg"]


@pytest.mark.skipif(
    importlib.util.find_spec("launch_ros") is None, reason="launch comes with a ROS 2 distribution"
)
@pytest.mark.parametrize("path", LAUNCH, ids=lambda path: path.name)
def test_files_load(path: Path) -> None:
    description = runpy.run_path(str(path))["generate_launch_description"]()
    assert description.entities
