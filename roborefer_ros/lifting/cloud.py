# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The cloud around a target, as grasp planners take it: points and colours."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from roborefer_ros.errors import InvalidGoalError
from roborefer_ros.lifting.depth_image import check_depth, window_of
from roborefer_ros.lifting.intrinsics import check_intrinsics, project, rays_through
from roborefer_ros.lifting.options import LiftingOptions
from roborefer_ros.lifting.registration import check_alignment, is_aligned, register_depth
from roborefer_ros.types import RGBDFrame

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Cloud:
    """Points in the colour camera's optical frame.

    Attributes:
        points_m: ``[N, 3]`` float32.
        rgb: ``[N, 3]`` uint8.
        pixels: ``[N, 2]`` int32 (u, v) that they come from.
    """

    points_m: npt.NDArray[np.float32]
    rgb: npt.NDArray[np.uint8]
    pixels: npt.NDArray[np.int32]

    def moved(self, target_T_camera: Array) -> Cloud:
        """The same cloud in another frame, given the camera's pose ``[4, 4]`` in it."""
        points = self.points_m @ target_T_camera[:3, :3].T + target_T_camera[:3, 3]
        return replace(self, points_m=points.astype(np.float32))


def crop_cloud(
    frame: RGBDFrame,
    centre_m: npt.ArrayLike,
    radius_m: float = 0.2,
    options: LiftingOptions = LiftingOptions(),  # noqa: B008 (frozen)
) -> Cloud:
    """All readings within ``radius_m`` of ``centre_m`` ([3], colour optical frame).

    Raises:
        InvalidGoalError: the centre or the radius is absurdly large or not finite, or the radius
            negative.
        SizeMismatchError, InvalidCameraInfoError, UnsupportedDistortionError,
        UnsupportedEncodingError, InvalidImageError: the frame cannot be used.
    """
    check_depth(frame.depth)
    check_intrinsics(frame.intrinsics)
    check_alignment(frame)
    centre = np.asarray(centre_m, dtype=np.float64)
    if centre.shape != (3,) or not (np.abs(centre) < 1e6).all() or not 0.0 <= radius_m < 1e6:
        raise InvalidGoalError(
            f"a cloud is cropped to a sphere within 1000 km, not to {radius_m} m around "
            f"{centre.tolist()}"
        )
    rows, columns = _box(frame, centre, radius_m, options)
    if is_aligned(frame):
        z_m = frame.depth.metres(rows, columns).astype(np.float64)
    else:
        z_m = register_depth(frame, options)[rows, columns].astype(np.float64)
    z_m = window_of(z_m, columns.start, rows.start, options).z_m
    v, u = np.nonzero(np.abs(z_m - centre[2]) <= radius_m)
    pixels = np.column_stack((u + columns.start, v + rows.start)).astype(np.int32)
    points = rays_through(pixels, frame.intrinsics) * z_m[v, u, None]
    inside = np.linalg.norm(points - centre, axis=1) <= radius_m
    points, pixels = points[inside], pixels[inside]
    rgb = frame.rgb[pixels[:, 1], pixels[:, 0]]
    return Cloud(points.astype(np.float32), rgb, pixels)


def _box(
    frame: RGBDFrame, centre: Array, radius_m: float, options: LiftingOptions
) -> tuple[slice, slice]:
    """Rows and columns that the sphere can cover; all of them where it reaches the camera."""
    if centre[2] - radius_m < options.z_min_m:
        return slice(0, frame.height), slice(0, frame.width)
    corners = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)])
    seen = project(centre + radius_m * corners, frame.intrinsics)
    if not np.isfinite(seen).all():  # a corner is out of what the camera can see
        return slice(0, frame.height), slice(0, frame.width)
    limit = np.array([frame.width, frame.height])
    low = np.clip(np.floor(seen.min(axis=0)) - 1, 0, limit).astype(int)
    high = np.clip(np.ceil(seen.max(axis=0)) + 2, 0, limit).astype(int)
    return slice(int(low[1]), int(high[1])), slice(int(low[0]), int(high[0]))
