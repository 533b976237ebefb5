# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Questions of simulated scenes: one derivation, one answer, checked by other means."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace

import numpy as np

from roborefer_ros.datagen.engine import Asked, ask
from roborefer_ros.datagen.evaluator import Evaluator, agrees
from roborefer_ros.datagen.expressions import Reference, Select, from_json, to_json
from roborefer_ros.datagen.qa import CHOICE, QA, REASONED
from roborefer_ros.datagen.relations import RELATIONS
from roborefer_ros.datagen.resolve import Resolver
from roborefer_ros.datagen.scene import Box, Scene
from roborefer_ros.datagen.truths import truth

STEP = re.compile(
    r"Step \d+: \[(?:Position\] \[[^\[\]]+\]: \[\([01]\.\d{3}, [01]\.\d{3}\)\]"
    r"|Orientation\] \[[^\[\]]+\]: \(-?[01]\.\d{3}, -?[01]\.\d{3}, -?[01]\.\d{3}\)"
    r"|Size\] \[[^\[\]]+\]: \d+\.\d{3})"
)


def pairs(scenes: list[Scene], asked: list[Asked]) -> list[tuple[Scene, QA]]:
    return [(s, qa) for s, a in zip(scenes, asked, strict=True) for qa in a.questions]


def test_all_relations_and_step_counts_occur(scenes: list[Scene], asked: list[Asked]) -> None:
    found = Counter(r for _, qa in pairs(scenes, asked) for r in qa.relations)
    assert set(RELATIONS) <= set(found)
    steps = Counter(qa.steps for _, qa in pairs(scenes, asked) if qa.part == REASONED)
    assert set(steps) == {1, 2, 3, 4, 5}
    assert sum(len(a.questions) for a in asked) > 0.9 * 60 * len(asked)


def test_the_same_seed_asks_the_same(scenes: list[Scene], asked: list[Asked]) -> None:
    assert ask(scenes[0], 3, 60).questions == asked[0].questions
    assert ask(scenes[0], 4, 60).questions != asked[0].questions


def test_no_question_is_asked_twice(asked: list[Asked]) -> None:
    for one in asked:
        assert len({qa.question for qa in one.questions}) == len(one.questions)


def test_exactly_one_object_fits_even_with_noise(scenes: list[Scene], asked: list[Asked]) -> None:
    """Brute force over all objects; with 1 cm of noise on every box 99 % keep their referent."""
    rng = np.random.default_rng(0)
    kept = total = 0
    for scene, one in zip(scenes, asked, strict=True):
        exact = Evaluator(scene)
        shaken = replace(scene, boxes=tuple(moved(box, rng) for box in scene.boxes))
        noisy = Evaluator(shaken)
        for qa in one.questions:
            if qa.derivation["form"] != "refer":
                continue
            found = exact.fitting(qa.derivation["reference"])
            assert len(found) == 1
            total += 1
            kept += [b.id for b in noisy.fitting(qa.derivation["reference"])] == [found[0].id]
    assert total > 150
    assert kept / total >= 0.99


def moved(box: Box, rng: np.random.Generator) -> Box:
    offset = rng.normal(0, 0.01, 3)
    points = None if box.points is None else box.points + offset
    return replace(box, position=box.position + offset, points=points)


def test_thoughts_are_step_lines_that_equal_the_key_steps(asked: list[Asked]) -> None:
    reasoned = [qa for one in asked for qa in one.questions if qa.part == REASONED]
    assert reasoned
    kinds = Counter[str]()
    for qa in reasoned:
        lines = qa.thinking.splitlines()[1:]
        assert len(lines) == len(qa.key_steps) >= 1
        assert not qa.thinking.startswith("[")
        keys = set()
        for line, step in zip(lines, qa.key_steps, strict=True):
            assert STEP.fullmatch(line), line
            assert f"[{step['type']}] [{step['target']}]: " in line
            kinds[step["type"]] += 1
            keys.add((step["type"], step["target"]))
            if step["type"] == "Orientation":
                assert abs(np.linalg.norm(step["value"]) - 1) < 0.01
        assert len(keys) == len(lines)
    assert set(kinds) == {"Position", "Orientation", "Size"}


def test_a_distractor_is_never_true(scenes: list[Scene], asked: list[Asked]) -> None:
    seen = 0
    for scene, qa in pairs(scenes, asked):
        if qa.form != "which_of":
            continue
        evaluator = Evaluator(scene)
        anchors = [evaluator.single(o) for o in qa.derivation["objects"]][1:]
        options = [evaluator.single(o) for o in qa.derivation["options"]]
        true = [evaluator.holds(qa.derivation["relation"], o, *anchors) for o in options]  # type: ignore[arg-type]
        assert true.count(True) == 1
        assert "ABCD"[true.index(True)] == qa.answer[1]
        seen += 1
    assert seen > 10


