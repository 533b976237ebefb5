# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""What the confidence of an answer is worth, on scenes that no training has seen.

    python -m benchmarks.confidence [--scenes 150] [--model roborefer:demo] [--json]
    python -m benchmarks.confidence --fit [--model roborefer:demo] [--output FILE]

Every instruction is asked in AUTO through the whole pipeline on the noisy depth of the simulated
D435, with up known.  A point is right inside the mask and within 20 mm of the right surface.  Exits
1 where the expected calibration error exceeds 0.05, points with a confidence of 0.5 or more are
right in less than 95 %, or the mode is right in less than 99 %.

``--fit`` measures a calibration anew and writes it into the model's folder: run it after every
training, before the check.  Its scenes are others than those of the check (``confidence_fit.py``).
It prints what the calibration is worth in five-fold cross-validation over its scenes, and exits 1
where that falls short.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from benchmarks import confidence_fit
from benchmarks.confidence_fit import Judged
from benchmarks.demo_brain import camera_frame
from roborefer_ros.answer_policy import AnswerPolicy
from roborefer_ros.arguments import ArgumentParser, non_negative_int, positive_int
from roborefer_ros.demo.scoring import is_inside, surface_distance_m
from roborefer_ros.errors import RoboReferError
from roborefer_ros.files import write_text
from roborefer_ros.lifting import LiftingOptions
from roborefer_ros.pipeline import ReferPipeline
from roborefer_ros.pointing.bundled import calibration_of, calibration_path
from roborefer_ros.pointing.calibration import ACT_ABOVE, UNCALIBRATED, Calibration
from roborefer_ros.pointing.factory import open_pointer
from roborefer_ros.simulation.held_out import HeldOutScene, held_out_scene
from roborefer_ros.types import Mode, ReferredPoint

LIMIT_M = 0.020
MAX_CALIBRATION_ERROR = 0.05
MIN_RIGHT, MIN_MODE = 0.95, 0.99
BINS = 10

#: first scene and number of scenes of the check; those of a fit lie before it
FIRST, SCENES = 30_000, 150

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Asked:
    """One instruction.

    Attributes:
        scene: Number of the scene.
        mode, used: What it asks for, and what AUTO made of it.
        point: First point of the answer; None where there is none.
        right: Whether it is right.
    """

    scene: int
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
            yield Asked(scene.number, question.mode, Mode(error.mode), None, False)
            continue
        if result.failure() is not None:
            yield Asked(scene.number, question.mode, result.mode, None, False)
            continue
        point = result.points[0]
        world = pose[:3, :3] @ point.position_m + pose[:3, 3]
        near = surface_distance_m(scene, question, world) <= LIMIT_M
        right = is_inside(question, point.pixel) and near
        yield Asked(scene.number, question.mode, result.mode, point, right)


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


def columns_of(answers: Sequence[Asked]) -> Judged:
    """The points of answers whose model tells its confidence, for a fit."""
    rows = []
    for answer in answers:
        point = answer.point
        if point is not None and point.model_confidence is not None:
            trust = point.model_confidence, point.geometry_confidence
            rows.append((answer.scene, int(answer.used), *trust, answer.right))
    return confidence_fit.judged(rows)


