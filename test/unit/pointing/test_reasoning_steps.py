# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Reasoning is asked for where it is wanted, and its steps reach the answer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pytest

from roborefer_ros.inference.model import Completion, Outcome, Request
from roborefer_ros.pointing.families import FAMILIES, prediction_from_text
from roborefer_ros.pointing.pointer import Pointer
from roborefer_ros.pointing.prompts import POINT_SUFFIX, REASONING_SUFFIX
from roborefer_ros.pointing.reasoning import MAX_STEPS, read_steps
from roborefer_ros.types import ReasoningStep, Think

THOUGHT = (
    "<think>\nI look for the lamp.\nStep 1: [Position] [the lamp]: [(0.100, 0.200)]\n"
    "Step 2: [Orientation] [the lamp]: (0.000, 0.600, 0.800)\n[Size] [the lamp]: wide\n"
    "- [size] [the lamp]: 0.300\n</think>\n<answer>[(0.412, 0.655)]</answer>"
)
STEPS = (
    ReasoningStep("Position", "the lamp", (0.1, 0.2)),
    ReasoningStep("Orientation", "the lamp", (0.0, 0.6, 0.8)),
    ReasoningStep("Size", "the lamp", (0.3,)),
)


class Recording:
    """A model that thinks aloud and keeps what it was asked."""

    name = "recording"
    uses_depth = False
    can_sample = True
    max_batch = 4

    def __init__(self) -> None:
        self.asked: list[str] = []

    def complete(self, requests: Sequence[Request]) -> Iterator[tuple[int, Outcome]]:
        for index, request in enumerate(requests):
            self.asked.append(request.prompt)
            yield index, Completion(THOUGHT)

    def close(self) -> None: ...


def test_well_formed_steps_come_with_the_answer() -> None:
    answer = prediction_from_text(FAMILIES["tuples"], Completion(THOUGHT), (640, 480))
    assert answer.points == ((0.412, 0.655),)
    assert answer.steps == STEPS
    assert "I look for the lamp." in answer.reasoning
    assert [str(step) for step in STEPS] == [
        "[Position] [the lamp]: [(0.100, 0.200)]",
        "[Orientation] [the lamp]: (0.000, 0.600, 0.800)",
        "[Size] [the lamp]: 0.300",
    ]


def test_thoughts_that_come_apart_from_the_text_have_steps_as_well() -> None:
    answer = prediction_from_text(
        FAMILIES["tuples"],
        Completion("[(0.5, 0.5)]", reasoning="[Size] [it]: 0.1"),
        (640, 480),
    )
    assert answer.steps == (ReasoningStep("Size", "it", (0.1,)),)


def test_steps_are_bounded() -> None:
    assert len(read_steps("[Size] [it]: 0.1\n" * 100_000)) == MAX_STEPS


@pytest.mark.parametrize(
    ("asked", "opened", "learned", "thinks"),
    [
        (Think.ON, Think.OFF, False, True),
        (Think.OFF, Think.ON, True, False),
        (Think.AUTO, Think.ON, False, True),
        (Think.AUTO, Think.OFF, True, False),
        (Think.AUTO, Think.AUTO, True, True),
        (Think.AUTO, Think.AUTO, False, False),
    ],
)
def test_reasoning_is_asked_for_where_it_is_wanted(
    asked: Think, opened: Think, learned: bool, thinks: bool
) -> None:
    model = Recording()
    pointer = Pointer(model, FAMILIES["tuples"])
    pointer.think, pointer.learned_to_reason = opened, learned
    answer = pointer.point(np.zeros((4, 4, 3), np.uint8), None, "the lamp", think=asked)
    assert answer.steps == STEPS
    suffix = f" {REASONING_SUFFIX}" if thinks else ""
    assert model.asked == [f"the lamp {POINT_SUFFIX}{suffix}"]


def test_families_that_did_not_learn_it_are_not_asked_for_reasoning() -> None:
    model = Recording()
    pointer = Pointer(model, FAMILIES["molmo"])
    request = Request("the lamp")
    assert REASONING_SUFFIX not in pointer.requests(request, think=Think.ON)[0].prompt
    assert pointer.prepared(request).prompt == "the lamp"
