# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The official scorer: golden tables, a naive model of its rules, and hostile texts."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from roborefer_ros.evaluation import official_parsers as parsers
from roborefer_ros.evaluation.official import Outcome, score_official

GOLDEN = json.loads(
    (Path(__file__).parents[2] / "data/golden_scoring/eval_parsers.json").read_text()
)
PARSERS = {
    "text2pts_normalized": parsers.parse_relative_tuples,
    "text2pts_absolute": parsers.parse_absolute_tuples,
    "xml2pts": parsers.parse_molmo_xml,
    "json2pts": parsers.parse_gemini_json,
}
CASES = [(name, text) for name in PARSERS for text in GOLDEN[name]]
MASK = np.zeros((480, 640), bool)
MASK[100:300, 200:400] = True


@pytest.mark.parametrize(("name", "text"), CASES)
def test_golden_tables(name: str, text: str) -> None:
    expected = GOLDEN[name][text]
    if "error" in expected:
        with pytest.raises(Exception) as caught:  # noqa: PT011
            PARSERS[name](text, GOLDEN["width"], GOLDEN["height"])
        assert type(caught.value).__name__ == expected["error"]
        return
    answer = PARSERS[name](text, GOLDEN["width"], GOLDEN["height"])
    assert answer.count == expected["n"]
    if not answer.boxes:
        first, last = len(expected["first"]), len(expected["last"])
        assert [list(point) for point in answer.points[:first]] == expected["first"]
        assert [list(point) for point in answer.points[len(answer.points) - last :]] == (
            expected["last"]
        )


RECORDED = json.loads(
    (Path(__file__).parents[2] / "data/golden_scoring/official_scores.json").read_text()
)


@pytest.mark.parametrize("model", RECORDED["models"])
def test_equals_what_the_published_program_made_of_many_texts(model: str) -> None:
    rows, columns = np.mgrid[: RECORDED["height"], : RECORDED["width"]]
    mask = (7 * columns + 3 * rows) % 5 < 2
    parser = parsers.official_parser(model)
    assert parser is not None
    differing = []
    for text, expected in RECORDED["rows"]:
        score = score_official(text, mask, parser)
        value = score.value if score.outcome is Outcome.SCORED else score.outcome.value
        if value != expected[RECORDED["models"].index(model)]:
            differing.append((text, expected, value))
    assert differing == []


# --- a naive model of the published rules, small images only ---------------------------


def naive(text: str, mask: np.ndarray, absolute: bool) -> float | str:
    """The rules written down as plainly as possible, with every pixel of a box expanded."""
    height, width = mask.shape
    points: list[Any] = []
    try:
        for found in re.findall(r"\(([-+]?\d+\.?\d*(?:,\s*[-+]?\d+\.?\d*)*)\)", text):
            values = [float(v) if "." in v else int(v) for v in found.split(",")]
            if len(values) == 2:
                x, y = values
                if not absolute and (isinstance(x, float) or isinstance(y, float)):
                    x, y = int(x * width), int(y * height)
                points.append((x, y))
            elif len(values) == 4:
                if not absolute:
                    values = [int(v * s) for v, s in zip(values, (width, height) * 2, strict=True)]
                x0, y0, x1, y1 = values
                ys, xs = np.where(np.ones((y1 - y0, x1 - x0)))
                points.extend(np.stack([xs + x0, ys + y0], axis=1))
    except Exception:
        return "dropped"
    if not points:
        return 0.0
    array = np.array(points)
    inside = (array[:, 0] >= 0) & (array[:, 0] < width)
    inside &= (array[:, 1] >= 0) & (array[:, 1] < height)
    try:
        hits = mask.astype(np.uint8)[array[inside, 1], array[inside, 0]]
    except IndexError:
        return "crashes"
    return float(np.concatenate([hits, np.zeros(len(array) - inside.sum())]).mean())


