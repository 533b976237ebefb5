# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Free spots on the table: where they are, which pixels show them, whether they are free."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from roborefer_ros.simulation.geometry import GroundAxes, SeenObject, project
from roborefer_ros.simulation.rendering import TABLE, RenderedView
from roborefer_ros.simulation.scenes import TabletopScene

#: a spot must keep this clear of every object's footprint, metres
_CLEARANCE_M = 0.035

#: a spot beside an object lies so far from its footprint, metres
_OFFSET_M = 0.065

#: pixels of the table within this distance of the spot count as right, metres
_SPOT_RADIUS_M = 0.045

#: side -> words, and (right, forward) on the table as seen from the camera
DIRECTIONS: dict[str, tuple[str, tuple[int, int]]] = {
    "left": ("left of", (-1, 0)),
    "right": ("right of", (1, 0)),
    "front": ("in front of", (0, -1)),
    "back": ("behind", (0, 1)),
}


@dataclass(frozen=True)
class FreeSpot:
    """``pixel`` (u, v) of the spot's centre, ``mask`` ``[H, W]`` of all right pixels."""

    pixel: tuple[int, int]
    mask: npt.NDArray[np.bool_]


def beside(
    scene: TabletopScene, view: RenderedView, anchor: SeenObject, side: str
) -> FreeSpot | None:
    """The spot next to an object on one side (a key of ``DIRECTIONS``); None if not free."""
    axes = GroundAxes.of(view.world_T_camera)
    right, forward = DIRECTIONS[side][1]
    reach = anchor.item.footprint_m + _OFFSET_M
    place = axes.world(anchor.right_m + reach * right, anchor.forward_m + reach * forward)
    return _spot(scene, view, place, _SPOT_RADIUS_M)


def between(
    scene: TabletopScene, view: RenderedView, first: SeenObject, second: SeenObject
) -> FreeSpot | None:
    """The spot half way between the edges of two objects; None if not free or too narrow."""
    a, b = np.array([first.item.x, first.item.y]), np.array([second.item.x, second.item.y])
    distance = float(np.linalg.norm(b - a))
    gap = distance - first.item.footprint_m - second.item.footprint_m
    if gap < 2 * _CLEARANCE_M or distance > 0.45:
        return None
    along = first.item.footprint_m + 0.5 * gap
    return _spot(scene, view, a + (b - a) / distance * along, min(_SPOT_RADIUS_M, 0.45 * gap))


def _spot(
    scene: TabletopScene, view: RenderedView, place: npt.NDArray[np.float64], radius_m: float
) -> FreeSpot | None:
    for item in scene.objects:
        if np.hypot(item.x - place[0], item.y - place[1]) < item.footprint_m + _CLEARANCE_M:
            return None
    u, v = np.rint(project(view, [*place, 0.0])[0]).astype(int)
    height, width = view.instance.shape
    if not (4 <= u < width - 4 and 4 <= v < height - 4) or view.instance[v, u] != TABLE:
        return None
    points = view.points_world()
    near = np.hypot(points[..., 0] - place[0], points[..., 1] - place[1]) < radius_m
    mask = near & (view.instance == TABLE)
    # Hidden for the greater part: nobody at the camera would ask for it.
    whole = np.pi * radius_m**2 * _pixels_per_square_metre(view, place)
    if mask.sum() < 0.6 * whole:
        return None
    return FreeSpot((int(u), int(v)), mask)


def _pixels_per_square_metre(view: RenderedView, place: npt.NDArray[np.float64]) -> float:
    """Image area of a small square of the table at a place."""
    step = 0.01
    corners = np.array([[0, 0, 0], [step, 0, 0], [0, step, 0]]) + [*place, 0.0]
    origin, along_x, along_y = project(view, corners)
    x, y = along_x - origin, along_y - origin
    return float(abs(x[0] * y[1] - x[1] * y[0])) / step**2
