# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math
from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scenes import SMALL, frame_of, plane_depth, tilted_normal

from roborefer_ros.errors import (
    DepthAmbiguousError,
    GrazingSurfaceError,
    InvalidCameraInfoError,
    InvalidGoalError,
    InvalidImageError,
    NoDepthAtPointError,
    NotFreeSpaceError,
    NoValidDepthError,
    OutOfRangeError,
    PointOutsideImageError,
    RoboReferError,
    SizeMismatchError,
    UnsupportedDistortionError,
    UnsupportedEncodingError,
)
from roborefer_ros.lifting import (
    LiftingOptions,
    deproject,
    flag_workspace,
    lift_point,
    lift_points,
)
from roborefer_ros.lifting.intrinsics import rays_through
from roborefer_ros.lifting.options import option_descriptions, option_ranges
from roborefer_ros.types import CameraIntrinsics, DepthImage, Mode, PointFlag

OPTIONS = LiftingOptions()

DISTORTIONS = st.sampled_from(
    [
        ("", ()),
        ("plumb_bob", (-0.1, 0.02, 0.001, -0.001, 0.0)),
        ("rational_polynomial", (0.1, -0.3, 0.0005, 0.0003, 0.05, 0.08, -0.25, 0.02)),
        ("equidistant", (-0.01, 0.004, -0.003, 0.0005)),
    ]
)


@settings(max_examples=60, deadline=None)
@given(
    focal=st.floats(180, 400),
    centre=st.tuples(st.floats(140, 180), st.floats(100, 140)),
    distortion=DISTORTIONS,
    where=st.tuples(st.floats(0.1, 0.9), st.floats(0.1, 0.9)),
    z=st.floats(0.4, 1.2),
    tilt=st.floats(0, math.radians(60)),
    turn=st.floats(-math.pi, math.pi),
    seed=st.integers(0, 1000),
)
def test_a_noisy_plane_comes_back(focal, centre, distortion, where, z, tilt, turn, seed):
    camera = CameraIntrinsics(320, 240, focal, focal * 1.01, *centre, *distortion)
    pixel = (where[0] * 319, where[1] * 239)
    ray = rays_through([pixel], camera)[0]
    normal = tilted_normal(ray, tilt, turn)
    depth = plane_depth(ray * z, normal, camera)
    rng = np.random.default_rng(seed)
    sigma = OPTIONS.sigma_z_m(1.0, 320) * depth**2
    noisy = depth + sigma * rng.normal(size=depth.shape)
    noisy[rng.random(depth.shape) < 0.1] = np.nan
    lifted = lift_point(frame_of(noisy, camera), pixel)
    sigma_here = OPTIONS.sigma_z_m(z, 320)
    assert abs(lifted.position_m[2] - z) < max(0.003, 2.0 * sigma_here)
    assert lifted.position_m[:2] == pytest.approx(ray[:2] * lifted.position_m[2], abs=1e-6)
    assert np.linalg.eigvalsh(lifted.covariance).min() > 0.0
    assert 0.0 <= lifted.confidence <= 1.0
    assert lifted.normal @ ray < 0.0


@pytest.mark.parametrize("tilt_deg", [0, 20, 40, 60])
@pytest.mark.parametrize("turn_deg", [0, 60, 130])
def test_normal_and_incidence_of_an_exact_plane(tilt_deg, turn_deg):
    pixel = (200.0, 90.0)
    ray = rays_through([pixel], SMALL)[0]
    normal = tilted_normal(ray, math.radians(tilt_deg), math.radians(turn_deg))
    lifted = lift_point(frame_of(plane_depth(ray * 0.7, normal)), pixel)
    assert lifted.position_m == pytest.approx(ray * 0.7, abs=1e-5)
    assert lifted.normal == pytest.approx(normal, abs=2e-3)
    assert lifted.incidence_rad == pytest.approx(math.radians(tilt_deg), abs=3e-3)
    assert lifted.flags == PointFlag.NONE
    assert lifted.confidence > 0.95


