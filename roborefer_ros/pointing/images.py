# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Pictures on their way to a remote model."""

from __future__ import annotations

import base64
import math

import cv2
import numpy as np
import numpy.typing as npt

#: Qwen2-VL's and Qwen2.5-VL's grid and limits (preprocessor_config.json of the released models)
QWEN2_FACTOR_PX = 28
QWEN2_MIN_PIXELS = 56 * 56
QWEN2_MAX_PIXELS = 12_845_056

_JPEG_QUALITY = 95


def encode_base64(picture: npt.NDArray[np.uint8], image_format: str = "png") -> str:
    """Encode a picture as base64 text.

    Args:
        picture: ``[H, W, 3]`` RGB or ``[H, W]`` grey, uint8; grey becomes three equal channels,
            which is what models read.
        image_format: ``png`` (the pixels arrive as they are) or ``jpeg`` (quality 95).
    """
    code = cv2.COLOR_GRAY2BGR if picture.ndim == 2 else cv2.COLOR_RGB2BGR
    bgr = cv2.cvtColor(np.ascontiguousarray(picture), code)
    if image_format == "jpeg":
        done, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    else:
        done, data = cv2.imencode(".png", bgr, [cv2.IMWRITE_PNG_COMPRESSION, 1])
    if not done:
        raise ValueError(f"a picture of shape {picture.shape} could not be encoded")
    return base64.b64encode(data.tobytes()).decode("ascii")


def qwen2_size(width: int, height: int) -> tuple[int, int]:
    """``(width, height)`` to which Qwen2.5-VL's processor resizes a picture.

    Both sides become multiples of 28, the area stays within the limits, the aspect ratio about
    the same (``smart_resize`` of the released processor).  A picture that has such a size
    already is left alone by it, so that pixel coordinates refer to what was sent.
    """
    factor = QWEN2_FACTOR_PX
    w, h = (max(factor, round(side / factor) * factor) for side in (width, height))
    if w * h > QWEN2_MAX_PIXELS:
        shrink = math.sqrt(width * height / QWEN2_MAX_PIXELS)
        w, h = (
            max(factor, math.floor(side / shrink / factor) * factor) for side in (width, height)
        )
    elif w * h < QWEN2_MIN_PIXELS:
        grow = math.sqrt(QWEN2_MIN_PIXELS / (width * height))
        w, h = (math.ceil(side * grow / factor) * factor for side in (width, height))
    return w, h


def resized(rgb: npt.NDArray[np.uint8], size: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """``rgb`` at ``(width, height)``; bicubic, by area when it shrinks."""
    if (rgb.shape[1], rgb.shape[0]) == size:
        return rgb
    shrinks = size[0] < rgb.shape[1]
    method = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(rgb, size, interpolation=method), np.uint8)
