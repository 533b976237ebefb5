# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Every answer of a run, scored by the published rule and by fairer ones beside it.

    official    mean share of an answer's points inside the mask; unparsable texts are left out
    strict      the first point of the answer counts, an answer without one is wrong
    any         one right point is enough
    micro-F1    TP = 1 for a question with a right point; every further point is a false
                positive, every question without a right point a false negative; pooled
                (the rule of PhysBrainEvalKit's point metrics with one target a question)

For the last three the text is parsed as the node parses it: thoughts apart, the last list
counts; a coordinate of exactly 1 is outside.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from roborefer_ros.errors import RoboReferError
from roborefer_ros.evaluation.official import OfficialScore, Outcome, score_official
from roborefer_ros.evaluation.official_parsers import Parser, official_name, official_parser
from roborefer_ros.evaluation.questions import (
    BenchmarkError,
    BenchmarkQuestion,
    fair_mask,
    official_mask,
)
from roborefer_ros.pointing import families, formats
from roborefer_ros.pointing.answers import answer_part
from roborefer_ros.pointing.images import qwen2_size
from roborefer_ros.pointing.point_lists import answer_list

Point = tuple[float, float]

#: (x, y) normalised -> is it right
_Region = Callable[[float, float], bool]

#: names of ``official_parser`` -> families of ``roborefer_ros.pointing``
_POINTING_FAMILY = {
    "RoboRefer": "tuples",
    "RoboPoint": "tuples",
    "Claude": "tuples",
    "GPT4O": "tuples",
    "RoboBrain": "robobrain2.0",
    "Qwen": "qwen2.5-vl",
    "Molmo": "molmo",
    "Gemini": "gemini",
}

_ROBOSPATIAL_POINT = re.compile(
    r"[(\[]\s{0,8}(\d{1,12}(?:\.\d{0,12})?)\s{0,8},\s{0,8}(\d{1,12}(?:\.\d{0,12})?)\s{0,8}[)\]]"
)

#: a tuple of two decimals that lies outside the image still was an answer
_DECIMAL = r"\s{0,8}([+-]?\d{1,12}\.\d{0,12})\s{0,8}"
_PAIR = re.compile(rf"\({_DECIMAL},{_DECIMAL}\)")


@dataclass(frozen=True)
class AnswerScores:
    """One answer with all its scores.

    Attributes:
        question: Question that was asked.
        text: the answer; None where the file holds no text.
        official: Score by the published rule.
        points: ``(x, y)`` normalised, as the node would read them.
        hits: one per point.
        outside: points of the answer outside the image (they cost precision).
        correct: Whether a word was right, for questions answered by a word; else None.
    """

    question: BenchmarkQuestion
    text: str | None
    official: OfficialScore
    points: tuple[Point, ...] = ()
    hits: tuple[bool, ...] = ()
    outside: int = 0
    correct: bool | None = None

    @property
    def strict(self) -> float:
        """1 if the first point is right (or the word)."""
        if self.correct is not None:
            return float(self.correct)
        return float(bool(self.hits) and self.hits[0])

    @property
    def any_point(self) -> float:
        """1 if one of the points is right (or the word)."""
        return float(self.correct) if self.correct is not None else float(any(self.hits))

    @property
    def predicted(self) -> int:
        """Number of points, those outside the image included."""
        return len(self.points) + self.outside

    @property
    def unparsable(self) -> bool:
        """Whether the text holds no answer of the expected kind."""
        return self.correct is None and self.predicted == 0


@dataclass(frozen=True)
class AnswerReader:
    """How a model's texts are read.

    Attributes:
        official: parser of the published scorer.
        family: parser of the node.
    """

    official: Parser
    family: families.Family

    @classmethod
    def of(cls, family: str) -> AnswerReader:
        """Reader of a family of models.

        Families are named as the reference names models (``RoboRefer``, ``Molmo`` ...) or
        as ``roborefer_ros.pointing`` names families (``tuples``, ``qwen3-vl`` ...).

        Raises:
            BenchmarkError: no such family.
        """
        row = families.FAMILIES.get(_POINTING_FAMILY.get(family, family))
        row = row or families.family_of(family)
        if row is None and (named := official_name(family)):
            row = families.FAMILIES[_POINTING_FAMILY[named]]
        if row is None:
            known = ", ".join([*_POINTING_FAMILY, *families.FAMILIES])
            raise BenchmarkError(f"there is no model family {family!r}; known are {known}")
        parser = official_parser(family) or official_parser(_OFFICIAL_NAME.get(row.name, "Qwen"))
        assert parser is not None
        return cls(parser, row)


#: families of ``roborefer_ros.pointing`` -> the model name whose parser the published scorer takes
_OFFICIAL_NAME = {
    "tuples": "RoboRefer",
    "robobrain2.0": "RoboBrain",
    "robobrain2.5": "RoboBrain",
    "molmo": "Molmo",
    "molmo2": "Molmo",
    "gemini": "Gemini",
}


def score_answer(question: BenchmarkQuestion, text: Any, reader: AnswerReader) -> AnswerScores:
    """Score one answer.

    Raises:
        BenchmarkError: the question's mask cannot be read.
    """
    words = text if isinstance(text, str) else None
    if question.expected:
        return _score_word(question, words)
    if question.polygon:
        polygon = np.asarray(question.polygon, np.float64)
        official = _score_polygon(words, polygon)
        return _with_points(
            question, words, official, reader, (1000, 1000), lambda x, y: in_polygon(x, y, polygon)
        )
    values = question.mask_values()
    mask = fair_mask(values)
    height, width = mask.shape

    def inside(x: float, y: float) -> bool:
        column, row = int(x * width), int(y * height)
        return 0 <= column < width and 0 <= row < height and bool(mask[row, column])

    official = score_official(text, official_mask(values), reader.official)
    return _with_points(question, words, official, reader, (width, height), inside)


def _with_points(
    question: BenchmarkQuestion,
    text: str | None,
    official: OfficialScore,
    reader: AnswerReader,
    size: tuple[int, int],
    inside: _Region,
) -> AnswerScores:
    points: tuple[Point, ...] = ()
    outside = 0
    # Families that answer in pixels mean those of the picture as their processor resizes it.
    seen = qwen2_size(*size) if reader.family.parse is formats.parse_pixels else size
    if text is not None:
        try:
            points = tuple(match.point for match in reader.family.parse(text, seen))
        except RoboReferError:
            points = ()
        if reader.family.name == "tuples":
            outside = sum(
                not all(0.0 <= float(value) <= 1.0 for value in match.groups())
                for match in answer_list(_PAIR, answer_part(text))
            )
    hits = tuple(inside(x, y) for x, y in points)
    return AnswerScores(question, text, official, points, hits, outside)


def _score_word(question: BenchmarkQuestion, text: str | None) -> AnswerScores:
    """RoboSpatial-Home's rule: the answer begins with the right word."""
    correct = bool(text) and str(text).strip().lower().startswith(question.expected)
    official = OfficialScore(Outcome.SCORED, float(correct))
    return AnswerScores(question, text, official, correct=correct)


def _score_polygon(text: str | None, polygon: npt.NDArray[np.float64]) -> OfficialScore:
    """RoboSpatial-Home's rule: the first pair of numbers, inside the polygon."""
    match = _ROBOSPATIAL_POINT.search(text or "")
    if match is None:
        return OfficialScore(Outcome.SCORED, 0.0)
    hit = in_polygon(float(match.group(1)), float(match.group(2)), polygon)
    return OfficialScore(Outcome.SCORED, float(hit), 1, int(hit))


def in_polygon(x: float, y: float, polygon: npt.NDArray[np.float64]) -> bool:
    """Even-odd rule; ``polygon`` is ``[N, 2]``, closed or not."""
    x0, y0 = polygon.T
    x1, y1 = np.roll(polygon, 1, axis=0).T
    crosses = (y0 > y) != (y1 > y)
    with np.errstate(divide="ignore", invalid="ignore"):
        at = (x1 - x0) * (y - y0) / (y1 - y0) + x0
    return bool(np.count_nonzero(crosses & (x < at)) % 2)
