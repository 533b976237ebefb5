# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""How a model's text becomes normalised points: what all answer formats share, and RoboRefer's.

Pure functions of untrusted text: they return points or raise a numbered error, in linear
time, whatever they are given.  The formats of other families are in ``formats``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from roborefer_ros.errors import (
    NoPointInAnswerError,
    NothingFoundError,
    PointOutsideImageError,
)
from roborefer_ros.pointing.nothing import says_nothing
from roborefer_ros.pointing.point_lists import answer_list
from roborefer_ros.pointing.thoughts import UNDECIDED_MARK, split_thoughts

#: longer answers are cut; 64 k tokens of a runaway generation hold nothing of use
MAX_ANSWER_CHARACTERS = 1_000_000

#: more points than this are dropped
MAX_POINTS = 1000

#: a decimal, at most 12 digits before its dot and 40 after it (a double prints up to 20)
NUMBER = r"[+-]?(?:[0-9]{1,12}(?:\.[0-9]{0,40})?|\.[0-9]{1,40})(?:[eE][+-]?[0-9]{1,2})?"

#: blanks between the parts of a tuple: bounded, so that matching stays linear
BLANKS = r"[ \t\r\n\u00a0]{0,8}"

#: "(x, y)", also with blanks inside or blanks in place of the comma; then "%" or nothing
_XY = (
    rf"{BLANKS}({NUMBER})({BLANKS}%)?(?:{BLANKS},{BLANKS}|[ \t\r\n\u00a0]{{1,8}})"
    rf"({NUMBER})({BLANKS}%)?{BLANKS}"
)
_TUPLE = re.compile(rf"\({_XY}\)")
_LIST_OF_TWO = re.compile(rf"\[{_XY}\]")
_UNIT_BOX = re.compile(
    rf"[\[(]{BLANKS}({NUMBER}){BLANKS},{BLANKS}({NUMBER}){BLANKS},"
    rf"{BLANKS}({NUMBER}){BLANKS},{BLANKS}({NUMBER}){BLANKS}[\])]"
)

#: a line of step-by-step reasoning, as RoboRefer's RFT models write them
_STEP_LINE = re.compile(r"^[ \t]{0,8}step[ \t]{0,2}[0-9]{1,3}[ \t]{0,2}[:.].*$", re.I | re.M)

#: the end of a growing text that may become a thought's mark or "step 1:"
_UNDECIDED_END = re.compile(
    rf"(?:{UNDECIDED_MARK}"
    r"|^[ \t]{0,8}s(?:t(?:e(?:p[ \t]{0,2}[0-9]{0,3}[ \t]{0,2})?)?)?)\Z",
    re.I | re.M,
)


@dataclass(frozen=True)
class TupleMatch:
    """One point of an answer.

    Attributes:
        point: ``(x, y)`` normalised.
        span: Place of its text in the answer, ``(start, end)`` characters.
    """

    point: tuple[float, float]
    span: tuple[int, int]


def split_reasoning(text: str) -> tuple[str, str]:
    """Separate thoughts (``thoughts``) and lines "Step 1: ..." from the answer.

    Returns:
        ``(reasoning, answer)``.  The answer keeps its length, reasoning is blanked, so that
        spans stay valid.
    """
    thoughts, answer = split_thoughts(text)
    return _split_steps(answer, thoughts)


def answer_so_far(text: str) -> str:
    """What of a growing text is answer, for showing: thoughts and step lines are left out.

    The beginning of a thought's tag or of a step line is held back until it is known.
    """
    answer = _STEP_LINE.sub("", split_reasoning(text[:MAX_ANSWER_CHARACTERS])[1])
    return _UNDECIDED_END.sub("", answer).strip()


def _split_steps(answer: str, thoughts: list[str]) -> tuple[str, str]:
    """Move step lines to the thoughts, unless nothing else would be left."""
    steps = [match.group(0) for match in _STEP_LINE.finditer(answer)]
    if steps:
        blanked = _STEP_LINE.sub(lambda match: " " * len(match.group(0)), answer)
        if blanked.strip():
            answer = blanked
            thoughts = thoughts + steps
    return "\n".join(t.strip() for t in thoughts if t.strip()), answer


