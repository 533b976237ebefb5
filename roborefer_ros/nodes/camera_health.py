# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""What is wrong with a camera, in words: for goals that got no frame, and for diagnostics."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from rclpy.node import Node

from roborefer_ros.errors import (
    CameraClockError,
    CameraStalledError,
    FramesNotSynchronizedError,
    NoCameraError,
    RoboReferError,
    WrongMessageTypeError,
)
from roborefer_ros.nodes.camera_topics import TopicState

FAST_DDS_HINT = (
    "with Fast DDS, best-effort images larger than 0.5 MB hardly arrive unless its shared-memory "
    "segment is enlarged: start with "
    "FASTDDS_DEFAULT_PROFILES_FILE=<share/roborefer_ros/config/fastdds_shm.xml>"
)

#: without a message for this long a topic counts as silent, seconds: longer than two looks
SILENCE_S = 3.0
#: names of types between which the transport chooses
_IMAGES = ("/CompressedImage", "/Image")


def type_name(kind: type[Any]) -> str:
    """Name of a message type as ROS writes it: ``sensor_msgs/msg/Image``."""
    return f"{kind.__module__.partition('.')[0]}/msg/{kind.__name__}"


class CameraHealth:
    """Explains what the topics of one camera tell.

    Args:
        node: Node that subscribes to them; knows the graph.
        topics: State of RGB, depth and camera info, in this order.
        sync_slop_s: Largest difference of stamps within a frame, seconds.
    """

    def __init__(self, node: Node, topics: Sequence[TopicState], sync_slop_s: float) -> None:
        self._node, self._topics, self._slop_s = node, topics, sync_slop_s
        self._since_s = time.monotonic()
        #: kind of warning -> its text; for what goals found out
        self.notes: dict[str, str] = {}

    # --- for goals ---------------------------------------------------------------------

    def why_no_frame(
        self, not_before_ns: int, timeout_s: float, counts: Sequence[int], max_offset_s: float
    ) -> RoboReferError:
        """The error of a goal that waited in vain.

        Args:
            not_before_ns: Oldest moment that it would have taken, nanoseconds.
            timeout_s: How long it waited, seconds.
            counts: Messages of each topic when it began to wait.
            max_offset_s: Parameter ``max_clock_offset_s``.
        """
        waited = f"within {timeout_s:g} s (frame_timeout_s)"
        silent = [topic for topic in self._topics if not topic.received]
        if silent:
            return self._silent(silent, waited)
        images = self._topics[:2]
        stalled = [t for t, n in zip(images, counts, strict=False) if t.received == n]
        zero = [f"'{t.name}'" for t in images if t.stamp_ns == 0]
        if zero:
            return CameraClockError(
                f"{' and '.join(zero)} is stamped 0, so nothing tells when it was taken; have the "
                "camera driver stamp its messages, or set use_sim_time for all nodes of a "
                "simulation"
            )
        if stalled:
            return self._stalled(stalled, waited)
        off = [topic for topic in images if abs(topic.offset_s) > max_offset_s]
        if off:
            return self._clock(off, max_offset_s)
        newest_ns = images[0].stamp_ns
        if newest_ns < not_before_ns:
            return CameraStalledError(
                "all camera topics deliver, but their newest stamp is "
                f"{(not_before_ns - newest_ns) * 1e-9:.2f} s too old {waited}; check the camera's "
                "clock and use_sim_time, or raise frame_tolerance_s"
            )
        apart_s = abs(images[0].stamp_ns - images[1].stamp_ns) * 1e-9
        several = self.several_publishers()
        return FramesNotSynchronizedError(
            f"all camera topics deliver, but no stamps of '{images[0].name}' and "
            f"'{images[1].name}' lie within {self._slop_s:g} s (sync_slop_s) {waited}; the newest "
            f"are {apart_s:.3f} s apart: check that they come from one camera, or raise sync_slop_s"
            + (f" ({'; '.join(several)})" if several else "")
        )

    def _silent(self, silent: Sequence[TopicState], waited: str) -> RoboReferError:
        wrong = [words for topic in silent if (words := self.wrong_type(topic))]
        if wrong:
            return WrongMessageTypeError("; ".join(wrong))
        reasons = "; ".join(f"'{t.name}': {self._why_silent(t)}" for t in silent)
        return NoCameraError(
            f"no message on {len(silent)} of {len(self._topics)} camera topics {waited}: {reasons}"
        )

    @staticmethod
    def _stalled(stalled: Sequence[TopicState], waited: str) -> RoboReferError:
        now_s = time.monotonic()
        ages = ", ".join(f"'{t.name}' {now_s - t.arrived_s:.1f} s ago" for t in stalled)
        repeated = [f"'{t.name}' ({t.repeated} times)" for t in stalled if t.repeated]
        return CameraStalledError(
            f"the camera stopped: nothing new {waited}, last message on {ages}"
            + (f"; the same stamp came again on {', '.join(repeated)}" if repeated else "")
            + "; restart the camera driver"
        )

    @staticmethod
    def _clock(off: Sequence[TopicState], max_offset_s: float) -> RoboReferError:
        figures = " and ".join(
            f"those of '{t.name}' lie {abs(t.offset_s):.2f} s "
            f"{'in the future' if t.offset_s > 0 else 'in the past'}"
            for t in off
        )
        return CameraClockError(
            f"the camera's stamps contradict this node's clock: {figures}, more than "
            f"{max_offset_s:g} s (max_clock_offset_s); set the clocks (chrony, PTP) of camera and "
            "computer, and use_sim_time alike for all nodes"
        )

    def _why_silent(self, topic: TopicState) -> str:
        if topic.refused:
            return topic.refused
        if not self._node.count_publishers(topic.name):
            if topic.elsewhere and self._node.count_publishers(topic.elsewhere):
                return f"no publisher, but '{topic.elsewhere}' has one; {topic.other_transport}"
            return "no publisher; start the camera driver or remap the topic"
        if topic.kind.__name__ == "CameraInfo":
            return (
                "a publisher exists but nothing arrives; if it publishes once only, it must do so "
                "with durability transient_local"
            )
        return f"a publisher exists but nothing arrives; {FAST_DDS_HINT}"

    # --- for both ----------------------------------------------------------------------

    def wrong_type(self, topic: TopicState) -> str:
        """Why a topic's publishers cannot be heard, by the type of their messages."""
        needed = type_name(topic.kind)
        publishers = self._node.get_publishers_info_by_topic(topic.name)
        wrong = {p.topic_type: p.node_name for p in publishers if p.topic_type != needed}
        if not wrong or len(wrong) < len({p.topic_type for p in publishers}):
            return ""
        kind, node = next(iter(wrong.items()))
        remedy = "remap the topic that carries it"
        if topic.parameter and kind.endswith(_IMAGES):
            remedy = (
                f"{topic.other_transport} (the topic is then '{topic.elsewhere}', as "
                f"image_transport names it), or {remedy}"
            )
        return f"'{topic.name}' carries {kind} (from node {node}), needed is {needed}; {remedy}"

    def several_publishers(self) -> list[str]:
        """Topics with more than one publisher, with the nodes."""
        told = []
        for topic in self._topics:
            publishers = self._node.get_publishers_info_by_topic(topic.name)
            if len(publishers) > 1:
                nodes = ", ".join(
                    f"{p.node_namespace.rstrip('/')}/{p.node_name}" for p in publishers
                )
                told.append(f"'{topic.name}' has {len(publishers)} publishers: {nodes}")
        return told

    # --- for diagnostics ---------------------------------------------------------------

    def zero_stamps(self) -> list[str]:
        """Topics whose newest message is stamped 0; of a camera info only recordings suffer."""
        return [
            f"messages of '{topic.name}' are stamped 0; have the camera driver stamp them"
            for topic in self._topics
            if topic.received and topic.stamp_ns == 0
        ]

    def several_frames(self) -> list[str]:
        """Topics whose messages lately named different frames."""
        recent_s = time.monotonic() - SILENCE_S
        told = []
        for topic in self._topics:
            names = [name for name, seen_s in topic.frame_ids.copy().items() if seen_s > recent_s]
            if len(names) > 1:
                told.append(f"messages of '{topic.name}' name several frames: {', '.join(names)}")
        return told

    def unheard(self) -> list[str]:
        """Topics with a publisher from which nothing has ever come."""
        if time.monotonic() - self._since_s < SILENCE_S:
            return []
        return [
            t.name for t in self._topics if not t.received and self._node.count_publishers(t.name)
        ]

    def stopped(self) -> list[str]:
        """Image topics that delivered and then fell silent, with the time since."""
        now_s = time.monotonic()
        return [
            f"'{t.name}' {now_s - t.arrived_s:.1f} s ago"
            for t in self._topics[:2]
            if t.received and now_s - t.arrived_s > SILENCE_S
        ]

    def refusals(self) -> list[str]:
        """Topics whose publishers and this subscription do not match, with the reason."""
        return [f"'{t.name}': {t.refused}" for t in self._topics if t.refused]

    def wrong_types(self) -> list[str]:
        """Silent topics whose publishers send messages of another type."""
        return [words for t in self._topics if not t.received and (words := self.wrong_type(t))]

    def clock_offsets(self, max_offset_s: float) -> list[str]:
        """Image topics whose newest stamp is far off the node's clock, with the offset."""
        return [
            f"'{t.name}' by {t.offset_s:+.2f} s"
            for t in self._topics[:2]
            if t.received and abs(t.offset_s) > max_offset_s
        ]

    def graph_values(self, topic: TopicState) -> dict[str, str]:
        """Publishers of a topic, their types and QoS."""
        publishers = self._node.get_publishers_info_by_topic(topic.name)
        offers = sorted(
            {
                f"{p.topic_type} {p.qos_profile.reliability.name.lower()} "
                f"{p.qos_profile.durability.name.lower()}"
                for p in publishers
            }
        )
        return {
            f"{topic.name} publishers": str(len(publishers)),
            f"{topic.name} offered": ", ".join(offers) or "nothing",
        }
