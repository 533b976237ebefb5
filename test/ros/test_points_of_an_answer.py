# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""No point of the model's answer gets lost, and the pose is that of the first one."""

from __future__ import annotations

import array
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from geometry_msgs.msg import PoseStamped
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile
from refer_graph import (
    CAMERA_FRAME,
    HEIGHT,
    WIDTH,
    Graph,
    ScriptedPointer,
    graph_fixture,  # noqa: F401
    wait_until,
)
from sensor_msgs.msg import PointCloud2

from roborefer_ros.lifting import lift_point
from roborefer_ros.lifting.orientation import rotation_matrix
from roborefer_ros.nodes.interfaces import ReferPoint

Make = Callable[..., Graph]
Result = ReferPoint.Result

#: the left third of the picture shows nothing
LEFT, MIDDLE, RIGHT = (0.1, 0.5), (0.5, 0.5), (0.8, 0.5)


def half_blind(g: Graph) -> None:
    """No depth in the left third of the picture."""

    def spoil(rgb: Any, depth: Any, info: Any) -> None:
        pixels = np.full((HEIGHT, WIDTH), 1000, "<u2")
        pixels[:, : WIDTH // 3] = 0
        depth.data = array.array("B", pixels.tobytes())

    assert g.camera is not None
    g.camera.spoil = spoil


def test_a_point_that_cannot_be_lifted_is_reported_beside_the_others(graph: Make) -> None:
    g = graph(pointer=ScriptedPointer((MIDDLE, LEFT, RIGHT)), frame_tolerance_s=0.0)
    half_blind(g)
    result = g.refer()
    assert result.error_code == 0, result.error_msg
    assert [round(p.x_normalised, 3) for p in result.points] == [0.5, 0.8]
    (rejected,) = result.rejected_points
    assert (rejected.x_normalised, rejected.y_normalised) == LEFT
    assert rejected.u == pytest.approx(LEFT[0] * WIDTH - 0.5)
    assert rejected.error_code == Result.NO_DEPTH_AT_POINT
    assert "no depth" in rejected.error_msg
    assert rejected.model_confidence == -1.0


def test_the_second_point_never_stands_in_for_the_first(graph: Make) -> None:
    """The goal fails with the first point's number, and still tells all that it knows."""
    g = graph(pointer=ScriptedPointer((LEFT, MIDDLE)), frame_tolerance_s=0.0)
    half_blind(g)
    result = g.refer()
    assert result.error_code == Result.NO_DEPTH_AT_POINT
    assert result.pose.header.frame_id == ""
    (point,) = result.points
    assert point.x_normalised == 0.5
    assert point.pose.header.frame_id == CAMERA_FRAME
    assert [r.error_code for r in result.rejected_points] == [Result.NO_DEPTH_AT_POINT]
    assert "0.1" in result.answer
    assert result.image_stamp.sec > 0
    assert {"queue", "wait_frame", "decode", "lift", "total"} <= {t.stage for t in result.timings}
    assert result.depth_used == "sensor"


def test_a_partial_answer_is_one_for_those_who_accept_it(graph: Make) -> None:
    g = graph(pointer=ScriptedPointer((LEFT, MIDDLE)), frame_tolerance_s=0.0)
    half_blind(g)
    result = g.refer(accept_partial=True)
    assert result.error_code == 0, result.error_msg
    assert result.pose == result.points[0].pose
    assert result.points[0].x_normalised == 0.5
    assert len(result.rejected_points) == 1


def test_an_answer_is_drawn_with_the_options_that_it_was_found_with(graph: Make) -> None:
    """Parameters that change while the model works are those of the next goal."""
    pointer = ScriptedPointer()
    pointer.tokens, pointer.token_s = 50, 0.01
    g = graph(pointer=pointer, cloud_radius_m=0.05)
    clouds: list[PointCloud2] = []
    g.client_node.create_subscription(PointCloud2, "/roborefer/target_cloud", clouds.append, 5)
    wait_until(lambda: g.node.count_subscribers("/roborefer/target_cloud") > 0)
    for radius_m in (0.05, 0.5):
        handle = g.send()
        wait_until(pointer.running.is_set)
        g.node.set_parameters([Parameter("cloud_radius_m", value=0.5)])
        position = g.result_of(handle).result.pose.pose.position
        wait_until(lambda: bool(clouds))
        points = np.frombuffer(clouds.pop().data, np.float32).reshape(-1, 4)[:, :3]
        gaps = np.linalg.norm(points - [position.x, position.y, position.z], axis=1)
        assert 0.8 * radius_m < gaps.max() <= radius_m + 1e-4


def test_parameters_are_read_once_per_change(graph: Make) -> None:
    g = graph()
    before = g.node.options()
    assert g.refer().error_code == 0
    assert g.node.options() is before
    g.node.set_parameters([Parameter("goal_timeout_s", value=9.0)])
    assert g.node.options().goal_timeout_s == 9.0
    refused = g.node.set_parameters([Parameter("frame_timeout_s", value=3000.0)])
    assert not refused[0].successful
    assert g.node.options().frame_timeout_s == before.frame_timeout_s


@pytest.mark.parametrize(("axis", "column"), [("x", 0), ("z", 2)])
def test_poses_leave_the_node_in_the_planners_convention(
    graph: Make, axis: str, column: int
) -> None:
    """A wall 1 m ahead: the approach is the camera's z, whichever axis of the tool carries it."""
    g = graph(approach_axis=axis, approach_offset_m=0.2)
    poses: list[PoseStamped] = []
    latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    g.client_node.create_subscription(PoseStamped, "/roborefer/target_pose", poses.append, latched)
    result = g.refer()
    q = result.pose.pose.orientation
    approach = rotation_matrix((q.x, q.y, q.z, q.w))[:, column]
    assert approach == pytest.approx([0.0, 0.0, 1.0], abs=0.02)
    before = result.points[0].pre_pose.pose.position
    assert before.z == pytest.approx(result.pose.pose.position.z - 0.2, abs=0.005)
    assert result.points[0].place_pose.header.frame_id == ""
    costs = [candidate.cost for candidate in result.candidates]
    assert len(costs) == 2
    assert costs == sorted(costs)
    assert result.candidates[0].pose == result.pose
    wait_until(lambda: bool(poses))
    assert poses[-1] == result.pose


def test_numbers_that_are_not_finite_do_not_leave_the_node(
    graph: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*args: Any) -> Any:
        return replace(lift_point(*args), covariance=np.full((6, 6), np.nan))

    monkeypatch.setattr("roborefer_ros.pipeline.lift_point", broken)
    result = graph().refer()
    assert result.error_code == Result.UNKNOWN
    assert "covariance" in result.error_msg
    assert not result.points
