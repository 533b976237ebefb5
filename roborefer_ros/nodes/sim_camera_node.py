# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""A camera without a camera: simulated tabletops as RGB, depth, CameraInfo and TF.

Setting the parameter ``scene`` puts another scene before the camera; the call returns when it
is there.  The camera's pose comes on /tf with the stamp of each image, as for a camera that moves.
"""

from __future__ import annotations

import itertools
import sys
from typing import Any

import numpy as np
import numpy.typing as npt
from geometry_msgs.msg import TransformStamped, Vector3
from rcl_interfaces.msg import IntegerRange, ParameterDescriptor, SetParametersResult
from rclpy.node import Node
from rclpy.parameter import Parameter
from std_msgs.msg import Header

from roborefer_ros.lifting import quaternion_xyzw
from roborefer_ros.nodes.camera_publisher import CameraPublisher, declare_rate, run_camera
from roborefer_ros.ros_compat import tf2_ros
from roborefer_ros.simulation.held_out import held_out_view
from roborefer_ros.simulation.rendering import RenderedView
from roborefer_ros.simulation.sensor_noise import d435_depth

#: noisy depth images made for a scene and sent in turn: making one takes longer than a frame
_NOISE_IMAGES = 5


class SimCameraNode(Node):
    """Publishes a simulated RGB-D camera.

    Parameters:
        scene: number of the scene; the numbers of ``simulation/held_out.py``.
        width, height: pixels; read once.
        rate_hz: frames per second; read once.
        rgb_encoding, depth_encoding: as drivers send them; read once.
        noise: depth noise and holes of a D435; otherwise exact depth; read once.
        reliability: Reliability of the image topics, ``best_effort`` or ``reliable``; read once.
        frame_id: the camera's optical frame; read once.
        world_frame: frame of the table's top, its centre line ahead of the robot; read once.
    """

    def __init__(self, node_name: str = "camera", **kwargs: Any) -> None:
        super().__init__(node_name, **kwargs)
        self._publisher = CameraPublisher.with_parameters(self)
        self._size = (
            self._declare_int("width", 640, 16, 4096),
            self._declare_int("height", 480, 16, 4096),
        )
        self._noise = bool(self._read_only("noise", True, "depth noise and holes of a D435"))
        self._frame = str(
            self._read_only("frame_id", "camera_color_optical_frame", "optical frame")
        )
        self._world = str(self._read_only("world_frame", "base_link", "frame of the table"))
        self._tf = tf2_ros.TransformBroadcaster(self)
        number = self._declare_int("scene", 0, 0, 2**31 - 1, read_only=False)
        self._show(number)
        self.add_on_set_parameters_callback(self._on_set)
        self.create_timer(1.0 / declare_rate(self, 15.0), self._publish)

    def _declare_int(
        self, name: str, default: int, low: int, high: int, read_only: bool = True
    ) -> int:
        descriptor = ParameterDescriptor(
            description=f"{name} [pixels]" if read_only else "number of the scene",
            integer_range=[IntegerRange(from_value=low, to_value=high, step=1)],
            read_only=read_only,
        )
        return int(self.declare_parameter(name, default, descriptor).value)

    def _read_only(self, name: str, default: bool | str, description: str) -> object:
        descriptor = ParameterDescriptor(description=description, read_only=True)
        return self.declare_parameter(name, default, descriptor).value

    def _on_set(self, parameters: list[Parameter]) -> SetParametersResult:
        for parameter in parameters:
            if parameter.name == "scene":
                self._show(int(parameter.value))
        return SetParametersResult(successful=True)

    def _show(self, number: int) -> None:
        """Render a scene and put it before the camera."""
        _, self._view = held_out_view(number, *self._size)
        self._depths = itertools.cycle(self._depth_images(number))
        self.get_logger().info(f"scene {number}")

    def _depth_images(self, number: int) -> list[npt.NDArray[np.float32]]:
        view = self._view
        if not self._noise:
            return [view.depth_m]
        rng = np.random.default_rng(number)
        images = []
        for _ in range(_NOISE_IMAGES):
            millimetres = d435_depth(
                view.depth_m, rng, normals=view.normals, focal_px=view.intrinsics.fx
            )
            images.append(millimetres.astype(np.float32) * np.float32(0.001))
        return images

    def _publish(self) -> None:
        stamp = self.get_clock().now().to_msg()
        # First the transform: whoever has the image can ask for it.
        self._tf.sendTransform(
            camera_transform(self._view, Header(stamp=stamp, frame_id=self._world), self._frame)
        )
        self._publisher.publish(
            self._view.rgb, next(self._depths), self._view.intrinsics, self._frame, stamp
        )


def camera_transform(view: RenderedView, header: Header, frame_id: str) -> TransformStamped:
    """The camera's pose in the world as a transform."""
    msg = TransformStamped(header=header, child_frame_id=frame_id)
    x, y, z = (float(value) for value in view.world_T_camera[:3, 3])
    msg.transform.translation = Vector3(x=x, y=y, z=z)
    q = msg.transform.rotation
    q.x, q.y, q.z, q.w = (float(value) for value in quaternion_xyzw(view.world_T_camera[:3, :3]))
    return msg


def main(args: list[str] | None = None) -> int:
    """Run the node; returns its exit status."""
    return run_camera(SimCameraNode, "sim_camera_node", args)


if __name__ == "__main__":
    sys.exit(main())
