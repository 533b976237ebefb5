# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""A jaw around readings: where, how wide, from which side."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from roborefer_ros.arm.grasping import Grasp, clear_grasps, plan_grasps, thing_and_others
from roborefer_ros.errors import NoDepthAtPointError, OutOfWorkspaceError

CAMERA = (0.0, 0.0, 0.6)


def box_readings(half_x: float, half_y: float, height: float) -> npt.NDArray[np.float64]:
    """Top and the side that faces the camera, as depth shows them, at (0.6, 0.1)."""
    x, y = np.meshgrid(np.linspace(-half_x, half_x, 25), np.linspace(-half_y, half_y, 25))
    top = np.column_stack([x.ravel(), y.ravel(), np.full(x.size, height)])
    y, z = np.meshgrid(np.linspace(-half_y, half_y, 25), np.linspace(0.005, height, 25))
    front = np.column_stack([np.full(y.size, -half_x), y.ravel(), z.ravel()])
    return np.vstack([top, front]) + [0.6, 0.1, 0.0]


def rim_readings(radius: float, height: float) -> npt.NDArray[np.float64]:
    angle = np.linspace(0.0, 2 * np.pi, 120, endpoint=False)
    rows = [
        np.column_stack([0.6 + r * np.cos(angle), r * np.sin(angle), np.full(120, height)])
        for r in (radius - 0.004, radius)
    ]
    return np.vstack(rows)


def test_a_box_is_held_across_its_narrow_side_in_its_middle() -> None:
    grasp = plan_grasps(box_readings(0.05, 0.02, 0.08), CAMERA)[0]
    assert abs(grasp.closing[1]) > 0.95
    assert grasp.width_m == pytest.approx(0.04, abs=0.004)
    assert grasp.tip_m[:2] == pytest.approx([0.6, 0.1], abs=0.003)
    assert 0.008 <= grasp.tip_m[2] < 0.06


def test_what_is_wider_than_the_jaw_and_has_no_rim_is_refused_with_its_width() -> None:
    with pytest.raises(OutOfWorkspaceError, match=r"1\d\d mm wide"):
        plan_grasps(box_readings(0.06, 0.06, 0.08), CAMERA)


def test_a_wide_vessel_is_held_by_its_rim_with_the_jaw_across_the_wall() -> None:
    for grasp in plan_grasps(rim_readings(0.07, 0.06), CAMERA):
        assert grasp.is_rim
        outward = grasp.tip_m[:2] - [0.6, 0.0]
        assert np.linalg.norm(outward) == pytest.approx(0.07, abs=0.004)
        assert abs(outward @ grasp.closing) == pytest.approx(np.linalg.norm(outward), abs=1e-6)


def test_a_side_of_the_rim_without_room_for_a_finger_comes_last() -> None:
    grasps = plan_grasps(rim_readings(0.07, 0.06), CAMERA)
    first = grasps[0]
    beside = [*(first.tip_m[:2] + 0.048 * first.closing), 0.05]
    blocked = np.array(beside) + np.random.default_rng(0).normal(0, 0.004, (60, 3))
    assert not np.allclose(clear_grasps(grasps, blocked)[0].tip_m, first.tip_m)
    assert np.allclose(clear_grasps(grasps, np.zeros((0, 3)))[0].tip_m, first.tip_m)


def test_too_few_readings_are_refused() -> None:
    with pytest.raises(NoDepthAtPointError, match="too few"):
        plan_grasps([[0.6, 0.0, 0.05]] * 5, CAMERA)


def test_the_pose_of_a_grasp_points_down_and_is_a_rotation() -> None:
    direction = np.array([0.6, 0.8])
    grasp = Grasp(np.array([0.5, 0.0, 0.1]), direction, 0.03, np.zeros(2), 0.02, False)
    for turned in (False, True):
        rotation = grasp.pose(0.1, turned)[:3, :3]
        assert rotation[:, 2] == pytest.approx([0.0, 0.0, -1.0])
        assert abs(rotation[:2, 1] @ direction) == pytest.approx(1.0)
        assert np.linalg.det(rotation) == pytest.approx(1.0)
    assert grasp.pose(0.1)[:3, 3] == pytest.approx([0.5, 0.0, 0.2])


def test_a_vessel_that_is_half_hidden_is_held_by_its_rim_in_its_true_place() -> None:
    seen = rim_readings(0.062, 0.057)
    seen = seen[seen[:, 0] > 0.59]  # 72 mm wide, which would fit the jaw
    for grasp in plan_grasps(seen, CAMERA):
        assert grasp.is_rim
        assert grasp.centre_m == pytest.approx([0.6, 0.0], abs=0.003)


def test_what_is_held_stays_under_the_palm_also_where_it_tapers() -> None:
    z = np.repeat(np.linspace(0.0, 0.10, 80), 40)
    angle = np.tile(np.linspace(0.0, 2 * np.pi, 40, endpoint=False), 80)
    radius = 0.04 * (1.0 - z / 0.10)
    cone = np.column_stack([0.6 + radius * np.cos(angle), radius * np.sin(angle), z])
    for grasp in plan_grasps(cone, CAMERA):
        assert 0.10 - grasp.tip_m[2] < 0.040  # the palm is 45 mm above the tips


def test_a_point_on_the_floor_of_a_vessel_takes_the_wall_around_it_for_the_thing() -> None:
    wall = rim_readings(0.05, 0.06)
    floor = np.column_stack([np.full(20, 0.6), np.linspace(-0.01, 0.01, 20), np.full(20, 0.004)])
    far = wall + [0.2, 0.0, 0.0]
    thing, others = thing_and_others(floor, np.vstack([wall, floor, far]), (0.6, 0.0, 0.004))
    assert len(thing) == len(wall)
    assert others[:, 0].min() > 0.59
    assert (others[:, 2] > 0.05).sum() == len(far)
