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
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from roborefer_ros.lifting.options import REFERENCE_WIDTH_PX, LiftingOptions, longer_side_px
from roborefer_ros.lifting.plane_fit import PlaneFit, rows_of, solve_plane
from roborefer_ros.lifting.registration import is_aligned, scattered_readings
from roborefer_ros.types import Pixel, RGBDFrame

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


class _Grid:
    """Offsets of the readings of a wide patch from its middle: a disc of every few pixels."""

    def __init__(self, radii_px: tuple[float, ...], stride_px: int) -> None:
        """Lay them out.

        Args:
            radii_px: Outer radii of the rings.
            stride_px: Distance between the readings.
        """
        self.half = int(radii_px[-1]) // stride_px
        line = stride_px * np.arange(-self.half, self.half + 1, dtype=np.float64)
        du, dv = np.meshgrid(line, line)
        distance = np.sqrt(du * du + dv * dv)
        self.disc: Mask = distance <= radii_px[-1]
        self.index = self.disc.ravel().nonzero()[0]
        self.du, self.dv, self.distance = du[self.disc], dv[self.disc], distance[self.disc]
        self.cell = _cells(self.du, self.dv, self.distance, radii_px)


_grid_of = lru_cache(maxsize=16)(_Grid)


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
        first_px = max(options.normal_radius_px * scale, 3.0)
        last_px = max(options.flat_radius_px * scale, first_px)
        self._radii_px = (*(first_px * s for s in _STEPS if first_px * s < last_px), last_px)
        stride = max(1, round(_STRIDE_PX * scale))
        #: from the pixel to the middle of the offsets
        self._off = 0.0, 0.0
        if is_aligned(frame):
            middle = round(pixel[0]), round(pixel[1])
            self._off = middle[0] - pixel[0], middle[1] - pixel[1]
            self._read(frame, middle, _grid_of(self._radii_px, stride), stride, options)
        else:
            self._scatter(frame, pixel, stride, options)
        self._in_cells = np.bincount(self._cell, minlength=_SECTORS * len(self._radii_px))

    def _read(
        self,
        frame: RGBDFrame,
        middle: tuple[int, int],
        grid: _Grid,
        stride: int,
        options: LiftingOptions,
    ) -> None:
        """Readings of aligned depth."""
        (u, v), half = middle, grid.half
        left, top = min(u // stride, half), min(v // stride, half)
        rows = slice(v - top * stride, v + half * stride + 1, stride)
        columns = slice(u - left * stride, u + half * stride + 1, stride)
        z_m = frame.depth.metres(rows, columns).astype(np.float64)
        geometry = grid.du, grid.dv, grid.distance, grid.cell
        if z_m.shape == grid.disc.shape:
            z_m = z_m.ravel()[grid.index]
        else:  # cut off at the image's borders
            h, w = z_m.shape
            part = np.zeros(grid.disc.shape, bool)
            part[half - top : half - top + h, half - left : half - left + w] = True
            geometry = tuple(values[part[grid.disc]] for values in geometry)  # type: ignore[assignment]
            z_m = z_m[grid.disc[half - top : half - top + h, half - left : half - left + w]]
        seen = (z_m >= options.z_min_m) & (z_m <= options.z_max_m)
        if not seen.all():
            geometry = tuple(values[seen] for values in geometry)  # type: ignore[assignment]
            z_m = z_m[seen]
        du, dv, self._distance, self._cell = geometry
        self._rows = rows_of(du, dv, 1.0 / z_m)

    def _scatter(
        self, frame: RGBDFrame, pixel: Pixel, stride: int, options: LiftingOptions
    ) -> None:
        """Readings of another camera, where they land."""
        last_px = self._radii_px[-1]
        z_m, du, dv = scattered_readings(frame, pixel, math.ceil(last_px), stride, options)
        distance = np.sqrt(du * du + dv * dv)
        seen = distance <= last_px
        du, dv, self._distance = du[seen], dv[seen], distance[seen]
        self._rows = rows_of(du, dv, 1.0 / z_m[seen])
        self._cell = _cells(du, dv, self._distance, self._radii_px)

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
        limits = max(_ON_PLANE_M, 4.0 * sigma_m) * q2, max(_FLAT_M, _FLAT_SIGMA * sigma_m) * q2
        a, b = plane.gradient
        start = np.array((plane.q + a * self._off[0] + b * self._off[1], a, b))
        last = len(self._radii_px) - 1
        # most surfaces are flat as far as is looked, which one fit tells; else ring by ring
        found = self._flat(start, last, 0, limits) if last else None
        if found is None:
            for index in range(last + 1):
                wider = self._flat(start, index, index, limits)
                if wider is None:
                    break
                found, start = wider, wider[0]
        return (plane, 0.0) if found is None else self._plane(plane, *found)

    def _flat(
        self, start: Array, ring: int, judged: int, limits: tuple[float, float]
    ) -> tuple[Array, float, npt.NDArray[np.intp], Array, Array] | None:
        """The plane of the readings up to a ring; None where a ring from ``judged`` on is not flat.

        The innermost is always taken for flat.
        """
        tolerance, flat = limits
        on = np.abs(self._rows[3] - start @ self._rows[:3]) <= tolerance
        cells = _SECTORS * (ring + 1)
        if ring < len(self._radii_px) - 1:
            on &= self._cell < cells
        member = on.nonzero()[0]
        if len(member) < 2 * _LEAST_READINGS:
            return None
        rows, of_member = self._rows, self._cell
        if len(member) < len(of_member):
            rows, of_member = rows[:, member], of_member[member]
        on_plane = np.bincount(of_member, minlength=cells)
        for index in range(max(1, judged), ring + 1):
            part = slice(_SECTORS * index, _SECTORS * (index + 1))
            in_ring = int(self._in_cells[part].sum())
            if in_ring < _LEAST_READINGS or on_plane[part].sum() < _ON_PLANE_RATIO * in_ring:
                return None
        solution, inverse, left = solve_plane(rows, rows)
        if ring:
            first = _SECTORS * max(1, judged)
            means = np.bincount(of_member, left, cells)[first:] / np.maximum(on_plane[first:], 1)
            if float(np.abs(means).max()) > flat:
                return None
        return solution, self._radii_px[ring], member, inverse, left

    def _plane(
        self,
        plane: PlaneFit,
        solution: Array,
        radius_px: float,
        member: npt.NDArray[np.intp],
        inverse: Array,
        left: Array,
    ) -> tuple[PlaneFit, float]:
        """The plane of the members, and the height of the waves that it leaves over them."""
        thirds = (self._distance[member] * (2.9999 / radius_px)).astype(np.intp)
        blocks = _means(self._cell[member] % _SECTORS + _SECTORS * thirds, left, 3 * _SECTORS)
        q, a, b = solution.tolist()
        q -= a * self._off[0] + b * self._off[1]
        count = len(member)
        rms = math.sqrt(float(left @ left) / count)
        fitted = PlaneFit(q, (a, b), inverse, rms, max(plane.count, count), plane.near, count)
        return fitted, math.sqrt(float(blocks @ blocks) / len(blocks))


def _cells(
    du: Array, dv: Array, distance: Array, radii_px: tuple[float, ...]
) -> npt.NDArray[np.intp]:
    """``[N]`` eighth around the pixel, 0 to 7, and 8 times the ring."""
    # any numbering does, as long as the parts are eighths
    steep = np.abs(dv) > np.abs(du)
    sector = (dv < 0.0) * 4 + (du < 0.0) * 2 + steep
    cell: npt.NDArray[np.intp] = sector + _SECTORS * np.searchsorted(radii_px[:-1], distance)
    return cell


def _means(group: npt.NDArray[np.intp], values: Array, groups: int) -> Array:
    """``[groups]`` means, 0 where a group is empty."""
    count = np.bincount(group, minlength=groups)
    means: Array = np.bincount(group, values, minlength=groups) / np.maximum(count, 1)
    return means
