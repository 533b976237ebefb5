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

from roborefer_ros.errors import NoPointInAnswerError, PointOutsideImageError

#: longer answers are cut; 64 k tokens of a runaway generation hold nothing of use
MAX_ANSWER_CHARACTERS = 1_000_000

#: more points than this are dropped
MAX_POINTS = 1000

#: a decimal without exponent, at most 12 digits on each side of its dot
NUMBER = r"[+-]?(?:[0-9]{1,12}(?:\.[0-9]{0,12})?|\.[0-9]{1,12})"

#: blanks between the parts of a tuple: bounded, so that matching stays linear
BLANKS = r"[ \t\r\n]{0,8}"

#: "(x, y)", also with blanks inside or blanks in place of the comma
_TUPLE = re.compile(
    rf"\({BLANKS}({NUMBER})(?:{BLANKS},{BLANKS}|[ \t\r\n]{{1,8}})({NUMBER}){BLANKS}\)"
)

#: what may stand between two tuples of one list
_LIST_GAP = re.compile(r"[\s,]{0,16}")

#: a line of step-by-step reasoning, as RoboRefer's RFT models write them
_STEP_LINE = re.compile(r"^[ \t]{0,8}step[ \t]{0,2}[0-9]{1,3}[ \t]{0,2}[:.].*$", re.I | re.M)

#: the end of a growing text that may become "<think>" or "step 1:"
_UNDECIDED_END = re.compile(
    r"(?:<(?:t(?:h(?:i(?:nk?)?)?)?)?"
    r"|^[ \t]{0,8}s(?:t(?:e(?:p[ \t]{0,2}[0-9]{0,3}[ \t]{0,2})?)?)?)\Z",
    re.I | re.M,
)


@dataclass(frozen=True)
class TupleMatch:
    """One point of an answer.

    Attributes:
        point: ``(x, y)`` normalised.
        span: where its text stands in the answer, ``(start, end)`` characters.
    """

    point: tuple[float, float]
    span: tuple[int, int]


def split_reasoning(text: str) -> tuple[str, str]:
    """Separate ``<think>...</think>`` and lines "Step 1: ..." from the answer.

    A ``</think>`` without its opening tag (templates that put the tag into the prompt) ends a
    thought that began with the text; a ``<think>`` without its end lasts to the end.

    Returns:
        ``(reasoning, answer)``.  The answer keeps its length, reasoning is blanked, so that
        spans stay valid.
    """
    thoughts: list[str] = []
    answer: list[str] = []
    position = 0
    orphan = text.find("</think>")
    if orphan >= 0 and not 0 <= text.find("<think>") < orphan:
        thoughts.append(text[:orphan])
        position = orphan + len("</think>")
        answer.append(" " * position)
    while (start := text.find("<think>", position)) >= 0:
        answer.append(text[position:start])
        close = text.find("</think>", start)
        end = close if close >= 0 else len(text)
        thoughts.append(text[start + len("<think>") : end])
        position = end + len("</think>") if close >= 0 else end
        answer.append(" " * (position - start))
    answer.append(text[position:])
    return _split_steps("".join(answer), thoughts)


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

    Where the text holds several lists (reasoning steps before the answer), the last one
    counts. Points outside [0, 1] are dropped if others of the list are inside.  A tuple of
    two integers is dropped as well: the reference's scorer takes ``(1, 0)`` for a pixel,
    others for a corner, and an arm must not act on a guess.

    Raises:
        NoPointInAnswerError: no tuple of two numbers.
        PointOutsideImageError: every point of the list lies outside [0, 1].
    """
    group = last_list(_TUPLE, answer_part(text))
    if not group:
        raise no_point(text, "[(0.412, 0.655)]")
    matches = [
        TupleMatch((float(m.group(1)), float(m.group(2))), m.span())
        for m in group
        if "." in m.group(1) or "." in m.group(2)
    ]
    return inside_image(
        matches,
        text,
        "its points must lie between 0 and 1, with a decimal point, to be in the image",
    )


def answer_part(text: str) -> str:
    """The text to be parsed: bounded in length, thoughts blanked."""
    return split_reasoning(text[:MAX_ANSWER_CHARACTERS])[1]


def last_list(pattern: re.Pattern[str], text: str) -> list[re.Match[str]]:
    """The last run of matches with nothing but blanks and commas between them."""
    group: list[re.Match[str]] = []
    for match in pattern.finditer(text):
        if group and not _LIST_GAP.fullmatch(text, group[-1].end(), match.start()):
            group = []
        group.append(match)
    return group


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
        matches: of a parser.
        token_ends: for each generated token the length of the text that ends with it,
            not decreasing.
        logprobs: natural log probability of each token.
    """
    result = []
    for match in matches:
        start, end = match.span
        inside = [p for e, p in zip(token_ends, logprobs, strict=False) if start < e <= end]
        result.append(math.exp(min(sum(inside) / 2, 0.0)) if inside else 0.0)
    return tuple(result)
