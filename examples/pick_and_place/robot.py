# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The robot's side of the example: joint topics, TF and a camera that can be turned.

This is the part to exchange for a stack of one's own, such as MoveIt: ``plans.Step`` holds
plain joint trajectories.
"""

from __future__ import annotations

import argparse
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from rcl_interfaces.srv import SetParameters
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.time import Time
from sensor_msgs.msg import JointState

from roborefer_ros.arm.kinematics import Kinematics
from roborefer_ros.arm.plans import Step
from roborefer_ros.arm.robot import open_robot
from roborefer_ros.errors import CanceledError, DeadlineExceededError
from roborefer_ros.lifting.orientation import rotation_matrix
from roborefer_ros.ros_compat import tf2_ros

WORLD_FRAME, BASE_FRAME, CAMERA_FRAME = "base_link", "arm_base", "camera_color_optical_frame"
PERIOD_S = 0.02


class Robot:
    """Joint positions in and out, poses from TF."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.node = Node("pick_and_place")
        self._buffer = tf2_ros.Buffer()
        self._listener = tf2_ros.TransformListener(self._buffer, self.node)
        self._state: dict[str, float] = {}
        self._cancelled = threading.Event()
        self._command = self.node.create_publisher(JointState, options.joint_command, 10)
        self.node.create_subscription(JointState, options.joint_states, self._on_state, 10)
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self.node)
        self._thread = threading.Thread(target=self._executor.spin, daemon=True)
        self._thread.start()
        base = self.pose(BASE_FRAME)
        self.arm = Kinematics(open_robot(options.robot, np.sign(base[1, 3]) or 1.0), base)

    def move(self, steps: list[Step]) -> None:
        """Stream the steps; when cancelled the arm stays where it is."""
        for step in steps:
            self.say(step.stage)
            if step.opening_m is not None:
                self._send([], [], step.opening_m)
                if step.trajectory is None:
                    time.sleep(1.5)
            if step.trajectory is None:
                continue
            start_s, end_s = time.monotonic(), float(step.trajectory.t_s[-1])
            while (t_s := time.monotonic() - start_s) < end_s + PERIOD_S:
                self.check()
                self._send(self.arm.robot.joints, step.trajectory.at(t_s))
                time.sleep(PERIOD_S)
            self.wait_until(lambda end=step.end: np.max(np.abs(self.q() - end)) < 0.05, 60.0)

    def q(self) -> np.ndarray:
        """Positions of the arm's joints now."""
        self.wait_until(lambda: set(self.arm.robot.joints) <= set(self._state), 20.0)
        return np.array([self._state[name] for name in self.arm.robot.joints])

    def cancel(self) -> None:
        """Stop where the arm is."""
        self._cancelled.set()

    def say(self, text: str) -> None:
        """Log a line."""
        self.node.get_logger().info(text)

    def close(self) -> None:
        """End the thread."""
        self._executor.shutdown()
        self._thread.join(5.0)

    def pose(self, frame: str) -> np.ndarray:
        """``[4, 4]`` of a frame in the world."""
        self.wait_until(lambda: self._buffer.can_transform(WORLD_FRAME, frame, Time()), 60.0)
        transform = self._buffer.lookup_transform(WORLD_FRAME, frame, Time()).transform
        move, turn = transform.translation, transform.rotation
        pose = np.eye(4)
        pose[:3, :3] = rotation_matrix([turn.x, turn.y, turn.z, turn.w])
        pose[:3, 3] = move.x, move.y, move.z
        return pose

    def look_from(self, view: int) -> None:
        """Turn the camera, where it is the simulated one."""
        if self.options.camera and self.options.views > 1:
            request = SetParameters.Request(
                parameters=[Parameter("view", value=view).to_parameter_msg()]
            )
            client = self.node.create_client(SetParameters, f"{self.options.camera}/set_parameters")
            self.wait_until(client.service_is_ready, 20.0)
            done = client.call_async(request)
            self.wait_until(done.done, 20.0)

    def _send(self, names: Any, position: Any, fingers: float | None = None) -> None:
        message = JointState(name=list(names), position=[float(value) for value in position])
        message.header.stamp = self.node.get_clock().now().to_msg()
        if fingers is not None:
            message.name, message.position = [*names, "fingers"], [*message.position, fingers]
        self._command.publish(message)

    def check(self) -> None:
        """Raise if cancelled."""
        if self._cancelled.is_set():
            raise CanceledError("the task was cancelled; the arm stays where it is")

    def wait_until(self, condition: Callable[[], Any], timeout_s: float) -> None:
        """Wait for a condition."""
        end_s = time.monotonic() + timeout_s
        while not condition():
            self.check()
            if time.monotonic() > end_s:
                raise DeadlineExceededError(
                    f"robot, camera or node said nothing or did not arrive within {timeout_s:g} s"
                )
            time.sleep(0.01)

    def _on_state(self, message: JointState) -> None:
        self._state = dict(zip(message.name, message.position, strict=False))
