# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""What the demo asks, and whether an answer is right: the simulation knows the truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from roborefer_ros.simulation.held_out import HeldOutScene
from roborefer_ros.simulation.instructions import Question

#: what a scene is asked, in this order: any kind out of each group
_GROUPS: tuple[tuple[str, ...], ...] = (
    ("named",),
    ("left_of", "right_of", "in_front_of", "behind"),
    ("between", "closest_to", "nth_from_side", "nearest", "farthest", "leftmost", "rightmost"),
    ("free_between", "free_beside"),
)


@dataclass(frozen=True)
class DemoAnswer:
    """One row of the demo's table.

    Attributes:
        scene: number of the scene.
        question: Question with its truth.
        error_code, error_msg: 0 and "" on success.
        pixel: ``(u, v)``; None on failure.
        position_m: ``[3]`` in ``frame_id``; None on failure.
        approach: ``[3]`` unit vector in ``frame_id``; None on failure.
        frame_id: Frame of the position.
        inside: whether the pixel lies on the right object or in the right free space.
        distance_m: Distance from the position to the nearest visible surface point of the right
            object or space; None on failure.
        timings_s: seconds per stage.
    """

    scene: int
    question: Question
    error_code: int
    error_msg: str
    pixel: tuple[float, float] | None
    position_m: tuple[float, float, float] | None
    approach: tuple[float, float, float] | None
    frame_id: str
    inside: bool
    distance_m: float | None
    timings_s: dict[str, float]

    def as_json(self) -> dict[str, Any]:
        """The row for programs."""
        return {
            "instruction": self.question.instruction,
            "scene": self.scene,
            "kind": self.question.kind,
            "error_code": self.error_code,
            "error_msg": self.error_msg,
            "pixel": self.pixel,
            "position_m": self.position_m,
            "frame_id": self.frame_id,
            "inside": self.inside,
            "distance_m": self.distance_m,
            "timings_s": self.timings_s,
        }


def choose_questions(scene: HeldOutScene, count: int) -> list[Question]:
    """The first question of each group, then the next ones; never chosen by the answers."""
    left = list(scene.questions)
    chosen: list[Question] = []
    while left and len(chosen) < count:
        for group in _GROUPS:
            found = next((q for q in left if q.kind in group), None)
            if found is not None and len(chosen) < count:
                chosen.append(found)
                left.remove(found)
        if not any(q.kind in group for q in left for group in _GROUPS):
            break
    return chosen


def is_inside(question: Question, pixel: Sequence[float]) -> bool:
    """Whether a pixel ``(u, v)`` is a right answer."""
    height, width = question.mask.shape
    u, v = round(pixel[0]), round(pixel[1])
    return bool(0 <= u < width and 0 <= v < height and question.mask[v, u])


def surface_distance_m(scene: HeldOutScene, question: Question, position_m: npt.ArrayLike) -> float:
    """Distance from a point in the world frame to the nearest visible right surface, metres."""
    surface = scene.view.points_world()[question.mask]
    surface = surface[np.isfinite(surface).all(axis=1)]
    gaps = np.linalg.norm(surface - np.asarray(position_m, np.float64), axis=1)
    return float(gaps.min())
