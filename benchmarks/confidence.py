# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""What the confidence of an answer is worth, on scenes that no training has seen.

    python -m benchmarks.confidence [--scenes 50] [--model roborefer:demo] [--json]
    python -m benchmarks.confidence --fit --scenes 300 --first 21000     # prints confidence.json

Every instruction is asked in AUTO through the whole pipeline on the noisy depth of the simulated
D435, with up known.  A point is right inside the mask and within 20 mm of the right surface.  Exits
1 where the expected calibration error exceeds 0.05, points with a confidence of 0.5 or more are
right in less than 95 %, or the mode is right in less than 99 %.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from benchmarks.demo_brain import camera_frame
from roborefer_ros.answer_policy import AnswerPolicy
from roborefer_ros.arguments import ArgumentParser, non_negative_int, positive_int
from roborefer_ros.demo.scoring import is_inside, surface_distance_m
from roborefer_ros.errors import RoboReferError
from roborefer_ros.lifting import LiftingOptions
from roborefer_ros.pipeline import ReferPipeline
from roborefer_ros.pointing.bundled import calibration_of
from roborefer_ros.pointing.calibration import ACT_ABOVE, UNCALIBRATED
from roborefer_ros.pointing.factory import open_pointer
from roborefer_ros.simulation.held_out import HeldOutScene, held_out_scene
from roborefer_ros.types import Mode, ReferredPoint

LIMIT_M = 0.020
MAX_CALIBRATION_ERROR = 0.05
MIN_RIGHT, MIN_MODE = 0.95, 0.99
BINS = 10

#: the line from which the fitted points are right in this share; some above what is asked for
FIT_RIGHT = {Mode.OBJECT: 0.955, Mode.FREE_SPACE: 0.935}

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Asked:
    """One instruction.

    Attributes:
        mode, used: What it asks for, and what AUTO made of it.
        point: First point of the answer; None where there is none.
        right: Whether it is right.
    """

    mode: Mode
    used: Mode
    point: ReferredPoint | None
    right: bool


def ask(pipeline: ReferPipeline, scene: HeldOutScene) -> Iterator[Asked]:
    """Ask everything that can be asked about a scene."""
    frame, pose = camera_frame(scene), scene.view.world_T_camera
    x, y, z = (float(value) for value in pose[2, :3])
    lifting, policy = LiftingOptions(up=(x, y, z)), AnswerPolicy()
    for question in scene.questions:
        try:
            result = pipeline.refer(frame, question.instruction, lifting=lifting, policy=policy)
        except RoboReferError as error:
            yield Asked(question.mode, Mode(error.mode), None, False)
            continue
        if result.failure() is not None:
            yield Asked(question.mode, result.mode, None, False)
            continue
        point = result.points[0]
        world = pose[:3, :3] @ point.position_m + pose[:3, 3]
        near = surface_distance_m(scene, question, world) <= LIMIT_M
        yield Asked(question.mode, result.mode, point, is_inside(question, point.pixel) and near)


def reliability(confidence: Array, right: Array) -> list[tuple[float, float, int]]:
    """Mean confidence, share of right points and count of each bin that holds any."""
    bins = np.minimum((confidence * BINS).astype(int), BINS - 1)
    groups = [bins == number for number in range(BINS)]
    return [
        (float(confidence[g].mean()), float(right[g].mean()), int(g.sum()))
        for g in groups
        if g.any()
    ]


def calibration_error(rows: Sequence[tuple[float, float, int]]) -> float:
    """Expected calibration error (Guo et al., ICML 2017, eq. 3)."""
    total = sum(count for _, _, count in rows)
    return sum(abs(mean - right) * count for mean, right, count in rows) / max(total, 1)


def fit_curve(model: Array, geometry: Array, right: Array, share: float) -> dict[str, float]:
    """Platt's curve and the line from which points are right in a share of cases."""
    clipped = np.clip(model, 1e-4, 1.0 - 1e-4)
    columns = np.column_stack([np.log(clipped / (1.0 - clipped)), np.ones(len(model))])
    weights = np.array([1.0, 0.0])
    for _ in range(100):  # Newton's method, with a weak prior for few answers
        p = 1.0 / (1.0 + np.exp(-columns @ weights))
        gradient = columns.T @ (right - p) - 0.01 * weights
        hessian = columns.T @ (columns * (p * (1.0 - p))[:, None]) + 0.01 * np.eye(2)
        weights = weights + np.linalg.solve(hessian, gradient)
    both = geometry / (1.0 + np.exp(-columns @ weights))
    order = np.argsort(-both)
    shares = np.cumsum(right[order]) / np.arange(1, len(order) + 1)
    enough = np.nonzero(shares >= share)[0]
    line = float(both[order][enough[-1]]) if len(enough) else 1.0
    return {
        "slope": round(float(weights[0]), 3),
        "offset": round(float(weights[1]), 3),
        "act_line": round(min(max(line, ACT_ABOVE), 1.0), 3),
    }


