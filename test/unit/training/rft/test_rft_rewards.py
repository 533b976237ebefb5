# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Rewards are those of the golden tables, and cannot be had by tricks."""

from __future__ import annotations

import itertools
import json
import random
import time
from pathlib import Path
from typing import Any

import pytest

from roborefer_ros.pointing.reasoning import PERCEPTIONS, parse_line, read_steps
from roborefer_ros.training.rft.rewards import (
    Annotation,
    RewardRules,
    outcome_format,
    outcome_format_r1v,
    point_reward,
    points_in,
    process_accuracy,
    process_format,
    score,
    thought_steps,
)
from roborefer_ros.types import ReasoningStep as Step

TABLE = json.loads(
    (Path(__file__).resolve().parents[3] / "data/golden/training/rewards.json").read_text()
)
CASES = {case["id"]: case for case in TABLE["cases"]}

KEYS = (
    Step("Position", "the pen holder", (0.139, 0.628)),
    Step("Orientation", "the pen holder", (1.0, 0.0, 0.0)),
    Step("Size", "the pen holder", (0.2,)),
)
KNOWN = Annotation((960, 540), ((0.341, 0.61),), KEYS)
LINES = (
    "Step 1: [Position] [the pen holder]: [(0.139, 0.628)]",
    "Step 2: [Orientation] [the pen holder]: (1.000, 0.000, 0.000)",
    "Step 3: [Size] [the pen holder]: 0.20",
)
ANSWER = "<answer>[(0.341, 0.610)]</answer>"


def thought(*lines: str) -> str:
    return "<think>\n" + "\n".join(lines) + "\n</think>"


def annotation_of(values: dict[str, Any]) -> Annotation:
    steps = []
    for key in values["key_steps"]:
        value = key["value"] if isinstance(key["value"], list) else [key["value"]]
        steps.append(Step(PERCEPTIONS[key["type"].lower()], key["target"], tuple(value)))
    width, height = values["image_size"]
    answer = tuple((x, y) for x, y in values["answer"])
    return Annotation((width, height), answer, tuple(steps))


@pytest.mark.parametrize("name", CASES)
def test_rewards_are_those_of_the_golden_table(name: str) -> None:
    case = CASES[name]
    known, text, wanted = annotation_of(case["annotation"]), case["completion"], case["expected"]
    steps = thought_steps(text)
    found = {
        "outcome_format": outcome_format(text),
        "outcome_format_r1v": outcome_format_r1v(text),
        "point": point_reward(text, known),
        "process_format": process_format(steps),
        "process_format_fraction": process_format(steps, all_of_them=False),
        "accuracy_sum": process_accuracy(steps, known),
        "accuracy_mean": score(text, known, RewardRules(accuracy_rule="mean")).accuracy,
        "total_sum": score(text, known).total,
        "total_mean": score(text, known, RewardRules(accuracy_rule="mean")).total,
    }
    assert found == pytest.approx(wanted, abs=1e-6), case["why"]


def test_the_order_of_the_steps_changes_nothing() -> None:
    totals = {
        score(thought(*order) + ANSWER, KNOWN).total for order in itertools.permutations(LINES)
    }
    assert totals == {3.0}


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ("[(0.341, 0.610), (0.341, 0.610)]", "one guess repeated"),
        ("[(0.1, 0.1), (0.341, 0.610), (0.9, 0.9)]", "many guesses"),
        ("[(1e999, 0.610)]", "no decimal"),
        ("[(nan, 0.610)]", "no number"),
        ("[(inf, inf)]", "no number"),
        ("[(0,341, 0,610)]", "decimal commas"),
        ("[(\u0660.\u0663\u0664\u0661, \u0660.\u0666\u0661)]", "digits that are not ASCII"),
        ("[(0.341, 0.610, 0.2)]", "a triple"),
        ("[0.341, 0.610]", "no tuple"),
        ("[(9999999999999999999999, 0.61)]", "outside"),
        ("[(-0.001, 0.61)]", "outside"),
        ("__import__('os').system('true')", "no point"),
    ],
)
def test_an_answer_earns_nothing_by_tricks(answer: str, why: str) -> None:
    assert point_reward(f"<answer>{answer}</answer>", KNOWN) == 0.0, why


