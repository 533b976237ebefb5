# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Camera info to intrinsics, judged before they are believed.

``sensor_msgs/CameraInfo`` gives K (raw images) and P (rectified ones) of the full resolution;
binning and region of interest come on top. Drivers that get it wrong put poses
centimetres off without a sign, so what no camera can have is refused, with the topic, the
matrix, the value and the remedy.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from sensor_msgs.msg import CameraInfo

from roborefer_ros.errors import InvalidCameraInfoError, UnsupportedDistortionError
from roborefer_ros.lifting.intrinsics import (
    adjusted_intrinsics,
    check_intrinsics,
    implausible_intrinsics,
    named_distortion,
)
from roborefer_ros.types import CameraIntrinsics

#: matrix -> where fx, cx, fy, cy stand, where zeros, and where 1
_LAYOUT = {
    "K": ((0, 2, 4, 5), (3, 6, 7), 8),
    "P": ((0, 2, 5, 6), (4, 8, 9), 10),
}
_NAMES = ("fx", "cx", "fy", "cy")

#: a principal point counts as that of another image where it is so much nearer to its middle
_NEARER = 3.0
#: and that middle is at least so far from this image's, as a share of its size
_APART = 0.08


def intrinsics_from_message(
    msg: CameraInfo, *, rectified: bool = False, topic: str = "rgb/camera_info"
) -> CameraIntrinsics:
    """Intrinsics of the image that was sent: binning and region of interest applied.

    Args:
        msg: Camera info.
        rectified: Whether the image is rectified: then P holds, and there is no distortion.
            Otherwise K and D.
        topic: Where the camera info came from, for messages.

    Raises:
        InvalidCameraInfoError: The matrix is none of a camera with this image.
        UnsupportedDistortionError: D cannot be undone.
    """
    matrix = "P" if rectified else "K"
    problem = _problem(msg, matrix)
    if problem:
        raise InvalidCameraInfoError(f"'{topic}': {problem}; {_remedy(msg, matrix)}")
    sent = _sent(msg, matrix)
    try:
        check_intrinsics(sent)
    except (InvalidCameraInfoError, UnsupportedDistortionError) as error:
        raise type(error)(f"'{topic}': {error}") from error
    return sent


def doubts(msg: CameraInfo, *, rectified: bool = False, topic: str = "rgb/camera_info") -> str:
    """What is unusual about usable camera info, in words; empty where nothing is."""
    matrix = "P" if rectified else "K"
    if _problem(msg, matrix):
        return ""
    i = _full(msg, matrix)
    found = []
    x, y = i.cx / i.width, i.cy / i.height
    if max(abs(x - 0.5), abs(y - 0.5)) > 0.12:
        found.append(
            f"the principal point ({i.cx:g}, {i.cy:g}) lies at ({x:.0%}, {y:.0%}) of the "
            f"{i.width}x{i.height} image"
        )
    if not 0.9 < i.fx / i.fy < 1.1:
        found.append(f"fx is {i.fx:g} and fy {i.fy:g}, so pixels are not square")
    if not found:
        return ""
    return (
        f"'{topic}': {matrix} is unusual: {' and '.join(found)}; check that it was calibrated for "
        "this resolution"
    )


def _problem(msg: CameraInfo, matrix: str) -> str:
    """Why a matrix cannot be used, with its values; empty where it can."""
    if msg.width == 0 or msg.height == 0:
        return f"the camera info says {msg.width}x{msg.height} pixels"
    values = [float(value) for value in (msg.p if matrix == "P" else msg.k)]
    return (
        _not_a_matrix(values, matrix)
        or _wrong_region(msg)
        or _applied_already(msg, matrix)
        or _implausible(msg, matrix)
    )


def _not_a_matrix(values: Sequence[float], matrix: str) -> str:
    at, zeros, one = _LAYOUT[matrix]
    for index, value in enumerate(values):
        if not math.isfinite(value):
            return f"{matrix} is not finite: {matrix}[{index}] is {value:g}"
    if not any(values):
        return f"{matrix} is all zeros"
    fx, cx, fy, cy = (values[index] for index in at)
    if (fx, cx, fy, cy) == (1.0, 0.0, 1.0, 0.0):
        return f"{matrix} is the identity, which is no camera's"
    for index in zeros:
        if abs(values[index]) > 1e-6:
            return (
                f"{matrix}[{index}] is {values[index]:g} where 0 belongs: the matrix seems to be "
                f"transposed (fx, fy, cx, cy belong to {matrix}{list(_in_order(at))})"
            )
    if values[one] not in (0.0, 1.0):
        return f"{matrix}[{one}] is {values[one]:g} where 1 belongs"
    for name, index in zip(_NAMES, at, strict=True):
        if name in ("fx", "fy") and values[index] <= 0.0:
            return f"{matrix}[{index}] ({name}) is {values[index]:g}, not positive"
    if abs(values[1]) > 1e-3 * abs(fx):
        return f"{matrix}[1] is {values[1]:g}: a skewed camera matrix is not supported"
    return _offset(values) if matrix == "P" else ""


