# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Depth that is not aligned with colour: other resolution, intrinsics or frame.

For one point only the depth pixels that can land near it are moved: samples along the
colour pixel's ray, from z_min to z_max, are projected into the depth image; the rectangle
around them holds every reading that can be seen near the pixel.  Those readings are
projected into the colour image and z-buffered (the nearest surface wins).
``register_depth`` does the same with the whole image, for topics that people look at.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from roborefer_ros.errors import InvalidCameraInfoError, InvalidImageError, SizeMismatchError
from roborefer_ros.lifting.depth_image import DepthWindow, check_depth, read_window, window_of
from roborefer_ros.lifting.intrinsics import (
    check_intrinsics,
    project,
    ray_and_jacobian,
    rays_through,
)
from roborefer_ros.lifting.options import LiftingOptions
from roborefer_ros.types import CameraIntrinsics, Pixel, RGBDFrame

Array = npt.NDArray[np.float64]

_RAY_SAMPLES = 64

#: no depth camera sees nearer; a z_min of 0 would ask for all of the image
_NEAREST_M = 0.02

#: cameras of one frame are no farther apart, metres
_FARTHEST_M = 1000.0

#: gaps of up to this share of a pixel on either side are left open
_NO_GAPS = 0.1

#: readings on one pixel that differ by less (or 4 sigma) are of one surface
_SAME_SURFACE_M = 0.010


def is_aligned(frame: RGBDFrame) -> bool:
    """Whether depth and colour share one pixel grid."""
    same_frame = frame.camera_T_depth is None
    same_intrinsics = frame.depth_intrinsics in (None, frame.intrinsics)
    return same_frame and same_intrinsics


def check_alignment(frame: RGBDFrame) -> None:
    """Check that the colour image is one, the sizes agree with the intrinsics, and the transform.

    Raises:
        InvalidImageError: the colour image is not ``[H, W, 3]``, or empty.
        SizeMismatchError: an image does not have its intrinsics' size.
        InvalidCameraInfoError, UnsupportedDistortionError: the depth camera's intrinsics.
    """
    if frame.rgb.ndim != 3 or frame.rgb.shape[2] != 3 or frame.rgb.size == 0:
        raise InvalidImageError(
            f"a colour image is [H, W, 3] and not empty, not {frame.rgb.shape}; convert it to RGB"
        )
    i = frame.intrinsics
    if (i.width, i.height) != (frame.width, frame.height):
        raise SizeMismatchError(
            f"the colour image is {frame.width}x{frame.height}, its camera info says "
            f"{i.width}x{i.height}; use the info topic of the same stream"
        )
    d = i if frame.depth_intrinsics is None else frame.depth_intrinsics
    if (d.width, d.height) != (frame.depth.width, frame.depth.height):
        raise SizeMismatchError(
            f"the depth image is {frame.depth.width}x{frame.depth.height}, expected "
            f"{d.width}x{d.height}; use the aligned depth topic, or give the depth camera's info"
        )
    check_intrinsics(d)
    transform = frame.camera_T_depth
    if transform is not None and not _is_rigid(transform):
        raise InvalidCameraInfoError(
            f"camera_T_depth must be a rigid [4, 4] transform, not {transform.tolist()}"
        )


def _is_rigid(transform: Array) -> bool:
    if transform.shape != (4, 4) or not np.isfinite(transform).all():
        return False
    if np.abs(transform).max() > _FARTHEST_M or (transform[3] != (0.0, 0.0, 0.0, 1.0)).any():
        return False
    rotation = transform[:3, :3]
    # a mirror image keeps lengths and angles too
    proper = float(np.linalg.det(rotation)) > 0.0
    return proper and bool(np.allclose(rotation @ rotation.T, np.eye(3), atol=1e-3))


