# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Depth cameras by name: each errs in its own way, and none reads what it cannot see."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from roborefer_ros.simulation.held_out import held_out_view
from roborefer_ros.simulation.rendering import RenderedView
from roborefer_ros.simulation.sensors import SENSORS, sensed_depth
from roborefer_ros.types import CameraIntrinsics


def wall(depth_m: float, size: tuple[int, int] = (160, 120), grey: int = 200) -> RenderedView:
    """A wall that the camera looks at straight."""
    width, height = size
    normals = np.zeros((height, width, 3), np.float32)
    normals[..., 2] = -1.0
    return RenderedView(
        np.full((height, width, 3), grey, np.uint8),
        np.full((height, width), depth_m, np.float32),
        np.zeros((height, width), np.int16),
        normals,
        CameraIntrinsics(width, height, 145.0, 145.0, 79.5, 59.5),
        np.eye(4),
    )


def read(sensor: str, view: RenderedView) -> np.ndarray:
    return sensed_depth(sensor, view, np.random.default_rng(0)).astype(float)


@pytest.mark.parametrize("sensor", SENSORS)
def test_a_scene_is_read_within_a_few_centimetres(sensor: str) -> None:
    _, view = held_out_view(3, 160, 120)
    depth = read(sensor, view)
    both = (depth > 0) & np.isfinite(view.depth_m)
    off = np.abs(depth[both] / 1000.0 - view.depth_m[both])
    assert both.mean() > 0.6
    assert np.median(off) < 0.01
    assert np.quantile(off, 0.9) < 0.04
    again = sensed_depth(sensor, view, np.random.default_rng(0))
    np.testing.assert_array_equal(again, depth)


def test_structured_light_reads_in_steps_of_disparity() -> None:
    """At 2 m a step of an eighth of a pixel is 2^2 / (580 * 0.075) / 8 m = 11.5 mm."""
    values = np.unique(read("xtion", wall(2.0)))
    values = values[values > 0]
    assert np.diff(values).min() == pytest.approx(11.5, abs=1.5)


def test_structured_light_is_blind_at_close_range_and_time_of_flight_is_not() -> None:
    assert not read("xtion", wall(0.4)).any()
    assert (read("tof", wall(0.4)) > 0).all()


def test_structured_light_noise_grows_with_the_square_of_the_distance() -> None:
    for depth in (1.0, 3.0):
        sigma = read("xtion", wall(depth)).std() / 1000.0
        step = depth**2 / (580.0 * 0.075) / 8.0
        expected = np.hypot(0.0012 + 0.0019 * (depth - 0.4) ** 2, step / np.sqrt(12.0))
        assert sigma == pytest.approx(expected, rel=0.15)


def test_time_of_flight_reads_between_near_and_far_at_edges() -> None:
    view = wall(1.0)
    depth = view.depth_m.copy()
    depth[:, 80:] = 2.0
    noisy = read("tof", replace(view, depth_m=depth))
    between = (noisy > 1100) & (noisy < 1900)
    assert between[:, 78:82].mean() > 0.1
    assert not between[:, :77].any()
    assert not between[:, 83:].any()


def test_time_of_flight_does_not_see_black_things_far_away() -> None:
    assert (read("tof", wall(0.5, grey=20)) > 0).all()
    assert not read("tof", wall(2.0, grey=20)).any()


def test_surfaces_that_turn_away_are_lost_to_structured_light() -> None:
    view = wall(1.0)
    steep = np.deg2rad(78.0)
    normals = np.zeros_like(view.normals)
    normals[..., 0], normals[..., 2] = np.sin(steep), -np.cos(steep)
    assert not read("xtion", replace(view, normals=normals)).any()


def test_an_unknown_sensor_is_named_with_those_there_are() -> None:
    with pytest.raises(ValueError, match="d435, xtion, tof, exact"):
        sensed_depth("lidar", wall(1.0), np.random.default_rng(0))
