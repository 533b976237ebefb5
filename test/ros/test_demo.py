# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The commands as a user runs them: processes, topics, the bundled network."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import cv2
import psutil
import pytest

from roborefer_ros.demo.processes import DemoFailedError, Processes

ROBOREFER = [sys.executable, "-m", "roborefer_ros.cli"]


def test_demo_json(ros_domain_id: int, tmp_path: Path) -> None:
    """Three processes, one scene; every instruction ends in a pose, most of them right."""
    process = subprocess.run(
        [*ROBOREFER, "demo", "--json", "--scenes", "1", "--seed", "3", "--out", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=110.0,
    )
    assert process.returncode == 0, process.stderr
    reply = json.loads(process.stdout)  # nothing else on stdout
    assert set(reply) == {"results", "picture"}
    assert len(reply["results"]) == 4
    for row in reply["results"]:
        assert row["error_code"] == 0, row
        assert row["frame_id"] == "base_link"
        assert {"wait_frame", "encode", "prefill", "decode", "lift", "total"} <= set(
            row["timings_s"]
        )
        if row["inside"]:
            assert row["distance_m"] < 0.015
    assert sum(row["inside"] for row in reply["results"]) >= 2
    assert cv2.imread(reply["picture"]).shape[1] > 1000
    assert "asking" in process.stderr
    assert "ready" in process.stderr


def test_demo_says_why_it_cannot_start(ros_domain_id: int, tmp_path: Path) -> None:
    """The node's own words, not a time-out without a reason."""
    process = subprocess.run(
        [*ROBOREFER, "demo", "--model", "roborefer:/nowhere", "--out", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=110.0,
    )
    assert process.returncode == 1
    assert not process.stdout
    assert "/nowhere" in process.stderr
    assert "2540" in process.stderr
    assert "Traceback" not in process.stderr


def test_refer_without_a_node(ros_domain_id: int) -> None:
    process = subprocess.run(
        [*ROBOREFER, "refer", "the red mug", "--json"],
        capture_output=True,
        text=True,
        timeout=60.0,
    )
    assert process.returncode == 1
    assert json.loads(process.stdout)["error_code"] == 2504
    assert "roborefer.launch.py" in process.stderr


def test_refer_against_a_running_node(ros_domain_id: int, tmp_path: Path) -> None:
    """Camera and node as processes; the command in a third."""
    preset = {
        "rgb/image": "/camera/color/image_raw",
        "depth/image": "/camera/aligned_depth_to_color/image_raw",
        "rgb/camera_info": "/camera/color/camera_info",
    }
    with Processes(tmp_path) as processes:
        processes.start("camera", "roborefer_ros.nodes.sim_camera_node", {}, {"scene": 3})
        processes.start("roborefer", "roborefer_ros.nodes.refer_node", preset, {"model": "echo"})
        command = [*ROBOREFER, "refer", "[(0.5, 0.6)]", "--target-frame", "base_link"]
        for _ in range(3):  # until the node is active
            process = subprocess.run(
                [*command, "--json"], capture_output=True, text=True, timeout=60.0
            )
            if process.returncode == 0:
                break
        reply = json.loads(process.stdout)
        assert reply["error_code"] == 0, process.stderr
        (point,) = reply["points"]
        assert point["pixel"] == pytest.approx([319.5, 287.5])
        assert point["frame_id"] == "base_link"
        text = subprocess.run(command, capture_output=True, text=True, timeout=60.0).stdout
        assert "in base_link" in text
        assert "confidence" in text
        processes.check()


def test_demo_that_is_stopped_leaves_nothing_behind(ros_domain_id: int, tmp_path: Path) -> None:
    """SIGTERM, as from a CI that ran out of time, while camera and node start."""
    demo = subprocess.Popen(
        [*ROBOREFER, "demo", "--model", "echo", "--out", str(tmp_path)],
        stderr=subprocess.PIPE,
        text=True,
    )
    children: list[psutil.Process] = []
    try:
        assert demo.stderr is not None
        assert any("waiting for the camera" in line for line in demo.stderr)
        children = psutil.Process(demo.pid).children()
        assert len(children) == 2
        demo.send_signal(signal.SIGTERM)
        text = demo.stderr.read()
        assert demo.wait(30.0) == 130
        assert "Traceback" not in text
        assert not [child for child in children if child.is_running()]
    finally:
        for process in (demo, *children):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()


def test_a_process_that_dies_is_reported_with_its_last_words(tmp_path: Path) -> None:
    with Processes(tmp_path) as processes:
        processes.start("camera", "roborefer_ros.no_such_module", {}, {})
        with pytest.raises(DemoFailedError, match="no_such_module"):
            processes.wait_for("frames", lambda: False, 30.0)


def test_help_lists_the_verbs() -> None:
    process = subprocess.run(
        ROBOREFER, capture_output=True, text=True, timeout=30.0, env=dict(os.environ)
    )
    assert process.returncode == 2
    for verb in ("demo", "refer", "doctor", "simulate", "sft"):
        assert f"  {verb}" in process.stdout
    wrong = subprocess.run([*ROBOREFER, "fly"], capture_output=True, text=True, timeout=30.0)
    assert wrong.returncode == 2
    assert "fly" in wrong.stderr


def test_demo_stays_to_be_asked_and_leaves_nothing_behind(
    ros_domain_id: int, tmp_path: Path
) -> None:
    """What it suggests is answered, also without quotes; SIGTERM ends all three processes."""
    demo = subprocess.Popen(
        [*ROBOREFER, "demo", "--stay", "--model", "echo", "--out", str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert demo.stdout is not None
        lines = list(itertools.takewhile(lambda line: "Ctrl-C" not in line, demo.stdout))
        assert sum("roborefer refer" in line for line in lines) >= 2
        assert (tmp_path / "scene.png").is_file()
        asked = subprocess.run(
            [*ROBOREFER, "refer", "[(0.5,", "0.5)]"], capture_output=True, text=True, timeout=30.0
        )
        assert asked.returncode == 0
        assert "m in base_link" in asked.stdout
        demo.send_signal(signal.SIGTERM)
        assert demo.wait(30.0) == 0
        gone = subprocess.run(
            [*ROBOREFER, "refer", "[(0.5, 0.5)]"], capture_output=True, text=True, timeout=30.0
        )
        assert gone.returncode == 1
        assert "2504" in gone.stderr
        assert "waiting for" in gone.stderr
    finally:
        demo.kill()
