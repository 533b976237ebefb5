# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Free space: is there a flat, empty support under the footprint, and which pose has it?"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from roborefer_ros.errors import NotFreeSpaceError
from roborefer_ros.frame import Pixel, RGBDFrame
from roborefer_ros.lifting.depth_image import DepthWindow
from roborefer_ros.lifting.intrinsics import rays_through
from roborefer_ros.lifting.options import LiftingOptions
from roborefer_ros.lifting.registration import frame_window
from roborefer_ros.lifting.surface import PlaneFit, fit_plane

Array = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

#: at most about this many readings are fitted; more only cost time
_MAX_READINGS = 1200

#: halves of the footprint that are looked at: those towards so many directions
_HALVES = 16

#: rows and columns to each side that the surroundings are read at
_SURROUNDINGS = 45

#: a horizontal cut thicker than this share of the footprint's radius (one standard deviation;
#: 0.5 for a whole disc) is of a support
_CUT_OF_RADIUS = 0.2


@dataclass(frozen=True)
class Support:
    """A plane under the footprint.

    Attributes:
        plane: fit of the readings under the footprint, at the pixel.
        uneven_ratio: share of those readings that deviate from the plane; readings out of the
            depth range, such as those of the floor beyond a table's edge, do.
        valid_ratio: readings / pixels under the footprint.
        weakest_half: the same of the half of the footprint with the fewest readings.
        rms_m: RMS height of the even readings over the plane, with the sensor's noise.
    """

    plane: PlaneFit
    uneven_ratio: float
    valid_ratio: float
    weakest_half: float
    rms_m: float


def footprint_radius_px(z_m: float, focal_px: float, options: LiftingOptions) -> int:
    """Radius of the footprint in the image, for a support square to the view."""
    return max(3, math.ceil(options.footprint_radius_m * focal_px / z_m))


