# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The camera's topics: their names, their messages as they come, and what is known of each."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from builtin_interfaces.msg import Time as TimeMsg
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from roborefer_ros.errors import InvalidImageError
from roborefer_ros.nodes.parameter_table import TRANSPORTS

#: of a depth camera that is not aligned with the colour camera; may stay silent
DEPTH_INFO = "depth/camera_info"

#: relative names that users remap
TOPICS: tuple[tuple[str, type[Any]], ...] = (
    ("rgb/image", Image),
    ("depth/image", Image),
    ("rgb/camera_info", CameraInfo),
)

#: stamps that go back by more than this are a jump, not disorder
BACKWARD_JUMP_NS = 500_000_000


class TopicNames(NamedTuple):
    """The topics of one camera, as messages to the user name them."""

    rgb: str = "rgb/image"
    depth: str = "depth/image"
    info: str = "rgb/camera_info"
    depth_info: str = DEPTH_INFO


class _Header(NamedTuple):
    stamp: TimeMsg


@dataclass(frozen=True)
class SerializedMessage:
    """A message as it came over the wire, with the few things that are read before a goal asks.

    Attributes:
        header: Its stamp, where the synchroniser looks for it.
        data: CDR bytes.
        stamp_ns: The same stamp, nanoseconds.
        frame_id: Frame that its header names; empty where it cannot be read.
        size: (width, height) of an image or camera info, pixels; zeros where it cannot be read.
        arrived_ns: When it arrived, nanoseconds of the node's ROS clock.
    """

    header: _Header
    data: bytes
    stamp_ns: int
    frame_id: str = ""
    size: tuple[int, int] = (0, 0)
    arrived_ns: int = 0

    @staticmethod
    def parse(data: bytes, arrived_ns: int = 0, kind: type[Any] = Image) -> SerializedMessage:
        """Read the header, and the size behind it, from the CDR bytes.

        Args:
            data: CDR bytes.
            arrived_ns: When it arrived, nanoseconds of the node's ROS clock.
            kind: Type of the message; a compressed image tells no size there.

        Raises:
            InvalidImageError: Too short.
        """
        if len(data) < 12:
            raise InvalidImageError(
                f"a serialised camera message of {len(data)} bytes holds no stamp"
            )
        # Byte 1 of the encapsulation tells the byte order; the content starts at byte 4.
        order = "<" if data[1] & 1 else ">"
        sec, nanosec = struct.unpack_from(f"{order}iI", data, 4)
        frame_id, size = _frame_and_size(data, order)
        if kind is CompressedImage:
            size = (0, 0)
        header = _Header(TimeMsg(sec=sec, nanosec=nanosec))
        stamp_ns = sec * 1_000_000_000 + nanosec
        return SerializedMessage(header, data, stamp_ns, frame_id, size, arrived_ns)

    @property
    def moment_ns(self) -> int:
        """When it was taken at the latest: nothing arrives before it was taken."""
        return min(self.stamp_ns, self.arrived_ns)


def _frame_and_size(data: bytes, order: str) -> tuple[str, tuple[int, int]]:
    if len(data) < 16:
        return "", (0, 0)
    (length,) = struct.unpack_from(f"{order}I", data, 12)
    end = 16 + length
    if length > 1000 or end > len(data):
        return "", (0, 0)
    frame_id = data[16:end].rstrip(b"\0").decode("utf-8", "replace")
    aligned = end + -end % 4
    if len(data) < aligned + 8:
        return frame_id, (0, 0)
    height, width = struct.unpack_from(f"{order}II", data, aligned)
    return frame_id, (width, height)


@dataclass(frozen=True)
class CameraMessages:
    """RGB, depth and camera info of one moment; the depth camera's info where one is published.

    Images are as they came: ``Image`` or ``CompressedImage``.
    """

    rgb: Any
    depth: Any
    info: CameraInfo
    depth_info: CameraInfo | None = None
    topics: TopicNames = TopicNames()


