# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Answers on a benchmark with 3D ground truth, lifted and measured in space.

The first point of an answer is lifted through ``roborefer_ros.lifting`` on the noisy depth, as
the node would lift it, and compared with the exact depth.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from roborefer_ros.errors import RoboReferError
from roborefer_ros.evaluation.questions import (
    BenchmarkError,
    BenchmarkQuestion,
    fair_mask,
    inside_folder,
)
from roborefer_ros.evaluation.scoring import AnswerScores
from roborefer_ros.image_files import read_picture
from roborefer_ros.lifting import LiftingOptions, deproject, lift_point
from roborefer_ros.pipeline import pixel_from_normalised
from roborefer_ros.pointing.mode import resolve_mode
from roborefer_ros.types import CameraIntrinsics, DepthImage, RGBDFrame

#: a lifted point within such a distance of the right surface counts, metres
LIMITS_M = (0.01, 0.02, 0.05)


@dataclass(frozen=True)
class SpatialScore:
    """One answer in space.

    Attributes:
        split: Split of the question.
        distance_m: Distance from the lifted point to the nearest visible surface point of the right
            object or free space; None where nothing was lifted.
        surface_error_m: Distance from the lifted point to the exact surface at the same pixel: the
            error of depth and lifting alone; None where nothing is there.
        hit: whether the pixel is right.
        error_code: Number of the lifting's error; 0 on success, None where the answer holds no
            point.
    """

    split: str
    distance_m: float | None
    surface_error_m: float | None
    hit: bool
    error_code: int | None


@dataclass(frozen=True)
class LiftedSummary:
    """A row of the 3D table.

    Attributes:
        name: Name of the group.
        count: answers.
        lifted: answers that became a point in space.
        within: limit in metres -> share of ALL answers whose point is that close.
        median_m, p90_m: distance over the lifted ones; NaN without any.
        surface_error_m: median; NaN without any.
        errors: error number of the lifting -> answers.
    """

    name: str
    count: int
    lifted: int
    within: dict[float, float]
    median_m: float
    p90_m: float
    surface_error_m: float
    errors: dict[int, int]


def has_truth(question: BenchmarkQuestion) -> bool:
    """Whether a question comes with depth, exact depth and intrinsics."""
    return question.folder is not None and all(
        key in question.extra for key in ("depth_path", "exact_depth_path", "intrinsics")
    )


def lift_answers(
    answers: Iterable[AnswerScores], options: LiftingOptions | None = None
) -> tuple[SpatialScore, ...]:
    """Lift every answer to a question with ground truth.

    Raises:
        BenchmarkError: the ground truth is broken.
    """
    with_truth = [answer for answer in answers if has_truth(answer.question)]
    return tuple(_lift(answer, options or LiftingOptions()) for answer in with_truth)


def frame_of(question: BenchmarkQuestion) -> RGBDFrame:
    """The question's observation: colour and the noisy depth.

    Raises:
        BenchmarkError: a file is missing or of another kind.
    """
    intrinsics = _intrinsics(question)
    raw = _depth_picture(question, "depth_path")
    return RGBDFrame(question.rgb(), DepthImage(raw, 0.001), intrinsics, "camera")


def exact_depth_m(question: BenchmarkQuestion) -> npt.NDArray[np.float32]:
    """``[H, W]`` metres without noise, NaN where nothing is hit."""
    raw = _depth_picture(question, "exact_depth_path").astype(np.float32)
    unit_m = float(question.extra.get("exact_depth_unit_m", 0.0001))
    depth: npt.NDArray[np.float32] = np.where(raw > 0, raw * np.float32(unit_m), np.float32(np.nan))
    return depth


def _lift(answer: AnswerScores, options: LiftingOptions) -> SpatialScore:
    question = answer.question
    if not answer.points:
        return SpatialScore(question.split, None, None, False, None)
    frame = frame_of(question)
    pixel, _ = pixel_from_normalised(answer.points[0], frame.width, frame.height)
    mode, _ = resolve_mode(question.prompt)  # as the node does: nobody tells it the truth
    try:
        position = lift_point(frame, pixel, options, mode).position_m
    except RoboReferError as error:
        return SpatialScore(question.split, None, None, bool(answer.strict), error.code)
    exact = exact_depth_m(question)
    v, u = np.nonzero(fair_mask(question.mask_values()) & np.isfinite(exact))
    if not len(u):
        raise BenchmarkError(f"{question.split}/{question.question_id}: no depth under the mask")
    right = deproject(np.column_stack([u, v]), exact[v, u], frame.intrinsics)
    distance = float(np.linalg.norm(right - position, axis=1).min())
    column, row = round(pixel[0]), round(pixel[1])
    there = None
    if np.isfinite(exact[row, column]):
        surface = deproject([pixel], exact[row, column : column + 1], frame.intrinsics)[0]
        there = float(np.linalg.norm(surface - position))
    return SpatialScore(question.split, distance, there, bool(answer.strict), 0)


def summarize_3d(scores: Sequence[SpatialScore]) -> list[LiftedSummary]:
    """A row for all answers and one per split; none without scores."""
    if not scores:
        return []
    splits = dict.fromkeys(score.split for score in scores)
    rows = [_summary("all", scores)]
    return rows + [_summary(name, [s for s in scores if s.split == name]) for name in splits]


def _summary(name: str, scores: Sequence[SpatialScore]) -> LiftedSummary:
    distances = np.array([s.distance_m for s in scores if s.distance_m is not None])
    surface = np.array([s.surface_error_m for s in scores if s.surface_error_m is not None])
    codes = [s.error_code for s in scores if s.error_code]
    return LiftedSummary(
        name=name,
        count=len(scores),
        lifted=len(distances),
        within={limit: float((distances <= limit).sum() / len(scores)) for limit in LIMITS_M},
        median_m=float(np.median(distances)) if len(distances) else float("nan"),
        p90_m=float(np.percentile(distances, 90)) if len(distances) else float("nan"),
        surface_error_m=float(np.median(surface)) if len(surface) else float("nan"),
        errors={code: codes.count(code) for code in sorted(set(codes))},
    )


def _intrinsics(question: BenchmarkQuestion) -> CameraIntrinsics:
    try:
        values: dict[str, Any] = dict(question.extra["intrinsics"])
        return CameraIntrinsics(
            int(values["width"]), int(values["height"]), float(values["fx"]),
            float(values["fy"]), float(values["cx"]), float(values["cy"]),
        )  # fmt: skip
    except (KeyError, TypeError, ValueError) as error:
        raise BenchmarkError(
            f"{question.split}/{question.question_id}: intrinsics are broken ({error!r})"
        ) from error


def _depth_picture(question: BenchmarkQuestion, key: str) -> npt.NDArray[np.uint16]:
    assert question.folder is not None
    path: Path = inside_folder(question.folder, question.extra[key])
    picture = read_picture(path, cv2.IMREAD_UNCHANGED, BenchmarkError)
    if picture.dtype != np.uint16 or picture.ndim != 2:
        raise BenchmarkError(f"{path} is no 16-bit depth picture")
    return np.asarray(picture, np.uint16)
