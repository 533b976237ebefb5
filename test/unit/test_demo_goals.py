# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""What the benchmark of the bundled network counts: answers of a model that knows the truth."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks import real_frames
from benchmarks.demo_goals import ABSENT, PHRASINGS, Goal, ask_again, goals_of
from roborefer_ros.errors import NothingFoundError, PointOutsideImageError
from roborefer_ros.simulation.held_out import HeldOutScene, held_out_scene


class Knowing:
    """Points to what a plainly worded question of the scene asks for, if it sees the depth."""

    def __init__(self, scene: HeldOutScene, needs_depth: bool) -> None:
        self._answers = {q.instruction.casefold(): q for q in scene.questions}
        self._needs_depth = needs_depth

    def point(self, rgb: object, depth: object, instruction: str) -> object:
        question = self._answers.get(instruction.casefold())
        if question is None:
            raise NothingFoundError("the model answered '[]'")
        if self._needs_depth and depth is None:
            raise PointOutsideImageError("the model answered '[(7, 7)]'")
        height, width = question.mask.shape
        u, v = question.pixel
        return SimpleNamespace(points=[((u + 0.5) / width, (v + 0.5) / height)])


def goals(scene: HeldOutScene, needs_depth: bool) -> dict[str, Goal]:
    depth = np.zeros(scene.view.rgb.shape[:2], np.uint8)
    replies = ask_again(Knowing(scene, needs_depth), scene, depth)
    present = len(scene.questions)
    assert len(replies) <= present * (2 + len(PHRASINGS)) + 2 * ABSENT
    return {goal.name: goal for goal in goals_of(replies, 0.03, Path(__file__).parent / "demo")}


@pytest.fixture(scope="module")
def scene() -> HeldOutScene:
    return held_out_scene(3, 160, 120, 24)


def test_who_knows_the_truth_reaches_the_goals(scene: HeldOutScene) -> None:
    reached = goals(scene, needs_depth=False)
    for name in ("objects", "absent things answered none", "objects lost without depth"):
        assert reached[name].met, reached[name]
    assert reached["objects"].value == 1.0
    assert reached["lost by upper case"].value == 0.0


def test_what_other_words_and_missing_depth_cost_is_told(scene: HeldOutScene) -> None:
    """This model takes neither typing errors nor pictures without depth."""
    reached = goals(scene, needs_depth=True)
    assert reached["objects lost without depth"].value == 1.0
    assert not reached["objects lost without depth"].met
    assert reached["lost by a typing error"].value > 0.5
    assert reached["present things answered none"].value == 0.0


def test_what_could_not_be_measured_is_not_met() -> None:
    assert not Goal("x", float("nan"), 0.9).met
    assert not Goal("x", float("nan"), 0.1, at_least=False).met
    assert "SHORT" in Goal("x", 0.5, 0.9).row()
    assert "met" in Goal("x", 0.95, 0.9).row()


def test_the_bundled_network_is_not_sure_of_anything_wrong_on_real_frames(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Frames of other people's cameras, which are unlike all that it was trained on."""
    frames = Path(__file__).parents[1] / "data/rgbd"
    assert real_frames.main(["--frames", str(frames)]) == 0, capsys.readouterr().out
    told = capsys.readouterr().out.splitlines()
    assert len(told) == sum(len(phrases) for phrases in real_frames.PHRASES.values()) + 2
