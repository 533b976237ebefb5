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

import cv2
import numpy as np
import numpy.typing as npt

from roborefer_ros.errors import InvalidCameraInfoError, UnsupportedDistortionError
from roborefer_ros.frame import CameraIntrinsics

Array = npt.NDArray[np.float64]

#: model name of ``sensor_msgs/distortion_models.hpp`` -> accepted numbers of coefficients
_COEFFICIENTS: dict[str, tuple[int, ...]] = {
    "plumb_bob": (4, 5),
    "rational_polynomial": (8, 12, 14),
    "equidistant": (4,),
}

#: no lens is shorter or longer, pixels; farther off no image has its centre
_FOCAL_PX = (1e-2, 1e7)
_MOST_COEFFICIENT = 1e6

#: an inverse that misses the pixel by more is not an inverse
_MAX_ROUND_TRIP_ERROR_PX = 0.05

_UNDISTORT_CRITERIA = (cv2.TERM_CRITERIA_MAX_ITER | cv2.TERM_CRITERIA_EPS, 100, 1e-10)


def check_intrinsics(intrinsics: CameraIntrinsics) -> None:
    """Check that pixels can become rays.

    Raises:
        InvalidCameraInfoError: K is zero or not finite, or a coefficient is not finite.
        UnsupportedDistortionError: a model that is not one of plumb_bob,
            rational_polynomial and equidistant, or the wrong number of coefficients.
    """
    i = intrinsics
    values = (i.fx, i.fy, i.cx, i.cy)
    low, high = _FOCAL_PX
    if not (
        low <= i.fx <= high
        and low <= i.fy <= high
        and all(math.isfinite(v) and abs(v) <= high for v in values)
    ):
        raise InvalidCameraInfoError(
            f"the camera matrix is unusable: fx={i.fx:g}, fy={i.fy:g}, cx={i.cx:g}, cy={i.cy:g}; "
            "an uncalibrated driver publishes zeros: calibrate the camera or load its calibration"
        )
    if not i.is_distorted:
        return
    if not all(math.isfinite(c) and abs(c) <= _MOST_COEFFICIENT for c in i.distortion):
        raise InvalidCameraInfoError(
            f"a distortion coefficient is not finite or absurdly large: {i.distortion}; "
            "calibrate the camera anew"
        )
    allowed = _COEFFICIENTS.get(i.distortion_model)
    if allowed is None:
        raise UnsupportedDistortionError(
            f"distortion model '{i.distortion_model}' is not one of "
            f"{', '.join(_COEFFICIENTS)}; use the rectified image topics"
        )
    if len(i.distortion) not in allowed:
        raise UnsupportedDistortionError(
            f"distortion model '{i.distortion_model}' takes {' or '.join(map(str, allowed))} "
            f"coefficients, the camera info holds {len(i.distortion)}"
        )


def rays_through(pixels: npt.ArrayLike, intrinsics: CameraIntrinsics) -> Array:
    """Rays through pixels.

    Args:
        pixels: ``[N, 2]`` (u, v), pixel centres at integers.
        intrinsics: of the image that the pixels belong to.

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
        return np.column_stack(
            ((uv[:, 0] - i.cx) / i.fx, (uv[:, 1] - i.cy) / i.fy, np.ones(len(uv)))
        )
    if len(uv) == 0:
        return np.empty((0, 3))
    rays = _undistort(uv, i)
    _check_round_trip(uv, rays, i)
    return rays


def _undistort(uv: Array, i: CameraIntrinsics) -> Array:
    undistort = _undistort_equidistant if i.distortion_model == "equidistant" else _undistort_radial
    return np.column_stack((undistort(uv, i), np.ones(len(uv))))


def _undistort_radial(uv: Array, i: CameraIntrinsics) -> Array:
    """plumb_bob and rational_polynomial, by OpenCV's fixed-point iteration."""
    points = cv2.undistortPointsIter(
        uv.reshape(-1, 1, 2),
        i.matrix,
        np.array(i.distortion),
        np.eye(3),
        np.eye(3),
        _UNDISTORT_CRITERIA,
    )
    return np.asarray(points, dtype=np.float64).reshape(-1, 2)


def _undistort_equidistant(uv: Array, i: CameraIntrinsics) -> Array:
    """equidistant (OpenCV's fisheye model)."""
    points = cv2.fisheye.undistortPoints(
        uv.reshape(-1, 1, 2), i.matrix, np.array(i.distortion), criteria=_UNDISTORT_CRITERIA
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
    """x of the ray (x, 0, 1) from which on pixels come back; infinite where they never do."""
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
    pixels = np.full((len(points), 2), np.nan)
    if in_front.any():
        pixels[in_front] = _project_in_front(points[in_front], intrinsics)
    return pixels


def _project_in_front(points: Array, i: CameraIntrinsics) -> Array:
    if not i.is_distorted:
        focal, centre = np.array([i.fx, i.fy]), np.array([i.cx, i.cy])
        pinhole: Array = points[:, :2] / points[:, 2:] * focal + centre
        return pinhole
    zero = np.zeros(3)
    object_points, coefficients = points.reshape(-1, 1, 3), np.array(i.distortion)
    if i.distortion_model == "equidistant":
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
