# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""A pixel on which an object can be pointed at."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import numpy.typing as npt

from roborefer_ros.datagen.free_space import VISIBLE_M, depth_at
from roborefer_ros.datagen.scene import Box, Scene

#: border of the picture in which no answer lies, pixels
EDGE_PX = 4
_CELLS = (np.arange(7) + 0.5) / 7 - 0.5
_LEAST_PIXELS = 12


def mask_pixel(mask: npt.NDArray[np.bool_]) -> tuple[float, float] | None:
    """The centroid of the largest region of a mask, or its nearest pixel; None: too small.

    Regions are 4-connected.
    """
    count, labels, stats, _ = cv2.connectedComponentsWithStats(
        mask.astype(np.uint8), connectivity=4
    )
    if count < 2:
        return None
    best = 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA]))
    if stats[best, cv2.CC_STAT_AREA] < _LEAST_PIXELS:
        return None
    v, u = np.nonzero(labels == best)
    centre = np.array([u.mean(), v.mean()])
    nearest = int(np.argmin((u - centre[0]) ** 2 + (v - centre[1]) ** 2))
    return float(u[nearest]), float(v[nearest])


def in_view(scene: Scene, pixel: tuple[float, float]) -> bool:
    """Whether a pixel lies in the picture, away from its border."""
    u, v = pixel
    camera = scene.camera
    return bool(
        EDGE_PX <= u <= camera.width - 1 - EDGE_PX and EDGE_PX <= v <= camera.height - 1 - EDGE_PX
    )


def on_surface(scene: Scene, box: Box, pixel: tuple[float, float]) -> bool:
    """Whether the depth at a pixel lies in the box, give or take 2.5 cm."""
    if scene.depth_m is None:
        return True
    u, v = (int(round(x)) for x in pixel)
    z = float(depth_at(scene, np.array([u]), np.array([v]))[0])
    if not z > 0:
        return False
    ray = np.linalg.solve(scene.camera.K, np.array([pixel[0], pixel[1], 1.0]))
    local = (ray * z - box.position) @ box.R
    return bool(np.all(np.abs(local) <= 0.5 * box.scale + VISIBLE_M))


def box_pixel(scene: Scene, box: Box) -> tuple[float, float] | None:
    """A visible pixel of a box without a mask: its centre's, else the nearest of its faces'."""
    if box.near <= 0.05:
        return None
    centre = scene.camera.project(box.position[None])[0]
    here = (float(centre[0]), float(centre[1]))
    if in_view(scene, here) and on_surface(scene, box, here):
        return here
    if scene.depth_m is None:
        return None
    grid = np.stack(np.meshgrid(_CELLS, _CELLS, indexing="ij"), -1).reshape(-1, 2)
    faces = []
    for axis in range(3):
        for end in (-0.5, 0.5):
            faces.append(np.insert(grid, axis, end, axis=1))
    points = box.position + (np.concatenate(faces) * box.scale) @ box.R.T
    pixels = scene.camera.project(points)
    order = np.argsort(((pixels - centre) ** 2).sum(1), kind="stable")
    for index in order:
        pixel = (float(pixels[index, 0]), float(pixels[index, 1]))
        if not in_view(scene, pixel):
            continue
        column, row = np.rint(pixels[index]).astype(np.int64)
        there = depth_at(scene, np.array([column]), np.array([row]))[0]
        if abs(there - points[index, 2]) < VISIBLE_M:
            return pixel
    return None


def located(scene: Scene) -> Scene:
    """The scene with a pixel for every box that shows; the others count as hidden."""
    boxes = []
    for box in scene.boxes:
        pixel = box.pixel if box.pixel is not None else box_pixel(scene, box)
        shown = pixel is not None and in_view(scene, pixel) and box.visible
        boxes.append(replace(box, pixel=pixel if shown else None, visible=shown))
    return replace(scene, boxes=tuple(boxes))
