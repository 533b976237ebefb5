# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Walls and the sides of things asked for a place: none is ever given with confidence."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from benchmarks.lifting_placing import outcome, table_plane
from roborefer_ros.lifting import LiftingOptions
from roborefer_ros.lifting.intrinsics import rays_through
from roborefer_ros.lifting.planes import widest_plane
from roborefer_ros.types import RGBDFrame

Array = npt.NDArray[np.float64]

#: a wall's normal has less than this along up; its plane holds this share of what is left
_UPWARDS, _LEAST_SHARE = 0.3, 0.03
#: readings within this belong to a plane, of which this share around a pixel does, metres
_ON_M, _WHOLE = 0.010, 0.8
_AROUND_PX, _STRIDE_PX = 21, 4
_PLANES, _SPOTS = 6, 40


def wall_pixels(frame: RGBDFrame, z_m: Array, up: Array) -> Array:
    """``[N, 2]`` pixels in the middle of what stands upright."""
    height, width = z_m.shape
    v, u = np.mgrid[:height, :width]
    rays = rays_through(np.column_stack((u.ravel(), v.ravel())), frame.intrinsics)
    points = rays.reshape(height, width, 3) * z_m[..., None]
    left = points[::_STRIDE_PX, ::_STRIDE_PX].reshape(-1, 3)
    left = left[np.isfinite(left[:, 2])]
    upright = np.zeros(z_m.shape, bool)
    for _ in range(_PLANES):
        plane = widest_plane(left, _ON_M, _LEAST_SHARE)
        if plane is None:
            break
        if abs(float(plane.normal @ up)) < _UPWARDS:
            on = (np.abs(plane.heights_m(points)) < _ON_M).astype(np.float32)
            upright |= cv2.blur(on, (_AROUND_PX, _AROUND_PX)) > _WHOLE
        left = left[np.abs(plane.heights_m(left)) > _ON_M]
    v, u = np.nonzero(upright)
    return np.column_stack((u, v)).astype(np.float64)


def walls(samples: list[Any], count: int = _SPOTS) -> dict[str, float]:
    """How many pixels of walls there are, and the share given, with up known and unknown."""
    given: dict[str, list[bool]] = {"walls": [], "walls_up_unknown": []}
    for sample in samples:
        frame = sample.frame
        z_m = frame.depth.metres().astype(np.float64)
        plane = table_plane(frame, z_m)
        if plane is None:
            continue
        pixels = wall_pixels(frame, z_m, plane.normal)
        up = (float(plane.normal[0]), float(plane.normal[1]), float(plane.normal[2]))
        known = LiftingOptions(up=up)
        chosen = np.random.default_rng(0).permutation(len(pixels))[:count]
        for u, v in pixels[chosen].tolist():
            for kind, options in (("walls", known), ("walls_up_unknown", replace(known, up=None))):
                given[kind].append(outcome(frame, (u, v), options) in ("clean", "air"))
    figures: dict[str, float] = {}
    for kind, found in given.items():
        figures[kind] = len(found)
        figures[f"{kind}_given"] = float(np.mean(found)) if found else 0.0
    return figures
