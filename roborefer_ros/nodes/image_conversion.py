# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Image messages to numpy, in every encoding that cameras send.

Encodings are those of ``sensor_msgs/image_encodings.hpp``. OpenCV converts them; cv_bridge is not
used, since it knows fewer and its compiled part must fit the installed NumPy. Images are checked
before a byte is read: size, step and data length must agree. Depth is not copied; colour is copied
only where channels must move.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
from sensor_msgs.msg import Image

from roborefer_ros.errors import InvalidImageError, UnsupportedEncodingError
from roborefer_ros.types import DepthImage

Bytes = npt.NDArray[np.uint8]


class _Colour(NamedTuple):
    """An encoding with all channels of a pixel side by side.

    Attributes:
        channels: Numbers per pixel.
        conversion: OpenCV code that makes RGB of them; None where they are RGB.
        bits: Size of a number.
    """

    channels: int
    conversion: int | None
    bits: int = 8


#: OpenCV names a Bayer pattern by the second row's second and third pixel, ROS by the first two
#: rows' first two: ROS' RGGB is OpenCV's BG
_BAYER = {
    "rggb": cv2.COLOR_BayerBG2RGB,
    "bggr": cv2.COLOR_BayerRG2RGB,
    "gbrg": cv2.COLOR_BayerGR2RGB,
    "grbg": cv2.COLOR_BayerGB2RGB,
}

_COLOUR: Mapping[str, _Colour] = {
    **{f"rgb{bits}": _Colour(3, None, bits) for bits in (8, 16)},
    **{f"bgr{bits}": _Colour(3, cv2.COLOR_BGR2RGB, bits) for bits in (8, 16)},
    **{f"rgba{bits}": _Colour(4, cv2.COLOR_RGBA2RGB, bits) for bits in (8, 16)},
    **{f"bgra{bits}": _Colour(4, cv2.COLOR_BGRA2RGB, bits) for bits in (8, 16)},
    **{f"mono{bits}": _Colour(1, cv2.COLOR_GRAY2RGB, bits) for bits in (8, 16)},
    "8uc1": _Colour(1, cv2.COLOR_GRAY2RGB),
    **{
        f"bayer_{pattern}{bits}": _Colour(1, code, bits)
        for pattern, code in _BAYER.items()
        for bits in (8, 16)
    },
    # 4:2:2, two bytes a pixel; "yuv422" is the old name of UYVY, "yuv422_yuy2" that of YUYV
    "uyvy": _Colour(2, cv2.COLOR_YUV2RGB_UYVY),
    "yuv422": _Colour(2, cv2.COLOR_YUV2RGB_UYVY),
    "yuyv": _Colour(2, cv2.COLOR_YUV2RGB_YUYV),
    "yuv422_yuy2": _Colour(2, cv2.COLOR_YUV2RGB_YUYV),
}

#: a plane of brightness, then one of interleaved colour: 4:2:0
_SEMI_PLANAR: Mapping[str, int] = {
    "nv12": cv2.COLOR_YUV2RGB_NV12,
    "nv21": cv2.COLOR_YUV2RGB_NV21,
}

#: (Y, U, V, 1) -> RGB of ITU-R BT.601 in video range, which OpenCV takes for the other YUV formats
_BT601 = np.array(
    [
        [1.164, 0.0, 1.596, -1.164 * 16 - 1.596 * 128],
        [1.164, -0.391, -0.813, -1.164 * 16 + (0.391 + 0.813) * 128],
        [1.164, 2.018, 0.0, -1.164 * 16 - 2.018 * 128],
    ]
)

#: encoding -> (numpy type, metres per unit); REP-118
_DEPTH: Mapping[str, tuple[str, float]] = {
    "16UC1": ("u2", 0.001),
    "mono16": ("u2", 0.001),
    "32FC1": ("f4", 1.0),
}

#: no camera is larger; a header that says so is broken
_MAX_PIXELS = 1 << 28


def rgb_from_message(msg: Image, topic: str = "rgb/image") -> Bytes:
    """The colour image ``[H, W, 3]`` uint8, RGB order; a view of the message where it can be.

    Args:
        msg: Colour image.
        topic: Its topic, for messages.

    Raises:
        UnsupportedEncodingError, InvalidImageError
    """
    encoding = msg.encoding.strip().lower()
    try:
        if encoding in _COLOUR:
            return _interleaved(msg, topic, _COLOUR[encoding])
        if encoding in _SEMI_PLANAR:
            planes = _semi_planar(msg, topic, rows=3, per=2)
            return _rgb(cv2.cvtColor(planes, _SEMI_PLANAR[encoding]))
        if encoding == "nv24":
            return _nv24(msg, topic)
    except cv2.error as error:
        raise InvalidImageError(
            f"'{topic}': OpenCV does not convert this {msg.width}x{msg.height} image in "
            f"{msg.encoding}: {error.err or error}"
        ) from error
    raise UnsupportedEncodingError(_why_no_colour(msg, topic))


def _interleaved(msg: Image, topic: str, colour: _Colour) -> Bytes:
    dtype: np.dtype[Any] = np.dtype(np.uint8)
    if colour.bits == 16:
        dtype = np.dtype(">u2" if msg.is_bigendian else "<u2")
    if colour.channels == 2 and msg.width % 2:
        raise InvalidImageError(_odd(msg, topic))
    pixels = _pixels(msg, topic, dtype, colour.channels)
    native = dtype.newbyteorder("=")
    pixels = np.ascontiguousarray(pixels, dtype=native)
    if colour.conversion is not None:
        pixels = cv2.cvtColor(pixels, colour.conversion)
    if colour.bits == 16:  # 65535 is to become 255, as in cv_bridge
        pixels = cv2.convertScaleAbs(pixels, alpha=1.0 / 257.0)
    return _rgb(pixels)


