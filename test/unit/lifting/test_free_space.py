# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Random spots on a table with a mug: free ones are given, occupied ones refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scenes import Tabletop

from roborefer_ros.errors import NotFreeSpaceError
from roborefer_ros.frame import CameraIntrinsics, Mode, PointFlag
from roborefer_ros.lifting import LiftingOptions, deproject, lift_point

RADIUS_M = 0.05
CAMERA = CameraIntrinsics(424, 320, 306.0, 306.0, 212.0, 160.0)

scenes = st.builds(
    Tabletop,
    st.floats(25, 80),
    camera=st.just(CAMERA),
    mug=st.tuples(
        st.floats(-0.1, 0.1), st.floats(-0.1, 0.1), st.floats(0.02, 0.06), st.floats(0.05, 0.15)
    ),
)


def lift(scene, spot, seed):
    pixel = scene.pixel((*spot, 0.0))
    assume(40 < pixel[0] < 384 and 40 < pixel[1] < 280)
    # as a camera of 1280 pixels would see it, at the cost of 424
    options = LiftingOptions(up=scene.up, footprint_radius_m=RADIUS_M, disparity_noise_px=0.03)
    return lift_point(scene.frame(seed, 0.03), pixel, options, Mode.FREE_SPACE)


def sees(scene, spot):
    """Whether the camera sees the table at the spot, and not the mug before it."""
    u, v = (round(float(c)) for c in scene.pixel((*spot, 0.0)))
    if not (0 <= u < CAMERA.width and 0 <= v < CAMERA.height):
        return False
    point = deproject([(u, v)], [scene.z_m[v, u]], CAMERA)
    return abs(float(scene.world(point)[0, 2])) < 0.003


@settings(max_examples=25, deadline=None)
@given(scene=scenes, spot=st.tuples(st.floats(-0.3, 0.3), st.floats(-0.2, 0.2)),
       seed=st.integers(0, 99))  # fmt: skip
def test_a_free_spot_is_given(scene, spot, seed):
    x, y, radius, _ = scene.mug
    assume(np.hypot(spot[0] - x, spot[1] - y) > radius + RADIUS_M + 0.01)
    rim = [(spot[0] + RADIUS_M * np.cos(a), spot[1] + RADIUS_M * np.sin(a))
           for a in np.linspace(0, 2 * np.pi, 16)]  # fmt: skip
    assume(all(sees(scene, p) for p in [spot, *rim]))
    lifted = lift(scene, spot, seed)
    assert lifted.flags & PointFlag.SUPPORT_PLANE and not lifted.flags & PointFlag.IN_AIR
    place = scene.world(lifted.position_m)
    assert np.linalg.norm(place - (*spot, 0.0)) < 0.008
    assert lifted.tilt_rad < np.radians(3.0) and lifted.flatness_m < 0.005
    assert lifted.confidence > 0.5


@settings(max_examples=25, deadline=None)
@given(scene=scenes, angle=st.floats(0, 6.28), share=st.floats(0.0, 0.5), seed=st.integers(0, 99))
def test_a_spot_that_the_mug_covers_is_refused(scene, angle, share, seed):
    # the pixel is on the table beside the mug, so near that it stands in the footprint
    x, y, radius, _ = scene.mug
    away = radius + 0.01 + share * 0.02
    spot = (x + away * np.cos(angle), y + away * np.sin(angle))
    assume(radius > 0.03 and sees(scene, spot))
    with pytest.raises(NotFreeSpaceError):
        lift(scene, spot, seed)
