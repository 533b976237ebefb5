# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The surface of the object at a pixel: readings connected with it, without its support.

Grasp planners want the thing and not the table.  The surroundings are read; wide planes that
reach beyond the object (tables, walls) are cut off, what remains is split at depth steps, and
the part with the seed is the segment.  Where the seed lies on such a plane, the segment is the
plane's part around it.  Things that touch each other at one depth are one
segment: depth alone cannot tell them apart.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from roborefer_ros.errors import NoDepthAtPointError
from roborefer_ros.lifting.cloud import Cloud
from roborefer_ros.lifting.depth_image import DepthWindow, check_depth, check_pixel
from roborefer_ros.lifting.intrinsics import check_intrinsics, rays_through
from roborefer_ros.lifting.options import LiftingOptions
from roborefer_ros.lifting.planes import Plane, widest_plane
from roborefer_ros.lifting.registration import check_alignment, frame_window
from roborefer_ros.types import Pixel, RGBDFrame

Array = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

#: the surroundings reach this much farther than the segment may
_SURROUNDINGS = 1.6
#: about this many rows and columns are looked at; more pixels are skipped over
_GRID = 200
#: a support holds this share of the surroundings, and this share of it lies beyond the reach
_LEAST_SHARE = 0.15
_LEAST_BEYOND = 0.15
_MOST_PLANES = 3


@dataclass(frozen=True)
class Segment:
    """The object's surface, or the support's around the seed.

    Attributes:
        cloud: its readings, on a grid of ``stride_px``.
        stride_px: distance of neighbouring readings, pixels.
        support: the wide plane that it lies in, else the most level one around; None where
            none was found.
        is_support: whether the seed lies on that plane.
    """

    cloud: Cloud
    stride_px: int
    support: Plane | None
    is_support: bool