def test_normal_under_strong_distortion():
    camera = replace(SMALL, distortion_model="plumb_bob", distortion=(-0.25, 0.05, 0.0, 0.0, 0.0))
    pixel = (290.0, 40.0)
    ray = rays_through([pixel], camera)[0]
    normal = tilted_normal(ray, math.radians(45), 1.0)
    lifted = lift_point(frame_of(plane_depth(ray * 0.6, normal, camera), camera), pixel)
    assert math.degrees(math.acos(lifted.normal @ normal)) < 2.0


@pytest.mark.parametrize(
    ("dtype", "unit_m"), [(np.uint16, 0.001), (np.uint16, 0.0002), ("f4", 1.0)]
)
def test_units_and_types_agree(dtype, unit_m):
    depth = plane_depth((0, 0, 0.8), (0, -0.3, -0.954))
    lifted = lift_point(frame_of(depth, unit_m=unit_m, dtype=dtype), (160, 119))
    assert lifted.position_m == pytest.approx((0, 0, 0.8), abs=0.001)


@pytest.mark.parametrize("hole", [np.nan, np.inf, -np.inf, 0.0, -1.0])
def test_a_hole_is_filled_from_the_plane_around_it_and_flagged(hole):
    depth = plane_depth((0, 0, 0.7), (0, -0.6, -0.8))
    depth[117:122, 158:163] = hole
    lifted = lift_point(frame_of(depth), (160, 119))
    assert lifted.position_m == pytest.approx((0, 0, 0.7), abs=1e-4)
    assert lifted.flags & PointFlag.HOLE
    assert lifted.nearest_reading_px == pytest.approx(3.0)


@pytest.mark.parametrize("pixel", [(0, 0), (319, 0), (0, 239), (319, 239), (-0.5, 239.5)])
def test_corners(pixel):
    lifted = lift_point(frame_of(np.full((240, 320), 0.5)), pixel)
    expected = deproject([pixel], [0.5], SMALL)[0]
    assert lifted.position_m == pytest.approx(expected, abs=1e-6)


@settings(max_examples=80, deadline=None)
@given(
    offset=st.integers(-6, 6),
    near=st.floats(0.3, 0.8),
    step=st.floats(0.03, 0.5),
    holes=st.integers(0, 4),
    turned=st.booleans(),
    mode=st.sampled_from([Mode.AUTO, Mode.OBJECT]),
    seed=st.integers(0, 999),
)
def test_at_an_edge_the_point_is_on_one_surface(offset, near, step, holes, turned, mode, seed):
    rng = np.random.default_rng(seed)
    # less than some 8 sigma, 0.07 m at 0.8 m for so coarse a sensor, is no visible step
    step = max(step, 8.0 * OPTIONS.sigma_z_m(near + step, 240))
    depth = np.full((240, 320), near + step)
    depth[:, : 160 + offset] = near
    depth[:, 160 + offset : 160 + offset + holes] = np.nan
    camera, pixel = SMALL, (160.0, 119.0)
    if turned:
        depth, pixel = depth.T, (119.0, 160.0)
        camera = CameraIntrinsics(240, 320, 240.0, 240.0, 119.0, 160.0)
    sigma = OPTIONS.sigma_z_m(1.0, camera.width) * depth**2
    noisy = depth + 0.3 * sigma * rng.normal(size=depth.shape)
    try:
        lifted = lift_point(frame_of(noisy, camera), pixel, OPTIONS, mode)
    except RoboReferError:
        return
    off = min(abs(lifted.position_m[2] - near), abs(lifted.position_m[2] - near - step))
    assert off < 0.006
    own = depth[int(pixel[1]), int(pixel[0])]
    if np.isfinite(own) and offset not in (0, 1):
        assert lifted.position_m[2] == pytest.approx(own, abs=0.006)


