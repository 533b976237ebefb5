# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The 31 relations of RefSpatial (arXiv 2506.04308, figures 36 to 39) on oriented boxes.

A, B, C are boxes of one scene; truths are about A with respect to B, and to B and C where three
take part.  Inequalities are strict: equal values make both directions false.  Corner and edge are
this project's formulas, since no source defines them.  "Touch" is a mean distance of surfaces, so a
vase does not touch the table that it stands on; ``contact`` is the relation that people mean.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from roborefer_ros.datagen.scene import Array, Box, Scene

#: as the published figures list them
RELATIONS = (
    "left", "right", "close", "far", "depth", "above_world", "below_world", "above_image",
    "below_image", "tall", "short", "between", "rotation_horizontal", "rotation_vertical",
    "free_space", "corner", "edge", "angle", "distance", "front", "behind", "big", "small",
    "inside", "outside", "face", "back", "wide", "thin", "touch", "far_from",
)  # fmt: skip

TOUCH_M, FAR_FROM_M = 0.1, 1.0
INSIDE_SHARE, OUTSIDE_SHARE = 0.3, 0.7
_HALF_ANGLE = np.deg2rad(30.0)
_BORDER = 2.0 / 3.0
#: poses are written with six decimals: closer values are equal
_EQUAL = 2e-6
_CHUNK = 1 << 20
_CELLS = (np.arange(10) + 0.5) / 10 - 0.5
_GRID = np.stack(np.meshgrid(_CELLS, _CELLS, _CELLS, indexing="ij"), -1).reshape(-1, 3)


def less(a: float, b: float) -> bool:
    """Whether a is smaller than b by more than rounding."""
    return bool(b - a > _EQUAL)


def _ratio_less(a: float, b: float) -> bool:
    return bool(b - a > 1e-9 * max(abs(a), abs(b)))