def test_numbers_are_read_however_they_are_written() -> None:
    near_zero = Annotation((960, 540), ((0.0, 0.61),))
    assert point_reward("<answer>[(-0.0, .61)]</answer>", near_zero) == 1.0
    assert point_reward("<answer>[[(0., +0.61)]]</answer>", near_zero) == 1.0
    assert points_in("(0.1, 0.2, 0.3) (0.4,0.5)") == [(0.4, 0.5)]


@pytest.mark.parametrize(
    "text",
    [
        thought("<answer>[(0.341, 0.610)]</answer>", *LINES) + ANSWER,
        thought(*LINES) + ANSWER + "<|im_end|>",
        "<|im_start|>" + thought(*LINES) + ANSWER,
        thought(*LINES) + "\u200b" + ANSWER,
        thought(" \t") + ANSWER,
        thought(*LINES) + "<answer> \n </answer>",
        ANSWER + thought(*LINES),
        "</think><think>a" + ANSWER,
        "",
        "<think>",
    ],
)
def test_the_format_wants_one_thought_and_one_answer(text: str) -> None:
    assert outcome_format(text) == 0.0


def test_a_name_alone_earns_no_accuracy() -> None:
    lines = ["[Position] [the pen holder]:", "[Size] [the pen holder]: many", LINES[1][:-30]]
    rewards = score(thought(*lines) + ANSWER, KNOWN)
    assert rewards.accuracy == 0.0
    assert rewards.process_format == 0.0


def test_a_step_that_is_repeated_counts_once_and_the_first_decides() -> None:
    assert process_accuracy(thought_steps(thought(*[LINES[0]] * 9)), KNOWN) == 1.0
    wrong = "[Position] [The Pen holder]: [(0.9, 0.9)]"
    assert process_accuracy(thought_steps(thought(wrong, LINES[0])), KNOWN) == 0.0
    broken = "[Position] [the pen holder]: 0.139"
    assert process_accuracy(thought_steps(thought(broken, LINES[0])), KNOWN) == 0.0
    assert process_accuracy(thought_steps(thought(LINES[0], wrong)), KNOWN) == 1.0


def test_a_longer_or_shorter_name_matches_only_where_it_is_asked_for() -> None:
    steps = thought_steps(thought("[Size] [holder]: 0.2"))
    assert process_accuracy(steps, KNOWN) == 0.0
    assert process_accuracy(steps, KNOWN, contains=True) == 1.0
    part = thought_steps(thought("[Size] [hold]: 0.2"))
    assert process_accuracy(part, KNOWN, contains=True) == 0.0


def test_several_annotated_points_want_one_each() -> None:
    two = Annotation((100, 100), ((0.1, 0.1), (0.9, 0.9)))
    assert point_reward("<answer>[(0.9, 0.88), (0.1, 0.1)]</answer>", two) == 1.0
    assert point_reward("<answer>[(0.9, 0.9), (0.9, 0.9)]</answer>", two) == 0.0
    # (0.3, 0.3) is near both: the other one must take what is left
    close = Annotation((100, 100), ((0.1, 0.1), (0.4, 0.4)))
    assert point_reward("<answer>[(0.3, 0.3), (0.5, 0.5)]</answer>", close) == 1.0


def test_nothing_is_the_answer_where_nothing_is_there() -> None:
    absent = Annotation((100, 100), ())
    assert point_reward("<answer>none</answer>", absent) == 1.0
    assert point_reward("<answer>[]</answer>", absent) == 1.0
    assert point_reward("<answer>[(0.1, 0.1)]</answer>", absent) == 0.0
    assert point_reward("<answer>the mug</answer>", absent) == 0.0
    assert point_reward("<answer>none</answer>", KNOWN) == 0.0


