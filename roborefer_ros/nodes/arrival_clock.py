# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""When messages arrived, also those that the middleware held for a while."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any


class ArrivalClock:
    """Arrival of messages by a node's ROS clock.

    Attributes:
        takes_held: Whether the messages that are being taken waited in the middleware.
    """

    def __init__(self, clock: Any) -> None:
        """Begin with nothing held.

        Args:
            clock: ``rclpy`` clock of the node that stamps the goals.
        """
        self._clock = clock
        self.takes_held = False
        self.mark_emptied()

    def mark_emptied(self) -> None:
        """Remember that the middleware holds nothing any more."""
        self.takes_held = False
        self._emptied_ns, self._emptied_s = self.now_ns(), time.monotonic()

    def now_ns(self) -> int:
        """The ROS clock, nanoseconds."""
        return int(self._clock.now().nanoseconds)

    def arrived_ns(self, info: Mapping[str, Any]) -> int:
        """When a message arrived, nanoseconds of the ROS clock; at the earliest where unknown.

        The middleware tells it by the computer's clock. Where it does not, a message that it held
        may have come right after it was last emptied.

        Args:
            info: What rclpy tells of a message that it takes.
        """
        now_ns = self.now_ns()
        received_ns = int(info.get("received_timestamp") or 0)
        if received_ns <= 0:
            return self._emptied_ns if self.takes_held else now_ns
        late_s = max(0.0, (time.time_ns() - received_ns) * 1e-9)
        # Simulated time may be slower or faster than the computer's.
        passed_s = time.monotonic() - self._emptied_s
        rate = (now_ns - self._emptied_ns) * 1e-9 / passed_s if passed_s > 0.01 else 1.0
        if not self._clock.ros_time_is_active or rate < 0.0:
            rate = 1.0
        return now_ns - round(late_s * rate * 1e9)