def summarise(answers: Sequence[Asked], confidence: Array, right: Array) -> dict[str, float]:
    """The figures that are judged.

    Args:
        answers: All instructions.
        confidence: ``[N]`` of those with a point.
        right: ``[N]`` 1 where the point is right, else 0.
    """
    kept = confidence >= ACT_ABOVE
    return {
        "asked": len(answers),
        "answered": len(right),
        "right": float(right.mean()),
        "calibration_error": calibration_error(reliability(confidence, right)),
        "kept": float(kept.mean()),
        "right_of_kept": float(right[kept].mean()) if kept.any() else math.nan,
        "mode_right": float(np.mean([a.mode == a.used for a in answers])),
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; returns its exit status."""
    parser = ArgumentParser(prog="benchmarks.confidence", description=__doc__)
    parser.add_argument("--scenes", type=positive_int, help=f"default {SCENES}; for a fit, 300")
    parser.add_argument("--first", type=non_negative_int, help=f"first scene; for a check {FIRST}")
    parser.add_argument("--questions", type=positive_int, default=8, help="per scene, at most")
    parser.add_argument("--model", default="roborefer:demo", help="spec of the pointing model")
    parser.add_argument("--fit", action="store_true", help="write a calibration for the model")
    parser.add_argument("--output", type=Path, help="where to; default: the model's folder")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args(argv)
    return _fit(arguments) if arguments.fit else _check(arguments)


def _check(arguments: argparse.Namespace) -> int:
    """Judge the calibration that the model has."""
    first = FIRST if arguments.first is None else arguments.first
    calibration = calibration_of(arguments.model)
    answers = _ask_all(arguments, first, arguments.scenes or SCENES, calibration)
    points = [(a.point.confidence, float(a.right)) for a in answers if a.point is not None]
    confidence, right = np.array(points, dtype=np.float64).reshape(-1, 2).T
    return _report(answers, confidence, right, arguments.json)


def _fit(arguments: argparse.Namespace) -> int:
    """Write a calibration for the model, and judge it by cross-validation."""
    first = confidence_fit.FIRST if arguments.first is None else arguments.first
    scenes = arguments.scenes or confidence_fit.SCENES
    if first < FIRST + SCENES and first + scenes > FIRST:
        raise SystemExit(
            f"scenes {first} to {first + scenes - 1} of the fit are those of the check, which "
            f"begin at {FIRST}; name others with --first and --scenes"
        )
    path = arguments.output or calibration_path(arguments.model)
    if path is None:
        raise SystemExit(f"{arguments.model} has no folder; name a file with --output")
    answers = _ask_all(arguments, first, scenes, UNCALIBRATED)
    columns = columns_of(answers)
    calibration = confidence_fit.fit_calibration(columns)
    if not calibration.curves:
        raise SystemExit(
            f"only {len(columns)} points with a confidence, which is too few for a calibration: "
            "ask about more scenes, or a model that tells probabilities; nothing was written"
        )
    text = json.dumps(confidence_fit.as_json(calibration), indent=2) + "\n"
    write_text(path, text)
    print(f"{path}\n{text}in cross-validation over the scenes of the fit:", file=sys.stderr)
    return _report(answers, confidence_fit.cross_validated(columns), columns.right, arguments.json)


def _ask_all(
    arguments: argparse.Namespace, first: int, scenes: int, calibration: Calibration
) -> list[Asked]:
    """Ask about some scenes, with a bar of progress."""
    pipeline = ReferPipeline(open_pointer(arguments.model), calibration=calibration)
    answers: list[Asked] = []
    for number in tqdm(range(first, first + scenes), unit="scene", file=sys.stderr):
        answers += ask(pipeline, held_out_scene(number, 640, 480, arguments.questions))
    return answers


def _report(answers: Sequence[Asked], confidence: Array, right: Array, as_json: bool) -> int:
    """Print the figures; returns the exit status."""
    if not len(right):
        raise SystemExit(f"none of {len(answers)} instructions was answered with a point")
    figures = summarise(answers, confidence, right)
    if as_json:
        print(json.dumps(figures, indent=1))
    else:
        _print(reliability(confidence, right), figures)
    good = (
        figures["calibration_error"] <= MAX_CALIBRATION_ERROR
        and figures["right_of_kept"] >= MIN_RIGHT
        and figures["mode_right"] >= MIN_MODE
    )
    return 0 if good else 1


def _print(rows: Sequence[tuple[float, float, int]], figures: dict[str, float]) -> None:
    print(f"{'confidence':>10}{'right':>8}{'points':>8}")
    for mean, share, count in rows:
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
