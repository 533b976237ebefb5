# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Gravity from the accelerometer of a camera at rest, and from nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from roborefer_ros.nodes.imu_input import Gravity, GravityFilter

STEP_NS = 5_000_000


def filled(readings: np.ndarray) -> GravityFilter:
    """A filter that has heard these readings, m/s^2, at 200 Hz."""
    gravity = GravityFilter()
    for number, (x, y, z) in enumerate(readings):
        gravity.add(number * STEP_NS, (float(x), float(y), float(z)), "imu_frame")
    return gravity


def test_up_is_where_the_accelerometer_at_rest_points() -> None:
    rng = np.random.default_rng(0)
    up = np.array([0.0, -0.8, -0.6])
    found = filled(9.81 * up + rng.normal(0.0, 0.05, (100, 3))).estimate(100 * STEP_NS)
    assert isinstance(found, Gravity)
    assert found.frame_id == "imu_frame"
    assert found.up == pytest.approx(up, abs=0.005)


@pytest.mark.parametrize(
    ("readings", "stamp", "why"),
    [
        (np.tile([0.0, -9.81, 0.0], (3, 1)), 0, "3 readings"),
        (np.tile([0.0, -9.81, 0.0], (50, 1)), 2_000_000_000, "0 readings"),
        (np.tile([0.0, -9.81, 0.0], (50, 1)) + np.linspace(0, 3, 50)[:, None], 0, "moves"),
        (np.tile([0.0, -1.0, 0.0], (50, 1)), 0, "not gravity"),
        (np.tile([0.0, np.nan, 0.0], (50, 1)), 0, "not finite"),
    ],
)
def test_what_is_not_gravity_is_not_taken_for_it(
    readings: np.ndarray, stamp: int, why: str
) -> None:
    found = filled(readings).estimate(stamp)
    assert isinstance(found, str)
    assert why in found


def test_a_jump_back_in_time_forgets_the_readings_before_it() -> None:
    gravity = filled(np.tile([0.0, 0.0, 9.81], (50, 1)))
    gravity.add(0, (0.0, -9.81, 0.0), "imu_frame")
    assert isinstance(gravity.estimate(0), str)
