# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""From a word to a moved object: success of picks and places in physics, and why they fail.

Every trial is asked of each method from the same start.  A pick counts when the thing that was
named hangs in the hand; a place when it stands within 3 cm of where it was to stand, upright, on
the table, on the spot that was named, and nothing else was moved by 2 cm or knocked over.  Places
are counted over the picks that succeeded and have a free spot.
"""

from __future__ import annotations

import argparse
import html
import json
import platform
import sys
import time
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw
from scipy.stats import binomtest
from tqdm import tqdm

from roborefer_ros.arm.methods import DepthWindow, Ours
from roborefer_ros.arm.trial import Method, Outcome, Target, TrialScene, run_trial
from roborefer_ros.errors import RoboReferError
from roborefer_ros.pipeline import ReferPipeline
from roborefer_ros.pointing.factory import open_pointer
from roborefer_ros.simulation.instructions import Question

#: halves of a trial and what they are held to: with the model's points, with true points
GOALS = {"pick": (0.90, 0.97), "place": (0.85, 0.95)}
_METHODS_WITH_TRUTH = ("true point + ours",)


def methods(model: str) -> dict[str, Method]:
    """Name -> method; the model's answer to a picture is shared."""
    pipeline = ReferPipeline(open_pointer(model))
    return {
        "true point + ours": Ours(),
        "ours": Ours(pipeline),
        "our point + single pixel": DepthWindow(1, pipeline),
        "our point + median 11x11": DepthWindow(11, pipeline),
    }


def run(
    numbers: range, robot: str, ways: dict[str, Method], pictures: Path | None
) -> dict[str, list[tuple[int, Outcome]]]:
    """All trials with all methods: name -> (number of the trial, outcome)."""
    results: dict[str, list[tuple[int, Outcome]]] = defaultdict(list)
    for number in tqdm(numbers, unit="trial", file=sys.stderr):
        for name, method in ways.items():
            trial = TrialScene(number, robot)
            answers: list[tuple[Question, Target]] = []
            outcomes = run_trial(
                trial, method, on_answer=lambda q, t, seen=answers: seen.append((q, t))
            )
            results[name] += [(number, outcome) for outcome in outcomes]
            if pictures and name == "ours" and not outcomes[-1].ok:
                rgb = trial.view.rgb if outcomes[-1].half == "pick" else None
                _draw(rgb, outcomes[-1], answers, pictures / f"trial_{number}.png")
    return results


def _draw(
    rgb: npt.NDArray[np.uint8] | None,
    outcome: Outcome,
    answers: list[tuple[Question, Target]],
    path: Path,
) -> None:
    """The picture that was asked about, what was asked and how it ended."""
    if rgb is None:
        return
    image = Image.fromarray(rgb)
    draw = ImageDraw.Draw(image)
    if answers:
        u, v = answers[-1][1].pixel
        draw.ellipse((u - 7, v - 7, u + 7, v + 7), outline="white", width=3)
    draw.text((6, 6), f"{outcome.instruction}  [{outcome.cause}]", fill="white")
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)


def summarise(outcomes: list[tuple[int, Outcome]]) -> dict[str, object]:
    """Counts, intervals, causes, kinds and times of one method."""
    summary: dict[str, object] = {}
    for half in ("pick", "place"):
        group = [outcome for _, outcome in outcomes if outcome.half == half]
        right = sum(outcome.ok for outcome in group)
        low, high = float("nan"), float("nan")
        if group:
            low, high = binomtest(right, len(group)).proportion_ci(method="wilson")
        kinds: dict[str, list[bool]] = defaultdict(list)
        for outcome in group:
            kinds[outcome.kind].append(outcome.ok)
        summary[half] = {
            "n": len(group),
            "ok": right,
            "rate": right / len(group) if group else None,
            "interval": [float(low), float(high)],
            "causes": dict(Counter(o.cause for o in group if not o.ok)),
            "kinds": {kind: [sum(done), len(done)] for kind, done in sorted(kinds.items())},
            "seconds": {
                stage: float(np.median([o.seconds[stage] for o in group if o.ok]))
                for stage in ("answer", "motion")
                if right
            },
        }
    return summary


def table(summaries: dict[str, dict[str, object]]) -> str:
    """The summaries as text."""
    lines = [f"{'method':<26}{'half':<7}{'n':>4}{'ok':>8}{'95 % interval':>18}  failures by cause"]
    for name, summary in summaries.items():
        for half in ("pick", "place"):
            row: dict = summary[half]  # type: ignore[assignment]
            if not row["n"]:
                continue
            low, high = row["interval"]
            causes = ", ".join(f"{cause} {count}" for cause, count in row["causes"].items())
            lines.append(
                f"{name:<26}{half:<7}{row['n']:>4}{row['rate']:>8.1%}"
                f"{low:>10.1%} to {high:>5.1%}  {causes}"
            )
    return "\n".join(lines)


