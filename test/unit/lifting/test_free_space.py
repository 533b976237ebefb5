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
from roborefer_ros.lifting import LiftingOptions, deproject, lift_point
from roborefer_ros.lifting.intrinsics import rays_through
from roborefer_ros.lifting.patch import plane_axes
from roborefer_ros.types import CameraIntrinsics, Mode, PointFlag

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
    assert lifted.flags & PointFlag.SUPPORT_PLANE
    assert not lifted.flags & PointFlag.IN_AIR
    place = scene.world(lifted.position_m)
    assert np.linalg.norm(place - (*spot, 0.0)) < 0.008
    assert lifted.tilt_rad < np.radians(3.0)
    assert lifted.flatness_m < 0.005
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


EMPTY = (5.0, 5.0, 0.01, 0.01)  # a mug out of sight


def table_with_floor(floor_m=-0.75):
    """A table whose far edge is in sight at y = 0.45 m, and the floor below; None for no floor."""
    scene = Tabletop(45.0, mug=EMPTY)
    if floor_m is not None:
        height, width = scene.z_m.shape
        v, u = np.mgrid[:height, :width]
        down = rays_through(np.column_stack((u.ravel(), v.ravel())), scene.camera)
        z = (floor_m - scene.origin[2]) / (down @ scene.rotation.T)[:, 2].reshape(height, width)
        bare = ~np.isfinite(scene.z_m) & (z > 0.0)
        scene.z_m[bare] = z[bare]
    return scene


def spot_from_edge(scene, inset_m, **changes):
    pixel = scene.pixel((0.0, 0.45 - inset_m, 0.0))
    return lift_point(scene.frame(), pixel, LiftingOptions(up=scene.up, **changes), Mode.FREE_SPACE)


@pytest.mark.parametrize("inset_m", [0.005, 0.01, 0.02, 0.03])
@pytest.mark.parametrize("z_max_m", [10.0, 1.3])
def test_a_footprint_over_the_edge_of_a_table_is_refused(inset_m, z_max_m):
    """Also where the floor is out of the depth range and where no plane fits to both."""
    scene = table_with_floor()
    with pytest.raises(NotFreeSpaceError):
        spot_from_edge(scene, inset_m, z_max_m=z_max_m)
    inner = spot_from_edge(scene, 0.06, z_max_m=z_max_m)
    assert inner.flags == PointFlag.SUPPORT_PLANE
    assert inner.confidence > 0.9


def test_half_a_footprint_without_readings_is_not_free():
    """Beyond an edge with nothing below, and as glass makes: the other half is no proof."""
    scene = table_with_floor(None)
    for inset_m in (0.005, 0.01):
        with pytest.raises(NotFreeSpaceError, match="one side of the footprint"):
            spot_from_edge(scene, inset_m)
    near = spot_from_edge(scene, 0.018)
    assert near.flags & PointFlag.SPARSE
    assert near.confidence < 0.95
    assert spot_from_edge(scene, 0.04).flags == PointFlag.SUPPORT_PLANE


def test_a_footprint_that_the_picture_cuts_off_is_not_seen_to_be_free():
    scene = Tabletop(45.0, mug=EMPTY)
    options = LiftingOptions(up=scene.up)
    with pytest.raises(NotFreeSpaceError, match="the picture"):
        lift_point(scene.frame(), (0.0, 240.0), options, Mode.FREE_SPACE)
    assert lift_point(scene.frame(), (60.0, 240.0), options, Mode.FREE_SPACE).confidence > 0.9


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_a_plane_square_to_an_axis_of_the_camera_has_axes(axis: int, sign: float) -> None:
    """A camera that looks straight down sees such a table."""
    normal = np.zeros(3)
    normal[axis] = sign
    axes = plane_axes(normal)
    assert np.allclose(axes @ axes.T, np.eye(3))
