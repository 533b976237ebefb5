# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Recorded frames as camera topics, known pixels as goals: the poses are where they should be.

From the replay camera through the whole node (``model: echo`` takes the pixel from the
instruction), in the encodings of real drivers.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rclpy.executors import MultiThreadedExecutor
from rclpy.parameter import Parameter

from roborefer_ros.camera_presets import load_preset
from roborefer_ros.client import ReferPointClient
from roborefer_ros.nodes.refer_node import EXECUTOR_THREADS, ReferNode
from roborefer_ros.nodes.replay_camera_node import ReplayCameraNode
from roborefer_ros.types import Mode

FRAMES = Path(__file__).resolve().parents[1] / "data" / "rgbd"
ENCODINGS = [("rgb8", "16UC1"), ("bgr8", "32FC1")]
LIMIT_M = 0.015


def labelled(folder: Path) -> list[dict[str, Any]]:
    """The labelled pixels with a reference, without transparent things."""
    points = json.loads((folder / "points.json").read_text())
    return [point for point in points if "transparent" not in point["kind"]]


@pytest.mark.parametrize(("rgb", "depth"), ENCODINGS)
@pytest.mark.parametrize("name", sorted(path.name for path in FRAMES.iterdir() if path.is_dir()))
def test_labelled_pixels(ros: Any, name: str, rgb: str, depth: str) -> None:
    camera = {"folder": str(FRAMES / name), "rgb_encoding": rgb, "depth_encoding": depth}
    replay = ros.create_node(
        "camera",
        ReplayCameraNode,
        parameter_overrides=[Parameter(k, value=v) for k, v in camera.items()],
    )
    ros.spin(replay)
    remappings = [
        argument
        for source, target in load_preset("simulation").remappings.items()
        for argument in ("-r", f"{source}:={target}")
    ]
    node = ros.create_node(
        "roborefer",
        ReferNode,
        cli_args=["--ros-args", *remappings],
        parameter_overrides=[
            Parameter("model", value="echo"),
            Parameter("auto_activate", value=False),
        ],
    )
    ros.spin(node, executor=MultiThreadedExecutor(EXECUTOR_THREADS, context=ros.context))
    node.trigger_configure()
    node.trigger_activate()
    points = labelled(FRAMES / name)
    assert len(points) >= 3
    try:
        with ReferPointClient(node=replay) as client:
            for point in points:
                info = json.loads((FRAMES / name / "camera.json").read_text())
                u, v = point["pixel"]
                x, y = (u + 0.5) / info["width"], (v + 0.5) / info["height"]
                result = client.refer(f"[({x:.6f}, {y:.6f})]", mode=Mode.OBJECT)
                p = result.pose.pose.position
                off_m = np.linalg.norm(np.array([p.x, p.y, p.z]) - point["xyz_ref_m"])
                assert off_m < LIMIT_M, f"{point['label']}: {1e3 * off_m:.1f} mm"
                assert (result.points[0].u, result.points[0].v) == pytest.approx((u, v), abs=0.01)
    finally:
        node.close()