NUMBERS = st.one_of(
    st.integers(-3, 12).map(str),
    st.floats(-0.4, 2.2).map(lambda v: f"{v:.3f}"),
    st.sampled_from(["0.", "+1", "-0", "1.0", ".5", "5e-1", "00.50", "٠.٥", "1_0", ""]),
    st.sampled_from([str(n) for n in (2**63 - 1, 2**63, 2**64 - 1, 2**64, -(2**63), -(2**63) - 1)]),
)
SEPARATORS = st.sampled_from([",", ", ", ",\n", " ,", ",  ", ";", ",\u00a0"])


@st.composite
def answers(draw: st.DrawFn) -> str:
    """Texts around the grammar: right ones, nearly right ones, prose."""
    parts = []
    for _ in range(draw(st.integers(0, 4))):
        numbers = draw(st.lists(NUMBERS, min_size=0, max_size=5))
        inner = draw(SEPARATORS).join(numbers)
        opening, closing = draw(
            st.sampled_from([("(", ")"), ("[(", ")]"), ("( ", " )"), ("[", "]")])
        )
        parts.append(opening + inner + closing)
    glue = draw(st.sampled_from([" ", ", ", "", " then ", "\n", "<think>"]))
    return glue.join(parts)


@settings(max_examples=600, deadline=None)
@given(answers(), st.booleans(), st.integers(0, 2**32 - 1))
@example(f"({2**63}, {2**63}), ({2**64 - 1}, {2**63})", False, 0)
@example(f"({2**63}, {2**63}), (1, {2**63})", True, 0)
@example("(0.2, 0.3, 0.1, 0.1)", False, 0)
@example("(0.1, 0.1, 0.9, 0.9) (5, 5)", False, 1)
@example("(1, 1, 4, 4) (5, 5.5)", True, 1)
@example("(1, 1) (2, 2, 2, 2)", True, 1)
def test_equals_the_naive_model(text: str, absolute: bool, seed: int) -> None:
    rng = np.random.default_rng(seed)
    mask = rng.random((int(rng.integers(1, 14)), int(rng.integers(1, 14)))) < 0.5
    parser = parsers.parse_absolute_tuples if absolute else parsers.parse_relative_tuples
    score = score_official(text, mask, parser)
    # Boxes that no memory holds cannot be compared with every pixel of them; boxes at the end
    # of 64 bits depend on the version of numpy.
    tuples = re.findall(r"\([^()]*\)", text)
    assume(score.points < 10**6)
    assume(not any(part.count(",") == 3 and re.search(r"\d{19}", part) for part in tuples))
    expected = naive(text, mask, absolute)
    assert expected == (score.value if score.outcome is Outcome.SCORED else score.outcome.value)


@settings(max_examples=300, deadline=None)
@given(st.text() | st.text(alphabet='(),.0123456789 -x1="y`\n{}[]pointjs:'))
def test_any_text_gives_a_score(text: str) -> None:
    for parser in PARSERS.values():
        score = score_official(text, MASK, parser)
        assert (score.value is None) == (score.outcome is not Outcome.SCORED)
        assert score.value is None or 0.0 <= score.value <= 1.0


# --- single rules ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("[(0.47, 0.42)]", 1.0),
        ("[(0.47, 0.42), (0.9, 0.9)]", 0.5),
        ("(300, 200)", 1.0),
        ("(1, 1)", 0.0),
        ("(1, 0.5)", 0.0),
        ("(1.0, 0.5)", 0.0),
        ("<think>(0.9, 0.9)</think> [(0.47, 0.42)]", 0.5),
        ("nothing", 0.0),
        ("", 0.0),
        ("(0.3125, 0.25, 0.625, 0.5)", 140 / 140),
    ],
)
def test_relative_rules(text: str, value: float) -> None:
    score = score_official(text, MASK, parsers.parse_relative_tuples)
    assert score.value == pytest.approx(value)


def test_a_box_of_integers_is_counted_without_being_built() -> None:
    started = time.process_time()
    score = score_official("(10, 20, 30, 40)", MASK, parsers.parse_relative_tuples)
    assert score.points == 122_880_000
    assert score.value == 0.0
    score = score_official("(0, 0, 2000, 2000)", MASK, parsers.parse_relative_tuples)
    assert score.hits == MASK.sum()
    assert score.value == pytest.approx(MASK.sum() / (1_280_000 * 960_000))
    assert time.process_time() - started < 0.1


