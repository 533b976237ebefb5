# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Pictures on their way to a remote model."""

from __future__ import annotations

import base64

import cv2
import numpy as np
import numpy.typing as npt

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
