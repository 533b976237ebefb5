# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""A /clock that jumps: the simulated time that camera and node of the soak live in."""

from __future__ import annotations

import threading
import time

import rclpy
from rclpy.context import Context
from rclpy.node import Node
from rosgraph_msgs.msg import Clock

_PERIOD_S = 0.01


class JumpingClock:
    """Publishes the running time plus an offset, 100 times a second, until ``close``."""

    def __init__(self) -> None:
        self._context = Context()
        rclpy.init(context=self._context)
        self._node = Node("soak_clock", context=self._context)
        self._publisher = self._node.create_publisher(Clock, "/clock", 10)
        self._offset_ns = 10**12
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="soak_clock", daemon=True)
        self._thread.start()

    def jump(self, seconds: float) -> None:
        """Move time forward, or back where negative."""
        self._offset_ns += round(seconds * 1e9)

    def say_nonsense(self) -> None:
        """Publish one time before the beginning of time."""
        message = Clock()
        message.clock.sec = -5
        self._publisher.publish(message)

    def close(self) -> None:
        """Stop."""
        self._closing.set()
        self._thread.join()
        self._node.destroy_node()
        self._context.try_shutdown()

    def _run(self) -> None:
        message = Clock()
        while not self._closing.wait(_PERIOD_S):
            now_ns = time.monotonic_ns() + self._offset_ns
            message.clock.sec, message.clock.nanosec = divmod(now_ns, 10**9)
            self._publisher.publish(message)
