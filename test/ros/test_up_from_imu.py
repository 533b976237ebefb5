# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Placing with the accelerometer of the camera: remapped, related by TF, believed only at rest."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from geometry_msgs.msg import TransformStamped
from rclpy.qos import qos_profile_sensor_data
from refer_graph import (
    CAMERA_FRAME,
    Graph,
    graph_fixture,  # noqa: F401
    wait_until,
)
from sensor_msgs.msg import Imu

from roborefer_ros.lifting.orientation import quaternion_xyzw
from roborefer_ros.nodes.imu_input import Gravity
from roborefer_ros.nodes.interfaces import ReferPoint
from roborefer_ros.ros_compat import tf2_ros

Make = Callable[..., Graph]
Result = ReferPoint.Result

IMU_FRAME = "camera_imu_optical_frame"
#: the camera looks straight down: up is against its z axis, and the wall is a table
UP = np.array([0.0, 0.0, -1.0])
#: the IMU's axes in the camera's: turned, so that a forgotten transform shows
CAMERA_T_IMU = np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])


class Accelerometer:
    """Publishes an acceleration, m/s^2 in the camera's axes, at 200 Hz until stopped."""

    def __init__(self, g: Graph) -> None:
        self._node = g.client_node
        self._publisher = self._node.create_publisher(Imu, "/camera/imu", qos_profile_sensor_data)
        self.reading: Callable[[float], Any] = lambda _: 9.81 * UP
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.wait(0.005):
            now = self._node.get_clock().now()
            msg = Imu()
            msg.header.frame_id, msg.header.stamp = IMU_FRAME, now.to_msg()
            a = msg.linear_acceleration
            own = CAMERA_T_IMU.T @ np.asarray(self.reading(now.nanoseconds * 1e-9))
            a.x, a.y, a.z = (float(v) for v in own)
            self._publisher.publish(msg)

    def stop(self) -> None:
        """Publish no more."""
        self._stop.set()
        self._thread.join()


@pytest.fixture(name="with_imu")
def imu_fixture(graph: Make) -> Iterator[Callable[..., tuple[Graph, Accelerometer]]]:
    made: list[Accelerometer] = []

    def make(connected: bool = True, **kwargs: Any) -> tuple[Graph, Accelerometer]:
        g = graph(remappings={"imu": "/camera/imu"}, **kwargs)
        broadcaster = tf2_ros.StaticTransformBroadcaster(g.client_node)
        transform = TransformStamped(child_frame_id=IMU_FRAME)
        transform.header.frame_id = CAMERA_FRAME
        q = transform.transform.rotation
        q.x, q.y, q.z, q.w = (float(v) for v in quaternion_xyzw(CAMERA_T_IMU))
        if connected:
            broadcaster.sendTransform(transform)
        g.node._broadcaster_of_the_test = broadcaster  # it latches as long as it lives
        made.append(Accelerometer(g))
        return g, made[-1]

    yield make
    for one in made:
        one.stop()


def told(g: Graph) -> Any:
    """What the node thinks of the accelerometer now."""
    now_ns = g.node.get_clock().now().nanoseconds
    return g.node._imu.filter.estimate(now_ns)


def test_a_camera_at_rest_tells_where_up_is(with_imu: Any) -> None:
    g, _ = with_imu()
    wait_until(lambda: isinstance(told(g), Gravity))
    wait_until(lambda: g.refer("put it here").error_code == 0)
    result = g.refer("put it here")
    assert result.up_source == "imu"
    (point,) = result.points
    assert not point.flags & point.FLAG_UP_UNKNOWN
    assert point.support_tilt == pytest.approx(0.0, abs=0.03)


def test_what_the_imu_calls_a_wall_is_no_support(with_imu: Any) -> None:
    """The same picture, seen by a level camera."""
    g, imu = with_imu()
    imu.reading = lambda _: 9.81 * np.array([0.0, -1.0, 0.0])
    wait_until(lambda: isinstance(told(g), Gravity))
    wait_until(lambda: g.refer("put it here").error_code == Result.NOT_FREE_SPACE)


@pytest.mark.parametrize(
    ("reading", "reason"),
    [
        (lambda t: 9.81 * UP + [3.0 * np.sin(40.0 * t), 0.0, 0.0], "moves"),
        (lambda t: 9.81 * UP + [4.0, 0.0, 4.0], "not gravity"),
        (lambda t: 0.0 * UP, "not gravity"),
        (lambda t: [float("nan")] * 3, "not finite"),
    ],
)
def test_an_accelerometer_that_measures_more_than_gravity_is_not_believed(
    with_imu: Any, reading: Callable[[float], Any], reason: str
) -> None:
    g, imu = with_imu()
    imu.reading = reading
    wait_until(lambda: isinstance(told(g), str) and reason in told(g))
    result = g.refer("put it here")
    assert result.error_code == Result.UP_UNKNOWN
    assert reason in result.error_msg
    assert not result.up_source
    assert g.refer("the red mug").error_code == 0, "things need no up"


def test_an_imu_without_a_transform_is_named_and_stops_no_other_goal(with_imu: Any) -> None:
    g, _ = with_imu(connected=False)
    wait_until(lambda: isinstance(told(g), Gravity))
    assert g.refer("the red mug").error_code == 0
    result = g.refer("put it here")
    assert result.error_code == Result.UP_UNKNOWN
    assert IMU_FRAME in result.error_msg


def test_an_imu_that_nobody_publishes_changes_nothing(graph: Make) -> None:
    g = graph(remappings={"imu": "/camera/imu"}, **{"lifting.up": [0.0, 0.0, -1.0]})
    result = g.refer("put it here")
    assert result.error_code == 0
    assert result.up_source == "lifting.up"


def test_without_a_remapping_there_is_no_imu(graph: Make) -> None:
    assert graph().node._imu is None
