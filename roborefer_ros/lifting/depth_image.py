# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Windows of depth readings: what is valid, what flies, what is near.

Only the window around a point is ever converted; a whole 1280x720 image would cost more
than the lifting.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from roborefer_ros.errors import (
    InvalidImageError,
    NoValidDepthError,
    PointOutsideImageError,
    UnsupportedEncodingError,
)
from roborefer_ros.lifting.options import LiftingOptions
from roborefer_ros.types import DepthImage, Pixel

Array = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]


#: metres per unit of depth: a tenth of a micrometre to a kilometre
_UNITS_M = (1e-7, 1e3)


#: neighbours on one surface differ by less, or by 4 sigma, metres
_LEAST_TOLERANCE_M = 0.010


@dataclass(frozen=True)
class DepthWindow:
    """Readings around a point, on the colour image's grid.

    Attributes:
        z_m: ``[h, w]`` metres, NaN where there is no reading in [z_min, z_max].
        out_of_range: ``[h, w]`` where there is a reading, but outside that range.
        u0, v0: pixel of element [0, 0].
        landed_at: ``[h, w, 2]`` exact pixels of the readings, where registration moved them;
            None where they are the elements' own.
        spacing_px: distance at which elements hold different readings; more than 1 where
            registration spread each over several.
    """

    z_m: Array
    out_of_range: Mask
    u0: int
    v0: int
    landed_at: Array | None = None
    spacing_px: int = 1

    def has_reading(self, pixel: Pixel) -> bool:
        """Whether the element nearest to ``pixel`` has a reading."""
        h, w = self.z_m.shape
        row = min(max(round(pixel[1]) - self.v0, 0), h - 1)
        column = min(max(round(pixel[0]) - self.u0, 0), w - 1)
        return bool(np.isfinite(self.z_m[row, column]))

    def count(self) -> int:
        """How many elements have a reading."""
        return int(np.count_nonzero(np.isfinite(self.z_m)))

    def distances_px(self, pixel: Pixel) -> Array:
        """``[h, w]`` distance of every element's centre to ``pixel``."""
        du = np.arange(self.u0, self.u0 + self.z_m.shape[1]) - pixel[0]
        dv = np.arange(self.v0, self.v0 + self.z_m.shape[0]) - pixel[1]
        distances: Array = np.sqrt((du * du)[None, :] + (dv * dv)[:, None])
        return distances


def check_depth(depth: DepthImage) -> None:
    """Check that the image holds depth in a form that this package reads.

    Raises:
        InvalidImageError: not ``[H, W]``, empty, or a unit that is none of a length.
        UnsupportedEncodingError: neither an unsigned integer nor a float type.
    """
    if depth.raw.ndim != 2 or depth.raw.size == 0:
        raise InvalidImageError(f"a depth image is [H, W] and not empty, not {depth.raw.shape}")
    if depth.raw.dtype.kind not in "uf":
        raise UnsupportedEncodingError(
            f"depth of type {depth.raw.dtype} is not supported; send 16UC1 (mm) or 32FC1 (m)"
        )
    low, high = _UNITS_M
    if not low <= depth.unit_m <= high:  # NaN is in no range
        raise InvalidImageError(
            f"the depth unit must lie in [{low:g}, {high:g}] m, not {depth.unit_m}; "
            "16UC1 is 0.001, 32FC1 is 1"
        )


def check_pixel(pixel: Pixel, width_px: int, height_px: int) -> None:
    """Check that a pixel lies in the image.

    Raises:
        PointOutsideImageError: it does not, or is not finite.
    """
    u, v = pixel
    if not (-0.5 <= u <= width_px - 0.5 and -0.5 <= v <= height_px - 0.5):
        raise PointOutsideImageError(
            f"pixel ({u:g}, {v:g}) lies outside the {width_px}x{height_px} image"
        )


