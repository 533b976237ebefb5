# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Questions whose right answer is beyond doubt: checked against the scene, word by word."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from roborefer_ros.pointing.answers import parse_tuples
from roborefer_ros.simulation.dataset import generate, main
from roborefer_ros.simulation.geometry import GroundAxes, seen_objects
from roborefer_ros.simulation.held_out import HeldOutScene, held_out_scene
from roborefer_ros.simulation.instructions import KINDS, Question
from roborefer_ros.simulation.rendering import TABLE
from roborefer_ros.types import Mode

SCENES = range(40)


@pytest.fixture(scope="module")
def scenes() -> list[HeldOutScene]:
    """Enough scenes that every kind of question occurs."""
    return [held_out_scene(number, 160, 120, questions=30) for number in SCENES]


def asked(scenes: list[HeldOutScene], *kinds: str) -> list[tuple[HeldOutScene, Question]]:
    found = [(s, q) for s in scenes for q in s.questions if q.kind in kinds]
    assert found, kinds
    return found


def test_every_kind_occurs(scenes: list[HeldOutScene]) -> None:
    assert {q.kind for s in scenes for q in s.questions} == set(KINDS)


def test_the_answer_lies_in_the_mask(scenes: list[HeldOutScene]) -> None:
    for scene in scenes:
        for question in scene.questions:
            u, v = question.pixel
            assert question.mask[v, u], question.instruction
            ((match,),) = (parse_tuples(question.answer),)
            height, width = question.mask.shape
            x, y = match.point
            assert abs(x * width - 0.5 - u) < 0.1
            assert abs(y * height - 0.5 - v) < 0.1


def test_masks_are_the_objects(scenes: list[HeldOutScene]) -> None:
    for scene in scenes:
        for question in scene.questions:
            if question.mode is Mode.OBJECT:
                np.testing.assert_array_equal(
                    question.mask, scene.view.instance == question.target_instance
                )
            else:
                assert (scene.view.instance[question.mask] == TABLE).all()


def test_names_are_unique(scenes: list[HeldOutScene]) -> None:
    """As in "the red mug": asked only where one red mug stands on the table, seen or not."""
    for scene, question in asked(scenes, "named", "attribute"):
        words = question.words.removeprefix("the ").split()
        fitting = [
            o
            for o in scene.scene.objects
            if all(word in (o.colour, o.shape, "object") for word in words)
        ]
        assert len(fitting) == 1, question.words


def target_and_anchor(scene: HeldOutScene, question: Question) -> tuple[object, object]:
    """The asked object and the one named at the end of the words."""
    seen = seen_objects(scene.scene, scene.view)
    target = next(o for o in seen if o.instance == question.target_instance)
    name = question.words.rsplit(" the ", 1)[1].split()
    (anchor,) = [o for o in seen if all(w in (o.item.colour, o.item.shape) for w in name)]
    return target, anchor


def test_left_and_right_are_those_of_the_image(scenes: list[HeldOutScene]) -> None:
    for scene, question in asked(scenes, "left_of", "right_of"):
        target, anchor = target_and_anchor(scene, question)
        assert (target.u < anchor.u) == (question.kind == "left_of"), question.words


def test_in_front_is_nearer_to_the_camera(scenes: list[HeldOutScene]) -> None:
    for scene, question in asked(scenes, "in_front_of", "behind"):
        target, anchor = target_and_anchor(scene, question)
        camera = scene.view.world_T_camera[:3, 3]

        def away(seen: object, camera: np.ndarray = camera) -> float:
            return float(np.hypot(seen.item.x - camera[0], seen.item.y - camera[1]))

        assert (away(target) < away(anchor)) == (question.kind == "in_front_of"), question.words


def test_ordinals_count_along_the_image(scenes: list[HeldOutScene]) -> None:
    order = ("first", "second", "third", "fourth")
    for scene, question in asked(scenes, "nth_from_side"):
        words = question.words.split()
        what, side = words[2:-3], words[-1]
        seen = [
            o
            for o in seen_objects(scene.scene, scene.view)
            if all(w in (o.item.colour, o.item.shape, "object") for w in what)
        ]
        seen.sort(key=lambda o: o.u, reverse=side == "right")
        assert seen[order.index(words[1])].instance == question.target_instance


def test_free_space_is_free(scenes: list[HeldOutScene]) -> None:
    """No object's footprint reaches into the centre of the spot."""
    for scene, question in asked(scenes, "free_beside", "free_between"):
        assert question.mode is Mode.FREE_SPACE
        x, y, _ = scene.view.points_world()[question.pixel[1], question.pixel[0]]
        for item in scene.scene.objects:
            assert np.hypot(item.x - x, item.y - y) > item.footprint_m + 0.02


def test_ground_axes_are_those_of_the_camera(scenes: list[HeldOutScene]) -> None:
    axes = GroundAxes.of(scenes[0].view.world_T_camera)
    assert axes.right @ axes.forward == pytest.approx(0.0, abs=1e-12)
    right, forward = axes.place(*axes.world(0.2, 0.7))
    assert (right, forward) == pytest.approx((0.2, 0.7))
    assert axes.world(1.0, 0.0)[1] < axes.origin[1]  # right is -y for a camera looking along +x


# --- on disk ---------------------------------------------------------------------------


def test_dataset_in_refspatials_layout(tmp_path: Path) -> None:
    """Conversations with media in the first turn, pictures, and the same data every time."""
    path = generate(tmp_path / "a", 3, seed=7, size=(160, 120), questions=6, workers=1)
    entries = json.loads(path.read_text())
    for entry in entries:
        turns = entry["conversations"]
        assert turns[0]["value"].startswith("<image>\n<depth>\n")
        assert all("<image>" not in turn["value"] for turn in turns[1:])
        assert [t["from"] for t in turns] == ["human", "gpt"] * (len(turns) // 2)
        assert len(entry["questions"]) == len(turns) // 2
        for turn, question in zip(turns[1::2], entry["questions"], strict=True):
            if question["kind"] == "absent":
                assert turn["value"] == "[]"
            else:
                assert (len(parse_tuples(turn["value"])) > 1) == (question["kind"] == "every")
        for kind, channels in (("image", 3), ("depth", None), ("instance", None)):
            picture = cv2.imread(str(path.parent / kind / entry[kind]), cv2.IMREAD_UNCHANGED)
            assert picture.shape == ((120, 160, 3) if channels else (120, 160))
    again = generate(tmp_path / "b", 3, seed=7, size=(160, 120), questions=6, workers=2)
    assert json.loads(again.read_text()) == entries


def test_dataset_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--out", str(tmp_path), "--scenes", "2", "--width", "160", "--height", "120"]
    assert main([*arguments, "--workers", "1", "--questions", "4"]) == 0
    assert "2 scenes" in capsys.readouterr().out
