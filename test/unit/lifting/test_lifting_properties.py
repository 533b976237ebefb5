# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Project, perturb, lift, compare; and inputs of all kinds, which raise numbered errors only."""

from __future__ import annotations

import math
import warnings
from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scenes import plane_depth, tilted_normal

from roborefer_ros.errors import (
    InvalidCameraInfoError,
    InvalidGoalError,
    InvalidImageError,
    NoDepthAtPointError,
    PointOutsideImageError,
    RoboReferError,
)
from roborefer_ros.lifting import (
    LiftingOptions,
    crop_cloud,
    grow_segment,
    lift_point,
    register_depth,
)
from roborefer_ros.lifting.intrinsics import rays_through
from roborefer_ros.lifting.options import CHOICES, option_ranges
from roborefer_ros.types import CameraIntrinsics, DepthImage, Mode, PointFlag, RGBDFrame

#: model -> largest size of each coefficient that a lens of this field of view has
LENSES = {
    "": (),
    "plumb_bob": (0.25, 0.1, 0.002, 0.002, 0.03),
    "rational_polynomial": (0.2, 0.1, 0.002, 0.002, 0.03, 0.1, 0.05, 0.02),
    "equidistant": (0.05, 0.02, 0.01, 0.005),
}
unit = st.floats(-1.0, 1.0)


@st.composite
def cameras(draw, width, height):
    model = draw(st.sampled_from(sorted(LENSES)))
    focal = draw(st.floats(0.75, 1.4)) * width
    return CameraIntrinsics(
        width, height, focal, focal * draw(st.floats(0.97, 1.03)),
        width * (0.5 + 0.05 * draw(unit)), height * (0.5 + 0.05 * draw(unit)),
        model, tuple(size * draw(unit) for size in LENSES[model]),
    )  # fmt: skip


@st.composite
def poses(draw):
    pose = np.eye(4)
    pose[:3, :3] = cv2.Rodrigues(np.array([0.05 * draw(unit) for _ in range(3)]))[0]
    pose[:3, 3] = [0.06 * draw(unit) for _ in range(3)]
    return pose


@settings(max_examples=60, deadline=None)
@given(
    colour=cameras(320, 240),
    depth=st.none() | cameras(212, 160),
    pose=poses(),
    where=st.tuples(st.floats(0.2, 0.8), st.floats(0.2, 0.8)),
    z_m=st.floats(0.35, 1.2),
    tilt=st.floats(0.0, math.radians(60.0)),
    turn=st.floats(-math.pi, math.pi),
    seed=st.integers(0, 9999),
)
def test_what_was_projected_comes_back(colour, depth, pose, where, z_m, tilt, turn, seed):
    pixel = (where[0] * 319, where[1] * 239)
    rng = np.random.default_rng(seed)
    seen_by, camera_T_depth = (colour, np.eye(4)) if depth is None else (depth, pose)
    try:
        ray = rays_through([pixel], colour)[0]
        point, normal = ray * z_m, tilted_normal(ray, tilt, turn)
        rotation, shift = camera_T_depth[:3, :3], camera_T_depth[:3, 3]
        z = plane_depth(rotation.T @ (point - shift), rotation.T @ normal, seen_by)
    except RoboReferError as error:
        assert "no inverse" in str(error)  # a lens that folds its image
        return
    sigma = 0.09 * z**2 / (seen_by.fx * 0.05)
    z = z + sigma * rng.normal(size=z.shape)
    z[rng.random(z.shape) < 0.1] = np.nan
    rgb = np.zeros((240, 320, 3), np.uint8)
    frame = RGBDFrame(rgb, DepthImage(z.astype(np.float32), 1.0), colour, "colour", 0, depth,
                      None if depth is None else pose)  # fmt: skip
    options = LiftingOptions(
        pixel_sigma_px=0.0, normalised_step=0.0, depth_focal_px=seen_by.fx, z_max_m=5.0
    )
    try:
        lifted = lift_point(frame, pixel, options)
    except RoboReferError as error:
        # out of the other camera's view, or turned away from it
        assert depth is not None or tilt > 1.0, error
        return
    if lifted.confidence < options.confident_above:
        return
    sigma_here = 0.09 * z_m**2 / (seen_by.fx * 0.05)
    assert abs(lifted.position_m[2] - z_m) < max(0.002, 2.5 * sigma_here)
    assert abs(lifted.position_m[2] - z_m) < 5.0 * math.sqrt(lifted.covariance[2, 2]) + 1e-4
    across = np.cross(lifted.position_m, ray)
    assert np.linalg.norm(across) < 1e-5  # on the pixel's ray


# --- inputs of all kinds ---------------------------------------------------------------

ODD = (math.nan, math.inf, -math.inf, 0.0, -1.0, 1e-300, 1e300, 1e30, 5e-324)


