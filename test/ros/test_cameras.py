# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The cameras without a camera, as subscribers see them."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import Parameter
from refer_graph import wait_until
from rosgraph_msgs.msg import Clock

from roborefer_ros.nodes.camera_monitor import CameraMonitor
from roborefer_ros.nodes.camera_publisher import camera_info_message, encoded_depth
from roborefer_ros.nodes.conversions import intrinsics_from_message, stamp_message
from roborefer_ros.nodes.process import spin_through_failures
from roborefer_ros.nodes.replay_camera_node import ReplayCameraNode, read_recordings
from roborefer_ros.nodes.sim_camera_node import SimCameraNode
from roborefer_ros.nodes.transforms import Transforms
from roborefer_ros.recording import RecordingError, read_recording
from roborefer_ros.simulation.held_out import held_out_view

FRAMES = Path(__file__).resolve().parents[1] / "data" / "rgbd"
TOPICS = {
    "rgb/image": "/camera/color/image_raw",
    "depth/image": "/camera/aligned_depth_to_color/image_raw",
    "rgb/camera_info": "/camera/color/camera_info",
}


@pytest.fixture
def view(ros_domain_id: int) -> Any:
    """Looks at the camera."""
    made = CameraMonitor("/camera", TOPICS)
    yield made
    made.close()


def parameters(**values: Any) -> dict[str, Any]:
    return {"parameter_overrides": [Parameter(n, value=v) for n, v in values.items()]}


@pytest.mark.parametrize("rgb", ["rgb8", "bgr8"])
@pytest.mark.parametrize("depth", ["16UC1", "32FC1"])
def test_replay_in_the_encodings_of_drivers(ros: Any, view: Any, rgb: str, depth: str) -> None:
    """What arrives is the recording: colour exactly, depth to half a millimetre."""
    folder = FRAMES / "tum_fr2_desk_1"
    options = {"folder": str(folder), "rgb_encoding": rgb, "depth_encoding": depth}
    node = ros.create_node("camera", ReplayCameraNode, **parameters(**options, rate_hz=10.0))
    ros.spin(node)
    wait_until(view.has_frame)
    frame, recording = view.frame(), read_recording(folder)
    np.testing.assert_array_equal(frame.rgb, recording.rgb)
    tolerance_m = 0.00051 if depth == "16UC1" else 0.0
    np.testing.assert_allclose(
        frame.depth.metres(), recording.depth_m, atol=tolerance_m, equal_nan=True
    )
    assert frame.intrinsics.fx == recording.intrinsics.fx
    assert frame.frame_id == recording.frame_id == "camera_color_optical_frame"


def test_replay_of_several_recordings(ros: Any, view: Any) -> None:
    """One after the other, over and over."""
    node = ros.create_node(
        "camera", ReplayCameraNode, **parameters(folder=str(FRAMES), rate_hz=20.0)
    )
    ros.spin(node)
    sizes = set()

    def both_seen() -> bool:
        if view.has_frame():
            sizes.add(view.frame().width)
        return sizes == {640, 1280}

    wait_until(both_seen)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({}, "is not a directory"),
        ({"folder": "/nowhere"}, "/nowhere"),
        ({"folder": str(FRAMES), "depth_encoding": "8UC1"}, "depth_encoding"),
    ],
)
def test_replay_says_what_is_wrong(ros: Any, values: dict[str, Any], words: str) -> None:
    with pytest.raises((RecordingError, ValueError), match=words):
        ros.create_node("camera", ReplayCameraNode, **parameters(**values))


def test_a_folder_without_recordings(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match=r"camera\.json"):
        read_recordings(str(tmp_path))


def test_sim_camera_and_its_transform(ros: Any, view: Any) -> None:
    """Picture, depth and pose belong together; another scene comes with the parameter."""
    small = {"width": 160, "height": 120, "noise": False, "scene": 3}
    node = ros.create_node("camera", SimCameraNode, **parameters(**small))
    listener_node = ros.create_node("listener")
    transforms = Transforms(listener_node)
    ros.spin(node)
    ros.spin(listener_node)
    wait_until(view.has_frame)
    for number in (3, 4):
        assert view.set_scene(number)
        wait_until(view.has_frame)
        frame = view.frame()
        _, truth = held_out_view(number, 160, 120)
        np.testing.assert_array_equal(frame.rgb, truth.rgb)
        np.testing.assert_allclose(
            frame.depth.metres(), truth.depth_m, atol=0.00051, equal_nan=True
        )
        pose = transforms.lookup("base_link", frame.frame_id, frame.stamp_ns, timeout_s=2.0)
        np.testing.assert_allclose(pose, truth.world_T_camera, atol=1e-6)
    transforms.close()


def test_sim_camera_noise_is_fresh_from_frame_to_frame(ros: Any, view: Any) -> None:
    node = ros.create_node("camera", SimCameraNode, **parameters(width=160, height=120))
    ros.spin(node)
    wait_until(view.has_frame)
    first = view.frame()
    wait_until(lambda: view.frame().stamp_ns > first.stamp_ns)
    second = view.frame()
    np.testing.assert_array_equal(first.rgb, second.rgb)
    assert (first.depth.raw != second.depth.raw).any()


def test_scene_numbers_are_checked(ros: Any, view: Any) -> None:
    node = ros.create_node("camera", SimCameraNode, **parameters(width=160, height=120))
    ros.spin(node)
    wait_until(view.has_frame)
    assert not view.set_scene(-1)
    assert view.set_scene(1)


def test_depth_encodings() -> None:
    depth = np.array([[np.nan, 0.0, 0.5004, 70.0]], np.float32)
    np.testing.assert_array_equal(encoded_depth(depth, "16UC1"), [[0, 0, 500, 65535]])
    np.testing.assert_array_equal(
        encoded_depth(depth, "32FC1"), np.array([[np.nan, np.nan, 0.5004, 70.0]], np.float32)
    )


def test_camera_info_comes_back_as_it_went() -> None:
    intrinsics = read_recording(FRAMES / "arc2017_tote").intrinsics
    assert intrinsics.is_distorted
    info = camera_info_message(intrinsics, "camera", stamp_message(0))
    assert intrinsics_from_message(info) == intrinsics


def test_a_time_before_the_beginning_does_not_end_a_camera(ros: Any) -> None:
    """rclpy raises in its own callback where a time on /clock is negative."""
    node = ros.create_node("camera", parameter_overrides=[Parameter("use_sim_time", value=True)])
    clock = ros.create_node("clock")
    publisher = clock.create_publisher(Clock, "/clock", 10)
    executor = SingleThreadedExecutor(context=ros.context)
    executor.add_node(node)
    log = node.get_logger()
    thread = threading.Thread(target=spin_through_failures, args=(executor.spin, log), daemon=True)
    thread.start()
    negative, right = Clock(), Clock()
    negative.clock.sec, right.clock.sec = -5, 7

    def arrived() -> bool:
        publisher.publish(negative)
        publisher.publish(right)
        return bool(node.get_clock().now().nanoseconds == 7_000_000_000)

    try:
        wait_until(arrived)
        assert thread.is_alive()
    finally:
        executor.shutdown()
        thread.join(10.0)
    assert not thread.is_alive()
