# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Pixels to rays and back, with the distortion models of ``sensor_msgs/CameraInfo``.

A ray is ``(x, y, 1)`` in the optical frame, so a point is ``ray * z`` with z the depth
along the optical axis (REP-118).
"""

from __future__ import annotations

import math
from dataclasses import replace
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from roborefer_ros.errors import InvalidCameraInfoError, UnsupportedDistortionError
from roborefer_ros.types import CameraIntrinsics, Pixel

Array = npt.NDArray[np.float64]

#: model name of ``sensor_msgs/distortion_models.hpp`` -> accepted numbers of coefficients.  OpenCV
#: tells plumb_bob from rational_polynomial by their number alone, and so do drivers' users.
_OPENCV_COUNTS = (4, 5, 8, 12, 14)
_COEFFICIENTS: dict[str, tuple[int, ...]] = {
    "plumb_bob": _OPENCV_COUNTS,
    "rational_polynomial": _OPENCV_COUNTS,
    "equidistant": (4,),
}

#: names of the same models in other calibration tools (OpenCV, Kalibr, librealsense)
_ALIASES = {
    "fisheye": "equidistant",
    "kannala_brandt": "equidistant",
    "kannala_brandt4": "equidistant",
    "radtan": "plumb_bob",
    "brown_conrady": "plumb_bob",
    "rational": "rational_polynomial",
}

#: fields of view that cameras have, degrees, by the pinhole formula; lenses of 180 degrees stay
#: below since their image is squeezed
_FIELD_OF_VIEW_DEG = (5.0, 150.0)
#: where the principal point may lie, as a share of width and height: the middle half
_PRINCIPAL_POINT = (0.25, 0.75)
#: a principal point off by the same ratio to the right and down, and more than this, is that of an
#: image of another size
_SCALED_BY, _SCALED_ALIKE = 0.09, 0.03
#: how near a principal point must be to the middle of the turned image, as a share of its size
_TURNED = 0.05

#: no lens is shorter or longer, pixels; farther off no image has its centre
_FOCAL_PX = (1e-2, 1e7)
_MOST_COEFFICIENT = 1e6

#: an inverse that misses the pixel by more is not an inverse
_MAX_ROUND_TRIP_ERROR_PX = 0.05

_UNDISTORT_CRITERIA = (cv2.TERM_CRITERIA_MAX_ITER | cv2.TERM_CRITERIA_EPS, 100, 1e-10)
#: OpenCV 4.5.4 (Ubuntu 22.04, Humble) cannot be told; it iterates ten times
_FISHEYE_CRITERIA: dict[str, Any] = (
    {"criteria": _UNDISTORT_CRITERIA}
    if "criteria" in (cv2.fisheye.undistortPoints.__doc__ or "")
    else {}
)


def named_distortion(model: str, coefficients: tuple[float, ...]) -> tuple[str, tuple[float, ...]]:
    """A lens under the name and with the number of coefficients that its model has.

    Drivers pad D with zeros to the length of their buffer, and name models as their calibration
    tool does.

    Args:
        model: Name of the distortion model; upper case, blanks and dashes do not matter.
        coefficients: D of the camera info.

    Returns:
        Name and coefficients; as they came where the model is not known.
    """
    name = "_".join(model.strip().lower().replace("-", " ").split())
    name = _ALIASES.get(name, name)
    allowed = _COEFFICIENTS.get(name)
    if allowed is None:
        return model, coefficients
    if len(coefficients) in allowed:
        return name, coefficients
    used = max((i + 1 for i, c in enumerate(coefficients) if c != 0.0), default=0)
    fitting = [count for count in allowed if used <= count <= len(coefficients)]
    return name, coefficients[: min(fitting)] if fitting else coefficients


def implausible_intrinsics(full: CameraIntrinsics) -> str:
    """Why no camera has these intrinsics for an image of this size, with figures.

    Args:
        full: Intrinsics of the full resolution, before binning and region of interest: a region
            may lie anywhere.

    Returns:
        The reason; empty where they are plausible.
    """
    i, (low, high) = full, _FIELD_OF_VIEW_DEG
    for name, focal, side, size in (
        ("fx", i.fx, "wide", i.width),
        ("fy", i.fy, "high", i.height),
    ):
        degrees = math.degrees(2.0 * math.atan2(size / 2.0, focal))
        if not low <= degrees <= high:
            return (
                f"{name} = {focal:g} gives a field of view of {degrees:.1f} deg for an image "
                f"{size} pixels {side}, where cameras have {low:g} to {high:g} (is it in pixels?)"
            )
    x, y = i.cx / i.width, i.cy / i.height
    where = f"the principal point ({i.cx:g}, {i.cy:g}) of the {i.width}x{i.height} image"
    to_middle = max(abs(x - 0.5), abs(y - 0.5))
    turned = max(abs(i.cx / i.height - 0.5), abs(i.cy / i.width - 0.5))
    if turned < _TURNED and to_middle > 2.0 * _TURNED:
        return f"{where} is the middle of one turned by 90 deg, {i.height}x{i.width}"
    near, far = _PRINCIPAL_POINT
    if not (near <= x <= far and near <= y <= far):
        return (
            f"{where} lies at ({x:.0%}, {y:.0%}), outside of its middle half: it seems to be that "
            "of another resolution"
        )
    off = min(abs(x - 0.5), abs(y - 0.5))
    if off > _SCALED_BY and abs(x - y) < _SCALED_ALIKE:
        return (
            f"{where} lies at ({x:.0%}, {y:.0%}), off by the same ratio to both sides: it seems to "
            f"be that of an image of about {2 * i.cx:.0f}x{2 * i.cy:.0f} pixels"
        )
    return ""


def check_intrinsics(intrinsics: CameraIntrinsics) -> None:
    """Check that pixels can become rays.

    Raises:
        InvalidCameraInfoError: K is zero or not finite, or a coefficient is not finite.
        UnsupportedDistortionError: a model that is not one of plumb_bob,
            rational_polynomial and equidistant, or the wrong number of coefficients.
    """
    i = intrinsics
    low, high = _FOCAL_PX
    # NaN is in no range
    if not (
        low <= i.fx <= high
        and low <= i.fy <= high
        and -high <= i.cx <= high
        and -high <= i.cy <= high
    ):
        raise InvalidCameraInfoError(
            f"the camera matrix is unusable: fx={i.fx:g}, fy={i.fy:g}, cx={i.cx:g}, cy={i.cy:g}; "
            "an uncalibrated driver publishes zeros: calibrate the camera or load its calibration"
        )
    if not i.is_distorted:
        return
    for index, coefficient in enumerate(i.distortion):
        if not (math.isfinite(coefficient) and abs(coefficient) <= _MOST_COEFFICIENT):
            raise InvalidCameraInfoError(
                f"a distortion coefficient is not finite or absurdly large: D[{index}] is "
                f"{coefficient:g}; calibrate the camera anew, or use the rectified image topics"
            )
    model, coefficients = named_distortion(i.distortion_model, i.distortion)
    allowed = _COEFFICIENTS.get(model)
    if allowed is None:
        raise UnsupportedDistortionError(
            f"distortion model '{i.distortion_model}' with {len(i.distortion)} coefficients is "
            f"not one of {', '.join(_COEFFICIENTS)}; name the model in the driver, or use the "
            "rectified image topics"
        )
    if len(coefficients) not in allowed:
        raise UnsupportedDistortionError(
            f"distortion model '{i.distortion_model}' takes {' or '.join(map(str, allowed))} "
            f"coefficients, the camera info holds {len(i.distortion)}"
        )


def rays_through(pixels: npt.ArrayLike, intrinsics: CameraIntrinsics) -> Array:
    """Rays through pixels.

    Args:
        pixels: ``[N, 2]`` (u, v), pixel centres at integers.
        intrinsics: Intrinsics of the image that the pixels belong to.

    Returns:
        ``[N, 3]`` rays (x, y, 1).

    Raises:
        InvalidCameraInfoError, UnsupportedDistortionError: see ``check_intrinsics``; the
            latter also where the distortion has no inverse at a pixel.
    """
    check_intrinsics(intrinsics)
    uv = np.asarray(pixels, dtype=np.float64).reshape(-1, 2)
    i = intrinsics
    if not i.is_distorted:
        pinhole = np.ones((len(uv), 3))
        pinhole[:, 0] = (uv[:, 0] - i.cx) / i.fx
        pinhole[:, 1] = (uv[:, 1] - i.cy) / i.fy
        return pinhole
    if len(uv) == 0:
        return np.empty((0, 3))
    rays = _undistort(uv, i)
    _check_round_trip(uv, rays, i)
    return rays


def ray_and_jacobian(pixel: Pixel, intrinsics: CameraIntrinsics) -> tuple[Array, Array]:
    """The ray ``[3]`` through a pixel and d(x, y)/d(u, v) of rays there, ``[2, 2]``.

    Raises:
        InvalidCameraInfoError, UnsupportedDistortionError: see ``rays_through``.
    """
    u, v = pixel
    i = intrinsics
    if not i.is_distorted:
        ray = np.array([(u - i.cx) / i.fx, (v - i.cy) / i.fy, 1.0])
        return ray, np.array([[1.0 / i.fx, 0.0], [0.0, 1.0 / i.fy]])
    rays = rays_through([(u, v), (u + 1, v), (u - 1, v), (u, v + 1), (u, v - 1)], i)
    columns = ((rays[1] - rays[2])[:2] / 2.0, (rays[3] - rays[4])[:2] / 2.0)
    return rays[0], np.column_stack(columns)


def _undistort(uv: Array, i: CameraIntrinsics) -> Array:
    model, coefficients = named_distortion(i.distortion_model, i.distortion)
    undistort = _undistort_equidistant if model == "equidistant" else _undistort_radial
    return np.column_stack((undistort(uv, i, np.array(coefficients)), np.ones(len(uv))))


def _undistort_radial(uv: Array, i: CameraIntrinsics, coefficients: Array) -> Array:
    """plumb_bob and rational_polynomial, by OpenCV's fixed-point iteration."""
    points = cv2.undistortPointsIter(
        uv.reshape(-1, 1, 2),
        i.matrix,
        coefficients,
        np.eye(3),
        np.eye(3),
        _UNDISTORT_CRITERIA,
    )
    return np.asarray(points, dtype=np.float64).reshape(-1, 2)