def read_window(
    depth: DepthImage,
    pixel: Pixel,
    radius_px: int,
    options: LiftingOptions,
    rows_px: int | None = None,
) -> DepthWindow:
    """Read the window around ``pixel``, cut at the image's borders.

    Args:
        depth: aligned with the pixel's image.
        pixel: (u, v).
        radius_px: columns to both sides.
        options: the depth range.
        rows_px: rows above and below; None for ``radius_px``.
    """
    u, v = round(pixel[0]), round(pixel[1])
    tall = radius_px if rows_px is None else rows_px
    rows = slice(max(0, v - tall), min(depth.height, v + tall + 1))
    columns = slice(max(0, u - radius_px), min(depth.width, u + radius_px + 1))
    z_m = depth.metres(rows, columns).astype(np.float64)
    return window_of(z_m, columns.start, rows.start, options)


def window_of(z_m: Array, u0: int, v0: int, options: LiftingOptions) -> DepthWindow:
    """Sort readings (NaN where none) into those in and out of the depth range."""
    in_range = (z_m >= options.z_min_m) & (z_m <= options.z_max_m)
    out_of_range = np.isfinite(z_m) & ~in_range
    z_m[~in_range] = np.nan
    return DepthWindow(z_m, out_of_range, u0, v0)


def supported(z_m: Array, options: LiftingOptions, width_px: int, at_least: int = 3) -> Mask:
    """Readings that belong to a surface rather than fly between two.

    A reading flies if fewer than ``at_least`` of its eight neighbours lie within
    max(10 mm, 4 sigma) of it: the corner of a surface has three, a line of interpolated
    readings between two surfaces has two.

    Args:
        z_m: ``[h, w]`` metres, NaN where invalid.
        options: Noise model of the sensor.
        width_px: Width of the whole image, pixels.
        at_least: Neighbours on the same surface that a reading needs.

    Returns:
        ``[h, w]``, False also where there is no reading.
    """
    h, w = z_m.shape
    if _is_smooth(z_m) and at_least <= 3:
        return np.ones((h, w), bool)
    # a border of absent readings lets rows be compared as one line: what would be the neighbour
    # beyond an end of a row is absent
    row = w + 1
    padded = np.full((h + 1, row), np.nan)
    padded[:h, :w] = z_m
    line = padded.ravel()
    tolerance = np.maximum(_LEAST_TOLERANCE_M, 4.0 * options.sigma_z_m(line, width_px))
    count = np.zeros(line.size, dtype=np.int8)
    for away in (1, row - 1, row, row + 1):
        # comparisons with NaN are False, which is what an absent neighbour deserves
        step = line[away:] - line[:-away]
        np.abs(step, out=step)
        count[away:] += (step <= tolerance[away:]).view(np.int8)
        count[:-away] += (step <= tolerance[:-away]).view(np.int8)
    enough: Mask = count.reshape(h + 1, row)[:h, :w] >= at_least
    return enough


def _is_smooth(z_m: Array) -> bool:
    """Whether all readings are there, and along rows and columns within half the least tolerance.

    Then those across are within all of it.
    """
    if min(z_m.shape) < 2:
        return False
    for step in (z_m[:, 1:] - z_m[:, :-1], z_m[1:] - z_m[:-1]):
        if not float(np.abs(step, out=step).max()) <= 0.5 * _LEAST_TOLERANCE_M:  # NaN is not
            return False
    return True


def raise_if_empty(depth: DepthImage) -> None:
    """Tell a dead depth camera from a hole.

    Raises:
        NoValidDepthError: the whole image holds no reading.
    """
    raw: npt.NDArray[Any] = depth.raw
    # NaN > 0 is False; the upper bound only matters to floats, which know infinity
    if not np.any((raw > 0) & (raw < np.inf)):
        raise NoValidDepthError(
            f"none of the {raw.size} depth readings is valid; is the depth stream running, "
            "the lens covered, or the scene nearer than the sensor's minimum?"
        )