def frame_window(
    frame: RGBDFrame,
    pixel: Pixel,
    radius_px: int,
    options: LiftingOptions,
    rows_px: int | None = None,
) -> DepthWindow:
    """A window around a colour pixel, registered where the frame's depth is not aligned."""
    if is_aligned(frame):
        return read_window(frame.depth, pixel, radius_px, options, rows_px)
    return registered_window(frame, pixel, radius_px, options, rows_px)


def registered_window(
    frame: RGBDFrame,
    pixel: Pixel,
    radius_px: int,
    options: LiftingOptions,
    rows_px: int | None = None,
) -> DepthWindow:
    """The readings that fall into a window around a colour pixel; see ``read_window``."""
    tall = radius_px if rows_px is None else rows_px
    u0, v0 = max(0, round(pixel[0]) - radius_px), max(0, round(pixel[1]) - tall)
    u1 = min(frame.width, round(pixel[0]) + radius_px + 1)
    v1 = min(frame.height, round(pixel[1]) + tall + 1)
    rows, columns = _depth_rectangle(frame, (u0, v0, u1 - 1, v1 - 1), options)
    z_m = np.full((v1 - v0, u1 - u0), np.nan)
    landed_at = np.full((*z_m.shape, 2), np.nan)
    if rows.stop > rows.start and columns.stop > columns.start:
        _z_buffer(frame, options, rows, columns, z_m, u0, v0, landed_at)
    spacing_px = _spacing_px(frame, pixel, z_m)
    return replace(window_of(z_m, u0, v0, options), landed_at=landed_at, spacing_px=spacing_px)


def scattered_readings(
    frame: RGBDFrame, pixel: Pixel, radius_px: int, stride_px: int, options: LiftingOptions
) -> tuple[Array, Array, Array]:
    """Readings of a depth camera that land around a colour pixel, without looking what is hidden.

    Args:
        frame: depth is not aligned.
        pixel: (u, v).
        radius_px: columns and rows to all sides, of the colour image.
        stride_px: distance between the readings, about, of the colour image.
        options: the depth range.

    Returns:
        Depths in the colour frame, those in range, and their u and v from the pixel: ``[N]``.
        Those of a distorted lens are as if it were straightened around the pixel, so that
        planes are linear in them.
    """
    i, d = frame.intrinsics, _depth_intrinsics(frame)
    u, v = round(pixel[0]), round(pixel[1])
    box = (
        max(0, u - radius_px), max(0, v - radius_px),
        min(frame.width - 1, u + radius_px), min(frame.height - 1, v + radius_px),
    )  # fmt: skip
    rows, columns = _depth_rectangle(frame, box, options)
    stride = max(1, round(stride_px * d.fx / i.fx))
    rows = slice(rows.start, rows.stop, stride)
    columns = slice(columns.start, columns.stop, stride)
    points, _ = _moved_points(frame, rows, columns)
    z_m = points[:, 2]
    points = points[(z_m >= max(options.z_min_m, _NEAREST_M)) & (z_m <= options.z_max_m)]
    z_m = points[:, 2]
    ray, jacobian = ray_and_jacobian(pixel, i)
    offsets = (points[:, :2] / z_m[:, None] - ray[:2]) @ np.linalg.inv(jacobian).T
    return z_m, offsets[:, 0], offsets[:, 1]


def _moved_points(frame: RGBDFrame, rows: slice, columns: slice) -> tuple[Array, Array]:
    """Readings of a part of the depth image, ``[N, 3]`` in the colour frame, and as measured."""
    depth = frame.depth.metres(rows, columns)
    v, u = np.nonzero(np.isfinite(depth))
    measured_z = depth[v, u].astype(np.float64)  # in the depth camera, whose noise it has
    pixels = np.column_stack(
        (u * (columns.step or 1) + columns.start, v * (rows.step or 1) + rows.start)
    )
    rays = rays_through(pixels.astype(np.float64), _depth_intrinsics(frame))
    transform = _transform(frame)
    points: Array = rays * measured_z[:, None] @ transform[:3, :3].T + transform[:3, 3]
    return points, measured_z