def _undistort_equidistant(uv: Array, i: CameraIntrinsics, coefficients: Array) -> Array:
    """Equidistant (OpenCV's fisheye model)."""
    points = cv2.fisheye.undistortPoints(
        uv.reshape(-1, 1, 2), i.matrix, coefficients, **_FISHEYE_CRITERIA
    )
    return np.asarray(points, dtype=np.float64).reshape(-1, 2)


def _check_round_trip(uv: Array, rays: Array, i: CameraIntrinsics) -> None:
    bad = ~_inverts(uv, rays, i)
    if bad.any():
        u, v = uv[int(np.argmax(bad))]
        raise UnsupportedDistortionError(
            f"the {i.distortion_model} distortion {i.distortion} has no inverse at pixel "
            f"({u:.1f}, {v:.1f}); check the calibration or use the rectified image topics"
        )


def _inverts(uv: Array, rays: Array, i: CameraIntrinsics) -> npt.NDArray[np.bool_]:
    """Whether rays project to the pixels that they were computed from."""
    error = np.abs(_project_in_front(rays, i) - uv).max(axis=1)
    inverts: npt.NDArray[np.bool_] = error < _MAX_ROUND_TRIP_ERROR_PX  # False for NaN
    return inverts


@lru_cache(maxsize=16)
def _widest_ray(i: CameraIntrinsics) -> float:
    """Largest x^2 + y^2 of a ray that the image shows, with a margin.

    Distortion polynomials fold back: far outside of what the lens sees they map rays into
    the image again.  Where even the border has no inverse, it is where they turn back.
    """
    along = np.linspace(0.0, 1.0, 9)
    u, v = along * i.width - 0.5, along * i.height - 0.5
    left, top = np.full(9, -0.5), np.full(9, -0.5)
    right, bottom = np.full(9, i.width - 0.5), np.full(9, i.height - 0.5)
    border = np.column_stack((np.r_[u, u, left, right], np.r_[top, bottom, v, v]))
    rays = _undistort(border, i)
    if not _inverts(border, rays, i).all():
        return _turning_point(i) ** 2
    return 1.1 * float((rays[:, :2] ** 2).sum(axis=1).max())


