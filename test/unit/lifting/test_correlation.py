# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""A covariance that holds for independent noise and for the noise of real sensors."""

from __future__ import annotations

import math
from dataclasses import replace

import cv2
import numpy as np
import pytest
from scenes import frame_of

from roborefer_ros.lifting import LiftingOptions, lift_point
from roborefer_ros.lifting.correlation import (
    neighbour_correlation,
    readings_per_independent,
    shared_ratio,
)
from roborefer_ros.types import CameraIntrinsics

OPTIONS = LiftingOptions(pixel_sigma_px=0.0, normalised_step=0.0)
CAMERA = CameraIntrinsics(640, 360, 460.0, 460.0, 320.0, 180.0)
DU, DV = np.meshgrid(np.arange(-14.0, 15.0), np.arange(-14.0, 15.0))


def smoothed(rng, size, window_px=5):
    """Noise of unit deviation that neighbours share, as a matching window makes it."""
    noise = cv2.blur(rng.normal(size=size), (window_px, window_px))
    return noise / noise.std()


@pytest.mark.parametrize("seed", range(5))
def test_independent_and_shared_errors_are_told_apart(seed):
    rng = np.random.default_rng(seed)
    independent = rng.normal(size=DU.shape)
    independent[rng.random(DU.shape) < 0.2] = np.nan
    assert shared_ratio(neighbour_correlation(DU, DV, independent, 1)) < 0.1
    assert shared_ratio(neighbour_correlation(DU, DV, smoothed(rng, DU.shape), 1)) == 1.0


def test_a_curved_surface_is_not_a_noisy_sensor():
    rng = np.random.default_rng(1)
    bent = 0.02 * DU**2 - 0.01 * DV**2 + 0.01 * DU * DV + rng.normal(size=DU.shape)
    assert neighbour_correlation(DU, DV, bent, 1) < 0.15


def test_spread_readings_are_compared_with_the_next_reading():
    rng = np.random.default_rng(2)
    spread = np.kron(rng.normal(size=(15, 15)), np.ones((2, 2)))[:29, :29]
    assert neighbour_correlation(DU, DV, spread, 1) > 0.4
    assert neighbour_correlation(DU, DV, spread, 2) < 0.2


def test_what_cannot_be_told_counts_as_shared():
    few = np.full(DU.shape, np.nan)
    few[10:13, 10:13] = 1.0
    assert neighbour_correlation(DU, DV, few, 1) == 1.0
    assert neighbour_correlation(DU, DV, np.zeros(DU.shape), 1) == 0.0  # exact
    assert readings_per_independent(0.1) == 1.0
    assert readings_per_independent(1.0) > 300.0


def normalised_errors(make_noise, trials, wave=0.0):
    """(error / published deviation) ``[trials]`` for a wall at 0.7 m."""
    errors = []
    for seed in range(trials):
        rng = np.random.default_rng(seed)
        sigma = replace(OPTIONS, depth_focal_px=CAMERA.fx).sigma_z_m(0.7, CAMERA.width)
        # an error of the sensor that is as wide as anything in view
        z_m = 0.7 * (1.0 + wave * rng.normal()) + sigma * make_noise(rng, (360, 640))
        lifted = lift_point(frame_of(z_m, CAMERA), (320, 180), OPTIONS)
        errors.append((lifted.position_m[2] - 0.7) / math.sqrt(lifted.covariance[2, 2]))
    return np.array(errors)


def test_the_interval_is_honest_for_independent_noise():
    errors = normalised_errors(lambda rng, size: rng.normal(size=size), 120)
    assert 0.8 < float(np.sqrt(np.mean(errors**2))) < 1.2


def test_the_interval_is_honest_for_the_noise_of_a_real_sensor():
    errors = normalised_errors(smoothed, 60, wave=0.004)
    assert np.mean(np.abs(errors) < 1.96) > 0.9
    assert float(np.sqrt(np.mean(errors**2))) > 0.4