def page(report: dict, results: dict[str, list[tuple[int, Outcome]]], pictures: Path | None) -> str:
    """The report as one HTML page."""
    rows = "".join(
        f"<tr><td>{html.escape(name)}<td>{number}<td>{o.half}<td>{o.kind}"
        f"<td>{html.escape(o.instruction)}<td>{o.cause or 'ok'}<td>{html.escape(o.detail)}"
        for name, outcomes in results.items()
        for number, o in outcomes
    )
    images = "".join(
        f'<figure><img src="{p.relative_to(pictures.parent)}"><figcaption>{p.stem}</figcaption>'
        "</figure>"
        for p in sorted(pictures.glob("*.png"))
    ) if pictures else ""  # fmt: skip
    return (
        "<!doctype html><meta charset=utf-8><title>pick and place</title>"
        "<style>body{font:14px sans-serif}td{padding:2px 8px;border-top:1px solid #ccc}</style>"
        f"<h1>Pick and place</h1><p>{html.escape(json.dumps(report['settings']))}</p>"
        f"<pre>{html.escape(table(report['summaries']))}</pre>"
        f"<table><tr><th>method<th>trial<th>half<th>kind<th>instruction<th>result<th>{rows}"
        f"</table>{images}"
    )


def goals_met(summaries: dict[str, dict[str, object]]) -> list[str]:
    """A line for each goal: what was measured and whether it is reached."""
    lines = []
    for name in ("true point + ours", "ours"):
        if name not in summaries:
            continue
        for half, goals in GOALS.items():
            row: dict = summaries[name][half]  # type: ignore[assignment]
            goal = goals[1] if name in _METHODS_WITH_TRUTH else goals[0]
            if row["n"]:
                verdict = "reached" if row["rate"] >= goal else "NOT reached"
                lines.append(f"{name}, {half}: {row['rate']:.1%}, goal {goal:.0%}: {verdict}")
    return lines


def main(argv: list[str] | None = None) -> int:
    """Run the benchmark; returns its exit status."""
    parser = argparse.ArgumentParser(prog="benchmarks.pick_and_place", description=__doc__)
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0, help="number of the first trial")
    parser.add_argument("--robot", default="auto", help="panda, gripper or auto")
    parser.add_argument("--model", default="roborefer:demo", help="spec of the pointing model")
    parser.add_argument("--only", action="append", help="only this method (may be repeated)")
    parser.add_argument("--out", type=Path, default=Path("out/pick_and_place"))
    arguments = parser.parse_args(argv)
    started_s = time.perf_counter()
    try:
        from roborefer_ros.arm.robot import have_panda, open_robot

        robot = open_robot(arguments.robot).name
        ways = methods(arguments.model)
    except (RoboReferError, ValueError) as error:
        print(f"error {getattr(error, 'code', 2600)}: {error}", file=sys.stderr)
        return 1
    if arguments.only:
        unknown = set(arguments.only) - set(ways)
        if unknown:
            print(f"unknown method: {', '.join(sorted(unknown))}; known: {', '.join(ways)}")
            return 2
        ways = {name: ways[name] for name in arguments.only}
    arguments.out.mkdir(parents=True, exist_ok=True)
    pictures = arguments.out / "failures"
    results = run(range(arguments.seed, arguments.seed + arguments.trials), robot, ways, pictures)
    summaries = {name: summarise(outcomes) for name, outcomes in results.items()}
    report = {
        "settings": {
            "trials": arguments.trials,
            "seed": arguments.seed,
            "robot": robot if robot != "panda" or have_panda() else "gripper",
            "model": arguments.model,
            "machine": platform.machine(),
            "seconds": round(time.perf_counter() - started_s, 1),
        },
        "summaries": summaries,
        "goals": goals_met(summaries),
        "trials": {
            name: [{"trial": number, **vars(outcome)} for number, outcome in outcomes]
            for name, outcomes in results.items()
        },
    }
    (arguments.out / "report.json").write_text(json.dumps(report, indent=1), encoding="utf-8")
    (arguments.out / "report.html").write_text(page(report, results, pictures), encoding="utf-8")
    print(f"robot: {robot}; {arguments.trials} trials from {arguments.seed}")
    print(table(summaries))
    print("\n".join(report["goals"]))  # type: ignore[arg-type]
    print(f"report: {arguments.out / 'report.html'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
