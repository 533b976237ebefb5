# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The 31 relations against golden values, and against other formulations."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from roborefer_ros.datagen.relations import PAIR_TRUTHS, RELATIONS, all_relations, back, face
from roborefer_ros.datagen.scene import Box, Camera, Scene

GOLDEN = json.loads(
    (Path(__file__).parents[2] / "data/golden_relations/relations.json").read_text()
)


def golden_scene(name: str) -> Scene:
    stored = GOLDEN["scenes"][name]
    camera = stored["camera"]
    boxes = tuple(
        Box(
            id=o["id"],
            category=o["class"],
            position=np.array(o["position"], float),
            scale=np.array(o["scale"], float),
            R=np.array(o["R"], float),
            points=np.array(o["points"], float) if o.get("points") else None,
        )
        for o in stored["objects"]
    )
    view = Camera(
        np.array(camera["K"], float),
        camera["width"],
        camera["height"],
        np.array(camera["gravity"], float),
    )
    return Scene(name, view, boxes)


SCENES = {name: golden_scene(name) for name in GOLDEN["scenes"]}


def test_the_order_is_the_published_one() -> None:
    assert list(RELATIONS) == GOLDEN["relation_order"]
    assert len(set(RELATIONS)) == 31


@pytest.mark.parametrize("case", GOLDEN["cases"], ids=lambda c: c["id"])
def test_golden_case(case: dict[str, Any]) -> None:
    scene = SCENES[case["scene"]]
    third = scene.box(case["c"]) if case.get("c") else None
    found = all_relations(scene, scene.box(case["a"]), scene.box(case["b"]), third)
    for name, expected in case["expected"].items():
        value = found[name]
        if name == "free_space" and expected is not None:
            check_free_space(value, expected)
        elif isinstance(expected, bool) or expected is None:
            assert value is expected, name
        else:
            assert value == pytest.approx(
                expected, abs=0.01 if name in ("angle",) or "rotation" in name else 2e-3
            ), name


def check_free_space(found: dict[str, Any] | None, expected: dict[str, Any]) -> None:
    assert found is not None
    assert found["platform"] == expected["platform"]
    for key in ("radius", "height_world_y"):
        assert found[key] == pytest.approx(expected[key], abs=2e-3)
    for side in ("left", "right", "front", "behind"):
        assert found[side]["free"] is expected[side]["free"]
        assert found[side]["points"] == pytest.approx(expected[side]["points"], rel=0.01)
        if expected[side]["mean_camera"] is not None:
            assert found[side]["mean_camera"] == pytest.approx(
                expected[side]["mean_camera"], abs=2e-3
            )


def random_rotation(rng: np.random.Generator) -> np.ndarray:
    q, r = np.linalg.qr(rng.normal(size=(3, 3)))
    q = q * np.sign(np.diag(r))
    if np.linalg.det(q) < 0:
        q[:, 2] *= -1
    return q


def random_box(rng: np.random.Generator, name: str, upright: bool = False) -> Box:
    rotation = random_rotation(rng)
    if upright:
        angle = rng.uniform(0, 2 * np.pi)
        c, s = np.cos(angle), np.sin(angle)
        rotation = np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])
    return Box(name, name, rng.uniform(-1, 1, 3) + [0, 0, 3], rng.uniform(0.05, 0.6, 3), rotation)


def level_scene(*boxes: Box) -> Scene:
    camera = Camera(
        np.array([[500.0, 0, 319.5], [0, 500.0, 239.5], [0, 0, 1]]), 640, 480, np.eye(3)
    )
    return Scene("level", camera, boxes)


OPPOSITES = [
    ("left", "right"), ("above_world", "below_world"), ("above_image", "below_image"),
    ("front", "behind"), ("tall", "short"), ("big", "small"), ("wide", "thin"),
]  # fmt: skip


