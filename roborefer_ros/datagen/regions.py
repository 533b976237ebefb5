# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Free space as a grid of cells: the cell farthest from everything else is the answer."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import shapely

from roborefer_ros.datagen.free_space import (
    FAN_INNER_M,
    SIDES,
    Surroundings,
    footprint,
    visible_of,
)
from roborefer_ros.datagen.locate import EDGE_PX
from roborefer_ros.datagen.resolve import Resolver
from roborefer_ros.datagen.scene import Array, Box

CELL_M = 0.01
#: the answer keeps so far from obstacles, the region's border and what is hidden, metres
ROOM_M = 0.02
_MOST_CELLS = 200
#: half the angle of a side's sector, degrees; narrower than the fans, so that no cell is doubtful
SECTOR_DEG = 40.0
BORDER = 2.0 / 3.0


@dataclass(frozen=True)
class Place:
    """An answer in free space.

    Attributes:
        pixel: ``(u, v)``.
        world: ``(x, y, z)`` upright, metres.
        room_m: Distance to the nearest cell that is not free, metres.
    """

    pixel: tuple[float, float]
    world: tuple[float, float, float]
    room_m: float


def side_direction(resolver: Resolver, target: Box, op: str) -> Array | None:
    """Unit vector in world (x, z) of a side, as the camera or as the target sees it."""
    if op in SIDES:
        angle = np.deg2rad(SIDES[op])
        return np.array([np.cos(angle), np.sin(angle)])
    return resolver.own_direction(target, op)


def place_at_side(resolver: Resolver, target: Box, around: Surroundings, op: str) -> Place | None:
    """The roomiest visible cell in the sector of a side of a target."""
    direction = side_direction(resolver, target, op)
    if direction is None:
        return None
    centre = resolver.scene.world_centre(target)[[0, 2]]
    radius = around.radius
    cells, shape, step = _grid(centre - radius, centre + radius)
    offset = cells - centre
    length = np.hypot(offset[:, 0], offset[:, 1])
    cosine = (offset @ direction) / np.maximum(length, 1e-9)
    wanted = (length >= FAN_INNER_M) & (length <= radius)
    wanted &= cosine >= np.cos(np.deg2rad(SECTOR_DEG))
    return _roomiest(resolver, around, cells, wanted, shape, step)


def place_between(resolver: Resolver, a: Box, b: Box, around: Surroundings) -> Place | None:
    """The roomiest visible cell of the hull of two footprints."""
    scene = resolver.scene
    hull = shapely.union_all([footprint(scene, a), footprint(scene, b)]).convex_hull
    return _place_in(resolver, around, hull)


def place_in_zone(
    resolver: Resolver, surface: Box, around: Surroundings, zone: str
) -> Place | None:
    """The roomiest visible cell of a surface's corners or edges."""
    scene = resolver.scene
    low_x, low_z, high_x, high_z = footprint(scene, surface).bounds
    cells, shape, step = _grid(np.array([low_x, low_z]), np.array([high_x, high_z]))
    places = scene.camera.to_camera(
        np.stack([cells[:, 0], np.full(len(cells), around.height), cells[:, 1]], -1)
    )
    vertical = int(np.argmax(np.abs((surface.R.T @ scene.camera.gravity)[:, 1])))
    local = np.abs((places - surface.position) @ surface.R) / np.maximum(0.5 * surface.scale, 1e-9)
    uv = np.delete(local, vertical, axis=1)
    outer = (uv >= BORDER).sum(1)
    wanted = (uv <= 1.0).all(1) & (outer == (2 if zone == "corner" else 1))
    return _roomiest(resolver, around, cells, wanted, shape, step)


def _place_in(resolver: Resolver, around: Surroundings, region: shapely.Geometry) -> Place | None:
    low_x, low_z, high_x, high_z = region.bounds
    cells, shape, step = _grid(np.array([low_x, low_z]), np.array([high_x, high_z]))
    shapely.prepare(region)
    wanted = shapely.contains_xy(region, cells[:, 0], cells[:, 1])
    return _roomiest(resolver, around, cells, wanted, shape, step)


def _grid(low: Array, high: Array) -> tuple[Array, tuple[int, int], float]:
    """Cells' centres ``[N, 2]`` of a rectangle with a border of one cell, and their raster."""
    step = max(CELL_M, float((high - low).max()) / _MOST_CELLS)
    x = np.arange(low[0] - step, high[0] + step, step)
    z = np.arange(low[1] - step, high[1] + step, step)
    grid = np.stack(np.meshgrid(x, z, indexing="ij"), -1).reshape(-1, 2)
    return grid, (len(x), len(z)), step


def _roomiest(
    resolver: Resolver, around: Surroundings, cells: Array, wanted: np.ndarray,
    shape: tuple[int, int], step: float,
) -> Place | None:  # fmt: skip
    scene = resolver.scene
    index = np.flatnonzero(wanted)
    index = index[shapely.contains_xy(around.free, cells[index, 0], cells[index, 1])]
    if not len(index):
        return None
    world = np.stack([cells[index, 0], np.full(len(index), around.height), cells[index, 1]], -1)
    points, pixels = visible_of(scene, world, EDGE_PX)
    if not len(points):
        return None
    seen = scene.camera.to_world(points)
    place = np.rint((seen[:, [0, 2]] - cells[0]) / step).astype(np.int64)
    raster = np.zeros(shape, np.uint8)
    raster[place[:, 0], place[:, 1]] = 1
    room = cv2.distanceTransform(raster, cv2.DIST_L2, 5)[place[:, 0], place[:, 1]] * step
    best = int(np.argmax(room))
    if room[best] < ROOM_M:
        return None
    return Place(
        (float(pixels[best, 0]), float(pixels[best, 1])),
        (float(seen[best, 0]), float(seen[best, 1]), float(seen[best, 2])),
        float(room[best]),
    )
