# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scenes import SMALL, frame_of

from roborefer_ros.lifting import DepthHistory, LiftingOptions, MedianDepth, lift_point
from roborefer_ros.types import DepthImage

OPTIONS = LiftingOptions(temporal_frames=5)
PERIOD_NS = 33_000_000


def noisy(seed, z_m=0.8, stamp_ns=0, **changes):
    rng = np.random.default_rng(seed)
    sigma = OPTIONS.sigma_z_m(z_m, SMALL.width)
    frame = frame_of(z_m + sigma * rng.normal(size=(SMALL.height, SMALL.width)))
    return replace(frame, stamp_ns=stamp_ns, **changes)


def fill(history, count=5, start_ns=0):
    for k in range(count):
        fused = history.push(noisy(k, stamp_ns=start_ns + k * PERIOD_NS))
    return fused


@pytest.mark.parametrize("k", [1, 2, 3, 4, 5, 6, 7, 9])
def test_noise_falls_as_it_says(k):
    history = DepthHistory(LiftingOptions(temporal_frames=k))
    fused = fill(history, k)
    assert len(history) == k
    sigma = OPTIONS.sigma_z_m(0.8, SMALL.width)
    ratio = float(np.std(fused.depth.metres())) / sigma
    assert ratio == pytest.approx(getattr(fused.depth, "noise_ratio", 1.0), rel=0.03)


@settings(max_examples=60, deadline=None)
@given(k=st.integers(1, 7), missing=st.floats(0, 1), seed=st.integers(0, 999))
def test_median_agrees_with_numpy(k, missing, seed):
    rng = np.random.default_rng(seed)
    stack = rng.uniform(0.5, 0.505, size=(k, 6, 8)).astype(np.float32)
    stack[rng.random(stack.shape) < missing] = np.nan
    depth = MedianDepth(stack[0], 1.0, tuple(stack[1:]), tolerance=1.0)
    got = depth.metres()
    for index in np.ndindex(6, 8):
        values = stack[(slice(None), *index)]
        count = int(np.isfinite(values).sum())
        if 2 * count >= k and count:
            assert got[index] == pytest.approx(float(np.nanmedian(values)))
        elif np.isfinite(values[0]):  # too few frames: the newest alone
            assert got[index] == values[0]
        else:
            assert np.isnan(got[index])
    rows, columns = slice(1, 4), slice(2, 7)
    assert np.array_equal(depth.metres(rows, columns), got[rows, columns], equal_nan=True)


def test_what_changed_in_the_newest_frame_wins():
    history = DepthHistory(OPTIONS)
    fill(history)
    moved = noisy(9, stamp_ns=5 * PERIOD_NS)
    moved.depth.raw[100:140, 100:140] = 0.6  # something was put down
    z = history.push(moved).depth.metres()
    assert (z[100:140, 100:140] == np.float32(0.6)).all()
    assert abs(float(np.median(z[:90])) - 0.8) < 0.001


def test_holes_of_the_newest_frame_are_filled():
    history = DepthHistory(OPTIONS)
    fill(history)
    holed = noisy(9, stamp_ns=5 * PERIOD_NS)
    holed.depth.raw[100:140, 100:140] = np.nan
    assert np.isfinite(history.push(holed).depth.metres()).all()


POSE = np.eye(4)


def elsewhere(metres=0.0, rad=0.0):
    pose = np.eye(4)
    c, s = np.cos(rad), np.sin(rad)
    pose[:2, :2] = [[c, -s], [s, c]]
    pose[0, 3] = metres
    return pose


@pytest.mark.parametrize(
    ("stamp_ns", "changes"),
    [
        (-1_000_000_000, {}),  # the clock jumped back
        (60_000_000_000, {}),  # and ahead
        (5 * PERIOD_NS, {"frame_id": "another_camera"}),
        (5 * PERIOD_NS, {"intrinsics": replace(SMALL, fx=241.0)}),
        (5 * PERIOD_NS, {"depth": DepthImage(np.full((120, 160), 0.8, np.float32), 1.0)}),
        (5 * PERIOD_NS, {"depth": DepthImage(np.full((240, 320), 800, np.uint16), 0.001)}),
        (5 * PERIOD_NS, {"camera_T_depth": elsewhere(0.01)}),
    ],
)
def test_frames_that_do_not_belong_together_are_never_mixed(stamp_ns, changes):
    history = DepthHistory(OPTIONS)
    fill(history, start_ns=1_000_000_000)
    other = noisy(9, stamp_ns=1_000_000_000 + stamp_ns, **changes)
    assert history.push(other) is other
    assert len(history) == 1


@pytest.mark.parametrize(
    ("pose", "together"),
    [
        (elsewhere(0.001), True),
        (elsewhere(0.003), False),
        (elsewhere(rad=0.001), True),
        (elsewhere(rad=0.004), False),
        (None, False),
        (np.full((4, 4), np.nan), False),
    ],
)
def test_a_camera_that_moved_starts_anew(pose, together):
    history = DepthHistory(OPTIONS)
    history.push(noisy(0), POSE)
    fused = history.push(noisy(1, stamp_ns=PERIOD_NS), pose)
    assert isinstance(fused.depth, MedianDepth) == together


def test_a_slow_drift_is_a_movement_too():
    history = DepthHistory(LiftingOptions(temporal_frames=7))
    for k in range(7):
        history.push(noisy(k, stamp_ns=k * PERIOD_NS), elsewhere(0.0009 * k))
    assert len(history) == 3  # 0.0018 m apart, no more


def test_the_same_frame_twice_counts_once():
    history = DepthHistory(OPTIONS)
    frame = noisy(0)
    assert history.push(frame) is frame
    assert history.push(frame) is frame
    assert len(history) == 1


def test_a_jump_of_the_clock_told_from_outside():
    history = DepthHistory(OPTIONS)
    fill(history)
    history.clear()
    assert len(history) == 0


def test_points_are_lifted_from_the_median_with_its_smaller_covariance():
    single, several = [], []
    for trial in range(25):
        history = DepthHistory(OPTIONS)
        for k in range(5):
            frame = noisy(100 * trial + k, stamp_ns=k * PERIOD_NS)
            fused = history.push(frame)
        exact = LiftingOptions(pixel_sigma_px=0.0, normalised_step=0.0)
        a, b = (lift_point(f, (160, 120), exact) for f in (frame, fused))
        single.append(abs(a.position_m[2] - 0.8))
        several.append(abs(b.position_m[2] - 0.8))
        assert b.covariance[2, 2] < 0.6 * a.covariance[2, 2]
    assert np.mean(several) < 0.8 * np.mean(single)
