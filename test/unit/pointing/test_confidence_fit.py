# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The fit of a calibration finds what answers were made from, whatever the answers are."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import confidence_fit
from benchmarks.confidence import calibration_error, main, reliability
from benchmarks.confidence_fit import (
    LEAST_POWER,
    RIGHT,
    Judged,
    as_json,
    confidences,
    cross_validated,
    fit_calibration,
)
from roborefer_ros.pointing.calibration import (
    ACT_ABOVE,
    FILE_NAME,
    UNCALIBRATED,
    Curve,
    read_calibration,
)
from roborefer_ros.types import Mode

OBJECT, FREE_SPACE = Curve(1.4, 0.5, 0.5, 0.3), Curve(0.8, -0.4, 0.5, 0.7)


def made(count: int, seed: int) -> Judged:
    """Answers whose points are right as often as two known curves say."""
    rng = np.random.default_rng(seed)
    model = rng.beta(3.0, 0.8, count)
    geometry = np.where(rng.random(count) < 0.6, 1.0, rng.random(count))
    mode = rng.integers(1, 3, count)
    curves = {1: OBJECT, 2: FREE_SPACE}
    probability = [
        curves[int(k)].probability(m) * g ** curves[int(k)].geometry_power
        for m, g, k in zip(model, geometry, mode, strict=True)
    ]
    right = (rng.random(count) < probability).astype(np.float64)
    return Judged(rng.integers(0, 500, count), mode, model, geometry, right)


def test_the_curves_that_answers_follow_are_found() -> None:
    calibration = fit_calibration(made(20_000, 1))
    for mode, truth in ((Mode.OBJECT, OBJECT), (Mode.FREE_SPACE, FREE_SPACE)):
        found = calibration.curves[mode]
        assert found.slope == pytest.approx(truth.slope, abs=0.15)
        assert found.offset == pytest.approx(truth.offset, abs=0.15)
        assert found.geometry_power == pytest.approx(truth.geometry_power, abs=0.11)


def test_points_over_the_line_are_right_as_often_as_asked_on_answers_not_fitted_to() -> None:
    calibration, others = fit_calibration(made(5_000, 2)), made(40_000, 3)
    confidence = confidences(calibration, others)
    kept = confidence >= ACT_ABOVE
    assert 0.1 < kept.mean() < 0.9
    assert others.right[kept].mean() == pytest.approx(RIGHT, abs=0.012)
    lines = {curve.act_line for curve in calibration.curves.values()}
    assert len(lines) == 1
    assert ACT_ABOVE < lines.pop() < 1.0


def test_without_a_line_the_numbers_are_probabilities() -> None:
    calibration, others = fit_calibration(made(5_000, 4), right=0.5), made(40_000, 5)
    confidence = confidences(calibration, others)
    sure = others.geometry >= ACT_ABOVE
    error = calibration_error(reliability(confidence[sure], others.right[sure]))
    assert error < 0.02


def test_cross_validation_judges_no_scene_by_itself() -> None:
    answers = made(1_000, 6)
    once = cross_validated(answers)
    flipped = answers.scene == answers.scene[0]
    others = dataclasses.replace(
        answers, right=np.where(flipped, 1.0 - answers.right, answers.right)
    )
    again = cross_validated(others)
    assert np.array_equal(once[flipped], again[flipped])
    assert not np.array_equal(once, again)


def test_few_answers_give_no_curve_and_one_sided_ones_a_usable_one(tmp_path: Path) -> None:
    assert fit_calibration(made(150, 7)).curves == {}
    answers = made(2_000, 8)
    for right in (np.zeros(2_000), np.ones(2_000), 1.0 - answers.right, answers.right * 0.0 + 0.5):
        for model in (answers.model, np.zeros(2_000), np.ones(2_000)):
            odd = dataclasses.replace(answers, right=np.round(right), model=model)
            text = json.dumps(as_json(fit_calibration(odd)))
            (tmp_path / FILE_NAME).write_text(text)
            curve = read_calibration(tmp_path).curves[Mode.OBJECT]
            assert curve.geometry_power >= LEAST_POWER


def test_where_nothing_is_right_enough_nothing_can_be_acted_on() -> None:
    answers = made(2_000, 9)
    wrong = dataclasses.replace(answers, right=answers.right * 0.0)
    assert not (confidences(fit_calibration(wrong), answers) >= ACT_ABOVE).any()


def test_a_fit_keeps_away_from_the_scenes_of_the_check() -> None:
    with pytest.raises(SystemExit, match="are those of the check"):
        main(["--fit", "--first", "29950", "--scenes", "51", "--model", "echo"])


def test_a_model_without_a_folder_needs_a_file_to_write() -> None:
    with pytest.raises(SystemExit, match="--output"):
        main(["--fit", "--scenes", "1", "--model", "echo"])


def test_one_command_writes_the_file_that_the_model_is_read_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / FILE_NAME
    with pytest.raises(SystemExit, match="too few for a calibration"):
        main(["--fit", "--scenes", "1", "--questions", "2", "--output", str(path)])
    assert not path.exists()
    assert read_calibration(tmp_path) is UNCALIBRATED
    monkeypatch.setattr(confidence_fit, "LEAST_ANSWERS", 8)  # else it takes two dozen scenes
    main(["--fit", "--scenes", "3", "--questions", "8", "--output", str(path)])
    assert Mode.OBJECT in read_calibration(tmp_path).curves
