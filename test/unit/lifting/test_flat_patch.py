# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Normals from patches that grow while the surface is flat; holes judged by rim and colour."""

from __future__ import annotations

import contextlib
import math
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from scenes import MEDIUM, frame_of, plane_depth, tilted_normal

from benchmarks.lifting import load
from roborefer_ros.errors import RoboReferError
from roborefer_ros.lifting import LiftingOptions, lift_point
from roborefer_ros.lifting.intrinsics import rays_through
from roborefer_ros.types import DepthImage, PointFlag

DATA = Path(__file__).resolve().parents[2] / "data" / "rgbd"
#: the first patch alone
NARROW = LiftingOptions(flat_radius_px=14.0)


def angle_deg(a, b):
    return math.degrees(math.acos(min(1.0, float(a @ b))))


def waves(seed, size=(480, 640), width=5.0):
    """Errors that neighbours share, of standard deviation 1."""
    noise = cv2.GaussianBlur(np.random.default_rng(seed).normal(size=size), (0, 0), width)
    return noise / noise.std()


def test_shared_errors_tilt_a_wide_patch_less_and_the_stated_tilt_holds():
    pixel = (300.0, 200.0)
    ray = rays_through([pixel], MEDIUM)[0]
    normal = tilted_normal(ray, 0.6, 1.0)
    z = plane_depth(ray * 0.7, normal, MEDIUM)
    narrow, wide, inside = [], [], []
    for seed in range(60):
        frame = frame_of(z + 0.001 * waves(seed), MEDIUM)
        narrow.append(angle_deg(lift_point(frame, pixel, NARROW).normal, normal))
        lifted = lift_point(frame, pixel)
        wide.append(angle_deg(lifted.normal, normal))
        square = np.linalg.svd(lifted.normal[None])[2][1:]
        off = square @ np.cross(lifted.normal, normal)
        tilt = square @ lifted.covariance[3:, 3:] @ square.T
        inside.append(off @ np.linalg.solve(tilt, off) < 5.99)
    assert np.median(wide) < 0.6 * np.median(narrow)
    assert 0.85 <= np.mean(inside) <= 1.0


@pytest.mark.parametrize("off_px", [8, 10, 14])
def test_a_crease_near_the_pixel_turns_its_normal_little(off_px):
    """Two faces that meet at 20 degrees."""
    pixel = (300.0, 200.0)
    ray = rays_through([pixel], MEDIUM)[0]
    own, other = tilted_normal(ray, 0.5, 0.0), tilted_normal(ray, 0.15, 0.0)
    z_own = plane_depth(ray * 0.7, own, MEDIUM)
    at = rays_through([(pixel[0] + off_px, pixel[1])], MEDIUM)[0] * z_own[200, 300 + off_px]
    z = np.where(np.arange(640) < 300 + off_px, z_own, plane_depth(at, other, MEDIUM))
    assert angle_deg(lift_point(frame_of(z, MEDIUM), pixel).normal, own) < 5.0


def test_a_hole_that_one_plane_closes_is_confident_and_one_between_two_is_not():
    z = np.full((480, 640), 0.7)
    z[240 - 8 : 240 + 9, 320 - 8 : 320 + 9] = np.nan
    closed = lift_point(frame_of(z, MEDIUM), (320.0, 240.0))
    assert closed.flags & PointFlag.HOLE
    assert closed.confidence > 0.5
    z[:, 320:] += 0.3
    with contextlib.suppress(RoboReferError):  # a refusal is an answer, too
        assert lift_point(frame_of(z, MEDIUM), (320.0, 240.0)).confidence < 0.5


@pytest.mark.parametrize("like", ["near", "far"])
def test_colour_decides_what_a_hole_between_two_surfaces_shows(like):
    z = np.full((480, 640), 0.6)
    z[:, 320:] = 0.5
    z[:, 311:320] = np.nan
    frame = frame_of(z, MEDIUM)
    rgb = np.full((480, 640, 3), (200, 40, 40), np.uint8)
    rgb[:, 311 if like == "near" else 320 :] = (40, 40, 200)
    frame = replace(frame, rgb=rgb)
    try:
        lifted = lift_point(frame, (316.0, 240.0))
    except RoboReferError:
        assert like == "near"
        return
    assert lifted.position_m[2] == pytest.approx(0.5 if like == "near" else 0.6, abs=0.005)


def test_depths_in_a_unit_ten_times_too_large_are_not_confident():
    """A Kinect's 1.1 m and more read as 5 m and more: no stereo camera knows that to 20 mm."""
    sample = load(DATA / "tum_fr2_desk_1")
    wrong = replace(sample.frame, depth=DepthImage(sample.frame.depth.raw, 0.001))
    rng = np.random.default_rng(0)
    sure = 0
    for _ in range(60):
        pixel = (float(rng.integers(10, 630)), float(rng.integers(10, 470)))
        with contextlib.suppress(RoboReferError):
            sure += lift_point(wrong, pixel).confidence >= 0.5
    assert sure <= 3