def test_a_hole_between_two_surfaces_is_never_confident():
    depth = np.full((240, 320), 0.8)
    depth[100:140, 130:160] = 0.5
    depth[100:140, 160:168] = np.nan  # the shadow of a stereo camera
    for u in range(161, 168):
        lifted = lift_point(frame_of(depth), (u, 119), LiftingOptions(refuse_below=0.0))
        assert lifted.confidence < OPTIONS.confident_above
        assert lifted.flags & PointFlag.EDGE
        assert lifted.flags & PointFlag.HOLE
        with pytest.raises(DepthAmbiguousError, match="another surface"):
            lift_point(frame_of(depth), (u, 119), LiftingOptions(on_low_confidence="refuse"))


@pytest.mark.parametrize("near_z", [0.5, 0.65])
@pytest.mark.parametrize("near_right", [True, False])
def test_the_shadow_of_a_near_thing_shows_what_is_behind(near_z, near_right):
    wide = CameraIntrinsics(1280, 720, 921.0, 921.0, 642.0, 359.0)
    shadow_px = round(921.0 * OPTIONS.baseline_m * (1 / near_z - 1 / 0.8))
    depth = np.full((720, 1280), 0.8)
    near = slice(600, 700)
    hole = slice(600 - shadow_px, 600) if near_right else slice(700, 700 + shadow_px)
    depth[300:420, near] = near_z
    depth[300:420, hole] = np.nan
    # one pixel beside the near thing, where all that is close is near
    pixel = (hole.stop - 2.0, 359.0) if near_right else (hole.start + 1.0, 359.0)
    assert np.isnan(depth[359, int(pixel[0])])
    frame, side = frame_of(depth, wide), "left" if near_right else "right"
    lifted = lift_point(frame, pixel, LiftingOptions(shadow_side=side))
    assert lifted.position_m[2] == pytest.approx(0.8, abs=0.002)
    assert lifted.flags & PointFlag.HOLE
    assert lifted.flags & PointFlag.EDGE
    assert OPTIONS.refuse_below <= lifted.confidence < OPTIONS.confident_above
    for options, mode in ((LiftingOptions(shadow_side="none"), Mode.AUTO), (OPTIONS, Mode.OBJECT)):
        assert lift_point(frame, pixel, options, mode).position_m[2] == pytest.approx(near_z)


def test_flying_pixels_do_not_pull_the_point():
    depth = np.full((240, 320), 0.8)
    depth[:, :160] = 0.5
    depth[:, 160] = 0.63  # one column between the two
    with pytest.raises(DepthAmbiguousError, match="another surface"):
        lift_point(frame_of(depth), (160, 119))
    lifted = lift_point(frame_of(depth), (160, 119), LiftingOptions(refuse_below=0.0))
    z = lifted.position_m[2]
    assert min(abs(z - 0.5), abs(z - 0.8)) < 1e-3


# --- refusals --------------------------------------------------------------------------


@pytest.mark.parametrize("value", [0.0, np.nan, np.inf])
@pytest.mark.parametrize("dtype", [np.float32, np.uint16])
def test_a_dead_depth_camera(value, dtype):
    value = 0.0 if dtype == np.uint16 else value
    frame = frame_of(np.full((240, 320), value), dtype=dtype)
    with pytest.raises(NoValidDepthError, match="76800"):
        lift_point(frame, (10, 10))


def test_no_reading_near():
    depth = np.full((240, 320), np.nan)
    depth[:20, :20] = 0.5
    with pytest.raises(NoDepthAtPointError, match=r"\(160, 119\)"):
        lift_point(frame_of(depth), (160, 119))


def test_too_far_is_refused_rather_than_put_on_the_near_thing_beside_it():
    depth = np.full((240, 320), 4.0)
    depth[:, :157] = 0.5
    with pytest.raises(OutOfRangeError, match="unit"):
        lift_point(frame_of(depth), (160, 119), LiftingOptions(z_max_m=2.0))


