# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The patch of a normal: it grows while the surface stays flat.

Neighbouring readings of a depth camera share their errors: waves of about one standard deviation
that are as wide as the patch.  A normal's error is their height over the patch's radius, so a
wider patch is the only cure, and what is left of the waves in the patch tells how tilted the
normal may be.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from roborefer_ros.frame import Pixel, RGBDFrame
from roborefer_ros.lifting.options import REFERENCE_WIDTH_PX, LiftingOptions, longer_side_px
from roborefer_ros.lifting.plane_fit import PlaneFit, inverse_symmetric
from roborefer_ros.lifting.registration import frame_window, is_aligned

Array = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

#: radii over that of the first patch at which it is looked whether the surface is still flat
_STEPS = (1.0, 2.0, 3.43, 7.0)

#: distance between the readings that are looked at, for an image 1280 pixels wide
_STRIDE_PX = 3.0

#: share of a ring's readings that must lie on the plane, and readings that make a ring
_ON_PLANE_RATIO, _LEAST_READINGS = 0.85, 8

#: means of a ring's eighths may leave the plane by this many standard deviations or metres
_FLAT_SIGMA, _FLAT_M = 3.0, 0.003

#: readings within this (or 4 sigma) of a plane belong to it, metres
_ON_PLANE_M = 0.006

_SECTORS = 8


def stride_px(frame: RGBDFrame) -> int:
    """Distance between the readings that a wide patch looks at, pixels."""
    return max(1, round(_STRIDE_PX * longer_side_px(frame) / REFERENCE_WIDTH_PX))


class WidePatch:
    """Every few readings around a pixel, as far as a normal's patch may grow."""

    def __init__(self, frame: RGBDFrame, pixel: Pixel, options: LiftingOptions) -> None:
        """Read them.

        Args:
            frame: Observation, checked already.
            pixel: (u, v), inside the image.
            options: Radii and depth range.
        """
        scale = longer_side_px(frame) / REFERENCE_WIDTH_PX
        self._first_px = max(options.normal_radius_px * scale, 3.0)
        self._last_px = max(options.flat_radius_px * scale, self._first_px)
        stride = stride_px(frame)
        z_m, u, v = _readings(frame, pixel, math.ceil(self._last_px), stride, options)
        du, dv = u - pixel[0], v - pixel[1]
        distance = np.hypot(du, dv)
        seen = np.isfinite(z_m) & (distance <= self._last_px)
        self._du, self._dv, self._distance = du[seen], dv[seen], distance[seen]
        self._q: Array = 1.0 / z_m[seen]

    def widened(self, plane: PlaneFit, sigma_m: float) -> tuple[PlaneFit, float]:
        """Fit the slope to as wide a patch as is flat.

        Args:
            plane: Plane of the first patch.
            sigma_m: Standard deviation of one reading, metres.

        Returns:
            The plane, and the height of the waves that it leaves over, 1/m; the plane as it came
            and 0 where there are too few readings.
        """
        q2 = max(plane.q, 1e-3) ** 2
        tolerance = max(_ON_PLANE_M, 4.0 * sigma_m) * q2
        flat = max(_FLAT_M, _FLAT_SIGMA * sigma_m) * q2
        sector = ((np.arctan2(self._dv, self._du) / math.pi + 1.0) * (_SECTORS / 2)).astype(np.intp)
        sector %= _SECTORS
        waves, before_px = 0.0, 0.0
        for index, step in enumerate(_STEPS):
            radius_px = min(step * self._first_px, self._last_px)
            a, b = plane.gradient
            on = np.abs(self._q - plane.q - a * self._du - b * self._dv) <= tolerance
            ring = (self._distance > before_px) & (self._distance <= radius_px)
            count = int(np.count_nonzero(ring))
            if index and (
                count < _LEAST_READINGS or np.count_nonzero(on & ring) < _ON_PLANE_RATIO * count
            ):
                break
            member = on & (self._distance <= radius_px)
            if np.count_nonzero(member) < 2 * _LEAST_READINGS:
                break
            fitted, left = self._fit(plane, member)
            means = _means(sector[ring & on], left[(ring & on)[member]], _SECTORS)
            if index and np.abs(means).max() > flat:
                break
            block = sector[member] + _SECTORS * np.minimum(
                (self._distance[member] * (3.0 / radius_px)).astype(np.intp), 2
            )
            blocks = _means(block, left, 3 * _SECTORS)
            waves = math.sqrt(float(np.mean(blocks * blocks)))
            plane = fitted
            before_px = radius_px
            if radius_px >= self._last_px:
                break
        return plane, waves

    def _fit(self, plane: PlaneFit, member: Mask) -> tuple[PlaneFit, Array]:
        """Least squares over the members, which lie within tolerance already."""
        q = self._q[member]
        design = np.empty((len(q), 3))
        design[:, 0], design[:, 1], design[:, 2] = 1.0, self._du[member], self._dv[member]
        inverse = inverse_symmetric(design.T @ design + np.diag([0.0, 1e-3, 1e-3]))
        solution = inverse @ (design.T @ q)
        left = q - design @ solution
        rms = math.sqrt(float(left @ left) / len(q))
        gradient = (float(solution[1]), float(solution[2]))
        fitted = replace(
            plane, q=float(solution[0]), gradient=gradient, covariance=inverse, rms=rms,
            count=max(plane.count, len(q)), sampled=len(q),
        )  # fmt: skip
        return fitted, left


def _means(group: npt.NDArray[np.intp], values: Array, groups: int) -> Array:
    """``[groups]`` means, 0 where a group is empty."""
    count = np.bincount(group, minlength=groups)
    means: Array = np.bincount(group, values, minlength=groups) / np.maximum(count, 1)
    return means


def _readings(
    frame: RGBDFrame, pixel: Pixel, radius_px: int, stride: int, options: LiftingOptions
) -> tuple[Array, Array, Array]:
    """Every ``stride``-th reading in the depth range, and their u and v: three ``[h, w]``."""
    if is_aligned(frame):
        u, v = round(pixel[0]), round(pixel[1])
        radius_px -= radius_px % stride  # the pixel itself is one of them
        rows = slice(v - min(v, radius_px) // stride * stride, v + radius_px + 1, stride)
        columns = slice(u - min(u, radius_px) // stride * stride, u + radius_px + 1, stride)
        z_m = frame.depth.metres(rows, columns).astype(np.float64)
        h, w = z_m.shape
        u_grid, v_grid = np.meshgrid(
            columns.start + stride * np.arange(w, dtype=float),
            rows.start + stride * np.arange(h, dtype=float),
        )
        z_m = np.where((z_m >= options.z_min_m) & (z_m <= options.z_max_m), z_m, np.nan)
        return z_m, u_grid, v_grid
    window = frame_window(frame, pixel, radius_px, options)
    assert window.landed_at is not None
    landed = window.landed_at[::stride, ::stride]
    return window.z_m[::stride, ::stride], landed[..., 0], landed[..., 1]
