# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""From a fitted surface to a point: normal, covariance, flags and confidence."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from roborefer_ros.errors import GrazingSurfaceError, OutOfRangeError
from roborefer_ros.lifting.correlation import readings_per_independent, shared_ratio
from roborefer_ros.lifting.intrinsics import ray_and_jacobian
from roborefer_ros.lifting.lifted import LiftedPoint
from roborefer_ros.lifting.options import REFERENCE_WIDTH_PX, LiftingOptions, longer_side_px
from roborefer_ros.lifting.orientation import (
    FREE_ROLL_RAD2,
    approach_rotation,
    quaternion_xyzw,
)
from roborefer_ros.lifting.registration import depth_distance_ratio, pixels_per_reading
from roborefer_ros.lifting.surface import Surface
from roborefer_ros.types import Pixel, PointFlag, RGBDFrame

Array = npt.NDArray[np.float64]

_SHADOW_CONFIDENCE = 0.3

#: distances to the nearest reading that halve the trust, at a width of 1280 pixels
_OPEN_HOLE_PX, _CLOSED_HOLE_PX = 8.0, 24.0

#: a depth that is farther off is not at the right place, metres
_RIGHT_PLACE_M = 0.020

#: errors that all readings of a surface share (calibration, pattern) are at least so many times
#: those of one reading: 5 mm at 1 m for a D435, and like them they grow with the square of the
#: depth where that is triangulated
_SHARED_NOISE = 1.7

#: error of a slope from the waves that neighbouring readings share, over waves that are as high as
#: the noise of one reading; its exponents of the waves' height and of the patch's radius, which
#: is at its full size ``_FULL_PX`` (RMS, of an image 1280 wide): a smaller patch tilts with waves
#: that a larger one shows.  Measured on tables that six frames of four sensors show
_WAVES, _HEIGHT_POWER, _RADIUS_POWER, _FULL_PX = 0.51, 1.15, 1.1, 16.5
#: waves wider than any patch, over the standard deviation of one reading: measured
_WIDE_WAVES = 0.15
#: parts of a patch whose means tell the waves; means of independent readings are taken for waves
#: where they are so many times as high as chance makes them
_PARTS, _CHANCE = 24, 2.0


def point_on(
    frame: RGBDFrame, pixel: Pixel, options: LiftingOptions, surface: Surface
) -> LiftedPoint:
    """The point where a pixel's ray meets a surface, with all that is known about it.

    Raises:
        OutOfRangeError: the point is outside [z_min, z_max].
        GrazingSurfaceError: the surface is seen at too flat an angle.
    """
    plane = surface.plane
    z = 1.0 / plane.q if plane.q > 0.0 else math.inf
    if not options.z_min_m <= z <= options.z_max_m:
        raise OutOfRangeError(
            f"the surface at ({pixel[0]:.0f}, {pixel[1]:.0f}) extrapolates to z = {z:.3f} m, "
            f"outside {options.z_min_m} to {options.z_max_m} m"
        )
    ray, jacobian = ray_and_jacobian(pixel, frame.intrinsics)
    position = ray * z
    normal = _normal(plane.q, plane.gradient, ray, jacobian)
    incidence = math.acos(min(1.0, float(-normal @ ray) / math.sqrt(float(ray @ ray))))
    if incidence > options.max_incidence_rad:
        raise GrazingSurfaceError(
            f"the surface at ({pixel[0]:.0f}, {pixel[1]:.0f}) is seen at "
            f"{math.degrees(incidence):.0f} deg, more than "
            f"{math.degrees(options.max_incidence_rad):.0f}; look at it from another side"
        )
    sigma = options.sigma_z_m(z * depth_distance_ratio(frame, position), frame.width)
    covariance, residual = _covariance(frame, options, surface, z, sigma, ray, jacobian, normal)
    flags = _flags(surface, options, incidence)
    confidence = _confidence(
        surface, options, incidence, residual, sigma, longer_side_px(frame), float(covariance[2, 2])
    )
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


def _normal(q: float, gradient: tuple[float, float], ray: Array, jacobian: Array) -> Array:
    """Normal of the plane 1/z = A x + B y + C over rays (x, y): it is -(A, B, C)."""
    a, b = (np.array(gradient) @ _inverse(jacobian)).tolist()
    x, y, _ = ray.tolist()
    c = q - a * x - b * y
    length = math.sqrt(a * a + b * b + c * c)
    return np.array([-a / length, -b / length, -c / length])


