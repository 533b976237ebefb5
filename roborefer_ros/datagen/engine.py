# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""All questions about one scene: drawn by quota, checked a second time, never twice the same."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from roborefer_ros.datagen.evaluator import Evaluator
from roborefer_ros.datagen.locate import EDGE_PX
from roborefer_ros.datagen.propose import Proposer
from roborefer_ros.datagen.qa import QA
from roborefer_ros.datagen.questions import ASKED, PairQuestions
from roborefer_ros.datagen.reasoning import ReasonedQuestions
from roborefer_ros.datagen.resolve import Resolver
from roborefer_ros.datagen.scene import Scene

#: kind of question -> its share
SHARES = {"pairs": 0.45, "refer": 0.27, "point": 0.06, "vacant": 0.1, "free": 0.12}
#: attempts that fail before a scene counts as exhausted, per wanted question
_PATIENCE = 6


@dataclass(frozen=True)
class Asked:
    """What one scene gave.

    Attributes:
        questions: In the order in which they were drawn.
        counts: What was dropped, by reason.
    """

    questions: tuple[QA, ...]
    counts: Counter[str]


def scene_rng(seed: int, scene_id: str, purpose: str = "") -> np.random.Generator:
    """Randomness that depends on the seed and the scene's name alone."""
    digest = hashlib.sha256(f"{seed}\0{scene_id}\0{purpose}".encode()).digest()
    return np.random.default_rng(np.frombuffer(digest, np.uint32))


def ask(scene: Scene, seed: int, count: int) -> Asked:
    """Up to ``count`` questions about a scene.

    Args:
        scene: Boxes with their pixels (``locate.located``).
        seed: Of the whole data set.
        count: Greatest number of questions.
    """
    rng = scene_rng(seed, scene.id)
    resolver = Resolver(scene)
    proposer = Proposer(resolver, rng)
    pairs = PairQuestions(resolver, proposer, rng)
    reasoned = ReasonedQuestions(resolver, proposer, rng)
    relations = _cycle(rng)
    draws: dict[str, Callable[[], QA | None]] = {
        "pairs": lambda: pairs.draw(next(relations)),
        "refer": reasoned.refer,
        "point": reasoned.point,
        "vacant": reasoned.vacant,
        "free": reasoned.free,
    }
    return _collect(scene, draws, rng, count)


def _cycle(rng: np.random.Generator) -> Iterator[str]:
    while True:
        yield from (ASKED[i] for i in rng.permutation(len(ASKED)))


def _collect(
    scene: Scene, draws: dict[str, Callable[[], QA | None]], rng: np.random.Generator, count: int
) -> Asked:
    evaluator, counts = Evaluator(scene), Counter[str]()
    names, shares = list(SHARES), np.array([*SHARES.values()])
    seen: set[str] = set()
    found: list[QA] = []
    for _ in range(_PATIENCE * count):
        if len(found) == count:
            break
        qa = draws[names[int(rng.choice(len(names), p=shares))]]()
        if qa is None:
            counts["not clear or not there"] += 1
        elif qa.question in seen:
            counts["duplicate question"] += 1
        elif qa.point is not None and not _inside(scene, qa.point):
            counts["answer at the picture's edge"] += 1
        elif not evaluator.agrees(qa):
            counts[f"refused by the second check: {qa.form}"] += 1
        else:
            seen.add(qa.question)
            found.append(qa)
    return Asked(tuple(found), counts)


def _inside(scene: Scene, point: tuple[float, float]) -> bool:
    u, v = point[0] * scene.camera.width, point[1] * scene.camera.height
    return bool(
        EDGE_PX <= u <= scene.camera.width - EDGE_PX
        and EDGE_PX <= v <= scene.camera.height - EDGE_PX
    )
