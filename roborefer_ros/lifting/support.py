# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Free space: is there a flat, empty support under the footprint, and which plane is it?"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import cv2
import numpy as np
import numpy.typing as npt

from roborefer_ros.errors import NotFreeSpaceError
from roborefer_ros.lifting.intrinsics import rays_through
from roborefer_ros.lifting.options import LiftingOptions
from roborefer_ros.lifting.patch import Patch, plane_axes, sample_patch
from roborefer_ros.lifting.plane_fit import PlaneFit
from roborefer_ros.types import Pixel, RGBDFrame

Array = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

#: the fine patch reaches this much beyond the footprint; cells along its side
_FINE_REACH, _FINE_CELLS = 1.15, 45
#: cells along the side of the patch of the surroundings, and how many footprints it reaches
_WIDE_CELLS, _WIDE_REACH = 61, 3.0

#: halves of the footprint that are looked at: those towards this many directions
_HALVES = 16

#: readings farther than this from a cone of the steepest support are of other things, metres
_FIRST_M = 0.02
#: heights that belong to the plane, after each fit, metres
_TRIMS_M = (0.025, 0.015, 0.010, 0.007, 0.005)

#: tilt that the footprint alone tells no better than this is told from the surroundings
_TILT_SIGMA_RAD = math.radians(2.0)
#: readings of a real sensor that are worth an independent one
_READINGS_PER_INDEPENDENT = 16.0

#: a support's readings lie in a cone about the one that is asked for, of at most this slope
_STEEPEST = 1.0
#: slope of the narrower cone that is tried first, and the share of the readings that settles it
_LEVEL, _CLEAR_SHARE = 0.1, 0.7
#: a plane needs this many cells, which spread by this share of the radius (one standard deviation;
#: 0.5 for a whole disc) in their narrower direction
_LEAST_CELLS, _LEAST_SPREAD = 12, 0.2
#: at most about this many cells are fitted; more only cost time
_MAX_READINGS = 700
#: heights are averaged over this many cells, about a quarter of the footprint's radius
_SMOOTH_FINE, _SMOOTH_WIDE = 5, 3
#: no sensor is better than this, metres
_LEAST_SIGMA_M = 0.0003

_NO_PLANE = PlaneFit(math.nan, (math.nan, math.nan), np.full((3, 3), math.nan), math.nan, 0, 0)


@dataclass(frozen=True)
class Support:
    """A plane under the footprint, and what the frame shows of it.

    Attributes:
        plane: fit in the image, at the pixel.
        normal: ``[3]`` of the plane.
        fine: cells of the footprint, with heights over that plane.
        wide: cells of its surroundings.
        sigma_m: standard deviation of one reading's height, as measured there, at most that of
            the sensor's model.
        smooth_sigma_m: the same of the mean heights.
        tilt_sigma_rad: standard deviation of the plane's tilt.
        uneven_ratio: share of the footprint's readings that deviate from the plane; readings out
            of the depth range, such as those of the floor beyond a table's edge, do.
        low_m2: area within the footprint whose mean heights tell of something low on it.
        hidden_ratio: share of the footprint that things before it hide.
        valid_ratio: cells with readings / cells of the footprint.
        weakest_half: the same of the half of the footprint with the fewest readings.
        rms_m: RMS height of the even readings over the plane, with the sensor's noise.
    """

    plane: PlaneFit
    normal: Array
    fine: Patch
    wide: Patch
    sigma_m: float
    smooth_sigma_m: float
    tilt_sigma_rad: float
    uneven_ratio: float
    low_m2: float
    hidden_ratio: float
    valid_ratio: float
    weakest_half: float
    rms_m: float


@dataclass(frozen=True)
class Fit:
    """``height = level + slope @ (x, y)`` over a patch's plane, metres.

    Attributes:
        level: height at the middle.
        slope: ``[2]``.
        on: ``[N, 3]`` the readings that lie on it.
        rms_m: RMS distance of those from the plane, metres.
    """

    level: float
    slope: Array
    on: Array
    rms_m: float


