# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The example task against a simulated arm and the bundled network, each in its own process."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("mujoco", reason="the extra [arm] is not installed")
pytest.importorskip("mink", reason="the extra [arm] is not installed")

from roborefer_ros.camera_presets import load_preset
from roborefer_ros.demo.processes import Processes, private_environment

ROOT = Path(__file__).parents[2]
TASK = str(ROOT / "examples" / "pick_and_place" / "task.py")
WORDS = ["pick up the yellow bottle", "the free space right of the black box"]

pytestmark = pytest.mark.timeout(400)


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Processes]:
    private_environment()
    from roborefer_ros.nodes.camera_monitor import CameraMonitor

    preset = load_preset("simulation")
    with Processes(tmp_path_factory.mktemp("logs")) as processes:
        processes.start(
            "camera", "roborefer_ros.nodes.arm_node", {}, {"scene": 5, "robot": "gripper"}
        )
        frames = {"target_frame": "base_link", "up_frame": "base_link"}
        processes.start(
            "roborefer",
            "roborefer_ros.nodes.refer_node",
            preset.remappings,
            {"model": "roborefer:demo", **frames, **preset.parameters},
        )
        view = CameraMonitor("/camera", preset.remappings)
        processes.wait_for("camera", view.has_frame, 200.0)
        processes.wait_for("model", lambda: view.state_of("/roborefer") == "active", 240.0)
        yield processes
        view.close()


def start(*more: str) -> subprocess.Popen[str]:
    command = [sys.executable, TASK, *WORDS, "--robot", "gripper", "--views", "1", *more]
    return subprocess.Popen(
        command, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


def test_a_pose_that_is_too_old_is_refused_with_its_age_before_the_arm_moves(
    graph: Processes,
) -> None:
    task = start("--max-age", "0.001")
    output, _ = task.communicate(timeout=200)
    assert task.returncode == 1, output
    assert "error 2507: the pose is" in output
    assert "approach" not in output


def test_a_task_that_is_cancelled_in_motion_ends_with_2506(graph: Processes) -> None:
    task = start("--max-age", "600")
    assert task.stdout is not None
    lines = []
    for line in task.stdout:
        lines.append(line)
        if "approach" in line:
            task.send_signal(signal.SIGTERM)
            break
    output = "".join(lines) + task.communicate(timeout=200)[0]
    assert task.returncode == 1, output
    assert "error 2506" in output
    assert "holding it" not in output
