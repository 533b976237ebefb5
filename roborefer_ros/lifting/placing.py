# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Where something can be put: on the support that a pixel shows, or in the air."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from roborefer_ros.errors import (
    DepthAmbiguousError,
    GrazingSurfaceError,
    NoDepthAtPointError,
    NotFreeSpaceError,
    OutOfRangeError,
    RoboReferError,
)
from roborefer_ros.lifting.air import AirPosition, find_air_position, is_background
from roborefer_ros.lifting.appearance import Appearance, compare_appearance
from roborefer_ros.lifting.estimate import point_on
from roborefer_ros.lifting.level import looks_steep
from roborefer_ros.lifting.lifted import LiftedPoint
from roborefer_ros.lifting.options import LiftingOptions
from roborefer_ros.lifting.orientation import (
    approach_rotation,
    quaternion_xyzw,
    rotation_covariance,
)
from roborefer_ros.lifting.registration import frame_window
from roborefer_ros.lifting.support import Support, check_support, find_support, occupied_ratio
from roborefer_ros.lifting.surface import Surface
from roborefer_ros.types import Pixel, PointFlag, RGBDFrame

Array = npt.NDArray[np.float64]

#: a pixel with no reading this near shows no surface
_SHOWS_PX = 3

#: a footprint of which a half shows less than this is SPARSE
_WELL_SEEN = 0.5

#: height of the errors that neighbouring readings of a support share, over what it leaves over:
#: measured
_SUPPORT_WAVES = 0.95

#: factor of the confidence for a reason that speaks against a place: below one half, whatever
#: else speaks for it
_DOUBTED = 0.45
#: share of the footprint that something low may cover, and that may be hidden
_LOW_SHARE, _HIDDEN = 0.012, 0.03

#: shares of the footprint that a part with foreign colours, its rim, and rims without such a part
#: need to tell of something on the support
_FOREIGN_PART, _FOREIGN_RIM, _RIMS_ALONE = 0.012, 0.04, 0.20
#: share of rims that counts for as much as what is low, where there is a little of that
_RIMS_WITH_LOW, _LOW_AT_ALL = 0.15, 0.1
#: with less readings than this, something of other colour is there for certain
_FEW_READINGS = 0.75
#: trust in a place whose pixel has no reading, where colour shows the support there
_HOLE_TRUST = 0.8
#: factor where colour tells nothing: dark, overexposed, too little of the support around
_COLOUR_UNTOLD = 0.92

#: trust in a place in the air; and the factor where gravity is guessed or where nothing tells
#: air from what the sensor does not see (dark, shiny, out of the depth camera's view)
_AIR_CONFIDENCE, _GUESSED = 0.6, 0.7
#: standard deviations of a height over a thing and of the direction of gravity
_AIR_HEIGHT_SIGMA_M, _UP_SIGMA_RAD = 0.005, 0.05


class _TooTiltedError(NotFreeSpaceError):
    """Carries the point that was refused: something else may be below it."""

    def __init__(self, placed: LiftedPoint, pixel: Pixel, options: LiftingOptions) -> None:
        self.placed = placed
        super().__init__(_too_tilted(tilt_of(placed.normal, options), pixel, options))


def _spot(pixel: Pixel) -> str:
    return f"the spot at ({pixel[0]:.0f}, {pixel[1]:.0f})"


def _too_tilted(tilt_rad: float | None, pixel: Pixel, options: LiftingOptions) -> str:
    if tilt_rad is None:
        return f"{_spot(pixel)} is seen edge-on; it does not support anything"
    return (
        f"{_spot(pixel)} is tilted by {math.degrees(tilt_rad):.0f} "
        f"deg, more than {math.degrees(options.max_tilt_rad):.0f}; it does not support anything"
    )


def place_point(
    frame: RGBDFrame,
    pixel: Pixel,
    options: LiftingOptions,
    on_surface: Callable[[], tuple[LiftedPoint, Surface]],
) -> LiftedPoint:
    """A place for something at a pixel: on its support, else in the air over what is below.

    Args:
        frame: checked already.
        pixel: inside the image.
        options: footprint, flatness, tilt, height in the air.
        on_surface: gives the point on what the pixel shows; may raise.

    Raises:
        NotFreeSpaceError: the support is uneven, tilted or occupied.
        RoboReferError: what ``on_surface`` raises, where nothing is below the pixel either.
    """
    try:
        lifted, surface = on_surface()
        placed: LiftedPoint | None = _on_support(frame, pixel, options, surface, lifted)
    except (NoDepthAtPointError, OutOfRangeError, DepthAmbiguousError, NotFreeSpaceError) as error:
        placed = _in_air(frame, pixel, options, error) if options.in_air else None
        if placed is None:
            raise
    assert placed is not None
    if placed.confidence < options.least_confidence:
        raise NotFreeSpaceError(
            f"confidence {placed.confidence:.2f} in the place at ({pixel[0]:.0f}, {pixel[1]:.0f}) "
            f"is below {options.least_confidence:g}; ask for a larger or a nearer free spot"
        )
    return placed


