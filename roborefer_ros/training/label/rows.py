# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""A labelled question and the row of the JSON: RefSpatial's form, with its request for points."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from roborefer_ros.errors import ConfigurationError
from roborefer_ros.pointing.prompts import POINT_SUFFIX, roborefer_prompt
from roborefer_ros.training.data.defects import FORMAT_REQUEST, strip_placeholders
from roborefer_ros.training.data.registry import MAX_PAIR_CHARS
from roborefer_ros.training.data.rows import Rules, read_row

#: who placed the points: a person, the model (accepted), or a person after the model was wrong
Source = Literal["hand", "model", "corrected"]

MAX_QUESTIONS = 100
MAX_POINTS = 32

#: answer to a question about something that is not in the picture: the list of tuples, empty
NOTHING = "[]"

#: key of a row that training does not read: who placed the points of each question
_SOURCES = "label_sources"

_NUMBER = r"\s*((?:0|1)?\.?[0-9]{0,9})\s*"
_PAIR = re.compile(rf"\({_NUMBER},{_NUMBER}\)")
_ANSWER = re.compile(rf"\[(?:{_PAIR.pattern}(?:\s*,\s*{_PAIR.pattern})*)?\s*\]")


@dataclass(frozen=True)
class Label:
    """A question about a picture, and where its answer is.

    Attributes:
        question: Words without the request for a format.
        points: ``(x, y)`` over the picture's width and height, in [0, 1]; empty where what the
            question names is not in the picture.
        source: Who placed them.
    """

    question: str
    points: tuple[tuple[float, float], ...]
    source: Source = "hand"

    @property
    def answer(self) -> str:
        """As the model learns it: three decimals, as in RefSpatial."""
        return f"[{', '.join(f'({x:.3f}, {y:.3f})' for x, y in self.points)}]"


def to_row(picture: str, depth: str | None, labels: Sequence[Label]) -> dict[str, Any]:
    """The row of a picture.

    Args:
        picture: Its path below the folder.
        depth: Path of its depth picture below the folder of depth pictures, or None.
        labels: At least one.

    Raises:
        ConfigurationError: A label that training would drop, or read in another way.
    """
    turns: list[dict[str, str]] = []
    for label in labels:
        _check(label)
        placeholder = "" if turns else "<image>\n"
        turns.append({"from": "human", "value": placeholder + roborefer_prompt(label.question)})
        turns.append({"from": "gpt", "value": label.answer})
    row: dict[str, Any] = {"id": picture, "image": [picture]}
    if depth is not None:
        row["depth"] = [depth]
    row["conversations"] = turns
    row[_SOURCES] = [label.source for label in labels]
    _check_row(row, labels)
    return row


def from_row(row: Any) -> tuple[str, list[Label]] | None:
    """Picture and labels of a row that ``to_row`` could have made; None for any other row."""
    if not isinstance(row, dict) or "think" in row:
        return None
    reading = read_row(row, 0, Rules())
    if reading.row is None or reading.defects or len(reading.row.images) != 1 or reading.row.system:
        return None
    sources = row.get(_SOURCES)
    if not isinstance(sources, list) or len(sources) != len(reading.row.pairs):
        sources = ["hand"] * len(reading.row.pairs)
    labels = []
    for pair, told in zip(reading.row.pairs, sources, strict=True):
        question = pair.question.removesuffix(POINT_SUFFIX)
        if question == pair.question or not _ANSWER.fullmatch(pair.answer):
            return None
        try:
            points = tuple((float(x), float(y)) for x, y in _PAIR.findall(pair.answer))
        except ValueError:
            return None
        source: Source = told if told in get_args(Source) else "hand"
        labels.append(Label(question.strip(), points, source))
    try:
        for label in labels:
            _check(label)
    except ConfigurationError:
        return None
    return reading.row.images[0], labels


def _check(label: Label) -> None:
    question = label.question
    if not question or question != " ".join(question.split()):
        raise ConfigurationError("a question needs words, on one line")
    if not question.isprintable() or any("\ud800" <= c <= "\udfff" for c in question):
        raise ConfigurationError("the question holds characters that cannot be printed")
    if strip_placeholders(question) != question:
        raise ConfigurationError("the question holds a placeholder such as <image>; leave it out")
    if FORMAT_REQUEST.lower() in question.lower():
        raise ConfigurationError(
            "leave the request for a format out of the question; it is added to every row"
        )
    if len(label.points) > MAX_POINTS:
        raise ConfigurationError(f"{len(label.points)} points; an answer has at most {MAX_POINTS}")
    if not all(math.isfinite(v) and 0.0 <= v <= 1.0 for point in label.points for v in point):
        raise ConfigurationError("a point lies outside the picture")
    if len(question) + len(label.answer) > MAX_PAIR_CHARS:
        raise ConfigurationError(
            f"question and answer have {len(question) + len(label.answer)} characters; training "
            f"drops pairs of more than {MAX_PAIR_CHARS}"
        )


def _check_row(row: dict[str, Any], labels: Sequence[Label]) -> None:
    """The reader of training has the last word."""
    if len(labels) > MAX_QUESTIONS:
        raise ConfigurationError(
            f"{len(labels)} questions; a picture can have at most {MAX_QUESTIONS}"
        )
    asked = [label.question.casefold() for label in labels]
    for question in asked:
        if asked.count(question) > 1:
            raise ConfigurationError(
                f"{question!r} is asked twice of this picture; change the first answer instead"
            )
    reading = read_row(row, 0, Rules(max_pair_chars=MAX_PAIR_CHARS))
    kept = 0 if reading.row is None else len(reading.row.pairs)
    if reading.defects or kept != len(labels):
        told = ", ".join(defect.meaning for defect in reading.defects) or "pairs are lost"
        raise ConfigurationError(f"training would not read this row: {told}")
