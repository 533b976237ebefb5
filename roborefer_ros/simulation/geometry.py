# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Where the objects of a view are, as a person at the camera would judge it."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from roborefer_ros.simulation.rendering import FIRST_OBJECT, RenderedView
from roborefer_ros.simulation.scenes import SceneObject, TabletopScene

#: an object is spoken of only if so much of it is visible
MIN_VISIBLE_FRACTION = 0.55
MIN_AREA_FRACTION = 0.0022


@dataclass(frozen=True)
class SeenObject:
    """An object as the camera sees it.

    Attributes:
        item: the object itself.
        instance: its id in the view.
        mask: ``[H, W]`` bool, its visible pixels.
        pixel: ``(u, v)`` the answer: the visible mask's centroid, or its nearest inner point.
        right_m, forward_m: place on the table along the camera's ground axes, metres.
        u: horizontal place in the image, [0, 1].
        visible_fraction: visible pixels / pixels of the whole object unoccluded and uncut.
    """

    item: SceneObject
    instance: int
    mask: npt.NDArray[np.bool_]
    pixel: tuple[int, int]
    right_m: float
    forward_m: float
    u: float
    visible_fraction: float


@dataclass(frozen=True)
class GroundAxes:
    """The camera's axes on the table: ``right``, ``forward`` (unit) and ``origin``, each [2]."""

    right: npt.NDArray[np.float64]
    forward: npt.NDArray[np.float64]
    origin: npt.NDArray[np.float64]

    @classmethod
    def of(cls, world_T_camera: npt.NDArray[np.float64]) -> GroundAxes:
        """Axes of a camera's pose ``[4, 4]`` in the world."""
        forward = world_T_camera[:2, 2] / np.linalg.norm(world_T_camera[:2, 2])
        return cls(np.array([forward[1], -forward[0]]), forward, world_T_camera[:2, 3])

    def place(self, x: float, y: float) -> tuple[float, float]:
        """``(right, forward)`` in metres of a point of the table."""
        offset = np.array([x, y]) - self.origin
        return float(offset @ self.right), float(offset @ self.forward)

    def world(self, right: float, forward: float) -> npt.NDArray[np.float64]:
        """``[2]`` x, y of a place."""
        return self.origin + right * self.right + forward * self.forward


def project(view: RenderedView, points: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """``[N, 2]`` pixels of ``[N, 3]`` world points."""
    world = np.atleast_2d(np.asarray(points, np.float64))
    rotation, origin = view.world_T_camera[:3, :3], view.world_T_camera[:3, 3]
    camera = (world - origin) @ rotation
    k = view.intrinsics
    return np.stack(
        [
            k.fx * camera[:, 0] / camera[:, 2] + k.cx,
            k.fy * camera[:, 1] / camera[:, 2] + k.cy,
        ],
        -1,
    )


def seen_objects(scene: TabletopScene, view: RenderedView) -> list[SeenObject]:
    """All objects that are visible enough to be spoken of."""
    axes = GroundAxes.of(view.world_T_camera)
    result = []
    for index, item in enumerate(scene.objects):
        mask = view.instance == FIRST_OBJECT + index
        area = int(mask.sum())
        if area < MIN_AREA_FRACTION * mask.size:
            continue
        fraction = area / max(1, whole_area(view, item))
        if fraction < MIN_VISIBLE_FRACTION:
            continue
        pixel = answer_pixel(mask)
        right, forward = axes.place(item.x, item.y)
        seen = SeenObject(
            item, FIRST_OBJECT + index, mask, pixel, right, forward,
            (pixel[0] + 0.5) / mask.shape[1], min(1.0, fraction),
        )  # fmt: skip
        result.append(seen)
    return result


def whole_area(view: RenderedView, item: SceneObject) -> int:
    """Pixels of the object's silhouette if nothing hid it, also beyond the image's edges."""
    from roborefer_ros.simulation.rendering import placed_mesh

    mesh = placed_mesh(item)
    corners = project(view, mesh.vertices)
    low = np.floor(corners.min(0)).astype(int) - 1
    size = np.ceil(corners.max(0)).astype(int) + 2 - low
    canvas = np.zeros((size[1], size[0]), np.uint8)
    polygons = np.rint((corners - low)[mesh.triangles.astype(np.int64)] * 16).astype(np.int32)
    for polygon in polygons:
        cv2.fillConvexPoly(canvas, polygon, 1, shift=4)
    return int(canvas.sum())


def answer_pixel(mask: npt.NDArray[np.bool_]) -> tuple[int, int]:
    """The mask's centroid, moved to the nearest point well inside where it lies outside."""
    v, u = np.nonzero(mask)
    centre = np.array([u.mean(), v.mean()])
    padded = np.pad(mask.astype(np.uint8), 1)
    inside = cv2.distanceTransform(padded, cv2.DIST_L2, 3)[1:-1, 1:-1]
    column, row = np.rint(centre).astype(int)
    needed = min(2.0, 0.6 * float(inside.max()))
    if inside[row, column] >= needed:
        return int(column), int(row)
    v, u = np.nonzero(inside >= needed)
    nearest = np.argmin((u - centre[0]) ** 2 + (v - centre[1]) ** 2)
    return int(u[nearest]), int(v[nearest])