def _in_air(
    frame: RGBDFrame, pixel: Pixel, options: LiftingOptions, error: RoboReferError
) -> LiftedPoint | None:
    """The place over what is below, if the pixel shows nothing that carries."""
    shown = None
    if isinstance(error, _TooTiltedError):
        shown = error.placed.position_m, error.placed.normal
        if not is_background(frame, *shown, options):
            return None  # the side of a thing: what is before it is not below the pixel
    elif np.isfinite(frame_window(frame, pixel, _SHOWS_PX, options).z_m).any():
        return None
    found = find_air_position(frame, pixel, shown, options)
    if found is None or not options.z_min_m <= found.position_m[2] <= options.z_max_m:
        return None
    known = shown is not None and options.up is not None and not found.doubtful
    return _lifted_in_air(pixel, options, found, 1.0 if known else _GUESSED)


def _lifted_in_air(
    pixel: Pixel, options: LiftingOptions, found: AirPosition, trust: float
) -> LiftedPoint:
    towards = -found.position_m / np.linalg.norm(found.position_m)
    level = np.eye(3) - np.outer(found.up, found.up)
    covariance = np.zeros((6, 6))
    covariance[:3, :3] = max(
        found.sideways_m, 0.005
    ) ** 2 * level + _AIR_HEIGHT_SIGMA_M**2 * np.outer(found.up, found.up)
    covariance[3:, 3:] = rotation_covariance(found.up, _UP_SIGMA_RAD)
    confidence = _AIR_CONFIDENCE * min(1.0, found.readings / options.min_inliers)
    flags = PointFlag.IN_AIR
    if options.up is None:
        flags |= PointFlag.UP_UNKNOWN
    if found.readings < options.min_inliers:
        flags |= PointFlag.SPARSE
    return LiftedPoint(
        position_m=found.position_m,
        normal=found.up,
        orientation_xyzw=quaternion_xyzw(approach_rotation(found.up, options.up)),
        covariance=covariance,
        valid_ratio=found.valid_ratio,
        nearest_reading_px=math.dist(pixel, found.below_pixel),
        inliers=found.readings,
        residual_m=0.0,
        incidence_rad=math.acos(max(-1.0, min(1.0, float(found.up @ towards)))),
        confidence=confidence * trust,
        flags=flags,
    )


def tilt_of(normal: Array, options: LiftingOptions) -> float | None:
    """Angle of a normal against gravity, radians; None where gravity is unknown."""
    if options.up is None:
        return None
    return math.acos(max(-1.0, min(1.0, float(options.unit_up @ normal))))


def _on_support(
    frame: RGBDFrame,
    pixel: Pixel,
    options: LiftingOptions,
    surface: Surface,
    lifted: LiftedPoint,
) -> LiftedPoint:
    """The same point as a place to put something: on the plane under the footprint.

    Raises:
        NotFreeSpaceError: that plane is not there, uneven, occupied or tilted.
    """
    shown_tilt = tilt_of(lifted.normal, options)
    steep = shown_tilt is not None and shown_tilt > options.max_tilt_rad
    about = lifted.normal if options.up is None else options.unit_up
    if float(about @ lifted.position_m) > -1e-6:  # an underside, or seen edge-on
        raise _TooTiltedError(lifted, pixel, options)
    support = find_support(frame, pixel, lifted.position_m, about, options)
    if support is None:
        if steep:
            raise _TooTiltedError(lifted, pixel, options)  # what the pixel shows is steep itself
        raise _no_plane(pixel, options)
    try:
        waves = _SUPPORT_WAVES * support.plane.rms
        found = replace(surface, plane=support.plane, waves=waves)
        placed = point_on(frame, pixel, options, found)
    except (OutOfRangeError, GrazingSurfaceError) as error:
        # a compromise between two surfaces, such as a table's edge and the floor below
        raise _no_plane(pixel, options) from error
    placed = replace(
        placed,
        flags=placed.flags | PointFlag.SUPPORT_PLANE,
        valid_ratio=support.valid_ratio,
        flatness_m=support.rms_m,
        tilt_rad=tilt_of(placed.normal, options),
    )
    lift_m = float(placed.normal @ (lifted.position_m - placed.position_m))
    check_support(support, occupied_ratio(support, options), lift_m, pixel, options)
    tilt = placed.tilt_rad
    if tilt is not None and tilt - 2.0 * support.tilt_sigma_rad > options.max_tilt_rad:
        raise NotFreeSpaceError(_too_tilted(tilt, pixel, options))
    if tilt is None and looks_steep(frame, placed.normal, options):
        raise NotFreeSpaceError(
            f"{_spot(pixel)} is on a wall or the side of a thing, as far as the picture tells; "
            "nothing tells which way is up: give it to be sure"
        )
    return _judged_by_colour(frame, pixel, options, placed, support)


