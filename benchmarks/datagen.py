# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Speed and quality of the data engine, from boxes without rendering.

Questions are drawn and checked on scenes of boxes that were laid out before, one process, one
core; the time is the process's own.  --quality renders scenes and counts what the questions turn
on: relations, steps, shares of answers, referents that keep under 1 cm of noise.

    python -m benchmarks.datagen [--scenes 200] [--questions 40] [--quality]
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from dataclasses import replace

import numpy as np

from roborefer_ros.datagen.engine import ask
from roborefer_ros.datagen.evaluator import Evaluator, agrees
from roborefer_ros.datagen.locate import located
from roborefer_ros.datagen.qa import REASONED
from roborefer_ros.datagen.relations import RELATIONS
from roborefer_ros.datagen.scene import Box, Scene
from roborefer_ros.datagen.sources.simulation import boxes_only, sample_layout, simulated

GOAL_QA_PER_S = 200.0
_SIZE = (640, 480)


def speed(scenes: int, questions: int) -> float:
    """Questions a second and core from boxes."""
    made = [
        boxes_only(sample_layout(np.random.default_rng((0, k))), _SIZE, f"boxes-{k}")
        for k in range(scenes)
    ]
    count, started = 0, time.process_time()
    for scene in made:
        count += len(ask(located(scene), 0, questions).questions)
    return count / (time.process_time() - started)


def shaken(box: Box, rng: np.random.Generator) -> Box:
    """The box moved by 1 cm of noise."""
    offset = rng.normal(0, 0.01, 3)
    points = None if box.points is None else box.points + offset
    return replace(box, position=box.position + offset, points=points)


def quality(scenes: int, questions: int) -> bool:
    """Print what rendered scenes give; whether every goal is met."""
    relations, steps, forms = Counter[str](), Counter[int](), Counter[str]()
    options: dict[str, Counter[str]] = {}
    rng = np.random.default_rng(0)
    unique = kept = referring = agreed = total = 0
    for number in range(scenes):
        scene: Scene = located(simulated(0, number, _SIZE)[0])
        exact = Evaluator(scene)
        noisy = Evaluator(replace(scene, boxes=tuple(shaken(b, rng) for b in scene.boxes)))
        for qa in ask(scene, 0, questions).questions:
            relations.update(r for r in qa.relations if r)
            forms[f"{qa.part}/{qa.form}"] += 1
            total += 1
            agreed += agrees(scene, qa)
            if qa.part == REASONED:
                steps[qa.steps] += 1
            if qa.form in ("yes_no", "which"):
                options.setdefault(qa.form, Counter())[qa.option] += 1
            if qa.derivation["form"] == "refer":
                found = exact.fitting(qa.derivation["reference"])
                unique += len(found) == 1
                kept += [b.id for b in noisy.fitting(qa.derivation["reference"])] == [
                    b.id for b in found
                ]
                referring += 1
    missing = sorted(set(RELATIONS) - set(relations))
    print(f"{total} questions about {scenes} rendered scenes, {agreed} pass the second check")
    print(f"relations: {len(RELATIONS) - len(missing)} of 31; missing: {', '.join(missing) or '-'}")
    print("least frequent:", ", ".join(f"{n} {c}" for n, c in relations.most_common()[-6:]))
    print("reasoned questions by steps:", dict(sorted(steps.items())))
    print("forms:", dict(sorted(forms.items())))
    print("options before balancing:", {k: dict(v) for k, v in options.items()})
    print(f"one referent: {unique} of {referring}; the same under 1 cm of noise: {kept}")
    return not missing and unique == referring and kept >= 0.99 * referring and len(steps) == 5


def main(argv: list[str] | None = None) -> int:
    """Run the benchmark; 0 if the goals are met."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.datagen", description=__doc__)
    parser.add_argument("--scenes", type=int, default=200)
    parser.add_argument("--questions", type=int, default=40)
    parser.add_argument("--quality", action="store_true")
    arguments = parser.parse_args(argv)
    if arguments.quality:
        return 0 if quality(arguments.scenes, arguments.questions) else 1
    rate = speed(arguments.scenes, arguments.questions)
    print(f"{rate:.0f} questions a second and core (goal: {GOAL_QA_PER_S:.0f})")
    return 0 if rate >= GOAL_QA_PER_S else 1


if __name__ == "__main__":
    sys.exit(main())