def test_the_second_check_refuses_wrong_answers(scenes: list[Scene], asked: list[Asked]) -> None:
    swaps = {"yes": "no", "no": "yes"}
    checked = Counter[str]()
    for scene, qa in pairs(scenes, asked):
        assert agrees(scene, qa)
        if qa.form == "yes_no":
            wrong = replace(qa, answer=qa.answer[:4] + swaps[qa.answer[4:]])
        elif qa.form in ("which", "which_of"):
            wrong = replace(qa, answer=("(B)" if qa.answer[1] == "A" else "(A)") + qa.answer[3:])
        elif qa.form == "value":
            wrong = replace(qa, answer=re.sub(r"\d+\.?\d*", "7777.77", qa.answer, count=1))
        elif qa.point is not None:
            wrong = replace(qa, point=(0.02, 0.03))
        else:
            relation = qa.derivation["relation"]
            opposite = {"left": "right", "right": "left", "tall": "short"}.get(relation)
            if opposite is None:
                continue
            wrong = replace(qa, derivation={**qa.derivation, "relation": opposite})
        assert not agrees(scene, wrong), (qa.form, qa.relations, qa.answer)
        checked[qa.form] += 1
    assert set(checked) == {"yes_no", "which", "which_of", "value", "point", "free", "fact"}


def test_free_places_by_masks_of_pixels(scenes: list[Scene], asked: list[Asked]) -> None:
    """The answer's depth lies on the surface, and no box of a thing stands over its place."""
    seen = 0
    for scene, qa in pairs(scenes, asked):
        if qa.form != "free":
            continue
        assert scene.depth_m is not None
        assert qa.point is not None
        u = qa.point[0] * scene.camera.width - 0.5
        v = qa.point[1] * scene.camera.height - 0.5
        z = scene.depth_m[int(round(v)), int(round(u))]
        place = np.linalg.inv(scene.camera.K) @ [u, v, 1.0] * z
        platform = scene.box(qa.derivation["platform"])
        upright = place @ scene.camera.gravity
        surface = scene.top(platform)
        assert abs(upright[1] - surface) < 0.01
        anchor = Resolver(scene).resolve(from_json(qa.derivation["anchors"][0]))
        assert anchor is not None
        for box in scene.boxes:
            small = box.volume <= 4.236 * anchor.volume and qa.derivation["side"] != "between"
            if box is platform or not small:
                continue
            probe = place + scene.camera.gravity[:, 1] * 0.0
            lifted = probe @ scene.camera.gravity
            lifted[1] = (scene.top(box) + scene.bottom(box)) / 2
            local = np.abs((lifted @ scene.camera.gravity.T - box.position) @ box.R)
            stands = scene.bottom(box) > surface - 0.2 and scene.top(box) < surface
            assert not (stands and np.all(local < 0.5 * box.scale - 0.003)), qa
        offset = upright - scene.world_centre(anchor)
        side = qa.derivation["side"]
        if side in ("left", "right"):
            assert (offset[0] > abs(offset[2]) - 1e-6) == (side == "right")
        if side in ("front", "behind"):
            assert (offset[2] > abs(offset[0]) - 1e-6) == (side == "behind")
        seen += 1
    assert seen > 50


def test_an_unclear_comparison_is_not_asked() -> None:
    """Objects 4 cm apart sideways: nobody is asked which one is left."""
    from test_relations import level_scene

    def cube(name: str, x: float, z: float = 1.0) -> Box:
        return Box(name, name, np.array([x, 0.0, z]), np.full(3, 0.06), np.eye(3))

    for gap, expected in ((0.04, None), (0.08, True)):
        scene = level_scene(cube("a", 0.0), cube("b", gap, 1.4))
        assert truth(Resolver(scene), "left", *scene.boxes) is expected
    far = level_scene(cube("a", 0.0, 4.0), cube("b", 0.08, 4.5))
    assert truth(Resolver(far), "left", *far.boxes) is None
    reference = Reference("a", "", (Select("left", 0, (Reference("b"),)),))
    assert Resolver(far).resolve(reference) is None
    assert to_json(reference)["selects"][0]["op"] == "left"


def test_letters_and_answers_are_balanced(asked: list[Asked]) -> None:
    letters = Counter(
        qa.answer[1] for one in asked for qa in one.questions if qa.part == CHOICE
        and qa.form != "which_of"
    )  # fmt: skip
    assert max(letters.values()) < 0.6 * sum(letters.values())
