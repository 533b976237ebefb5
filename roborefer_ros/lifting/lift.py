# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""A pixel and a frame become a point in space with its normal, covariance and confidence."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from roborefer_ros.errors import (
    DepthAmbiguousError,
    GrazingSurfaceError,
    NoDepthAtPointError,
    OutOfRangeError,
    RoboReferError,
)
from roborefer_ros.lifting.depth_image import (
    DepthWindow,
    check_depth,
    check_pixel,
    raise_if_empty,
    supported,
)
from roborefer_ros.lifting.estimate import point_on
from roborefer_ros.lifting.flat_patch import WidePatch
from roborefer_ros.lifting.intrinsics import check_intrinsics
from roborefer_ros.lifting.lifted import LiftedPoint
from roborefer_ros.lifting.options import REFERENCE_WIDTH_PX, LiftingOptions, longer_side_px
from roborefer_ros.lifting.placing import place_point
from roborefer_ros.lifting.plausible import judge_depth
from roborefer_ros.lifting.registration import check_alignment, frame_window
from roborefer_ros.lifting.shadow import FarSide, find_far_side, shadow_reach_px
from roborefer_ros.lifting.sides import side_by_colour
from roborefer_ros.lifting.surface import SQUARE_3X3_PX, Surface, find_surface
from roborefer_ros.types import Mode, Pixel, PointFlag, RGBDFrame

#: standard deviation of a depth that makes it useless to a gripper, metres
_UNCERTAIN_M = 0.05

#: trust in an image that is noisier than its sensor can be: below one half
_IMPLAUSIBLE = 0.45

#: pixels beyond the far end of a hole whose colour is looked at
_BESIDE_PX = 12


def lift_point(
    frame: RGBDFrame,
    pixel: Pixel,
    options: LiftingOptions = LiftingOptions(),  # noqa: B008 (frozen)
    mode: Mode = Mode.AUTO,
) -> LiftedPoint:
    """Lift one pixel of the colour image.

    Args:
        frame: the observation.
        pixel: (u, v), pixel centres at integers, inside the image.
        options: thresholds.
        mode: FREE_SPACE asks for a flat support under a footprint, or a place in the air
            where there is no surface; OBJECT and AUTO prefer the nearer of two surfaces that
            are equally plausible.

    Raises:
        NoDepthAtPointError: no reading within the search radius.
        NoValidDepthError: no reading in the whole image.
        DepthAmbiguousError: two surfaces compete at the pixel.
        OutOfRangeError: the surface is outside [z_min, z_max], or most of the image is nearer.
        GrazingSurfaceError: the surface is seen at too flat an angle.
        NotFreeSpaceError: FREE_SPACE, and the support is uneven, tilted or occupied.
        PointOutsideImageError, SizeMismatchError, InvalidImageError,
        UnsupportedEncodingError, InvalidCameraInfoError, UnsupportedDistortionError:
            the input cannot be used.
    """
    _check(frame, pixel)
    options = options.bound_to(frame)
    plausible = judge_depth(frame.depth, options)
    if mode == Mode.FREE_SPACE:
        surface = functools.partial(_on_surface, frame, pixel, options, mode)
        lifted = place_point(frame, pixel, options, surface)
    else:
        lifted = _on_surface(frame, pixel, options, mode)[0]
    return _finite(lifted if plausible else _doubted(lifted, pixel, options), pixel)


def lift_points(
    frame: RGBDFrame,
    pixels: Iterable[Pixel],
    options: LiftingOptions = LiftingOptions(),  # noqa: B008 (frozen)
    mode: Mode = Mode.AUTO,
) -> list[LiftedPoint]:
    """Lift several pixels; raises what ``lift_point`` raises for the first that fails."""
    return [lift_point(frame, pixel, options, mode) for pixel in pixels]


