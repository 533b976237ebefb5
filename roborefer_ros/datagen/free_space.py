# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Where something could be put: free parts of the surface that an object stands on.

All footprints are polygons in the world's (x, z) plane, metres.  The numbers follow the published
pipeline of the 3D part of RefSpatial: 90 rays of 100 points a side, at least 2,000 of 9,000 free.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely
import shapely.affinity
from shapely.geometry.base import BaseGeometry

from roborefer_ros.datagen.scene import Array, Box, Scene

#: volume ratio from which on hollow furniture is excused as an obstacle (the golden ratio cubed)
HOLLOW_RATIO = 4.236
PLATFORM_GAP_M, PLATFORM_OVERLAP = 0.05, 0.7
OBSTACLE_HEIGHT_M = 0.2
FAN_INNER_M, FAN_RADIUS_M, FAN_RAYS, FAN_STEPS, FAN_LEAST = 0.05, 0.3, 90, 100, 2000
VISIBLE_M = 0.025
HALF_A4_M2 = 0.06237 / 2
SHRINK, SAMPLES, SAMPLES_LEAST = 0.75, 300, 100
BETWEEN_AREA_M2, BETWEEN_SAMPLES, BETWEEN_LEAST = 0.06237 / 8, 1000, 618
BELOW_SLACK_M = 0.02
_SAME_PX = 1.5

#: middle of the fan, degrees, (cos, sin) along world (x, z)
SIDES = {"left": 180.0, "right": 0.0, "front": 270.0, "behind": 90.0}


@dataclass(frozen=True, eq=False)
class FreeSpace:
    """Free places of one kind.

    Attributes:
        platform: What they lie on.
        points: ``[N, 3]`` camera frame, metres.
        pixels: ``[N, 2]`` their pixels.
        answer: ``(u, v)`` the pixel that stands for them.
    """

    platform: Box
    points: Array
    pixels: Array
    answer: tuple[float, float]


def footprint(scene: Scene, box: Box) -> BaseGeometry:
    """Convex hull of the corners in (x, z)."""
    return shapely.MultiPoint(scene.world_corners(box)[:, [0, 2]]).convex_hull


def diagonal(polygon: BaseGeometry) -> float:
    """Largest distance between two vertices, metres."""
    p = shapely.get_coordinates(polygon)
    return float(np.sqrt(((p[:, None] - p[None]) ** 2).sum(-1).max()))


def platform_of(scene: Scene, target: Box) -> Box | None:
    """The first box whose top the target stands on."""
    foot = footprint(scene, target)
    for box in scene.boxes:
        if box is target or abs(scene.bottom(target) - scene.top(box)) >= PLATFORM_GAP_M:
            continue
        if _overlap(foot, footprint(scene, box)) > PLATFORM_OVERLAP:
            return box
    return None


def _overlap(foot: BaseGeometry, other: BaseGeometry) -> float:
    return float(foot.intersection(other).area / foot.area) if foot.area > 0 else 0.0


def obstacles(
    scene: Scene, platform: Box, targets: Sequence[Box], limit_m3: float, top_y: float
) -> list[Box]:
    """What stands on a platform and is in the way of things up to the height ``top_y``.

    Args:
        scene: Holds all boxes.
        platform: What things stand on.
        targets: Always obstacles.
        limit_m3: Volume above which a box counts as hollow, cubic metres.
        top_y: World y of the targets' top; what begins above it does not matter.
    """
    surface, area = scene.top(platform), footprint(scene, platform)
    found = list(targets)
    for box in scene.boxes:
        if box is platform or any(box is target for target in targets):
            continue
        bottom = scene.bottom(box)
        if (
            bottom >= top_y
            and scene.top(box) <= surface
            and bottom >= surface - OBSTACLE_HEIGHT_M
            and box.volume <= limit_m3
            and footprint(scene, box).intersects(area)
        ):
            found.append(box)
    return found


def placeable(scene: Scene, platform: Box, blocked: Sequence[Box]) -> BaseGeometry:
    """The platform's footprint without those of the obstacles."""
    blocks = shapely.union_all([footprint(scene, box) for box in blocked])
    return footprint(scene, platform).difference(blocks)


def everything_on(scene: Scene, platform: Box) -> BaseGeometry:
    """The platform's footprint without those of all things that stand on or reach over it."""
    surface = scene.top(platform)
    area = footprint(scene, platform)
    feet = [
        footprint(scene, box)
        for box in scene.boxes
        if box is not platform
        and scene.top(box) <= surface
        and scene.bottom(box) >= surface - OBSTACLE_HEIGHT_M
    ]
    free = area.difference(shapely.union_all(feet)) if feet else area
    shapely.prepare(free)
    return free