@pytest.mark.parametrize("text", [None, 3, ["(0.5, 0.5)"], {"a": 1}, b"(0.5, 0.5)"])
def test_what_is_no_text_is_dropped(text: Any) -> None:
    for parser in PARSERS.values():
        assert score_official(text, MASK, parser).outcome is Outcome.DROPPED


@pytest.mark.parametrize(
    ("text", "parser", "outcome"),
    [
        ("(0.2, 0.3, 0.1, 0.1)", parsers.parse_relative_tuples, Outcome.DROPPED),
        (f"({'9' * 400}.0, 0.5)", parsers.parse_relative_tuples, Outcome.DROPPED),
        ("(0, 0, 99999999999, 99999999999)", parsers.parse_relative_tuples, Outcome.DROPPED),
        (f"({2**63}, 5)", parsers.parse_relative_tuples, Outcome.CRASHES),
        # numpy makes unsigned integers of these, which index as well
        (f"({2**63}, {2**64 - 1})", parsers.parse_relative_tuples, Outcome.SCORED),
        # an empty box adds no point, wherever it lies (numpy 1.26, which the original pins)
        (f"(0.2, 0.1) (8, {2**63}, 37, {2**63})", parsers.parse_relative_tuples, Outcome.SCORED),
        (f"({2**63}, {2**63}) (5, 5, 7, 5)", parsers.parse_absolute_tuples, Outcome.SCORED),
        (f"({2**63}, {2**64})", parsers.parse_relative_tuples, Outcome.CRASHES),
        (f"({2**63}, {2**63}) (5, 5)", parsers.parse_absolute_tuples, Outcome.CRASHES),
        (f"({2**63}, {2**63}) (5, 5, 7, 7)", parsers.parse_absolute_tuples, Outcome.CRASHES),
        ("(3.5, 4)", parsers.parse_absolute_tuples, Outcome.CRASHES),
        ("(3.5, 4) (1.0, 2, 3, 4)", parsers.parse_absolute_tuples, Outcome.DROPPED),
        ('```json\n{"point": [1, 2]}\n```', parsers.parse_gemini_json, Outcome.DROPPED),
        ('```json\n[{"point": [1]}]\n```', parsers.parse_gemini_json, Outcome.SCORED),
        ("```json\nnull\n```", parsers.parse_gemini_json, Outcome.DROPPED),
        ('```json\n[{"point": [1,\n```', parsers.parse_gemini_json, Outcome.SCORED),
    ],
)
def test_dropped_and_crashing(text: str, parser: parsers.Parser, outcome: Outcome) -> None:
    assert score_official(text, MASK, parser).outcome is outcome


@pytest.mark.parametrize(
    ("name", "parser"),
    [
        ("RoboRefer-2B-SFT-Depth", parsers.parse_relative_tuples),
        ("GPT4O", parsers.parse_relative_tuples),
        ("Qwen-RoboPoint", parsers.parse_relative_tuples),
        ("Qwen2.5-VL", parsers.parse_absolute_tuples),
        ("RoboBrain-Molmo", parsers.parse_absolute_tuples),
        ("Molmo-7B", parsers.parse_molmo_xml),
        ("Gemini25Pro", parsers.parse_gemini_json),
        ("roborefer:demo", None),
        ("Pixtral", None),
    ],
)
def test_parser_by_name(name: str, parser: parsers.Parser | None) -> None:
    assert parsers.official_parser(name) is parser


@pytest.mark.parametrize(
    "text",
    [
        "(" + ",".join(["1" * 20] * 20_000),
        "(" * 300_000,
        "(" + "1" * 300_000,
        "(1," + " " * 300_000,
        "(1" * 100_000,
        "```\n" * 60_000,
        'x1="1" ' * 40_000,
        "(0.5, 0.5)" * 50_000,
        "(0.1, 0.1, 0.9, 0.9)" * 20_000,
    ],
)
def test_hostile_texts_take_linear_time(text: str) -> None:
    started = time.process_time()
    for parser in PARSERS.values():
        score_official(text, MASK, parser)
    assert time.process_time() - started < 3.0