def nearest_distances(a: Array, b: Array) -> Array:
    """``[len(a)]`` distances from every point of ``[N, 3]`` a to its nearest of ``[M, 3]`` b."""
    step = max(1, _CHUNK // max(1, len(b)))
    parts = [
        np.sqrt(((a[i : i + step, None, :] - b[None]) ** 2).sum(-1).min(1))
        for i in range(0, len(a), step)
    ]
    return np.concatenate(parts)


def cloud_distance(a: Box, b: Box) -> float:
    """Mean of the nearest-neighbour distances of both directions, metres."""
    both = np.concatenate(
        [nearest_distances(a.cloud, b.cloud), nearest_distances(b.cloud, a.cloud)]
    )
    return float(both.mean())


def depth(a: Box) -> float:
    """Smallest z of its cloud, metres."""
    return float(a.cloud[:, 2].min())


def rotation_horizontal(a: Box) -> float:
    """Degrees that the camera turns right (> 0) or left to look at it."""
    return float(np.degrees(np.arctan2(a.position[0], a.position[2])))


def rotation_vertical(a: Box) -> float:
    """Degrees that the camera turns down (> 0) or up to look at it."""
    return float(np.degrees(np.arctan2(a.position[1], a.position[2])))


def angle(a: Box, b: Box) -> float:
    """Degrees between the two fronts, 0 to 180."""
    u, v = a.front, b.front
    return float(np.degrees(np.arctan2(np.linalg.norm(np.cross(u, v)), u @ v)))


def between_axis(a: Box, b: Box, c: Box) -> int:
    """Which of camera x, camera y and nearness has the largest variance: 0, 1 or 2."""
    return int(np.argmax(np.var([place(x) for x in (a, b, c)], axis=0)))


def place(a: Box) -> Array:
    """``[3]`` camera x and y of its centre and smallest z of its corners, metres."""
    return np.array([a.position[0], a.position[1], a.near])


def between(a: Box, b: Box, c: Box) -> bool:
    """Whether A is strictly between B and C along the axis in which the three differ most."""
    axis = between_axis(a, b, c)
    x, y, z = (place(box)[axis] for box in (a, b, c))
    return (less(y, x) and less(x, z)) or (less(z, x) and less(x, y))


def inside_share(a: Box, b: Box) -> float:
    """Share of A's volume that lies in B's box, of 10 x 10 x 10 cells' centres."""
    points = a.position + (_GRID * a.scale) @ a.R.T
    local = np.abs((points - b.position) @ b.R)
    return float(np.mean(np.all(local <= 0.5 * b.scale + 1e-9, axis=1)))


def _ray_hits(origin: Array, direction: Array, b: Box) -> bool:
    """Whether a ray meets a box; a start inside counts."""
    start, way = (origin - b.position) @ b.R, direction @ b.R
    low, high = 0.0, np.inf
    for s, w, half in zip(start, way, 0.5 * b.scale, strict=True):
        if abs(w) < 1e-12:
            if abs(s) > half + 1e-9:
                return False
            continue
        first, last = sorted(((-half - s) / w, (half - s) / w))
        low, high = max(low, first), min(high, last)
    return bool(low <= high + 1e-9)


def _in_pyramid(a: Box, point: Array, sign: float) -> bool:
    """Whether a point lies in A's field of view: sides through the corners of its front face."""
    local = (point - a.position) @ a.R
    half = 0.5 * a.scale
    lateral = float(np.hypot(half[1], half[2]))
    if lateral <= 0.0:
        return False
    reach = lateral / np.tan(_HALF_ANGLE)  # from the apex to the face
    along = sign * local[0] - (half[0] - reach)
    return bool(along > 0 and np.all(np.abs(local[1:]) <= along * half[1:] / reach))


def face(a: Box, b: Box) -> bool:
    """Whether A faces B."""
    return _in_pyramid(a, b.position, 1.0) or _ray_hits(a.position, a.front, b)


def back(a: Box, b: Box) -> bool:
    """Whether A has its back to B."""
    return _in_pyramid(a, b.position, -1.0) or _ray_hits(a.position, -a.front, b)


def on_face(scene: Scene, a: Box, b: Box) -> tuple[float, float]:
    """A's centre on the top face of B: u and v, -1 to 1 from edge to edge."""
    vertical = int(np.argmax(np.abs((b.R.T @ scene.camera.gravity)[:, 1])))
    local = (a.position - b.position) @ b.R
    u, v = (local[i] / max(0.5 * b.scale[i], 1e-9) for i in range(3) if i != vertical)
    return float(u), float(v)


def zone(scene: Scene, a: Box, b: Box) -> str:
    """Which part of B's top face A is over: "corner", "edge", "inner", or "" outside."""
    u, v = (abs(x) for x in on_face(scene, a, b))
    if max(u, v) > 1.0:
        return ""
    return ("inner", "edge", "corner")[(u >= _BORDER) + (v >= _BORDER)]


def world_y(scene: Scene, a: Box) -> float:
    """World y of its centre, metres, down."""
    return float(scene.world_centre(a)[1])


def _ordered(value: Callable[[Scene, Box], float], smaller: bool) -> Callable[..., bool]:
    def relation(scene: Scene, a: Box, b: Box) -> bool:
        x, y = value(scene, a), value(scene, b)
        return less(x, y) if smaller else less(y, x)

    return relation


def _sized(value: Callable[[Box], float], larger: bool) -> Callable[..., bool]:
    def relation(_scene: Scene, a: Box, b: Box) -> bool:
        x, y = value(a), value(b)
        return _ratio_less(y, x) if larger else _ratio_less(x, y)

    return relation


#: name -> truth of (scene, A, B)
PAIR_TRUTHS: dict[str, Callable[[Scene, Box, Box], bool]] = {
    "left": _ordered(lambda _s, a: float(a.position[0]), True),
    "right": _ordered(lambda _s, a: float(a.position[0]), False),
    "above_world": _ordered(world_y, True),
    "below_world": _ordered(world_y, False),
    "above_image": _ordered(lambda _s, a: float(a.position[1]), True),
    "below_image": _ordered(lambda _s, a: float(a.position[1]), False),
    "front": _ordered(lambda _s, a: a.near, True),
    "behind": _ordered(lambda _s, a: a.near, False),
    "tall": _sized(lambda a: float(a.scale[1]), True),
    "short": _sized(lambda a: float(a.scale[1]), False),
    "big": _sized(lambda a: a.volume, True),
    "small": _sized(lambda a: a.volume, False),
    "wide": _sized(lambda a: float(a.scale[0]), True),
    "thin": _sized(lambda a: float(a.scale[0]), False),
    "inside": lambda _s, a, b: inside_share(a, b) > INSIDE_SHARE + 1e-9,
    "outside": lambda _s, a, b: 1.0 - inside_share(a, b) > OUTSIDE_SHARE + 1e-9,
    "face": lambda _s, a, b: face(a, b),
    "back": lambda _s, a, b: back(a, b),
    "corner": lambda s, a, b: zone(s, a, b) == "corner",
    "edge": lambda s, a, b: zone(s, a, b) == "edge",
    "touch": lambda _s, a, b: cloud_distance(a, b) < TOUCH_M,
    "far_from": lambda _s, a, b: cloud_distance(a, b) > FAR_FROM_M,
}


def close(a: Box, b: Box, c: Box) -> bool:
    """Whether A is closer to C than B is."""
    return less(cloud_distance(a, c), cloud_distance(b, c))


def all_relations(scene: Scene, a: Box, b: Box, c: Box | None = None) -> dict[str, Any]:
    """Every relation of A to B (and C): truths, metres, degrees, and the free space around A.

    Args:
        scene: Holds the boxes.
        a: What the relations are about.
        b: What it is compared with.
        c: Third object, or None.

    Returns:
        One value for each name of ``RELATIONS``, None where it does not apply.
    """
    from roborefer_ros.datagen.free_space import sides_summary

    values: dict[str, Any] = {name: truth(scene, a, b) for name, truth in PAIR_TRUTHS.items()}
    values["close"] = close(a, b, c) if c else None
    values["far"] = close(b, a, c) if c else None
    values["between"] = between(a, b, c) if c else None
    values["depth"] = depth(a)
    values["rotation_horizontal"] = rotation_horizontal(a)
    values["rotation_vertical"] = rotation_vertical(a)
    values["angle"] = angle(a, b)
    values["distance"] = cloud_distance(a, b)
    values["free_space"] = sides_summary(scene, a)
    return {name: values[name] for name in RELATIONS}


def contact(_scene: Scene, a: Box, b: Box, gap_m: float = 0.01) -> bool:
    """Whether the boxes come closer than ``gap_m``: what people call touching.

    The gap is the largest separation along the axes of the separating-axis theorem, which is exact
    unless the nearest features are two vertices (then it is a little too small).
    """
    axes = [*a.R.T, *b.R.T]
    for u in a.R.T:
        for v in b.R.T:
            cross = np.cross(u, v)
            length = float(np.linalg.norm(cross))
            if length > 1e-6:
                axes.append(cross / length)
    gap = -np.inf
    for axis in axes:
        p, q = a.corners @ axis, b.corners @ axis
        gap = max(gap, p.min() - q.max(), q.min() - p.max())
    return bool(gap < gap_m)
