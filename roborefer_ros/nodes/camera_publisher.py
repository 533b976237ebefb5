# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Publishes RGB-D frames the way a camera driver does; shared by the cameras without a camera."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from builtin_interfaces.msg import Time as TimeMsg
from rclpy.node import Node
from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header

from roborefer_ros.nodes.conversions import image_message
from roborefer_ros.types import CameraIntrinsics

#: encodings that real drivers use
RGB_ENCODINGS = ("rgb8", "bgr8")
DEPTH_ENCODINGS = ("16UC1", "32FC1")
RELIABILITIES = ("best_effort", "reliable")

#: relative to the node's name, as realsense2_camera names them
RGB_TOPIC = "~/color/image_raw"
INFO_TOPIC = "~/color/camera_info"
DEPTH_TOPIC = "~/aligned_depth_to_color/image_raw"


class CameraPublisher:
    """The three topics of an RGB-D camera whose depth is aligned to colour."""

    def __init__(
        self, node: Node, *, rgb_encoding: str, depth_encoding: str, reliability: str
    ) -> None:
        reliable = reliability == "reliable"
        # A camera's newest frame matters, not its backlog.
        qos = QoSProfile(
            history=HistoryPolicy.KEEP_LAST,
            depth=2,
            reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT,
        )
        self._rgb_encoding, self._depth_encoding = rgb_encoding, depth_encoding
        self._rgb = node.create_publisher(Image, RGB_TOPIC, qos)
        self._depth = node.create_publisher(Image, DEPTH_TOPIC, qos)
        self._info = node.create_publisher(CameraInfo, INFO_TOPIC, qos)

    @classmethod
    def with_parameters(cls, node: Node) -> CameraPublisher:
        """Declare ``rgb_encoding``, ``depth_encoding`` and ``reliability``, which are read once.

        Raises:
            ValueError: one has an unknown value.
        """
        return cls(
            node,
            rgb_encoding=declare_choice(
                node, "rgb_encoding", "rgb8", RGB_ENCODINGS, "colour encoding"
            ),
            depth_encoding=declare_choice(
                node, "depth_encoding", "16UC1", DEPTH_ENCODINGS, "depth encoding"
            ),
            reliability=declare_choice(
                node, "reliability", "best_effort", RELIABILITIES, "of the image topics"
            ),
        )

    def publish(
        self,
        rgb: npt.NDArray[np.uint8],
        depth_m: npt.NDArray[np.floating[Any]],
        intrinsics: CameraIntrinsics,
        frame_id: str,
        stamp: TimeMsg,
    ) -> None:
        """Publish one frame.

        Args:
            rgb: ``[H, W, 3]`` uint8, RGB order.
            depth_m: ``[H, W]`` metres, NaN or 0 where there is no reading.
            intrinsics: Intrinsics of both images.
            frame_id: optical frame.
            stamp: Stamp of all three messages.
        """
        colour = rgb if self._rgb_encoding == "rgb8" else rgb[..., ::-1]
        self._rgb.publish(image_message(colour, self._rgb_encoding, frame_id, stamp))
        depth = encoded_depth(depth_m, self._depth_encoding)
        self._depth.publish(image_message(depth, self._depth_encoding, frame_id, stamp))
        self._info.publish(camera_info_message(intrinsics, frame_id, stamp))


def encoded_depth(depth_m: npt.NDArray[np.floating[Any]], encoding: str) -> npt.NDArray[Any]:
    """Metres as drivers send them: ``16UC1`` millimetres with 0, ``32FC1`` metres with NaN."""
    depth = np.asarray(depth_m, np.float32)
    valid = depth > 0  # false for NaN
    if encoding == "32FC1":
        return np.where(valid, depth, np.nan).astype(np.float32)
    millimetres = np.rint(np.where(valid, depth, 0.0) * 1000.0)
    return np.clip(millimetres, 0, 65535).astype(np.uint16)


def camera_info_message(intrinsics: CameraIntrinsics, frame_id: str, stamp: TimeMsg) -> CameraInfo:
    """The CameraInfo of intrinsics; P is K, as of an image that was not rectified."""
    k = intrinsics
    msg = CameraInfo(header=Header(stamp=stamp, frame_id=frame_id))
    msg.width, msg.height = k.width, k.height
    msg.k = [k.fx, 0.0, k.cx, 0.0, k.fy, k.cy, 0.0, 0.0, 1.0]
    msg.r = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]
    msg.p = [k.fx, 0.0, k.cx, 0.0, 0.0, k.fy, k.cy, 0.0, 0.0, 0.0, 1.0, 0.0]
    msg.distortion_model = k.distortion_model or "plumb_bob"
    msg.d = list(k.distortion) or [0.0] * 5
    return msg


def declare_choice(
    node: Node, name: str, default: str, choices: Sequence[str], description: str
) -> str:
    """Declare a string parameter that is read once and has few values; return its value.

    Raises:
        ValueError: another value was given.
    """
    from rcl_interfaces.msg import ParameterDescriptor

    descriptor = ParameterDescriptor(
        description=description,
        additional_constraints="one of " + ", ".join(choices),
        read_only=True,
    )
    value = str(node.declare_parameter(name, default, descriptor).value)
    if value not in choices:
        raise ValueError(f"parameter {name} is {value!r}; it must be one of {', '.join(choices)}")
    return value


def declare_rate(node: Node, default: float) -> float:
    """Declare ``rate_hz``, read once; return its value."""
    from rcl_interfaces.msg import FloatingPointRange, ParameterDescriptor

    descriptor = ParameterDescriptor(
        description="frames per second [Hz]",
        floating_point_range=[FloatingPointRange(from_value=0.01, to_value=240.0)],
        read_only=True,
    )
    return float(node.declare_parameter("rate_hz", default, descriptor).value)


def run_camera(make_node: Callable[[], Node], name: str, args: list[str] | None = None) -> int:
    """Run a camera node until SIGINT or SIGTERM; returns the exit status."""
    import rclpy

    from roborefer_ros.nodes.process import cannot_start, spin_through_failures, start_ros
    from roborefer_ros.ros_compat.environment import prepare_environment, tune_allocator

    prepare_environment()
    tune_allocator()
    status = start_ros(name, args)
    if status is not None:
        return status
    try:
        node = make_node()
    except Exception as error:
        rclpy.try_shutdown()
        return cannot_start(name, error)
    try:
        spin_through_failures(lambda: rclpy.spin(node), node.get_logger())
    except KeyboardInterrupt:
        pass
    finally:
        node.destroy_node()
        rclpy.try_shutdown()
    return 0
