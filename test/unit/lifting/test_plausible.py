# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""A depth image in a wrong unit gives itself away, and a right one is believed."""

from __future__ import annotations

import logging
import warnings
from dataclasses import replace

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from roborefer_ros.errors import DepthAmbiguousError, OutOfRangeError
from roborefer_ros.lifting import LiftingOptions, lift_point, plausible
from roborefer_ros.types import CameraIntrinsics, DepthImage, RGBDFrame

CAMERA = CameraIntrinsics(320, 240, 260.0, 260.0, 159.5, 119.5)
OPTIONS = LiftingOptions()
PIXEL = (150.0, 120.0)


def frame(unit_ratio: float, noise: float = 1.0, shared: bool = True) -> RGBDFrame:
    """A wall 0.9 to 1.3 m away with a stereo camera's noise, its unit off by a factor."""
    size = (CAMERA.height, CAMERA.width)
    u = np.arange(CAMERA.width)[None, :] + np.zeros(size)
    z: npt.NDArray[np.float64] = 1.0 / (1.1 - 0.3 * u / CAMERA.width)
    errors = np.random.default_rng(3).normal(size=size)
    if shared:  # as of a sensor: neighbours have much of their errors in common
        errors = cv2.GaussianBlur(errors, (0, 0), 0.8)
        errors /= errors.std()
    bound = replace(OPTIONS, depth_focal_px=CAMERA.fx)
    z = z + noise * bound.sigma_z_m(z, CAMERA.width) * errors
    raw = (z * 1000.0).astype(np.float32)
    rgb = np.zeros((*size, 3), np.uint8)
    return RGBDFrame(rgb, DepthImage(raw, 0.001 * unit_ratio), CAMERA, "camera")


def test_the_right_unit_is_believed() -> None:
    assert lift_point(frame(1.0), PIXEL, OPTIONS).confidence > 0.9


def test_a_unit_five_times_too_small_is_told_by_the_noise() -> None:
    lifted = lift_point(frame(0.2), PIXEL, OPTIONS)
    assert lifted.position_m[2] == pytest.approx(0.2, abs=0.03)
    assert lifted.confidence < 0.5
    refusing = replace(OPTIONS, on_low_confidence="refuse")
    with pytest.raises(DepthAmbiguousError, match="depth unit too small"):
        lift_point(frame(0.2), PIXEL, refusing)


def test_it_is_warned_about_once(caplog: pytest.LogCaptureFixture) -> None:
    plausible._warned.clear()
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            lift_point(frame(0.2), PIXEL, OPTIONS)
    (record,) = caplog.records
    assert "depth unit" in record.getMessage()


def test_an_image_mostly_nearer_than_the_sensor_sees_is_refused_all_over() -> None:
    seen = frame(1.0)
    raw = seen.depth.raw.copy()
    raw[:, 80:] /= 10.0  # three quarters at a tenth of the distance
    odd = replace(seen, depth=DepthImage(raw, 0.001))
    assert lift_point(seen, (40.0, 120.0), OPTIONS).confidence > 0.9
    with pytest.raises(OutOfRangeError, match="depth unit"):
        lift_point(odd, (40.0, 120.0), OPTIONS)
    near = replace(OPTIONS, z_min_m=0.05)
    assert lift_point(odd, (40.0, 120.0), near).position_m[2] > 0.9


def test_a_unit_ten_times_too_large_is_told_by_the_errors_that_readings_share() -> None:
    with pytest.raises(OutOfRangeError, match="depth unit"):
        lift_point(frame(10.0, noise=0.1), PIXEL, OPTIONS)
    far = lift_point(frame(4.0, noise=0.25), PIXEL, OPTIONS)
    assert far.position_m[2] == pytest.approx(4.2, abs=0.5)
    assert far.confidence < 0.5


def test_a_simulated_camera_may_be_as_noisy_as_its_maker_pleased() -> None:
    noisy = frame(1.0, noise=2.0, shared=False)
    assert lift_point(noisy, PIXEL, OPTIONS).confidence > 0.5


def test_a_time_of_flight_camera_is_not_judged_by_a_noise_that_grows_with_depth() -> None:
    options = replace(OPTIONS, depth_noise_model="time_of_flight", range_noise_m=0.004)
    assert lift_point(frame(0.2), PIXEL, options).confidence > 0.5


@pytest.mark.parametrize("size", [(1, 1), (4, 9), (5, 5)])
def test_a_tiny_image_is_judged_like_any_other(size: tuple[int, int]) -> None:
    for value in (0.0, np.nan, np.inf, 1.0):
        depth = DepthImage(np.full(size, value, np.float32), 1.0)
        assert plausible.judge_depth(depth, OPTIONS)


def test_a_judgement_belongs_to_its_image_and_its_options() -> None:
    good, bad = frame(1.0), frame(0.2)
    assert plausible.judge_depth(good.depth, OPTIONS.bound_to(good))
    assert not plausible.judge_depth(bad.depth, OPTIONS.bound_to(bad))
    assert plausible.judge_depth(good.depth, OPTIONS.bound_to(good))
    quiet = replace(OPTIONS, disparity_noise_px=0.005)
    assert not plausible.judge_depth(good.depth, quiet.bound_to(good))


@pytest.mark.parametrize("reading", [5e-324, 1e-200, 1e200, 1.7e308])
def test_readings_that_no_sensor_means_are_left_out_of_the_statistics(reading: float) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        statistics = plausible.statistics_of(np.full((60, 80), reading))
    assert len(statistics.depths) == 0
    assert len(statistics.middles) > 0
