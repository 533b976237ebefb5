# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Messages to the package's values and back.

Images are checked before a byte is read: size, step and data length must agree.  Depth is not
copied; colour is copied only where channels must move.  ``16UC1`` is millimetres and ``32FC1``
metres (REP-118), read from the encoding.
"""

from __future__ import annotations

import array
import math
import sys
from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from builtin_interfaces.msg import Time as TimeMsg
from geometry_msgs.msg import Pose, PoseStamped
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header

from roborefer_ros.errors import (
    FrameMismatchError,
    InvalidCameraInfoError,
    InvalidImageError,
    RoboReferError,
    SizeMismatchError,
    UnsupportedEncodingError,
)
from roborefer_ros.frame import (
    CameraIntrinsics,
    DepthImage,
    ReferredPoint,
    ReferResult,
    RejectedPoint,
    RGBDFrame,
)
from roborefer_ros.lifting.intrinsics import adjusted_intrinsics, check_intrinsics
from roborefer_ros.nodes import interfaces
from roborefer_ros.standalone import cv_bridge

#: encoding -> (channels, OpenCV code that makes RGB of it, or None)
_COLOUR: Mapping[str, tuple[int, int | None]] = {
    "rgb8": (3, None),
    "bgr8": (3, cv2.COLOR_BGR2RGB),
    "rgba8": (4, cv2.COLOR_RGBA2RGB),
    "bgra8": (4, cv2.COLOR_BGRA2RGB),
    "mono8": (1, cv2.COLOR_GRAY2RGB),
    "8UC1": (1, cv2.COLOR_GRAY2RGB),
}

#: encoding -> (numpy type, metres per unit)
_DEPTH: Mapping[str, tuple[str, float]] = {
    "16UC1": ("u2", 0.001),
    "mono16": ("u2", 0.001),
    "32FC1": ("f4", 1.0),
}

#: no camera is larger; a header that says so is broken
_MAX_PIXELS = 1 << 28


def stamp_ns(stamp: TimeMsg) -> int:
    """Nanoseconds of a stamp."""
    return int(stamp.sec) * 1_000_000_000 + int(stamp.nanosec)


def stamp_message(ns: int) -> TimeMsg:
    """The stamp message of nanoseconds."""
    return TimeMsg(sec=ns // 1_000_000_000, nanosec=ns % 1_000_000_000)


# --- images ----------------------------------------------------------------------------


def _pixels(msg: Image, what: str, dtype: np.dtype[Any], channels: int) -> npt.NDArray[Any]:
    """A view ``[H, W]`` or ``[H, W, C]`` of an image's data that skips the padding of its rows.

    Raises:
        InvalidImageError: size, step and data length contradict each other.
    """
    height, width, step = int(msg.height), int(msg.width), int(msg.step)
    row_bytes = width * channels * dtype.itemsize
    if height < 1 or width < 1 or height * width > _MAX_PIXELS:
        raise InvalidImageError(f"the {what} image is {width}x{height}; check the camera driver")
    if step < row_bytes:
        raise InvalidImageError(
            f"the {what} image is {width} pixels wide in {msg.encoding}, which takes {row_bytes} "
            "bytes a "
            f"row, but its step is {step}; check the camera driver"
        )
    # The last row may come without its padding.
    needed = step * (height - 1) + row_bytes
    if len(msg.data) < needed:
        raise InvalidImageError(
            f"the {what} image is {width}x{height} with step {step}, which takes {needed} bytes, "
            "but holds "
            f"{len(msg.data)}; check the camera driver"
        )
    data = np.frombuffer(msg.data, dtype=np.uint8)
    shape: tuple[int, ...] = (height, width) if channels == 1 else (height, width, channels)
    strides = (step, dtype.itemsize * channels, dtype.itemsize)[: len(shape)]
    # ndarray() accepts any strides, also steps that are no multiple of the item size.
    return np.ndarray(shape, dtype=dtype, buffer=data, strides=strides)


def rgb_from_message(msg: Image) -> npt.NDArray[np.uint8]:
    """The colour image ``[H, W, 3]`` uint8, RGB order; a view of the message where it can be.

    Raises:
        UnsupportedEncodingError, InvalidImageError
    """
    known = _COLOUR.get(msg.encoding)
    if known is None:
        return _rgb_by_cv_bridge(msg)
    channels, conversion = known
    pixels = _pixels(msg, "RGB", np.dtype(np.uint8), channels)
    if conversion is not None:
        return np.asarray(cv2.cvtColor(np.ascontiguousarray(pixels), conversion), dtype=np.uint8)
    return np.ascontiguousarray(pixels)


def _rgb_by_cv_bridge(msg: Image) -> npt.NDArray[np.uint8]:
    """Rare colour encodings (Bayer, YUV, 16 bit): what the installed cv_bridge converts."""
    try:
        pixels = cv_bridge.CvBridge().imgmsg_to_cv2(msg, "rgb8")
    except Exception as error:  # cv_bridge raises several types, OpenCV's own among them
        raise UnsupportedEncodingError(
            f"RGB encoding '{msg.encoding[:40]}' is not one of {', '.join(_COLOUR)}, and "
            "cv_bridge does not "
            f"convert it ({error}); set the camera driver to one of them, or convert with "
            "image_proc (debayer)"
        ) from error
    return np.ascontiguousarray(pixels, dtype=np.uint8)


def depth_from_message(msg: Image) -> DepthImage:
    """The depth image; its ``raw`` is a view of the message unless the byte order is foreign.

    Raises:
        UnsupportedEncodingError, InvalidImageError
    """
    known = _DEPTH.get(msg.encoding)
    if known is None:
        raise UnsupportedEncodingError(
            f"depth encoding '{msg.encoding}' is not one of {', '.join(_DEPTH)} (16 bit "
            "millimetres or "
            "float metres, REP-118); subscribe to the uncompressed depth topic"
        )
    kind, unit_m = known
    dtype = np.dtype((">" if msg.is_bigendian else "<") + kind)
    raw = _pixels(msg, "depth", dtype, 1)
    native = dtype.newbyteorder("=")
    return DepthImage(raw if dtype == native else raw.astype(native), unit_m)


def image_message(pixels: npt.NDArray[Any], encoding: str, frame_id: str, stamp: TimeMsg) -> Image:
    """An image message with a copy of the pixels ``[H, W]`` or ``[H, W, C]``."""
    pixels = np.ascontiguousarray(pixels)
    msg = Image(header=Header(stamp=stamp, frame_id=frame_id), encoding=encoding)
    msg.height, msg.width = pixels.shape[:2]
    msg.step = pixels.strides[0]
    msg.is_bigendian = int(sys.byteorder == "big")
    # array.array passes the setter's check at once; bytes and ndarray are looked at one by one.
    msg.data = array.array("B", pixels.tobytes())
    return msg


# --- camera info -----------------------------------------------------------------------


def intrinsics_from_message(msg: CameraInfo, *, rectified: bool = False) -> CameraIntrinsics:
    """Intrinsics of the image that was sent: binning and region of interest applied.

    Args:
        msg: the camera info.
        rectified: the image is rectified: P holds, and there is no distortion.  Otherwise K and D.

    Raises:
        InvalidCameraInfoError, UnsupportedDistortionError
    """
    matrix, (fx, cx, fy, cy) = ("P", (0, 2, 5, 6)) if rectified else ("K", (0, 2, 4, 5))
    values = msg.p if rectified else msg.k
    if msg.width == 0 or msg.height == 0:
        raise InvalidCameraInfoError(
            f"the camera info says {msg.width}x{msg.height} pixels; calibrate the camera or load "
            "its calibration"
        )
    full = CameraIntrinsics(
        int(msg.width),
        int(msg.height),
        float(values[fx]),
        float(values[fy]),
        float(values[cx]),
        float(values[cy]),
        "" if rectified else msg.distortion_model,
        () if rectified else tuple(float(d) for d in msg.d),
    )
    _check_offsets(values, matrix)
    roi = msg.roi
    sent = adjusted_intrinsics(
        full,
        binning=(int(msg.binning_x), int(msg.binning_y)),
        roi=(int(roi.x_offset), int(roi.y_offset), int(roi.width), int(roi.height)),
    )
    check_intrinsics(sent)
    return sent


def _check_offsets(values: Any, matrix: str) -> None:
    """P of the right camera of a stereo pair and skewed K are not pinholes at the frame's "
    "origin."""
    skew, shift = float(values[1]), float(values[3])
    if matrix == "P" and abs(shift) > 1e-6:
        raise InvalidCameraInfoError(
            f"P[3] is {shift:g}: this is the right camera of a stereo pair; use the left one's "
            "topics"
        )
    if not math.isfinite(skew) or abs(skew) > 1e-3 * abs(float(values[0])):
        raise InvalidCameraInfoError(
            f"{matrix}[1] is {skew:g}: a skewed camera matrix is not supported"
        )