def _spacing_px(frame: RGBDFrame, pixel: Pixel, z_m: Array) -> int:
    """Distance at which elements of a window hold different readings, as ``_spread_px`` has it."""
    spacing_px = math.ceil(math.sqrt(pixels_per_reading(frame)) - 1e-6)
    seen = np.isfinite(z_m)
    if frame.camera_T_depth is not None and seen.any():
        middle = rays_through([pixel], frame.intrinsics)[0] * float(np.median(z_m[seen]))
        nearer = math.sqrt(pixels_per_reading(frame, depth_distance_ratio(frame, middle)))
        spacing_px = max(spacing_px, math.ceil(nearer - 2.0 * _NO_GAPS))
    return min(max(1, spacing_px), 32)


def register_depth(
    frame: RGBDFrame,
    options: LiftingOptions = LiftingOptions(),  # noqa: B008 (frozen)
) -> npt.NDArray[np.float32]:
    """The whole depth image on the colour image's grid: ``[H, W]`` metres, NaN where none."""
    check_depth(frame.depth)
    check_intrinsics(frame.intrinsics)
    check_alignment(frame)
    if is_aligned(frame):
        return frame.depth.metres()
    z_m = np.full((frame.height, frame.width), np.nan)
    rows, columns = slice(0, frame.depth.height), slice(0, frame.depth.width)
    _z_buffer(frame, options, rows, columns, z_m, 0, 0)
    return window_of(z_m, 0, 0, options).z_m.astype(np.float32)


def _spread_px(frame: RGBDFrame, depth_z: Array, colour_z: Array) -> npt.NDArray[np.int64]:
    """``[N]`` how far readings are spread to all sides of where they land.

    Where colour is finer than depth, or nearer to the thing, a reading covers several pixels,
    else there are gaps that the background would shine through.
    """
    ratio = min(frame.intrinsics.fx / _depth_intrinsics(frame).fx, 32.0)
    least = max(0, math.ceil((ratio - 1.0) / 2.0 - 1e-6))
    # a few centimetres between the cameras leave no gaps that matter
    nearer = np.minimum(ratio * depth_z / colour_z, 32.0)
    spread = np.ceil((nearer - 1.0) / 2.0 - _NO_GAPS).astype(np.int64)
    return np.maximum(spread, least)


def pixels_per_reading(frame: RGBDFrame, distance_ratio: float = 1.0) -> float:
    """Elements of a registered window that share one reading; 1 where depth is aligned.

    ``distance_ratio`` is that of ``depth_distance_ratio`` where the window is.
    """
    if is_aligned(frame):
        return 1.0
    i, d = frame.intrinsics, _depth_intrinsics(frame)
    return max(1.0, (i.fx / d.fx) * (i.fy / d.fy) * distance_ratio**2)


def depth_distance_ratio(frame: RGBDFrame, point_m: Array) -> float:
    """Depth of a point as the depth camera measures it, over that in the colour frame."""
    pose = frame.camera_T_depth
    if pose is None:
        return 1.0
    depth_z_m = float(pose[:3, 2] @ (point_m - pose[:3, 3]))
    return min(max(depth_z_m / float(point_m[2]), 0.1), 10.0)


def _depth_intrinsics(frame: RGBDFrame) -> CameraIntrinsics:
    return frame.depth_intrinsics if frame.depth_intrinsics is not None else frame.intrinsics


def _transform(frame: RGBDFrame) -> Array:
    return np.eye(4) if frame.camera_T_depth is None else frame.camera_T_depth


