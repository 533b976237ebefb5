# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""What the bundled network is to reach on scenes that its training has not seen, and how far it is.

Used by ``benchmarks.demo_brain``: the network is asked again without depth, in other words, and for
things that are not there.  A point is right inside the mask of the simulation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from roborefer_ros.errors import NothingFoundError, RoboReferError
from roborefer_ros.evaluation.simulated import STEPS
from roborefer_ros.pipeline import pixel_from_normalised
from roborefer_ros.simulation.held_out import HeldOutScene
from roborefer_ros.simulation.instructions import Question
from roborefer_ros.simulation.variety import (
    absent_questions,
    with_synonyms,
    with_typo,
    without_articles,
)
from roborefer_ros.types import Mode

#: instructions a scene about things that are not there
ABSENT = 4

#: other words for the same instruction
PHRASINGS: dict[str, Callable[[str, np.random.Generator], str]] = {
    "upper case": lambda text, _: text.upper(),
    "no articles": without_articles,
    "a typing error": with_typo,
    "synonyms": with_synonyms,
}


@dataclass(frozen=True)
class Goal:
    """A figure, what it is to be, and whether more or less of it is better."""

    name: str
    value: float
    limit: float
    at_least: bool = True
    unit: str = "%"

    @property
    def met(self) -> bool:
        """Whether the figure is good enough; one that could not be measured is not."""
        return self.value >= self.limit if self.at_least else self.value <= self.limit

    def row(self) -> str:
        """One line of a table."""
        scale = 100.0 if self.unit == "%" else 1.0
        sign = ">=" if self.at_least else "<="
        digits = 1 if self.unit == "%" else 2
        return (
            f"{self.name:<42}{self.value * scale:>8.{digits}f} {self.unit:<3}"
            f"{sign} {self.limit * scale:<6g}{'met' if self.met else 'SHORT'}"
        )


@dataclass(frozen=True)
class Reply:
    """What came of one instruction under one condition."""

    condition: str
    question: Question
    right: bool
    says_none: bool


def ask_pointer(
    pointer: Any,
    rgb: npt.NDArray[np.uint8],
    depth: npt.NDArray[np.uint8] | None,
    instruction: str,
) -> tuple[float, float] | None:
    """First pixel ``(u, v)`` of the answer; None where it says that there is nothing.

    Raises:
        RoboReferError: the answer is of no use.
    """
    try:
        answer = pointer.point(rgb, depth, instruction)
    except NothingFoundError:
        return None
    height, width = rgb.shape[:2]
    return pixel_from_normalised(answer.points[0], width, height)[0]


def ask_again(
    pointer: Any,
    scene: HeldOutScene,
    depth: npt.NDArray[np.uint8],
) -> list[Reply]:
    """Ask a scene's questions plainly, without depth and in other words, and what it lacks."""
    rgb, rng = scene.view.rgb, np.random.default_rng((scene.number, 3))
    replies = []
    for question in scene.questions:
        told = question.instruction
        replies.append(_reply(pointer, rgb, depth, "plain", question, told))
        replies.append(_reply(pointer, rgb, None, "RGB only", question, told))
        for name, change in PHRASINGS.items():
            replies.append(_reply(pointer, rgb, depth, name, question, change(told, rng)))
    for question in absent_questions(scene.scene, scene.view, rng, ABSENT):
        told = question.instruction
        replies.append(_reply(pointer, rgb, depth, "plain", question, told))
        replies.append(_reply(pointer, rgb, None, "RGB only", question, told))
    return replies


def _reply(
    pointer: Any,
    rgb: npt.NDArray[np.uint8],
    depth: npt.NDArray[np.uint8] | None,
    condition: str,
    question: Question,
    told: str,
) -> Reply:
    try:
        pixel = ask_pointer(pointer, rgb, depth, told)
    except RoboReferError:
        return Reply(condition, question, False, False)
    if pixel is None:
        return Reply(condition, question, question.kind == "absent", True)
    u, v = (round(value) for value in pixel)
    height, width = question.mask.shape
    inside = 0 <= u < width and 0 <= v < height and bool(question.mask[v, u])
    return Reply(condition, question, inside, False)


def goals_of(replies: Sequence[Reply], calibration_error: float, weights: Path) -> list[Goal]:
    """All figures that are to be reached, but the accuracy in 3D."""

    def share(condition: str, wanted: Callable[[Question], bool]) -> float:
        group = [r.right for r in replies if r.condition == condition and wanted(r.question)]
        return float(np.mean(group)) if group else float("nan")

    def present(question: Question) -> bool:
        return question.kind != "absent"

    def objects(question: Question) -> bool:
        return present(question) and question.mode is Mode.OBJECT

    def spaces(question: Question) -> bool:
        return present(question) and question.mode is Mode.FREE_SPACE

    def of(*kinds: str) -> Callable[[Question], bool]:
        return lambda question: question.kind in kinds

    three = tuple(kind for kind, steps in STEPS.items() if steps == 3)
    plain = [r for r in replies if r.condition == "plain" and present(r.question)]
    goals = [
        Goal("objects", share("plain", objects), 0.95),
        Goal("free spaces", share("plain", spaces), 0.85),
        Goal("closest to", share("plain", of("closest_to")), 0.85),
        Goal("n-th from a side", share("plain", of("nth_from_side")), 0.92),
        Goal("between", share("plain", of("between")), 0.85),
        Goal("three steps", share("plain", of(*three)), 0.80),
        Goal("objects lost without depth", _loss(replies, "RGB only", objects), 0.10, False),
        Goal("free spaces lost without depth", _loss(replies, "RGB only", spaces), 0.10, False),
        Goal("absent things answered none", share("plain", of("absent")), 0.90),
        Goal("present things answered none", _mean(r.says_none for r in plain), 0.03, False),
    ]
    goals += [Goal(f"lost by {name}", _loss(replies, name, present), 0.03, False)
              for name in PHRASINGS]  # fmt: skip
    size = sum(p.stat().st_size for p in weights.rglob("*") if p.is_file()) / 2**20
    goals.append(Goal("expected calibration error", calibration_error, 0.05, False, ""))
    goals.append(Goal("size of the package's weights", size, 12.0, False, "MiB"))
    return goals


def _mean(values: Any) -> float:
    known = list(values)
    return float(np.mean(known)) if known else float("nan")


def _loss(replies: Sequence[Reply], condition: str, wanted: Callable[[Question], bool]) -> float:
    """Accuracy lost against the plain question, share."""
    rates = [
        _mean(r.right for r in replies if r.condition == name and wanted(r.question))
        for name in ("plain", condition)
    ]
    return rates[0] - rates[1]