def test_opposites_swap_with_the_objects() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        a, b = random_box(rng, "a"), random_box(rng, "b")
        scene = level_scene(a, b)
        for one, other in OPPOSITES:
            assert PAIR_TRUTHS[one](scene, a, b) is PAIR_TRUTHS[other](scene, b, a)
            assert PAIR_TRUTHS[one](scene, a, b) is not PAIR_TRUTHS[one](scene, b, a)
            assert PAIR_TRUTHS[one](scene, a, a) is False


def moved(box: Box, turn: np.ndarray, centre: np.ndarray, size: float = 1.0) -> Box:
    return Box(
        box.id,
        box.category,
        centre + size * (turn @ (box.position - centre)),
        size * box.scale,
        turn @ box.R,
    )


def test_half_a_turn_mirrors_and_scaling() -> None:
    """Half a turn about gravity swaps left/right and front/behind; a mirror left/right only."""
    rng = np.random.default_rng(1)
    half_turn, centre = np.diag([-1.0, 1.0, -1.0]), np.array([0.0, 0.0, 3.0])
    for _ in range(100):
        a, b = (
            Box(n, n, rng.uniform(-1, 1, 3) + centre, np.full(3, 1e-3), np.eye(3)) for n in "ab"
        )
        p, q = (moved(x, half_turn, centre) for x in (a, b))
        mirrored = [Box(x.id, x.id, x.position * [-1, 1, 1], x.scale, np.eye(3)) for x in (a, b)]
        before = {n: t(level_scene(a, b), a, b) for n, t in PAIR_TRUTHS.items()}
        turned = {n: t(level_scene(p, q), p, q) for n, t in PAIR_TRUTHS.items()}
        flipped = {n: t(level_scene(*mirrored), *mirrored) for n, t in PAIR_TRUTHS.items()}
        assert turned["left"] is before["right"]
        assert turned["front"] is before["behind"]
        assert turned["above_world"] is before["above_world"]
        assert flipped["left"] is before["right"]
        assert flipped["front"] is before["front"]
        bigger = [moved(x, np.eye(3), np.zeros(3), 2.5) for x in (a, b)]
        small, large = (
            all_relations(level_scene(*pair), *pair)["distance"] for pair in ((a, b), bigger)
        )
        assert large == pytest.approx(2.5 * small)


def half_space_faces(a: Box, b: Box, sign: float) -> bool:
    """The field of view by its four planes through the apex, the ray against six faces."""
    axis = sign * a.R[:, 0]
    front = [
        a.position + axis * a.scale[0] / 2 + i * a.R[:, 1] * a.scale[1] / 2
        + j * a.R[:, 2] * a.scale[2] / 2
        for i, j in ((-1, -1), (-1, 1), (1, 1), (1, -1))
    ]  # fmt: skip
    u = front[0] - a.position
    t = u @ axis - np.linalg.norm(u - (u @ axis) * axis) / np.tan(np.deg2rad(30))
    apex = a.position + t * axis
    middle = np.mean(front, 0)
    inside = True
    for k in range(4):
        normal = np.cross(front[k] - apex, front[(k + 1) % 4] - apex)
        if normal @ (middle - apex) < 0:
            normal = -normal
        inside &= bool(normal @ (b.position - apex) >= 0)
    # the ray against each of the six faces, or a start inside
    start, way = b.R.T @ (a.position - b.position), b.R.T @ axis
    hit = bool(np.all(np.abs(start) <= b.scale / 2))
    for k in range(3):
        for plane in (-b.scale[k] / 2, b.scale[k] / 2):
            t = (plane - start[k]) / way[k]
            others = [m for m in range(3) if m != k]
            place = (start + t * way)[others]
            hit |= bool(t >= 0 and np.all(np.abs(place) <= b.scale[others] / 2))
    return bool(inside or hit)


def test_facing_equals_the_half_space_formulation() -> None:
    rng = np.random.default_rng(2)
    counts = {True: 0, False: 0}
    for _ in range(3000):
        a, b = random_box(rng, "a"), random_box(rng, "b")
        assert face(a, b) is half_space_faces(a, b, 1.0)
        assert back(a, b) is half_space_faces(a, b, -1.0)
        counts[face(a, b)] += 1
    assert min(counts.values()) > 100