def _depth_rectangle(
    frame: RGBDFrame, box: tuple[int, int, int, int], options: LiftingOptions
) -> tuple[slice, slice]:
    """Rows and columns of the depth image that can land in ``box`` of the colour image."""
    u0, v0, u1, v1 = box
    # the middles of the sides too: a lens bends them out of the rectangle of the corners
    border = [(u, v) for u in (u0, (u0 + u1) / 2.0, u1) for v in (v0, (v0 + v1) / 2.0, v1)]
    rays = rays_through(border, frame.intrinsics)
    # even steps in 1/z are even steps in the depth image
    nearest_m = min(max(options.z_min_m, _NEAREST_M), options.z_max_m)
    z = 1.0 / np.linspace(1.0 / options.z_max_m, 1.0 / nearest_m, _RAY_SAMPLES)
    points = (rays[None, :, :] * z[:, None, None]).reshape(-1, 3)
    depth_T_camera = np.linalg.inv(_transform(frame))
    in_depth = points @ depth_T_camera[:3, :3].T + depth_T_camera[:3, 3]
    seen = project(in_depth, _depth_intrinsics(frame))
    seen = seen[np.isfinite(seen).all(axis=1)]
    if not len(seen):
        return slice(0, 0), slice(0, 0)
    limit = np.array([frame.depth.width, frame.depth.height])
    low = np.clip(np.floor(seen.min(axis=0)) - 2, 0, limit).astype(int)
    high = np.clip(np.ceil(seen.max(axis=0)) + 3, 0, limit).astype(int)
    return slice(int(low[1]), int(high[1])), slice(int(low[0]), int(high[0]))


def _z_buffer(
    frame: RGBDFrame,
    options: LiftingOptions,
    rows: slice,
    columns: slice,
    z_m: Array,
    u0: int,
    v0: int,
    landed_at: Array | None = None,
) -> None:
    """Project a rectangle of depth readings into ``z_m``; the nearest surface wins.

    ``landed_at`` ``[h, w, 2]`` receives the exact pixels that the winners landed at.
    """
    i, d = frame.intrinsics, _depth_intrinsics(frame)
    points, measured_z = _moved_points(frame, rows, columns)
    landed = project(points, i)
    ahead = np.isfinite(landed).all(axis=1)
    landed, z, measured_z = landed[ahead], points[ahead, 2], measured_z[ahead]
    if not len(z):
        return
    h, w = z_m.shape
    half = _spread_px(frame, measured_z, z)
    index, chosen = _targets(landed, half, (h, w), u0, v0)
    nearest = np.full(h * w, np.inf)
    np.minimum.at(nearest, index, z[chosen])
    # of readings of one surface the one that lands closest: the nearest would be that with the
    # largest error towards the camera
    front = nearest[index]
    sigma = options.bound_to(frame).sigma_z_m(measured_z[chosen], d.width)
    same = z[chosen] <= front + np.maximum(_SAME_SURFACE_M, 4.0 * sigma)
    index, chosen = index[same], chosen[same]
    du = landed[chosen, 0] - (u0 + index % w)
    dv = landed[chosen, 1] - (v0 + index // w)
    order = np.argsort(-(du * du + dv * dv), kind="stable")  # the closest is written last
    index, chosen = index[order], chosen[order]
    z_m.reshape(-1)[index] = z[chosen]
    if landed_at is not None:
        landed_at.reshape(-1, 2)[index] = landed[chosen]


def _targets(
    landed: Array, half: npt.NDArray[np.int64], size: tuple[int, int], u0: int, v0: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.intp]]:
    """Elements of a window that readings cover, and which reading it is: two ``[M]`` indices."""
    h, w = size
    centre_u = np.round(landed[:, 0]) - u0
    centre_v = np.round(landed[:, 1]) - v0
    indices, readings = [], []
    most, least = int(half.max()), int(half.min())
    for dv in range(-most, most + 1):
        for du in range(-most, most + 1):
            x, y = centre_u + du, centre_v + dv
            covered = (x >= 0) & (x < w) & (y >= 0) & (y < h)
            if max(abs(du), abs(dv)) > least:
                covered &= half >= max(abs(du), abs(dv))
            inside = np.nonzero(covered)[0]
            indices.append((y[inside] * w + x[inside]).astype(np.int64))
            readings.append(inside)
    return np.concatenate(indices), np.concatenate(readings)
