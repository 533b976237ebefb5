# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Which points of a text are its answer: enumerations, corrections, words about the picture."""

from __future__ import annotations

import pytest

from roborefer_ros.errors import NoPointInAnswerError, PointOutsideImageError
from roborefer_ros.pointing.formats import (
    Parser,
    parse_pixels,
    parse_thousand_json,
    parse_thousand_tuples,
    parse_unit_tuples,
)

SIZE = (640, 480)
A, B, C = "(0.20, 0.30)", "(0.40, 0.50)", "(0.60, 0.70)"
POINTS = [(0.2, 0.3), (0.4, 0.5), (0.6, 0.7)]

THREE = (
    f"First {A}, second {B}, third {C}",
    f"First {A}, then {B}. Finally {C}.",
    f"The first mug is at {A}. The second one is at {B}. The third is at {C}.",
    f"There is one mug at {A}, another at {B} and a third at {C}.",
    f"You can place it at {A}. Another free spot is at {B}. Finally, {C} is free too.",
    f"Start with {A}. Next, {B}. Last, {C}.",
    f"The mugs are at {A}, at {B}, and at {C}.",
    f"Mugs: {A}, {B} & {C}",
    f"{A} | {B} | {C}",
    f"{A}\u3001{B}\u3001{C}",
    f"1) {A} 2) {B} 3) {C}",
    f"(1) {A}\n(2) {B}\n(3) {C}",
    f"i. {A}\nii. {B}\niii. {C}",
    f"\u2460 {A} \u2461 {B} \u2462 {C}",
    f"#1 {A} #2 {B} #3 {C}",
    f"[1] {A}\n[2] {B}\n[3] {C}",
    f"1st: {A}, 2nd: {B}, 3rd: {C}",
    f"a) {A}\nb) {B}\nc) {C}",
    f"Point A: {A}\nPoint B: {B}\nPoint C: {C}",
    f"| # | point |\n|---|---|\n| 1 | {A} |\n| 2 | {B} |\n| 3 | {C} |",
    f"| mug | {A} |\n| bowl | {B} |\n| box | {C} |",
    f"- left mug: {A}\n- middle mug: {B}\n- right mug: {C}",
    f"+ {A}\n+ {B}\n+ {C}",
    f"**1.** `{A}`\n**2.** `{B}`\n**3.** `{C}`",
    f"1. Left mug {A}\n2. Middle mug {B}\n3. Right mug {C}",
    f"1. {A} - the left mug\n2. {B} - the middle mug\n3. {C} - the right mug",
    f"mug -> {A}\nbowl -> {B}\nbox -> {C}",
    f"mug at {A}, bowl at {B}, box at {C}",
    f"{A}<br>{B}<br>{C}",
)


@pytest.mark.parametrize("text", THREE)
def test_every_enumeration_gives_all_its_points_in_order(text: str) -> None:
    assert [m.point for m in parse_unit_tuples(text, SIZE)] == POINTS


@pytest.mark.parametrize(
    "text",
    [
        f"I first thought {A}, but it is {B}.",
        f"First I saw {A}, then I noticed that the answer is {B}.",
        f"{A}? No, wait: {B}",
        f"Maybe {A}. The final answer is {B}.",
        f"The bowl is at {A}. So the mug left of it is at {B}.",
        f"{A} is the bowl. The mug is at {B}.",
        f"Candidates: {A}, {C}. Answer: {B}",
        f"It could be {A} or, better, {B}.",
        f"1. Look at {A}.\n2. That is no mug, so take {B}",
    ],
)
def test_a_text_that_turns_away_from_a_point_means_the_last_one(text: str) -> None:
    assert [m.point for m in parse_unit_tuples(text, SIZE)] == [(0.4, 0.5)]


@pytest.mark.parametrize(
    "text",
    [
        f"The mug is at {A}. (0.0, 0.0) is the top-left and (1.0, 1.0) the bottom-right corner.",
        f"{A}. Coordinates are normalized: (0.0, 0.0) upper left, (1.0, 1.0) lower right.",
        f"{A}\nNote: x grows to the right from (0.0, 0.0) to (1.0, 0.0).",
        f"The image spans (0.0, 0.0) to (1.0, 1.0). The mug is at {A}.",
        f"Coordinates run from (0.0, 0.0) to (1.0, 1.0), so the mug is at {A}.",
        f"Where the left top is (0.0, 0.0) and the right bottom is (1.0, 1.0), it is {A}.",
        f"{A} (left top is (0.0, 0.0))",
        f"The top-left mug is at {A}.",
    ],
)
def test_words_about_the_picture_are_no_answer(text: str) -> None:
    assert [m.point for m in parse_unit_tuples(text, SIZE)] == [(0.2, 0.3)]


def test_a_thing_may_stand_in_a_part_of_the_picture() -> None:
    text = f"The mug in the upper right is at {A} and the one in the lower left is at {B}."
    assert [m.point for m in parse_unit_tuples(text, SIZE)] == POINTS[:2]


@pytest.mark.parametrize(
    "text",
    [
        "The mug is at (128, 144). The image is 640x480, so (640, 480) is the lower right corner.",
        "(128, 144). Here (0, 0) is top left, (639, 479) bottom right.",
        "(128, 144)\n(0, 0) is the upper-left corner and (640, 480) the lower-right one.",
        "With a size of (640, 480) the mug is at (128, 144).",
        "Resolution (640, 480). Mug: (128, 144)",
        "(128, 144) in an image whose width and height are (640, 480).",
        "The point (128, 144) is measured from (0, 0), the top left of the picture.",
        "The coordinates are (128, 144) in pixels.",
    ],
)
def test_the_size_of_the_picture_is_no_pixel(text: str) -> None:
    assert [m.point for m in parse_pixels(text, SIZE)] == [(0.2, 0.3)]


def test_enumerated_pixels_and_thousandths_are_all_kept() -> None:
    pixels = parse_pixels("First (128, 144), then (256, 240).", SIZE)
    assert [m.point for m in pixels] == [(0.2, 0.3), (0.4, 0.5)]
    text = "First (200, 300), then (400, 500). The scale goes from (0, 0) to (1000, 1000)."
    assert [m.point for m in parse_thousand_tuples(text, SIZE)] == POINTS[:2]


@pytest.mark.parametrize("text", ["[320, 240]", "The mug is at [320, 240].", "[[320, 240]]"])
def test_a_pair_without_a_key_is_a_point_of_a_family_that_writes_json(text: str) -> None:
    assert [m.point for m in parse_pixels(text, SIZE)] == [(0.5, 0.5)]
    assert [m.point for m in parse_thousand_json(text, SIZE)] == [(0.32, 0.24)]
    assert [m.point for m in parse_thousand_json("(320, 240)", SIZE)] == [(0.32, 0.24)]


@pytest.mark.parametrize(
    ("parse", "text"),
    [
        (parse_unit_tuples, "(0.0, 0.0) is the top-left corner."),
        (parse_unit_tuples, "The picture goes from (0.0, 0.0) to (1.0, 1.0)."),
        (parse_pixels, "The image is 640x480, so (640, 480) is the bottom-right corner."),
        (parse_pixels, "The pixel range is (0, 0) to (640, 480)."),
    ],
)
def test_corners_alone_are_no_answer(parse: Parser, text: str) -> None:
    with pytest.raises((NoPointInAnswerError, PointOutsideImageError)):
        parse(text, SIZE)
