# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The robot's side of the example: joint topics, TF, clouds and a camera that can be turned.

This is the part to exchange for a stack of one's own, such as MoveIt: ``plans.Step`` holds
plain joint trajectories.  Trajectories follow the ROS clock, so with ``use_sim_time`` they are as
slow as the simulation; waiting is bounded by the computer's clock, so that a stopped simulation or
driver ends the task.
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
from sensor_msgs.msg import JointState, PointCloud2

from roborefer_ros.arm.kinematics import Kinematics
from roborefer_ros.arm.plans import Step
from roborefer_ros.arm.robot import open_robot
from roborefer_ros.errors import CanceledError, ConfigurationError, DeadlineExceededError
from roborefer_ros.lifting.orientation import rotation_matrix
from roborefer_ros.ros_compat import tf2_ros

PERIOD_S = 0.02
#: for the fingers to close or open, seconds of the ROS clock
GRIP_S = 0.8
#: after a turn of the camera, seconds of the ROS clock: the node answers with a picture that is as
#: much older than the goal as its ``frame_tolerance_s`` (0.1)
SETTLED_S = 0.2
#: the arm has arrived within this, rad or metres
ARRIVED = 0.05


class Robot:
    """Joint positions in and out, poses from TF.

    Args:
        options: Of the command line.
        stop: Set when the task is to end; the arm then stays where it is.
    """

    def __init__(self, options: argparse.Namespace, stop: threading.Event) -> None:
        self.options = options
        self.node = Node("pick_and_place")
        self._stop = stop
        self._buffer = tf2_ros.Buffer()
        self._listener = tf2_ros.TransformListener(self._buffer, self.node)
        self._state: dict[str, float] = {}
        self._view: int | None = None
        self._clouds: dict[str, PointCloud2] = {}
        self._command = self.node.create_publisher(JointState, options.joint_command, 10)
        if options.joint_states:
            self.node.create_subscription(JointState, options.joint_states, self._on_state, 10)
        for name in ("target_segment", "target_cloud"):
            self.node.create_subscription(
                PointCloud2,
                f"{self.refer_node}/{name}",
                lambda message, name=name: self._clouds.update({name: message}),
                2,
            )
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self.node)
        self._thread = threading.Thread(target=self._executor.spin, daemon=True)
        self._thread.start()

    def connect(self) -> None:
        """Learn where the robot stands."""
        base = self.pose(self.options.base_frame)
        self.arm = Kinematics(open_robot(self.options.robot, np.sign(base[1, 3]) or 1.0), base)

    @property
    def refer_node(self) -> str:
        """Name of the node that answers."""
        return str(self.options.action).rpartition("/")[0]

    # --- motion --------------------------------------------------------------------------

    def move(self, steps: list[Step]) -> None:
        """Stream the steps; when cancelled the arm stays where it is."""
        for step in steps:
            self.say(step.stage)
            if step.opening_m is not None:
                self._send([], [], step.opening_m)
                if step.trajectory is None:
                    self._for(GRIP_S, lambda _: None)
            if step.trajectory is None:
                continue
            self._for(
                float(step.trajectory.t_s[-1]) + PERIOD_S,
                lambda t_s, path=step.trajectory: self._send(self.arm.robot.joints, path.at(t_s)),
            )
            self.wait_until(
                lambda end=step.end: np.max(np.abs(self.q() - end)) < ARRIVED,
                30.0,
                f"{step.stage}: the arm did not arrive; something is in its way",
            )

    def q(self) -> np.ndarray:
        """Positions of the arm's joints now; without joint states those of its home."""
        if not self.options.joint_states:
            return np.array(self.arm.robot.home)
        self.wait_until(
            lambda: set(self.arm.robot.joints) <= set(self._state),
            20.0,
            f"no {self.options.joint_states}",
        )
        return np.array([self._state[name] for name in self.arm.robot.joints])

    def opening_m(self) -> float:
        """Distance of the fingers, metres."""
        return sum(abs(self._state.get(name, 0.0)) for name in self.arm.robot.fingers)

    def _for(self, seconds: float, send: Callable[[float], None]) -> None:
        """Call with the time that has passed until the ROS clock says that it is over."""
        start_s = last_s = self.now_s()
        moved_s = time.monotonic()
        while last_s - start_s < seconds:
            self.check()
            send(last_s - start_s)
            time.sleep(PERIOD_S)
            now_s = self.now_s()
            if now_s > last_s:
                last_s, moved_s = now_s, time.monotonic()
            elif time.monotonic() - moved_s > 20.0:
                raise DeadlineExceededError("the ROS clock stands still: /clock stopped in motion")

    def _send(self, names: Any, position: Any, fingers: float | None = None) -> None:
        message = JointState(name=list(names), position=[float(value) for value in position])
        message.header.stamp = self.node.get_clock().now().to_msg()
        if fingers is not None:
            message.name, message.position = [*names, "fingers"], [*message.position, fingers]
        self._command.publish(message)

    # --- what is known -------------------------------------------------------------------

    def now_s(self) -> float:
        """The ROS clock, seconds."""
        return 1e-9 * float(self.node.get_clock().now().nanoseconds)

    def pose(self, frame: str) -> np.ndarray:
        """``[4, 4]`` of a frame in the world."""
        world = self.options.world_frame
        self.wait_until(
            lambda: self._buffer.can_transform(world, frame, Time()),
            60.0,
            f"no transform from {frame} to {world}",
        )
        transform = self._buffer.lookup_transform(world, frame, Time()).transform
        move, turn = transform.translation, transform.rotation
        pose = np.eye(4)
        pose[:3, :3] = rotation_matrix([turn.x, turn.y, turn.z, turn.w])
        pose[:3, 3] = move.x, move.y, move.z
        return pose

    def cloud(self, name: str, stamp: Any) -> np.ndarray:
        """``[N, 3]`` of the cloud of the node that belongs to an answer."""
        self.wait_until(
            lambda: name in self._clouds and self._clouds[name].header.stamp == stamp,
            20.0,
            f"no {self.refer_node}/{name} of the answer",
        )
        message: Any = self._clouds[name]
        rows = np.frombuffer(bytes(message.data), np.uint8).reshape(-1, message.point_step)
        points = rows[:, :12].copy().view("<f4").astype(np.float64)
        return points[np.isfinite(points).all(axis=1)]

    def look_from(self, view: int) -> None:
        """Turn the camera, where it is the simulated one, and let older pictures pass."""
        if self.options.camera and self.options.views > 1 and view != self._view:
            self.set_parameter(self.options.camera, "view", view)
            self._for(SETTLED_S, lambda _: None)
            self._view = view

    def set_parameter(self, node: str, name: str, value: Any) -> None:
        """Set a parameter of another node."""
        request = SetParameters.Request(
            parameters=[Parameter(name, value=value).to_parameter_msg()]
        )
        client = self.node.create_client(SetParameters, f"{node}/set_parameters")
        self.wait_until(client.service_is_ready, 20.0, f"{node} is not there")
        done = client.call_async(request)
        self.wait_until(done.done, 20.0, f"{node} does not answer")
        if not done.result().results[0].successful:
            raise ConfigurationError(f"{node}: {name}: {done.result().results[0].reason}")

    # --- ending --------------------------------------------------------------------------

    def say(self, text: str) -> None:
        """Log a line."""
        self.node.get_logger().info(text)

    def check(self) -> None:
        """Raise if the task is to end."""
        if self._stop.is_set():
            raise CanceledError("the task was cancelled; the arm stays where it is")

    def wait_until(self, condition: Callable[[], Any], timeout_s: float, what: str) -> None:
        """Wait for a condition, for so many seconds of the computer's clock."""
        end_s = time.monotonic() + timeout_s
        while not condition():
            self.check()
            if time.monotonic() > end_s:
                raise DeadlineExceededError(f"{what} (waited {timeout_s:g} s)")
            time.sleep(0.01)

    def close(self) -> None:
        """End the thread."""
        self._executor.shutdown()
        self._thread.join(5.0)

    def _on_state(self, message: JointState) -> None:
        self._state = dict(zip(message.name, message.position, strict=False))