def test_wrong_unit_is_out_of_range():
    frame = frame_of(np.full((240, 320), 0.8), unit_m=0.001, dtype=np.uint16)
    as_metres = replace(frame, depth=DepthImage(frame.depth.raw, 1.0))
    with pytest.raises(OutOfRangeError):
        lift_point(as_metres, (160, 119))


def test_grazing_surfaces():
    pixel = (160.0, 200.0)
    ray = rays_through([pixel], SMALL)[0]
    for tilt_deg, expected in ((79, PointFlag.GRAZING), (88, None)):
        normal = tilted_normal(ray, math.radians(tilt_deg), math.pi / 2)
        frame = frame_of(plane_depth(ray * 0.5, normal))
        options = LiftingOptions(disparity_noise_px=0.75)
        if expected is None:
            with pytest.raises(GrazingSurfaceError, match="88"):
                lift_point(frame, pixel, options)
        else:
            assert lift_point(frame, pixel, options).flags & expected


@pytest.mark.parametrize("pixel", [(-1, 5), (320, 5), (5, 240), (math.nan, 5), (math.inf, 5)])
def test_outside_the_image(pixel):
    with pytest.raises(PointOutsideImageError):
        lift_point(frame_of(np.full((240, 320), 0.5)), pixel)


def test_unusable_inputs_have_their_numbers():
    good = frame_of(np.full((240, 320), 0.5))
    raw = good.depth.raw
    cases = [
        (replace(good, depth=DepthImage(raw[:100], 1.0)), SizeMismatchError),
        (replace(good, intrinsics=replace(SMALL, width=640)), SizeMismatchError),
        (replace(good, depth=DepthImage(raw.astype(np.int32), 1.0)), UnsupportedEncodingError),
        (replace(good, depth=DepthImage(raw[None], 1.0)), InvalidImageError),
        (replace(good, depth=DepthImage(raw, 0.0)), InvalidImageError),
        (replace(good, intrinsics=replace(SMALL, fx=0.0)), InvalidCameraInfoError),
        (
            replace(good, intrinsics=replace(SMALL, distortion_model="fov", distortion=(0.9,))),
            UnsupportedDistortionError,
        ),
    ]
    for frame, error in cases:
        with pytest.raises(error):
            lift_point(frame, (160, 119))


@settings(max_examples=100, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    density=st.floats(0, 1),
    pixel=st.tuples(st.floats(-2, 66), st.floats(-2, 50)),
    dtype=st.sampled_from([np.uint16, np.float32, np.float64]),
    mode=st.sampled_from(list(Mode)),
    spread=st.floats(0, 1),
)
def test_nothing_but_numbered_errors(seed, density, pixel, dtype, mode, spread):
    rng = np.random.default_rng(seed)
    camera = CameraIntrinsics(64, 48, 50.0, 50.0, 32.0, 24.0)
    depth = rng.uniform(0.5 - 0.5 * spread, 0.5 + 3 * spread, size=(48, 64))
    depth[rng.random(depth.shape) > density] = 0.0
    if dtype != np.uint16:
        depth[rng.random(depth.shape) < 0.05] = rng.choice([np.nan, np.inf, -np.inf, -1.0, 1e30])
    unit_m = 0.001 if dtype == np.uint16 else 1.0
    frame = frame_of(depth, camera, unit_m, dtype)
    try:
        lifted = lift_point(frame, pixel, OPTIONS, mode)
    except RoboReferError as error:
        assert error.code != RoboReferError.code
        assert str(error)
    else:
        assert np.isfinite(lifted.position_m).all()
        assert np.isfinite(lifted.covariance).all()
        assert np.linalg.norm(lifted.orientation_xyzw) == pytest.approx(1.0)
        assert 0.0 <= lifted.confidence <= 1.0
        assert 0.0 <= lifted.valid_ratio <= 1.0
        assert OPTIONS.z_min_m <= lifted.position_m[2] <= OPTIONS.z_max_m


