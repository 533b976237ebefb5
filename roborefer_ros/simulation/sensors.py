# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Depth cameras by name: active stereo, structured light, time of flight.

Each turns exact depth into what such a camera sends, ``16UC1`` in millimetres with 0 for no
reading:

- ``d435``: see ``sensor_noise``.
- ``xtion``: structured light (ASUS Xtion, Kinect v1).  ``sigma_z = 1.2 mm + 1.9 mm (Z - 0.4 m)^2``
  (Nguyen, Izadi, Lovell, "Modeling Kinect Sensor Noise for Improved 3D Reconstruction and
  Tracking", 3DIMPVT 2012, eq. 3 without its rise at grazing angles); readings come in steps of an
  eighth of a pixel of disparity at f = 580 px and B = 75 mm (Khoshelham and Elberink, Sensors
  12(2), 2012); nothing below 0.5 m, beside near edges, nor on surfaces turned away by more than 75
  degrees.
- ``tof``: time of flight (Kinect v2, Azure Kinect).  Little noise that grows with the square of the
  distance, readings between near and far at edges ("flying pixels"), no reading on surfaces that
  give back too little light.
- ``exact``: no error, in steps of a millimetre.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import numpy.typing as npt

from roborefer_ros.simulation.rendering import RenderedView
from roborefer_ros.simulation.sensor_noise import d435_depth, stereo_shadow

_XTION_FOCAL_PX, _XTION_BASELINE_M, _XTION_STEP_PX = 580.0, 0.075, 1.0 / 8.0
_XTION_NEAREST_M, _XTION_STEEPEST_DEG = 0.5, 75.0

_TOF_SIGMA_M = 0.0015  # at 1 m
_TOF_EDGE_M = 0.03  # neighbours further apart make flying pixels
_TOF_DARKEST = 0.06  # share of light given back, times the cosine, over the squared distance

Depth = npt.NDArray[np.uint16]


def sensed_depth(sensor: str, view: RenderedView, rng: np.random.Generator) -> Depth:
    """What a camera of a name in ``SENSORS`` reads of a view, ``[H, W]`` millimetres, 0 = none.

    Raises:
        ValueError: There is no such sensor.
    """
    if sensor not in SENSORS:
        raise ValueError(f"no sensor {sensor!r}; one of {', '.join(SENSORS)}")
    return SENSORS[sensor](view, rng)


def _d435(view: RenderedView, rng: np.random.Generator) -> Depth:
    return d435_depth(view.depth_m, rng, normals=view.normals, focal_px=view.intrinsics.fx)


def _xtion(view: RenderedView, rng: np.random.Generator) -> Depth:
    depth = _known(view)
    valid = depth >= _XTION_NEAREST_M
    valid &= ~stereo_shadow(depth, view.intrinsics.fx, _XTION_BASELINE_M)
    valid &= -view.normals[..., 2] > np.cos(np.deg2rad(_XTION_STEEPEST_DEG))
    sigma = 0.0012 + 0.0019 * (depth - 0.4) ** 2
    noisy = np.maximum(depth + sigma * rng.standard_normal(depth.shape, np.float32), 1e-3)
    # The steps are those of the camera's own image, whatever the size of the view.
    constant = _XTION_FOCAL_PX * _XTION_BASELINE_M
    disparity = np.maximum(np.rint(constant / noisy / _XTION_STEP_PX), 1.0) * _XTION_STEP_PX
    return _millimetres(constant / disparity, valid)


def _tof(view: RenderedView, rng: np.random.Generator) -> Depth:
    depth = _known(view)
    valid = depth > 0
    noisy = depth + _TOF_SIGMA_M * depth**2 * rng.standard_normal(depth.shape, np.float32)
    low = cv2.erode(np.where(valid, depth, np.inf).astype(np.float32), np.ones((3, 3)))
    high = cv2.dilate(depth, np.ones((3, 3)))
    edge = valid & np.isfinite(low) & (high - low > _TOF_EDGE_M)
    share = rng.random(depth.shape, np.float32)
    flying = edge & (rng.random(depth.shape, np.float32) < 0.5)
    noisy = np.where(flying, share * np.where(edge, low, 0.0) + (1 - share) * high, noisy)
    light = view.rgb.astype(np.float32).max(-1) / 255.0
    given_back = light * -view.normals[..., 2] / np.maximum(depth, 0.1) ** 2
    return _millimetres(noisy, valid & (given_back > _TOF_DARKEST))


def _exact(view: RenderedView, _rng: np.random.Generator) -> Depth:
    depth = _known(view)
    return _millimetres(depth, depth > 0)


def _known(view: RenderedView) -> npt.NDArray[np.float32]:
    return np.nan_to_num(np.asarray(view.depth_m, np.float32), nan=0.0, posinf=0.0)


def _millimetres(depth: npt.NDArray[np.floating], valid: npt.NDArray[np.bool_]) -> Depth:
    millimetres = np.clip(np.rint(np.where(valid, depth, 0.0) * 1000.0), 0, 65535)
    result: Depth = millimetres.astype(np.uint16)
    return result


#: name -> (view, chance) -> ``[H, W]`` millimetres
SENSORS: dict[str, Callable[[RenderedView, np.random.Generator], Depth]] = {
    "d435": _d435,
    "xtion": _xtion,
    "tof": _tof,
    "exact": _exact,
}
