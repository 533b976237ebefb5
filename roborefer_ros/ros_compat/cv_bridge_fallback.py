# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Stand-in for cv_bridge: ``sensor_msgs/Image`` to numpy and back, in cv_bridge's call signature.

Covers mono, RGB, BGR (with and without alpha) at 8 and 16 bit and the generic ``<bits><U|S|F>C<n>``
encodings.  As in cv_bridge, generic encodings carry no colour and are never converted to one, and
8 and 16 bit colours are scaled to each other's full range.
"""

from __future__ import annotations

import array
import re
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from sensor_msgs.msg import Image
from std_msgs.msg import Header

#: colour encoding -> (numpy type, channels, colour order)
_COLOURS = {
    f"{order}{bits}": (np.dtype(f"uint{bits}"), channels, order.upper().replace("MONO", "GRAY"))
    for order, channels in {"mono": 1, "rgb": 3, "bgr": 3, "rgba": 4, "bgra": 4}.items()
    for bits in (8, 16)
}
_KINDS = {"U": "uint", "S": "int", "F": "float"}
_GENERIC = re.compile(r"(8U|8S|16U|16S|32S|32F|64F)(?:C([1-4]))?")


class CvBridgeError(TypeError):
    """A conversion is not possible."""


class CvBridge:
    """Converts between ``sensor_msgs/Image`` and numpy images as OpenCV lays them out."""

    def encoding_to_dtype_with_channels(self, encoding: str) -> tuple[str, int]:
        """Name of the numpy type and number of channels of an encoding."""
        dtype, channels, _ = _parse(encoding)
        return dtype.name, channels

    def imgmsg_to_cv2(
        self, img_msg: Image, desired_encoding: str = "passthrough"
    ) -> npt.NDArray[Any]:
        """The image as ``[H, W]`` or ``[H, W, C]`` in native byte order, row padding removed.

        Raises:
            CvBridgeError: unknown encoding, senseless conversion, or too little data.
        """
        dtype, channels, _ = _parse(img_msg.encoding)
        row_bytes = img_msg.width * channels * dtype.itemsize
        data = np.frombuffer(img_msg.data, dtype=np.uint8)
        if img_msg.step < row_bytes or data.size < img_msg.step * img_msg.height:
            raise CvBridgeError(
                f"a {img_msg.width}x{img_msg.height} {img_msg.encoding} image needs {row_bytes} "
                f"bytes a row; the message has step {img_msg.step} and {data.size} bytes"
            )
        rows = data[: img_msg.step * img_msg.height].reshape(img_msg.height, img_msg.step)[
            :, :row_bytes
        ]
        shape = (
            (img_msg.height, img_msg.width)
            if channels == 1
            else (img_msg.height, img_msg.width, channels)
        )
        stored = dtype.newbyteorder(">" if img_msg.is_bigendian else "<")
        image = np.ascontiguousarray(rows).view(stored).reshape(shape).astype(dtype, copy=False)
        if desired_encoding == "passthrough":
            return image
        return _convert(image, img_msg.encoding, desired_encoding)

    def cv2_to_imgmsg(
        self, cvim: npt.NDArray[Any], encoding: str = "passthrough", header: Header | None = None
    ) -> Image:
        """A message with a copy of the image.

        Raises:
            CvBridgeError: the array's type or channels are not those of ``encoding``.
            TypeError: ``cvim`` is not an array.
        """
        if not isinstance(cvim, (np.ndarray, np.generic)):
            raise TypeError(f"expected a numpy array, not {type(cvim).__name__}")
        channels = 1 if cvim.ndim == 2 else cvim.shape[2]
        kind = {"u": "U", "i": "S", "f": "F"}.get(cvim.dtype.kind, "?")
        actual = f"{8 * cvim.dtype.itemsize}{kind}C{channels}"
        dtype, expected_channels, _ = _parse(actual if encoding == "passthrough" else encoding)
        if (dtype, expected_channels) != (cvim.dtype.newbyteorder("="), channels):
            raise CvBridgeError(
                f"encoding specified as {encoding}, but image has incompatible type {actual}"
            )
        message = Image()
        if header is not None:
            message.header = header
        message.height, message.width = cvim.shape[:2]
        message.encoding = actual if encoding == "passthrough" else encoding
        message.is_bigendian = int(
            cvim.dtype.newbyteorder("=") != cvim.dtype or not np.little_endian
        )
        message.step = message.width * channels * cvim.dtype.itemsize
        # rclpy takes array("B") as it is; any other sequence it checks element by element.
        message.data = array.array("B", cvim.tobytes())
        return message


def _parse(encoding: str) -> tuple[np.dtype[Any], int, str | None]:
    """Numpy type, channels and colour order (None for the generic ones)."""
    if encoding in _COLOURS:
        return _COLOURS[encoding]
    match = _GENERIC.fullmatch(encoding)
    if match is None:
        raise CvBridgeError(f"unsupported image encoding [{encoding}]")
    depth, channels = match.groups()
    return np.dtype(f"{_KINDS[depth[-1]]}{depth[:-1]}"), int(channels or 1), None


def _convert(image: npt.NDArray[Any], source: str, target: str) -> npt.NDArray[Any]:
    source_dtype, source_channels, source_order = _parse(source)
    target_dtype, target_channels, target_order = _parse(target)
    if source_order is None or target_order is None:
        if source_order is None and target_order is not None:
            raise CvBridgeError(f"[{source}] is not a color format. but [{target}] is.")
        if source_channels != target_channels:
            raise CvBridgeError(
                f"[{source}] and [{target}] do not have the same number of channels"
            )
    elif source_order != target_order:
        image = cv2.cvtColor(image, getattr(cv2, f"COLOR_{source_order}2{target_order}"))
    return _convert_depth(image, source_dtype, target_dtype)


def _convert_depth(
    image: npt.NDArray[Any], source: np.dtype[Any], target: np.dtype[Any]
) -> npt.NDArray[Any]:
    if source == target:
        return image
    scale = {(8, 16): 65535.0 / 255.0, (16, 8): 255.0 / 65535.0}.get(
        (8 * source.itemsize, 8 * target.itemsize), 1.0
    )
    values = image.astype(np.float64) * scale
    if target.kind in "ui":  # as OpenCV's convertTo: rounded and saturated
        limits = np.iinfo(target)
        values = np.clip(np.rint(values), limits.min, limits.max)
    return values.astype(target)
