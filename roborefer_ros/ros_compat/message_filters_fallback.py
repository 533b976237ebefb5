# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Stand-in for message_filters: messages of several topics, grouped by their stamps.

The rules are those of message_filters, including the ones that surprise: the difference must be
strictly smaller than ``slop``, the first group that fits is taken, and a full queue drops its
oldest stamp even when that is the message which just came (after time went backwards, rebuild the
synchroniser).  Unlike there, an exception in a callback does not leave the lock held.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Sequence
from typing import Any

from rclpy.clock import ROSClock
from rclpy.logging import get_logger
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.time import Time

Queue = dict[int, Any]  #: stamp in nanoseconds -> message


class SimpleFilter:
    """Something that calls its callbacks with each message."""

    def __init__(self) -> None:
        self.callbacks: dict[int, tuple[Callable[..., None], tuple[Any, ...]]] = {}

    def registerCallback(self, cb: Callable[..., None], *args: Any) -> int:
        """Have ``cb(*messages, *args)`` called; returns the number of the connection."""
        connection = len(self.callbacks)
        self.callbacks[connection] = (cb, args)
        return connection

    def signalMessage(self, *msg: Any) -> None:
        """Call every callback with the messages."""
        for callback, args in list(self.callbacks.values()):
            callback(*msg, *args)


class Subscriber(SimpleFilter):
    """A subscription as a filter; keyword arguments go to ``Node.create_subscription``."""

    def __init__(
        self,
        node: Node,
        msg_type: Any,
        topic: str,
        *,
        qos_profile: QoSProfile | int = 10,
        **kwargs: Any,
    ) -> None:
        super().__init__()
        self.node = node
        self.topic = topic
        self.sub = node.create_subscription(
            msg_type, topic, self.callback, qos_profile=qos_profile, **kwargs
        )

    def callback(self, msg: Any) -> None:
        """Pass a message on."""
        self.signalMessage(msg)

    def getTopic(self) -> str:
        """Name of the topic."""
        return self.topic


class TimeSynchronizer(SimpleFilter):
    """Calls back with one message of each input when all have exactly the same stamp."""

    def __init__(self, fs: Sequence[SimpleFilter], queue_size: int) -> None:
        super().__init__()
        self.queue_size = queue_size
        self.lock = threading.Lock()
        self.connectInput(fs)

    def connectInput(self, fs: Sequence[SimpleFilter]) -> None:
        """Listen to these inputs; what was queued is dropped."""
        self.queues: list[Queue] = [{} for _ in fs]
        self.input_connections = [
            f.registerCallback(self.add, queue, index)
            for index, (f, queue) in enumerate(zip(fs, self.queues, strict=True))
        ]

    def add(self, msg: Any, my_queue: Queue, my_queue_index: int | None = None) -> None:
        """Take a message of one input and call back for each group that it completes."""
        with self.lock:
            self._store(msg, my_queue, _stamp_ns(msg))
            common = set.intersection(*(set(queue) for queue in self.queues))
            for stamp_ns in sorted(common):
                messages = [queue.pop(stamp_ns) for queue in self.queues]
                self.signalMessage(*messages)

    def _store(self, msg: Any, queue: Queue, stamp_ns: int) -> None:
        queue[stamp_ns] = msg
        while len(queue) > self.queue_size:
            del queue[min(queue)]


class ApproximateTimeSynchronizer(TimeSynchronizer):
    """Calls back with one message of each input whose stamps lie within ``slop`` seconds.

    With ``allow_headerless``, messages without a header get the ROS time of their arrival;
    otherwise they are dropped with a warning.
    """

    def __init__(
        self,
        fs: Sequence[SimpleFilter],
        queue_size: int,
        slop: float,
        allow_headerless: bool = False,
    ) -> None:
        self.slop_ns = round(slop * 1e9)
        self.allow_headerless = allow_headerless
        super().__init__(fs, queue_size)

    def add(self, msg: Any, my_queue: Queue, my_queue_index: int | None = None) -> None:
        """Take a message of one input and call back when it completes a group."""
        if hasattr(msg, "header") and hasattr(msg.header, "stamp"):
            stamp_ns = _stamp_ns(msg)
        elif self.allow_headerless:
            stamp_ns = ROSClock().now().nanoseconds
        else:
            get_logger("message_filters_approx").warning(
                "dropped a message without a header; allow_headerless=True takes its arrival time",
                throttle_duration_sec=10.0,
            )
            return
        with self.lock:
            self._store(msg, my_queue, stamp_ns)
            group = self._find_group(my_queue, stamp_ns)
            if group is not None:
                messages = [queue.pop(t) for queue, t in zip(self.queues, group, strict=True)]
                self.signalMessage(*messages)

    def _find_group(self, my_queue: Queue, stamp_ns: int) -> tuple[int, ...] | None:
        """One stamp per input, nearest to the new message first, or None."""
        if stamp_ns not in my_queue:  # dropped again: older than everything in a full queue
            return None
        candidates = [
            [stamp_ns]
            if queue is my_queue
            else sorted(
                (t for t in queue if abs(t - stamp_ns) <= self.slop_ns),
                key=lambda t: abs(t - stamp_ns),
            )
            for queue in self.queues
        ]
        for group in itertools.product(*candidates):
            if max(group) - min(group) < self.slop_ns:
                return group
        return None


def _stamp_ns(msg: Any) -> int:
    return int(Time.from_msg(msg.header.stamp).nanoseconds)
