# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Exact depth images of planes, for the tests of the lifting."""

from __future__ import annotations

import numpy as np

from roborefer_ros.frame import CameraIntrinsics, DepthImage, RGBDFrame
from roborefer_ros.lifting.intrinsics import rays_through

SMALL = CameraIntrinsics(320, 240, 240.0, 240.0, 160.0, 119.0)


def frame_of(z_m, intrinsics=SMALL, unit_m=1.0, dtype=np.float32) -> RGBDFrame:
    """A frame with this depth ``[H, W]`` in metres, NaN where there is no reading."""
    raw = np.asarray(z_m, dtype=np.float64) / unit_m
    if np.dtype(dtype).kind == "u":
        raw = np.round(np.nan_to_num(raw, nan=0.0))
    rgb = np.zeros((intrinsics.height, intrinsics.width, 3), np.uint8)
    return RGBDFrame(rgb, DepthImage(raw.astype(dtype), unit_m), intrinsics, "camera")


def plane_depth(point_m, normal, intrinsics=SMALL):
    """``[H, W]`` depth of the plane through ``point_m`` with ``normal``; NaN behind."""
    v, u = np.mgrid[: intrinsics.height, : intrinsics.width]
    rays = rays_through(np.column_stack((u.ravel(), v.ravel())), intrinsics)
    facing = rays @ np.asarray(normal)
    with np.errstate(divide="ignore", invalid="ignore"):
        z = float(np.dot(normal, point_m)) / facing
    z[(facing >= -1e-6) | (z <= 0)] = np.nan
    return z.reshape(intrinsics.height, intrinsics.width)


def tilted_normal(ray, tilt_rad, turn_rad):
    """Unit normal at ``tilt_rad`` from the ray back to the camera, turned about that ray."""
    towards = -np.asarray(ray) / np.linalg.norm(ray)
    side = np.cross(towards, [0.0, 1.0, 0.0])
    side /= np.linalg.norm(side)
    other = np.cross(towards, side)
    sideways = np.cos(turn_rad) * side + np.sin(turn_rad) * other
    return np.cos(tilt_rad) * towards + np.sin(tilt_rad) * sideways
