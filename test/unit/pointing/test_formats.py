# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Every answer format: well-formed, cut off, out of range, several points, empty, in prose."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roborefer_ros.errors import NoPointInAnswerError, NothingFoundError, PointOutsideImageError
from roborefer_ros.inference.model import Completion
from roborefer_ros.pointing import formats
from roborefer_ros.pointing.answers import MAX_POINTS, answer_so_far, parse_tuples, split_reasoning
from roborefer_ros.pointing.families import FAMILIES, prediction_from_text

SIZE = (640, 480)
NONE = NoPointInAnswerError
OUTSIDE = PointOutsideImageError
Points = list[tuple[float, float]]

TABLE: dict[str, list[tuple[str, Points | type[Exception]]]] = {
    "tuples": [
        ("[(0.359, 0.778)]", [(0.359, 0.778)]),
        ("[(0.1, 0.2), (0.3, 0.4)]", [(0.1, 0.2), (0.3, 0.4)]),
        ("[(0.1,0.2),\n (0.3 , 0.4)\n]", [(0.1, 0.2), (0.3, 0.4)]),
        ("(\n0.1,\n0.2\n)", [(0.1, 0.2)]),
        ("[(0.5 0.25)]", [(0.5, 0.25)]),
        ("Sure! It is at (.5, 1.) there.", [(0.5, 1.0)]),
        ("Step1: the cup. Point (0.129, 0.617)\n[(0.364, 0.497)]", [(0.364, 0.497)]),
        ("Step 1: the cup (0.129, 0.617). So [(0.364, 0.497)]", [(0.364, 0.497)]),
        ("<think>(0.1, 0.1)</think><answer>[(0.2, 0.3)]</answer>", [(0.2, 0.3)]),
        ("first (0.1, 0.1), no: [(0.2, 0.3)]", [(0.2, 0.3)]),
        ("[(0.1, 0.2), (1.4, 0.2)]", [(0.1, 0.2)]),
        ("[(0.1, 0.2), (0.3, 0.", [(0.1, 0.2)]),
        ("[(0.3, 0.", NONE),
        ("[(1.2, 0.5)]", OUTSIDE),
        ("[(-0.1, 0.5)]", OUTSIDE),
        ("[(320, 240)]", OUTSIDE),
        ("[(1, 0)]", OUTSIDE),
        ("[(0.2, 0.3, 0.1, 0.1)]", NONE),
        ("[(5e-1, 0.5)]", [(0.5, 0.5)]),
        ("[]", NONE),
        ("<think>(0.1, 0.1)", NONE),
    ],
    "robobrain2.5": [
        ("[(176, 788)]", [(0.176, 0.788)]),
        ("(176, 788, 0.945)", [(0.176, 0.788)]),
        ("[(176, 788, 0.945), (200, 500, 1.2)]", [(0.176, 0.788), (0.2, 0.5)]),
        ("[(176, 788), (20", [(0.176, 0.788)]),
        ("[(1176, 788)]", OUTSIDE),
        ("[(0.176, 0.788)]", OUTSIDE),
        ("[(100, 200, 300, 400)]", [(0.2, 0.3)]),
        ("nothing there", NONE),
    ],
    "qwen2.5-vl": [
        ('```json\n[{"point_2d": [320, 120], "label": "mug"}]\n```', [(0.5, 0.25)]),
        ("(320, 120)", [(0.5, 0.25)]),
        ("[(640, 480)]", [(1.0, 1.0)]),
        ("(641, 480)", OUTSIDE),
        ("(0.5, 0.5)", OUTSIDE),
        ('{"point_2d": [320, 12', NONE),
        ("", NONE),
    ],
    "qwen3-vl": [
        ('[{"point_2d": [461, 527], "label": "mug"}]', [(0.461, 0.527)]),
        ('{"point_2d": [461, 527]}\n{"point_2d": [1, 2]}', [(0.461, 0.527), (0.001, 0.002)]),
        ('Here:\n```json\n[\n\t{"point_2d": [461, 527], "label": "a"}\n]\n```', [(0.461, 0.527)]),
        (
            '[{"point_2d": [10, 20], "label": "[a] \\"b\\""}, {"point_2d": [30, 40]}]',
            [(0.01, 0.02), (0.03, 0.04)],
        ),
        ('[{"point_2d": [1, 1]}] better: [{"point_2d": [500, 500]}]', [(0.5, 0.5)]),
        ('x (1, 1)</think>\n[{"point_2d": [500, 500]}]', [(0.5, 0.5)]),
        ('[{"point_2d": [10, 20]}, {"point_2d": [30, 4', [(0.01, 0.02)]),
        ('{"label": "\\"point_2d\\": [1, 2]"}', NONE),
        ('[{"point_2d": [1001, 3]}]', OUTSIDE),
        ('[{"point_2d": [0.461, 0.527]}]', OUTSIDE),
        ('[{"point_2d": [0.5, 0.5]}, {"point_2d": [461, 527]}]', [(0.461, 0.527)]),
        ('[{"point_2d": [10, 20, 30]}]', NONE),
        ('[{"bbox_2d": [100, 200, 300, 400]}]', [(0.2, 0.3)]),
        ("[]", NONE),
    ],
    "gemini": [
        ('```json\n[{"point": [250, 500], "label": "mug"}]\n```', [(0.5, 0.25)]),
        (
            '[{"point": [0, 1000]}, {"box_2d": [1,2,3,4]}, {"point": [376.5, 508]}]',
            [(1.0, 0.0), (0.508, 0.3765)],
        ),
        ('[{"point": [1200, 500]}]', OUTSIDE),
        ('[{"point": [0.25, 0.5]}]', OUTSIDE),
        ('[{"point_2d": [250, 500]}]', NONE),
        ('[{"point": [250, 5', NONE),
    ],
    "molmo": [
        (' <point x="63.5" y="44.5" alt="mug">mug</point>', [(0.635, 0.445)]),
        (
            '<points x1="61.5" y1="40.4" x2="76.8" y2="49.1" alt="mugs">mugs</points>',
            [(0.615, 0.404), (0.768, 0.491)],
        ),
        ('<point x="10" y="20"> <point x="30" y="40">', [(0.1, 0.2), (0.3, 0.4)]),
        ('<points x1="10" y1="20" x2="30" y2="4', [(0.1, 0.2)]),
        ('<points x1="10" y2="20" x3="30" y3="40"/>', [(0.3, 0.4)]),
        ('<point alt="x=9 y=9" x="10" y="20">', [(0.1, 0.2)]),
        ('<point x="101" y="20">', OUTSIDE),
        ('<point x="ten" y="20">', NONE),
        ('x1="50" y1="50"', NONE),
        ('<point x="50" y="5', NONE),
        ("There are none.", NONE),
    ],
    "molmo2": [
        (
            '<points coords="1 1 461 527 2 481 521">mugs</points>',
            [(0.461, 0.527), (0.481, 0.521)],
        ),
        ('<points alt="m" coords="1 1 050 1000"/>', [(0.05, 1.0)]),
        ('<points coords="1 1 461 527\t2 2 481 521">two images</points>', [(0.461, 0.527)]),
        ('<points coords="1 1 461 527 2 481 5', [(0.461, 0.527)]),
        ('<points coords="1 1 461 100', NONE),
        ('<points coords="2 1 461 527">the other image</points>', NONE),
        ('<points coords="1 1 1461 527">', OUTSIDE),
        ('<points coords="1 1 4 5">', NONE),
        ('<points x1="10" y1="20">', NONE),
        ("", NONE),
    ],
    "rex-omni": [
        (
            "<|object_ref_start|>dog<|object_ref_end|><|box_start|><123><456>,<789><890><|box_end|>",
            [(0.1235, 0.4565), (0.7895, 0.8905)],
        ),
        ("<|box_start|><100><200><300><400><|box_end|>", [(0.2005, 0.3005)]),
        ("<|box_start|>None<|box_end|>", NONE),
        ("<12><3", NONE),
    ],
    "florence2": [
        ("</s><s>mug<loc_100><loc_200><loc_300><loc_400></s>", [(0.2005, 0.3005)]),
        ("mug<loc_100><loc_200>", [(0.1005, 0.2005)]),
        (
            "a<loc_0><loc_0><loc_0><loc_0><loc_999><loc_999><loc_999><loc_999>",
            [(0.0005, 0.0005), (0.9995, 0.9995)],
        ),
        ("mug<loc_100>", NONE),
    ],
    "paligemma": [
        ("<loc0256><loc0128><loc0768><loc0384> mug", [(256.5 / 1024, 512.5 / 1024)]),
        ("<loc0100><loc0200>", [(200.5 / 1024, 100.5 / 1024)]),
        ("<loc1024><loc1024>", OUTSIDE),
        ("mug", NONE),
    ],
    "moondream": [
        ('{"points": [{"x": 0.359, "y": 0.440}]}', [(0.359, 0.44)]),
        ('{"points": [{"x": 5e-1, "y": 0.25}, {"x": 1, "y": 0}]}', [(0.5, 0.25), (1.0, 0.0)]),
        ('{"points": []}', NONE),
        ('{"points": [{"x": 1.5, "y": 0.2}]}', OUTSIDE),
    ],
}
TABLE["robobrain2.0"] = TABLE["qwen2.5-vl"]

