# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The node's health on /diagnostics: camera, model, goals."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from typing import Any, NamedTuple

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.node import Node

from roborefer_ros.errors import RoboReferError
from roborefer_ros.nodes.camera_health import FAST_DDS_HINT
from roborefer_ros.nodes.camera_info import doubts, intrinsics_from_message
from roborefer_ros.nodes.camera_subscriber import CameraSubscriber

#: errors that say nothing about the node's health: the request's own, cancelled, rejected
_HARMLESS = range(2501, 2520)


class GoalStatistics:
    """Counts of results; safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.succeeded = 0
        self.failed = 0
        self.last_error = ""
        self.last_code = 0
        self.last_total_s = 0.0

    def count(self, error_code: int, error_msg: str, total_s: float) -> None:
        """Add a result."""
        with self._lock:
            self.last_code = error_code
            self.last_total_s = total_s
            if error_code:
                self.failed += 1
                self.last_error = f"{error_code}: {error_msg}"
            else:
                self.succeeded += 1


class ModelState(NamedTuple):
    """What is known of the model.

    Attributes:
        lifecycle: label of the node's state.
        spec: the parameter ``model``.
        problem: why the last transition failed; empty where it did not.
        is_demo: whether the bundled network answers, here or behind a server.
    """

    lifecycle: str
    spec: str
    problem: str
    is_demo: bool = False


class Diagnostics:
    """Publishes the state of the node periodically."""

    def __init__(
        self,
        node: Node,
        period_s: float,
        camera: Callable[[], CameraSubscriber | None],
        model: Callable[[], ModelState],
        goals: GoalStatistics,
        queue: Callable[[], tuple[int, bool]],
    ) -> None:
        """Start publishing.

        Args:
            node: Node whose name the entries carry.
            period_s: between messages.
            camera: the camera input, None while unconfigured.
            model: its state.
            goals: counts of results.
            queue: (waiting goals, whether one runs).
        """
        self._node = node
        self._camera, self._model, self._goals, self._queue = camera, model, goals, queue
        self._publisher = node.create_publisher(DiagnosticArray, "/diagnostics", 5)
        self._timer = node.create_timer(
            period_s, self._publish, callback_group=MutuallyExclusiveCallbackGroup()
        )

    def close(self) -> None:
        """Stop."""
        self._node.destroy_timer(self._timer)
        self._node.destroy_publisher(self._publisher)

    def _publish(self) -> None:
        try:
            msg = DiagnosticArray(
                status=[self._camera_status(), self._model_status(), self._goal_status()]
            )
            msg.header.stamp = self._node.get_clock().now().to_msg()
            self._publisher.publish(msg)
        except Exception as error:  # a raising callback would end the process
            if self._node.context.ok():
                self._node.get_logger().error(
                    f"diagnostics: {type(error).__name__}: {error}", throttle_duration_sec=10.0
                )

    def _status(
        self, part: str, level: bytes, message: str, values: dict[str, Any]
    ) -> DiagnosticStatus:
        return DiagnosticStatus(
            name=f"{self._node.get_fully_qualified_name().lstrip('/')}: {part}",
            hardware_id=part,
            level=level,
            message=message,
            values=[KeyValue(key=key, value=str(value)) for key, value in values.items()],
        )

    def _camera_status(self) -> DiagnosticStatus:
        camera = self._camera()
        if camera is None:
            return self._status("camera", DiagnosticStatus.STALE, "not configured", {})
        values: dict[str, Any] = {}
        for topic in camera.topics:
            values[f"{topic.name} rate [Hz]"] = (
                f"{1.0 / topic.period_s:.1f}" if topic.period_s else "unknown"
            )
            values[f"{topic.name} messages taken"] = topic.received
            values[f"{topic.name} repeated stamps"] = topic.repeated
            if topic.received:
                values[f"{topic.name} stamp minus clock on arrival [s]"] = f"{topic.offset_s:.3f}"
                values[f"{topic.name} frame"] = ", ".join(topic.frame_ids)
            values.update(camera.health.graph_values(topic))
        stamp_ns = camera.newest_stamp_ns()
        if stamp_ns is not None:
            age_s = (self._node.get_clock().now().nanoseconds - stamp_ns) * 1e-9
            values["age of the newest frame [s]"] = f"{age_s:.3f}"
        taken = min(topic.received for topic in camera.topics[:2])
        values["synchronised frames"] = camera.matched
        values["taken without partners"] = max(0, taken - camera.matched)
        values["backward jumps of time"] = camera.jumps
        intrinsics = self._intrinsics(camera)
        values["intrinsics"] = intrinsics or "plausible"
        level, message = self._judge(camera, taken, intrinsics)
        return self._status("camera", level, message, values)

    def _intrinsics(self, camera: CameraSubscriber) -> str:
        """What is wrong or unusual with the camera info; empty where nothing is."""
        info = camera.newest_info()
        if info is None:
            return "no camera info yet"
        rectified = bool(self._node.get_parameter("rgb_is_rectified").value)
        try:
            intrinsics_from_message(info, rectified=rectified, topic=camera.names.info)
        except RoboReferError as error:
            return str(error)
        return doubts(info, rectified=rectified, topic=camera.names.info)

    def _judge(self, camera: CameraSubscriber, taken: int, intrinsics: str) -> tuple[bytes, str]:
        health = camera.health
        if camera.fault is not None:
            return DiagnosticStatus.ERROR, str(camera.fault)
        refused = health.wrong_types() or health.refusals()
        if refused:
            return DiagnosticStatus.ERROR, "; ".join(refused)
        stopped = health.stopped()
        if stopped:
            message = (
                f"the camera stopped: last message on {', '.join(stopped)}; restart its driver"
            )
            return DiagnosticStatus.ERROR, message
        offsets = health.clock_offsets(float(self._node.get_parameter("max_clock_offset_s").value))
        if offsets:
            message = f"stamps are off this node's clock: {', '.join(offsets)}; set the clocks"
            return DiagnosticStatus.ERROR, message
        unheard = health.unheard()
        if unheard:
            message = f"published but not received: {', '.join(unheard)}; {FAST_DDS_HINT}"
            self._node.get_logger().warning(message, throttle_duration_sec=30.0)
            return DiagnosticStatus.WARN, message
        if not taken:
            return DiagnosticStatus.WARN, "no camera yet"
        if taken > 10 and camera.matched < taken // 10:
            return DiagnosticStatus.WARN, "hardly any frame finds its partners; see sync_slop_s"
        odd = [
            *health.several_publishers(),
            *health.several_frames(),
            *health.zero_stamps(),
            *health.notes.values(),
        ]
        if intrinsics:
            odd.append(intrinsics)
        if odd:
            return DiagnosticStatus.WARN, "; ".join(odd)
        return DiagnosticStatus.OK, "receiving"

    def _model_status(self) -> DiagnosticStatus:
        state, spec, problem, is_demo = self._model()
        values = {"state": state, "model": spec, "problem": problem or "none"}
        if state == "active":
            values.update(_gpu_memory())
            if is_demo:
                message = (
                    "the bundled demonstration network answers; it knows simulated scenes only "
                    "(set the parameter model)"
                )
                return self._status("model", DiagnosticStatus.WARN, message, values)
            return self._status("model", DiagnosticStatus.OK, "ready", values)
        if problem:
            return self._status("model", DiagnosticStatus.ERROR, f"{state}: {problem}", values)
        return self._status("model", DiagnosticStatus.WARN, state, values)

    def _goal_status(self) -> DiagnosticStatus:
        goals = self._goals
        waiting, busy = self._queue()
        values = {
            "running": busy,
            "waiting": waiting,
            "succeeded": goals.succeeded,
            "failed": goals.failed,
            "last error": goals.last_error or "none",
            "last duration [s]": f"{goals.last_total_s:.3f}",
        }
        worried = goals.last_code and goals.last_code not in _HARMLESS
        level = DiagnosticStatus.WARN if worried else DiagnosticStatus.OK
        return self._status("goals", level, goals.last_error if worried else "ok", values)


def _gpu_memory() -> dict[str, str]:
    torch = sys.modules.get("torch")  # never import it for this
    # While another thread imports it, it is there already but lacks most of its names.
    cuda = getattr(torch, "cuda", None)
    if cuda is None or getattr(getattr(torch, "__spec__", None), "_initializing", False):
        return {}
    if not cuda.is_available():
        return {}
    free, total = cuda.mem_get_info()
    return {
        "GPU memory allocated [MiB]": f"{cuda.memory_allocated() / 2**20:.0f}",
        "GPU memory free [MiB]": f"{free / 2**20:.0f} of {total / 2**20:.0f}",
    }