def _turning_point(i: CameraIntrinsics) -> float:
    """X of the ray (x, 0, 1) from which on pixels come back; infinite where they never do."""
    x = np.linspace(0.0, 5.0, 501)
    u = _project_in_front(np.column_stack((x, np.zeros(501), np.ones(501))), i)[:, 0]
    back = np.nonzero(~(np.diff(u) > 0.0))[0]
    return float(x[back[0]]) if back.size else math.inf


def deproject(pixels: npt.ArrayLike, depth_m: npt.ArrayLike, intrinsics: CameraIntrinsics) -> Array:
    """Points at depths behind pixels: ``[N, 2]``, ``[N]`` -> ``[N, 3]`` metres, optical frame.

    Raises:
        InvalidCameraInfoError, UnsupportedDistortionError: see ``rays_through``.
    """
    z = np.asarray(depth_m, dtype=np.float64).reshape(-1, 1)
    return rays_through(pixels, intrinsics) * z


def project(points_m: npt.ArrayLike, intrinsics: CameraIntrinsics) -> Array:
    """Pixels of points: ``[N, 3]`` optical frame -> ``[N, 2]``.

    NaN behind the camera, and for points so far off the axis that the distortion model, out
    of what the image shows, would fold them back into it.

    Raises:
        InvalidCameraInfoError, UnsupportedDistortionError: see ``check_intrinsics``.
    """
    check_intrinsics(intrinsics)
    points = np.asarray(points_m, dtype=np.float64).reshape(-1, 3)
    in_front = points[:, 2] > 0.0
    if intrinsics.is_distorted and in_front.any():
        radius = (points[:, :2] ** 2).sum(axis=1)
        in_front &= radius <= _widest_ray(intrinsics) * points[:, 2] ** 2
    if len(points) and in_front.all():
        return _project_in_front(points, intrinsics)
    pixels = np.full((len(points), 2), np.nan)
    if in_front.any():
        pixels[in_front] = _project_in_front(points[in_front], intrinsics)
    return pixels


