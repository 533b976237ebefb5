# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The grid of Qwen's processors, for models that answer in pixels of the picture they saw."""

from __future__ import annotations

import math

import cv2
import numpy as np
import numpy.typing as npt

#: Qwen2-VL's and Qwen2.5-VL's grid and limits (preprocessor_config.json of the released models)
QWEN2_FACTOR_PX = 28
QWEN2_MIN_PIXELS = 56 * 56
QWEN2_MAX_PIXELS = 12_845_056


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


def on_qwen_grid(rgb: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """The picture as Qwen2.5-VL's processor leaves it alone, so that its pixels are known."""
    height, width = rgb.shape[:2]
    return resized(rgb, qwen2_size(width, height))