def fan(centre: Array, radius: float, side: str) -> Array:
    """``[9000, 2]`` points (x, z) of a quarter circle around a centre."""
    middle = SIDES[side]
    angles = np.deg2rad(np.linspace(middle - 45.0, middle + 45.0, FAN_RAYS))
    radii = np.linspace(FAN_INNER_M, radius, FAN_STEPS)
    rays = np.stack([np.cos(angles), np.sin(angles)], -1)
    points: Array = (centre + rays[:, None] * radii[None, :, None]).reshape(-1, 2)
    return points


@dataclass(frozen=True, eq=False)
class Surroundings:
    """A target's platform and what is free on it.

    Attributes:
        platform: What the target stands on.
        free: Placeable part, world (x, z).
        radius: Of the fans, metres.
        height: World y of the places, metres.
    """

    platform: Box
    free: BaseGeometry
    radius: float
    height: float


def surroundings(scene: Scene, target: Box) -> Surroundings | None:
    """What is free around a target; None: it stands on nothing that is known."""
    platform = platform_of(scene, target)
    if platform is None:
        return None
    blocked = obstacles(scene, platform, [target], HOLLOW_RATIO * target.volume, scene.top(target))
    free = placeable(scene, platform, blocked)
    shapely.prepare(free)
    return Surroundings(
        platform,
        free,
        max(FAN_RADIUS_M, diagonal(footprint(scene, target))),
        max(scene.bottom(target), scene.top(platform)),
    )


def side_points(scene: Scene, target: Box, around: Surroundings, side: str) -> Array:
    """``[N, 3]`` free world points on a side of the target, before any test of visibility."""
    centre = scene.world_centre(target)[[0, 2]]
    xz = fan(centre, around.radius, side)
    return _lifted(xz[shapely.contains_xy(around.free, xz[:, 0], xz[:, 1])], around.height)


def _lifted(xz: Array, height: float) -> Array:
    return np.stack([xz[:, 0], np.full(len(xz), height), xz[:, 1]], -1)


def sides_summary(scene: Scene, target: Box) -> dict[str, Any] | None:
    """Counts of free points on the four sides and their mean in the camera frame, metres."""
    around = surroundings(scene, target)
    if around is None:
        return None
    summary: dict[str, Any] = {
        "platform": around.platform.id,
        "radius": around.radius,
        "height_world_y": around.height,
    }
    for side in SIDES:
        points = side_points(scene, target, around, side)
        mean = scene.camera.to_camera(points.mean(0)) if len(points) else None
        summary[side] = {
            "points": len(points),
            "free": len(points) >= FAN_LEAST,
            "mean_camera": None if mean is None else [float(x) for x in mean],
        }
    return summary


# --- visible places ----------------------------------------------------------------------


def visible_of(scene: Scene, world: Array, margin_px: int = 0) -> tuple[Array, Array]:
    """Camera points and pixels of those world points that the picture shows.

    Args:
        scene: With its depth; without one, every point inside the picture counts as visible.
        world: ``[N, 3]`` metres.
        margin_px: Border of the picture that does not count, pixels.
    """
    points = scene.camera.to_camera(world)
    points = points[points[:, 2] > 1e-3]
    if not len(points):
        return points, np.empty((0, 2))
    pixels = scene.camera.project(points)
    column, row = np.rint(pixels).astype(np.int64).T
    camera = scene.camera
    inside = (column >= margin_px) & (column < camera.width - margin_px)
    inside &= (row >= margin_px) & (row < camera.height - margin_px)
    points, pixels, column, row = points[inside], pixels[inside], column[inside], row[inside]
    if scene.depth_m is not None and len(points):
        with np.errstate(invalid="ignore"):
            seen = np.abs(points[:, 2] - depth_at(scene, column, row)) < VISIBLE_M
        points, pixels = points[seen], pixels[seen]
    return points, pixels


def depth_at(
    scene: Scene, column: npt.NDArray[np.int64], row: npt.NDArray[np.int64]
) -> npt.NDArray[np.floating]:
    """Depth at pixels of the picture, metres; the depth map may be of another size."""
    assert scene.depth_m is not None
    height, width = scene.depth_m.shape
    v = np.minimum(((row + 0.5) * height / scene.camera.height).astype(np.int64), height - 1)
    u = np.minimum(((column + 0.5) * width / scene.camera.width).astype(np.int64), width - 1)
    values: npt.NDArray[np.floating] = scene.depth_m[v, u]
    return values


def _answer(scene: Scene, points: Array, pixels: Array) -> tuple[float, float]:
    """The mean pixel where it is one of the places itself, else the visible pixel nearest to it.

    A mean can fall onto an obstacle in the middle of the places; its depth tells that only where
    the obstacle is high.
    """
    mean = pixels.mean(0)
    distances = ((pixels - mean) ** 2).sum(1)
    nearest = int(np.argmin(distances))
    if distances[nearest] <= _SAME_PX**2 and scene.depth_m is not None:
        column, row = np.rint(mean).astype(np.int64)
        there = depth_at(scene, np.array([column]), np.array([row]))[0]
        if abs(there - points[:, 2].mean()) <= VISIBLE_M:
            return float(mean[0]), float(mean[1])
    return float(pixels[nearest, 0]), float(pixels[nearest, 1])


