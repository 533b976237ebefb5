# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""What a frame shows of a plane, sampled on an even grid of that plane.

A grid on the plane weighs what is near and far alike, holds as many cells for every camera and
distance, and lets heights and colours be compared in metres.  Each cell takes the reading of the
pixel that its ray goes through: a thing on the plane covers the cells behind it, as seen.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
import numpy.typing as npt

from roborefer_ros.lifting.intrinsics import project, rays_through
from roborefer_ros.lifting.options import LiftingOptions
from roborefer_ros.lifting.registration import frame_window, is_aligned
from roborefer_ros.types import RGBDFrame

Array = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Patch:
    """Cells ``[n, n]`` of a square on a plane.

    Attributes:
        place: ``[3]`` the middle of the square, optical frame, metres.
        axes: ``[3, 3]`` rows: two directions in the plane and its normal.
        cell_m: distance of neighbouring cells.
        grid: ``[n, n, 2]`` positions of the cells along the first two axes.
        uv: ``[n, n, 2]`` where they are in the colour image; NaN where behind the camera.
        in_image: ``[n, n]`` whether the picture shows them.
        z_m: ``[n, n]`` the readings at their pixels, NaN where none is in the depth range.
        out_of_range: ``[n, n]`` where there is one, but out of that range.
        landed: ``[n, n, 2]`` the pixels that they were read at.
        points: ``[n, n, 3]`` those readings along the axes, from ``place``: the last is the
            height over the plane.
    """

    place: Array
    axes: Array
    cell_m: float
    grid: Array
    uv: Array
    in_image: Mask
    z_m: Array
    out_of_range: Mask
    landed: Array
    points: Array

    @property
    def heights(self) -> Array:
        """``[n, n]`` heights of the readings over the plane."""
        return self.points[..., 2]

    def aside(self) -> Array:
        """``[n, n]`` distances of the cells from the middle, metres."""
        distances: Array = np.hypot(self.grid[..., 0], self.grid[..., 1])
        return distances

    def readings_aside(self) -> Array:
        """``[n, n]`` distances of the readings from the normal through the middle, metres."""
        distances: Array = np.hypot(self.points[..., 0], self.points[..., 1])
        return distances


def plane_axes(normal: Array) -> Array:
    """``[3, 3]`` rows: two directions square to a normal, and the normal."""
    x, y, z = normal.tolist()
    # never two short sides: a camera that looks straight down sees the normal (0, 0, -1)
    a = np.array([z, 0.0, -x] if abs(y) < 0.99 else [y, -x, 0.0])
    a /= math.sqrt(float(a @ a))
    bx, by, bz = a.tolist()
    b = np.array([y * bz - z * by, z * bx - x * bz, x * by - y * bx])
    return np.array([a, b, normal])


@lru_cache(maxsize=8)
def _unit_square(cells: int) -> Array:
    """``[n, n, 2]`` even steps from -1 to 1 along both axes."""
    steps = np.linspace(-1.0, 1.0, cells)
    return np.stack(np.meshgrid(steps, steps), axis=-1)


def sample_patch(
    frame: RGBDFrame,
    place: Array,
    axes: Array,
    reach_m: float,
    cells: int,
    options: LiftingOptions,
) -> Patch:
    """Sample the square of ``2 reach_m`` around a place.

    Args:
        frame: checked already.
        place: ``[3]`` in front of the camera, optical frame.
        axes: Axes of ``plane_axes``.
        reach_m: half the side of the square.
        cells: n, odd.
        options: the depth range.
    """
    grid = reach_m * _unit_square(cells)
    on_plane = grid.reshape(-1, 2) @ axes[:2] + place
    uv = project(on_plane, frame.intrinsics)
    with np.errstate(invalid="ignore"):
        nearest = np.rint(uv)
        inside = (nearest[:, 0] >= 0) & (nearest[:, 0] < frame.width)
        inside &= (nearest[:, 1] >= 0) & (nearest[:, 1] < frame.height)
    pixels = np.where(inside[:, None], nearest, 0.0).astype(np.intp)
    z, out_of_range, landed = _readings(frame, pixels, inside, options)
    points = rays_through(landed, frame.intrinsics)
    points *= z[:, None]
    points -= place
    points = points @ axes.T
    shape = (cells, cells)
    return Patch(
        place,
        axes,
        2.0 * reach_m / (cells - 1),
        grid,
        uv.reshape(*shape, 2),
        inside.reshape(shape),
        z.reshape(shape),
        out_of_range.reshape(shape),
        landed.reshape(*shape, 2),
        points.reshape(*shape, 3),
    )


def _readings(
    frame: RGBDFrame, pixels: npt.NDArray[np.intp], inside: Mask, options: LiftingOptions
) -> tuple[Array, Mask, Array]:
    """Depths ``[N]`` at pixels, which are out of range, and where they were read ``[N, 2]``."""
    landed = pixels.astype(np.float64)
    if not inside.any():
        return np.full(len(pixels), np.nan), np.zeros(len(pixels), bool), landed
    if is_aligned(frame):
        raw = frame.depth.raw[pixels[:, 1], pixels[:, 0]]
        z = raw.astype(np.float64) * frame.depth.unit_m
        with np.errstate(invalid="ignore"):
            read = inside & (z > 0.0) & (z < np.inf)
    else:
        low, high = pixels[inside].min(axis=0), pixels[inside].max(axis=0)
        middle = (low + high) // 2
        half = (high - low + 1) // 2 + 1
        window = frame_window(
            frame, (float(middle[0]), float(middle[1])), int(half[0]), options, int(half[1])
        )
        v = np.clip(pixels[:, 1] - window.v0, 0, window.z_m.shape[0] - 1)
        u = np.clip(pixels[:, 0] - window.u0, 0, window.z_m.shape[1] - 1)
        z = np.where(window.out_of_range[v, u], np.inf, window.z_m[v, u])
        read = inside & ~np.isnan(z)
        if window.landed_at is not None:
            exact = window.landed_at[v, u]
            landed = np.where(np.isfinite(exact), exact, landed)
    with np.errstate(invalid="ignore"):
        in_range = read & (z >= options.z_min_m) & (z <= options.z_max_m)
    return np.where(in_range, z, np.nan), read & ~in_range, landed


def patch_colours(frame: RGBDFrame, patch: Patch) -> npt.NDArray[np.float32]:
    """``[n, n, 3]`` CIE L*a*b* of the cells, each the mean over about its size."""
    u, v = patch.uv[..., 0][patch.in_image], patch.uv[..., 1][patch.in_image]
    u0, v0 = max(0, math.floor(u.min())), max(0, math.floor(v.min()))
    u1, v1 = math.ceil(u.max()) + 2, math.ceil(v.max()) + 2
    crop: npt.NDArray[np.uint8] = np.ascontiguousarray(frame.rgb[v0:v1, u0:u1])
    across_px = math.sqrt(float((u1 - u0) * (v1 - v0))) / len(patch.uv)
    side = max(1, round(across_px))
    if side > 1:
        crop = np.asarray(cv2.blur(crop, (side, side)), dtype=np.uint8)
    at = np.where(patch.in_image[..., None], patch.uv - (u0, v0), -1.0).astype(np.float32)
    cells = cv2.remap(
        crop, at[..., 0], at[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    colours: npt.NDArray[np.float32] = cv2.cvtColor(
        cells.astype(np.float32) / np.float32(255.0), cv2.COLOR_RGB2LAB
    )
    return colours