@pytest.mark.parametrize(
    "wrong",
    [{"z_min_m": 2.0, "z_max_m": 1.0}, {"min_inliers": 0}, {"on_low_confidence": "maybe"},
     {"up": (0.0, 0.0, 0.0)}, {"baseline_m": math.nan}],
)  # fmt: skip
def test_options_are_checked(wrong):
    with pytest.raises(InvalidGoalError):
        LiftingOptions(**wrong)


# --- free space ------------------------------------------------------------------------


def table(extra=None):
    depth = plane_depth((0, 0, 0.7), (0, -0.6, -0.8))
    if extra is not None:
        extra(depth)
    return frame_of(depth)


def test_free_space_gives_the_support_plane():
    options = LiftingOptions(up=(0.0, -0.6, -0.8))
    lifted = lift_point(table(), (160, 119), options, Mode.FREE_SPACE)
    assert lifted.flags == PointFlag.SUPPORT_PLANE
    assert lifted.position_m == pytest.approx((0, 0, 0.7), abs=1e-4)
    assert lifted.normal == pytest.approx((0, -0.6, -0.8), abs=1e-3)


def test_a_spot_beside_an_object_is_refused_as_occupied():
    def block(depth):
        depth[80:160, 165:240] -= 0.08

    with pytest.raises(NotFreeSpaceError, match="occupied"):
        lift_point(table(block), (155, 119), OPTIONS, Mode.FREE_SPACE)
    lift_point(table(block), (155, 119), OPTIONS, Mode.OBJECT)
    lift_point(table(block), (100, 119), OPTIONS, Mode.FREE_SPACE)


def test_the_top_of_a_thing_smaller_than_the_footprint_is_not_free():
    def block(depth):
        depth[115:124, 156:165] -= 0.04

    with pytest.raises(NotFreeSpaceError):
        lift_point(table(block), (160, 119), OPTIONS, Mode.FREE_SPACE)


def test_a_wall_supports_nothing():
    options = LiftingOptions(up=(0.0, -1.0, 0.0))
    wall = frame_of(np.full((240, 320), 0.7))
    with pytest.raises(NotFreeSpaceError, match="tilted by 90"):
        lift_point(wall, (160, 119), options, Mode.FREE_SPACE)


def test_several_points():
    points = lift_points(table(), [(100, 100), (200, 150)])
    assert [p.position_m[0] < 0 for p in points] == [True, False]


def test_to_referred_carries_everything():
    lifted = lift_point(table(), (100, 100))
    referred = lifted.to_referred((100, 100), (0.31, 0.42), "cam")
    assert referred.frame_id == "cam"
    assert referred.pixel == (100, 100)
    assert referred.confidence == lifted.confidence
    assert referred.valid_depth_ratio == lifted.valid_ratio


@pytest.mark.parametrize(
    ("box", "inside"),
    [
        (None, True),
        ((-0.3, -0.3, 0.0, 0.3, 0.3, 1.0), True),
        ((-0.3, -0.3, 0.0, 0.3, 0.3, 0.5), False),
        ((0.01, -0.3, 0.0, 0.3, 0.3, 1.0), False),
    ],
)
def test_the_workspace_is_a_box_in_the_frame_of_the_answer(box, inside):
    options = LiftingOptions(workspace_m=box)
    referred = lift_point(table(), (160, 119)).to_referred((160, 119), (0.5, 0.5), "base")
    flags = flag_workspace(referred, options).flags
    assert bool(flags & PointFlag.OUT_OF_WORKSPACE) != inside