def fit(answers: Sequence[Asked]) -> dict[str, dict[str, dict[str, float]]]:
    """The content of ``confidence.json``."""
    curves = {}
    for mode, share in FIT_RIGHT.items():
        group = [a for a in answers if a.point is not None and a.used == mode]
        points = [a.point for a in group if a.point is not None]
        model = np.array([p.model_confidence for p in points], dtype=np.float64)
        geometry = np.array([p.geometry_confidence for p in points])
        right = np.array([float(a.right) for a in group])
        curves[mode.name.lower()] = fit_curve(model, geometry, right, share)
    return {"curves": curves}


def summarise(answers: Sequence[Asked]) -> dict[str, float]:
    """The figures that are judged."""
    points = [a.point for a in answers if a.point is not None]
    confidence = np.array([p.confidence for p in points])
    right = np.array([float(a.right) for a in answers if a.point is not None])
    kept = confidence >= ACT_ABOVE
    return {
        "asked": len(answers),
        "answered": len(points),
        "right": float(right.mean()),
        "calibration_error": calibration_error(reliability(confidence, right)),
        "kept": float(kept.mean()),
        "right_of_kept": float(right[kept].mean()) if kept.any() else math.nan,
        "mode_right": float(np.mean([a.mode == a.used for a in answers])),
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; returns its exit status."""
    parser = ArgumentParser(prog="benchmarks.confidence", description=__doc__)
    parser.add_argument("--scenes", type=positive_int, default=50)
    parser.add_argument(
        "--first", type=non_negative_int, default=30_000, help="first scene's number"
    )
    parser.add_argument("--questions", type=positive_int, default=8, help="per scene, at most")
    parser.add_argument("--model", default="roborefer:demo", help="spec of the pointing model")
    parser.add_argument("--fit", action="store_true", help="print a calibration for the model")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args(argv)
    pipeline = ReferPipeline(
        open_pointer(arguments.model), calibration=calibration_of(arguments.model)
    )
    if arguments.fit:
        pipeline = replace(pipeline, calibration=UNCALIBRATED)
    answers: list[Asked] = []
    numbers = range(arguments.first, arguments.first + arguments.scenes)
    for number in tqdm(numbers, unit="scene", file=sys.stderr):
        answers += ask(pipeline, held_out_scene(number, 640, 480, arguments.questions))
    if arguments.fit:
        print(json.dumps(fit(answers), indent=2))
        return 0
    figures = summarise(answers)
    if arguments.json:
        print(json.dumps(figures, indent=1))
    else:
        _print(answers, figures)
    good = (
        figures["calibration_error"] <= MAX_CALIBRATION_ERROR
        and figures["right_of_kept"] >= MIN_RIGHT
        and figures["mode_right"] >= MIN_MODE
    )
    return 0 if good else 1


def _print(answers: Sequence[Asked], figures: dict[str, float]) -> None:
    points = [(a.point.confidence, float(a.right)) for a in answers if a.point is not None]
    confidence, right = (np.array(column) for column in zip(*points, strict=True))
    print(f"{'confidence':>10}{'right':>8}{'points':>8}")
    for mean, share, count in reliability(confidence, right):
        print(f"{mean:>10.2f}{share:>8.2f}{count:>8}")
    print(
        f"{figures['answered']} of {figures['asked']} instructions answered, "
        f"{figures['right']:.1%} right; expected calibration error "
        f"{figures['calibration_error']:.3f} (at most {MAX_CALIBRATION_ERROR})\n"
        f"confidence of {ACT_ABOVE} or more: {figures['kept']:.1%}, right in "
        f"{figures['right_of_kept']:.1%} of them (at least {MIN_RIGHT:.0%})\n"
        f"mode right: {figures['mode_right']:.1%} (at least {MIN_MODE:.0%})"
    )


if __name__ == "__main__":
    sys.exit(main())
