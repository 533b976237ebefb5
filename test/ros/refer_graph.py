# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""A small graph around the node under test: a camera, a scripted model and a client."""

from __future__ import annotations

import array
import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import rclpy
from lifecycle_msgs.msg import State
from rclpy.action import ActionClient
from rclpy.context import Context
from rclpy.executors import MultiThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile, qos_profile_sensor_data
from sensor_msgs.msg import CameraInfo, Image

from roborefer_ros.cancellation import Cancellation
from roborefer_ros.nodes.interfaces import ReferPoint
from roborefer_ros.nodes.refer_node import EXECUTOR_THREADS, ReferNode
from roborefer_ros.pipeline import ReferPipeline
from roborefer_ros.pointing.pointer import Pointer
from roborefer_ros.pointing.prediction import Prediction
from roborefer_ros.pointing.reasoning import read_steps
from roborefer_ros.types import Think

WIDTH, HEIGHT, FOCAL = 160, 120, 150.0
CAMERA_FRAME = "camera_color_optical_frame"
WALL_M = 1.0


class ScriptedPointer(Pointer):
    """Stands for the model, which is not the thing under test here.

    Attributes:
        points: what it answers.
        confidences: its trust in them, or none.
        error: raised instead.
        token_s, tokens: how long it pretends to decode; it polls between tokens as models do.
        running: set while it decodes.
        thought: What it thinks before.
        think: Whether it was asked to, of each call.
    """

    name = "scripted"
    uses_depth = True

    def __init__(self, points: tuple[tuple[float, float], ...] = ((0.5, 0.5),)) -> None:
        self.points = points
        self.confidences: tuple[float, ...] = ()
        self.error: Exception | None = None
        self.tokens, self.token_s = 1, 0.0
        self.running = threading.Event()
        self.closed = 0
        self.thought = ""
        self.think: Any = []
        self.calls: list[str] = []

    def point(
        self,
        rgb: Any,
        relative_depth: Any,
        instruction: str,
        *,
        max_points: int = 0,
        cancellation: Cancellation = Cancellation(),  # noqa: B008 (frozen)
        on_text: Callable[[str], None] | None = None,
        think: Think = Think.AUTO,
    ) -> Prediction:
        """Answer the script."""
        self.think.append(think)
        assert rgb.shape[2] == 3
        assert relative_depth is None or relative_depth.dtype == np.uint8
        self.calls.append(instruction)
        self.running.set()
        try:
            for number in range(self.tokens):
                cancellation.check()
                time.sleep(self.token_s)
                if on_text is not None:
                    thought = f"<think>{self.thought}</think>" if self.thought else ""
                    on_text(thought + "token " * (number + 1))
            if self.error is not None:
                raise self.error
        finally:
            self.running.clear()
        text = str(list(self.points))
        return Prediction(
            text,
            self.points,
            self.confidences,
            timings_s={"decode": 0.001},
            reasoning=self.thought,
            steps=read_steps(self.thought),
        )

    def close(self) -> None:
        """Count."""
        self.closed += 1


class Camera:
    """Publishes a wall at ``WALL_M`` at ``rate_hz`` until stopped; fields may be spoilt."""

    def __init__(
        self,
        ros: Any,
        *,
        rate_hz: float = 30.0,
        qos: QoSProfile | None = None,
        name: str = "test_camera",
    ) -> None:
        self.node = ros.create_node(name)
        qos = qos or qos_profile_sensor_data
        self._publishers = {
            name: self.node.create_publisher(kind, f"/{name}", qos)
            for name, kind in (
                ("rgb/image", Image),
                ("depth/image", Image),
                ("rgb/camera_info", CameraInfo),
            )
        }
        self.period_s = 1.0 / rate_hz
        self.silent: set[str] = set()
        self.offsets_s = {"depth/image": 0.0, "rgb/camera_info": 0.0}
        self.clock_offset_s = 0.0
        self.frame_ids = dict.fromkeys(self._publishers, CAMERA_FRAME)
        self.spoil: Callable[[Image, Image, CameraInfo], None] = lambda *_: None
        self.encoding = "16UC1"
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def messages(self) -> tuple[Image, Image, CameraInfo]:
        """One frame, before it is spoilt."""
        rgb = Image(height=HEIGHT, width=WIDTH, step=3 * WIDTH, encoding="rgb8")
        rgb.data = array.array("B", bytes([90, 120, 150]) * (WIDTH * HEIGHT))
        depth = Image(height=HEIGHT, width=WIDTH, encoding=self.encoding)
        if self.encoding == "32FC1":
            values = np.full((HEIGHT, WIDTH), WALL_M, dtype="<f4")
        else:
            values = np.full((HEIGHT, WIDTH), round(WALL_M * 1000), dtype="<u2")
        depth.step = values.strides[0]
        depth.data = array.array("B", values.tobytes())
        info = CameraInfo(height=HEIGHT, width=WIDTH, distortion_model="plumb_bob", d=[0.0] * 5)
        cx, cy = (WIDTH - 1) / 2, (HEIGHT - 1) / 2
        info.k = [FOCAL, 0.0, cx, 0.0, FOCAL, cy, 0.0, 0.0, 1.0]
        info.p = [FOCAL, 0.0, cx, 0.0, 0.0, FOCAL, cy, 0.0, 0.0, 0.0, 1.0, 0.0]
        return rgb, depth, info

    def publish(self) -> None:
        """One frame, stamped now."""
        now_ns = self.node.get_clock().now().nanoseconds + round(self.clock_offset_s * 1e9)
        rgb, depth, info = self.messages()
        named = {"rgb/image": rgb, "depth/image": depth, "rgb/camera_info": info}
        for name, msg in named.items():
            ns = now_ns + round(self.offsets_s.get(name, 0.0) * 1e9)
            msg.header.stamp.sec, msg.header.stamp.nanosec = divmod(ns, 1_000_000_000)
            msg.header.frame_id = self.frame_ids[name]
        self.spoil(rgb, depth, info)
        for name, msg in named.items():
            if name not in self.silent:
                self._publishers[name].publish(msg)

    def _run(self) -> None:
        while not self._stop.wait(self.period_s):
            self.publish()

    def stop(self) -> None:
        """Publish no more."""
        self._stop.set()
        self._thread.join()