def _semi_planar(msg: Image, topic: str, *, rows: int, per: int) -> Bytes:
    """``[H * rows / per, W]`` bytes of an image whose planes lie one after the other."""
    height, width, step = int(msg.height), int(msg.width), int(msg.step)
    _check_size(msg, topic)
    if height % 2 or width % 2:
        raise InvalidImageError(_odd(msg, topic))
    lines = height * rows // per
    # Some drivers give for the step what an average pixel takes; without padding it is the width.
    if len(msg.data) == lines * width:
        step = width
    return _view(msg, topic, np.dtype(np.uint8), (lines, width), step)


def _nv24(msg: Image, topic: str) -> Bytes:
    """4:4:4: a plane of brightness, then one of interleaved colour with rows of twice the step."""
    height, width, step = int(msg.height), int(msg.width), int(msg.step)
    _check_size(msg, topic)
    if len(msg.data) == 3 * height * width:
        step = width
    lines = _view(msg, topic, np.dtype(np.uint8), (3 * height, width), step, fill=step)
    y = lines[:height, :width]
    chroma = lines[height:].reshape(height, 2 * step)[:, : 2 * width]
    yuv = np.dstack((y, chroma.reshape(height, width, 2)))
    return _rgb(cv2.transform(yuv, _BT601))


def _rgb(pixels: npt.NDArray[Any]) -> Bytes:
    return np.ascontiguousarray(pixels, dtype=np.uint8)


def _odd(msg: Image, topic: str) -> str:
    return (
        f"'{topic}': {msg.encoding} shares colour between two pixels, but the image is "
        f"{msg.width}x{msg.height}; check the camera driver"
    )


def _why_no_colour(msg: Image, topic: str) -> str:
    encoding = msg.encoding[:40]
    what = f"'{topic}': encoding '{encoding}'"
    kind = encoding.strip().lower()
    if kind in ("16uc1", "32fc1"):
        return f"{what} is that of a depth image; remap {topic} to the colour camera's image"
    if kind.endswith(("c3", "c4")) and kind[:1].isdigit():
        return (
            f"{what} tells no colour order: publish the image as bgr8 or rgb8 (bgra8, rgba8 with "
            "a fourth channel)"
        )
    known = ", ".join((*_COLOUR, *_SEMI_PLANAR, "nv24"))
    return (
        f"{what} is none of those that are converted ({known}); set the camera driver to one of "
        "them, or to JPEG with rgb_transport set to compressed"
    )


def depth_from_message(msg: Image, topic: str = "depth/image") -> DepthImage:
    """The depth image; its ``raw`` is a view of the message unless the byte order is foreign.

    Args:
        msg: Depth image.
        topic: Its topic, for messages.

    Raises:
        UnsupportedEncodingError, InvalidImageError
    """
    known = _DEPTH.get(msg.encoding)
    if known is None:
        raise UnsupportedEncodingError(
            f"'{topic}': depth encoding '{msg.encoding[:40]}' is not one of {', '.join(_DEPTH)} "
            "(16 bit millimetres or float metres, REP-118); remap the depth topic, or set "
            "depth_transport where it is compressed"
        )
    kind, unit_m = known
    dtype = np.dtype((">" if msg.is_bigendian else "<") + kind)
    raw = _pixels(msg, topic, dtype, 1)
    native = dtype.newbyteorder("=")
    return DepthImage(raw if dtype == native else raw.astype(native), unit_m)


def _check_size(msg: Image, topic: str) -> None:
    height, width = int(msg.height), int(msg.width)
    if height < 1 or width < 1 or height * width > _MAX_PIXELS:
        raise InvalidImageError(
            f"'{topic}': the image is {width}x{height} pixels; check the camera driver"
        )


def _pixels(msg: Image, topic: str, dtype: np.dtype[Any], channels: int) -> npt.NDArray[Any]:
    """A view ``[H, W]`` or ``[H, W, C]`` of an image's data that skips the padding of its rows.

    Raises:
        InvalidImageError: Size, step and data length contradict each other.
    """
    _check_size(msg, topic)
    height, width = int(msg.height), int(msg.width)
    shape: tuple[int, ...] = (height, width) if channels == 1 else (height, width, channels)
    return _view(msg, topic, dtype, shape, int(msg.step))


def _view(
    msg: Image,
    topic: str,
    dtype: np.dtype[Any],
    shape: tuple[int, ...],
    step: int,
    fill: int = 0,
) -> npt.NDArray[Any]:
    """The data as ``shape`` with rows ``step`` bytes apart; ``fill`` widens rows to that many."""
    row_bytes = int(np.prod(shape[1:])) * dtype.itemsize
    size = f"'{topic}': the image is {msg.width}x{msg.height} in {msg.encoding}"
    if step < row_bytes:
        raise InvalidImageError(
            f"{size}, which takes {row_bytes} bytes a row, but its step is {step}; check the "
            "camera driver"
        )
    if fill > row_bytes:
        shape, row_bytes = (shape[0], fill), fill
    # The last row may come without its padding.
    needed = step * (shape[0] - 1) + row_bytes
    if len(msg.data) < needed:
        raise InvalidImageError(
            f"{size} with step {step}, which takes {needed} bytes, but holds {len(msg.data)}; "
            "check the camera driver"
        )
    data = np.frombuffer(msg.data, dtype=np.uint8)
    channels = shape[2] if len(shape) == 3 else 1
    strides = (step, dtype.itemsize * channels, dtype.itemsize)[: len(shape)]
    # ndarray() accepts any strides, also steps that are no multiple of the item size.
    return np.ndarray(shape, dtype=dtype, buffer=data, strides=strides)