CASES = [(name, text, want) for name, rows in TABLE.items() for text, want in rows]


def test_every_family_has_cases() -> None:
    assert set(TABLE) == set(FAMILIES)


@pytest.mark.parametrize(("family", "text", "want"), CASES)
def test_format(family: str, text: str, want: Points | type[Exception]) -> None:
    parse = FAMILIES[family].parse
    if isinstance(want, list):
        matches = parse(text, SIZE)
        assert [m.point for m in matches] == [pytest.approx(p) for p in want]
        assert all(0 <= m.span[0] < m.span[1] <= len(text) for m in matches)
    else:
        with pytest.raises(want) as caught:
            parse(text, SIZE)
        assert len(str(caught.value)) < 600


def is_complete(text: str) -> bool:
    pairs = ("()", "[]", "{}", "<>")
    return text.count('"') % 2 == 0 and all(text.count(a) == text.count(b) for a, b in pairs)


@pytest.mark.parametrize(
    ("family", "text", "want"),
    [c for c in CASES if isinstance(c[2], list) and is_complete(c[1]) and "think>" not in c[1]],
)
def test_thoughts_and_prose_around_change_nothing(family: str, text: str, want: Points) -> None:
    wrapped = f"<think>[{text}] or so</think>Certainly, here you are: {text} Anything else?"
    matches = FAMILIES[family].parse(wrapped, SIZE)
    assert [m.point for m in matches] == [pytest.approx(p) for p in want]


