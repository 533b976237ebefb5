# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Quality of service of the action's services, for both sides.

rclpy's default keeps the last 10 requests or responses.  Of 20 clients that ask at once some lose
theirs without a word, and wait for ever.  The depth must fit on both sides: all responses of a
service go to all of its clients, which drop those of others only when they take them.
"""

from __future__ import annotations

from typing import Any

from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy

#: messages kept for a reader that is busy: above any sensible number of goals at once
SERVICE_DEPTH = 1000


def service_qos() -> dict[str, Any]:
    """Keyword arguments of ``ActionServer`` and ``ActionClient``."""
    profile = QoSProfile(
        history=HistoryPolicy.KEEP_LAST,
        depth=SERVICE_DEPTH,
        reliability=ReliabilityPolicy.RELIABLE,
        durability=DurabilityPolicy.VOLATILE,
    )
    names = ("goal", "result", "cancel")
    return {f"{name}_service_qos_profile": profile for name in names}
