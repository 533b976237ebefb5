# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The reference's example pictures, asked as the reference asks, beside its published points."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from roborefer_ros.errors import RoboReferError
from roborefer_ros.image_files import open_picture
from roborefer_ros.inference.model import Model, Picture, Request, complete_all
from roborefer_ros.pointing.answers import parse_tuples
from roborefer_ros.pointing.prompts import roborefer_prompt

FOLDER = Path(__file__).parent / "examples"

#: a share of the image's sides; an installation that is right lands within about 0.02
NEAR = 0.05

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class ExampleResult:
    """One question and what became of it.

    Attributes:
        picture: Name of the file.
        instruction: What was asked.
        published: The reference's point, (x, y) over the image's sides.
        answer: The model's text, or the error that ended it.
        point: First point of the answer, (x, y) over the image's sides; None without one.
        seconds: From the picture to the answer.
    """

    picture: str
    instruction: str
    published: tuple[float, float]
    answer: str
    point: tuple[float, float] | None
    seconds: float

    @property
    def distance(self) -> float:
        """Distance to the published point, a share of the sides; infinite without a point."""
        return math.inf if self.point is None else math.dist(self.point, self.published)

    @property
    def is_near(self) -> bool:
        """Whether it is the same place."""
        return self.distance <= NEAR


def ask_examples(
    model: Model, depth: Callable[[Pixels], Pixels] | None = None
) -> list[ExampleResult]:
    """Ask a model about the example pictures, one question at a time, greedily.

    Args:
        model: Model in this process or behind a server.
        depth: Predicts the depth picture that the model is shown; None shows RGB alone.
    """
    results = []
    pictures: dict[str, tuple[Picture, tuple[Picture, ...]]] = {}
    for entry in json.loads((FOLDER / "examples.json").read_text()):
        name = entry["picture"]
        started = time.perf_counter()
        if name not in pictures:
            rgb = np.asarray(open_picture(FOLDER / name, "RGB"))
            shown = () if depth is None or not model.uses_depth else (Picture.of(depth(rgb)),)
            pictures[name] = (Picture.of(rgb), shown)
        image, depths = pictures[name]
        request = Request(roborefer_prompt(entry["instruction"]), (image,), depths)
        (outcome,) = complete_all(model, [request])
        point, answer = None, ""
        if isinstance(outcome, RoboReferError):
            answer = f"error {outcome.code}: {outcome}"
        else:
            answer = outcome.text
            point = first_point(answer)
        x, y = entry["point"]
        seconds = time.perf_counter() - started
        results.append(ExampleResult(name, entry["instruction"], (x, y), answer, point, seconds))
    return results


def first_point(answer: str) -> tuple[float, float] | None:
    """First point of an answer inside the image, (x, y) over its sides."""
    try:
        return next(m.point for m in parse_tuples(answer) if all(0.0 <= v <= 1.0 for v in m.point))
    except (RoboReferError, StopIteration):
        return None