def _project_in_front(points: Array, i: CameraIntrinsics) -> Array:
    if not i.is_distorted:
        pinhole: Array = np.empty((len(points), 2))
        x, y, z = points.T
        pinhole[:, 0] = x / z * i.fx + i.cx
        pinhole[:, 1] = y / z * i.fy + i.cy
        return pinhole
    zero = np.zeros(3)
    model, named = named_distortion(i.distortion_model, i.distortion)
    object_points, coefficients = points.reshape(-1, 1, 3), np.array(named)
    if model == "equidistant":
        pixels, _ = cv2.fisheye.projectPoints(object_points, zero, zero, i.matrix, coefficients)
    else:
        pixels, _ = cv2.projectPoints(object_points, zero, zero, i.matrix, coefficients)
    return np.asarray(pixels, dtype=np.float64).reshape(-1, 2)


def adjusted_intrinsics(
    full: CameraIntrinsics,
    *,
    binning: tuple[int, int] = (0, 0),
    roi: tuple[int, int, int, int] = (0, 0, 0, 0),
) -> CameraIntrinsics:
    """Intrinsics of the image that was sent, from those of the full resolution.

    ``sensor_msgs/CameraInfo`` gives K for the unbinned, uncropped sensor; the same formulas
    as ``image_geometry::PinholeCameraModel``: crop first, then divide by the binning.
    The distortion acts on rays and is not touched.

    Args:
        full: width, height and K of the CameraInfo message.
        binning: ``(binning_x, binning_y)``; 0 counts as 1.
        roi: ``(x_offset, y_offset, width, height)`` in full-resolution pixels; a zero
            width or height means the full size.
    """
    bx, by = max(1, binning[0]), max(1, binning[1])
    x_offset, y_offset, roi_width, roi_height = roi
    width, height = roi_width or full.width, roi_height or full.height
    return replace(
        full,
        width=width // bx,
        height=height // by,
        fx=full.fx / bx,
        fy=full.fy / by,
        cx=(full.cx - x_offset) / bx,
        cy=(full.cy - y_offset) / by,
    )
