# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Where up is, from the accelerometer of a camera at rest."""

from __future__ import annotations

import math
import threading
from collections import deque
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import Imu

from roborefer_ros.nodes.dedicated_node import SpinThread, create_side_node

TOPIC = "imu"

#: standard gravity, m/s^2, and how far from it the mean at rest may be (bias, scale)
GRAVITY = 9.80665
_TOLERANCE = 0.5
#: mean over this time, seconds
WINDOW_S = 0.5
#: fewest readings for a mean
_MIN_READINGS = 5
#: largest standard deviation of one axis at rest, m/s^2
_MAX_SHAKING = 0.3


@dataclass(frozen=True)
class Gravity:
    """A direction against gravity.

    Attributes:
        up: ``[3]`` unit vector in ``frame_id``.
        frame_id: Frame of the accelerometer.
    """

    up: npt.NDArray[np.float64]
    frame_id: str


class GravityFilter:
    """Mean of the accelerometer over the last ``WINDOW_S``; safe to use from several threads.

    At rest an accelerometer reads +9.8 m/s^2 along the direction that points up (REP-145).
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._readings: deque[tuple[int, tuple[float, float, float], str]] = deque(maxlen=1000)

    def add(self, stamp_ns: int, acceleration: tuple[float, float, float], frame_id: str) -> None:
        """Take a reading, m/s^2; after a jump of time the older ones are forgotten."""
        with self._lock:
            if self._readings and stamp_ns < self._readings[-1][0]:
                self._readings.clear()
            self._readings.append((stamp_ns, acceleration, frame_id))

    def estimate(self, stamp_ns: int) -> Gravity | str:
        """Where up was at a stamp, or why that is not known."""
        with self._lock:
            readings = [r for r in self._readings if abs(r[0] - stamp_ns) <= WINDOW_S * 1e9]
        if len(readings) < _MIN_READINGS:
            return (
                f"the topic {TOPIC} brought {len(readings)} readings within {WINDOW_S:g} s of the "
                f"image, {_MIN_READINGS} are needed"
            )
        values = np.array([r[1] for r in readings])
        if not np.isfinite(values).all():
            return f"the topic {TOPIC} brings numbers that are not finite"
        mean, shaking = values.mean(axis=0), float(values.std(axis=0).max())
        length = float(np.linalg.norm(mean))
        if shaking > _MAX_SHAKING:
            return f"the camera moves: its acceleration varies by {shaking:.2f} m/s^2"
        if not math.isfinite(length) or abs(length - GRAVITY) > _TOLERANCE:
            return f"the mean acceleration is {length:.2f} m/s^2, not gravity's {GRAVITY:.2f}"
        return Gravity(mean / length, readings[-1][2])


class ImuInput:
    """Listens to the IMU in a thread of its own, where the topic is remapped to one."""

    def __init__(self, node: Node) -> None:
        self.filter = GravityFilter()
        listener = create_side_node(node, "imu")
        listener.create_subscription(
            Imu, node.resolve_topic_name(TOPIC), self._take, qos_profile_sensor_data
        )
        self._thread = SpinThread(listener)

    @staticmethod
    def is_wanted(node: Node) -> bool:
        """Whether the topic is remapped: a camera without an IMU costs nothing."""
        expanded = node.resolve_topic_name(TOPIC, only_expand=True)
        return bool(node.resolve_topic_name(TOPIC) != expanded)

    def _take(self, msg: Imu) -> None:
        if msg.linear_acceleration_covariance[0] == -1.0:
            return  # it measures no acceleration
        a, stamp = msg.linear_acceleration, msg.header.stamp
        stamp_ns = stamp.sec * 1_000_000_000 + stamp.nanosec
        self.filter.add(stamp_ns, (a.x, a.y, a.z), msg.header.frame_id)

    def close(self) -> None:
        """Stop listening."""
        self._thread.close()