def _judged_by_colour(
    frame: RGBDFrame, pixel: Pixel, options: LiftingOptions, placed: LiftedPoint, support: Support
) -> LiftedPoint:
    """The same place with all doubts, those of the colour included.

    Raises:
        NotFreeSpaceError: colour and missing readings together tell of a thing.
    """
    look = compare_appearance(
        frame,
        support.wide,
        options.footprint_radius_m,
        max(options.flatness_m, 4.0 * support.sigma_m),
    )
    changed = _colour_changes(look)
    if changed and support.valid_ratio < _FEW_READINGS:
        raise NotFreeSpaceError(
            f"{_spot(pixel)} is occupied: its colour differs from that of the support around it "
            f"and only {support.valid_ratio:.0%} of it has depth readings, as of something "
            "transparent or shiny; ask for a spot further away from it"
        )
    if placed.flags & PointFlag.HOLE and look.is_told and not changed:
        # the support around fixes the place, and the hole looks like it: no glass
        sure = _HOLE_TRUST * min(1.0, support.valid_ratio / _WELL_SEEN)
        placed = replace(placed, confidence=max(placed.confidence, sure))
    placed = _with_doubts(placed, support, options)
    if changed or _low_with_rims(look, support, options):
        flags = placed.flags | PointFlag.COLOUR_CHANGE
        return replace(placed, flags=flags, confidence=placed.confidence * _DOUBTED)
    if not look.is_told:
        return replace(placed, confidence=placed.confidence * _COLOUR_UNTOLD)
    return placed


def _colour_changes(look: Appearance) -> bool:
    """Whether something thin or transparent may lie in the footprint, by its colour.

    Light that falls differently has no rims, and a pattern has as many of them around: it takes
    a compact part with a rim, or rims alone, as glass has them.  A plain sheet is a support.
    """
    if look.is_plain:
        return False
    part = look.foreign_ratio > _FOREIGN_PART and look.step_ratio > _FOREIGN_RIM
    return part or look.step_ratio > _RIMS_ALONE


def _low_share(support: Support, options: LiftingOptions) -> float:
    """Area of what is low on the footprint over that which speaks against it."""
    return support.low_m2 / (_LOW_SHARE * math.pi * options.footprint_radius_m**2)


def _low_with_rims(look: Appearance, support: Support, options: LiftingOptions) -> bool:
    """Whether something low and rims that speak for nothing alone do so together.

    Depth bends a little beside glass that rays go through, and its rims show a little.
    """
    low = _low_share(support, options)
    return low > _LOW_AT_ALL and not look.is_plain and low + look.step_ratio / _RIMS_WITH_LOW > 1.0


def _no_plane(pixel: Pixel, options: LiftingOptions) -> NotFreeSpaceError:
    return NotFreeSpaceError(
        f"{_spot(pixel)} is occupied or uneven: no plane fits to the readings within "
        f"{options.footprint_radius_m * 100:.0f} cm of it; ask for a larger free spot or a "
        "smaller footprint"
    )


def _with_doubts(placed: LiftedPoint, support: Support, options: LiftingOptions) -> LiftedPoint:
    """The same place with what speaks against it, in its flags and its confidence."""
    flags = placed.flags
    trust = placed.confidence * min(1.0, support.weakest_half / _WELL_SEEN)
    trust *= 1.0 - support.uneven_ratio / options.max_uneven_ratio / 2.0
    if support.weakest_half < _WELL_SEEN:
        flags |= PointFlag.SPARSE
    # where heights scatter by as much as flatness_m, a thing as high as that does not show
    hidden = support.rms_m > options.flatness_m
    uneven = support.uneven_ratio > options.max_uneven_ratio / 3.0
    if hidden or uneven or _low_share(support, options) > 1.0:
        flags |= PointFlag.NOT_FLAT
        trust *= _DOUBTED
    if support.hidden_ratio > _HIDDEN:
        flags |= PointFlag.UNSEEN
        trust *= _DOUBTED
    if placed.tilt_rad is not None:
        if placed.tilt_rad > options.max_tilt_rad / 2.0:
            flags |= PointFlag.NOT_FLAT
        if placed.tilt_rad + support.tilt_sigma_rad > options.max_tilt_rad:
            trust *= _DOUBTED
    else:
        flags |= PointFlag.UP_UNKNOWN
        trust *= _DOUBTED
    return replace(placed, flags=flags, confidence=trust)
