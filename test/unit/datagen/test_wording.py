# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Sentences, distances and names."""

from __future__ import annotations

import re

import numpy as np
import pytest

from roborefer_ros.datagen.expressions import Reference, Select, from_json, to_json
from roborefer_ros.datagen.templates import lists
from roborefer_ros.datagen.wording import (
    Wording,
    clean_name,
    degrees_text,
    distance_text,
    fill,
    ordinal,
    read_value,
    rotation_text,
)

PLATE = Reference("plate", "blue")


@pytest.mark.parametrize("name", sorted(lists()))
def test_every_list_has_ten_different_sentences(name: str) -> None:
    assert len(set(lists()[name])) >= 10


def test_distances_are_written_as_people_do() -> None:
    rng = np.random.default_rng(0)
    for metres, common, share in ((0.4, "inches", 0.8), (2.0, "feet", 0.5), (5.0, "metres", 0.7)):
        texts = [distance_text(metres, rng) for _ in range(2000)]
        assert np.mean([common in t for t in texts]) == pytest.approx(share, abs=0.04)
        for text in texts[:50]:
            assert re.fullmatch(r"\d+\.\d\d (centimetres|inches|metres|feet)", text)
            assert read_value(text) == pytest.approx(metres, abs=0.002)


def test_angles_have_three_digits_and_a_direction() -> None:
    assert degrees_text(0.0) == "0 degrees"
    assert degrees_text(46.031) == "46 degrees"
    assert degrees_text(7.1234) == "7.12 degrees"
    assert rotation_text(-17.9991, "right", "left") == "17.999 degrees to the left"


def test_ordinals() -> None:
    assert [ordinal(n) for n in (1, 3, 9, 11, 12, 21, 112)] == [
        "first", "third", "ninth", "11th", "12th", "21st", "112th",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("Coffee_Mug", "coffee mug"),
        ("a [b]: {c}", "a b c"),
        ("x\x1b[31m\ny", "x 31m y"),
        ("[]", ""),
    ],
)
def test_foreign_names_cannot_break_a_step_line(given: str, kept: str) -> None:
    assert clean_name(given) == kept


def test_a_name_with_braces_is_no_template() -> None:
    assert fill("{a} is left of {b}.", a="the {b}", b="the cup") == "The {b} is left of the cup."


def test_a_reference_keeps_its_words_and_survives_a_file() -> None:
    inner = Reference("mug", "", (Select("left", 0, (PLATE,)), Select("tallest", 2)))
    reference = Reference("spoon", "red", (Select("closest", 1, (inner,)),))
    wording = Wording(np.random.default_rng(3))
    assert wording.the(reference) == wording.the(reference)
    assert wording.the(inner) in wording.the(reference)
    assert from_json(to_json(reference)) == reference
    assert "second" in wording.the(inner)
    assert "{" not in wording.the(reference)


def test_steps_count_anchors_and_phrases() -> None:
    assert PLATE.steps == 1
    assert Reference("mug", "", (Select("from_left", 2),)).steps == 1
    assert Reference("mug", "", (Select("left", 0, (PLATE,)),)).steps == 2
    assert Reference("mug", "", (Select("on", 0, (PLATE,)),)).steps == 1
    inner = Reference("mug", "", (Select("left", 0, (PLATE,)), Select("tallest", 1)))
    assert Reference("spoon", "", (Select("closest", 1, (inner,)),)).steps == 5
