# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Fuller tables: up to 20 things, some with a front, some on or in others, shelves, many cameras.

``scenes.sample_scene`` stays as it is, since the benchmarks' held-out scenes come from it.
"""

from __future__ import annotations

import colorsys
from dataclasses import replace

import numpy as np

from roborefer_ros.simulation.scenes import (
    COLOURS,
    SHAPES,
    SceneObject,
    TabletopScene,
    colour_of,
    look_at,
    sample_object,
    sample_scene,
)
from roborefer_ros.simulation.things import BOARD_M, SHELF_BOARDS, THINGS

#: name -> distance to the table's middle (metres), elevation and width of view (degrees)
CAMERAS: dict[str, tuple[tuple[float, float], tuple[float, float], tuple[float, float]]] = {
    "robot": ((0.68, 0.92), (32, 60), (62, 70)),
    "overhead": ((0.80, 1.10), (70, 86), (55, 70)),
    "low": ((0.80, 1.10), (15, 30), (55, 70)),
    "far": ((1.20, 1.70), (25, 50), (40, 60)),
    "wide": ((0.55, 0.75), (35, 60), (84, 94)),
}

#: most things of a scene
MOST = 20

#: things stand in this rectangle of the table, metres: (x min, x max, y min, y max)
_AREA = (0.30, 0.98, -0.45, 0.45)
_MIDDLE = np.array([0.64, 0.0, 0.03])
_GAP_M = 0.012
_FRONTED = tuple(name for name in THINGS if name != "shelf")


def sample_varied_scene(rng: np.random.Generator, camera: str | None = None) -> TabletopScene:
    """Draw a scene.

    Args:
        rng: Source of chance.
        camera: One of ``CAMERAS``; None draws one.
    """
    base = sample_scene(rng)
    name = camera or str(rng.choice(list(CAMERAS)))
    distances, elevations, views = CAMERAS[name]
    objects: list[SceneObject] = []
    if rng.random() < 0.35:
        objects.append(_shelf(rng))
    count = int(rng.integers(3, MOST + 1))
    for _ in range(20 * MOST):
        if len(objects) >= count:
            break
        candidate = _thing(rng) if rng.random() < 0.25 else _usual(rng)
        if all(_apart(candidate, other) for other in objects):
            objects.append(candidate)
    objects += [item for shelf in objects if shelf.shape == "shelf" for item in _on(shelf, rng)]
    objects += _stacked(objects, rng)
    pose = look_at(
        _MIDDLE + rng.uniform(-0.05, 0.05, 3),
        float(rng.uniform(*distances)),
        float(np.deg2rad(rng.uniform(*elevations))),
        float(np.deg2rad(rng.uniform(-60, 60))),
        float(np.deg2rad(rng.uniform(-6, 6))),
    )
    return replace(
        base,
        objects=tuple(objects[:MOST]),
        world_T_camera=pose,
        horizontal_fov_rad=float(np.deg2rad(rng.uniform(*views))),
        ambient=float(rng.uniform(0.15, 0.7)),
        texture=(rng.uniform(0.0, 0.25), rng.uniform(5, 90), rng.uniform(0, np.pi)),
    )


def _place(rng: np.random.Generator) -> tuple[float, float]:
    x_min, x_max, y_min, y_max = _AREA
    return float(rng.uniform(x_min, x_max)), float(rng.uniform(y_min, y_max))


def _usual(rng: np.random.Generator) -> SceneObject:
    item = sample_object(rng, str(rng.choice(SHAPES)), str(rng.choice(COLOURS)))
    x, y = _place(rng)
    return replace(item, x=x, y=y)


def _thing(rng: np.random.Generator) -> SceneObject:
    name = str(rng.choice(_FRONTED))
    thing, colour = THINGS[name], str(rng.choice(COLOURS))
    x, y = _place(rng)
    return SceneObject(
        name, colour, colorsys.hsv_to_rgb(*colour_of(colour, rng)), x, y,
        float(rng.uniform(-np.pi, np.pi)), float(rng.uniform(*thing.half_length)),
        float(rng.uniform(*thing.height)), float(rng.uniform(*thing.half_width)),
    )  # fmt: skip


def _shelf(rng: np.random.Generator) -> SceneObject:
    """At the table's far side, open towards the camera."""
    thing, grey = THINGS["shelf"], float(rng.uniform(0.3, 0.8))
    return SceneObject(
        "shelf", "grey", (grey, grey, grey), float(rng.uniform(0.95, 1.10)),
        float(rng.uniform(-0.2, 0.2)), float(rng.uniform(-0.2, 0.2)),
        float(rng.uniform(*thing.half_length)), float(rng.uniform(*thing.height)),
        float(rng.uniform(*thing.half_width)),
    )  # fmt: skip


def _on(shelf: SceneObject, rng: np.random.Generator) -> list[SceneObject]:
    """One to three small things on each of the shelf's boards that has room for them."""
    items = []
    for share in SHELF_BOARDS:
        z = share * (shelf.height - BOARD_M) + BOARD_M
        room = 0.5 * shelf.height - 2 * BOARD_M if share < 1.0 else 0.2
        places = np.linspace(-0.65, 0.65, 3)[rng.random(3) < 0.5]
        for along in places:
            radius = float(rng.uniform(0.018, 0.030))
            height = min(float(rng.uniform(0.04, 0.09)), 0.85 * room)
            side = float(along) * shelf.depth
            colour = str(rng.choice(COLOURS))
            items.append(
                SceneObject(
                    str(rng.choice(["box", "cylinder"])), colour,
                    colorsys.hsv_to_rgb(*colour_of(colour, rng)),
                    shelf.x - np.sin(shelf.yaw) * side, shelf.y + np.cos(shelf.yaw) * side,
                    float(rng.uniform(-np.pi, np.pi)), radius, height,
                    0.8 * radius, z,
                )
            )  # fmt: skip
    return items


def _stacked(objects: list[SceneObject], rng: np.random.Generator) -> list[SceneObject]:
    """Small things on boxes and plates, and balls in bowls and mugs."""
    added = []
    for below in objects:
        if below.z > 0 or below.shape not in ("bowl", "plate", "box", "mug") or rng.random() < 0.6:
            continue
        wall = max(0.003, 0.08 * below.radius)
        widest, floor = {
            "bowl": (0.40 * below.radius, wall),
            "mug": (0.75 * below.radius, wall),
            "plate": (0.50 * below.radius, 0.35 * below.height),
            "box": (min(below.radius, below.depth), below.height),
        }[below.shape]
        inside = below.shape in ("bowl", "mug")
        shape = "ball" if inside else str(rng.choice(["ball", "box", "cylinder"]))
        radius = float(rng.uniform(0.6, 0.9)) * min(widest, 0.035)
        colour = str(rng.choice(COLOURS))
        height = 2 * radius if shape == "ball" else float(rng.uniform(1.5, 2.5)) * radius
        added.append(
            SceneObject(
                shape, colour, colorsys.hsv_to_rgb(*colour_of(colour, rng)), below.x, below.y,
                float(rng.uniform(-np.pi, np.pi)), radius, height, 0.8 * radius, floor,
            )
        )  # fmt: skip
    return added


def _apart(a: SceneObject, b: SceneObject) -> bool:
    distance = np.hypot(a.x - b.x, a.y - b.y)
    return bool(distance > a.footprint_m + b.footprint_m + _GAP_M)
