# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Normals of flat places against the plane of the whole table, beside Open3D's RANSAC.

The table is the widest plane of a frame, as its own readings have it; a frame in which it holds
less than a third of them, such as a full tote, has no reference and is left out.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from benchmarks.lifting_methods import open3d_crop_ransac
from roborefer_ros.errors import RoboReferError
from roborefer_ros.lifting import LiftedPoint, LiftingOptions, lift_point
from roborefer_ros.lifting.intrinsics import rays_through
from roborefer_ros.lifting.planes import Plane, widest_plane
from roborefer_ros.types import Mode

Array = npt.NDArray[np.float64]

_RANGE_M = (0.3, 1.8)
#: readings within this belong to the table; farther off stands something, metres
_ON_M, _OFF_M = 0.010, 0.012
#: readings of a frame that its table must hold
_LEAST_SHARE = 1.0 / 3.0
#: nothing stands within this of a flat place, pixels of an image 1280 wide
_CLEAR_PX = 20
#: 95 % of two Gaussian numbers of variance 1 have a smaller sum of squares
_INSIDE_95 = 5.991


def table_of(sample: Any) -> tuple[Plane, Array] | None:
    """A frame's table and its flat pixels ``[N, 2]``; None where it is no reference."""
    frame = sample.frame
    z_m = frame.depth.metres().astype(np.float64)
    z_m[sample.left_out | (z_m < _RANGE_M[0]) | (z_m > _RANGE_M[1])] = np.nan
    height, width = z_m.shape
    v, u = np.mgrid[:height, :width]
    rays = rays_through(np.column_stack((u.ravel(), v.ravel())), frame.intrinsics)
    points = rays.reshape(height, width, 3) * z_m[..., None]
    read = np.isfinite(z_m)
    all_points = points[read]
    some = all_points[np.random.default_rng(0).permutation(len(all_points))[:20000]]
    plane = widest_plane(some, _ON_M, 0.1)
    for _ in range(3):
        if plane is None:
            return None
        members = all_points[np.abs(plane.heights_m(all_points)) < _ON_M]
        centre = members.mean(axis=0)
        normal = np.linalg.eigh((members - centre).T @ (members - centre))[1][:, 0]
        normal = -normal if normal @ centre > 0.0 else normal
        plane = Plane(normal, float(normal @ centre))
    assert plane is not None
    heights = np.abs(plane.heights_m(points))
    if np.count_nonzero(heights < _ON_M) < _LEAST_SHARE * np.count_nonzero(read):
        return None
    radius = round(_CLEAR_PX * max(width, height) / 1280)
    square = (2 * radius + 1, 2 * radius + 1)
    off = cv2.blur((read & (heights > _OFF_M)).astype(np.float32), square)
    dense = cv2.blur(read.astype(np.float32), square)
    flat = (off < 0.01) & (dense > 0.6) & read & (heights < _OFF_M)
    flat[:radius] = flat[-radius:] = flat[:, :radius] = flat[:, -radius:] = False
    v, u = np.nonzero(flat)
    return plane, np.column_stack((u, v)).astype(np.float64)


def holds(lifted: LiftedPoint, normal: Array) -> bool:
    """Whether the stated 95 % tilt ellipse of a point holds a normal."""
    square = np.linalg.svd(lifted.normal[None])[2][1:]
    off = square @ np.cross(lifted.normal, normal)
    tilt = square @ lifted.covariance[3:, 3:] @ square.T
    return bool(off @ np.linalg.solve(tilt, off) < _INSIDE_95)


def angle_deg(a: Array, b: Array) -> float:
    """Angle between two unit vectors, degrees."""
    return float(np.degrees(np.arccos(np.clip(a @ b, -1.0, 1.0))))


def normals(samples: list[Any], count: int = 300) -> dict[str, float]:
    """Errors of normals in degrees and shares inside the ellipse of every frame, by its name."""
    figures: dict[str, float] = {}
    for sample in samples:
        found = table_of(sample)
        if found is None:
            continue
        plane, pixels = found
        up = (float(plane.normal[0]), float(plane.normal[1]), float(plane.normal[2]))
        errors: dict[str, list[float]] = {"": [], "_support": [], "_open3d": []}
        inside: dict[str, list[bool]] = {"": [], "_support": []}
        for u, v in pixels[np.random.default_rng(1).permutation(len(pixels))[:count]].tolist():
            for kind, mode, options in (
                ("", Mode.AUTO, LiftingOptions()),
                ("_support", Mode.FREE_SPACE, LiftingOptions(up=up)),
            ):
                try:
                    lifted = lift_point(sample.frame, (u, v), options, mode)
                except RoboReferError:
                    continue
                errors[kind].append(angle_deg(lifted.normal, plane.normal))
                inside[kind].append(holds(lifted, plane.normal))
            crop = open3d_crop_ransac(sample.frame, (u, v))
            errors["_open3d"].append(angle_deg(crop, plane.normal))
        for kind, values in errors.items():
            figures[f"{sample.name}{kind}_p50_deg"] = float(np.median(values))
            figures[f"{sample.name}{kind}_p95_deg"] = float(np.percentile(values, 95))
        for kind, held in inside.items():
            figures[f"{sample.name}{kind}_inside"] = float(np.mean(held))
    return figures