class Inputs:
    """Anything that might be asked for, from one seed."""

    def __init__(self, seed):
        self.rng = np.random.default_rng(seed)
        self.colour = self.intrinsics()
        other = self.rng.random() < 0.4
        self.depth_camera = self.intrinsics() if other and self.rng.random() < 0.8 else None
        of = self.depth_camera or self.colour
        size = self.colour.height, self.colour.width, 3
        rgb = self.rng.integers(0, 256, size).astype(np.uint8)
        self.frame = RGBDFrame(
            rgb, self.depth(of.width, of.height), self.colour, "c", 0, self.depth_camera,
            self.pose() if other and self.rng.random() < 0.8 else None,
        )  # fmt: skip
        self.pixel = (
            self.odd(self.rng.uniform(-2, self.colour.width + 1)),
            self.odd(self.rng.uniform(-2, self.colour.height + 1)),
        )
        self.mode = Mode(int(self.rng.integers(0, 3)))
        self.options = self.some_options()

    def odd(self, value, share=0.02):
        return float(self.rng.choice(ODD)) if self.rng.random() < share else float(value)

    def intrinsics(self):
        rng = self.rng
        width, height = int(rng.integers(1, 90)), int(rng.integers(1, 70))
        focal = 10 ** rng.uniform(0.5, 3.0)
        model, count = (
            ("", 0), ("plumb_bob", 5), ("plumb_bob", 4), ("rational_polynomial", 8),
            ("rational_polynomial", 12), ("rational_polynomial", 14), ("equidistant", 4), ("x", 3),
        )[rng.integers(0, 8)]  # fmt: skip
        size = 10 ** rng.uniform(-4.0, 1.0)
        return CameraIntrinsics(
            width, height, self.odd(focal), self.odd(focal * rng.uniform(0.5, 2.0)),
            self.odd(width * rng.uniform(-0.5, 1.5)), self.odd(height * rng.uniform(-0.5, 1.5)),
            model, tuple(self.odd(size * x, 0.01) for x in rng.normal(size=count)),
        )  # fmt: skip

    def depth(self, width, height):
        rng = self.rng
        v, u = np.mgrid[:height, :width]
        z = (
            lambda: rng.uniform(0.1, 4.0, size=(height, width)),
            lambda: np.full((height, width), rng.uniform(0.1, 12.0)),
            lambda: 1.0 / np.maximum(rng.normal() * 0.02 * u + rng.normal() * 0.02 * v + 1.0, 1e-6),
            lambda: np.where((u > width // 3) & (v > height // 3), 0.5, rng.uniform(0.4, 3.0)),
            lambda: 10 ** rng.uniform(-8.0, 8.0, size=(height, width)),
            lambda: np.where(v > rng.integers(0, height), rng.uniform(0.3, 3.0), 0.0),
        )[rng.integers(0, 6)]()
        z = z * (1.0 + rng.uniform(0.0, 0.02) * rng.normal(size=z.shape))
        if rng.random() < 0.7:
            z[rng.random(z.shape) < rng.random() ** 2] = 0.0
        if rng.random() < 0.2:
            z[rng.random(z.shape) < 0.05] = rng.choice(ODD)
        kind = rng.choice(["u2", "f4", "f8", "u1", "u4", "i2", "f2"])
        if kind[0] == "f":
            with np.errstate(over="ignore"):
                return DepthImage(z.astype(kind), self.odd(1.0))
        finite = np.nan_to_num(z * 1000.0, nan=0.0, posinf=0.0, neginf=0.0)
        return DepthImage(finite.clip(0, np.iinfo(kind).max).astype(kind), self.odd(0.001))

    def pose(self):
        rng, pose = self.rng, np.eye(4)
        pose[:3, :3] = cv2.Rodrigues(rng.normal(size=3) * 10 ** rng.uniform(-3.0, 0.5))[0]
        pose[:3, 3] = rng.normal(size=3) * 10 ** rng.uniform(-3.0, 0.5)
        if rng.random() < 0.1:
            pose[rng.integers(0, 4), rng.integers(0, 4)] = rng.choice(ODD)
        return pose

    def some_options(self):
        changes = {}
        for name, (low, high) in option_ranges().items():
            if self.rng.random() < 0.15:
                value = self.rng.choice([low, high, self.rng.uniform(low, high)])
                whole = name in ("min_inliers", "temporal_frames")
                changes[name] = int(value) if whole else float(value)
        for name, choices in CHOICES.items():
            changes[name] = str(self.rng.choice(choices))
        if self.rng.random() < 0.5:
            changes["up"] = tuple(self.odd(x) for x in self.rng.normal(size=3))
        try:
            return LiftingOptions(**changes)
        except InvalidGoalError:
            return LiftingOptions()


def given_or_refused(call):
    try:
        return call()
    except RoboReferError as error:
        assert error.code != RoboReferError.code
        assert str(error)
        return None


@settings(max_examples=300, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_no_input_raises_anything_but_a_numbered_error(seed):
    x = Inputs(seed)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        lifted = given_or_refused(lambda: lift_point(x.frame, x.pixel, x.options, x.mode))
        z_m = x.odd(x.rng.uniform(0.1, 3.0), 0.1)
        given_or_refused(lambda: grow_segment(x.frame, x.pixel, z_m, x.options))
        sphere = [x.odd(0.0), x.odd(0.0), z_m], x.odd(x.rng.random(), 0.1)
        given_or_refused(lambda: crop_cloud(x.frame, *sphere, x.options))
        given_or_refused(lambda: register_depth(x.frame, x.options))
    if lifted is None:
        return
    assert x.options.z_min_m <= lifted.position_m[2] <= x.options.z_max_m
    assert np.isfinite(lifted.position_m).all()
    assert np.isfinite(lifted.covariance).all()
    spread = np.linalg.eigvalsh(lifted.covariance)
    assert spread[0] >= -1e-12 * max(1.0, spread[-1])
    assert np.linalg.norm(lifted.orientation_xyzw) == pytest.approx(1.0)
    assert 0.0 <= lifted.confidence <= 1.0
    assert 0.0 <= lifted.valid_ratio <= 1.0
    assert lifted.flags & PointFlag.IN_AIR or lifted.normal @ lifted.position_m <= 1e-9


@pytest.mark.parametrize("field", ["position_m", "normal", "covariance", "orientation_xyzw"])
def test_a_number_that_is_none_never_leaves_the_lifting(field, monkeypatch):
    from roborefer_ros.lifting import lift

    real = lift.point_on

    def broken(*arguments):
        point = real(*arguments)
        values = getattr(point, field).copy()
        values.flat[-1] = math.nan
        return replace(point, **{field: values})

    monkeypatch.setattr(lift, "point_on", broken)
    with pytest.raises(NoDepthAtPointError, match="finite"):
        lift_point(small(), (32, 24))


def small(**changes):
    camera = CameraIntrinsics(64, 48, 50.0, 50.0, 32.0, 24.0)
    depth = DepthImage(np.full((48, 64), 0.5, np.float32), 1.0)
    fields = {"rgb": np.zeros((48, 64, 3), np.uint8), "depth": depth, "intrinsics": camera}
    return RGBDFrame(**{**fields, "frame_id": "c", **changes})


def test_a_depth_range_from_zero_works_where_depth_is_not_aligned():
    frame = small(camera_T_depth=np.eye(4))
    lifted = lift_point(frame, (32, 24), LiftingOptions(z_min_m=0.0))
    assert lifted.position_m[2] == pytest.approx(0.5, abs=1e-4)


@pytest.mark.parametrize("shape", [(48,), (48, 64), (48, 64, 4), (0, 64, 3)])
def test_a_colour_image_that_is_none_is_refused(shape):
    frame = small(rgb=np.zeros(shape, np.uint8))
    for call in (
        lambda: lift_point(frame, (32, 24)),
        lambda: grow_segment(frame, (32, 24), 0.5),
        lambda: crop_cloud(frame, (0.0, 0.0, 0.5)),
        lambda: register_depth(frame),
    ):
        with pytest.raises(InvalidImageError, match="colour"):
            call()


def test_a_mirror_image_is_no_transform():
    mirrored = np.diag([-1.0, 1.0, 1.0, 1.0])
    with pytest.raises(InvalidCameraInfoError, match="rigid"):
        lift_point(small(camera_T_depth=mirrored), (32, 24))


def test_absurd_numbers_have_their_errors():
    tiny = CameraIntrinsics(64, 48, 5e-324, 50.0, 32.0, 24.0)
    with pytest.raises(InvalidCameraInfoError, match="unusable"):
        lift_point(small(intrinsics=tiny), (32, 24))
    with pytest.raises(InvalidImageError, match="unit"):
        lift_point(small(depth=DepthImage(np.ones((48, 64), np.float32), 1e30)), (32, 24))
    with pytest.raises(PointOutsideImageError):
        grow_segment(small(), (math.nan, 2.0), 0.5)
    for z_m in (math.nan, math.inf, -1.0, 0.0):
        with pytest.raises(NoDepthAtPointError):
            grow_segment(small(), (32, 24), z_m)
    for centre, radius in (((0, 0, math.nan), 0.1), ((0, 0, 1), math.inf), ((0, 0, 1), -0.1)):
        with pytest.raises(InvalidGoalError):
            crop_cloud(small(), centre, radius)