def test_pixels_are_those_of_the_image_that_was_seen() -> None:
    assert formats.parse_pixels("(320, 120)", (1280, 480))[0].point == (0.25, 0.25)


# --- anything at all -------------------------------------------------------------------

#: pieces that the grammars are made of, so that fuzzing reaches their inner states
PIECES = st.sampled_from(
    ["(", ")", "[", "]", "{", "}", ",", " ", "\n", "\t", '"', "\\", ":", ";", "<", ">", "=", "/"]
    + ["0", "1", "0.5", "461", "1000", ".", "-", "+", "e5", "9" * 40, "NaN", "Infinity", "1_0"]
    + ['"point_2d"', '"point"', '{"x": 0.1, "y":', "<point ", "<points ", 'x1="', 'y1="', "coords="]
    + ["<loc_1>", "<loc0001>", "<12>", "<think>", "</think>", "Step 1: ", "mug", "\x00", "é", "٣"]
)
GARBAGE = st.one_of(st.text(max_size=200), st.lists(PIECES, max_size=80).map("".join))


@pytest.mark.parametrize("family", sorted(FAMILIES))
@settings(max_examples=150, deadline=None)
@given(text=GARBAGE)
def test_points_or_a_numbered_error(family: str, text: str) -> None:
    try:
        matches = FAMILIES[family].parse(text, SIZE)
    except (NoPointInAnswerError, PointOutsideImageError):
        return
    assert 0 < len(matches) <= MAX_POINTS
    for match in matches:
        assert all(isinstance(v, float) and 0.0 <= v <= 1.0 for v in match.point)
        assert 0 <= match.span[0] < match.span[1] <= len(text)