def _in_order(at: Sequence[int]) -> tuple[int, ...]:
    fx, cx, fy, cy = at
    return fx, fy, cx, cy


def _offset(values: Sequence[float]) -> str:
    """P with a fourth column has its origin elsewhere than the image's frame."""
    offsets = [
        f"P[{index}] is {values[index]:g}" for index in (3, 7, 11) if abs(values[index]) > 1e-6
    ]
    if not offsets:
        return ""
    return (
        f"{' and '.join(offsets)}: the projection's origin is not that of the image's frame (the "
        "right camera of a stereo pair, or an offset to the infrared camera)"
    )


def _wrong_region(msg: CameraInfo) -> str:
    """A region of interest beyond the sensor, or binning that leaves nothing."""
    roi = msg.roi
    width, height = roi.width or msg.width, roi.height or msg.height
    if roi.x_offset + width > msg.width or roi.y_offset + height > msg.height:
        return (
            f"the region of interest {width}x{height} at ({roi.x_offset}, {roi.y_offset}) reaches "
            f"beyond the full resolution of {msg.width}x{msg.height}"
        )
    if msg.binning_x > width or msg.binning_y > height:
        return f"binning by {msg.binning_x}x{msg.binning_y} leaves nothing of {width}x{height}"
    return ""


def _applied_already(msg: CameraInfo, matrix: str) -> str:
    """A matrix that holds binning or region already: it would be applied twice."""
    i, roi = _full(msg, matrix), msg.roi
    axes = (
        ("cx", i.cx, i.width, max(1, msg.binning_x), roi.x_offset, roi.width or i.width),
        ("cy", i.cy, i.height, max(1, msg.binning_y), roi.y_offset, roi.height or i.height),
    )
    for name, centre, size, binning, offset, region in axes:
        middle = size / 2.0
        cropped = region / 2.0, middle - offset
        for other in {middle / binning, *cropped, *(value / binning for value in cropped)}:
            if abs(other - middle) < _APART * size:
                continue
            if abs(centre - other) * _NEARER < abs(centre - middle):
                return (
                    f"{matrix} gives {name} = {centre:g} for a full resolution of "
                    f"{i.width}x{i.height} with binning {msg.binning_x}x{msg.binning_y} and region "
                    f"of interest {roi.width}x{roi.height} at ({roi.x_offset}, {roi.y_offset}): it "
                    "seems to be that of the image after them, so that they would be applied twice "
                    "(the matrix belongs to the full resolution; or set binning and roi to 0, and "
                    "width and height to the image's)"
                )
    return ""


def _implausible(msg: CameraInfo, matrix: str) -> str:
    reason = implausible_intrinsics(_full(msg, matrix))
    return f"{matrix} is implausible: {reason}" if reason else ""


def _remedy(msg: CameraInfo, matrix: str) -> str:
    """What to do about a matrix that cannot be used."""
    if msg.width == 0 or msg.height == 0:
        return "set them in the camera driver, or load its calibration"
    if _wrong_region(msg) or _applied_already(msg, matrix):
        return "correct the camera info that the driver publishes"
    other = "K" if matrix == "P" else "P"
    if not _problem(msg, other):
        values: Any = msg.p if other == "P" else msg.k
        filled = f"{other} is filled and plausible (fx = {values[0]:g})"
        if other == "P":
            return f"{filled}: set rgb_is_rectified to true if the image is rectified"
        return (
            f"{filled}: use the image that is not rectified, with rgb_is_rectified false, or the "
            "topics of the left camera"
        )
    return "calibrate the camera for this resolution, or load its calibration into the driver"


def _full(msg: CameraInfo, matrix: str) -> CameraIntrinsics:
    """Intrinsics of the full resolution, as they stand in the message."""
    values: Any = msg.p if matrix == "P" else msg.k
    fx, cx, fy, cy = (float(values[index]) for index in _LAYOUT[matrix][0])
    model, coefficients = "", tuple[float, ...]()
    if matrix == "K":
        model, coefficients = named_distortion(msg.distortion_model, tuple(map(float, msg.d)))
    return CameraIntrinsics(int(msg.width), int(msg.height), fx, fy, cx, cy, model, coefficients)


def _sent(msg: CameraInfo, matrix: str) -> CameraIntrinsics:
    roi = msg.roi
    return adjusted_intrinsics(
        _full(msg, matrix),
        binning=(int(msg.binning_x), int(msg.binning_y)),
        roi=(int(roi.x_offset), int(roi.y_offset), int(roi.width), int(roi.height)),
    )