def test_a_model_without_tags_is_read_where_it_is_asked_for() -> None:
    bare = "[(0.341, 0.610)]"
    assert score(bare, KNOWN).point == 0.0
    assert score(bare, KNOWN, RewardRules(answer_form="text")).point == 1.0
    assert score("<think>(0.9, 0.9)</think>" + bare, KNOWN, RewardRules(answer_form="text")).point


def test_a_region_takes_the_place_of_the_distance() -> None:
    class LeftHalf:
        def holds(self, point: tuple[float, float]) -> bool:
            return point[0] < 0.5

    known = Annotation((960, 540), ((0.1, 0.1),), (), LeftHalf())
    assert point_reward("<answer>[(0.4, 0.9)]</answer>", known) == 1.0
    assert point_reward("<answer>[(0.6, 0.1)]</answer>", known) == 0.0
    assert point_reward("<answer>[(0.4, 0.9), (0.4, 0.9)]</answer>", known) == 0.0


PIECES = [
    "<think>", "</think>", "<answer>", "</answer>", "[", "]", "(", ")", ",", ":", "\n", " ", "0.5",
    "1e999", "nan", "-", ".", "9" * 50, "Step 1:", "[Position]", "[Size]", "[Orientation]", "\x00",
    "\u2028", "\ud800", "\u0663", "the ", "<|im_end|>", "{", "\\", "%s", "'''",
]  # fmt: skip


def test_random_texts_never_raise_and_never_earn_more_than_an_ideal_answer() -> None:
    draw = random.Random(7)
    for _ in range(20_000):
        text = "".join(draw.choices(PIECES, k=draw.randint(0, 30)))
        assert 0.0 <= score(text, KNOWN).total <= 3.0
        read_steps(text)


@pytest.mark.parametrize(
    "piece",
    [
        "<think>", "</think><answer>", "<answer>", "(", "(1", "9", "[", "]", "[a] ", "\n[", " ",
        "- ", "\n[Position] [a]: [(0.1, 0.1)]", "(0.1, 0.1)", "(0.1 ,", "</think> ", "step 1",
        "the ", "[Orientation] [", "none ",
    ],
)  # fmt: skip
def test_time_grows_with_the_length_of_a_text_alone(piece: str) -> None:
    def seconds(size: int) -> float:
        inside = piece * (size // len(piece))
        texts = [f"<think>{inside}</think><answer>{inside}</answer>", inside]
        started = time.process_time()
        for text in texts:
            score(text, KNOWN)
            outcome_format_r1v(text)
            score(text, KNOWN, RewardRules(target_rule="contains", answer_form="text"))
        return time.process_time() - started

    short, long = min(seconds(50_000) for _ in range(3)), min(seconds(400_000) for _ in range(2))
    # eight times the text: a quadratic step would take 64 times as long
    assert long < 30 * short + 0.05


def test_r1v_is_decided_as_by_its_pattern() -> None:
    import re

    pattern = re.compile(r"<think>.*?</think>\s*<answer>.*?</answer>", re.DOTALL)
    draw = random.Random(3)
    pieces = ["<think>", "</think>", "<answer>", "</answer>", " ", "a"]
    for _ in range(20_000):
        text = "<think>" + "".join(draw.choices(pieces, k=draw.randint(0, 8))) + "</answer>"
        assert outcome_format_r1v(text) == float(pattern.fullmatch(text) is not None), text


def test_lines_are_steps_or_prose() -> None:
    assert parse_line("The cup is [left]") is None
    assert parse_line("  3. [size] [a cup]: .5 ") == Step("Size", "a cup", (0.5,))
    assert parse_line("- [ORIENTATION] [cup]: [(0, 0.6, 0.8)]") == Step(
        "Orientation", "cup", (0.0, 0.6, 0.8)
    )
    malformed = parse_line("[Position] [cup]: [(0.1, 0.1), (0.2, 0.2)]")
    assert malformed == Step("Position", "cup")
    assert not malformed.is_well_formed
    assert parse_line("[Position [cup]]: [(0.1, 0.1)]") == Step("", "")