def test_a_support_that_leans_is_flagged_before_it_is_refused():
    leaning = LiftingOptions(up=(0.0, -math.sin(0.65), -math.cos(0.65)), max_tilt_rad=0.45)
    # the table's normal is at 0.6435 rad from the camera's back direction
    steep = replace(leaning, up=(0.0, -math.sin(0.4), -math.cos(0.4)))
    too_steep = replace(leaning, up=(0.0, -math.sin(0.1), -math.cos(0.1)))
    level = lift_point(table(), (160, 119), leaning, Mode.FREE_SPACE)
    assert not level.flags & PointFlag.NOT_FLAT
    assert level.tilt_rad < 0.01
    flagged = lift_point(table(), (160, 119), steep, Mode.FREE_SPACE)
    assert flagged.flags & PointFlag.NOT_FLAT
    assert flagged.tilt_rad == pytest.approx(0.2435, abs=0.002)
    assert flagged.to_referred((160, 119), (0.5, 0.5), "c").tilt_rad == flagged.tilt_rad
    with pytest.raises(NotFreeSpaceError, match="tilted by 31 deg"):
        lift_point(table(), (160, 119), too_steep, Mode.FREE_SPACE)


def test_a_footprint_without_enough_readings_is_refused():
    def patchy(depth):
        depth[:, ::2] = np.nan
        depth[::2] = np.nan

    options = LiftingOptions(min_footprint_ratio=0.3)
    with pytest.raises(NotFreeSpaceError, match="of the footprint"):
        lift_point(table(patchy), (160, 119), options, Mode.FREE_SPACE)


def test_every_range_of_the_options_is_enforced():
    ranges = option_ranges()
    assert {"z_min_m", "air_height_m", "temporal_frames", "refuse_below"} <= set(ranges)
    for name, (low, high) in ranges.items():
        default = getattr(OPTIONS, name)
        assert low <= default <= high
        for wrong in (low - 1, high + 1, math.nan):
            with pytest.raises(InvalidGoalError, match=name):
                replace(OPTIONS, **{name: wrong})


def test_the_least_certain_is_refused_whatever_the_policy():
    depth = np.full((240, 320), 0.8)
    depth[:, 161:] = np.nan
    depth[:, :130] = 0.5
    depth[:, 150:161] = np.nan
    frame = frame_of(depth)
    certain = LiftingOptions(refuse_below=0.0)
    confidence = lift_point(frame, (156, 119), certain).confidence
    assert confidence < OPTIONS.confident_above
    strict = LiftingOptions(refuse_below=confidence + 0.01)
    with pytest.raises(RoboReferError, match="is below"):
        lift_point(frame, (156, 119), strict)


def test_every_option_says_what_it_means():
    assert set(option_descriptions()) == {f.name for f in fields(LiftingOptions)}
    assert all(len(text) > 20 and text.endswith(".") for text in option_descriptions().values())


@pytest.mark.parametrize(
    ("model", "z_m", "expected_m"),
    [
        ("stereo", 2.0, 0.09 * 4.0 / (600.0 * 0.05)),
        ("structured_light", 2.0, 0.0012 + 0.0019 * 1.6**2),
        ("time_of_flight", 2.0, 0.001 + 0.001 * 2.0),
    ],
)
def test_noise_models_follow_their_formulas(model, z_m, expected_m):
    options = LiftingOptions(depth_noise_model=model, depth_focal_px=600.0)
    assert options.sigma_z_m(z_m, 640) == pytest.approx(expected_m)
    assert options.sigma_z_m(np.array([z_m, z_m]), 640) == pytest.approx([expected_m] * 2)


def test_the_focal_length_comes_from_the_camera_that_measures():
    frame = frame_of(np.ones((240, 320)))
    assert LiftingOptions().bound_to(frame).depth_focal_px == SMALL.fx
    finer = replace(SMALL, fx=500.0)
    assert LiftingOptions().bound_to(replace(frame, depth_intrinsics=finer)).depth_focal_px == 500.0
    given = LiftingOptions(depth_focal_px=700.0)
    assert given.bound_to(frame).depth_focal_px == 700.0
