# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The four answer parsers of RoboRefer's published scorer, rule for rule.

A clean re-implementation of the behaviour of ``summarize_acc.py`` (Zhoues/RoboRefer), oddities
included: numbers must be comparable with published ones.  What a robot should act on is parsed
by ``roborefer_ros.pointing`` instead.

Two things differ, both on purpose.  A box is kept as four numbers and never expanded to its
pixels (the original allocates gigabytes for ``(10, 20, 30, 40)``), and the patterns accept the
same texts without exponential backtracking.

Whatever a parser raises (``Exception``) is the original's "left out of the mean".
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field

Number = int | float
#: x0, y0, x1, y1 in pixels; x1 and y1 exclusive
Box = tuple[int, int, int, int]

#: numpy refuses arrays of more bytes than this
_MAX_ARRAY_BYTES = 2**63 - 1

_NUMBER = r"[-+]?\d+(?:\.\d*)?"
_TUPLE = re.compile(rf"\(({_NUMBER}(?:,\s*{_NUMBER})*)\)")
_XML = re.compile(r'x\d+="(-?\d+(?:\.\d*)?)"\s+y\d+="(-?\d+(?:\.\d*)?)"')
_FENCE = re.compile(r"```(?:\w+)?\n(.*?)```", re.DOTALL)


@dataclass
class ParsedAnswer:
    """What an answer holds, in pixels.

    Attributes:
        points: ``(x, y)``; floats only where the parser leaves absolute coordinates as they are.
        boxes: each stands for every integer pixel inside.
    """

    points: list[tuple[Number, Number]] = field(default_factory=list)
    boxes: list[Box] = field(default_factory=list)

    @property
    def count(self) -> int:
        """How many points the answer stands for."""
        return len(self.points) + sum((x1 - x0) * (y1 - y0) for x0, y0, x1, y1 in self.boxes)


#: text, width, height -> what it holds
Parser = Callable[[str, int, int], ParsedAnswer]


def parse_relative_tuples(text: str, width: int, height: int) -> ParsedAnswer:
    """RoboRefer, RoboPoint, Claude, GPT-4o: ``(0.341, 0.510)``; two integers are pixels."""
    answer = ParsedAnswer()
    for vector in _vectors(text):
        if len(vector) == 2:
            x, y = vector
            if isinstance(x, float) or isinstance(y, float):
                x, y = int(x * width), int(y * height)
            answer.points.append((x, y))
        elif len(vector) == 4:
            left, top, right, bottom = vector
            corners = (
                int(left * width), int(top * height), int(right * width), int(bottom * height),
            )  # fmt: skip
            answer.boxes.append(_checked_box(corners))
    return answer


def parse_absolute_tuples(text: str, _width: int, _height: int) -> ParsedAnswer:
    """RoboBrain, Qwen: ``(218, 244)`` in pixels, taken as they are.

    Raises:
        TypeError: a box with a decimal point.
    """
    answer = ParsedAnswer()
    for vector in _vectors(text):
        if len(vector) == 2:
            answer.points.append((vector[0], vector[1]))
        elif len(vector) == 4:
            corners = []
            for value in vector:
                if isinstance(value, float):
                    raise TypeError("'float' object cannot be interpreted as an integer")
                corners.append(value)
            answer.boxes.append(_checked_box((corners[0], corners[1], corners[2], corners[3])))
    return answer


def parse_molmo_xml(text: str, width: int, height: int) -> ParsedAnswer:
    """Molmo: ``x1="50.0" y1="25.0"``, 0 to 100; the single-point form ``x=`` does not match."""
    return ParsedAnswer(
        [(int(float(x) / 100 * width), int(float(y) / 100 * height)) for x, y in _XML.findall(text)]
    )


def parse_gemini_json(text: str, width: int, height: int) -> ParsedAnswer:
    """Gemini: ``{"point": [y, x]}``, 0 to 1000, in the first fenced block only."""
    answer = ParsedAnswer()
    match = _FENCE.search(text)
    if match is None:
        return answer
    try:
        items = json.loads(match.group(1).strip())
    except json.JSONDecodeError:
        return answer
    for item in items:
        # What is no pair is passed over; what cannot be asked for a "point" (a number, null) or
        # holds something else than numbers raises.
        if "point" in item and isinstance(item["point"], list) and len(item["point"]) == 2:
            y, x = item["point"]
            answer.points.append((int(x / 1000 * width), int(y / 1000 * height)))
    return answer


#: parts of a model's name -> its parser; the first that is found counts
_PARSERS: tuple[tuple[tuple[str, ...], Parser], ...] = (
    (("RoboPoint", "Claude", "GPT4O", "RoboRefer"), parse_relative_tuples),
    (("RoboBrain", "Qwen"), parse_absolute_tuples),
    (("Molmo",), parse_molmo_xml),
    (("Gemini",), parse_gemini_json),
)

#: names that ``official_parser`` is sure to know, one per parser
OFFICIAL_FAMILIES = ("RoboRefer", "RoboBrain", "Molmo", "Gemini")


def official_parser(model_name: str) -> Parser | None:
    """The parser that the published scorer takes for a model; None: it scores nothing."""
    name = official_name(model_name)
    return None if name is None else next(parser for parts, parser in _PARSERS if name in parts)


def official_name(model_name: str) -> str | None:
    """The part of a model's name that decides its parser, e.g. ``Qwen``; None: there is none."""
    return next((part for parts, _ in _PARSERS for part in parts if part in model_name), None)


def _vectors(text: str) -> list[list[Number]]:
    """Every parenthesised list of plain decimals, anywhere in the text."""
    return [
        [float(number) if "." in number else int(number) for number in match.split(",")]
        for match in _TUPLE.findall(text)
    ]


def _checked_box(box: Box) -> Box:
    """Refuse what the original's allocation refuses.

    Raises:
        ValueError: inverted, or larger than an array can be.
    """
    x0, y0, x1, y1 = box
    width, height = x1 - x0, y1 - y0
    if width < 0 or height < 0:
        raise ValueError("negative dimensions are not allowed")
    # numpy leaves dimensions of zero out of this product.
    if 8 * max(width, 1) * max(height, 1) > _MAX_ARRAY_BYTES:
        raise ValueError("array is too big")
    return box
