# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Free space where no surface is: "above the mug".

The pixel shows nothing, or a wide background that carries nothing (a wall).  The rule: follow
the image from the pixel against ``up`` to the first thing in front of what the pixel shows; the
position is ``air_height_m`` over the top of that thing, over its middle where it is an object.
Before a wall a support alone is no such thing: what stands on it hides the wall, so the pixel
means the wall.  Where the pixel shows nothing the position is over the place that was met, too.
The pixel must be about over the thing: its ray passes the top at no more than ``_MOST_OVER_M``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from roborefer_ros.errors import NoDepthAtPointError
from roborefer_ros.lifting.depth_image import DepthWindow, supported
from roborefer_ros.lifting.intrinsics import project, rays_through
from roborefer_ros.lifting.options import LiftingOptions
from roborefer_ros.lifting.patch import sample_patch
from roborefer_ros.lifting.registration import frame_window
from roborefer_ros.lifting.segment import Segment, grow_segment
from roborefer_ros.lifting.support import fit_heights, over_plane
from roborefer_ros.types import Pixel, RGBDFrame

Array = npt.NDArray[np.float64]

#: readings in a row that make a surface on the way down
_RUN = 4
#: the met surface stands this far in front of (or out from) what the pixel shows
_IN_FRONT_M = 0.03
#: the pixel's ray passes the top of the thing below at most this high (or three times
#: ``air_height_m``), and at most this far below it
_MOST_OVER_M, _MOST_UNDER_M = 0.3, 0.03
#: a thing nearer by this share, seen this share of the image's height below the first one met,
#: may be the one that is meant
_NEARER, _SOON = 0.75, 0.12
#: a background reaches this far to the sides of the pixel and over it, metres; things do not
_BACKGROUND_M = (0.15, 0.30)
_BACKGROUND_CELLS, _BACKGROUND_SHARE = 31, 0.5


@dataclass(frozen=True)
class AirPosition:
    """A place over something.

    Attributes:
        position_m: ``[3]`` in the optical frame.
        up: ``[3]`` unit vector that the height was measured along.
        below_pixel: Pixel at which the image shows what is below.
        sideways_m: how far the position may be off the middle of what is below, metres.
        readings: Readings of the surface below.
        valid_ratio: readings / grid points of the way that was followed.
        doubtful: soon after it something much nearer is met, which may be what is meant.
    """

    position_m: Array
    up: Array
    below_pixel: Pixel
    sideways_m: float
    readings: int
    valid_ratio: float
    doubtful: bool


def is_background(frame: RGBDFrame, point: Array, normal: Array, options: LiftingOptions) -> bool:
    """Whether a steep surface is wide, as walls are and sides of things are not.

    Args:
        frame: checked already.
        point: ``[3]`` of the surface.
        normal: ``[3]`` there, about.
        options: ``up``; thresholds.
    """
    up = options.unit_up
    normal = normal - up * float(up @ normal)  # as steep as a wall, whatever noise made of it
    length = float(np.linalg.norm(normal))
    if not length > 0.1:
        return False
    normal = normal / length
    if float(normal @ point) > -1e-6:
        return False
    axes = np.array([np.cross(up, normal), up, normal])
    patch = sample_patch(frame, point, axes, _BACKGROUND_M[1], _BACKGROUND_CELLS, options)
    sigma_m = options.sigma_z_m(float(point[2]), frame.width)
    fit = fit_heights(patch, sigma_m, 1.0)
    if fit is None:
        return False
    heights = over_plane(patch, fit).heights
    around = patch.in_image & (patch.aside() >= _BACKGROUND_M[0]) & (patch.grid[..., 1] >= 0.0)
    with np.errstate(invalid="ignore"):
        on = around & (np.abs(heights) <= max(0.015, 4.0 * sigma_m))
    seen = around & np.isfinite(patch.z_m)
    across = patch.grid[..., 0]
    sides = (on & (across > _BACKGROUND_M[0]), on & (across < -_BACKGROUND_M[0]))
    if np.count_nonzero(on) < _BACKGROUND_SHARE * max(20, int(np.count_nonzero(seen))):
        return False
    return all(np.count_nonzero(side) >= 10 for side in sides)


def find_air_position(
    frame: RGBDFrame,
    pixel: Pixel,
    shown: tuple[Array, Array] | None,
    options: LiftingOptions,
) -> AirPosition | None:
    """The place over what is below a pixel.

    Args:
        frame: checked already.
        pixel: inside the image, without a surface that carries.
        shown: point ``[3]`` and normal ``[3]`` that the pixel shows, such as of a wall; None
            for nothing.
        options: ``air_height_m``, ``up``.

    Returns:
        None where nothing is below, or not about below; where only the support is below a
        surface that is shown; and where the pixel is a hole: it shows nothing, but beyond it, up
        in the image, there is something.
    """
    up = options.unit_up
    down = _direction_in_image(frame, pixel, -up)
    if down is None:
        return None
    points, pixels = _along(frame, pixel, down, options)
    if shown is None and np.isfinite(_along(frame, pixel, -down, options)[0][:, 2]).any():
        return None  # a hole in what is around it, as glass and shiny things make
    met = _first_met(points, shown)
    if met is None:
        return None
    below, below_pixel = points[met], (float(pixels[met][0]), float(pixels[met][1]))
    try:
        segment = grow_segment(frame, below_pixel, float(below[2]), options)
    except NoDepthAtPointError:
        return None
    if options.up is None and segment.support is not None and segment.support.normal @ up > 0.1:
        up = segment.support.normal  # things stand on it, so it is level, more or less
    base, sideways_m, is_thing = _base(segment, below, up, options)
    if shown is not None and not is_thing:
        return None
    over_m = _passes_over(frame, pixel, base, up)
    if not -_MOST_UNDER_M <= over_m <= max(_MOST_OVER_M, 3.0 * options.air_height_m):
        return None
    return AirPosition(
        position_m=base + options.air_height_m * up,
        up=up,
        below_pixel=below_pixel,
        sideways_m=sideways_m,
        readings=len(segment.cloud.points_m),
        valid_ratio=float(np.isfinite(points[:, 2]).mean()),
        doubtful=_nearer_follows(points[met:], _SOON * frame.height),
    )


