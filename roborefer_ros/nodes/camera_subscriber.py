# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The camera's topics: the newest synchronised RGB and depth with their camera info, on demand.

The subscriptions live in a node and a single-threaded executor of their own, in their own thread.
They receive serialised messages (``raw``); only the header is read until a goal needs the frame.
In ``sampled`` mode the executor spins while a goal waits and a few times a second for the
statistics; in between the middleware keeps the newest messages and Python does nothing.

RGB and depth are paired by their stamps. Camera info hardly ever changes and is often published
once, so the newest of the image's frame and size belongs to it, whatever its stamp.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

from rclpy.clock import JumpThreshold, TimeJump
from rclpy.duration import Duration
from rclpy.executors import (
    ExternalShutdownException,
    ShutdownException,
    SingleThreadedExecutor,
)
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy
from rclpy.serialization import deserialize_message
from rclpy.subscription import Subscription
from sensor_msgs.msg import CameraInfo

from roborefer_ros.cancellation import Cancellation
from roborefer_ros.errors import NodeFaultError
from roborefer_ros.nodes.arrival_clock import ArrivalClock
from roborefer_ros.nodes.camera_health import CameraHealth
from roborefer_ros.nodes.camera_topics import (
    BACKWARD_JUMP_NS,
    DEPTH_INFO,
    TOPICS,
    CameraMessages,
    SerializedMessage,
    TopicNames,
    TopicState,
    topic_states,
)
from roborefer_ros.nodes.dedicated_node import create_side_node
from roborefer_ros.nodes.parameters import NodeOptions
from roborefer_ros.nodes.transforms import frame_name
from roborefer_ros.ros_compat import message_filters

try:
    from rclpy.event_handler import SubscriptionEventCallbacks
except ImportError:  # Humble
    from rclpy.qos_event import SubscriptionEventCallbacks

#: whether callbacks may take what rclpy knows of a message; Humble's take the message alone
TELLS_ARRIVAL = hasattr(Subscription, "CallbackType")

__all__ = ["DEPTH_INFO", "CameraSubscriber", "CameraMessages", "SerializedMessage", "TopicState"]

#: how often the sampled mode looks at the topics while no goal waits, seconds
_SAMPLE_PERIOD_S = 1.0
#: how long after a jump of the clock messages of the old time may still come in, seconds: longer
#: than a sample period, since the middleware holds some
_LEFTOVERS_S = 3.0
#: camera infos that are kept, so that each image finds that of its own camera
_KEPT_INFOS = 8
#: failures in a row, without a single message between, after which the thread is beyond help
_MOST_FAILURES = 200
_POLL_S = 0.05


class _Pair(NamedTuple):
    rgb: SerializedMessage
    depth: SerializedMessage

    @property
    def moment_ns(self) -> int:
        """When it was taken at the latest, nanoseconds of the node's clock.

        A stamp alone does not tell: that of a clock which runs ahead stays newer than every goal.
        """
        return min(self.rgb.moment_ns, self.depth.arrived_ns)

    @property
    def ahead_s(self) -> float:
        """How far its stamp lies in the future of its arrival, seconds."""
        return (self.rgb.stamp_ns - self.rgb.arrived_ns) * 1e-9


