# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""What an answer must be like to be given, and what happens to the rest."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, get_args

from roborefer_ros.errors import InvalidGoalError, OutOfWorkspaceError
from roborefer_ros.frame import PointFlag, ReferResult, RejectedPoint
from roborefer_ros.lifting import LiftingOptions, flag_workspace

Refusal = Literal["refuse", "flag"]

#: allowed strings of both policies
REFUSALS: tuple[str, ...] = get_args(Refusal)


@dataclass(frozen=True)
class AnswerPolicy:
    """The rules of one goal.

    Attributes:
        max_points: Most points kept, in the model's order; 0 keeps all.
        min_confidence: Least ``confidence`` of a point, [0, 1].
        min_model_confidence: Least ``model_confidence`` of a point, [0, 1]; models that tell none
            are not judged by it.
        accept_partial: Whether later points are an answer where the model's first one was
            rejected.
        placing_without_up: What is done with a placing goal where the direction of gravity is
            unknown.
        on_out_of_workspace: What is done with points outside the workspace.
    """

    max_points: int = 0
    min_confidence: float = 0.0
    min_model_confidence: float = 0.0
    accept_partial: bool = False
    placing_without_up: Refusal = "refuse"
    on_out_of_workspace: Refusal = "flag"

    def __post_init__(self) -> None:
        for name in ("min_confidence", "min_model_confidence"):
            value = getattr(self, name)
            if not 0.0 <= value <= 1.0:  # NaN is in no range
                raise InvalidGoalError(f"{name} must lie in [0, 1], not {value}")
        for name in ("placing_without_up", "on_out_of_workspace"):
            if getattr(self, name) not in REFUSALS:
                raise InvalidGoalError(
                    f"{name} must be one of {', '.join(REFUSALS)}, not '{getattr(self, name)}'"
                )


def within_workspace(
    result: ReferResult, lifting: LiftingOptions, policy: AnswerPolicy
) -> ReferResult:
    """Flag or reject the points outside ``lifting.workspace_m``.

    Args:
        result: Points in the frame that the workspace is given in.
        lifting: Options with the workspace.
        policy: Rules of the goal.
    """
    flagged = tuple(flag_workspace(point, lifting) for point in result.points)
    if policy.on_out_of_workspace == "flag":
        return replace(result, points=flagged)
    outside = tuple(
        RejectedPoint(
            point.pixel,
            point.normalised,
            OutOfWorkspaceError(
                f"the point ({', '.join(f'{c:.3f}' for c in point.position_m)}) m in "
                f"'{point.frame_id}' lies outside the workspace {lifting.workspace_m}; point at "
                "something within reach, widen lifting.workspace_m, or set on_out_of_workspace to "
                "flag"
            ),
            point.model_confidence,
            point.index,
        )
        for point in flagged
        if point.flags & PointFlag.OUT_OF_WORKSPACE
    )
    for rejected in outside:
        rejected.error.answer = result.answer
    return replace(
        result,
        points=tuple(p for p in flagged if not p.flags & PointFlag.OUT_OF_WORKSPACE),
        rejected=tuple(sorted((*result.rejected, *outside), key=lambda point: point.index)),
    )
