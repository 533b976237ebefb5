# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The node's half of a bond, by which Nav2's lifecycle manager notices a node that died or hangs.

Both halves publish ``bond/msg/Status`` on the topic ``bond`` as long as they live; the heartbeat
comes from the node's executor, so that one which hangs is silent, too.  The message package is
only needed where a bond is asked for.
"""

from __future__ import annotations

import importlib
import time
import uuid
from collections.abc import Callable
from typing import Any

from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy

from roborefer_ros.errors import DependencyMissingError

#: farewells, since one may get lost
_FAREWELLS = 3


class BondState:
    """What one half knows of the other."""

    def __init__(
        self,
        name: str,
        timeout_s: float,
        publish: Callable[[bool], None],
        warn: Callable[[str], object],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin a bond that nobody has joined.

        Args:
            name: Identity of the bond: the node's name.
            timeout_s: Silence of the other half that breaks the bond.
            publish: Sends a status, alive or not.
            warn: Writes to the log.
            clock: Steady time, seconds.
        """
        self.name, self.instance = name, str(uuid.uuid4())
        self._timeout_s, self._publish, self._warn, self._clock = timeout_s, publish, warn, clock
        self._other = ""
        self._heard_s = 0.0
        self.is_broken = False

    def on_message(self, name: str, instance: str, active: bool) -> None:
        """Take a status from the topic, which carries all bonds, this half's own included."""
        if name != self.name or instance == self.instance or self.is_broken:
            return
        if active:
            self._other, self._heard_s = instance, self._clock()
        elif instance == self._other:
            self.break_()

    def beat(self) -> None:
        """Tell that this half lives, and look whether the other does."""
        if self.is_broken:
            return
        if self._other and self._clock() - self._heard_s > self._timeout_s:
            self._warn(
                f"the lifecycle manager's half of the bond was silent for {self._timeout_s:g} s "
                "(bond_timeout); the node goes on without it"
            )
            self.break_()
            return
        self._publish(True)

    def break_(self) -> None:
        """End the bond; the other half learns it."""
        if not self.is_broken:
            self.is_broken = True
            for _ in range(_FAREWELLS):
                self._publish(False)


class Bond:
    """A bond of a node, from now on until ``close``."""

    def __init__(self, node: Node, period_s: float, timeout_s: float) -> None:
        """Begin.

        Args:
            node: Node whose name is the bond's.
            period_s: Time between heartbeats.
            timeout_s: Silence of the manager that breaks the bond.

        Raises:
            DependencyMissingError: the package ``bond`` is not installed.
        """
        try:
            status: Any = importlib.import_module("bond.msg").Status
        except (ImportError, AttributeError) as error:
            raise DependencyMissingError(
                f"bond_heartbeat_period asks for a bond, and its messages are missing ({error}); "
                "apt install ros-$ROS_DISTRO-bond, or set bond_heartbeat_period to 0.0 and the "
                "manager's bond_timeout, too"
            ) from error
        self._node = node
        profile = QoSProfile(depth=100, reliability=ReliabilityPolicy.RELIABLE)
        publisher = node.create_publisher(status, "bond", profile)
        self._publisher = publisher

        def publish(active: bool) -> None:
            message = status(
                id=state.name,
                instance_id=state.instance,
                active=active,
                heartbeat_timeout=timeout_s,
                heartbeat_period=period_s,
            )
            message.header.stamp = node.get_clock().now().to_msg()
            publisher.publish(message)

        state = self._state = BondState(
            node.get_name(), timeout_s, publish, node.get_logger().warning
        )
        group = MutuallyExclusiveCallbackGroup()
        self._subscription = node.create_subscription(
            status,
            "bond",
            lambda m: state.on_message(m.id, m.instance_id, m.active),
            QoSProfile(depth=100, reliability=ReliabilityPolicy.BEST_EFFORT),
            callback_group=group,
        )
        self._timer = node.create_timer(
            period_s,
            state.beat,
            callback_group=group,
            clock=Clock(clock_type=ClockType.STEADY_TIME),
        )

    def close(self) -> None:
        """Break it and leave the topic."""
        self._node.destroy_timer(self._timer)
        self._state.break_()
        self._node.destroy_subscription(self._subscription)
        self._node.destroy_publisher(self._publisher)
