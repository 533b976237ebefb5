# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""How a model's text becomes normalised points.

Pure functions of untrusted text: they return points or raise a numbered error, in linear
time, whatever they are given.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from roborefer_ros.errors import NoPointInAnswerError, PointOutsideImageError

#: longer answers are cut; 64 k tokens of a runaway generation hold nothing of use
MAX_ANSWER_CHARACTERS = 1_000_000

#: more points than this are dropped
MAX_POINTS = 1000

#: a decimal without exponent, at most 12 digits on each side of its dot
_NUMBER = r"[+-]?(?:\d{1,12}(?:\.\d{0,12})?|\.\d{1,12})"

#: "(x, y)", also with blanks inside or a blank in place of the comma
_TUPLE = re.compile(rf"\( {{0,8}}({_NUMBER})(?: {{0,8}}, {{0,8}}| {{1,8}})({_NUMBER}) {{0,8}}\)")

#: what may stand between two tuples of one list
_LIST_GAP = re.compile(r"[\s,]{0,16}")

_THINK = re.compile(r"<think>(.*?)(?:</think>|\Z)", re.DOTALL)


@dataclass(frozen=True)
class TupleMatch:
    """One tuple of an answer.

    Attributes:
        point: ``(x, y)`` normalised.
        span: where its text stands in the answer, ``(start, end)`` characters.
    """

    point: tuple[float, float]
    span: tuple[int, int]


def split_reasoning(text: str) -> tuple[str, str]:
    """Separate ``<think>...</think>`` from the answer: ``(reasoning, answer)``.

    The answer keeps its length, thoughts are blanked, so that spans stay valid.
    """
    thoughts = [match.group(1).strip() for match in _THINK.finditer(text)]
    answer = _THINK.sub(lambda match: " " * len(match.group(0)), text)
    return "\n".join(thoughts), answer


def parse_tuples(text: str) -> tuple[TupleMatch, ...]:
    """Read RoboRefer's ``[(x1, y1), ...]``, normalised to [0, 1].

    Where the text holds several lists (reasoning steps before the answer), the last one
    counts. Points outside [0, 1] are dropped if others of the list are inside.

    Raises:
        NoPointInAnswerError: no tuple of two numbers.
        PointOutsideImageError: every point of the list lies outside [0, 1].
    """
    _, answer = split_reasoning(text[:MAX_ANSWER_CHARACTERS])
    group = _last_list(answer)
    if not group:
        raise NoPointInAnswerError(
            f"the model answered {shortened(text)!r}, which holds no point like (0.412, 0.655); "
            "say the instruction differently, or check that the checkpoint is trained to point"
        )
    matches = [
        TupleMatch((float(m.group(1)), float(m.group(2))), m.span()) for m in group[:MAX_POINTS]
    ]
    inside = tuple(m for m in matches if all(0.0 <= value <= 1.0 for value in m.point))
    if not inside:
        raise PointOutsideImageError(
            f"the model answered {shortened(text)!r}; its points must lie between 0 and 1 to be "
            "in the image. A model of another family may answer in pixels"
        )
    return inside


def _last_list(text: str) -> list[re.Match[str]]:
    """The last run of tuples with nothing but blanks and commas between them."""
    group: list[re.Match[str]] = []
    for match in _TUPLE.finditer(text):
        if group and not _LIST_GAP.fullmatch(text, group[-1].end(), match.start()):
            group = []
        group.append(match)
    return group


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
        matches: of ``parse_tuples``.
        token_ends: for each generated token the length of the text that ends with it.
        logprobs: natural log probability of each token.
    """
    import math

    result = []
    for match in matches:
        start, end = match.span
        inside = [p for e, p in zip(token_ends, logprobs, strict=False) if start < e <= end]
        result.append(math.exp(sum(inside) / 2) if inside else 0.0)
    return tuple(result)