@dataclass
class TopicState:
    """What is known about one topic.

    Attributes:
        name: Resolved name.
        kind: Type of its messages.
        received: Number of messages taken.
        repeated: Number of messages dropped because they carried the stamp of the one before.
        stamp_ns: Stamp of the newest, nanoseconds; -1 where none holds.
        arrived_s: ``time.monotonic()`` of the newest; -inf before the first.
        offset_s: Stamp of the newest minus the node's clock when it arrived, seconds.
        period_s: Smoothed distance of neighbouring stamps, seconds; 0 where unknown.
        frame_ids: Frame -> ``time.monotonic()`` of its newest message.
        parameter: Parameter that chooses the transport of an image.
        transport: Its value, a word of image_transport.
        elsewhere: Topic of the other transport.
        refused: Why publishers and this subscription do not match; empty where they do.
    """

    name: str
    kind: type[Any] = Image
    received: int = 0
    repeated: int = 0
    stamp_ns: int = -1
    arrived_s: float = float("-inf")
    offset_s: float = 0.0
    period_s: float = 0.0
    frame_ids: dict[str, float] = field(default_factory=dict)
    parameter: str = ""
    transport: str = "raw"
    elsewhere: str = ""
    refused: str = ""

    @property
    def other_transport(self) -> str:
        """The setting that would listen to the other topic, in words."""
        raw, packed = TRANSPORTS[self.parameter]
        return f"set {self.parameter} to {packed if self.transport == raw else raw}"

    def repeats(self, message: SerializedMessage) -> bool:
        """Whether a message carries the stamp of the one before: it shows nothing new."""
        return self.received > 0 and message.stamp_ns == self.stamp_ns

    def goes_back(self, message: SerializedMessage) -> bool:
        """Whether stamps went back by more than disorder explains."""
        return self.received > 0 and message.stamp_ns - self.stamp_ns < -BACKWARD_JUMP_NS

    def forget_time(self) -> None:
        """Start over with stamps, after time went backwards."""
        self.stamp_ns, self.period_s = -1, 0.0

    def take(self, message: SerializedMessage, now_s: float) -> None:
        """Count a message that came."""
        step_ns = message.stamp_ns - self.stamp_ns
        if self.received and 0 < step_ns < BACKWARD_JUMP_NS:
            step_s = step_ns * 1e-9
            # The middleware may have dropped frames in between, so the shortest counts most.
            shorter = not self.period_s or step_s < self.period_s
            self.period_s = step_s if shorter else 0.9 * self.period_s + 0.1 * step_s
        self.received += 1
        self.refused = ""
        self.stamp_ns, self.arrived_s = message.stamp_ns, now_s
        self.offset_s = (message.stamp_ns - message.arrived_ns) * 1e-9
        self.frame_ids[message.frame_id] = now_s
        if len(self.frame_ids) > 8:
            del self.frame_ids[min(self.frame_ids, key=lambda name: self.frame_ids[name])]


def topic_states(resolve: Callable[[str], str], transports: Mapping[str, str]) -> list[TopicState]:
    """The topics of colour, depth and camera info, in this order.

    Args:
        resolve: Makes a full name of one that may be remapped.
        transports: Parameter out of ``TRANSPORTS`` -> its value.
    """
    states = []
    for (name, kind), (parameter, words) in zip(TOPICS[:2], TRANSPORTS.items(), strict=True):
        raw, packed = resolve(name), words[1]
        # As image_transport does: the name behind the remapped one, and rules hold for both. Who
        # remaps to the compressed topic itself is understood, too.
        suffix = f"/{packed}"
        raw = raw.removesuffix(suffix)
        compressed = resolve(raw + suffix)
        transport = transports[parameter]
        if transport == packed:
            state = TopicState(compressed, CompressedImage, elsewhere=raw)
        else:
            state = TopicState(resolve(name), kind, elsewhere=compressed)
        state.parameter, state.transport = parameter, transport
        states.append(state)
    name, kind = TOPICS[2]
    return [*states, TopicState(resolve(name), kind)]
