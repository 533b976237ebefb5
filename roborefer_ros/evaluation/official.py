# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""One answer against one mask, as RoboRefer's published scorer counts it."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from roborefer_ros.evaluation.official_parsers import ParsedAnswer, Parser

_INT64 = range(-(2**63), 2**63)
_UINT64_ONLY = range(2**63, 2**64)


class Outcome(enum.Enum):
    """What the published scorer does with an answer."""

    SCORED = "scored"
    #: its parser raised: the sample is left out of the mean
    DROPPED = "dropped"
    #: the program itself ends with an exception; left out of the mean here
    CRASHES = "crashes"


@dataclass(frozen=True)
class OfficialScore:
    """Score of one answer.

    Attributes:
        outcome: only SCORED answers enter the mean.
        value: hits / points, 0 without points; None unless SCORED.
        points, hits: how many the answer stands for, boxes pixel by pixel.
        reason: why it is not SCORED; else empty.
    """

    outcome: Outcome
    value: float | None
    points: int = 0
    hits: int = 0
    reason: str = ""


def score_official(text: Any, mask: npt.NDArray[np.bool_], parser: Parser) -> OfficialScore:
    """Score an answer: the share of its points that lie inside the mask.

    Args:
        text: the model's answer; anything that is not a string is dropped, as in the original.
        mask: ``[H, W]``, True where a point is right; its size is what coordinates refer to.
        parser: Parser of the model's family, see ``official_parser``.
    """
    height, width = mask.shape
    try:
        if not isinstance(text, str):
            raise TypeError(f"expected string, got {type(text).__name__}")
        answer = parser(text, width, height)
    except Exception as error:  # the original's rule: whatever it raises
        return OfficialScore(Outcome.DROPPED, None, reason=f"{type(error).__name__}: {error}")
    count = answer.count
    if count == 0:
        return OfficialScore(Outcome.SCORED, 0.0)
    if not _are_indices(answer):
        return OfficialScore(
            Outcome.CRASHES, None, count, reason="coordinates that cannot index the mask"
        )
    hits = sum(_inside(mask, x, y) for x, y in answer.points)
    hits += sum(_inside_box(mask, *box) for box in answer.boxes)
    return OfficialScore(Outcome.SCORED, hits / count, count, hits)


def _are_indices(answer: ParsedAnswer) -> bool:
    """Whether numpy makes an array of 64-bit integers of all the points together.

    Numbers from 2^63 to 2^64 alone make an unsigned array, which indexes as well; together with
    smaller ones (the pixels of a box are signed) they make an array of floats.
    """
    values = [value for point in answer.points for value in point]
    # An empty box adds no point to the array, wherever it lies.
    boxes = [(x0, y0, x1, y1) for x0, y0, x1, y1 in answer.boxes if x0 < x1 and y0 < y1]
    values += [value for x0, y0, x1, y1 in boxes for value in (x0, y0, x1 - 1, y1 - 1)]
    if not all(isinstance(value, int) for value in values):
        return False
    if not boxes and all(value in _UINT64_ONLY for value in values):
        return True
    return all(value in _INT64 for value in values)


def _inside(mask: npt.NDArray[np.bool_], x: float, y: float) -> int:
    height, width = mask.shape
    return int(0 <= x < width and 0 <= y < height and bool(mask[int(y), int(x)]))


def _inside_box(mask: npt.NDArray[np.bool_], x0: int, y0: int, x1: int, y1: int) -> int:
    """Pixels of the mask inside a box; the box may be larger than any array."""
    height, width = mask.shape
    columns = slice(min(max(x0, 0), width), min(max(x1, 0), width))
    rows = slice(min(max(y0, 0), height), min(max(y1, 0), height))
    return int(np.count_nonzero(mask[rows, columns]))
