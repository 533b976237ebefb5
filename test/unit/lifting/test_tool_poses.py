# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Poses of every planner on numbers: a camera that looks down on a table, and random surfaces."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from roborefer_ros.lifting.orientation import approach_rotation, quaternion_xyzw, rotation_matrix
from roborefer_ros.lifting.tool_poses import (
    ToolConvention,
    candidates,
    place_rotation,
    planner_pose,
)
from roborefer_ros.types import Mode, ReferredPoint

#: a top-down grasp in base_link: approach down, the jaw closes along base_link's y
DOWN = np.array([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [-1.0, 0.0, 0.0]])
PLACE = np.array([0.5, 0.1, 0.2])
HALF = math.sqrt(0.5)


@pytest.mark.parametrize(
    ("planner", "rotation", "origin"),
    [
        # first column approach, second closing
        ("graspnet", DOWN, [0.5, 0.1, 0.22]),
        # z down, y closes: x points back
        ("panda_hand", [[-1, 0, 0], [0, 1, 0], [0, 0, -1]], [0.5, 0.1, 0.3034]),
        # the hand is turned by -45 degrees about z on link8
        ("panda_link8", [[-HALF, HALF, 0], [HALF, HALF, 0], [0, 0, -1]], [0.5, 0.1, 0.3034]),
        # x closes, z down
        ("contact_graspnet", [[0, 1, 0], [1, 0, 0], [0, 0, -1]], [0.5, 0.1, 0.3034]),
    ],
)
def test_a_grasp_from_above_in_the_frame_of_each_planner(
    planner: str, rotation: Any, origin: list[float]
) -> None:
    found_origin, found_rotation = planner_pose(planner, PLACE, DOWN)
    assert found_rotation == pytest.approx(np.array(rotation, dtype=float), abs=1e-12)
    assert found_origin == pytest.approx(origin, abs=1e-12)
    assert np.linalg.det(found_rotation) == pytest.approx(1.0)


def test_an_unknown_planner_is_refused_by_name() -> None:
    with pytest.raises(KeyError, match="panda_hand"):
        planner_pose("nobody", PLACE, DOWN)


def test_move_it_with_z_as_approach() -> None:
    """approach_axis z: the pose is the fingertips' frame of a Panda hand, and pre_pose above it."""
    tool = ToolConvention("z", 0.1)
    assert tool.rotation(DOWN) == pytest.approx(planner_pose("panda_hand", PLACE, DOWN)[1])
    assert tool.rotation(DOWN)[:, 2] == pytest.approx([0, 0, -1])
    assert tool.before(PLACE, DOWN) == pytest.approx([0.5, 0.1, 0.3])


def test_what_is_placed_stands_on_the_support() -> None:
    assert place_rotation(DOWN)[:, 2] == pytest.approx([0, 0, 1])
    assert np.linalg.det(place_rotation(DOWN)) == pytest.approx(1.0)


@given(st.tuples(*[st.floats(-1.0, 1.0)] * 3))
@example((0.0, 1e-5, 1.0))
@example((0.0, 1e-9, 1.0))
def test_conventions_hold_for_every_surface(normal: tuple[float, float, float]) -> None:
    n = np.array(normal)
    if np.linalg.norm(n) < 0.1:
        return
    n /= np.linalg.norm(n)
    rotation = approach_rotation(n)
    assert ToolConvention("x").rotation(rotation)[:, 0] == pytest.approx(-n, abs=1e-9)
    assert ToolConvention("z").rotation(rotation)[:, 2] == pytest.approx(-n, abs=1e-9)
    assert place_rotation(rotation)[:, 2] == pytest.approx(n, abs=1e-9)
    assert ToolConvention("x", 0.2).before(PLACE, rotation) == pytest.approx(PLACE + 0.2 * n)
    assert rotation_matrix(quaternion_xyzw(rotation)) == pytest.approx(rotation, abs=1e-9)


def _point(rotation: Any, confidence: float) -> ReferredPoint:
    return ReferredPoint(
        (1.0, 1.0),
        (0.5, 0.5),
        PLACE,
        quaternion_xyzw(np.asarray(rotation)),
        np.eye(6),
        "base_link",
        1.0,
        0.0,
        confidence,
    )


def test_candidates_come_by_their_cost() -> None:
    """A side grasp of a can: along the normal and from above, two rolls each."""
    side = approach_rotation(np.array([-1.0, 0.0, 0.0]), (0.0, 0.0, 1.0))
    found = candidates((_point(side, 0.9),), Mode.OBJECT, (0.0, 0.0, 2.0))
    assert [one.cost for one in found] == pytest.approx([0.35, 0.37, 0.6, 0.62])
    assert found[0].rotation[:, 0] == pytest.approx([1, 0, 0])
    assert found[2].rotation[:, 0] == pytest.approx([0, 0, -1], abs=1e-9)
    # the second roll closes across the first
    assert found[0].rotation[:, 1] @ found[1].rotation[:, 1] == pytest.approx(0.0, abs=1e-9)


def test_a_surer_point_goes_first_and_keeps_its_number() -> None:
    found = candidates((_point(DOWN, 0.6), _point(DOWN, 0.9)), Mode.OBJECT, (0.0, 0.0, 1.0))
    assert [one.point for one in found] == [1, 1, 0, 0]


def test_without_up_there_is_no_grasp_from_above() -> None:
    side = approach_rotation(np.array([-1.0, 0.0, 0.0]))
    found = candidates((_point(side, 1.0),), Mode.OBJECT, None)
    assert [one.cost for one in found] == pytest.approx([0.0, 0.02])
