# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The camera's topics: the newest synchronised RGB, depth and camera info, on demand.

The subscriptions live in a node and a single-threaded executor of their own, in their own thread.
They receive serialised messages (``raw``); only the stamp is read until a goal needs the frame.
In ``sampled`` mode the executor spins while a goal waits and a few times a second for the
statistics; in between the middleware keeps the newest messages and Python does nothing.
"""

from __future__ import annotations

import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from builtin_interfaces.msg import Time as TimeMsg
from rclpy.clock import JumpThreshold, TimeJump
from rclpy.duration import Duration
from rclpy.event_handler import SubscriptionEventCallbacks
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy
from rclpy.serialization import deserialize_message
from rclpy.subscription import Subscription
from sensor_msgs.msg import CameraInfo, Image

from roborefer_ros.errors import (
    CameraStalledError,
    FramesNotSynchronizedError,
    InvalidImageError,
    NoCameraError,
)
from roborefer_ros.nodes.parameters import NodeOptions
from roborefer_ros.nodes.side_node import create_side_node
from roborefer_ros.pointing.pointer import check_interrupts
from roborefer_ros.standalone import message_filters

#: relative names that users remap
TOPICS = (("rgb/image", Image), ("depth/image", Image), ("rgb/camera_info", CameraInfo))

#: of a depth camera that is not aligned with the colour camera; may stay silent
DEPTH_INFO = "depth/camera_info"

FAST_DDS_HINT = (
    "with Fast DDS, best-effort images larger than 0.5 MB hardly arrive unless its shared-memory "
    "segment is "
    "enlarged: start with "
    "FASTDDS_DEFAULT_PROFILES_FILE=<share/roborefer_ros/config/fastdds_shm.xml>"
)

#: how often the sampled mode looks at the topics while no goal waits, seconds
_SAMPLE_PERIOD_S = 1.0
#: without a message for this long a topic counts as silent, seconds
_SILENCE_S = 2 * _SAMPLE_PERIOD_S + 1.0
#: stamps that go back by more than this are a jump, not disorder
_BACKWARD_JUMP_NS = 500_000_000
#: how long after a jump of the clock messages of the old time may still come in, seconds: longer
#: than a sample period, since the middleware holds some
_LEFTOVERS_S = 3.0
_POLL_S = 0.05


class _Header(NamedTuple):
    stamp: TimeMsg


@dataclass(frozen=True)
class SerializedMessage:
    """A message as it came over the wire, with the one thing the synchroniser reads."""

    header: _Header
    data: bytes
    stamp_ns: int

    @staticmethod
    def parse(data: bytes) -> SerializedMessage:
        """Read the stamp, the first field of the header, from the CDR bytes.

        Raises:
            InvalidImageError: too short.
        """
        if len(data) < 12:
            raise InvalidImageError(
                f"a serialised camera message of {len(data)} bytes holds no stamp"
            )
        # Byte 1 of the encapsulation tells the byte order; the content starts at byte 4.
        sec, nanosec = struct.unpack_from("<iI" if data[1] & 1 else ">iI", data, 4)
        header = _Header(TimeMsg(sec=sec, nanosec=nanosec))
        return SerializedMessage(header, data, sec * 1_000_000_000 + nanosec)


@dataclass(frozen=True)
class CameraMessages:
    """RGB, depth and camera info of one moment; the depth camera's info where one is published."""

    rgb: Image
    depth: Image
    info: CameraInfo
    depth_info: CameraInfo | None = None


@dataclass
class TopicState:
    """What is known about one topic.

    Attributes:
        received: messages taken.
        stamp_ns: stamp of the newest.
        arrived_s: ``time.monotonic()`` of the newest; -inf before the first.
        period_s: smoothed distance of neighbouring stamps; 0 where unknown.
        refused: why publishers and this subscription do not match; empty where they do.
    """

    name: str
    received: int = 0
    stamp_ns: int = 0
    arrived_s: float = float("-inf")
    period_s: float = 0.0
    refused: str = ""


