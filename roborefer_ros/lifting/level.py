# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""What may be level where nothing tells gravity: a guess that only ever refuses.

Cameras are mostly upright, so the widest plane that faces the image's up is most likely a
table or a floor; what is steep against it is a wall or a side.  Without such a plane only what
faces sideways in the image is told from a support: a wall seen from the front and a table seen
from above look alike.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from roborefer_ros.lifting.intrinsics import rays_through
from roborefer_ros.lifting.options import LiftingOptions
from roborefer_ros.lifting.planes import widest_plane
from roborefer_ros.types import RGBDFrame

Array = npt.NDArray[np.float64]

#: rows and columns of the picture that are looked at
_ROWS, _COLUMNS = 30, 40
#: a plane holds this share of the readings; its normal has this part along the image's up
_LEAST_SHARE, _LEAST_UP = 0.08, 0.35
_MOST_PLANES = 3
#: farther off than a support may be tilted, radians: a guess must be clearly against it
_MARGIN_RAD = math.radians(15.0)
#: a normal with this part across the image, and less than this along its up, is of a wall
_SIDEWAYS, _UPWARDS = 0.5, 0.35


def looks_steep(frame: RGBDFrame, normal: Array, options: LiftingOptions) -> bool:
    """Whether a surface with a normal ``[3]`` is steep, as far as the picture tells."""
    level = _level_normal(frame, options)
    if level is not None:
        angle = math.acos(max(-1.0, min(1.0, float(level @ normal))))
        return angle > options.max_tilt_rad + _MARGIN_RAD
    return abs(float(normal[0])) > _SIDEWAYS and -float(normal[1]) < _UPWARDS


def _level_normal(frame: RGBDFrame, options: LiftingOptions) -> Array | None:
    """``[3]`` normal of the widest plane that faces the image's up; None where there is none."""
    left = _sparse_points(frame, options)
    total = len(left)
    if total < 10:
        return None
    sigma_m = options.sigma_z_m(float(np.median(left[:, 2])), frame.width)
    tolerance_m = max(options.flatness_m, 2.0 * sigma_m)
    for _ in range(_MOST_PLANES):
        plane = widest_plane(left, tolerance_m, min(1.0, _LEAST_SHARE * total / max(1, len(left))))
        if plane is None:
            return None
        if -float(plane.normal[1]) >= _LEAST_UP:
            return plane.normal
        left = left[np.abs(plane.heights_m(left)) > tolerance_m]
    return None


def _sparse_points(frame: RGBDFrame, options: LiftingOptions) -> Array:
    """``[N, 3]`` points of readings all over the image."""
    depth, i = frame.depth, frame.intrinsics
    if frame.depth_intrinsics is not None:
        i = frame.depth_intrinsics
    step_v, step_u = max(1, depth.height // _ROWS), max(1, depth.width // _COLUMNS)
    z_m = depth.metres(slice(None, None, step_v), slice(None, None, step_u))
    v, u = np.nonzero((z_m >= options.z_min_m) & (z_m <= options.z_max_m))
    pixels = np.column_stack((u * step_u, v * step_v)).astype(np.float64)
    points: Array = rays_through(pixels, i) * z_m[v, u, None].astype(np.float64)
    if frame.camera_T_depth is not None:
        points = points @ frame.camera_T_depth[:3, :3].T + frame.camera_T_depth[:3, 3]
    return points