def grow_segment(
    frame: RGBDFrame,
    pixel: Pixel,
    seed_z_m: float,
    options: LiftingOptions = LiftingOptions(),  # noqa: B008 (frozen)
) -> Segment:
    """Grow the segment of what lies at a pixel.

    Args:
        frame: the observation.
        pixel: (u, v), as given to ``lift_point``.
        seed_z_m: depth of the lifted point, ``lifted.position_m[2]``.
        options: ``segment_radius_m`` is how far the segment reaches from the seed.

    Returns:
        The segment, in the colour camera's optical frame; at least one reading.

    Raises:
        NoDepthAtPointError: no reading near the seed, or ``seed_z_m`` is no depth.
        PointOutsideImageError, SizeMismatchError, InvalidImageError, UnsupportedEncodingError,
        InvalidCameraInfoError, UnsupportedDistortionError: the frame cannot be used.
    """
    check_depth(frame.depth)
    check_intrinsics(frame.intrinsics)
    check_alignment(frame)
    check_pixel(pixel, frame.width, frame.height)
    options = options.bound_to(frame)
    if not options.z_min_m <= seed_z_m <= options.z_max_m:
        raise NoDepthAtPointError(
            f"a segment cannot grow from a depth of {seed_z_m} m; give that of a lifted point, "
            f"within {options.z_min_m} to {options.z_max_m} m"
        )
    window, stride, rays, pixels = _surroundings(frame, pixel, seed_z_m, options)
    z, points = window.z_m, rays * window.z_m[..., None]
    seed = rays_through([pixel], frame.intrinsics)[0] * seed_z_m
    away = np.linalg.norm(points - seed, axis=-1)
    within = np.isfinite(z) & (away <= options.segment_radius_m)
    # heights over planes are told from means of neighbours, which have a third of the noise
    steady = rays * _mean_of_neighbours(z, options, frame.width)[..., None]
    tolerance = max(options.flatness_m, 2.0 * options.sigma_z_m(seed_z_m, frame.width))
    at_seed = _nearest(pixels, pixel, within & (np.abs(z - seed_z_m) <= options.step_m))
    planes = _wide_planes(steady, away, np.isfinite(z), tolerance, options)
    support = planes[0] if planes else None
    is_support = False
    for plane in planes:
        low = np.abs(plane.heights_m(steady)) <= tolerance
        above = within & ~low & (np.linalg.norm(points - seed, axis=-1) <= 3.0 * tolerance)
        if low[at_seed] and (_mostly(low, at_seed, points) or not above.any()):
            support, is_support, within = plane, True, within & low
            break
    else:
        for plane in planes:
            within &= np.abs(plane.heights_m(steady)) > tolerance
        if not within[at_seed]:  # the foot of something: grow from just above it
            solid = cv2.erode(within.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
            at_seed = _nearest(pixels, pixel, solid if solid.any() else within)
    member = _connected(z, within, at_seed, stride, options, frame.width)
    v, u = np.nonzero(member)
    chosen = pixels[v, u].astype(np.int32)
    cloud = Cloud(points[v, u].astype(np.float32), frame.rgb[chosen[:, 1], chosen[:, 0]], chosen)
    return Segment(cloud, stride, support, is_support)


def _surroundings(
    frame: RGBDFrame, pixel: Pixel, seed_z_m: float, options: LiftingOptions
) -> tuple[DepthWindow, int, Array, Array]:
    """Every stride-th reading around the seed: window, stride, rays, their pixels."""
    focal_px = max(frame.intrinsics.fx, frame.intrinsics.fy)
    reach_px = _SURROUNDINGS * options.segment_radius_m * focal_px / max(seed_z_m, 0.05)
    radius_px = max(8, math.ceil(min(reach_px, max(frame.width, frame.height))))
    stride = max(1, 2 * radius_px // _GRID)
    whole = frame_window(frame, pixel, radius_px, options)
    window = DepthWindow(
        whole.z_m[::stride, ::stride], whole.out_of_range[::stride, ::stride], whole.u0, whole.v0
    )
    h, w = window.z_m.shape
    v, u = np.mgrid[:h, :w]
    pixels = np.stack((u * stride + whole.u0, v * stride + whole.v0), axis=-1)
    rays = rays_through(pixels.reshape(-1, 2), frame.intrinsics).reshape(h, w, 3)
    return window, stride, rays, pixels


def _mean_of_neighbours(z: Array, options: LiftingOptions, width_px: int) -> Array:
    """``[h, w]`` the mean of the 3x3 around each reading, without those of another surface."""
    h, w = z.shape
    padded = np.pad(z, 1, constant_values=np.nan)
    limit = np.maximum(0.010, 4.0 * options.sigma_z_m(z, width_px))
    total, count = np.zeros((h, w)), np.zeros((h, w))
    for dv in (0, 1, 2):
        for du in (0, 1, 2):
            neighbour = padded[dv : dv + h, du : du + w]
            alike = np.abs(neighbour - z) <= limit  # False for NaN
            total[alike] += neighbour[alike]
            count += alike
    mean: Array = np.where(count > 0, total / np.maximum(count, 1.0), np.nan)
    return mean


def _wide_planes(
    points: Array, away: Array, valid: Mask, tolerance: float, options: LiftingOptions
) -> list[Plane]:
    """Planes that reach beyond what a segment may: tables, walls, floors; level ones first."""
    planes: list[Plane] = []
    left = valid.copy()
    for _ in range(_MOST_PLANES):
        plane = widest_plane(
            points[left], tolerance, _LEAST_SHARE * valid.sum() / max(left.sum(), 1)
        )
        if plane is None:
            break
        on_plane = left & (np.abs(plane.heights_m(points)) <= tolerance)
        beyond = away[on_plane] > options.segment_radius_m
        if beyond.size and beyond.mean() >= _LEAST_BEYOND:
            planes.append(plane)
        left &= ~on_plane
    return sorted(planes, key=lambda plane: -float(plane.normal @ options.unit_up))


def _nearest(pixels: Array, pixel: Pixel, candidates: Mask) -> tuple[int, int]:
    """Index of the candidate nearest to a pixel.

    Raises:
        NoDepthAtPointError: no candidate.
    """
    if not candidates.any():
        raise NoDepthAtPointError(
            f"no depth reading around pixel ({pixel[0]:.0f}, {pixel[1]:.0f}) belongs to the "
            "surface there; nothing to grow a segment from"
        )
    distance = np.hypot(pixels[..., 0] - pixel[0], pixels[..., 1] - pixel[1])
    distance[~candidates] = np.inf
    row, column = np.unravel_index(int(np.argmin(distance)), distance.shape)
    return int(row), int(column)


def _mostly(low: Mask, at_seed: tuple[int, int], points: Array) -> bool:
    """Whether the seed's surroundings lie in the plane too, as those of a foot do not."""
    row, column = at_seed
    around = (slice(max(0, row - 4), row + 5), slice(max(0, column - 4), column + 5))
    valid = np.isfinite(points[around][..., 2])
    return float(low[around][valid].mean()) > 0.8


def _connected(
    z: Array,
    within: Mask,
    at_seed: tuple[int, int],
    stride: int,
    options: LiftingOptions,
    width_px: int,
) -> Mask:
    """The part of ``within`` that holds the seed, split where neighbours differ by a step."""
    kernel = np.ones((3, 3), np.uint8)
    low = cv2.erode(np.where(within, z, 1e3).astype(np.float32), kernel)
    high = cv2.dilate(np.where(within, z, -1e3).astype(np.float32), kernel)
    noise = 6.0 * options.sigma_z_m(np.nan_to_num(z), width_px)
    # a surface at 75 degrees climbs by 4 times the distance of its pixels
    climb = 4.0 * stride * np.nan_to_num(z) / (options.depth_focal_px or width_px)
    limit = np.maximum(options.step_m / 2.0, noise + climb)
    smooth = within & (high - low <= 2.0 * limit)
    smooth[at_seed] = True
    _, labels = cv2.connectedComponents(smooth.astype(np.uint8), connectivity=8)
    member: Mask = labels == labels[at_seed]
    # the rim itself: neighbours of the part, at its depth
    nearest = cv2.erode(np.where(member, z, 1e3).astype(np.float32), kernel)
    farthest = cv2.dilate(np.where(member, z, -1e3).astype(np.float32), kernel)
    rim = within & (z >= nearest - limit) & (z <= farthest + limit)
    return member | rim