def _passes_over(frame: RGBDFrame, pixel: Pixel, base: Array, up: Array) -> float:
    """Height at which the pixel's ray passes over a point, metres."""
    ray = rays_through([pixel], frame.intrinsics)[0]
    level = base - up * float(up @ base)
    along = float(ray @ level)
    if not along > 1e-6:
        return math.inf
    distance = float(level @ level) / along
    return float((ray * distance - base) @ up)


def _nearer_follows(points: Array, within_px: float) -> bool:
    """Whether the way goes on, within some pixels, to a run of much nearer readings."""
    near = points[: max(1, int(within_px)), 2]
    with np.errstate(invalid="ignore"):
        nearer = near < _NEARER * near[0]
    run = np.convolve(nearer.astype(int), np.ones(_RUN, int), mode="valid") == _RUN
    return bool(len(near) >= _RUN and run.any())


def _direction_in_image(frame: RGBDFrame, pixel: Pixel, direction: Array) -> Array | None:
    """``[2]`` unit vector of the image that a direction in space has at a pixel."""
    ray = rays_through([pixel], frame.intrinsics)[0]
    seen = project([ray, ray + 0.01 * direction], frame.intrinsics)
    moved: Array = seen[1] - seen[0]
    length = float(np.linalg.norm(moved))
    # looking along gravity nothing is below in the image
    if not length > 0.05 * 0.01 * frame.intrinsics.fx:
        return None
    return moved / length


def _along(
    frame: RGBDFrame, pixel: Pixel, direction: Array, options: LiftingOptions
) -> tuple[Array, Array]:
    """Points ``[N, 3]`` (NaN where none) and pixels ``[N, 2]`` from a pixel to the border."""
    steps = np.arange(0.0, math.hypot(frame.width, frame.height))
    line = np.rint(np.array(pixel) + steps[:, None] * direction).astype(int)
    inside = (line >= 0).all(axis=1) & (line[:, 0] < frame.width) & (line[:, 1] < frame.height)
    line = line[inside]
    if not len(line):
        return np.empty((0, 3)), line
    low, high = line.min(axis=0), line.max(axis=0)
    middle, half = (low + high) // 2, (high - low + 1) // 2 + 2
    centre = (float(middle[0]), float(middle[1]))
    window: DepthWindow = frame_window(frame, centre, int(half[0]), options, int(half[1]))
    z = np.where(supported(window.z_m, options, frame.width), window.z_m, np.nan)
    z = z[line[:, 1] - window.v0, line[:, 0] - window.u0]
    return rays_through(line, frame.intrinsics) * z[:, None], line


def _first_met(points: Array, shown: tuple[Array, Array] | None) -> int | None:
    """Index of the first of a run of readings in front of what the pixel shows."""
    if len(points) < _RUN:
        return None
    in_front = np.isfinite(points[:, 2])
    if shown is not None:
        point, normal = shown
        with np.errstate(invalid="ignore"):
            in_front &= (points - point) @ normal > _IN_FRONT_M
    run = np.convolve(in_front.astype(int), np.ones(_RUN, int), mode="valid") == _RUN
    starts = np.nonzero(run)[0]
    return int(starts[0]) if starts.size else None


def _base(
    segment: Segment, below: Array, up: Array, options: LiftingOptions
) -> tuple[Array, float, bool]:
    """What the height is measured from, how far off its middle may be, whether it is a thing."""
    points = segment.cloud.points_m.astype(np.float64)
    from_below = points - below
    away = np.linalg.norm(from_below - np.outer(from_below @ up, up), axis=1).max()
    if segment.is_support or len(points) < 10 or away > 0.9 * options.segment_radius_m:
        return below, options.footprint_radius_m / 2.0, False
    # the middle of the top: of a thing, the upper part is seen all around
    heights = points @ up
    top = float(np.percentile(heights, 95))
    upper = points[heights >= top - max(0.3 * float(np.ptp(heights)), 0.01)]
    level = upper - np.outer(upper @ up, up)
    low, high = level.min(axis=0), level.max(axis=0)
    middle = (low + high) / 2.0
    middle = middle - up * float(middle @ up)
    return middle + top * up, float(np.linalg.norm(high - low)) / 4.0, True
