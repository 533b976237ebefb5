# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""How well the bundled network points on scenes that its training has not seen.

    python -m benchmarks.demo_brain [--scenes 100] [--model roborefer:demo] [--json]

Every question goes through the whole pipeline (network, parser, lifting) on the noisy depth of the
simulated D435; ROS 2 is not needed.  Then the network alone is asked again without depth, in other
words, and for what is not there (``benchmarks.demo_goals``; ``--plain`` leaves that out).  Exits 1
where one of the goals is not reached.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from importlib.resources import files
from pathlib import Path

import numpy as np
from tqdm import tqdm

from benchmarks.demo_goals import Goal, Reply, ask_again, goals_of
from roborefer_ros.arguments import ArgumentParser
from roborefer_ros.demo.scoring import is_inside, surface_distance_m
from roborefer_ros.errors import RoboReferError
from roborefer_ros.lifting import LiftingOptions
from roborefer_ros.pipeline import ReferPipeline
from roborefer_ros.pointing.bundled import calibration_of
from roborefer_ros.pointing.depth_input import relative_depth_from_metric
from roborefer_ros.pointing.factory import open_pointer
from roborefer_ros.simulation.held_out import HeldOutScene, held_out_scene
from roborefer_ros.simulation.sensor_noise import d435_depth
from roborefer_ros.types import DepthImage, Mode, RGBDFrame

PACKAGE = files("roborefer_ros")

#: what the lifted point may be off the right surface, metres
LIMIT_M = 0.015


@dataclass(frozen=True)
class Outcome:
    """One question: its kind and mode, whether the pixel is right, how far off the 3D point is.

    ``confidence`` is the model's own, from the probabilities of its coordinates, ``overall`` that
    of the point, calibrated and with the geometry's.
    """

    kind: str
    mode: Mode
    inside: bool
    off_m: float
    error_code: int
    confidence: float = float("nan")
    overall: float = float("nan")


def camera_frame(scene: HeldOutScene) -> RGBDFrame:
    """What the simulated camera sends of a scene."""
    view = scene.view
    depth = d435_depth(
        view.depth_m,
        np.random.default_rng(scene.number),
        normals=view.normals,
        focal_px=view.intrinsics.fx,
    )
    return RGBDFrame(view.rgb, DepthImage(depth, 0.001), view.intrinsics, "camera")


def ask(pipeline: ReferPipeline, scene: HeldOutScene) -> Iterator[Outcome]:
    """Ask everything that can be asked about a scene."""
    frame, pose = camera_frame(scene), scene.view.world_T_camera
    x, y, z = (float(value) for value in pose[2, :3])
    lifting = LiftingOptions(up=(x, y, z))
    for question in scene.questions:
        try:
            result = pipeline.refer(frame, question.instruction, question.mode, lifting=lifting)
        except RoboReferError as error:
            yield Outcome(question.kind, question.mode, False, float("nan"), error.code)
            continue
        failed = result.failure()
        if failed is not None:
            yield Outcome(question.kind, question.mode, False, float("nan"), failed.code)
            continue
        point = result.points[0]
        world = pose[:3, :3] @ point.position_m + pose[:3, 3]
        off_m = surface_distance_m(scene, question, world)
        inside = is_inside(question, point.pixel)
        model = float("nan") if point.model_confidence is None else point.model_confidence
        yield Outcome(question.kind, question.mode, inside, off_m, 0, model, point.confidence)


def summarise(outcomes: list[Outcome]) -> dict[str, dict[str, float]]:
    """Per kind and for all objects and free spaces: count, accuracy, 3D error of the right ones."""
    groups: dict[str, list[Outcome]] = defaultdict(list)
    for outcome in outcomes:
        groups[outcome.kind].append(outcome)
        groups["all objects" if outcome.mode is Mode.OBJECT else "all free spaces"].append(outcome)
    rows = {}
    for name, group in sorted(groups.items(), key=lambda item: (item[0].startswith("all"), item)):
        off = np.array([o.off_m for o in group if o.inside])
        rows[name] = {
            "questions": len(group),
            "inside": float(np.mean([o.inside for o in group])),
            "within_15_mm_of_inside": float(np.mean(off <= LIMIT_M)) if len(off) else float("nan"),
            "median_off_mm": float(np.median(off) * 1e3) if len(off) else float("nan"),
            "errors": sum(o.error_code != 0 for o in group),
        }
    return rows


