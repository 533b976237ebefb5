# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""From a point and the readings of its thing to a pose of a parallel jaw from above.

A pose on a surface is where something is touched; a jaw has to be put around it.  The readings of
the thing (``~/target_segment``) tell its top, how wide it is and, where it is wider than the jaw,
whether it has a rim.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from roborefer_ros.errors import NoDepthAtPointError, OutOfWorkspaceError

Array = npt.NDArray[np.float64]

#: widest thing that an open jaw of 80 mm is put around, metres
WIDEST_M = 0.074
#: how far the fingertips go below the top, at most and into a rim, metres
_DEPTH_M, _RIM_DEPTH_M = 0.045, 0.024
#: the palm is 45 mm above the fingertips: what is held reaches no higher than this above them
_UNDER_PALM_M = 0.036
#: fingertips stay so far above the support, metres
_LEAST_HEIGHT_M = 0.008
#: readings of the top: within this of the highest, metres
_TOP_M = 0.012
#: fewer readings than this in the way are noise
_FEW = 6
#: the floor of a vessel is lower than this, and its rim within this of a point on it, metres
_FLOOR_M, _VESSEL_RADIUS_M = 0.02, 0.07
#: readings of a thing are told from those around it by cubes of this side, metres
_CELL_M = 0.015
#: the jaw's directions that are tried
_DIRECTIONS = 24


@dataclass(frozen=True)
class Grasp:
    """A jaw from above.

    Attributes:
        tip_m: ``[3]`` where the fingertips close.
        closing: ``[2]`` unit vector, level, along which they close.
        width_m: Of the thing there; that of a wall is not measured.
        centre_m: ``[2]`` middle of the thing.
        radius_m: Of what stands on the support around the middle.
        is_rim: Whether only a wall is held.
    """

    tip_m: Array
    closing: Array
    width_m: float
    centre_m: Array
    radius_m: float
    is_rim: bool

    def pose(self, above_m: float = 0.0, turned: bool = False) -> Array:
        """``[4, 4]`` of the tip: z down, y closing; half a turn about z is the same jaw."""
        y = np.array([*self.closing, 0.0]) * (-1.0 if turned else 1.0)
        z = np.array([0.0, 0.0, -1.0])
        pose = np.eye(4)
        pose[:3, :3] = np.column_stack((np.cross(y, z), y, z))
        pose[:3, 3] = self.tip_m + [0.0, 0.0, above_m]
        return pose


def thing_and_others(
    segment: npt.ArrayLike, around: npt.ArrayLike, point_m: npt.ArrayLike, support_z_m: float = 0.0
) -> tuple[Array, Array]:
    """Readings of a thing, and those of what stands around it.

    Args:
        segment: ``[N, 3]`` what was grown from the point, z up, metres.
        around: ``[M, 3]`` all readings nearby.
        point_m: ``[3]`` the point.
        support_z_m: Height of what the thing stands on.

    Returns:
        ``[K, 3]`` and ``[L, 3]``. A point on the floor of a mug or a bowl, which is level with the
        support, takes the readings around it for the thing.
    """
    thing = np.asarray(segment, dtype=np.float64).reshape(-1, 3)
    others = np.asarray(around, dtype=np.float64).reshape(-1, 3)
    if not len(thing) or thing[:, 2].max() < support_z_m + _FLOOR_M:
        near = np.linalg.norm(others[:, :2] - np.asarray(point_m)[:2], axis=1) < _VESSEL_RADIUS_M
        thing = others[near & (others[:, 2] > support_z_m + 0.5 * _FLOOR_M)]
    cells = {tuple(cell) for cell in np.floor(thing / _CELL_M).astype(int)}
    keep = [tuple(cell) not in cells for cell in np.floor(others / _CELL_M).astype(int)]
    return thing, others[np.array(keep, dtype=bool)]


def plan_grasps(
    points: npt.ArrayLike, camera_m: npt.ArrayLike, support_z_m: float = 0.0
) -> list[Grasp]:
    """Ways to put a jaw around a thing, the best first.

    Args:
        points: ``[N, 3]`` readings of the thing, z up, metres.
        camera_m: ``[3]`` place of the camera: widths across its view are seen whole.
        support_z_m: Height of what the thing stands on.

    Raises:
        NoDepthAtPointError: too few readings.
        OutOfWorkspaceError: it is wider than the jaw and has no rim.
    """
    cloud = np.asarray(points, dtype=np.float64)
    cloud = cloud[cloud[:, 2] > support_z_m + 0.004]
    if len(cloud) < 12:
        raise NoDepthAtPointError(
            f"only {len(cloud)} readings of the thing are above its support: too few to grasp it"
        )
    top_z = float(np.percentile(cloud[:, 2], 98.0))
    height = top_z - support_z_m
    top_band_m = min(_TOP_M, 0.35 * height)
    top = cloud[cloud[:, 2] > top_z - top_band_m][:, :2]
    low, high = np.percentile(top, (1, 99), axis=0)
    centre, radius = 0.5 * (low + high), 0.5 * float(np.max(high - low))
    rim = _rim(top)
    if rim is not None:
        centre, radius = rim
    depth = min(_DEPTH_M, 0.5 * height + 0.008)
    # what tapers, such as a cone, is higher than most of its top
    peak_z = float(np.percentile(cloud[:, 2], 99.7))
    tip_z = max(top_z - depth, peak_z - _UNDER_PALM_M, support_z_m + _LEAST_HEIGHT_M)
    slab = cloud[cloud[:, 2] > min(tip_z + 0.004, top_z - top_band_m)][:, :2]
    camera = np.asarray(camera_m, dtype=np.float64)
    found = []
    for width, closing, middle in _widths(slab, top, centre, _across(centre, camera)):
        around = float(np.percentile(np.linalg.norm(cloud[:, :2] - middle, axis=1), 98))
        found.append(Grasp(np.array([*middle, tip_z]), closing, width, middle, around, False))
    fitting = [grasp for grasp in found if grasp.width_m <= WIDEST_M]
    # of a vessel that is half hidden the readings are narrower than it is
    if fitting and (rim is None or 2.0 * radius <= WIDEST_M):
        return fitting
    if rim is None:
        raise OutOfWorkspaceError(
            f"the thing is {1e3 * found[0].width_m:.0f} mm wide where the jaw would close, and has "
            f"no rim; the jaw takes {1e3 * WIDEST_M:.0f} mm"
        )
    tip_z = max(top_z - _RIM_DEPTH_M, support_z_m + _LEAST_HEIGHT_M)
    return _on_rim(centre, radius, tip_z, _across(centre, camera))


