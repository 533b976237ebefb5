# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Places in the air: over a mug in front of nothing, of a wall; and what is no air."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scenes import Tabletop, frame_of

from roborefer_ros.errors import NoDepthAtPointError, NotFreeSpaceError, RoboReferError
from roborefer_ros.lifting import LiftingOptions, lift_point
from roborefer_ros.types import Mode, PointFlag


def lift_above(scene, over_m=0.06, seed=1, **changes):
    x, y, _, height = scene.mug
    options = LiftingOptions(**{"up": scene.up, **changes})
    pixel = scene.pixel((x, y, height + over_m))
    return lift_point(scene.frame(seed), pixel, options, Mode.FREE_SPACE)


@settings(max_examples=15, deadline=None)
@given(
    pitch=st.floats(2, 15),
    x=st.floats(-0.15, 0.15),
    radius=st.floats(0.025, 0.06),
    height=st.floats(0.05, 0.15),
    air=st.floats(0.0, 0.3),
    seed=st.integers(0, 999),
)
def test_above_the_mug_in_front_of_nothing(pitch, x, radius, height, air, seed):
    scene = Tabletop(pitch, mug=(x, 0.0, radius, height))
    x, y = scene.mug[:2]
    back = [scene.pixel((0.0, 0.45, 0.0))[1], scene.pixel((x, radius, height))[1]]
    assume(back[1] < back[0] - 6)  # else the table shows behind the mug: that is a surface
    lifted = lift_above(scene, 0.12, seed, air_height_m=air)
    place = scene.world(lifted.position_m)
    assert lifted.flags & PointFlag.IN_AIR
    # a camera at the mug's height sees its front only
    assert np.hypot(*(place[:2] - (x, y))) < radius + 0.005
    # one reading of so coarse a sensor is off by 2 to 3 mm
    assert place[2] == pytest.approx(height + air, abs=0.01)
    assert lifted.normal == pytest.approx(scene.up)
    error = lifted.position_m - (np.array((x, y, height + air)) - scene.origin) @ scene.rotation
    assert error @ np.linalg.solve(lifted.covariance[:3, :3], error) < 12.0


@pytest.mark.parametrize("mug", [(0.0, 0.0, 0.04, 0.10), (0.1, 0.05, 0.03, 0.15)])
def test_above_the_mug_in_front_of_a_wall(mug):
    lifted = lift_above(Tabletop(25, wall_y_m=0.3, mug=mug))
    place = Tabletop(25, wall_y_m=0.3, mug=mug).world(lifted.position_m)
    assert lifted.flags == PointFlag.IN_AIR
    assert place == pytest.approx((mug[0], mug[1], mug[3] + 0.1), abs=0.012)
    assert lifted.confidence >= LiftingOptions().confident_above


def test_without_gravity_it_is_guessed_and_not_confident():
    scene = Tabletop(10)
    lifted = lift_above(scene, 0.12, up=None)
    assert scene.world(lifted.position_m) == pytest.approx((0, 0, 0.2), abs=0.02)
    assert lifted.confidence < LiftingOptions().confident_above
    with pytest.raises(NotFreeSpaceError, match="confidence"):
        lift_above(scene, 0.12, up=None, on_low_confidence="refuse")


def test_beside_the_table():
    # past its left edge, where the image shows nothing: nothing is below, so it is refused
    scene = Tabletop(30, distance_m=1.5)
    pixel = (30.0, 300.0)
    assert not np.isfinite(scene.z_m[250:, :60]).any()
    with pytest.raises(NoDepthAtPointError):
        lift_point(scene.frame(1), pixel, LiftingOptions(up=scene.up), Mode.FREE_SPACE)


def test_only_free_space_is_put_in_the_air_and_only_if_allowed():
    scene = Tabletop(10)
    pixel = scene.pixel((0, 0, 0.25))
    options = LiftingOptions(up=scene.up)
    for mode in (Mode.AUTO, Mode.OBJECT):
        with pytest.raises(NoDepthAtPointError):
            lift_point(scene.frame(), pixel, options, mode)
    with pytest.raises(NoDepthAtPointError):
        lift_point(scene.frame(), pixel, replace(options, in_air=False), Mode.FREE_SPACE)


@pytest.mark.parametrize("pitch", [25, 45])
@pytest.mark.parametrize("angle_deg", [210, 240, 270, 300, 330])
def test_the_foot_of_a_thing_is_occupied_and_no_air(pitch, angle_deg):
    # the table right before the mug: a plane through both is as steep as a wall
    radius = 0.06
    angle, reach = np.radians(angle_deg), radius + 0.003
    scene = Tabletop(pitch, mug=(0.0, 0.0, radius, 0.12))
    pixel = scene.pixel((reach * np.cos(angle), reach * np.sin(angle), 0.0))
    with pytest.raises(NotFreeSpaceError, match="occupied"):
        lift_point(scene.frame(1), pixel, LiftingOptions(up=scene.up), Mode.FREE_SPACE)


def test_a_hole_in_the_table_is_no_air():
    scene = Tabletop(40)
    z = scene.z_m.copy()
    u, v = (int(c) for c in scene.pixel((0.25, 0, 0)))
    z[v - 40 : v + 40, u - 40 : u + 40] = np.nan  # a shiny spot
    with pytest.raises(NoDepthAtPointError):
        lift_point(frame_of(z, scene.camera), (u, v), LiftingOptions(up=scene.up), Mode.FREE_SPACE)


def test_a_wall_with_nothing_before_it_carries_nothing():
    scene = Tabletop(5, wall_y_m=0.2, table=False, mug=(5.0, 0.0, 0.01, 0.01))
    with pytest.raises(NotFreeSpaceError, match="tilted"):
        lift_point(scene.frame(), (320, 200), LiftingOptions(up=scene.up), Mode.FREE_SPACE)


def test_the_table_beside_the_mug_is_a_surface():
    scene = Tabletop(35)
    lifted = lift_point(
        scene.frame(2), scene.pixel((0.2, -0.05, 0)), LiftingOptions(up=scene.up), Mode.FREE_SPACE
    )
    assert lifted.flags == PointFlag.SUPPORT_PLANE
    assert scene.world(lifted.position_m) == pytest.approx((0.2, -0.05, 0), abs=0.004)
    assert lifted.tilt_rad == pytest.approx(0.0, abs=0.02)
    assert lifted.flatness_m == pytest.approx(0.002, abs=0.0015)  # the noise of the sensor


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    pixel=st.tuples(st.floats(-0.5, 63.5), st.floats(-0.5, 47.5)),
    density=st.floats(0, 0.3),
    up=st.one_of(
        st.none(),
        st.tuples(*[st.floats(-1, 1)] * 3).filter(lambda v: np.linalg.norm(v) > 0.1),
    ),
)
def test_nothing_but_numbered_errors_in_the_air(seed, pixel, density, up):
    rng = np.random.default_rng(seed)
    camera = replace(Tabletop().camera, width=64, height=48, fx=50.0, fy=50.0, cx=32.0, cy=24.0)
    z = np.full((48, 64), np.nan)
    z[int(rng.integers(0, 48)) :] = rng.uniform(0.3, 3.0)
    z[rng.random(z.shape) < density] = np.nan
    try:
        lifted = lift_point(frame_of(z, camera), pixel, LiftingOptions(up=up), Mode.FREE_SPACE)
    except RoboReferError as error:
        assert error.code != RoboReferError.code
    else:
        assert np.isfinite(lifted.position_m).all()
        assert np.linalg.eigvalsh(lifted.covariance).min() > 0.0
