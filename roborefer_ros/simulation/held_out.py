# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Scenes that no training has seen: fixed by a number, the same in every process and run."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from roborefer_ros.simulation.instructions import Question, make_questions
from roborefer_ros.simulation.rendering import RenderedView, render
from roborefer_ros.simulation.scenes import TabletopScene, sample_scene

#: seed of the data set that these scenes would form; training data must use another one
HELD_OUT_SEED = 1_000_000


@dataclass(frozen=True)
class HeldOutScene:
    """A scene, its exact picture and everything that can be asked about it.

    Attributes:
        number: which one.
        scene, view: what is there and what the camera sees, without noise.
        questions: Questions with their right answers.
    """

    number: int
    scene: TabletopScene
    view: RenderedView
    questions: tuple[Question, ...]


def held_out_view(number: int, width: int, height: int) -> tuple[TabletopScene, RenderedView]:
    """Scene ``number`` and its picture of ``width`` x ``height`` pixels."""
    scene = sample_scene(np.random.default_rng((HELD_OUT_SEED, number)))
    return scene, render(scene, scene.intrinsics(width, height))


def held_out_scene(number: int, width: int, height: int, questions: int = 24) -> HeldOutScene:
    """Scene ``number`` with at most that many questions."""
    scene, view = held_out_view(number, width, height)
    # A stream of its own: the picture does not depend on how many questions are asked.
    rng = np.random.default_rng((HELD_OUT_SEED, number, 1))
    return HeldOutScene(number, scene, view, tuple(make_questions(scene, view, rng, questions)))