def arguments(description: str) -> argparse.ArgumentParser:
    """The command line: names of topics and frames, and when to act."""
    parser = argparse.ArgumentParser(description=description.split("\n\n")[0])
    parser.add_argument("what", help="what to pick up, in words")
    parser.add_argument("where", help="where to put it, in words")
    parser.add_argument("--action", default="/roborefer/refer_point")
    parser.add_argument("--robot", default="auto", help="panda or gripper")
    parser.add_argument("--joint-command", default="/joint_command")
    parser.add_argument("--joint-states", default="/joint_states", help="'': plan from home")
    parser.add_argument("--camera", default="/camera", help="simulated camera; '' for a real one")
    parser.add_argument("--world-frame", default="base_link", help="z up, 0 on the table")
    parser.add_argument("--base-frame", default="arm_base")
    parser.add_argument("--camera-frame", default="camera_color_optical_frame")
    parser.add_argument("--views", type=int, default=3, help="from how many to ask")
    parser.add_argument("--tries", type=int, default=2, help="to get it into the hand")
    parser.add_argument("--confidence", type=float, default=0.5, help="from which to act")
    parser.add_argument("--max-age", type=float, default=10.0, help="of a pose, seconds")
    parser.add_argument("--plan-only", action="store_true", help="ask and plan; move nothing")
    return parser
