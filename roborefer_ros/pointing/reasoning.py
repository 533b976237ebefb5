# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The steps of a reasoning model, one a line: ``Step 1: [Position] [the cup]: [(0.412, 0.655)]``.

The form is that of RoboRefer's reinforcement fine-tuning (arXiv 2506.04308, appendix D.4).  Pure
functions of untrusted text, in linear time; they never raise.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

from roborefer_ros.types import ReasoningStep

#: what a step perceives -> the name it is written with
PERCEPTIONS = {"position": "Position", "orientation": "Orientation", "size": "Size"}

#: a plain decimal of ASCII digits, also without a leading zero
NUMBER = r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)"

#: a direction has this length, give or take
_UNIT_TOLERANCE = 0.05

#: more steps than this are not shown
MAX_STEPS = 100

_PREFIX = re.compile(r"(?:step\s*[0-9]+\s*:|[0-9]+\.|-)\s*", re.IGNORECASE)
_STEP = re.compile(r"\[([^\[\]]*)\]\s*\[([^\[\]]*)\]\s*:(.*)")
_LINES = re.compile(r"\r\n|\r|\n")
_POSITION = re.compile(rf"\[\s*\(\s*({NUMBER})\s*,\s*({NUMBER})\s*\)\s*\]")
_VECTOR = rf"\(\s*({NUMBER})\s*,\s*({NUMBER})\s*,\s*({NUMBER})\s*\)"
_ORIENTATION = re.compile(rf"{_VECTOR}|\[\s*{_VECTOR}\s*\]")
_SIZE = re.compile(NUMBER)
_ARTICLE = re.compile(r"(?:the|an|a)\s+")


def step_lines(text: str) -> Iterator[ReasoningStep]:
    """The lines of a thought that are meant as steps, well formed or not.

    Args:
        text: A thought.  A line is meant as a step if it begins with "[", behind "Step 3:", "3."
            or "-" at most; all others are prose.
    """
    for line in _LINES.split(text):
        step = parse_line(line)
        if step is not None:
            yield step


def parse_line(line: str) -> ReasoningStep | None:
    """One line; None for prose."""
    line = line.strip()
    if not line.startswith("["):
        prefix = _PREFIX.match(line)
        line = line[prefix.end() :] if prefix else ""
        if not line.startswith("["):
            return None
    match = _STEP.fullmatch(line)
    if match is None:
        return ReasoningStep("", "")
    kind, target = match[1].strip(), match[2].strip()
    kind = PERCEPTIONS.get(kind.lower(), kind)
    value = _value(kind, match[3].strip()) if target else ()
    return ReasoningStep(kind, target, value)


def read_steps(text: str) -> tuple[ReasoningStep, ...]:
    """The well-formed steps of a thought, at most ``MAX_STEPS``.

    Args:
        text: Everything that a model thought.
    """
    steps: list[ReasoningStep] = []
    for step in step_lines(text):
        if step.is_well_formed and len(steps) < MAX_STEPS:
            steps.append(step)
    return tuple(steps)


def moved_steps(
    steps: Iterable[ReasoningStep], to_whole: Callable[[tuple[float, float]], tuple[float, float]]
) -> tuple[ReasoningStep, ...]:
    """Steps about a part of an image, with positions over the whole image.

    Args:
        steps: Of a model that saw the part.
        to_whole: Maps a normalised point of the part to one of the whole image.
    """
    return tuple(
        replace(step, value=to_whole((step.value[0], step.value[1])))
        if step.kind == "Position" and step.is_well_formed
        else step
        for step in steps
    )


def step_key(step: ReasoningStep) -> tuple[str, str]:
    """Type and normalised target: what two steps about the same thing have in common."""
    return step.kind, normalised_target(step.target)


def normalised_target(target: str) -> str:
    """A name for comparison: no case, single blanks, no leading article, no closing punctuation."""
    plain = " ".join(target.casefold().split()).rstrip(" .,;:!?")
    return _ARTICLE.sub("", plain, count=1) if _ARTICLE.match(plain) else plain


def _value(kind: str, text: str) -> tuple[float, ...]:
    """The numbers of a value of the right form; empty for any other."""
    if kind == "Position":
        match = _POSITION.fullmatch(text)
        value = tuple(map(float, match.groups())) if match else ()
        return value if all(0.0 <= number <= 1.0 for number in value) else ()
    if kind == "Orientation":
        match = _ORIENTATION.fullmatch(text)
        numbers = [group for group in match.groups() if group is not None] if match else []
        value = tuple(map(float, numbers))
        is_unit = abs(math.hypot(*value) - 1.0) <= _UNIT_TOLERANCE + 1e-9
        return value if value and is_unit else ()
    if kind == "Size" and _SIZE.fullmatch(text):
        size = float(text)
        return (size,) if 0.0 < size < math.inf else ()
    return ()