def clear_grasps(grasps: list[Grasp], others: npt.ArrayLike) -> list[Grasp]:
    """Those whose open hand has room, the best first; all of them where none has.

    Args:
        grasps: Of ``plan_grasps``.
        others: ``[N, 3]`` readings of what stands around the thing.
    """
    cloud = np.asarray(others, dtype=np.float64).reshape(-1, 3)
    counts = [_in_the_way(grasp, cloud) for grasp in grasps]
    clear = [g for g, count in zip(grasps, counts, strict=True) if count < _FEW]
    if clear:
        return clear
    return [grasps[i] for i in np.argsort(counts, kind="stable")]


def _in_the_way(grasp: Grasp, cloud: Array) -> int:
    """Readings inside of the open fingers and the palm."""
    offset = cloud[:, :2] - grasp.tip_m[:2]
    along = offset @ grasp.closing
    across = offset @ np.array([-grasp.closing[1], grasp.closing[0]])
    above = cloud[:, 2] - grasp.tip_m[2]
    finger = (np.abs(np.abs(along) - 0.048) < 0.015) & (np.abs(across) < 0.014) & (above > 0.0)
    palm = (np.abs(along) < 0.105) & (np.abs(across) < 0.035) & (above > 0.055)
    return int(np.count_nonzero(finger | palm))


def _on_rim(centre: Array, radius_m: float, tip_z_m: float, across: Array) -> list[Grasp]:
    """Jaws over the wall: first at the sides, which the camera sees from aside."""
    grasps = []
    for degrees in (0.0, 180.0, 45.0, -45.0, 135.0, -135.0, 90.0, -90.0):
        c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
        direction = np.array([c * across[0] - s * across[1], s * across[0] + c * across[1]])
        tip = np.array([*(centre + radius_m * direction), tip_z_m])
        grasps.append(Grasp(tip, direction, 0.01, centre, radius_m, True))
    return grasps


def _across(centre: Array, camera_m: Array) -> Array:
    """``[2]`` level direction across the camera's view of a place."""
    ray = centre - camera_m[:2]
    ray /= np.linalg.norm(ray)
    return np.array([-ray[1], ray[0]])


def _widths(
    slab: Array, top: Array, centre: Array, across: Array
) -> list[tuple[float, Array, Array]]:
    """Width, direction of closing and middle for every direction, the best first.

    Directions across the view win ties: there both sides are seen.
    """
    found: list[tuple[float, tuple[float, Array, Array]]] = []
    for step in range(_DIRECTIONS):
        angle = math.pi * step / _DIRECTIONS
        c, s = math.cos(angle), math.sin(angle)
        direction = np.array([c * across[0] - s * across[1], s * across[0] + c * across[1]])
        sideways = abs(s)
        low, high = np.percentile(slab @ direction, (1, 99))
        middle = 0.5 * (low + high)
        if sideways > 0.3:  # the far side is hidden: the top's middle is the better guess
            middle = 0.5 * float(np.sum(np.percentile(top @ direction, (1, 99))))
            half = max(high - middle, middle - low)
            low, high = middle - half, middle + half
        width = float(high - low)
        moved = centre + direction * (middle - float(centre @ direction))
        found.append((width + 0.006 * sideways, (width, direction, moved)))
    return [row for _, row in sorted(found, key=lambda pair: pair[0])]


def _rim(top: Array) -> tuple[Array, float] | None:
    """Middle and radius of a circle that the top's readings lie on; None where they fill it."""
    if len(top) < 12:
        return None
    # Kasa's algebraic fit: x^2 + y^2 = 2 a x + 2 b y + c
    matrix = np.column_stack((2 * top, np.ones(len(top))))
    (a, b, c), *_ = np.linalg.lstsq(matrix, np.sum(top**2, axis=1), rcond=None)
    radius = math.sqrt(max(float(c + a * a + b * b), 0.0))
    centre = np.array([a, b])
    distance = np.linalg.norm(top - centre, axis=1)
    inner = float(np.mean(distance < 0.6 * radius))
    if not 0.02 < radius < 0.15 or inner > 0.10:
        return None
    return centre, radius