@contextlib.contextmanager
def stranger(name: str = "stranger") -> Iterator[Any]:
    """A node of another process as far as the middleware can tell: a context of its own.

    One context cannot hold two types of messages on one topic.
    """
    context = Context()
    rclpy.init(context=context, domain_id=int(os.environ["ROS_DOMAIN_ID"]))
    node = Node(name, context=context)
    try:
        yield node
    finally:
        node.destroy_node()
        context.try_shutdown()


class Graph:
    """The node under test with what a test needs around it."""

    def __init__(
        self,
        ros: Any,
        *,
        camera: bool = True,
        activate: bool = True,
        pointer: ScriptedPointer | None = None,
        open_model: Callable[[Any], ReferPipeline] | None = None,
        remappings: dict[str, str] | None = None,
        **parameters: Any,
    ) -> None:
        self.ros = ros
        self.pointer = pointer or ScriptedPointer()
        self.camera = Camera(ros) if camera else None
        values = {
            "auto_activate": False,
            "frame_timeout_s": 2.0,
            "goal_timeout_s": 10.0,
            "transform_timeout_s": 0.3,
            **parameters,
        }
        self.node = ros.create_node(
            "roborefer",
            ReferNode,
            open_model=open_model or (lambda options: ReferPipeline(self.pointer)),
            parameter_overrides=[Parameter(name, value=value) for name, value in values.items()],
            cli_args=[
                "--ros-args",
                *(word for pair in (remappings or {}).items() for word in ("-r", ":=".join(pair))),
            ],
        )
        ros.spin(
            self.node,
            executor=MultiThreadedExecutor(EXECUTOR_THREADS, context=ros.context),
        )
        self.client_node = ros.create_node("test_client")
        # Before anything spins the node: rclpy shows a client to executors before it is complete.
        self.client = ActionClient(self.client_node, ReferPoint, "/roborefer/refer_point")
        ros.spin(self.client_node)
        assert self.client.wait_for_server(10.0), "the action server did not appear"
        self.feedback: list[Any] = []
        if activate:
            self.activate()

    def activate(self) -> None:
        """Configure and activate."""
        self.node.trigger_configure()
        self.node.trigger_activate()
        assert self.state == State.PRIMARY_STATE_ACTIVE

    @property
    def state(self) -> int:
        """Number of the lifecycle state."""
        return int(self.node._state_machine.current_state[0])

    def send(self, instruction: str = "the red mug", **fields: Any) -> Any:
        """Send a goal; returns the client's goal handle."""
        goal = ReferPoint.Goal(instruction=instruction, **fields)
        future = self.client.send_goal_async(
            goal, feedback_callback=lambda msg: self.feedback.append(msg.feedback)
        )
        return wait(future)

    def refer(
        self, instruction: str = "the red mug", timeout_s: float = 15.0, **fields: Any
    ) -> Any:
        """Send a goal and wait for its result."""
        handle = self.send(instruction, **fields)
        assert handle.accepted
        return self.result_of(handle, timeout_s).result

    @staticmethod
    def result_of(handle: Any, timeout_s: float = 15.0) -> Any:
        """Result and status of an accepted goal."""
        return wait(handle.get_result_async(), timeout_s)

    def lose_server(self) -> None:
        """Take the action off the graph, as the death of its process would."""
        self.node._server._server.destroy()
        self.node._server._server.destroy = lambda: None

    def close(self) -> None:
        """End camera and node in order; the fixture does the rest."""
        if self.camera is not None:
            self.camera.stop()
        self.node.close()
        self.client.destroy()


@pytest.fixture(name="graph")
def graph_fixture(ros: Any) -> Iterator[Callable[..., Graph]]:
    """Makes graphs and ends them."""
    made: list[Graph] = []

    def make(**kwargs: Any) -> Graph:
        made.append(Graph(ros, **kwargs))
        return made[-1]

    yield make
    for one in made:
        one.close()


def wait(future: Any, timeout_s: float = 15.0) -> Any:
    """Result of a future that another thread completes."""
    done = threading.Event()
    future.add_done_callback(lambda _: done.set())
    assert done.wait(timeout_s), f"no answer within {timeout_s} s"
    return future.result()


def wait_until(condition: Callable[[], bool], timeout_s: float = 10.0) -> None:
    """Poll until a condition holds."""
    give_up = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < give_up, f"not within {timeout_s} s"
        time.sleep(0.01)