def find_support(
    frame: RGBDFrame, pixel: Pixel, start: Array, normal: Array, options: LiftingOptions
) -> Support | None:
    """Fit the plane under the footprint and measure how much does not lie on it.

    Args:
        frame: checked already.
        pixel: the point.
        start: ``[3]`` the point on the surface at the pixel.
        normal: ``[3]`` about that of the support: the footprint is a disc around ``start``.
        options: thresholds.

    Returns:
        None where the readings do not spread like a support with about that normal: what the
        pixel shows is steep, or ends there.

    Raises:
        NotFreeSpaceError: less than ``min_footprint_ratio`` of the footprint, or of one half
            of it, has readings, or they are too few.
    """
    axes = plane_axes(normal)
    radius_m = options.footprint_radius_m
    fine = sample_patch(frame, start, axes, _FINE_REACH * radius_m, _FINE_CELLS, options)
    inside = fine.aside() <= radius_m
    read = inside & np.isfinite(fine.z_m)
    readings = _readings_under(frame, fine, read)
    seen = _check_seen(pixel, fine, inside, read, readings, options)
    reach_m = radius_m + max(radius_m, min(options.clearance_m, (_WIDE_REACH - 1.0) * radius_m))
    wide = sample_patch(frame, start, axes, reach_m, _WIDE_CELLS, options)
    noise = _noise(frame, wide, options)
    steepest = min(_STEEPEST, math.tan(min(options.max_tilt_rad, 1.5)))
    fit = fit_heights(fine, noise[0], steepest)
    tilt_sigma = math.inf if fit is None else _tilt_sigma(fit, readings, radius_m)
    if tilt_sigma > _TILT_SIGMA_RAD:
        wider = fit_heights(wide, noise[0], steepest)
        if wider is not None:
            fit = wider
            tilt_sigma = _tilt_sigma(fit, readings * (reach_m / radius_m) ** 2, reach_m)
    if fit is None:
        return None
    support = _judge(over_plane(fine, fit), over_plane(wide, fit), inside, noise, options)
    fitted = _image_plane(frame, pixel, support.fine, fit, support.rms_m)
    if fitted is None:
        return None
    plane, facing = fitted
    return replace(
        support, plane=plane, normal=facing, tilt_sigma_rad=tilt_sigma,
        valid_ratio=seen[0], weakest_half=seen[1],
    )  # fmt: skip


def _readings_under(frame: RGBDFrame, fine: Patch, read: Mask) -> float:
    """About how many of the image's pixels with readings the footprint holds."""
    towards = -fine.place / np.linalg.norm(fine.place)
    facing = max(0.05, abs(float(fine.axes[2] @ towards)))
    cell_px = fine.cell_m**2 * frame.intrinsics.fx * frame.intrinsics.fy / fine.place[2] ** 2
    return float(np.count_nonzero(read) * cell_px * facing)


def _check_seen(
    pixel: Pixel, fine: Patch, inside: Mask, read: Mask, readings: float, options: LiftingOptions
) -> tuple[float, float]:
    """Share of the footprint with readings, and that of its weakest half.

    Raises:
        NotFreeSpaceError: too little is seen.
    """
    where = (
        f"({options.footprint_radius_m * 100:.0f} cm radius) at ({pixel[0]:.0f}, {pixel[1]:.0f})"
    )
    valid_ratio = float(np.count_nonzero(read)) / float(np.count_nonzero(inside))
    least = min(options.min_inliers, 8)
    if readings < least or valid_ratio < options.min_footprint_ratio:
        raise NotFreeSpaceError(
            f"only {valid_ratio:.0%} of the footprint {where}, {readings:.0f} pixels, has depth "
            "readings; it may be occupied"
        )
    weakest_half = _weakest_half(fine.grid[inside], read[inside])
    if weakest_half < options.min_footprint_ratio:
        raise NotFreeSpaceError(
            f"only {weakest_half:.0%} of one side of the footprint {where} has depth readings; "
            "it may reach beyond an edge or the picture, or be occupied"
        )
    return valid_ratio, weakest_half