def _doubted(lifted: LiftedPoint, pixel: Pixel, options: LiftingOptions) -> LiftedPoint:
    """The same point of an image that is noisier than its sensor can be.

    Raises:
        DepthAmbiguousError: with that doubt its confidence is too low.
    """
    confidence = _IMPLAUSIBLE * lifted.confidence
    if confidence < options.least_confidence:
        raise DepthAmbiguousError(
            f"confidence {confidence:.2f} at pixel ({pixel[0]:.0f}, {pixel[1]:.0f}) is below "
            f"{options.least_confidence:g}: the depth image is noisier than the sensor's model "
            f"({options.depth_noise_model}) allows; is the depth unit too small, or are the noise "
            "options those of another camera?"
        )
    return replace(lifted, confidence=confidence)


def _finite(lifted: LiftedPoint, pixel: Pixel) -> LiftedPoint:
    """The same point; a planner must never get a number that is none.

    Raises:
        NoDepthAtPointError: a number of it is not finite.
    """
    numbers = (lifted.position_m, lifted.normal, lifted.orientation_xyzw, lifted.covariance)
    total = sum(float(values.sum()) for values in numbers)
    if not math.isfinite(total + lifted.confidence + lifted.residual_m + lifted.incidence_rad):
        raise NoDepthAtPointError(
            f"the readings around pixel ({pixel[0]:.0f}, {pixel[1]:.0f}) give no finite point; "
            "check the camera info, the depth unit and the transform between the cameras"
        )
    return lifted


def _on_surface(
    frame: RGBDFrame, pixel: Pixel, options: LiftingOptions, mode: Mode
) -> tuple[LiftedPoint, Surface]:
    """The point on what the pixel shows, and the surface that it was found on."""
    scale = longer_side_px(frame) / REFERENCE_WIDTH_PX
    radius_px = math.ceil(options.search_radius_px * scale) + 2
    # mostly the pixel has a reading among others, and nothing farther than the slope matters
    small_px = math.ceil(options.normal_radius_px * scale) + 2
    window = frame_window(frame, pixel, min(small_px, radius_px), options)
    if not (window.has_reading(pixel) and 2 * window.count() > window.z_m.size):
        window = frame_window(frame, pixel, radius_px, options)
    _refuse_out_of_range(window, pixel, options)
    far_side = None
    if mode != Mode.OBJECT and not window.has_reading(pixel):
        far_side = _far_side(frame, pixel, options)
        if far_side is not None:
            beyond_px = math.ceil(options.normal_radius_px * scale)
            radius_px = max(radius_px, math.ceil(far_side.distance_px) + beyond_px)
            window = frame_window(frame, pixel, radius_px, options)
    surface = find_surface(
        window,
        pixel,
        options,
        longer_side_px(frame),
        front=mode != Mode.FREE_SPACE,
        far_side=far_side,
        # of a support, the plane under its whole footprint counts
        wide=None if mode == Mode.FREE_SPACE else WidePatch(frame, pixel, options),
    )
    if surface is None:
        raise _nothing_there(frame, window, pixel, options)
    lifted = point_on(frame, pixel, options, surface)
    if lifted.confidence < options.refuse_below and not window.has_reading(pixel):
        by_colour = _by_colour(frame, window, pixel, options)
        if by_colour is not None and by_colour[0].confidence >= options.least_confidence:
            return by_colour
    if lifted.confidence < options.least_confidence:
        raise _too_uncertain(lifted, surface, pixel, options.least_confidence)
    return lifted, surface


def _check(frame: RGBDFrame, pixel: Pixel) -> None:
    check_depth(frame.depth)
    check_intrinsics(frame.intrinsics)
    check_alignment(frame)
    check_pixel(pixel, frame.width, frame.height)


def _far_side(frame: RGBDFrame, pixel: Pixel, options: LiftingOptions) -> FarSide | None:
    """What is behind, where the pixel lies in the shadow of a near surface."""
    focal_px = frame.intrinsics.fx
    reach_px = min(shadow_reach_px(focal_px, options), frame.width)
    row = frame_window(frame, pixel, reach_px, options, rows_px=1)
    usable = supported(row.z_m, options, frame.width)
    v = min(max(round(pixel[1]), 1), max(1, frame.height - 2))
    colours = frame.rgb[v - 1 : v + 2]
    found = find_far_side(row, usable, pixel, focal_px, options, colours)
    if found is None or options.shadow_side != "auto":
        return found
    # nothing but colour tells the side: that of the row alone is not enough
    far_u, far_v = int(found.pixel[0]), int(found.pixel[1])
    window = frame_window(frame, pixel, math.ceil(found.distance_px) + _BESIDE_PX, options)
    side = side_by_colour(frame, window, pixel, options, found.distance_px)
    if side is None or not side[far_v - window.v0, far_u - window.u0]:
        return None
    return found