def side(scene: Scene, target: Box, name: str) -> FreeSpace | None:
    """Free places left, right, front or behind of a target."""
    around = surroundings(scene, target)
    return None if around is None else side_of(scene, target, around, name)


def side_of(scene: Scene, target: Box, around: Surroundings, name: str) -> FreeSpace | None:
    """As ``side``, of known surroundings."""
    world = side_points(scene, target, around, name)
    if len(world) < FAN_LEAST:
        return None
    points, pixels = visible_of(scene, world)
    if len(points) < FAN_LEAST:
        return None
    return FreeSpace(around.platform, points, pixels, _answer(scene, points, pixels))


def _sampled(
    scene: Scene, platform: Box, polygon: BaseGeometry, height: float, count: int, least: int,
    rng: np.random.Generator,
) -> FreeSpace | None:  # fmt: skip
    xz = sample_polygon(polygon, count, rng)
    points, pixels = visible_of(scene, _lifted(xz, height))
    if len(points) < least:
        return None
    return FreeSpace(platform, points, pixels, _answer(scene, points, pixels))


def above(scene: Scene, target: Box, rng: np.random.Generator) -> FreeSpace | None:
    """Places on top of a target of at least half a sheet A4, away from its border."""
    foot = footprint(scene, target)
    if foot.area < HALF_A4_M2:
        return None
    shrunk = shapely.affinity.scale(foot, SHRINK, SHRINK, origin="centroid")
    free = shrunk.intersection(everything_on(scene, target))
    return _sampled(scene, target, free, scene.top(target), SAMPLES, SAMPLES_LEAST, rng)


def below(scene: Scene, target: Box, rng: np.random.Generator) -> FreeSpace | None:
    """Places on the nearest platform under a target."""
    foot, bottom = footprint(scene, target), scene.bottom(target)
    lower = [
        box
        for box in scene.boxes
        if box is not target
        and scene.top(box) > bottom - BELOW_SLACK_M
        and _overlap(foot, footprint(scene, box)) > PLATFORM_OVERLAP
    ]
    if not lower:
        return None
    platform = min(lower, key=scene.top)
    blocked = obstacles(scene, platform, [], HOLLOW_RATIO * target.volume, bottom)
    blocked = [box for box in blocked if box is not target]
    free = foot.intersection(placeable(scene, platform, blocked))
    if free.area < HALF_A4_M2:
        return None
    shrunk = shapely.affinity.scale(free, SHRINK, SHRINK, origin="centroid").intersection(free)
    return _sampled(scene, platform, shrunk, scene.top(platform), SAMPLES, SAMPLES_LEAST, rng)


def between(scene: Scene, a: Box, b: Box, rng: np.random.Generator) -> FreeSpace | None:
    """Places between two objects on one platform."""
    platform = platform_of(scene, a)
    if platform is None or platform_of(scene, b) is not platform:
        return None
    feet = footprint(scene, a), footprint(scene, b)
    gap = shapely.union_all(feet).convex_hull.difference(shapely.union_all(feet))
    gap = gap.intersection(footprint(scene, platform))
    if gap.area < BETWEEN_AREA_M2:
        return None
    limit = max(HOLLOW_RATIO * a.volume, 2.0 * b.volume)
    blocked = obstacles(scene, platform, [a, b], limit, min(scene.top(a), scene.top(b)))
    xz = sample_polygon(gap, BETWEEN_SAMPLES, rng)
    free = placeable(scene, platform, blocked)
    xz = xz[shapely.contains_xy(free, xz[:, 0], xz[:, 1])]
    height = max(scene.bottom(a), scene.bottom(b), scene.top(platform))
    points, pixels = visible_of(scene, _lifted(xz, height))
    if len(points) < BETWEEN_LEAST:
        return None
    return FreeSpace(platform, points, pixels, _answer(scene, points, pixels))


def sample_polygon(polygon: BaseGeometry, count: int, rng: np.random.Generator) -> Array:
    """``[count, 2]`` points evenly spread over a polygon: triangles, weighted by area."""
    if polygon.is_empty or polygon.area <= 0:
        return np.empty((0, 2))
    triangles = [
        triangle
        for part in getattr(polygon, "geoms", [polygon])
        if part.area > 0
        for triangle in shapely.constrained_delaunay_triangles(part).geoms
    ]
    areas = np.array([triangle.area for triangle in triangles])
    chosen = rng.choice(len(triangles), size=count, p=areas / areas.sum())
    corners = np.stack([np.asarray(t.exterior.coords)[:3, :2] for t in triangles])[chosen]
    r = np.sqrt(rng.random((count, 1)))
    s = rng.random((count, 1))
    points: Array = (1 - r) * corners[:, 0] + r * (1 - s) * corners[:, 1] + r * s * corners[:, 2]
    return points
