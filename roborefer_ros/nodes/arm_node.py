# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""A robot and an RGB-D camera without either: a tabletop in physics on the ROS 2 graph.

The camera's topics are those of ``sim_camera_node``.  The arm takes joint positions on
``/joint_command`` and tells its own on ``/joint_states`` (sensor_msgs/JointState, the topics of
topic_based_ros2_control and Isaac Sim), the fingers among them.  Physics follows the computer's
clock and stands still while a picture is made; its time is on ``/clock``, so a slow machine makes
everything slow, not wrong: nodes beside it run with ``use_sim_time``.
"""

from __future__ import annotations

import sys
import time
from typing import Any

import numpy as np
from builtin_interfaces.msg import Time
from geometry_msgs.msg import TransformStamped
from rcl_interfaces.msg import IntegerRange, ParameterDescriptor, SetParametersResult
from rclpy.node import Node
from rclpy.parameter import Parameter
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import JointState
from std_msgs.msg import Header

from roborefer_ros.arm.camera import CAMERA_FRAME, view_of
from roborefer_ros.arm.trial import TRIAL_SEED
from roborefer_ros.arm.world import ArmWorld
from roborefer_ros.lifting import quaternion_xyzw
from roborefer_ros.nodes.camera_publisher import CameraPublisher, declare_rate, run_camera
from roborefer_ros.nodes.sim_camera_node import camera_transform
from roborefer_ros.ros_compat import tf2_ros
from roborefer_ros.simulation.rendering import RenderedView
from roborefer_ros.simulation.scenes import sample_scene
from roborefer_ros.simulation.sensor_noise import d435_depth

WORLD_FRAME, BASE_FRAME = "base_link", "arm_base"
#: of physics and joint states, seconds
_TICK_S = 0.02
#: a picture is made anew where a joint or a thing has moved by more, rad or metres
_MOVED = 0.002


class ArmNode(Node):
    """A world in physics as a camera and a robot.

    Parameters:
        scene: number of the tabletop, as the trials of ``benchmarks.pick_and_place`` count them.
        view: View of the camera: 0 is the scene's own, 1 and 2 are turned to either side.
        camera_on: whether pictures are sent; false is a camera that stopped.
        robot: ``panda``, ``gripper`` or ``auto``; read once.
        clock: stamps are the time of physics, which is published on /clock; false: this node's
            own clock; read once.
        rate_hz: pictures per second at most; read once.
    """

    def __init__(self, node_name: str = "camera", **kwargs: Any) -> None:
        super().__init__(node_name, **kwargs)
        self._publisher = CameraPublisher.with_parameters(self)
        read_once = ParameterDescriptor(read_only=True)
        self._robot = str(self.declare_parameter("robot", "auto", read_once).value)
        self._period_s = 1.0 / declare_rate(self, 3.0)
        self._clock_time = bool(self.declare_parameter("clock", True, read_once).value)
        self._clock_publisher = self.create_publisher(Clock, "/clock", 1)
        self._camera_on = bool(self.declare_parameter("camera_on", True).value)
        self._earlier_s = 0.0
        self._tf = tf2_ros.TransformBroadcaster(self)
        self._static_tf = tf2_ros.StaticTransformBroadcaster(self)
        self._states = self.create_publisher(JointState, "/joint_states", 10)
        self._camera_view = self._declare_number("view", 8)
        self._load(self._declare_number("scene", 2**31 - 1))
        self.add_on_set_parameters_callback(self._on_set)
        self.create_subscription(JointState, "/joint_command", self._on_command, 10)
        self._sent_s = self._ticked_s = time.monotonic()
        self._wait_s = 0.0
        self.create_timer(_TICK_S, self._tick)

    def _declare_number(self, name: str, most: int) -> int:
        limits = [IntegerRange(from_value=0, to_value=most, step=1)]
        return int(self.declare_parameter(name, 0, ParameterDescriptor(integer_range=limits)).value)

    def _load(self, number: int) -> None:
        scene = sample_scene(np.random.default_rng((TRIAL_SEED, number, 0, 0)))
        self.world = ArmWorld(scene, self._robot)
        self._rng = np.random.default_rng((TRIAL_SEED, number, 1))
        self._seen: tuple[np.ndarray, int, RenderedView] | None = None
        robot = self.world.robot
        self._names = [name.removeprefix("arm/") for name in (*robot.joints, *robot.fingers)]
        self._send_base()
        self.get_logger().info(f"scene {number}, {robot.name}")

    def _send_base(self) -> None:
        header = Header(stamp=self._stamp(), frame_id=WORLD_FRAME)
        base = TransformStamped(header=header, child_frame_id=BASE_FRAME)
        pose = self.world.world_T_base
        move, turn = base.transform.translation, base.transform.rotation
        move.x, move.y, move.z = (float(value) for value in pose[:3, 3])
        turn.x, turn.y, turn.z, turn.w = (float(v) for v in quaternion_xyzw(pose[:3, :3]))
        self._static_tf.sendTransform(base)

    def _on_set(self, parameters: list[Parameter]) -> SetParametersResult:
        for parameter in parameters:
            if parameter.name == "scene":
                self._earlier_s += self.world.time_s  # time goes on with another scene
                self._load(int(parameter.value))
            elif parameter.name == "view":
                self._camera_view = int(parameter.value)
                self._wait_s = 0.0
            elif parameter.name == "camera_on":
                self._camera_on = bool(parameter.value)
        return SetParametersResult(successful=True)

    def _on_command(self, message: JointState) -> None:
        """Take targets of the arm's joints and of the fingers' opening ("fingers", metres)."""
        given = dict(zip(message.name, message.position, strict=False))
        if not all(np.isfinite(value) for value in given.values()):
            self.get_logger().warning("a joint command that is not finite was ignored")
            return
        if "fingers" in given:
            self.world.grip(given.pop("fingers"))
        arm = self._names[: len(self.world.robot.joints)]
        if set(arm) <= set(given):
            self.world.command([given[name] for name in arm])

    def _tick(self) -> None:
        now_s = time.monotonic()
        self.world.run(min(max(now_s - self._ticked_s, 0.002), 2 * _TICK_S))
        self._ticked_s = now_s
        stamp = self._stamp()
        if self._clock_time:
            self._clock_publisher.publish(Clock(clock=stamp))
        half = self.world.opening_m / 2
        position = [*(float(value) for value in self.world.q), half, -half]
        self._states.publish(
            JointState(header=Header(stamp=stamp), name=self._names, position=position)
        )
        if self._camera_on and now_s - self._sent_s >= self._wait_s:
            self._send_picture()
            self._sent_s = self._ticked_s = time.monotonic()
            # most of the time is for physics, also where pictures take long
            self._wait_s = max(self._period_s, 2.0 * (self._sent_s - now_s))

    def _stamp(self) -> Time:
        if not self._clock_time:
            return self.get_clock().now().to_msg()
        seconds, part = divmod(round(1e9 * (self._earlier_s + self.world.time_s)), 1_000_000_000)
        return Time(sec=seconds, nanosec=part)

    def _send_picture(self) -> None:
        stamp = self._stamp()
        view = self._view()
        header = Header(stamp=stamp, frame_id=WORLD_FRAME)
        self._tf.sendTransform(camera_transform(view, header, CAMERA_FRAME))
        depth = d435_depth(
            view.depth_m, self._rng, normals=view.normals, focal_px=view.intrinsics.fx
        )
        metres = depth.astype(np.float32) * np.float32(0.001)
        self._publisher.publish(view.rgb, metres, view.intrinsics, CAMERA_FRAME, stamp)

    def _view(self) -> RenderedView:
        """The picture; the last one where nothing has moved."""
        state = np.concatenate([self.world.q, *(pose.ravel() for pose in self.world.poses())])
        if self._seen is not None:
            old, number, view = self._seen
            if number == self._camera_view and np.max(np.abs(old - state)) < _MOVED:
                return view
        view = view_of(self.world, view=self._camera_view)
        self._seen = state, self._camera_view, view
        return view


def main(args: list[str] | None = None) -> int:
    """Run the node; returns its exit status."""
    return run_camera(ArmNode, "arm_node", args)


if __name__ == "__main__":
    sys.exit(main())