@settings(max_examples=200, deadline=None)
@given(text=GARBAGE)
def test_splitting_keeps_the_length(text: str) -> None:
    _, answer = split_reasoning(text)
    assert len(answer) == len(text)


UNITS = ["(", "(0.1,", "(0.1,0.2)", "[" * 8, '"', '\\"', '"point_2d":[', "{", "<", "<point "]
UNITS += ['<point x="', '<points coords="1 ', 'x1="1" ', "<loc_1>", "<loc0001>", "<1>", "9"]
UNITS += [" ", "\n", "<think>", "</think>", "Step 1: a\n", '{"x":', "=", 'coords="1 1 1']
UNITS += ['"point_2d":[1,2]"', '"point_2d": [1, 2], "', 'a="']


@pytest.mark.parametrize("unit", UNITS)
def test_linear_time(unit: str) -> None:
    """Four times the garbage takes about four times as long, not sixteen times."""

    def seconds(length: int, parse: Callable[[str, tuple[int, int]], object]) -> float:
        text = (unit * (length // len(unit) + 1))[:length]
        started = time.process_time()
        with contextlib.suppress(NoPointInAnswerError, PointOutsideImageError):
            parse(text, SIZE)
        return time.process_time() - started

    for family in FAMILIES.values():
        long = min(seconds(64_000, family.parse) for _ in range(3))
        assert long < 0.5, family.name
        if long > 0.02:
            short = min(seconds(16_000, family.parse) for _ in range(3))
            assert long < 8 * short + 0.01, family.name


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_megabytes(family: str) -> None:
    text = 'blah (0.1, [ "point_2d": <points coords=" ' * 120_000  # 5 MB
    started = time.process_time()
    with pytest.raises((NoPointInAnswerError, PointOutsideImageError)):
        FAMILIES[family].parse(text, SIZE)
    assert time.process_time() - started < 3.0


def test_no_more_than_the_most_points() -> None:
    assert len(parse_tuples("[" + "(0.1, 0.2)," * 5000 + "]")) == MAX_POINTS


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("[(0.1", "[(0.1"),
        ("<think>The mug at (0.9", ""),
        ("<think>So.</think> [(0.1, 0.2)]", "[(0.1, 0.2)]"),
        ("Step 1: the mug at (0.9", ""),
        ("Step 1: the mug.\nStep 2: left\n[(0.1", "[(0.1"),
        ("So.</think>[(0.1", "[(0.1"),
        ("Sure, [(0.1", "Sure, [(0.1"),
        ("\ud800 a", "\ud800 a"),
        ("", ""),
    ],
)
def test_a_growing_answer_is_shown_without_thoughts(text: str, shown: str) -> None:
    assert answer_so_far(text) == shown


@pytest.mark.parametrize("text", ["<think>So.</think>(0.1, 0.2)", "Step 1: x\n(0.1, 0.2)"])
def test_no_piece_of_a_thought_flashes_up(text: str) -> None:
    shown = [answer_so_far(text[:end]) for end in range(len(text) + 1)]
    assert all("(0.1, 0.2)".startswith(piece) for piece in shown)
    assert shown[-1] == "(0.1, 0.2)"


# --- which of several points is the answer -------------------------------------------------