# --- frames ----------------------------------------------------------------------------


def frame_from_messages(
    rgb: Image,
    depth: Image,
    info: CameraInfo,
    *,
    depth_info: CameraInfo | None = None,
    camera_T_depth: npt.NDArray[np.float64] | None = None,
    rectified: bool = False,
) -> RGBDFrame:
    """One observation from the messages of one moment.

    Args:
        rgb, depth: the images.
        info: of the RGB image.
        depth_info: of the depth image, where it is not aligned with RGB.
        camera_T_depth: ``[4, 4]`` pose of the depth camera in the RGB camera's frame, where they
            are not the same place.
        rectified: the RGB image is rectified.

    Raises:
        UnsupportedEncodingError, InvalidImageError, InvalidCameraInfoError,
        UnsupportedDistortionError, SizeMismatchError
    """
    intrinsics = intrinsics_from_message(info, rectified=rectified)
    depth_intrinsics = intrinsics_from_message(depth_info) if depth_info is not None else None
    colour, depth_image = rgb_from_message(rgb), depth_from_message(depth)
    height, width = colour.shape[:2]
    if (intrinsics.width, intrinsics.height) != (width, height):
        raise SizeMismatchError(
            f"RGB is {width}x{height} but its camera info describes "
            f"{intrinsics.width}x{intrinsics.height} "
            "(after binning and region of interest); check that both come from the same camera "
            "stream"
        )
    described = depth_intrinsics or intrinsics
    if (depth_image.width, depth_image.height) != (described.width, described.height):
        raise SizeMismatchError(
            f"depth is {depth_image.width}x{depth_image.height} but "
            f"{described.width}x{described.height} was "
            f"expected (RGB is {width}x{height}); use the depth topic that is aligned to the "
            "colour camera "
            "(align_depth, depth_image_proc register), or remap depth/camera_info to the depth "
            "camera's"
        )
    return RGBDFrame(
        rgb=colour,
        depth=depth_image,
        intrinsics=intrinsics,
        frame_id=rgb.header.frame_id,
        stamp_ns=stamp_ns(rgb.header.stamp),
        depth_intrinsics=depth_intrinsics,
        camera_T_depth=camera_T_depth,
    )


