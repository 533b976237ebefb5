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
from roborefer_ros.frame import Pixel, PointFlag, RGBDFrame
from roborefer_ros.lifting.air import AirPosition, find_air_position
from roborefer_ros.lifting.estimate import point_on
from roborefer_ros.lifting.intrinsics import rays_through
from roborefer_ros.lifting.lifted import LiftedPoint
from roborefer_ros.lifting.options import LiftingOptions
from roborefer_ros.lifting.orientation import (
    approach_rotation,
    quaternion_xyzw,
    rotation_covariance,
)
from roborefer_ros.lifting.registration import frame_window
from roborefer_ros.lifting.support import (
    check_support,
    find_support,
    footprint_radius_px,
    is_beside_level,
    occupied_ratio,
)
from roborefer_ros.lifting.surface import Surface

Array = npt.NDArray[np.float64]

#: a pixel with no reading this near shows no surface
_SHOWS_PX = 3

#: a footprint of which a half shows less than this is SPARSE
_WELL_SEEN = 0.5

#: trust in a place in the air; and the factor where gravity is guessed or where nothing tells
#: air from what the sensor does not see (dark, shiny, out of the depth camera's view)
_AIR_CONFIDENCE, _GUESSED = 0.6, 0.7
#: standard deviations of a height over a thing and of the direction of gravity
_AIR_HEIGHT_SIGMA_M, _UP_SIGMA_RAD = 0.005, 0.05


class _TooTiltedError(NotFreeSpaceError):
    """Carries the point that was refused: something else may be below it."""

    def __init__(self, placed: LiftedPoint, pixel: Pixel, options: LiftingOptions) -> None:
        assert placed.tilt_rad is not None
        self.placed = placed
        super().__init__(_too_tilted(placed.tilt_rad, pixel, options))


def _spot(pixel: Pixel) -> str:
    return f"the spot at ({pixel[0]:.0f}, {pixel[1]:.0f})"


def _too_tilted(tilt_rad: float, pixel: Pixel, options: LiftingOptions) -> str:
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
    elif np.isfinite(frame_window(frame, pixel, _SHOWS_PX, options).z_m).any():
        return None
    found = find_air_position(frame, pixel, shown, options)
    if found is None or not options.z_min_m <= found.position_m[2] <= options.z_max_m:
        return None
    known = shown is not None and options.up is not None
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
    focal_px = max(frame.intrinsics.fx, frame.intrinsics.fy)
    radius_px = footprint_radius_px(float(lifted.position_m[2]), focal_px, options)
    window = frame_window(frame, pixel, min(radius_px, max(frame.width, frame.height)), options)
    h, w = window.z_m.shape
    v, u = np.mgrid[window.v0 : window.v0 + h, window.u0 : window.u0 + w]
    grid = np.column_stack((u.ravel(), v.ravel()))
    rays = rays_through(grid, frame.intrinsics).reshape(h, w, 3)
    support = find_support(
        window, pixel, rays, lifted.position_m, lifted.normal, options, frame.width
    )
    try:
        placed = point_on(frame, pixel, options, replace(surface, plane=support.plane))
    except (OutOfRangeError, GrazingSurfaceError) as error:
        # a compromise between two surfaces, such as a table's edge and the floor below
        raise NotFreeSpaceError(
            f"{_spot(pixel)} is occupied or uneven: no plane fits to the readings within "
            f"{options.footprint_radius_m * 100:.0f} cm of it; ask for a larger free spot or a "
            "smaller footprint"
        ) from error
    placed = replace(
        placed,
        flags=placed.flags | PointFlag.SUPPORT_PLANE,
        valid_ratio=support.valid_ratio,
        flatness_m=support.rms_m,
        tilt_rad=tilt_of(placed.normal, options),
    )
    tilts = (placed.tilt_rad, tilt_of(lifted.normal, options))
    if all(tilt is not None and tilt > options.max_tilt_rad for tilt in tilts):
        uneven = support.uneven_ratio > options.max_uneven_ratio
        if uneven and is_beside_level(window, rays, lifted.position_m, options, frame.width):
            raise NotFreeSpaceError(
                f"{_spot(pixel)} is occupied: it lies at the foot of a thing; "
                "ask for a larger free spot or a smaller footprint"
            )
        raise _TooTiltedError(placed, pixel, options)  # what the pixel shows is steep itself
    lift_m = float(placed.normal @ (lifted.position_m - placed.position_m))
    occupied = occupied_ratio(frame, pixel, placed.position_m, placed.normal, options)
    check_support(support, occupied, lift_m, frame.width, pixel, options)
    if placed.tilt_rad is not None and placed.tilt_rad > options.max_tilt_rad:
        raise NotFreeSpaceError(_too_tilted(placed.tilt_rad, pixel, options))
    flags = placed.flags
    tilted = placed.tilt_rad is not None and placed.tilt_rad > options.max_tilt_rad / 2.0
    if tilted or support.uneven_ratio > options.max_uneven_ratio / 3.0:
        flags |= PointFlag.NOT_FLAT
    if support.weakest_half < _WELL_SEEN:
        flags |= PointFlag.SPARSE
    confidence = placed.confidence * (1.0 - support.uneven_ratio / options.max_uneven_ratio / 2.0)
    confidence *= min(1.0, support.weakest_half / _WELL_SEEN)
    return replace(placed, flags=flags, confidence=confidence)
