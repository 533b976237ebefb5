# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The examples run as they are, and the package's public names lead where they say."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import roborefer_ros
from roborefer_ros.camera_presets import load_preset
from roborefer_ros.lifting import LiftingOptions
from roborefer_ros.lifting.options import option_ranges

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"
#: run by tests of their own, since they ask somebody
ASKING = {"ask_once.py", "http_client.py"}


def run(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(EXAMPLES / name), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


@pytest.mark.parametrize("name", ["lift_without_ros.py", "own_model.py", "point_without_ros.py"])
def test_an_example_runs(name: str) -> None:
    done = run(name)
    assert done.returncode == 0, done.stderr
    assert " m" in done.stdout


def test_every_example_is_listed_and_run() -> None:
    files = {path.name for path in EXAMPLES.glob("*") if path.is_file()} - {"README.md"}
    listed = (EXAMPLES / "README.md").read_text()
    assert all(f"`{name}`" in listed for name in files)
    tested = {"lift_without_ros.py", "own_model.py", "point_without_ros.py", "own_camera.yaml"}
    assert files == tested | ASKING


def test_the_camera_preset_of_one_s_own_is_valid() -> None:
    preset = load_preset(str(EXAMPLES / "own_camera.yaml"))
    for name, value in preset.parameters.items():
        option = name.removeprefix("lifting.")
        if option in option_ranges():
            low, high = option_ranges()[option]
            assert low <= value <= high
        assert hasattr(LiftingOptions(), option)


def test_an_example_says_that_no_server_runs() -> None:
    done = run("http_client.py", "http://127.0.0.1:9", str(Path(__file__)), "the mug")
    assert done.returncode != 0


def test_public_names_are_imported_when_used() -> None:
    code = (
        "import sys, roborefer_ros as r\n"
        "assert not {'torch', 'rclpy', 'cv2', 'numpy'} & set(sys.modules), 'not lazy'\n"
        "for name in r.__all__:\n"
        "    if name != 'ReferPointClient':\n"
        "        assert getattr(r, name).__name__ == name, name\n"
        "assert set(r.__all__) <= set(dir(r))\n"
        "assert 'torch' not in sys.modules and 'rclpy' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_a_name_that_is_none_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = roborefer_ros.nonsense