@pytest.mark.parametrize(
    ("text", "points"),
    [
        ("1. (0.2, 0.3)\n2. (0.4, 0.5)\n3. (0.6, 0.7)", [(0.2, 0.3), (0.4, 0.5), (0.6, 0.7)]),
        ("- (0.2, 0.3)\n- (0.4, 0.5)", [(0.2, 0.3), (0.4, 0.5)]),
        ("* (0.2, 0.3);\n* (0.4, 0.5);", [(0.2, 0.3), (0.4, 0.5)]),
        ("a) (0.2, 0.3)\nb) (0.4, 0.5)", [(0.2, 0.3), (0.4, 0.5)]),
        ("(0.2, 0.3) and (0.4, 0.5)", [(0.2, 0.3), (0.4, 0.5)]),
        ("(0.2, 0.3), (0.4, 0.5), and (0.6, 0.7).", [(0.2, 0.3), (0.4, 0.5), (0.6, 0.7)]),
        ("(0.2, 0.3)\n\n(0.4, 0.5)", [(0.2, 0.3), (0.4, 0.5)]),
        ("mug: (0.2, 0.3)\nbowl: (0.4, 0.5)", [(0.2, 0.3), (0.4, 0.5)]),
        ("mug: (0.2, 0.3), bowl: (0.4, 0.5)", [(0.2, 0.3), (0.4, 0.5)]),
        ("Point 1: (0.2, 0.3)\nPoint 2: (0.4, 0.5)", [(0.2, 0.3), (0.4, 0.5)]),
        ("1. (0.2, 0.3) - left mug\n2. (0.4, 0.5) - right mug", [(0.2, 0.3), (0.4, 0.5)]),
        ("[[0.2, 0.3], [0.4, 0.5]]", [(0.2, 0.3), (0.4, 0.5)]),
        ("[(20%, 30%)]", [(0.2, 0.3)]),
        ("[(2e-1, 3E-01)]", [(0.2, 0.3)]),
        ("[(0.3333333333333333, 0.6666666666666666)]", [(1 / 3, 2 / 3)]),
        ("[(0.2, 0.3, 0.4, 0.5)]", [(0.3, 0.4)]),
        ("It is at (0.2, 0.3). Here (0.0, 0.0) is the top-left corner.", [(0.2, 0.3)]),
        ("It is at (0.2, 0.3).\n(1.0, 1.0) is the bottom-right corner.", [(0.2, 0.3)]),
        ("(0.0, 0.0) is the top left, (1.0, 1.0) the other corner. Mug: (0.2, 0.3)", [(0.2, 0.3)]),
        ("[(0.2, 0.3)] (coordinates in the range (0.0, 1.0))", [(0.2, 0.3)]),
        ("[(0.2, 0.3)]. The origin (0.0, 0.0) is the upper left corner.", [(0.2, 0.3)]),
        ("I see [(0.9, 0.9)] first, but [(0.1, 0.2), (0.3, 0.", [(0.1, 0.2)]),
        ("[(1.0, 0.5)]", [(1.0, 0.5)]),
    ],
)
def test_the_points_that_are_meant(text: str, points: Points) -> None:
    found = [match.point for match in parse_tuples(text)]
    assert found == [pytest.approx(point) for point in points]


def test_an_explanation_alone_is_no_answer() -> None:
    with pytest.raises(NoPointInAnswerError):
        parse_tuples("Coordinates: (0.0, 0.0) is the top-left, (1.0, 1.0) the bottom-right corner.")


def test_a_number_without_end_is_none() -> None:
    with pytest.raises(NoPointInAnswerError):
        parse_tuples("[(0.5, 0." + "9" * 400 + ")]")