def _inverse(m: Array) -> Array:
    """Inverse of a ``[2, 2]`` matrix; numpy's checks take longer than the work."""
    (a, b), (c, d) = m.tolist()
    inverse: Array = np.array([[d, -b], [-c, a]]) / (a * d - b * c)
    return inverse


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
    that noise does not explain, and, as far as the sensor's neighbouring readings share
    their errors, the step where another surface is near and the sensor's wider errors.
    Sideways: the pointed pixel, rounding to pixels and to the model's coordinate step,
    moved along the fitted plane.
    """
    plane = surface.plane
    residual = plane.rms * z * z
    deadband = 1.0 + 3.0 * math.sqrt(2.0 / max(plane.near, 1))
    unexplained = max(0.0, residual**2 - deadband * sigma**2)
    shared = shared_ratio(surface.correlation)
    edge = surface.other_ratio * options.step_m**2 / 4.0
    bias = max(options.depth_bias_ratio * z, _SHARED_NOISE * sigma) ** 2
    # readings that registration spread over several pixels, or that are medians already,
    # and those whose errors are those of their neighbours
    per_reading = _reading_variance_ratio(frame, ray * z) * readings_per_independent(
        surface.correlation
    )
    own = 1.0 / max(plane.near, 1)
    leverage = max(0.0, float(plane.covariance[0, 0]) - own)
    of_mean = min(1.0, own * per_reading) + leverage * per_reading
    var_z = sigma**2 * of_mean + unexplained + shared * (edge + bias)
    var_px = options.pixel_sigma_px**2 + 1.0 / 12.0
    var_u = var_px + (options.normalised_step * frame.width) ** 2 / 12.0
    var_v = var_px + (options.normalised_step * frame.height) ** 2 / 12.0
    along = ray[:, None] * np.array(plane.gradient) * (-z * z)
    along[:2] += jacobian * z
    covariance = np.zeros((6, 6))
    covariance[:3, :3] = ray[:, None] * (ray * var_z) + (along * (var_u, var_v)) @ along.T
    # slope in 1/z per ray unit, over |(A, B, C)| = 1 / (distance to the plane), is an angle
    inverse = _inverse(jacobian)
    slope = inverse.T @ plane.covariance[1:, 1:] @ inverse
    distance = abs(float(normal @ ray)) * z
    var_q = (sigma / z**2) ** 2
    if surface.waves > 0.0:
        noise_ratio = getattr(frame.depth, "noise_ratio", 1.0)
        scale = longer_side_px(frame) / REFERENCE_WIDTH_PX
        waves = _wave_variance(surface, math.sqrt(var_q), scale)
        var_q = var_q * max(1.0, noise_ratio**2) + waves * (plane.sampled or plane.count)
    else:
        var_q *= per_reading
    slope *= var_q * distance**2
    covariance[3:, 3:] = _tilt_covariance(slope, ray, normal)
    return covariance, residual


def _wave_variance(surface: Surface, sigma_q: float, scale: float) -> float:
    """Variance that shared errors add to each reading of a patch, as far as its slope goes.

    Args:
        surface: With the waves that its patch leaves over.
        sigma_q: Standard deviation of one reading, 1/m.
        scale: Width of the image over ``REFERENCE_WIDTH_PX``.
    """
    plane = surface.plane
    readings = plane.sampled or plane.count
    by_chance = _PARTS * plane.rms**2 / readings
    shared = max(
        shared_ratio(surface.correlation), 1.0 - _CHANCE * by_chance / max(surface.waves**2, 1e-30)
    )
    (uu, _), (_, vv) = plane.covariance[1:, 1:].tolist()
    radius_px = 1.0 / math.sqrt(max((uu + vv) * readings, 1e-30))
    small = math.pow(max(1.0, _FULL_PX * scale / radius_px), _RADIUS_POWER)
    height = math.pow(surface.waves / sigma_q, _HEIGHT_POWER)
    return shared * ((_WAVES * height * small) ** 2 + _WIDE_WAVES**2) * sigma_q**2


def _tilt_covariance(slope: Array, ray: Array, normal: Array) -> Array:
    """Covariance ``[3, 3]`` of the rotation, rad^2, from that of the normal's (A, B) part.

    The plane is 1/z = A x + B y + C with 1/z known at the ray, so a slope that is off by (a, b)
    moves the normal by the part of -(a, b, -a x - b y) that is square to it.
    """
    (u, v, _), (x, y, z) = ray.tolist(), normal.tolist()
    # the rotations that move the normal so: normal x (-1, 0, u) and normal x (0, -1, v)
    turns = np.array([[y * u, y * v + z], [-z - x * u, -x * v], [y, -x]])
    covariance: Array = turns @ slope @ turns.T + normal[:, None] * (normal * FREE_ROLL_RAD2)
    return covariance


def _reading_variance_ratio(frame: RGBDFrame, position: Array) -> float:
    """Variance of a mean of n elements of a window, over that of n single readings."""
    noise_ratio = getattr(frame.depth, "noise_ratio", 1.0)
    shared = pixels_per_reading(frame, depth_distance_ratio(frame, position))
    return float(shared * noise_ratio**2)


def _flags(surface: Surface, options: LiftingOptions, incidence: float) -> PointFlag:
    flags = PointFlag.NONE
    if surface.other_ratio > 0.0 or surface.rim_ratio > 0.0 or surface.by_colour:
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
    var_z: float,
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
        1.0 / (1.0 + (surface.nearest_px / (_hole_px(surface) * scale)) ** 2),
        1.0 if incidence < options.grazing_rad else 0.4,
        min(1.0, 3.0 * max(sigma, 0.001) / max(residual, 1e-9)),
        math.erf(_RIGHT_PLACE_M / math.sqrt(2.0 * max(var_z, 1e-12))),
    )
    # what only colour tells is worth giving, too, and not more
    return min(math.prod(factors), _SHADOW_CONFIDENCE if surface.by_colour else 1.0)


def _hole_px(surface: Surface) -> float:
    """Distance to the nearest reading at which trust is halved, for an image 1280 pixels wide.

    A hole that is closed all around by one plane is that plane's; one whose rim is open or shows
    something else may be anything.
    """
    if surface.rim_ratio > 0.0 or surface.other_ratio > 0.0:
        return _OPEN_HOLE_PX
    return _OPEN_HOLE_PX + (_CLOSED_HOLE_PX - _OPEN_HOLE_PX) * max(
        0.0, 4.0 * surface.rim_seen - 3.0
    )
