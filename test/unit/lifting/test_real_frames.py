# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Labelled points and goals on the real frames of test/data/rgbd."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks import lifting as benchmark
from roborefer_ros.lifting import LiftingOptions, lift_point

FOLDER = Path(__file__).parents[2] / "data" / "rgbd"
SAMPLES = {p.parent.name: benchmark.load(p.parent) for p in sorted(FOLDER.glob("*/camera.json"))}
LABELLED = [
    pytest.param(sample, point, id=f"{name}: {point['label']}")
    for name, sample in SAMPLES.items()
    for point in sample.points
    if point["kind"] != "transparent"
]


def test_the_frames_are_there():
    assert set(SAMPLES) == {"arc2017_tote", "cleargrasp_d435_123", "tum_fr2_desk_1"}
    assert len(LABELLED) == 22


@pytest.mark.parametrize(("sample", "point"), LABELLED)
def test_labelled_points_are_within_15_mm(sample, point):
    lifted = lift_point(sample.frame, tuple(point["pixel"]))
    assert np.linalg.norm(lifted.position_m - np.array(point["xyz_ref_m"])) < 0.015


def test_holes_of_transparent_objects_are_not_confident():
    sample = SAMPLES["cleargrasp_d435_123"]
    for point in sample.points:
        if point["kind"] == "transparent" and point["raw_depth_at_pixel_m"] == 0.0:
            lifted = lift_point(sample.frame, tuple(point["pixel"]))
            assert lifted.confidence < LiftingOptions().confident_above


def test_goals_against_the_second_capture():
    figures = benchmark.compare_methods([SAMPLES["cleargrasp_d435_123"]], count=400)
    everywhere, edges, empty = (
        figures[kind]["ours"] for kind in ("all", "near edges", "no reading")
    )
    assert everywhere["coverage"] >= 0.97
    assert everywhere["p50_mm"] <= 2.0
    assert everywhere["p95_mm"] <= 10.0
    assert everywhere["wrong"] <= 0.01
    assert edges["wrong"] <= 0.05
    assert edges["wrong_confident"] <= 0.01
    assert edges["confident"] >= 0.60
    assert empty["coverage"] >= 0.90
    assert empty["p95_mm"] <= 15.0


def test_the_covariance_holds_on_a_real_frame():
    figures = benchmark.honesty([SAMPLES["cleargrasp_d435_123"]], count=300)
    for kind in ("all", "near_edges", "no_reading"):
        assert 0.90 <= figures[f"inside_95_percent_{kind}"] <= 1.0
    assert figures["inside_95_percent_without_bias_all"] < figures["inside_95_percent_all"]


def test_goals_on_synthetic_planes():
    figures = benchmark.synthetic(400)
    assert figures["depth_error_p50_sigma"] <= 0.5
    assert figures["normal_error_p95_deg"] <= 3.0
    assert 0.85 <= figures["normalised_error"] <= 1.15
    assert 0.93 <= figures["inside_95_percent_ellipsoid"] <= 0.975


def test_goals_at_synthetic_edges():
    figures = benchmark.synthetic_edges(15)
    assert figures["wrong_confident"] <= 0.01
    assert figures["confident"] >= 0.60
    assert figures["between_surfaces"] == 0.0
    assert 0.93 <= figures["confident_inside_95_percent"] <= 0.98
