# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The probability of a place, from the probabilities of digits."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roborefer_ros.pointing.answers import parse_tuples
from roborefer_ros.pointing.confidence import coordinate_mass, place_confidences


def sure(digits: str) -> list[list[float]]:
    return [[float(d == int(c)) for d in range(10)] for c in digits]


def confidence(text: str, table: dict[int, list[float]], tolerance: float = 0.025) -> list[float]:
    """One token a character; every digit certain but those in ``table`` (place -> row)."""
    ends = list(range(1, len(text) + 1))
    rows = [sure(c)[0] if c.isdigit() else [0.0] * 10 for c in text]
    for place, row in table.items():
        rows[place] = row
    logprobs = [
        math.log(max(row[int(c)], 1e-30)) if c.isdigit() else 0.0
        for c, row in zip(text, rows, strict=True)
    ]
    return list(place_confidences(text, parse_tuples(text), ends, logprobs, rows, tolerance))


def test_doubt_about_the_third_decimal_is_none_about_the_place() -> None:
    text = "[(0.412, 0.655)]"
    assert confidence(text, {}) == [1.0]
    any_digit = [0.1] * 10
    assert confidence(text, {text.index("2"): any_digit}) == [pytest.approx(1.0)]


def test_doubt_about_the_first_decimal_counts_in_full_where_the_other_place_is_far() -> None:
    text = "[(0.450, 0.655)]"
    row = [0.0, 0.0, 0.0, 0.0, 0.6, 0.0, 0.0, 0.0, 0.4, 0.0]  # 0.4... or 0.8...
    assert confidence(text, {text.index("4"): row}) == [pytest.approx(0.6)]


def test_a_neighbour_counts_as_far_as_it_lies_within_the_tolerance() -> None:
    # 0.41 +- 0.025 reaches down to 0.385: 15 % of the cell from 0.3 to 0.4
    row = [0.0, 0.0, 0.0, 0.5, 0.5, 0.0, 0.0, 0.0, 0.0, 0.0]
    assert coordinate_mass([0, 4, 1], [*sure("0"), row, *sure("1")], 1, 0.025) == pytest.approx(
        0.5 + 0.5 * 0.15
    )


def test_each_point_has_its_own_and_both_coordinates_count() -> None:
    text = "[(0.412, 0.655), (0.25, .75)]"
    doubt = [0.0] * 10
    doubt[2], doubt[9] = 0.5, 0.5
    more = [0.0] * 10
    more[7], more[1] = 0.8, 0.2
    table = {text.index("25"): doubt, text.index("75"): more}
    assert confidence(text, table) == [1.0, pytest.approx(0.4)]


def test_one_or_zero_before_the_point_are_different_places() -> None:
    text = "[(1.0, 0.5)]"
    row = [0.7, 0.3, *[0.0] * 8]
    # 1.0 was written; 0... reaches 0.975 to 1 only
    assert confidence(text, {text.index("1"): row}) == [pytest.approx(0.3 + 0.7 * 0.025)]


def test_tokens_of_several_digits_count_as_they_are() -> None:
    text = "[(0.41, 0.5)]"
    pieces = ["[(0.", "41", ", ", "0", ".", "5", ")]"]
    ends = np.cumsum([len(piece) for piece in pieces]).tolist()
    logprobs = [-3.0, math.log(0.5), 0.0, 0.0, 0.0, math.log(0.25), 0.0]
    rows = [[0.0] * 10 for _ in pieces]
    rows[3] = sure("0")[0]
    rows[5] = [0.0] * 5 + [0.25, 0.75] + [0.0] * 3
    # nothing is known about what else "41" could have been: its own probability counts
    (got,) = place_confidences(text, parse_tuples(text), ends, logprobs, rows)
    assert got == pytest.approx(0.5 * (0.25 + 0.75 * 0.0))
    (wide,) = place_confidences(text, parse_tuples(text), ends, logprobs, rows, tolerance=0.15)
    assert wide == pytest.approx(0.5 * (0.25 + 0.75 * 0.5))


@settings(deadline=None, max_examples=25)
@given(
    st.integers(0, 999),
    st.lists(st.lists(st.floats(0.01, 1.0), min_size=10, max_size=10), min_size=3, max_size=3),
    st.floats(0.0, 1.0),
)
def test_against_every_number_written_out(
    number: int, weights: list[list[float]], tolerance: float
) -> None:
    """The model of the rule: beyond the answer's own digits everything is equally likely."""
    digits = [int(c) for c in f"{number:03d}"]
    rows = (np.array(weights) / np.sum(weights, axis=1, keepdims=True)).tolist()
    fine = np.arange(0.5, 20_000) / 20_000  # a grid of cells, each far below a digit
    share = np.full(fine.shape, 1 / 20_000)
    at = (fine * 1000).astype(int)
    first, second, third = at // 100, at // 10 % 10, at % 10
    density = np.array(rows[0])[first] * 10
    on_first, on_second = first == digits[0], (at // 10) == number // 10
    density = np.where(on_first, density * np.array(rows[1])[second] * 10, density)
    density = np.where(on_second, density * np.array(rows[2])[third] * 10, density)
    value = number / 1000
    own = at == number  # the written number itself is one value, not a cell
    near = (np.abs(fine - value) <= tolerance) & ~own
    expected = float((density * share)[near].sum() + (density * share)[own].sum())
    got = coordinate_mass(digits, rows, 0, tolerance)
    assert got == pytest.approx(expected, abs=0.01)
    assert 0.0 <= got <= 1.0