def reliability(outcomes: list[Outcome], bins: int = 10) -> list[tuple[float, float, int]]:
    """Mean confidence, share of right answers and count of each bin of confidence."""
    known = [o for o in outcomes if np.isfinite(o.confidence)]
    rows = []
    places = np.minimum((np.array([o.confidence for o in known]) * bins).astype(int), bins - 1)
    for place in range(bins):
        group = [o for o, at in zip(known, places, strict=True) if at == place]
        if group:
            mean = float(np.mean([o.confidence for o in group]))
            rows.append((mean, float(np.mean([o.inside for o in group])), len(group)))
    return rows


def calibration_error(rows: list[tuple[float, float, int]]) -> float:
    """Expected calibration error (Guo et al., ICML 2017, eq. 3)."""
    total = sum(count for _, _, count in rows)
    return sum(abs(mean - right) * count for mean, right, count in rows) / max(total, 1)


def draw_reliability(rows: list[tuple[float, float, int]], path: Path) -> None:
    """Share of right answers against confidence, and how many answers a dot is of."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axis = pyplot.subplots(figsize=(4.8, 4.6))
    axis.plot([0, 1], [0, 1], color="0.7", linestyle="--", label="calibrated")
    mean, right, count = (np.array(column) for column in zip(*rows, strict=True))
    axis.plot(mean, right, color="#0072B2", marker="o", label="bundled network")
    for x, y, answers in zip(mean, right, count, strict=True):
        axis.annotate(f"{answers:.0f}", (x, y), xytext=(6, -12), textcoords="offset points")
    axis.set(xlabel="model_confidence", ylabel="share of right points", xlim=(0, 1), ylim=(0, 1))
    axis.set_title(f"expected calibration error {calibration_error(rows):.2f}")
    axis.legend()
    axis.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def main(argv: list[str] | None = None) -> int:
    """Run the benchmark; returns its exit status."""
    parser = ArgumentParser(prog="benchmarks.demo_brain", description=__doc__)
    parser.add_argument("--scenes", type=int, default=100)
    parser.add_argument("--first", type=int, default=0, help="number of the first scene")
    parser.add_argument("--questions", type=int, default=8, help="per scene, at most")
    parser.add_argument("--model", default="roborefer:demo", help="spec of the pointing model")
    parser.add_argument("--plain", action="store_true", help="only the questions as they are")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--reliability", type=Path, help="draw a reliability diagram there")
    arguments = parser.parse_args(argv)
    calibration = calibration_of(arguments.model)
    pipeline = ReferPipeline(open_pointer(arguments.model), calibration=calibration)
    outcomes: list[Outcome] = []
    replies: list[Reply] = []
    numbers = range(arguments.first, arguments.first + arguments.scenes)
    for number in tqdm(numbers, unit="scene", file=sys.stderr):
        scene = held_out_scene(number, 640, 480, arguments.questions)
        outcomes += ask(pipeline, scene)
        if not arguments.plain:
            depth = relative_depth_from_metric(camera_frame(scene).depth.metres())
            replies += ask_again(pipeline.pointer, scene, depth)
    rows = summarise(outcomes)
    goals = _goals(outcomes, replies, arguments.model)
    missed = [goal for goal in goals if not goal.met]
    if arguments.reliability:
        draw_reliability(reliability(outcomes), arguments.reliability)
    if arguments.json:
        told = {goal.name: {**asdict(goal), "met": goal.met} for goal in goals}
        print(json.dumps({"kinds": rows, "goals": told}, indent=1))
        return 1 if missed else 0
    print(f"{'kind':<18}{'questions':>10}{'inside':>9}{'<= 15 mm':>10}{'median':>9}{'errors':>8}")
    for name, row in rows.items():
        print(
            f"{name:<18}{row['questions']:>10}{row['inside']:>9.1%}"
            f"{row['within_15_mm_of_inside']:>10.1%}{row['median_off_mm']:>6.1f} mm"
            f"{row['errors']:>8}"
        )
    error = calibration_error(reliability(outcomes))
    print(f"expected calibration error of the model's confidence: {error:.2f}")
    for goal in goals:
        print(goal.row())
    return 1 if missed else 0


def _goals(outcomes: list[Outcome], replies: list[Reply], model: str) -> list[Goal]:
    """What is to be reached; nothing where only the plain questions were asked."""
    if not replies:
        return []
    overall = [replace(o, confidence=o.overall) for o in outcomes]
    source = model.partition(":")[2].partition("?")[0]
    weights = Path(str(PACKAGE / "demo_checkpoint")) if source == "demo" else Path(source)
    return goals_of(replies, calibration_error(reliability(overall)), weights)


if __name__ == "__main__":
    sys.exit(main())