def find_support(
    window: DepthWindow,
    pixel: Pixel,
    rays: Array,
    start: Array,
    normal: Array,
    options: LiftingOptions,
    width_px: int,
) -> Support:
    """Fit the plane under the footprint and measure how much does not lie on it.

    Args:
        window: readings that cover the footprint.
        pixel: the point.
        rays: ``[h, w, 3]`` rays of the window's elements.
        start: ``[3]`` the point on the surface at the pixel.
        normal: ``[3]`` its normal: the footprint is a disc around ``start`` square to it.
        options: thresholds.
        width_px: width of the colour image.

    Raises:
        NotFreeSpaceError: less than ``min_footprint_ratio`` of the footprint, or of one half
            of it, has readings, or they are too few.
    """
    # where the rays meet the plane at the pixel: in or out of the footprint by geometry
    # alone, so that what stands on the footprint counts, whatever its height
    facing = rays @ normal
    with np.errstate(divide="ignore", invalid="ignore"):
        meets = rays * (float(normal @ start) / facing)[..., None]
    inside = (facing < -1e-6) & (
        np.linalg.norm(meets - start, axis=-1) <= options.footprint_radius_m
    )
    readings = inside & np.isfinite(window.z_m)
    valid_ratio = float(readings.sum() / max(1, inside.sum()))
    if readings.sum() < options.min_inliers or valid_ratio < options.min_footprint_ratio:
        raise NotFreeSpaceError(
            f"only {valid_ratio:.0%} of the footprint ({options.footprint_radius_m * 100:.0f} cm "
            f"radius) at ({pixel[0]:.0f}, {pixel[1]:.0f}) has depth readings; it may be occupied"
        )
    weakest_half = _weakest_half((meets - start)[inside], readings[inside], normal)
    if weakest_half < options.min_footprint_ratio:
        raise NotFreeSpaceError(
            f"only {weakest_half:.0%} of one side of the footprint "
            f"({options.footprint_radius_m * 100:.0f} cm radius) at ({pixel[0]:.0f}, "
            f"{pixel[1]:.0f}) has depth readings; it may reach beyond an edge or "
            "the picture, or be occupied"
        )
    v, u = np.nonzero(readings)
    stride = max(1, len(u) // _MAX_READINGS)
    v, u = v[::stride], u[::stride]
    z = window.z_m[v, u]
    sigma_m = options.sigma_z_m(float(start[2]), width_px)
    du = u.astype(np.float64) + (window.u0 - pixel[0])
    dv = v.astype(np.float64) + (window.v0 - pixel[1])
    if window.landed_at is not None:
        du, dv = (window.landed_at[v, u] - np.array(pixel)).T
    plane = fit_plane(du, dv, 1.0 / z, sigma_m / float(start[2]) ** 2, iterations=8)
    q = plane.q + plane.gradient[0] * du + plane.gradient[1] * dv
    # a deviation in z, seen along the ray, is a height above the plane by the incidence
    unit_q = np.abs(rays[v, u] @ normal)
    height = (1.0 / np.maximum(q, 1e-3) - z) * unit_q
    uneven = np.abs(height) > max(options.flatness_m, 4.0 * sigma_m)
    even = height[~uneven]
    rms_m = float(np.sqrt(np.mean(even**2))) if even.size else float("inf")
    # what is seen, but too far or too near, does not lie on the plane either
    out_of_range = int(np.count_nonzero(inside & window.out_of_range))
    seen = int(np.count_nonzero(readings)) + out_of_range
    off = 1.0 - (1.0 - float(uneven.mean())) * (seen - out_of_range) / seen
    return Support(plane, off, valid_ratio, weakest_half, rms_m)


def _weakest_half(from_start: Array, has_reading: Mask, normal: Array) -> float:
    """Share with readings of the half of a footprint that has the fewest.

    Beyond an edge, and where glass or something black stands, all readings of one side are
    missing, which the share of the whole does not tell from scattered holes.

    Args:
        from_start: ``[N, 3]`` where the rays meet the footprint, from its middle.
        has_reading: ``[N]``.
        normal: ``[3]`` of the footprint.
    """
    side = np.cross(normal, np.eye(3)[int(np.argmin(np.abs(normal)))])
    side /= np.linalg.norm(side)
    angles = np.arange(_HALVES) * (2.0 * np.pi / _HALVES)
    directions = np.outer(np.cos(angles), side) + np.outer(np.sin(angles), np.cross(normal, side))
    halves = (from_start @ directions.T >= 0.0).astype(np.float64)
    pixels = halves.sum(axis=0)
    # a half that the picture's border cuts off is not seen either; perspective alone leaves it
    # more than half of what lies opposite
    expected = np.maximum(pixels, 0.5 * np.roll(pixels, _HALVES // 2))
    ratios = halves.T @ has_reading.astype(np.float64) / np.maximum(1.0, expected)
    return float(ratios.min())


def occupied_ratio(
    frame: RGBDFrame, pixel: Pixel, place: Array, normal: Array, options: LiftingOptions
) -> float:
    """Share of the readings in the cylinder over the footprint that stand in it.

    A thing beside the spot that leans or reaches into the cylinder shows beside the footprint
    in the image, so the surroundings are read, coarsely.

    Args:
        frame: the observation.
        pixel: the point.
        place: ``[3]`` its position on the support.
        normal: ``[3]`` of the support.
        options: the cylinder's radius and height, and what counts as standing.
    """
    z_m = float(place[2])
    reach_m = options.footprint_radius_m + options.clearance_m
    nearest_m = max(z_m - reach_m, 0.5 * z_m)
    focal_px = max(frame.intrinsics.fx, frame.intrinsics.fy)
    radius_px = math.ceil(min(reach_m * focal_px / nearest_m, max(frame.width, frame.height)))
    stride = max(1, radius_px // _SURROUNDINGS)
    window = frame_window(frame, pixel, radius_px, options)
    z = window.z_m[::stride, ::stride]
    v, u = np.nonzero(np.isfinite(z))
    pixels = np.column_stack((u * stride + window.u0, v * stride + window.v0))
    from_place = rays_through(pixels, frame.intrinsics) * z[v, u, None] - place
    heights = from_place @ normal
    aside = np.linalg.norm(from_place - heights[:, None] * normal, axis=1)
    sigma_m = options.sigma_z_m(z_m, frame.width)
    low = max(2.0 * options.flatness_m, 6.0 * sigma_m)
    inside = (aside <= options.footprint_radius_m) & (heights >= -low)
    inside &= heights <= max(options.clearance_m, low)
    standing = inside & (heights > low)
    return int(np.count_nonzero(standing)) / max(1, int(np.count_nonzero(inside)))


def is_beside_level(
    window: DepthWindow,
    rays: Array,
    place: Array,
    options: LiftingOptions,
    width_px: int,
) -> bool:
    """Whether the readings at the height of a place spread like a support, not like a wall.

    At the foot of a thing the plane fits are a compromise between the thing and its support and
    look as steep as a wall.  But a wall is thin where a horizontal plane cuts it, a support is
    not: the standard deviation across the narrower direction of the cut tells them apart.

    Args:
        window: readings that cover the footprint.
        rays: ``[h, w, 3]`` rays of the window's elements.
        place: ``[3]`` what the pixel shows.
        options: thresholds; ``up`` is given.
        width_px: width of the colour image.
    """
    up = options.unit_up
    read = np.isfinite(window.z_m)
    from_place = rays[read] * window.z_m[read][:, None] - place
    heights = from_place @ up
    level = from_place - heights[:, None] * up
    sigma_m = options.sigma_z_m(float(place[2]), width_px)
    cut = np.abs(heights) <= max(options.flatness_m, 4.0 * sigma_m)
    cut &= np.linalg.norm(level, axis=1) <= options.footprint_radius_m
    if np.count_nonzero(cut) < options.min_inliers:
        return False
    # eigenvalues ascend: along up (none), across and along the cut
    across_m = math.sqrt(max(0.0, float(np.linalg.eigvalsh(np.cov(level[cut].T))[1])))
    return across_m > max(_CUT_OF_RADIUS * options.footprint_radius_m, 2.0 * sigma_m)


def check_support(
    support: Support,
    occupied: float,
    lift_m: float,
    width_px: int,
    pixel: Pixel,
    options: LiftingOptions,
) -> None:
    """Refuse what nothing can be placed on.

    Args:
        support: what ``find_support`` found.
        occupied: what ``occupied_ratio`` found.
        lift_m: height of the surface at the pixel itself over that plane.
        width_px: of the colour image.

    Raises:
        NotFreeSpaceError: uneven, or occupied at the pixel.
    """
    where = f"the spot at ({pixel[0]:.0f}, {pixel[1]:.0f})"
    z_m = 1.0 / support.plane.q
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
    if abs(lift_m) > max(options.flatness_m, 4.0 * options.sigma_z_m(z_m, width_px)):
        raise NotFreeSpaceError(
            f"{where} is occupied: what it shows is {lift_m * 1000:.0f} mm over its support"
        )
