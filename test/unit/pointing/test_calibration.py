# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""One confidence: monotone, cautious without a calibration, and never over the line by chance."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roborefer_ros.errors import CheckpointInvalidError
from roborefer_ros.pointing.calibration import (
    ACT_ABOVE,
    FILE_NAME,
    UNCALIBRATED,
    Calibration,
    Curve,
    read_calibration,
)
from roborefer_ros.types import Mode

UNIT = st.floats(0.0, 1.0)
MEASURED = Calibration({Mode.OBJECT: Curve(1.2, -0.2, 0.75)})
LENIENT = Calibration({Mode.OBJECT: Curve(1.2, -0.2, 0.6, 0.1)})


@given(UNIT, UNIT, UNIT)
def test_more_confidence_of_a_part_is_never_less_of_the_whole(a: float, b: float, c: float) -> None:
    low, high = sorted((a, b))
    for calibration in (UNCALIBRATED, MEASURED, LENIENT):
        for mode in (Mode.OBJECT, Mode.FREE_SPACE):
            one = calibration.confidence(low, c, mode)
            assert 0.0 <= one <= calibration.confidence(high, c, mode) <= 1.0
            assert calibration.confidence(c, low, mode) <= calibration.confidence(c, high, mode)


def test_below_its_line_a_point_cannot_be_acted_on() -> None:
    curve = MEASURED.curves[Mode.OBJECT]
    assert 0.5 < curve.probability(0.6) < curve.act_line
    assert MEASURED.confidence(0.6, 1.0, Mode.OBJECT) < ACT_ABOVE
    assert MEASURED.confidence(0.95, 1.0, Mode.OBJECT) == pytest.approx(curve.probability(0.95))
    assert MEASURED.confidence(0.95, 0.5, Mode.OBJECT) < ACT_ABOVE


def test_geometry_counts_as_much_as_it_was_measured_to() -> None:
    certain = MEASURED.curves[Mode.OBJECT].probability(0.95)
    assert MEASURED.confidence(0.95, 0.9, Mode.OBJECT) == pytest.approx(0.9 * certain)
    assert LENIENT.confidence(0.95, 0.9, Mode.OBJECT) == pytest.approx(0.9**0.1 * certain)


def test_doubtful_geometry_alone_keeps_a_point_from_being_acted_on() -> None:
    curve = LENIENT.curves[Mode.OBJECT]
    assert curve.probability(0.99) * 0.49**0.1 > curve.act_line
    assert LENIENT.confidence(0.99, 0.49, Mode.OBJECT) < ACT_ABOVE
    assert LENIENT.confidence(0.99, 0.51, Mode.OBJECT) > ACT_ABOVE


def test_a_model_that_nobody_measured_is_the_product() -> None:
    assert UNCALIBRATED.confidence(0.8, 0.5, Mode.OBJECT) == pytest.approx(0.4)


def test_a_model_that_tells_nothing_leaves_the_geometry() -> None:
    assert MEASURED.confidence(None, 0.7, Mode.OBJECT) == 0.7


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"curves": 1}',
        '{"curves": {"object": {"slope": -1, "offset": 0, "act_line": 0.7}}}',
        '{"curves": {"object": {"slope": NaN, "offset": 0, "act_line": 0.7}}}',
        '{"curves": {"object": {"slope": 1, "offset": NaN, "act_line": 0.7}}}',
        '{"curves": {"object": {"slope": 1, "offset": 0, "act_line": 0.4}}}',
        '{"curves": {"object": {"slope": 1, "offset": 0}}}',
        '{"curves": {"object": {"slope": 1, "offset": 0, "act_line": 0.7, "geometry_power": -1}}}',
        '{"curves": {"object": {"slope": 1, "offset": 0, "act_line": 0.7, "geometry_power": NaN}}}',
        '{"curves": {"other": {"slope": 1, "offset": 0, "act_line": 0.7}}}',
        '{"curves": {}, "pad": "' + "x" * 70000 + '"}',
    ],
)
def test_a_broken_calibration_is_refused_by_name(tmp_path: Path, text: str) -> None:
    (tmp_path / FILE_NAME).write_text(text)
    with pytest.raises(CheckpointInvalidError, match=FILE_NAME):
        read_calibration(tmp_path)


def test_a_calibration_is_read_from_the_models_folder(tmp_path: Path) -> None:
    assert read_calibration(tmp_path) is UNCALIBRATED
    curves = {"object": {"slope": 1.5, "offset": 0.1, "act_line": 0.8}}
    (tmp_path / FILE_NAME).write_text(json.dumps({"curves": curves}))
    assert read_calibration(tmp_path) == Calibration({Mode.OBJECT: Curve(1.5, 0.1, 0.8)})
    curves["object"]["geometry_power"] = 0.3
    (tmp_path / FILE_NAME).write_text(json.dumps({"curves": curves}))
    assert read_calibration(tmp_path) == Calibration({Mode.OBJECT: Curve(1.5, 0.1, 0.8, 0.3)})


def test_the_bundled_network_has_one_for_both_modes() -> None:
    from roborefer_ros.pointing.bundled import calibration_of, is_bundled

    assert set(calibration_of("roborefer:demo").curves) == {Mode.OBJECT, Mode.FREE_SPACE}
    assert is_bundled("roborefer:demo")
    assert is_bundled("roborefer:demo?samples=3")
    assert not is_bundled("roborefer:Zhoues/RoboRefer-2B-SFT")
    assert not is_bundled("echo")
