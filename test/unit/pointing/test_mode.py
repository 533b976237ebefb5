# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Whether words ask for a thing or for a free spot, and who hears of it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mode_phrasings import ONE_STEP, PLACES, THINGS, TWO_STEPS, lines

from roborefer_ros.errors import NoDepthAtPointError, RoboReferError
from roborefer_ros.lifting import LiftingOptions
from roborefer_ros.pipeline import ReferPipeline
from roborefer_ros.pointing import prompts
from roborefer_ros.pointing.factory import open_pointer
from roborefer_ros.pointing.mode import read_instruction, resolve_mode
from roborefer_ros.simulation.held_out import held_out_scene
from roborefer_ros.types import CameraIntrinsics, DepthImage, Mode, PointFlag, RGBDFrame


def _table(valid: bool = True) -> RGBDFrame:
    """A table 1 m below the camera, or nothing."""
    depth = DepthImage(np.full((48, 64), 1000 if valid else 0, np.uint16), 0.001)
    camera = CameraIntrinsics(64, 48, 60.0, 60.0, 31.5, 23.5)
    return RGBDFrame(np.zeros((48, 64, 3), np.uint8), depth, camera, "camera")


def test_a_mode_that_was_asked_for_stands() -> None:
    reading = read_instruction("put it next to the plate", Mode.OBJECT)
    assert reading.mode == Mode.OBJECT
    assert "asked for" in reading.reason


def test_the_function_returns_mode_and_reason() -> None:
    mode, reason = resolve_mode("the free space between the mug and the plate")
    assert mode == Mode.FREE_SPACE
    assert "free space" in reason


@pytest.mark.parametrize(
    ("words", "mode"), [("put it down at", Mode.FREE_SPACE), ("the mug at", Mode.OBJECT)]
)
def test_the_pipeline_lifts_as_the_words_say(words: str, mode: Mode) -> None:
    """The mode of the words is the mode of the lifting, and of the result."""
    looks_down = LiftingOptions(up=(0.0, 0.0, -1.0))
    pipeline = ReferPipeline(open_pointer("echo"))
    result = pipeline.refer(_table(), f"{words} [(0.5, 0.5)]", lifting=looks_down)
    assert result.mode == mode
    assert result.mode_reason
    is_support = PointFlag.SUPPORT_PLANE in result.points[0].flags
    assert is_support == (mode == Mode.FREE_SPACE)


def test_a_failure_tells_the_mode() -> None:
    result = ReferPipeline(open_pointer("echo")).refer(
        _table(valid=False), "the mug at [(0.5, 0.5)]"
    )
    failed = result.failure()
    assert failed is not None
    assert failed.mode == Mode.OBJECT
    assert failed.mode_reason
    with pytest.raises(RoboReferError) as caught:
        ReferPipeline(open_pointer("echo")).refer(_table(), "put it on the mug")
    assert caught.value.mode == Mode.FREE_SPACE
    assert NoDepthAtPointError.mode == 0


@pytest.mark.parametrize("instruction", lines(PLACES))
def test_words_that_ask_for_a_free_spot(instruction: str) -> None:
    mode, reason = resolve_mode(instruction)
    assert mode == Mode.FREE_SPACE, reason


@pytest.mark.parametrize("instruction", lines(THINGS))
def test_words_that_ask_for_a_thing(instruction: str) -> None:
    mode, reason = resolve_mode(instruction)
    assert mode == Mode.OBJECT, reason


@pytest.mark.parametrize("instruction", [*lines(PLACES), *lines(THINGS)])
def test_case_blanks_and_final_marks_decide_nothing(instruction: str) -> None:
    mode, _ = resolve_mode(instruction)
    bare = instruction.rstrip(" .!?")
    for variant in (instruction.upper(), f"  {bare} ", f"{bare}!!", bare.replace(" ", "  ")):
        assert resolve_mode(variant)[0] == mode, variant


@pytest.mark.parametrize(("instruction", "first"), TWO_STEPS.items())
def test_of_two_actions_the_first_is_answered_and_the_second_is_told(
    instruction: str, first: str
) -> None:
    reading = read_instruction(instruction)
    assert reading.two_steps, reading
    assert (reading.mode == Mode.FREE_SPACE) == (first == "place"), reading


@pytest.mark.parametrize("instruction", [*lines(ONE_STEP), *lines(PLACES), *lines(THINGS)])
def test_one_action_is_not_called_two(instruction: str) -> None:
    assert not read_instruction(instruction).two_steps


@given(st.text(max_size=300))
def test_any_text_has_a_mode_and_a_reason(text: str) -> None:
    mode, reason = resolve_mode(text)
    assert mode in (Mode.OBJECT, Mode.FREE_SPACE)
    assert reason


@given(
    st.lists(
        st.sampled_from(
            [
                "put",
                "the",
                "mug",
                "where",
                "is",
                "that",
                "to",
                "left",
                "of",
                "free",
                "space",
                "and",
                ",",
                ".",
                "a",
                "point",
                "in",
                "there",
                "can",
                "go",
                "it",
                "with",
                "no",
                "away",
                "down",
                "between",
                "which",
                "one",
            ]
        ),
        max_size=40,
    )
)
def test_any_order_of_its_own_words_has_a_mode_and_a_reason(tokens: list[str]) -> None:
    mode, reason = resolve_mode(" ".join(tokens))
    assert mode in (Mode.OBJECT, Mode.FREE_SPACE)
    assert reason


def test_a_format_request_says_nothing_about_the_mode() -> None:
    for suffix in (prompts.POINT_SUFFIX, prompts._JSON_SUFFIX, prompts._GEMINI_SUFFIX):
        assert resolve_mode(f"the red mug {suffix}")[0] == Mode.OBJECT
        assert resolve_mode(f"put it on the tray {suffix}")[0] == Mode.FREE_SPACE


def test_simulated_instructions_are_read_as_they_were_meant() -> None:
    """At least 99 % of 300, as the robot is asked: without the truth."""
    meant = [
        (question.instruction, question.mode)
        for number in range(20)
        for question in held_out_scene(number, 160, 120).questions
    ][:300]
    assert len(meant) == 300
    wrong = [words for words, mode in meant if resolve_mode(words)[0] != mode]
    assert len(wrong) <= 3, wrong
