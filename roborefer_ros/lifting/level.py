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

from roborefer_ros.frame import RGBDFrame
from roborefer_ros.lifting.intrinsics import rays_through
from roborefer_ros.lifting.options import LiftingOptions
from roborefer_ros.lifting.planes import widest_plane
from roborefer_ros.lifting.registration import frame_window

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
    half_u, half_v = frame.width // 2, frame.height // 2
    middle = (float(half_u), float(half_v))
    window = frame_window(frame, middle, half_u + 1, options, half_v + 1)
    step_v, step_u = max(1, frame.height // _ROWS), max(1, frame.width // _COLUMNS)
    z = window.z_m[::step_v, ::step_u]
    v, u = np.nonzero(np.isfinite(z))
    pixels = np.column_stack((u * step_u + window.u0, v * step_v + window.v0))
    left = rays_through(pixels, frame.intrinsics) * z[v, u][:, None]
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
