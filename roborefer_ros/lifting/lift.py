# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""A pixel and a frame become a point in space with its normal, covariance and confidence."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from roborefer_ros.errors import (
    DepthAmbiguousError,
    GrazingSurfaceError,
    NoDepthAtPointError,
    OutOfRangeError,
    PointOutsideImageError,
    RoboReferError,
)
from roborefer_ros.frame import Mode, Pixel, PointFlag, ReferredPoint, RGBDFrame
from roborefer_ros.lifting.depth_image import (
    DepthWindow,
    check_depth,
    raise_if_empty,
    read_window,
    supported,
)
from roborefer_ros.lifting.intrinsics import check_intrinsics, rays_through
from roborefer_ros.lifting.options import REFERENCE_WIDTH_PX, LiftingOptions
from roborefer_ros.lifting.orientation import (
    approach_rotation,
    quaternion_xyzw,
    rotation_covariance,
)
from roborefer_ros.lifting.registration import (
    check_alignment,
    is_aligned,
    pixels_per_reading,
    registered_window,
)
from roborefer_ros.lifting.shadow import FarSide, find_far_side, shadow_reach_px
from roborefer_ros.lifting.support import check_support, find_support, footprint_radius_px
from roborefer_ros.lifting.surface import SQUARE_3X3_PX, Surface, find_surface

Array = npt.NDArray[np.float64]

_SHADOW_CONFIDENCE = 0.3


