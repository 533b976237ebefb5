# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""From the model's points to those of the reply: lifted where depth allows, judged, all told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from roborefer_ros.answer_policy import AnswerPolicy, check_2d, check_plain_confidence
from roborefer_ros.errors import NoPointInAnswerError, PointOutsideImageError, RoboReferError
from roborefer_ros.inference.model import Completion
from roborefer_ros.lifting import LiftingOptions
from roborefer_ros.pipeline import lift_answer, pixel_from_normalised, warnings_of
from roborefer_ros.pointing.bundled import is_bundled
from roborefer_ros.pointing.calibration import Calibration
from roborefer_ros.pointing.families import thoughts_of
from roborefer_ros.pointing.mode import InstructionReading
from roborefer_ros.pointing.pointer import Pointer
from roborefer_ros.pointing.prediction import Prediction
from roborefer_ros.pointing.reasoning import moved_steps, read_steps
from roborefer_ros.pointing.region import Crop
from roborefer_ros.server.replies import error_body
from roborefer_ros.types import PointFlag, ReferredPoint, RejectedPoint, RGBDFrame

Row = dict[str, Any]


def read_answer(
    pointer: Pointer,
    completions: Sequence[Completion],
    size: tuple[int, int],
    max_points: int = 0,
    crop: Crop | None = None,
) -> tuple[Prediction, RoboReferError | None]:
    """The points that the model named, or why it named none.

    Args:
        pointer: Model that was asked, with its family.
        completions: What it said to ``pointer.requests``.
        size: ``(width, height)`` of the picture that it was shown, pixels.
        max_points: Greatest number of points that are kept; 0 keeps all.
        crop: What that is of the whole image, in which the points are; None for all of it.
    """
    try:
        prediction = pointer.prediction(completions, size, max_points)
        error = None
    except (NoPointInAnswerError, PointOutsideImageError) as no_point:
        thoughts = thoughts_of(completions[0].text, completions[0].reasoning)
        steps = read_steps(thoughts)
        prediction = Prediction(no_point.answer, (), reasoning=thoughts, steps=steps)
        error = no_point
    if crop is not None:
        points = tuple(map(crop.to_whole, prediction.points))
        steps = moved_steps(prediction.steps, crop.to_whole)
        prediction = replace(prediction, points=points, steps=steps)
    return prediction, error


def located(
    frame: RGBDFrame | None,
    size: tuple[int, int],
    said: Prediction,
    no_point: RoboReferError | None,
    reading: InstructionReading,
    *,
    lifting: LiftingOptions,
    policy: AnswerPolicy,
    calibration: Calibration,
    model: str,
) -> Row:
    """What the reply says of the model's text and of the points.

    Args:
        frame: Observation in the camera's frame; None without depth.
        size: ``(width, height)`` of the image, pixels.
        said: What ``read_answer`` found.
        no_point: Why it found no point.
        reading: What was asked for.
        lifting: Thresholds of the lifting, with the direction of gravity where it was sent.
        policy: Rules of the request.
        calibration: That of the model.
        model: Its spec.
    """
    is_demo = is_bundled(model)
    rows: dict[int, Row] = {}
    if frame is not None:
        lifted, rejected = lift_answer(
            frame,
            said,
            reading,
            lifting=lifting,
            policy=policy,
            calibration=calibration,
            is_demo=is_demo,
        )
        rows = {point.index: _lifted_row(point) for point in lifted}
    else:
        rows, rejected = _judged_2d(said, size, reading, policy, calibration, is_demo)
    error = no_point or _failure(rows, rejected, policy)
    rows |= {point.index: _rejected_row(point) for point in rejected}
    warnings = warnings_of(reading, is_demo)
    return {
        "answer": said.text,
        "reasoning": said.reasoning,
        "steps": [
            {"type": s.kind.lower(), "target": s.target, "value": list(s.value)} for s in said.steps
        ],
        "points": [rows[index] for index in sorted(rows)],
        "rejected_points": [_rejected_row(point) for point in rejected],
        "error": None if error is None else error_body(error),
        "warnings": [one.name for one in type(warnings) if one and one in warnings],
    }


def with_up(lifting: LiftingOptions, up: tuple[float, float, float] | None) -> LiftingOptions:
    """The options with the direction of gravity of a request, where it tells one."""
    return lifting if up is None else replace(lifting, up=up)


def _failure(
    good: dict[int, Row], rejected: tuple[RejectedPoint, ...], policy: AnswerPolicy
) -> RoboReferError | None:
    """Why this is no answer, as ``ReferResult.failure`` has it."""
    if not rejected or (good and (policy.accept_partial or min(good) < rejected[0].index)):
        return None
    return rejected[0].error


def _judged_2d(
    answer: Prediction,
    size: tuple[int, int],
    reading: InstructionReading,
    policy: AnswerPolicy,
    calibration: Calibration,
    is_demo: bool,
) -> tuple[dict[int, Row], tuple[RejectedPoint, ...]]:
    """Judge points that stay in the image."""
    good, rejected = {}, []
    for index, normalised in enumerate(answer.points):
        pixel, flag = pixel_from_normalised(normalised, *size)
        flag |= PointFlag.DEMO_MODEL if is_demo else PointFlag.NONE
        trust = answer.confidences[index] if answer.confidences else None
        # Nothing is known of the geometry: how likely the 2D point is right.
        both = None if trust is None else calibration.confidence(trust, 1.0, reading.mode)
        try:
            check_2d(normalised, trust, policy)
            if both is not None:
                check_plain_confidence(both, policy)
        except RoboReferError as error:
            error.answer = answer.text
            rejected.append(RejectedPoint(pixel, normalised, error, trust, index))
            continue
        good[index] = {
            **_place(pixel, normalised),
            "confidence": both,
            "model_confidence": trust,
            "flags": _names(flag),
        }
    return good, tuple(rejected)


def _lifted_row(point: ReferredPoint) -> Row:
    return {
        **_place(point.pixel, point.normalised),
        "confidence": point.confidence,
        "model_confidence": point.model_confidence,
        "geometry_confidence": point.geometry_confidence,
        "flags": _names(point.flags),
        "position": {
            "xyz_m": np.asarray(point.position_m).tolist(),
            "orientation_xyzw": np.asarray(point.orientation_xyzw).tolist(),
            "covariance": np.asarray(point.covariance).ravel().tolist(),
        },
    }


def _rejected_row(point: RejectedPoint) -> Row:
    return {
        **_place(point.pixel, point.normalised),
        "model_confidence": point.model_confidence,
        "error": error_body(point.error),
    }


def _place(pixel: tuple[float, float], normalised: tuple[float, float]) -> Row:
    (u, v), (x, y) = pixel, normalised
    return {"x": x, "y": y, "u": u, "v": v}


def _names(flags: PointFlag) -> list[str]:
    return [flag.name for flag in PointFlag if flag and flag in flags and flag.name]
