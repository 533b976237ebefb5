# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""What an answer must be like to be given, and what happens to the rest."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, get_args

from roborefer_ros.errors import (
    InvalidGoalError,
    LowConfidenceError,
    LowModelConfidenceError,
    OutOfWorkspaceError,
    PointOutsideRegionError,
    UpUnknownError,
)
from roborefer_ros.lifting import LiftingOptions, flag_workspace
from roborefer_ros.pointing.region import Crop, Region
from roborefer_ros.types import Mode, PointFlag, ReferredPoint, ReferResult, RejectedPoint

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
        region: Part of the image outside which points are rejected; None for all of it.
        crop_to_region: Whether the model sees only the region's bounding rectangle.
        why_no_up: What was tried to find the direction of gravity, for the error.
        how_to_tell_up: What the caller can do about it, for the error.
    """

    max_points: int = 0
    min_confidence: float = 0.0
    min_model_confidence: float = 0.0
    accept_partial: bool = False
    placing_without_up: Refusal = "refuse"
    on_out_of_workspace: Refusal = "flag"
    region: Region | None = None
    crop_to_region: bool = False
    why_no_up: str = ""
    how_to_tell_up: str = (
        "Set the parameter up_frame to a frame whose z points up (base_link), or target_frame, or "
        "lifting.up, or remap the topic imu to the camera's; placing_without_up:=flag answers all "
        "the same, flagged and below 0.5"
    )

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

    def crop(self, width: int, height: int) -> Crop | None:
        """The part of an image that the model is shown; None for all of it."""
        if self.region is None or not self.crop_to_region:
            return None
        return self.region.crop(width, height)


def check_up(mode: Mode, lifting: LiftingOptions, policy: AnswerPolicy) -> None:
    """Refuse a placing goal where nothing tells where up is.

    Raises:
        UpUnknownError: that is the case, and the policy does not say to flag it.
    """
    if mode == Mode.FREE_SPACE and lifting.up is None and policy.placing_without_up == "refuse":
        tried = f" ({policy.why_no_up})" if policy.why_no_up else ""
        raise UpUnknownError(
            f"a place is asked for, and nothing tells where up is{tried}: a wall could be taken "
            f"for a table. {policy.how_to_tell_up}"
        )


def check_2d(
    normalised: tuple[float, float], model_confidence: float | None, policy: AnswerPolicy
) -> None:
    """Check a point of the model before it is lifted.

    Raises:
        PointOutsideRegionError: it lies outside the region of the goal.
        LowModelConfidenceError: the model doubts it.
    """
    x, y = normalised
    if policy.region is not None and not policy.region.contains(normalised):
        raise PointOutsideRegionError(
            f"the model's point ({x:.3f}, {y:.3f}) lies outside the region of the goal; widen the "
            "region, name the thing more exactly, or show the model the region only "
            "(crop_to_region)"
        )
    if model_confidence is not None and model_confidence < policy.min_model_confidence:
        raise LowModelConfidenceError(
            f"the model's confidence in its point ({x:.3f}, {y:.3f}) is {model_confidence:.2f}, "
            f"below {policy.min_model_confidence:g} (min_model_confidence): it may not see what "
            "was asked for; say it in other words, or move the camera"
        )


def check_confidence(point: ReferredPoint, policy: AnswerPolicy) -> None:
    """Check a point that was lifted.

    Raises:
        LowConfidenceError: it is less likely right than the policy asks.
    """
    if point.confidence < policy.min_confidence:
        model = point.model_confidence
        raise LowConfidenceError(
            f"the confidence of the point at pixel ({point.pixel[0]:.0f}, {point.pixel[1]:.0f}) is "
            f"{point.confidence:.2f} (model {'unknown' if model is None else f'{model:.2f}'}, "
            f"geometry {point.geometry_confidence:.2f}), below {policy.min_confidence:g} "
            "(min_confidence); say it in other words, or move the camera"
        )


def check_plain_confidence(confidence: float, policy: AnswerPolicy) -> None:
    """Check a point that is not lifted, by the confidence of the model's 2D point.

    Raises:
        LowConfidenceError: it is less likely right than the policy asks.
    """
    if confidence < policy.min_confidence:
        raise LowConfidenceError(
            f"the confidence of the 2D point is {confidence:.2f}, below "
            f"{policy.min_confidence:g} (min_confidence); say it in other words, or move the camera"
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
