# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from roborefer_ros.lifting import approach_rotation, quaternion_xyzw

angle = st.floats(-np.pi, np.pi)


def direction(azimuth, elevation):
    flat = np.cos(elevation)
    return np.array([flat * np.cos(azimuth), flat * np.sin(azimuth), np.sin(elevation)])


def rotation_of(q):
    x, y, z, w = q
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )


@example(-1.5625, 0.0, (0.0, -1.5625))  # comes back along the reference, but for 8 mrad
@given(angle, st.floats(-np.pi / 2, np.pi / 2), st.one_of(st.none(), st.tuples(angle, angle)))
def test_it_is_a_rotation_whose_x_axis_goes_into_the_surface(azimuth, elevation, up):
    normal = direction(azimuth, elevation)
    rotation = approach_rotation(normal, None if up is None else direction(*up))
    assert rotation[:, 0] == pytest.approx(-normal, abs=1e-9)
    assert rotation @ rotation.T == pytest.approx(np.eye(3), abs=1e-7)
    assert np.linalg.det(rotation) == pytest.approx(1.0)
    quaternion = quaternion_xyzw(rotation)
    assert rotation_of(quaternion) == pytest.approx(rotation, abs=1e-7)


def test_wall_gives_up_and_table_gives_forward():
    wall = approach_rotation(np.array([0.0, 0.0, -1.0]))
    assert wall[:, 2] == pytest.approx((0, -1, 0))  # z up in the image
    table = approach_rotation(np.array([0.0, -1.0, 0.0]))  # seen from its side
    assert table[:, 2] == pytest.approx((0, 0, 1))  # z away from the camera
    assert table[:, 1] == pytest.approx((-1, 0, 0))  # y left in both


@given(st.floats(-np.pi, np.pi), st.floats(0, 1.7), st.floats(-np.pi, np.pi))
def test_a_small_change_of_the_normal_turns_the_pose_little(azimuth, off_axis, where):
    def visible(tilt):  # normals up to 97 degrees from the camera's back direction
        return np.array(
            [np.sin(tilt) * np.cos(azimuth), np.sin(tilt) * np.sin(azimuth), -np.cos(tilt)]
        )

    a, b = approach_rotation(visible(off_axis)), approach_rotation(visible(off_axis + 0.01))
    assert np.arccos(np.clip((np.trace(a.T @ b) - 1) / 2, -1, 1)) < 0.03


def test_the_hint_turns_z_up_except_for_top_down_grasps():
    up = (0.0, -0.6, -0.8)
    side = approach_rotation(np.array([1.0, 0.0, 0.0]), up)
    assert side[:, 2] == pytest.approx(up)
    top = approach_rotation(np.array(up), up)
    assert top == pytest.approx(approach_rotation(np.array(up)))


@given(
    tilt=st.floats(0.0, 1.4),
    turn=st.floats(-math.pi, math.pi),
    pitch=st.floats(0.0, math.pi / 2),
)
def test_with_a_hint_the_roll_has_no_jump_over_the_tilt_of_a_support(tilt, turn, pitch):
    """The rotation changes slower the farther the approach is from coming straight back."""
    up = np.array([0.0, -math.cos(pitch), -math.sin(pitch)])
    side = np.cross(up, [1.0, 0.0, 0.0])
    other = np.cross(up, side)
    away = math.cos(turn) * side + math.sin(turn) * other

    def pose(angle: float) -> np.ndarray:
        return approach_rotation(math.cos(angle) * up + math.sin(angle) * away, up)

    a, b = pose(tilt), pose(tilt + 0.002)
    turned = np.arccos(np.clip((np.trace(a.T @ b) - 1) / 2, -1, 1))
    # the level direction that the camera looks in is the z axis of a top-down approach
    back = float(a[:, 0] @ approach_rotation(up, up)[:, 2])
    assert turned < 0.002 * 3.0 / max(1.0 + back, 0.02)