def parse_tuples(text: str) -> tuple[TupleMatch, ...]:
    """Read RoboRefer's ``[(x1, y1), ...]``, normalised to [0, 1].

    Which of several lists counts is decided in ``point_lists``; a box counts as its centre.
    Points outside [0, 1] are dropped if others of the list are inside.  A tuple of
    two integers is dropped as well: the reference's scorer takes ``(1, 0)`` for a pixel,
    others for a corner, and an arm must not act on a guess.

    Raises:
        NoPointInAnswerError: no tuple of two numbers.
        PointOutsideImageError: every point of the list lies outside [0, 1].
    """
    answer = answer_part(text)
    group = answer_list(_TUPLE, answer) or answer_list(_LIST_OF_TWO, answer)
    matches = [
        TupleMatch((_unit(m.group(1), m.group(2)), _unit(m.group(3), m.group(4))), m.span())
        for m in group
        if any(mark in m.group() for mark in ".eE%") and bool(m.group(2)) == bool(m.group(4))
    ]
    if not group:
        boxes = [m for m in answer_list(_UNIT_BOX, answer) if "." in m.group()]
        matches = [_box_centre(m) for m in boxes if _is_box(m)]
        if not matches:
            raise no_point(text, "[(0.412, 0.655)]")
    return inside_image(
        matches,
        text,
        "its points must lie between 0 and 1, with a decimal point, to be in the image",
    )


def _unit(number: str, percent: str | None) -> float:
    return float(number) / 100.0 if percent else float(number)


def _is_box(match: re.Match[str]) -> bool:
    x1, y1, x2, y2 = (float(value) for value in match.group(1, 2, 3, 4))
    return x1 <= x2 and y1 <= y2


def _box_centre(match: re.Match[str]) -> TupleMatch:
    x1, y1, x2, y2 = (float(value) for value in match.group(1, 2, 3, 4))
    return TupleMatch(((x1 + x2) / 2, (y1 + y2) / 2), match.span())


def answer_part(text: str) -> str:
    """The text to be parsed: bounded in length, thoughts blanked."""
    return split_reasoning(text[:MAX_ANSWER_CHARACTERS])[1]


def inside_image(matches: Sequence[TupleMatch], text: str, rule: str) -> tuple[TupleMatch, ...]:
    """Keep the points in [0, 1], at most ``MAX_POINTS``.

    Raises:
        PointOutsideImageError: none is left; ``rule`` tells what was expected.
    """
    inside = tuple(m for m in matches if all(0.0 <= value <= 1.0 for value in m.point))
    if not inside:
        raise PointOutsideImageError(
            f"the model answered {shortened(text)!r}; {rule}. A model of another family may "
            "answer in other units (docs/models.md)"
        )
    return inside[:MAX_POINTS]


def no_point(text: str, example: str) -> NoPointInAnswerError:
    """The error for a text without any point; ``example`` shows the expected form."""
    if says_nothing(answer_part(text)):
        return NothingFoundError(
            f"the model answered {shortened(text)!r}: it does not see what the instruction names; "
            "check that the camera shows it, or say the instruction differently"
        )
    return NoPointInAnswerError(
        f"the model answered {shortened(text)!r}, which holds no point like {example}; say the "
        "instruction differently, or check that the checkpoint is trained to point"
    )


def shortened(text: str, limit: int = 120) -> str:
    """The beginning of a text, for messages."""
    return text if len(text) <= limit else text[:limit] + "..."


def point_confidences(
    matches: Sequence[TupleMatch], token_ends: Sequence[int], logprobs: Sequence[float]
) -> tuple[float, ...]:
    """Confidence of each point from the probabilities of the tokens that spell it.

    The geometric mean over the tokens of the first two decimals of both coordinates would
    need the tokenizer's digits; the mean over all tokens inside the tuple is close, since
    brackets and commas have probability near 1: the sum of their log probabilities is
    divided by two, the number of coordinates.

    Args:
        matches: Matches of a parser.
        token_ends: For each generated token the length of the text that ends with it,
            not decreasing.
        logprobs: natural log probability of each token.
    """
    result = []
    for match in matches:
        start, end = match.span
        inside = [p for e, p in zip(token_ends, logprobs, strict=False) if start < e <= end]
        result.append(math.exp(min(sum(inside) / 2, 0.0)) if inside else 0.0)
    return tuple(result)