def check_frame_ids(rgb: str, depth: str, info: str) -> str:
    """Compare the frames that three messages name.

    Returns:
        The depth camera's frame where it differs from the RGB camera's, so that a transform must
        relate them; empty where all agree.

    Raises:
        FrameMismatchError: RGB names no frame, or the camera info another one.
    """
    if not rgb:
        raise FrameMismatchError(
            "the RGB image names no frame (header.frame_id is empty); set the frame in the "
            "camera driver"
        )
    if info and info != rgb:
        raise FrameMismatchError(
            f"RGB is in frame '{rgb}' but its camera info in '{info}'; remap rgb/image and "
            "rgb/camera_info to "
            "the topics of one camera"
        )
    return depth if depth and depth != rgb else ""


# --- results ---------------------------------------------------------------------------


def pose_from_point(point: ReferredPoint) -> Pose:
    """Position and approach orientation."""
    pose = Pose()
    pose.position.x, pose.position.y, pose.position.z = (float(v) for v in point.position_m)
    q = pose.orientation
    q.x, q.y, q.z, q.w = (float(v) for v in point.orientation_xyzw)
    return pose


def point_message(point: ReferredPoint, stamp: TimeMsg) -> interfaces.ReferredPoint:
    """One answer point."""
    msg = interfaces.ReferredPoint()
    msg.u, msg.v = (float(v) for v in point.pixel)
    msg.x_normalised, msg.y_normalised = (float(v) for v in point.normalised)
    msg.pose = PoseStamped(
        header=Header(stamp=stamp, frame_id=point.frame_id), pose=pose_from_point(point)
    )
    msg.covariance = np.ascontiguousarray(point.covariance, dtype=np.float64).reshape(36)
    msg.valid_depth_ratio = float(point.valid_depth_ratio)
    msg.nearest_reading_px = float(point.nearest_reading_px)
    msg.confidence = float(point.confidence)
    msg.geometry_confidence = float(point.geometry_confidence)
    msg.flags = int(point.flags)
    msg.support_tilt = math.nan if point.tilt_rad is None else float(point.tilt_rad)
    msg.support_flatness = math.nan if point.flatness_m is None else float(point.flatness_m)
    msg.model_confidence = -1.0 if point.model_confidence is None else float(point.model_confidence)
    return msg


def rejected_message(point: RejectedPoint) -> interfaces.RejectedPoint:
    """One point that did not become a pose."""
    msg = interfaces.RejectedPoint()
    msg.u, msg.v = (float(v) for v in point.pixel)
    msg.x_normalised, msg.y_normalised = (float(v) for v in point.normalised)
    msg.model_confidence = -1.0 if point.model_confidence is None else float(point.model_confidence)
    msg.error_code, msg.error_msg = point.error.code, str(point.error)
    return msg


def result_message(
    result: ReferResult, timings_s: Mapping[str, float], error: RoboReferError | None = None
) -> interfaces.ReferPoint.Result:
    """The action result of an answer, or of a goal that failed.

    Args:
        result: What was found, all of it or as much as there was before the failure.
        timings_s: Seconds per stage, beside the result's own.
        error: Reason of a failure; None on success.
    """
    stamp = stamp_message(result.stamp_ns)
    msg = interfaces.ReferPoint.Result()
    msg.points = [point_message(point, stamp) for point in result.points]
    msg.rejected_points = [rejected_message(point) for point in result.rejected]
    msg.answer = result.answer
    msg.mode = int(result.mode)
    msg.mode_reason = result.mode_reason
    msg.warnings = int(result.warnings)
    msg.depth_used = result.depth_used
    msg.image_stamp = stamp
    msg.timings = timing_messages({**result.timings_s, **timings_s})
    if error is None:
        msg.pose = msg.points[0].pose
    else:
        msg.error_code, msg.error_msg = error.code, str(error)
        msg.answer = result.answer or error.answer
    return msg


def timing_messages(timings_s: Mapping[str, float]) -> list[interfaces.StageTiming]:
    """Seconds per stage as messages."""
    return [interfaces.StageTiming(stage=name, duration=float(s)) for name, s in timings_s.items()]