def _weakest_half(from_middle: Array, has_reading: Mask) -> float:
    """Share with readings of the half of a footprint that has the fewest.

    Beyond an edge, and where glass or something black stands, all readings of one side are
    missing, which the share of the whole does not tell from scattered holes.

    Args:
        from_middle: ``[N, 2]`` cells of the footprint.
        has_reading: ``[N]``.
    """
    angles = np.arange(_HALVES) * (2.0 * np.pi / _HALVES)
    directions = np.stack((np.cos(angles), np.sin(angles)))
    halves = (from_middle @ directions >= 0.0).astype(np.float64)
    ratios = has_reading.astype(np.float64) @ halves / halves.sum(axis=0)
    return float(ratios.min())


def fit_heights(patch: Patch, sigma_m: float, steepest: float) -> Fit | None:
    """The plane through the middle's surroundings, by least squares with shrinking limits.

    Args:
        patch: the surroundings.
        sigma_m: standard deviation of one reading, metres.
        steepest: largest slope of the plane against that of the patch.

    Returns:
        None where too few readings, or readings in a line, belong to it.
    """
    points = patch.points[np.isfinite(patch.z_m)]
    points = points[:: max(1, len(points) // _MAX_READINGS)]
    radius_m = float(patch.grid[0, -1, 0])
    # most supports are about as level as is asked for, which keeps things on them out
    fit = _trimmed_fit(points, sigma_m, min(_LEVEL, steepest), radius_m)
    if steepest > _LEVEL and (fit is None or len(fit.on) < _CLEAR_SHARE * len(points)):
        other = _trimmed_fit(points, sigma_m, steepest, radius_m)
        if fit is None or (other is not None and len(other.on) > len(fit.on)):
            fit = other
    return fit


def _trimmed_fit(points: Array, sigma_m: float, steepest: float, radius_m: float) -> Fit | None:
    """The fit that starts with the readings in a cone about level."""
    x, y, h = points.T
    limit = max(_FIRST_M, 4.0 * sigma_m)
    on = np.abs(h) <= limit + steepest * np.hypot(x, y)
    for trim_m in _TRIMS_M:
        if np.count_nonzero(on) < _LEAST_CELLS:
            return None
        part = points[on]
        middle = np.full(len(part), 1.0 / len(part)) @ part
        centred = part - middle
        spread = centred.T @ centred / len(part)
        (sxx, sxy, sxh), (_, syy, syh), _ = spread.tolist()
        determinant = sxx * syy - sxy * sxy
        # the narrower direction of what lies on the plane: a wall cut level is a line
        narrow = determinant / max(sxx + syy, 1e-12)
        if not narrow > (_LEAST_SPREAD * radius_m) ** 2:
            return None
        slope = np.array([sxh * syy - syh * sxy, syh * sxx - sxh * sxy]) / determinant
        level = float(middle[2] - slope @ middle[:2])
        off = np.abs(h - level - slope[0] * x - slope[1] * y)
        on = off <= max(trim_m, 4.0 * sigma_m)
    if np.count_nonzero(on) < _LEAST_CELLS:
        return None
    return Fit(level, slope, points[on], float(np.sqrt(np.mean(off[on] ** 2))))


def _tilt_sigma(fit: Fit, readings: float, radius_m: float) -> float:
    """Standard deviation of a plane's tilt, radians, from what the readings leave over."""
    independent = max(3.0, readings / _READINGS_PER_INDEPENDENT)
    return math.atan(2.0 * fit.rms_m / radius_m / math.sqrt(independent))


def over_plane(patch: Patch, fit: Fit) -> Patch:
    """The same cells with heights over the fitted plane."""
    points = patch.points.copy()
    points[..., 2] -= fit.level + points[..., :2] @ fit.slope
    points[..., 2] /= math.sqrt(1.0 + float(fit.slope @ fit.slope))
    return replace(patch, points=points)


def _image_plane(
    frame: RGBDFrame, pixel: Pixel, fine: Patch, fit: Fit, rms_m: float
) -> tuple[PlaneFit, Array] | None:
    """The plane in the image, 1/z = q + a du + b dv, and its normal; None where it is not ahead."""
    normal = np.array([-fit.slope[0], -fit.slope[1], 1.0]) @ fine.axes
    normal /= np.linalg.norm(normal)
    offset = float(normal @ (fine.place + fit.level * fine.axes[2]))
    u, v = pixel
    rays = rays_through([(u, v), (u + 1.0, v), (u, v + 1.0)], frame.intrinsics)
    facing = rays @ normal
    if not (offset < -1e-6 and facing[0] < -1e-6):
        return None
    q = facing / offset
    with np.errstate(invalid="ignore"):
        used = np.abs(fine.heights) <= max(3.0 * rms_m, 1e-6)
    du, dv = fine.landed[..., 0][used] - u, fine.landed[..., 1][used] - v
    design = np.column_stack((np.ones_like(du), du, dv))
    covariance = np.linalg.inv(design.T @ design + np.diag([0.0, 1e-3, 1e-3]))
    rms_q = rms_m * float(q[0]) ** 2 / max(0.05, abs(float(facing[0])))
    gradient = (float(q[1] - q[0]), float(q[2] - q[0]))
    return PlaneFit(float(q[0]), gradient, covariance, rms_q, len(du), len(du)), normal


def _judge(
    fine: Patch, wide: Patch, inside: Mask, noise: tuple[float, float], options: LiftingOptions
) -> Support:
    """What lies on the plane, and what does not; the caller adds the plane itself."""
    sigma_m, smooth_sigma_m = noise
    smooth = _mean_heights(_near(fine.heights, options), _SMOOTH_FINE)
    heights = fine.heights[inside]
    read = np.isfinite(heights)
    hidden = _hidden(fine, options, sigma_m) & inside
    with np.errstate(invalid="ignore"):
        uneven = read & ~(np.abs(heights) <= max(options.flatness_m, 4.0 * sigma_m))
        low = inside & (np.abs(smooth) > max(0.5 * options.flatness_m, 4.0 * smooth_sigma_m))
    even = heights[read & ~uneven]
    # what is seen, but too far or too near, does not lie on the plane either
    beyond = int(np.count_nonzero(fine.out_of_range & inside))
    seen = int(np.count_nonzero(read)) + beyond
    return Support(
        plane=_NO_PLANE,
        normal=fine.axes[2],
        fine=fine,
        wide=wide,
        sigma_m=sigma_m,
        smooth_sigma_m=smooth_sigma_m,
        tilt_sigma_rad=math.inf,
        uneven_ratio=(int(np.count_nonzero(uneven)) + beyond) / max(1, seen),
        low_m2=_largest(low) * fine.cell_m**2,
        hidden_ratio=float(np.count_nonzero(hidden)) / float(np.count_nonzero(inside)),
        valid_ratio=0.0,
        weakest_half=0.0,
        rms_m=float(np.sqrt(np.mean(even**2))) if even.size else math.inf,
    )


def _mean_heights(heights: Array, cells: int) -> Array:
    """``[n, n]`` means of the heights around the cells; NaN where less than half have one."""
    read = np.isfinite(heights)
    size = (cells, cells)
    total = cv2.blur(np.where(read, heights, 0.0), size, borderType=cv2.BORDER_CONSTANT)
    share = cv2.blur(read.astype(np.float64), size, borderType=cv2.BORDER_CONSTANT)
    means: Array = np.where(share > 0.5, total / np.maximum(share, 1e-9), np.nan)
    return means


def _near(heights: Array, options: LiftingOptions) -> Array:
    """The heights without those of what stands out, which would spread over their neighbours."""
    with np.errstate(invalid="ignore"):
        return np.where(np.abs(heights) <= 2.0 * options.flatness_m, heights, np.nan)


def _noise(frame: RGBDFrame, wide: Patch, options: LiftingOptions) -> tuple[float, float]:
    """Standard deviations of heights, of single readings and of means over 3x3 cells, metres.

    From second differences of the heights over the surroundings, which no plane, and no thing
    on a smaller part of it, adds to.  The sensor's model is their upper bound, and what counts
    where the cells are finer than its readings.
    """
    towards = -wide.place / np.linalg.norm(wide.place)
    facing = max(0.05, abs(float(wide.axes[2] @ towards)))
    model_m = max(options.sigma_z_m(float(wide.place[2]), frame.width), _LEAST_SIGMA_M)
    focal_px = min(frame.intrinsics.fx, frame.intrinsics.fy)
    reading_m = float(wide.place[2]) / focal_px / facing  # of a pixel, along the view
    lag = max(3, math.ceil(2.0 * reading_m / wide.cell_m))
    if 2 * lag >= len(wide.grid) // 2:
        return model_m, model_m
    single = _second_difference(wide.heights, lag)
    means = _second_difference(_mean_heights(wide.heights, _SMOOTH_WIDE), lag + 2)
    return min(model_m, single), min(model_m, means)


def _second_difference(heights: Array, lag: int) -> float:
    """Robust standard deviation of a reading, from h(x - lag) - 2 h(x) + h(x + lag)."""
    across = heights[:, 2 * lag :] - 2.0 * heights[:, lag:-lag] + heights[:, : -2 * lag]
    along = heights[2 * lag :] - 2.0 * heights[lag:-lag] + heights[: -2 * lag]
    off = np.abs(np.concatenate((across.ravel(), along.ravel())))
    off = off[np.isfinite(off)]
    if off.size < _LEAST_CELLS:
        return math.inf
    middle = float(np.partition(off, off.size // 2)[off.size // 2])
    return max(_LEAST_SIGMA_M, 1.4826 * middle / math.sqrt(6.0))


def _hidden(fine: Patch, options: LiftingOptions, sigma_m: float) -> Mask:
    """Cells whose ray meets a thing that stands beside the footprint."""
    with np.errstate(invalid="ignore"):
        high = fine.heights > max(2.0 * options.flatness_m, 6.0 * sigma_m)
        hidden: Mask = high & (fine.readings_aside() > options.footprint_radius_m)
    return hidden


def _largest(mask: Mask) -> int:
    """Cells of the largest connected part of a mask."""
    if not mask.any():
        return 0
    statistics = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)[2]
    return int(statistics[1:, cv2.CC_STAT_AREA].max())


def occupied_ratio(support: Support, options: LiftingOptions) -> float:
    """Share of the readings in the cylinder over the footprint that stand in it.

    A thing beside the spot that leans or reaches into the cylinder shows beside the footprint
    in the image, so the surroundings are read.
    """
    wide = support.wide
    heights = wide.heights
    low = max(2.0 * options.flatness_m, 6.0 * support.sigma_m)
    with np.errstate(invalid="ignore"):
        inside = (wide.readings_aside() <= options.footprint_radius_m) & (heights >= -low)
        inside &= heights <= max(options.clearance_m, low)
        standing = inside & (heights > low)
    return int(np.count_nonzero(standing)) / max(1, int(np.count_nonzero(inside)))


def check_support(
    support: Support, occupied: float, lift_m: float, pixel: Pixel, options: LiftingOptions
) -> None:
    """Refuse what nothing can be placed on.

    Args:
        support: Result of ``find_support``.
        occupied: Result of ``occupied_ratio``.
        lift_m: height of the surface at the pixel itself over that plane.
        pixel: the point.
        options: thresholds.

    Raises:
        NotFreeSpaceError: uneven, or occupied at the pixel.
    """
    where = f"the spot at ({pixel[0]:.0f}, {pixel[1]:.0f})"
    if support.uneven_ratio > options.max_uneven_ratio:
        raise NotFreeSpaceError(
            f"{where} is occupied or uneven: {support.uneven_ratio:.0%} of the readings within "
            f"{options.footprint_radius_m * 100:.0f} cm are off its plane by more than "
            f"{options.flatness_m * 1000:.0f} mm; ask for a larger free spot or a smaller footprint"
        )
    if occupied > options.max_occupied_ratio:
        raise NotFreeSpaceError(
            f"{where} is occupied: {occupied:.0%} of the readings up to "
            f"{options.clearance_m * 100:.0f} cm over its footprint "
            f"({options.footprint_radius_m * 100:.0f} cm radius) stand out of it; ask for a spot "
            "further away from other things, or a smaller footprint"
        )
    if abs(lift_m) > max(options.flatness_m, 4.0 * support.sigma_m):
        raise NotFreeSpaceError(
            f"{where} is occupied: what it shows is {lift_m * 1000:.0f} mm over its support"
        )
