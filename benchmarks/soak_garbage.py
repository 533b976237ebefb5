# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""A second publisher on the camera's topics and on /tf that sends what no driver should."""

from __future__ import annotations

import array
import random
import time
from collections.abc import Mapping
from types import TracebackType

import rclpy
from geometry_msgs.msg import TransformStamped
from rclpy.context import Context
from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import CameraInfo, Image
from tf2_msgs.msg import TFMessage

_FRAME = "garbage_optical_frame"
_ENCODINGS = ("rgb8", "16UC1", "32FC1", "bayer_rggb8", "nv12", "8UC3", "nonsense", "")


class Garbage:
    """Sends garbage until the end of the ``with`` block.

    Args:
        topics: Name of the node's topic -> topic.
        dice: Source of every random choice.
    """

    def __init__(self, topics: Mapping[str, str], dice: random.Random) -> None:
        self._dice = dice
        self._context = Context()
        rclpy.init(context=self._context)
        self._node = Node("garbage", context=self._context)
        self._rgb, self._depth = (
            self._node.create_publisher(Image, topics[name], qos_profile_sensor_data)
            for name in ("rgb/image", "depth/image")
        )
        self._info = self._node.create_publisher(
            CameraInfo, topics["rgb/camera_info"], qos_profile_sensor_data
        )
        self._tf = self._node.create_publisher(TFMessage, "/tf", 10)

    def frames(self, count: int) -> None:
        """Images and infos whose fields contradict each other or mean nothing."""
        for _ in range(count):
            self._rgb.publish(self._image())
            self._depth.publish(self._image())
            self._info.publish(self._camera_info())
            time.sleep(0.02)

    def transforms(self, count: int) -> None:
        """Transforms that are not finite, not normalised or of the past, between other frames."""
        bad = (float("nan"), float("inf"), 1e300, 0.0)
        for _ in range(count):
            message = TransformStamped()
            message.header.frame_id, message.child_frame_id = "base_link", _FRAME
            message.header.stamp = self._node.get_clock().now().to_msg()
            t, r = message.transform.translation, message.transform.rotation
            t.x, t.y, t.z = (self._dice.choice(bad) for _ in range(3))
            r.x, r.y, r.z, r.w = (self._dice.choice(bad) for _ in range(4))
            self._tf.publish(TFMessage(transforms=[message]))
            time.sleep(0.02)

    def _image(self) -> Image:
        pick = self._dice.choice
        message = Image(height=pick([0, 1, 480, 10**6]), width=pick([0, 1, 640, 10**6]))
        message.encoding, message.step = pick(_ENCODINGS), pick([0, 1, 1920, 2**31])
        message.is_bigendian = pick([0, 1, 7])
        message.data = array.array("B", bytes(pick([0, 1, 640, 4096])))
        self._stamp(message)
        return message

    def _camera_info(self) -> CameraInfo:
        pick = self._dice.choice
        value = pick([0.0, float("nan"), -1.0, 1e9])
        message = CameraInfo(height=pick([0, 480]), width=pick([0, 640]), k=[value] * 9)
        message.p, message.d = [value] * 12, [value] * pick([0, 3, 5, 12])
        message.distortion_model = pick(["", "plumb_bob", "nonsense"])
        self._stamp(message)
        return message

    def _stamp(self, message: Image | CameraInfo) -> None:
        message.header.frame_id = _FRAME
        now = self._node.get_clock().now().nanoseconds
        moment_ns = now + self._dice.choice([0, 0, -(10**12), 10**12])
        message.header.stamp.sec, message.header.stamp.nanosec = divmod(moment_ns, 10**9)

    def __enter__(self) -> Garbage:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._node.destroy_node()
        self._context.try_shutdown()
