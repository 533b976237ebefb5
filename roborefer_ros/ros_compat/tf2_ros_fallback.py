# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Stand-in for tf2_ros: buffer, listener and broadcasters, in the call signatures of tf2_ros.

Covers lookups in one frame tree, at a time or the latest.  Left out: lookups over a fixed frame,
the asynchronous calls, the ``tf2_frames`` service and the conversion registry.
"""

from __future__ import annotations

import contextlib
import threading
import time as wall
from collections.abc import Iterable
from typing import Any

import numpy as np
from geometry_msgs.msg import TransformStamped
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.clock import Clock, JumpThreshold, TimeJump
from rclpy.duration import Duration
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.logging import get_logger
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile
from rclpy.time import Time
from tf2_msgs.msg import TFMessage

from .transform_tree import (
    ConnectivityException,
    ExtrapolationException,
    InvalidArgumentException,
    LookupException,
    Transform,
    TransformException,
    TransformTree,
)

__all__ = [
    "Buffer",
    "ConnectivityException",
    "ExtrapolationException",
    "InvalidArgumentException",
    "LookupException",
    "StaticTransformBroadcaster",
    "TransformBroadcaster",
    "TransformException",
    "TransformListener",
]

DEFAULT_CACHE_TIME_S = 10.0


class Buffer:
    """Keeps the transforms of the last ``cache_time`` and answers lookups, from any thread.

    With a node it follows the node's clock: a jump backwards, or a switch to or from simulated
    time, clears what moves.
    """

    def __init__(self, cache_time: Duration | None = None, node: Node | None = None) -> None:
        cache_ns = (
            round(DEFAULT_CACHE_TIME_S * 1e9) if cache_time is None else cache_time.nanoseconds
        )
        self._tree = TransformTree(cache_ns)
        self._news = threading.Condition()
        self.clock = node.get_clock() if node is not None else Clock()
        threshold = JumpThreshold(
            min_forward=None, min_backward=Duration(nanoseconds=-1), on_clock_change=True
        )
        self.jump_handle = self.clock.create_jump_callback(
            threshold, post_callback=self.time_jump_callback
        )

    def time_jump_callback(self, time_jump: TimeJump) -> None:
        """Clear after a jump."""
        get_logger("tf2_buffer").warning("Detected jump back in time. Clearing tf buffer.")
        self.clear()

    def clear(self) -> None:
        """Forget all transforms that move."""
        with self._news:
            self._tree.clear()

    def set_transform(self, transform: TransformStamped, authority: str) -> None:
        """Add a transform that holds at its stamp."""
        self._insert(transform, authority, is_static=False)

    def set_transform_static(self, transform: TransformStamped, authority: str) -> None:
        """Add a transform that holds at all times."""
        self._insert(transform, authority, is_static=True)

    def _insert(self, transform: TransformStamped, authority: str, *, is_static: bool) -> None:
        t, r = transform.transform.translation, transform.transform.rotation
        pose = Transform(np.array([t.x, t.y, t.z]), np.array([r.x, r.y, r.z, r.w]))
        time_ns = Time.from_msg(transform.header.stamp).nanoseconds
        with self._news:
            refused = self._tree.insert(
                transform.child_frame_id,
                transform.header.frame_id,
                time_ns,
                pose,
                is_static=is_static,
            )
            self._news.notify_all()
        if refused:
            get_logger("tf2_buffer").warning(
                f"ignored a transform from {authority}: {refused}", throttle_duration_sec=10.0
            )

    def lookup_transform(
        self, target_frame: str, source_frame: str, time: Time, timeout: Duration | None = None
    ) -> TransformStamped:
        """The transform that takes points of ``source_frame`` into ``target_frame``.

        Waits up to ``timeout`` (default: not at all) for it to become possible, so something else
        must be spinning the node of the listener.

        Raises:
            TransformException: one of its subclasses, with the frames and times in the message.
        """
        self.can_transform(target_frame, source_frame, time, timeout)
        with self._news:
            time_ns, pose = self._tree.lookup(target_frame, source_frame, time.nanoseconds)
        result = TransformStamped()
        result.header.stamp = Time(nanoseconds=time_ns).to_msg()
        result.header.frame_id = target_frame
        result.child_frame_id = source_frame
        t, r = result.transform.translation, result.transform.rotation
        t.x, t.y, t.z = map(float, pose.translation)
        r.x, r.y, r.z, r.w = map(float, pose.rotation)
        return result

    def can_transform(
        self,
        target_frame: str,
        source_frame: str,
        time: Time,
        timeout: Duration | None = None,
        return_debug_tuple: bool = False,
    ) -> Any:
        """Whether the lookup would succeed, waiting up to ``timeout``; with the reason if asked."""
        # Wall time on purpose: a timeout must pass while simulated time is paused.
        deadline = wall.monotonic() + (timeout.nanoseconds * 1e-9 if timeout is not None else 0.0)
        with self._news:
            while True:
                try:
                    self._tree.lookup(target_frame, source_frame, time.nanoseconds)
                    possible, reason = True, ""
                except TransformException as error:
                    possible, reason = False, str(error)
                left = deadline - wall.monotonic()
                if possible or left <= 0.0:
                    return (possible, reason) if return_debug_tuple else possible
                self._news.wait(left)


class TransformListener:
    """Fills a buffer from ``/tf`` and ``/tf_static``; with ``spin_thread`` it spins the node."""

    def __init__(
        self,
        buffer: Buffer,
        node: Node,
        *,
        spin_thread: bool = False,
        qos: QoSProfile | int | None = None,
        static_qos: QoSProfile | int | None = None,
        tf_topic: str = "/tf",
        tf_static_topic: str = "/tf_static",
    ) -> None:
        self.buffer = buffer
        self.node = node
        # Reentrant, so that a lookup may wait in another callback of the node.
        self.group = ReentrantCallbackGroup()
        self.tf_sub = node.create_subscription(
            TFMessage,
            tf_topic,
            self.callback,
            qos or QoSProfile(depth=100),
            callback_group=self.group,
        )
        self.tf_static_sub = node.create_subscription(
            TFMessage,
            tf_static_topic,
            self.static_callback,
            static_qos or _latched(depth=100),
            callback_group=self.group,
        )
        self.executor: SingleThreadedExecutor | None = None
        if spin_thread:
            self.executor = SingleThreadedExecutor(context=node.context)
            self.executor.add_node(node)
            self.dedicated_listener_thread = threading.Thread(
                target=_spin, args=(self.executor,), daemon=True
            )
            self.dedicated_listener_thread.start()

    def __del__(self) -> None:
        if getattr(self, "executor", None) is not None:
            assert self.executor is not None
            self.executor.shutdown()
            self.dedicated_listener_thread.join()
        self.unregister()

    def unregister(self) -> None:
        """Stop listening."""
        for name in ("tf_sub", "tf_static_sub"):
            subscription = self.__dict__.pop(name, None)
            if subscription is not None:
                self.node.destroy_subscription(subscription)

    def callback(self, data: TFMessage) -> None:
        """Take the transforms of a ``/tf`` message."""
        for transform in data.transforms:
            self.buffer.set_transform(transform, "default_authority")

    def static_callback(self, data: TFMessage) -> None:
        """Take the transforms of a ``/tf_static`` message."""
        for transform in data.transforms:
            self.buffer.set_transform_static(transform, "default_authority")


class TransformBroadcaster:
    """Sends transforms on ``/tf``."""

    def __init__(self, node: Node, qos: QoSProfile | int | None = None) -> None:
        self.pub_tf = node.create_publisher(TFMessage, "/tf", qos or QoSProfile(depth=100))

    def sendTransform(self, transform: TransformStamped | Iterable[TransformStamped]) -> None:
        """Send one or several transforms."""
        self.pub_tf.publish(TFMessage(transforms=_as_list(transform)))


class StaticTransformBroadcaster:
    """Sends transforms on ``/tf_static``: each time all of them, for those who join late."""

    def __init__(self, node: Node, qos: QoSProfile | int | None = None) -> None:
        self.pub_tf = node.create_publisher(TFMessage, "/tf_static", qos or _latched(depth=1))
        self._transforms: dict[str, TransformStamped] = {}

    def sendTransform(self, transform: TransformStamped | Iterable[TransformStamped]) -> None:
        """Send one or several transforms; a child that was sent before is replaced."""
        for one in _as_list(transform):
            self._transforms[one.child_frame_id] = one
        self.pub_tf.publish(TFMessage(transforms=list(self._transforms.values())))


def _as_list(transform: TransformStamped | Iterable[TransformStamped]) -> list[TransformStamped]:
    return [transform] if isinstance(transform, TransformStamped) else list(transform)


def _latched(depth: int) -> QoSProfile:
    return QoSProfile(
        depth=depth, durability=DurabilityPolicy.TRANSIENT_LOCAL, history=HistoryPolicy.KEEP_LAST
    )


def _spin(executor: SingleThreadedExecutor) -> None:
    with contextlib.suppress(ExternalShutdownException):
        executor.spin()
