# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Instructions as people type them, about what is there, is not there, or is there twice."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from roborefer_ros.pointing.answers import parse_tuples
from roborefer_ros.pointing.nothing import says_nothing
from roborefer_ros.simulation.dataset import generate
from roborefer_ros.simulation.geometry import seen_objects
from roborefer_ros.simulation.held_out import HeldOutScene, held_out_scene
from roborefer_ros.simulation.instructions import COLOURS, SHAPES, Question
from roborefer_ros.simulation.variety import (
    SYNONYMS,
    absent_questions,
    every_questions,
    reworded,
    with_case,
    with_synonyms,
    with_typo,
    without_articles,
)
from roborefer_ros.types import Mode


@pytest.fixture(scope="module")
def scenes() -> list[HeldOutScene]:
    return [held_out_scene(number, 160, 120, questions=20) for number in range(20)]


def names_of(question: Question) -> list[str]:
    """What stands at the end of each mention."""
    return [question.instruction[: m.end].split()[-1] for m in question.mentions]


def test_mentions_end_with_the_noun_and_name_what_is_called_so(scenes: list[HeldOutScene]) -> None:
    for scene in scenes:
        seen = {o.instance: o.item for o in seen_objects(scene.scene, scene.view)}
        for question in scene.questions:
            assert question.mentions, question.instruction
            for mention, noun in zip(question.mentions, names_of(question), strict=True):
                assert mention.words.split()[-1] == noun
                assert mention.instances
                for instance in mention.instances:
                    item = seen[instance]
                    known = (item.colour, item.shape, "object")
                    assert all(word in known for word in mention.words.split())


def test_rewording_keeps_answer_and_mentions(scenes: list[HeldOutScene]) -> None:
    rng = np.random.default_rng(0)
    texts = set()
    for scene in scenes:
        for question in scene.questions:
            other = reworded(question, rng)
            texts.add(other.instruction != question.instruction)
            assert other.answer == question.answer
            assert [m.instances for m in other.mentions] == [m.instances for m in question.mentions]
            for mention in other.mentions:
                assert 0 < mention.end <= len(other.instruction)
                assert other.instruction[mention.end - 1].isalpha()
            assert not any("\ue000" <= c <= "\uf8ff" for c in other.instruction)
    assert texts == {True, False}


def test_each_change_changes_what_it_says() -> None:
    text, rng = "Point to the red mug left of the box.", np.random.default_rng(0)
    assert {with_case(text, rng) for _ in range(40)} >= {text.upper(), text.lower(), text.title()}
    assert "the" not in without_articles(text, rng)
    changed = {with_synonyms(text, rng) for _ in range(40)}
    assert all("mug left" not in c or "coffee mug" in c for c in changed)
    assert all(any(f"{s}." in c for s in SYNONYMS["box"]) for c in changed)
    for _ in range(100):
        slip = with_typo(text, rng)
        assert abs(len(slip) - len(text)) <= 1
        assert slip.split(" ")[0] != ""


def test_absent_things_are_nowhere_in_the_scene(scenes: list[HeldOutScene]) -> None:
    """Each instruction names at least one thing that no object of the scene is."""
    rng, modes = np.random.default_rng(1), set()
    for scene in scenes:
        items = scene.scene.objects
        for question in absent_questions(scene.scene, scene.view, rng, 20):
            modes.add(question.mode)
            assert question.answer == "[]"
            assert says_nothing(question.answer)
            assert not question.mask.any()
            assert question.kind == "absent"
            phrases = question.words.replace(" and the ", " | the ").split("the ")
            lacking = False
            for phrase in phrases:
                words = [w for w in phrase.split() if w in COLOURS or w in SHAPES]
                known = phrase.split() and all(
                    w in COLOURS or w in SHAPES or w == "object" for w in phrase.split()[:2]
                )
                if known and words:
                    lacking |= not any(all(w in (o.colour, o.shape) for w in words) for o in items)
                else:
                    lacking = True  # another thing altogether
            assert lacking, question.words
    assert modes == {Mode.OBJECT, Mode.FREE_SPACE}


def test_several_points_are_those_of_all_that_fit(scenes: list[HeldOutScene]) -> None:
    rng, found = np.random.default_rng(2), 0
    for scene in scenes:
        for question in every_questions(scene.scene, scene.view, rng, 4):
            points = [match.point for match in parse_tuples(question.answer)]
            (mention,) = question.mentions
            assert 2 <= len(points) == len(mention.instances) <= 4
            assert [x for x, _ in points] == sorted(x for x, _ in points)
            found += 1
    assert found > 5


def test_steps_name_the_anchors(scenes: list[HeldOutScene]) -> None:
    kinds = set()
    for scene in scenes:
        pixels = {o.pixel for o in seen_objects(scene.scene, scene.view)}
        for question in scene.questions:
            assert all(pixel in pixels for _, pixel in question.steps)
            if question.steps:
                kinds.add(question.kind)
            if question.kind in ("between", "free_between"):
                assert len(question.steps) == 2
    assert {"between", "closest_to", "nth_from_side", "free_beside"} <= kinds


def test_photographs_are_asked_in_vain(tmp_path: Path) -> None:
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    rng = np.random.default_rng(0)
    cv2.imwrite(str(pictures / "a.png"), rng.integers(0, 255, (90, 130, 3), dtype=np.uint8))
    path = generate(
        tmp_path / "data", 2, 7, size=(64, 48), questions=4, workers=1, photographs=pictures
    )
    entries = json.loads(path.read_text())
    (photograph,) = [e for e in entries if e["id"].startswith("photograph")]
    assert {t["value"] for t in photograph["conversations"][1::2]} == {"[]"}
    assert photograph["conversations"][0]["value"].startswith("<image>\n<depth>\n")
    for kind in ("image", "depth", "instance"):
        picture = cv2.imread(str(path.parent / kind / photograph[kind]), cv2.IMREAD_UNCHANGED)
        assert picture.shape[:2] == (48, 64)


def test_a_folder_without_pictures_is_refused(tmp_path: Path) -> None:
    (tmp_path / "none").mkdir()
    with pytest.raises(ValueError, match="holds no picture"):
        generate(tmp_path / "d", 1, 7, size=(64, 48), workers=1, photographs=tmp_path / "none")