@dataclass(frozen=True)
class LiftedPoint:
    """A pixel lifted to 3D, in the colour camera's optical frame.

    Attributes:
        position_m: ``[3]``.
        normal: ``[3]`` unit surface normal, towards the camera.
        orientation_xyzw: ``[4]`` approach orientation, see ``orientation.py``.
        covariance: ``[6, 6]`` of (x, y, z, rot_x, rot_y, rot_z), m^2 and rad^2.
        valid_ratio: valid readings / pixels of the window that was used.
        nearest_reading_px: distance from the pixel to the nearest valid reading.
        inliers: readings that the surface was fitted to.
        residual_m: RMS distance in z of the inliers from the surface.
        incidence_rad: angle between the viewing ray and the normal.
        confidence: trust in the position, [0, 1]; above ``LiftingOptions.confident_above``
            the point is on the surface that the pixel shows.
        flags: reasons for less trust.
    """

    position_m: Array
    normal: Array
    orientation_xyzw: Array
    covariance: Array
    valid_ratio: float
    nearest_reading_px: float
    inliers: int
    residual_m: float
    incidence_rad: float
    confidence: float
    flags: PointFlag = PointFlag.NONE

    def to_referred(
        self, pixel: Pixel, normalised: tuple[float, float], frame_id: str
    ) -> ReferredPoint:
        """Join it with the 2D point that it was lifted from."""
        return ReferredPoint(
            pixel=pixel,
            normalised=normalised,
            position_m=self.position_m,
            orientation_xyzw=self.orientation_xyzw,
            covariance=self.covariance,
            frame_id=frame_id,
            valid_depth_ratio=self.valid_ratio,
            nearest_reading_px=self.nearest_reading_px,
            confidence=self.confidence,
            flags=self.flags,
        )


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
        mode: FREE_SPACE asks for a flat support under a footprint; OBJECT and AUTO prefer
            the nearer of two surfaces that are equally plausible.

    Raises:
        NoDepthAtPointError: no reading within the search radius.
        NoValidDepthError: no reading in the whole image.
        DepthAmbiguousError: two surfaces compete at the pixel.
        OutOfRangeError: the surface is outside [z_min, z_max].
        GrazingSurfaceError: the surface is seen at too flat an angle.
        NotFreeSpaceError: FREE_SPACE, and the support is uneven, tilted or occupied.
        PointOutsideImageError, SizeMismatchError, InvalidImageError,
        UnsupportedEncodingError, InvalidCameraInfoError, UnsupportedDistortionError:
            the input cannot be used.
    """
    _check(frame, pixel)
    options = _with_depth_focal(frame, options)
    scale = frame.width / REFERENCE_WIDTH_PX
    radius_px = math.ceil(options.search_radius_px * scale) + 2
    window = _window(frame, pixel, radius_px, options)
    _refuse_out_of_range(window, pixel, options)
    far_side = None
    if mode != Mode.OBJECT and not window.has_reading(pixel):
        far_side = _far_side(frame, pixel, options)
        if far_side is not None:
            beyond_px = math.ceil(options.normal_radius_px * scale)
            radius_px = max(radius_px, math.ceil(far_side.distance_px) + beyond_px)
            window = _window(frame, pixel, radius_px, options)
    surface = find_surface(
        window, pixel, options, frame.width, front=mode != Mode.FREE_SPACE, far_side=far_side
    )
    if surface is None:
        raise _nothing_there(frame, window, pixel, options)
    lifted = _assemble(frame, pixel, options, surface)
    if mode == Mode.FREE_SPACE:
        lifted = _on_support(frame, pixel, options, surface, lifted)
    least = options.confident_above if options.on_low_confidence == "refuse" else 0.0
    if lifted.confidence < max(least, options.refuse_below):
        raise _too_uncertain(lifted, surface, pixel, max(least, options.refuse_below))
    return lifted


def lift_points(
    frame: RGBDFrame,
    pixels: Iterable[Pixel],
    options: LiftingOptions = LiftingOptions(),  # noqa: B008 (frozen)
    mode: Mode = Mode.AUTO,
) -> list[LiftedPoint]:
    """Lift several pixels; raises what ``lift_point`` raises for the first that fails."""
    return [lift_point(frame, pixel, options, mode) for pixel in pixels]


def _check(frame: RGBDFrame, pixel: Pixel) -> None:
    check_depth(frame.depth)
    check_intrinsics(frame.intrinsics)
    u, v = pixel
    if not (-0.5 <= u <= frame.width - 0.5 and -0.5 <= v <= frame.height - 0.5):
        raise PointOutsideImageError(
            f"pixel ({u:g}, {v:g}) lies outside the {frame.width}x{frame.height} image"
        )
    check_alignment(frame)


def _with_depth_focal(frame: RGBDFrame, options: LiftingOptions) -> LiftingOptions:
    """The noise model of the depth camera itself, where its intrinsics are known."""
    if options.depth_focal_px or is_aligned(frame) or frame.depth_intrinsics is None:
        return options
    return replace(options, depth_focal_px=min(frame.depth_intrinsics.fx, 10000.0))


def _window(
    frame: RGBDFrame,
    pixel: Pixel,
    radius_px: int,
    options: LiftingOptions,
    rows_px: int | None = None,
) -> DepthWindow:
    if is_aligned(frame):
        return read_window(frame.depth, pixel, radius_px, options, rows_px)
    return registered_window(frame, pixel, radius_px, options, rows_px)


def _far_side(frame: RGBDFrame, pixel: Pixel, options: LiftingOptions) -> FarSide | None:
    """What is behind, where the pixel lies in the shadow of a near surface."""
    focal_px = frame.intrinsics.fx
    reach_px = min(shadow_reach_px(focal_px, options), frame.width)
    row = _window(frame, pixel, reach_px, options, rows_px=1)
    return find_far_side(row, supported(row.z_m, options, frame.width), pixel, focal_px, options)


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


def _assemble(
    frame: RGBDFrame, pixel: Pixel, options: LiftingOptions, surface: Surface
) -> LiftedPoint:
    plane = surface.plane
    z = 1.0 / plane.q if plane.q > 0.0 else math.inf
    if not options.z_min_m <= z <= options.z_max_m:
        raise OutOfRangeError(
            f"the surface at ({pixel[0]:.0f}, {pixel[1]:.0f}) extrapolates to z = {z:.3f} m, "
            f"outside {options.z_min_m} to {options.z_max_m} m"
        )
    ray, jacobian = _ray_and_jacobian(frame, pixel)
    position = ray * z
    normal = _normal(plane.q, plane.gradient, ray, jacobian)
    incidence = math.acos(min(1.0, float(-normal @ ray / np.linalg.norm(ray))))
    if incidence > options.max_incidence_rad:
        raise GrazingSurfaceError(
            f"the surface at ({pixel[0]:.0f}, {pixel[1]:.0f}) is seen at "
            f"{math.degrees(incidence):.0f} deg, more than "
            f"{math.degrees(options.max_incidence_rad):.0f}; look at it from another side"
        )
    sigma = options.sigma_z_m(z, frame.width)
    covariance, residual = _covariance(frame, options, surface, z, sigma, ray, jacobian, normal)
    flags = _flags(surface, options, incidence)
    confidence = _confidence(surface, options, incidence, residual, sigma, frame.width)
    return LiftedPoint(
        position_m=position,
        normal=normal,
        orientation_xyzw=quaternion_xyzw(approach_rotation(normal, options.up)),
        covariance=covariance,
        valid_ratio=surface.valid_ratio,
        nearest_reading_px=surface.nearest_px,
        inliers=plane.count,
        residual_m=residual,
        incidence_rad=incidence,
        confidence=confidence,
        flags=flags,
    )


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
    window = _window(frame, pixel, min(radius_px, max(frame.width, frame.height)), options)
    h, w = window.z_m.shape
    v, u = np.mgrid[window.v0 : window.v0 + h, window.u0 : window.u0 + w]
    grid = np.column_stack((u.ravel(), v.ravel()))
    rays = rays_through(grid, frame.intrinsics).reshape(h, w, 3)
    support = find_support(
        window, pixel, rays, lifted.position_m, lifted.normal, options, frame.width
    )
    placed = _assemble(frame, pixel, options, replace(surface, plane=support.plane))
    lift_m = float(placed.normal @ (lifted.position_m - placed.position_m))
    check_support(support, placed.normal, lift_m, frame.width, pixel, options)
    flags = placed.flags | PointFlag.SUPPORT_PLANE
    if support.uneven_ratio > options.max_uneven_ratio / 3.0:
        flags |= PointFlag.NOT_FLAT
    confidence = placed.confidence * (1.0 - support.uneven_ratio / options.max_uneven_ratio / 2.0)
    return replace(placed, flags=flags, confidence=confidence, valid_ratio=support.valid_ratio)


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
    return NoDepthAtPointError(
        f"{what}: the nearest of {lifted.inliers} readings is {lifted.nearest_reading_px:.0f} px "
        "away; transparent, shiny or black surfaces give none"
    )


def _ray_and_jacobian(frame: RGBDFrame, pixel: Pixel) -> tuple[Array, Array]:
    """The ray through the pixel and d(x, y)/d(u, v) of rays, ``[2, 2]``."""
    u, v = pixel
    i = frame.intrinsics
    if not i.is_distorted:
        return rays_through([pixel], i)[0], np.diag([1.0 / i.fx, 1.0 / i.fy])
    rays = rays_through([(u, v), (u + 1, v), (u - 1, v), (u, v + 1), (u, v - 1)], i)
    columns = ((rays[1] - rays[2])[:2] / 2.0, (rays[3] - rays[4])[:2] / 2.0)
    return rays[0], np.column_stack(columns)


def _normal(q: float, gradient: tuple[float, float], ray: Array, jacobian: Array) -> Array:
    """Normal of the plane 1/z = A x + B y + C over rays (x, y): it is -(A, B, C)."""
    ab = np.linalg.solve(jacobian.T, np.array(gradient))
    towards = -np.array([ab[0], ab[1], q - ab @ ray[:2]])
    normal: Array = towards / np.linalg.norm(towards)
    return normal


def _covariance(
    frame: RGBDFrame,
    options: LiftingOptions,
    surface: Surface,
    z: float,
    sigma: float,
    ray: Array,
    jacobian: Array,
    normal: Array,
) -> tuple[Array, float]:
    """Covariance ``[6, 6]`` and the residual in metres.

    Depth: sigma_z^2 / n_eff (leverage of the readings included), the part of the residual
    that noise does not explain, and the step where another surface is near.  Sideways: the
    pointed pixel, rounding to pixels and to the model's coordinate step, moved along the
    fitted plane.
    """
    plane = surface.plane
    residual = plane.rms * z * z
    deadband = 1.0 + 3.0 * math.sqrt(2.0 / max(plane.near, 1))
    unexplained = max(0.0, residual**2 - deadband * sigma**2)
    edge = surface.other_ratio * options.step_m**2 / 4.0
    # readings that registration spread over several pixels, or that are medians already
    per_reading = _reading_variance_ratio(frame)
    bias = (options.depth_bias_ratio * z) ** 2
    var_z = sigma**2 * per_reading * float(plane.covariance[0, 0]) + unexplained + edge + bias
    var_px = options.pixel_sigma_px**2 + 1.0 / 12.0
    var_u = var_px + (options.normalised_step * frame.width) ** 2 / 12.0
    var_v = var_px + (options.normalised_step * frame.height) ** 2 / 12.0
    along = np.zeros((3, 2))
    along[:2] = jacobian * z
    along -= np.outer(ray, np.array(plane.gradient)) * z * z
    covariance = np.zeros((6, 6))
    covariance[:3, :3] = np.outer(ray, ray) * var_z + (along * (var_u, var_v)) @ along.T
    # slope in 1/z per ray unit, over |(A, B, C)| = 1 / (distance to the plane), is an angle
    slope = np.linalg.solve(jacobian.T, plane.covariance[1:, 1:]) @ np.linalg.inv(jacobian)
    distance = abs(float(normal @ ray)) * z
    var_tilt = float(np.trace(slope)) / 2.0 * per_reading * (sigma / z**2 * distance) ** 2
    covariance[3:, 3:] = rotation_covariance(normal, math.sqrt(var_tilt))
    return covariance, residual


def _reading_variance_ratio(frame: RGBDFrame) -> float:
    """Variance of a mean of n elements of a window, over that of n single readings."""
    noise_ratio = getattr(frame.depth, "noise_ratio", 1.0)
    return float(pixels_per_reading(frame) * noise_ratio**2)


def _flags(surface: Surface, options: LiftingOptions, incidence: float) -> PointFlag:
    flags = PointFlag.NONE
    if surface.other_ratio > 0.0 or surface.rim_ratio > 0.0:
        flags |= PointFlag.EDGE
    if surface.nearest_px > 0.0:
        flags |= PointFlag.HOLE
    if incidence > options.grazing_rad:
        flags |= PointFlag.GRAZING
    if surface.plane.count < options.min_inliers:
        flags |= PointFlag.SPARSE
    return flags


def _confidence(
    surface: Surface,
    options: LiftingOptions,
    incidence: float,
    residual: float,
    sigma: float,
    width_px: int,
) -> float:
    scale = width_px / REFERENCE_WIDTH_PX
    if surface.in_shadow:
        # right as a rule, but seen by one imager only: worth giving, not worth relying on
        return _SHADOW_CONFIDENCE * (1.0 if incidence < options.grazing_rad else 0.4)
    factors = (
        min(1.0, surface.plane.count / options.min_inliers),
        1.0 - 0.9 * surface.rivalry,
        1.0 - surface.other_ratio,
        1.0 - min(0.9, 5.0 * surface.rim_ratio),
        1.0 / (1.0 + (surface.nearest_px / (8.0 * scale)) ** 2),
        1.0 if incidence < options.grazing_rad else 0.4,
        min(1.0, 3.0 * max(sigma, 0.001) / max(residual, 1e-9)),
    )
    return float(np.prod(factors))