class _Triple(NamedTuple):
    rgb: SerializedMessage
    depth: SerializedMessage
    info: SerializedMessage
    arrived_s: float


class CameraInput:
    """Receives the camera until ``close``."""

    def __init__(self, parent: Node, options: NodeOptions, on_jump: Callable[[], None]) -> None:
        """Subscribe.

        Args:
            parent: names, remappings, clock settings and log are taken from it.
            options: slop, queue, reliability, mode.
            on_jump: called after time went backwards, from the camera's thread.
        """
        self._options = options
        self._on_jump = on_jump
        self._log = parent.get_logger().get_child("camera")
        self._lock = threading.Condition()
        self._newest: _Triple | None = None
        self._since_s = time.monotonic()
        self._wanted = 0
        self._closing = False
        self._jumped = False
        self._clock_jumped_s = float("-inf")
        self.jumps = 0
        self.matched = 0
        # Topics get the parent's names, already resolved.
        self._node = create_side_node(parent, "camera")
        self.topics = [TopicState(parent.resolve_topic_name(name)) for name, _ in TOPICS]
        self._depth_info: bytes | None = None
        self._synchronise()
        self._subscriptions = [self._subscribe(i, kind) for i, (_, kind) in enumerate(TOPICS)]
        # Not synchronised: it only matters where depth is not aligned, and hardly ever changes.
        self._node.create_subscription(
            CameraInfo,
            parent.resolve_topic_name(DEPTH_INFO),
            self._store_depth_info,
            QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT),
            raw=True,
        )
        # The parent's clock, which also stamps the goals: whoever is asked after the jump knows.
        self._clock = parent.get_clock()
        self._jump_handle = self._clock.create_jump_callback(
            JumpThreshold(min_forward=None, min_backward=Duration(nanoseconds=-1)),
            post_callback=self._clock_jumped,
        )
        self._executor = SingleThreadedExecutor(context=parent.context)
        self._executor.add_node(self._node)
        self._thread = threading.Thread(target=self._run, name="roborefer_camera", daemon=True)
        self._thread.start()

    # --- for goals ---------------------------------------------------------------------

    def wait_for_frame(
        self,
        not_before_ns: int,
        timeout_s: float,
        deadline: float | None,
        cancelled: Callable[[], bool],
    ) -> CameraMessages:
        """The newest frame, as soon as there is one stamped ``not_before_ns`` or later.

        Args:
            not_before_ns: stamp in nanoseconds.
            timeout_s: longest wait (the parameter ``frame_timeout_s``).
            deadline: ``time.monotonic()`` value.
            cancelled: polled.

        Raises:
            NoCameraError, CameraStalledError, FramesNotSynchronizedError: see there; after
                ``timeout_s``.
            CanceledError, DeadlineExceededError
        """
        give_up_s = time.monotonic() + timeout_s
        counts = [topic.received for topic in self.topics]
        with self._lock:
            self._wanted += 1
            self._lock.notify_all()
            try:
                while True:
                    newest = self._newest
                    if newest is not None and newest.rgb.stamp_ns >= not_before_ns:
                        break
                    check_interrupts(deadline, cancelled)
                    if time.monotonic() >= give_up_s:
                        raise self._why_no_frame(not_before_ns, timeout_s, counts)
                    self._lock.wait(_POLL_S)
            finally:
                self._wanted -= 1
        depth_info = self._depth_info
        return CameraMessages(
            deserialize_message(newest.rgb.data, Image),
            deserialize_message(newest.depth.data, Image),
            deserialize_message(newest.info.data, CameraInfo),
            deserialize_message(depth_info, CameraInfo) if depth_info is not None else None,
        )

    def _why_no_frame(
        self, not_before_ns: int, timeout_s: float, counts: list[int]
    ) -> NoCameraError | CameraStalledError | FramesNotSynchronizedError:
        waited = f"within {timeout_s:g} s (frame_timeout_s)"
        silent = [topic for topic in self.topics if not topic.received]
        if silent:
            reasons = "; ".join(f"'{t.name}': {self._why_silent(t)}" for t in silent)
            return NoCameraError(
                f"no message on {len(silent)} of {len(self.topics)} camera topics {waited}: "
                f"{reasons}"
            )
        stalled = [t for t, count in zip(self.topics, counts, strict=True) if t.received == count]
        if stalled:
            now_s = time.monotonic()
            ages = ", ".join(f"'{t.name}' {now_s - t.arrived_s:.1f} s ago" for t in stalled)
            return CameraStalledError(
                f"the camera stopped: nothing new {waited}, last message on {ages}; restart the "
                "camera driver"
            )
        newest_ns = max(topic.stamp_ns for topic in self.topics[:1])
        if newest_ns < not_before_ns:
            return CameraStalledError(
                "all camera topics deliver, but their newest stamp is "
                f"{(not_before_ns - newest_ns) * 1e-9:.2f} s too "
                f"old {waited}; check the camera's clock and use_sim_time, or raise "
                "frame_tolerance_s"
            )
        stamps = [topic.stamp_ns for topic in self.topics]
        return FramesNotSynchronizedError(
            "all camera topics deliver, but no RGB, depth and camera info lie within "
            f"{self._options.sync_slop_s:g} s "
            f"(sync_slop_s) {waited}; the newest stamps are "
            f"{(max(stamps) - min(stamps)) * 1e-9:.3f} s apart: check that "
            "they come from one camera, or raise sync_slop_s"
        )

    def _why_silent(self, topic: TopicState) -> str:
        if topic.refused:
            return topic.refused
        if not self._node.count_publishers(topic.name):
            return "no publisher; start the camera driver or remap the topic"
        return f"a publisher exists but nothing arrives; {FAST_DDS_HINT}"

    # --- for diagnostics ---------------------------------------------------------------

    def newest_stamp_ns(self) -> int | None:
        """Stamp of the newest synchronised frame."""
        with self._lock:
            return self._newest.rgb.stamp_ns if self._newest else None

    def unheard(self) -> list[str]:
        """Topics with a publisher from which nothing has ever come."""
        if time.monotonic() - self._since_s < _SILENCE_S:
            return []
        return [
            t.name for t in self.topics if not t.received and self._node.count_publishers(t.name)
        ]

    def stopped(self) -> list[str]:
        """Topics that delivered and then fell silent, with the time since; publisher or not."""
        now_s = time.monotonic()
        return [
            f"'{t.name}' {now_s - t.arrived_s:.1f} s ago"
            for t in self.topics
            if t.received and now_s - t.arrived_s > _SILENCE_S
        ]

    def refusals(self) -> list[str]:
        """Topics whose publishers and this subscription do not match, with the reason."""
        return [f"'{t.name}': {t.refused}" for t in self.topics if t.refused]

    # --- the thread --------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while not self._closing:
                if self._wanted or self._options.camera_mode == "continuous":
                    self._executor.spin_once(timeout_sec=_POLL_S)
                else:
                    self._take_waiting()
                    with self._lock:
                        if not (self._wanted or self._closing):
                            self._lock.wait(_SAMPLE_PERIOD_S)
                if self._jumped:
                    self._rebuild()
        except ExternalShutdownException:
            pass
        except Exception as error:
            if not self._closing and self._node.context.ok():
                self._log.error(f"the camera thread ended: {type(error).__name__}: {error}")

    def _take_waiting(self) -> None:
        """Take what the middleware holds: a few messages of each topic."""
        idle_rounds = 0
        for _ in range(50):
            before = sum(topic.received for topic in self.topics)
            self._executor.spin_once(timeout_sec=0.0)
            idle_rounds = idle_rounds + 1 if sum(t.received for t in self.topics) == before else 0
            if idle_rounds > 2 or self._wanted or self._closing:
                return

    def _subscribe(self, index: int, kind: type) -> Subscription[Any]:
        reliable = self._options.image_reliability == "reliable"
        profile = QoSProfile(
            history=HistoryPolicy.KEEP_LAST,
            # Two, so that topics which come at different times still have one moment in common.
            depth=2 if kind is Image else 5,
            reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT,
        )
        topic = self.topics[index]

        def received(data: bytes) -> None:
            self._received(index, data)

        def incompatible(event: Any) -> None:
            policy = str(getattr(event, "last_policy_kind", "")).rsplit(".", 1)[-1]
            topic.refused = (
                f"a publisher offers an incompatible QoS ({policy}); set image_reliability to "
                "best_effort "
                "or change the camera driver's QoS"
            )
            self._log.error(f"'{topic.name}': {topic.refused}")

        return self._node.create_subscription(
            kind,
            topic.name,
            received,
            profile,
            raw=True,
            event_callbacks=SubscriptionEventCallbacks(incompatible_qos=incompatible),
        )

    def _received(self, index: int, data: bytes) -> None:
        """Count, and pass on to the synchroniser; must not raise (it would end the thread)."""
        try:
            message = SerializedMessage.parse(data)
            if self._jumped:
                self._rebuild()
            if self._is_left_over(message.stamp_ns):
                return
            topic = self.topics[index]
            step_ns = message.stamp_ns - topic.stamp_ns
            if topic.received and step_ns < -_BACKWARD_JUMP_NS:
                self._rebuild()
            elif topic.received and 0 < step_ns < _BACKWARD_JUMP_NS:
                step_s = step_ns * 1e-9
                # The middleware may have dropped frames in between, so the shortest counts most.
                shorter = not topic.period_s or step_s < topic.period_s
                topic.period_s = step_s if shorter else 0.9 * topic.period_s + 0.1 * step_s
            topic.received += 1
            topic.refused = ""
            topic.stamp_ns, topic.arrived_s = message.stamp_ns, time.monotonic()
            self._filters[index].signalMessage(message)
        except Exception as error:
            self._log.error(
                f"'{self.topics[index].name}': dropped a message: {type(error).__name__}: {error}",
                throttle_duration_sec=5.0,
            )

    def _store_depth_info(self, data: bytes) -> None:
        self._depth_info = data

    def _matched(self, rgb: Any, depth: Any, info: Any) -> None:
        with self._lock:
            if self._jumped:
                return  # the clock did, while this was on its way through the synchroniser
            self.matched += 1
            self._newest = _Triple(rgb, depth, info, time.monotonic())
            self._lock.notify_all()

    # --- time that goes backwards ------------------------------------------------------

    def _synchronise(self) -> None:
        # New filters too: those of the old synchroniser cannot be disconnected.
        self._filters = [message_filters.SimpleFilter() for _ in TOPICS]
        self._synchronizer = message_filters.ApproximateTimeSynchronizer(
            self._filters, self._options.sync_queue_size, self._options.sync_slop_s
        )
        self._synchronizer.registerCallback(self._matched)

    def _clock_jumped(self, _: TimeJump) -> None:
        """Take away what is held at once; the camera's thread does the rest when it wakes up."""
        with self._lock:
            self._clock_jumped_s = time.monotonic()
            self._newest = None
            self._jumped = True

    def _is_left_over(self, stamp_ns: int) -> bool:
        """Whether a stamp is of the time before the clock's last jump: in the future now."""
        if time.monotonic() - self._clock_jumped_s > _LEFTOVERS_S:
            return False
        return stamp_ns > int(self._clock.now().nanoseconds) + _BACKWARD_JUMP_NS

    def _rebuild(self) -> None:
        """Forget everything from before the jump: full queues of later stamps would never match."""
        self._jumped = False
        self.jumps += 1
        self._log.warning(
            "time went backwards: dropped the held frames and rebuilt the synchroniser"
        )
        with self._lock:
            self._newest = None
        for topic in self.topics:
            topic.stamp_ns, topic.period_s = 0, 0.0
        self._synchronise()
        self._on_jump()

    def close(self) -> None:
        """Unsubscribe and join the thread."""
        with self._lock:
            self._closing = True
            self._lock.notify_all()
        self._executor.wake()
        self._thread.join()
        self._jump_handle.unregister()
        self._executor.remove_node(self._node)
        self._executor.shutdown()
        self._node.destroy_node()