@pytest.mark.parametrize(
    ("family", "text", "point"),
    [
        ("qwen2.5-vl", "<|box_start|>(300,200),(340,280)<|box_end|>", (0.5, 0.5)),
        ("qwen2.5-vl", '[{"bbox_2d": [300, 200, 340, 280], "label": "mug"}]', (0.5, 0.5)),
        ("qwen2.5-vl", "[300, 200, 340, 280]", (0.5, 0.5)),
        ("robobrain2.0", "[300, 200, 340, 280]", (0.5, 0.5)),
        ("qwen3-vl", "<|box_start|>(300,200),(340,280)<|box_end|>", (0.32, 0.24)),
        ("qwen3-vl", '{"bbox_2d": [300, 200, 340, 280]}', (0.32, 0.24)),
        ("gemini", '[{"box_2d": [200, 300, 280, 340], "label": "mug"}]', (0.32, 0.24)),
        ("robobrain2.5", "[300, 200, 340, 280]", (0.32, 0.24)),
        ("tuples", "[0.3, 0.2, 0.34, 0.28]", (0.32, 0.24)),
        ("moondream", '{"x_min": 0.3, "y_min": 0.2, "x_max": 0.34, "y_max": 0.28}', (0.32, 0.24)),
        ("florence2", "<loc_300><loc_200><loc_340><loc_280>", (0.3205, 0.2405)),
    ],
)
def test_a_box_counts_as_its_middle(family: str, text: str, point: tuple[float, float]) -> None:
    (found,) = FAMILIES[family].parse(text, (640, 480))
    assert found.point == pytest.approx(point)


OPENINGS = (
    "<think>",
    "<thinking>",
    "<thought>",
    "<reasoning>",
    "[THINK]",
    "\u25c1think\u25b7",
    "<|channel|>analysis<|message|>",
    "<|begin_of_thought|>",
)
CLOSINGS = (
    "</think>",
    "</thinking>",
    "</thought>",
    "</reasoning>",
    "[/THINK]",
    "\u25c1/think\u25b7",
    "<|end|><|start|>assistant<|channel|>final<|message|>",
    "<|end_of_thought|>",
)


@pytest.mark.parametrize(("opening", "closing"), zip(OPENINGS, CLOSINGS, strict=True))
def test_thoughts_of_every_kind_are_no_answer(opening: str, closing: str) -> None:
    thought = f"{opening}perhaps (0.10, 0.10), or"
    with pytest.raises(NoPointInAnswerError):
        parse_tuples(thought)
    (found,) = parse_tuples(f"{thought} (0.9, 0.9){closing}It is at (0.2, 0.3)")
    assert found.point == (0.2, 0.3)
    for length in range(1, len(thought) + 1):
        assert answer_so_far(thought[:length]) == ""


def test_two_fractions_are_no_percentages() -> None:
    with pytest.raises(NoPointInAnswerError):
        FAMILIES["molmo"].parse('<point x="0.635" y="0.445" alt="mug">mug</point>', (640, 480))


# --- "it is not there" ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        "[ ]",
        "```json\n[]\n```",
        '{"points": []}',
        "None",
        "none.",
        "N/A",
        "There are none.",
        "There is no mug in the image.",
        "There isn't a mug on the table.",
        "I cannot find the mug.",
        "I don't see any mug here.",
        "The mug is not visible.",
        "The mug is not in the image.",
        "The image does not contain a mug.",
        "Not in the picture",
        "<think>it may be (0.1, 0.2)</think>There is no such object.",
    ],
)
@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_an_answer_that_says_no_is_an_answer(family: str, text: str) -> None:
    with pytest.raises(NothingFoundError) as caught:
        prediction_from_text(FAMILIES[family], Completion(text), (640, 480))
    assert caught.value.answer == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "The mug is on the table.",
        "There is no doubt that it is the red mug.",
        "I would pick the mug with no handle.",
        "42",
        "[(0.3, 0.",
        "<think>There is no mug in the image, or",
    ],
)
def test_words_without_a_point_are_no_such_answer(text: str) -> None:
    with pytest.raises(NoPointInAnswerError) as caught:
        parse_tuples(text)
    assert not isinstance(caught.value, NothingFoundError)