def _by_colour(
    frame: RGBDFrame, window: DepthWindow, pixel: Pixel, options: LiftingOptions
) -> tuple[LiftedPoint, Surface] | None:
    """The point on that of two surfaces at a hole whose colour the pixel has."""
    side = side_by_colour(frame, window, pixel, options)
    if side is None:
        return None
    of_side = replace(window, z_m=np.where(side, window.z_m, np.nan))
    surface = find_surface(of_side, pixel, options, longer_side_px(frame), front=True)
    if surface is None:
        return None
    surface = replace(surface, by_colour=True)
    return point_on(frame, pixel, options, surface), surface


def _refuse_out_of_range(window: DepthWindow, pixel: Pixel, options: LiftingOptions) -> None:
    """A pixel that shows something too far must not be put on what is near beside it."""
    if not window.out_of_range.any():
        return
    close = window.distances_px(pixel) <= SQUARE_3X3_PX
    outside = int(np.count_nonzero(window.out_of_range & close))
    if outside > np.count_nonzero(np.isfinite(window.z_m) & close):
        raise _out_of_range(pixel, options)


def _out_of_range(pixel: Pixel, options: LiftingOptions) -> OutOfRangeError:
    return OutOfRangeError(
        f"the readings at pixel ({pixel[0]:.0f}, {pixel[1]:.0f}) lie outside "
        f"{options.z_min_m} to {options.z_max_m} m; check the depth unit, or widen z_min and z_max"
    )


def _nothing_there(
    frame: RGBDFrame, window: DepthWindow, pixel: Pixel, options: LiftingOptions
) -> NoDepthAtPointError | OutOfRangeError:
    where = f"pixel ({pixel[0]:.0f}, {pixel[1]:.0f})"
    if window.out_of_range.any():
        return _out_of_range(pixel, options)
    raise_if_empty(frame.depth)
    return NoDepthAtPointError(
        f"no depth reading within {window.z_m.shape[1] // 2} px of {where}; transparent, shiny "
        "or black surfaces and those too near give none"
    )


def _too_uncertain(
    lifted: LiftedPoint, surface: Surface, pixel: Pixel, least: float
) -> RoboReferError:
    """The error for the strongest reason against a point."""
    what = (
        f"confidence {lifted.confidence:.2f} at pixel ({pixel[0]:.0f}, {pixel[1]:.0f}) is below "
        f"{least:g}"
    )
    if lifted.flags & PointFlag.GRAZING:
        return GrazingSurfaceError(
            f"{what}: the surface is seen at {math.degrees(lifted.incidence_rad):.0f} deg; "
            "look at it from another side"
        )
    other_ratio = max(surface.other_ratio, surface.rim_ratio, surface.rivalry)
    if other_ratio > 0.1:
        return DepthAmbiguousError(
            f"{what}: {other_ratio:.0%} of the readings around it lie on another "
            "surface; point further inside the object or move the camera"
        )
    sigma_m = math.sqrt(float(lifted.covariance[2, 2]))
    if lifted.nearest_reading_px == 0.0 and sigma_m > _UNCERTAIN_M:
        return OutOfRangeError(
            f"{what}: at {lifted.position_m[2]:.2f} m the sensor is good for {sigma_m:.2f} m only; "
            "move the camera closer, or check the depth unit and the noise options"
        )
    return NoDepthAtPointError(
        f"{what}: the nearest of {lifted.inliers} readings is {lifted.nearest_reading_px:.0f} px "
        "away; transparent, shiny or black surfaces give none"
    )