class CameraSubscriber:
    """Receives the camera until ``close``."""

    def __init__(
        self,
        parent: Node,
        options: NodeOptions,
        on_jump: Callable[[], None],
        on_fault: Callable[[NodeFaultError], None] = lambda _: None,
    ) -> None:
        """Subscribe.

        Args:
            parent: Node that gives names, remappings, clock settings and log.
            options: Slop, queue, reliability and mode.
            on_jump: Called after time went backwards, from the camera's thread.
            on_fault: Called when the camera's thread ends by itself, from that thread.
        """
        self._options = options
        self._on_jump, self._on_fault = on_jump, on_fault
        self._log = parent.get_logger().get_child("camera")
        self._lock = threading.Condition()
        self._newest: _Pair | None = None
        self._wanted = 0
        self._closing = False
        self._jumped = False
        self._clock_jumped_s = float("-inf")
        #: why the thread ended by itself; None while it runs
        self.fault: NodeFaultError | None = None
        self.jumps = 0
        self.matched = 0
        # Topics get the parent's names, already resolved.
        self._node = create_side_node(parent, "camera")
        self.topics = topic_states(parent.resolve_topic_name, vars(options))
        self._depth_info_topic = parent.resolve_topic_name(DEPTH_INFO)
        rgb, depth, info = (topic.name for topic in self.topics)
        self.names = TopicNames(rgb, depth, info, self._depth_info_topic)
        self.health = CameraHealth(self._node, self.topics, options.sync_slop_s)
        self._infos: deque[SerializedMessage] = deque(maxlen=_KEPT_INFOS)
        self._depth_info: bytes | None = None
        # The parent's clock, which also stamps the goals: whoever is asked after the jump knows.
        self._clock: Any = parent.get_clock()
        self._arrivals = ArrivalClock(self._clock)
        self._synchronise()
        self._subscribe_all()
        self._latched: set[str] = set()
        self._looked_s = float("-inf")
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
        cancellation: Cancellation,
        *,
        after_stamp_ns: int | None = None,
        max_offset_s: float = 0.5,
    ) -> CameraMessages:
        """The newest frame, as soon as there is one taken at ``not_before_ns`` or later.

        Args:
            not_before_ns: Oldest moment, nanoseconds. A frame was taken when its stamp says, and
                at the latest when it arrived.
            timeout_s: Longest wait, seconds (the parameter ``frame_timeout_s``).
            cancellation: Deadline and cancel flag; looked at while waiting.
            after_stamp_ns: Stamp that the frame's must exceed, nanoseconds.
            max_offset_s: How far stamps may lie in the future, seconds (``max_clock_offset_s``).

        Raises:
            NoCameraError, CameraStalledError, CameraClockError, WrongMessageTypeError,
                FramesNotSynchronizedError: See there; after ``timeout_s``.
            NodeFaultError: The camera's thread ended.
            CanceledError, DeadlineExceededError
        """

        def fits(pair: _Pair) -> bool:
            new = after_stamp_ns is None or pair.rgb.stamp_ns > after_stamp_ns
            return new and pair.moment_ns >= not_before_ns and pair.ahead_s <= max_offset_s

        give_up_s = time.monotonic() + timeout_s
        counts = [topic.received for topic in self.topics]
        with self._lock:
            self._wanted += 1
            self._lock.notify_all()
            try:
                while True:
                    newest = self._newest
                    if newest is not None and self._infos and fits(newest):
                        break
                    if self.fault is not None:
                        raise NodeFaultError(str(self.fault))
                    cancellation.check()
                    if time.monotonic() >= give_up_s:
                        raise self.health.why_no_frame(
                            not_before_ns, timeout_s, counts, max_offset_s
                        )
                    self._lock.wait(_POLL_S)
                info = self._info_of(newest.rgb)
            finally:
                self._wanted -= 1
        depth_info = self._depth_info
        return CameraMessages(
            deserialize_message(newest.rgb.data, self.topics[0].kind),
            deserialize_message(newest.depth.data, self.topics[1].kind),
            deserialize_message(info.data, CameraInfo),
            deserialize_message(depth_info, CameraInfo) if depth_info is not None else None,
            self.names,
        )

    def _info_of(self, rgb: SerializedMessage) -> SerializedMessage:
        """The camera info of an image: of its frame and size where there is one, nearest in time.

        What belongs to another camera is left to the checks of frame and size, which say so.
        """

        def distance(info: SerializedMessage) -> tuple[bool, bool, int]:
            other_frame = frame_name(info.frame_id) not in ("", frame_name(rgb.frame_id))
            # Binning and regions make sizes differ rightly.
            other_size = rgb.size != (0, 0) and info.size != rgb.size
            return other_frame, other_size, abs(info.stamp_ns - rgb.stamp_ns)

        return min(self._infos, key=distance)

    # --- for diagnostics ---------------------------------------------------------------

    def newest_stamp_ns(self) -> int | None:
        """Stamp of the newest synchronised frame."""
        with self._lock:
            return self._newest.rgb.stamp_ns if self._newest else None

    def newest_info(self) -> CameraInfo | None:
        """The camera info that the newest frame would get, else the newest of all."""
        with self._lock:
            if not self._infos:
                return None
            info = self._info_of(self._newest.rgb) if self._newest else self._infos[-1]
        return deserialize_message(info.data, CameraInfo)

    def warn(self, kind: str, text: str) -> None:
        """Tell of something odd that a goal found: once in the log, from then on in diagnostics."""
        if self.health.notes.get(kind) != text:
            self.health.notes[kind] = text
            self._log.warning(text)

    # --- the thread --------------------------------------------------------------------

    def _run(self) -> None:
        failures = 0
        try:
            while not self._closing:
                before = sum(topic.received for topic in self.topics)
                try:
                    self._step()
                    failures = 0
                except (ExternalShutdownException, ShutdownException):
                    return
                except Exception as error:  # of a callback: one bad message must not end it
                    if self._closing or not self._node.context.ok():
                        return
                    came = sum(topic.received for topic in self.topics) > before
                    failures = 0 if came else failures + 1
                    if failures >= _MOST_FAILURES:
                        raise
                    self._log.error(
                        f"the camera thread goes on after {type(error).__name__}: {error}",
                        throttle_duration_sec=5.0,
                    )
                    time.sleep(_POLL_S)
        except BaseException as error:
            self._fail(error)

    def _step(self) -> None:
        """Take what has come; wait for more while a goal does, else until the next look."""
        self._hear_latched()
        if self._wanted or self._options.camera_mode == "continuous":
            if self._arrivals.takes_held:
                self._take_held()
            self._executor.spin_once(timeout_sec=_POLL_S)
        else:
            self._take_held()
            with self._lock:
                if not (self._wanted or self._closing):
                    self._lock.wait(_SAMPLE_PERIOD_S)
            self._arrivals.takes_held = True
        if self._jumped:
            self._rebuild()

    def _fail(self, error: BaseException) -> None:
        if self._closing or not self._node.context.ok():
            return
        fault = NodeFaultError(
            f"the camera thread ended: {type(error).__name__}: {error}; the node leaves its active "
            "state: configure and activate it again, and report this"
        )
        self._log.error(str(fault))
        with self._lock:
            self.fault = fault
            self._newest = None
            self._lock.notify_all()
        self._on_fault(fault)

    def _take_held(self) -> None:
        """Take what the middleware holds: a few messages of each topic."""
        self._arrivals.takes_held = True
        idle_rounds = 0
        for _ in range(50):
            before = sum(topic.received + topic.repeated for topic in self.topics)
            self._executor.spin_once(timeout_sec=0.0)
            after = sum(topic.received + topic.repeated for topic in self.topics)
            idle_rounds = idle_rounds + 1 if after == before else 0
            if idle_rounds > 2 or self._closing:
                break
        self._arrivals.mark_emptied()

    # --- subscriptions -----------------------------------------------------------------

    def _subscribe_all(self) -> None:
        for index, topic in enumerate(self.topics[:2]):
            self._subscribe(topic, self._image_callback(index))
        self._subscribe(self.topics[2], self._info_received)
        # Not synchronised: it only matters where depth is not aligned, and hardly ever changes.
        self._node.create_subscription(
            CameraInfo,
            self._depth_info_topic,
            self._store_depth_info,
            QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT),
            raw=True,
        )

    def _image_callback(self, index: int) -> Callable[..., None]:
        if not TELLS_ARRIVAL:
            return lambda data: self._received(index, data)

        def received(data: bytes, info: dict[str, Any]) -> None:
            self._received(index, data, info)

        return received

    def _subscribe(self, topic: TopicState, callback: Any) -> Subscription[Any]:
        reliable = self._options.image_reliability == "reliable"
        profile = QoSProfile(
            history=HistoryPolicy.KEEP_LAST,
            # Two, so that topics which come at different times still have one moment in common.
            depth=5 if topic.kind is CameraInfo else 2,
            reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT,
        )

        def incompatible(event: Any) -> None:
            policy = str(getattr(event, "last_policy_kind", "")).rsplit(".", 1)[-1]
            topic.refused = (
                f"a publisher offers an incompatible QoS ({policy}); set image_reliability to "
                "best_effort or change the camera driver's QoS"
            )
            self._log.error(f"'{topic.name}': {topic.refused}")

        return self._node.create_subscription(
            topic.kind,
            topic.name,
            callback,
            profile,
            raw=True,
            event_callbacks=SubscriptionEventCallbacks(incompatible_qos=incompatible),
        )

    def _hear_latched(self) -> None:
        """Subscribe to what was published once, where a publisher keeps it for late subscribers.

        Only there: other publishers would warn of a subscription that they cannot serve.
        """
        now_s = time.monotonic()
        if now_s - self._looked_s < _SAMPLE_PERIOD_S / 2:
            return
        self._looked_s = now_s
        for name, callback in (
            (self.topics[2].name, self._info_received),
            (self._depth_info_topic, self._store_depth_info),
        ):
            if name in self._latched:
                continue
            offers = (p.qos_profile for p in self._node.get_publishers_info_by_topic(name))
            if all(offer.durability != DurabilityPolicy.TRANSIENT_LOCAL for offer in offers):
                continue
            self._latched.add(name)
            self._node.create_subscription(
                CameraInfo,
                name,
                callback,
                QoSProfile(
                    depth=1,
                    reliability=ReliabilityPolicy.RELIABLE,
                    durability=DurabilityPolicy.TRANSIENT_LOCAL,
                ),
                raw=True,
                event_callbacks=SubscriptionEventCallbacks(use_default_callbacks=False),
            )

    def _received(self, index: int, data: bytes, info: dict[str, Any] | None = None) -> None:
        """Count an image, and pass it on to the synchroniser; must not raise."""
        topic = self.topics[index]
        try:
            arrived_ns = self._arrivals.arrived_ns(info or {})
            message = SerializedMessage.parse(data, arrived_ns, topic.kind)
            if self._jumped:
                self._rebuild()
            if self._is_left_over(message.stamp_ns):
                return
            if topic.repeats(message):
                topic.repeated += 1
                return
            if topic.goes_back(message):
                self._rebuild()
            topic.take(message, time.monotonic())
            self._filters[index].signalMessage(message)
        except Exception as error:
            self._dropped(topic.name, error)

    def _info_received(self, data: bytes, info: dict[str, Any] | None = None) -> None:
        """Keep a camera info; must not raise."""
        try:
            message = SerializedMessage.parse(data, self._arrivals.arrived_ns(info or {}))
            with self._lock:
                self.topics[2].take(message, time.monotonic())
                self._infos.append(message)
                self._lock.notify_all()
        except Exception as error:
            self._dropped(self.topics[2].name, error)

    def _dropped(self, name: str, error: Exception) -> None:
        self._log.error(
            f"'{name}': dropped a message: {type(error).__name__}: {error}",
            throttle_duration_sec=5.0,
        )

    def _store_depth_info(self, data: bytes) -> None:
        self._depth_info = data

    def _matched(self, rgb: Any, depth: Any) -> None:
        with self._lock:
            if self._jumped:
                return  # the clock did, while this was on its way through the synchroniser
            self.matched += 1
            self._newest = _Pair(rgb, depth)
            self._lock.notify_all()

    # --- time that goes backwards ------------------------------------------------------

    def _synchronise(self) -> None:
        # New filters too: those of the old synchroniser cannot be disconnected.
        self._filters = [message_filters.SimpleFilter() for _ in TOPICS[:2]]
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
        return stamp_ns > int(self._clock.now().nanoseconds) + BACKWARD_JUMP_NS

    def _rebuild(self) -> None:
        """Forget everything from before the jump: full queues of later stamps would never match."""
        self._jumped = False
        self.jumps += 1
        self._log.warning(
            "time went backwards: dropped the held frames and rebuilt the synchroniser"
        )
        with self._lock:
            self._newest = None
        self._arrivals.mark_emptied()
        for topic in self.topics:
            topic.forget_time()
        self._synchronise()
        self._on_jump()

    def close(self) -> None:
        """Unsubscribe and join the thread."""
        with self._lock:
            self._closing = True
            self._lock.notify_all()
        self._executor.wake()
        if threading.current_thread() is not self._thread:
            self._thread.join()
        self._jump_handle.unregister()
        self._executor.remove_node(self._node)
        self._executor.shutdown()
        self._node.destroy_node()
