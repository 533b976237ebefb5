# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Pictures on disk, read within limits: of the file, and of the pixels that it unfolds to.

A file of some kilobytes can hold a picture of gigabytes, so its header is read before its pixels.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from roborefer_ros.errors import ConfigurationError
from roborefer_ros.files import MIB, Refusal, read_bytes

#: larger than any picture of a camera
FILE_LIMIT = 256 * MIB

#: pixels; 8192 x 8192
PIXEL_LIMIT = 2**26


def open_picture(path: Path, mode: str | None, refusal: Refusal = ConfigurationError) -> Any:
    """A picture with Pillow.

    Args:
        path: Of the file.
        mode: Pillow's mode to convert to, e.g. ``RGB``; None leaves it.
        refusal: Class of the error.

    Raises:
        RoboReferError: ``refusal``, as ``read_bytes``; no picture, cut off, or too many pixels.
    """
    data = read_bytes(path, FILE_LIMIT, refusal)
    _check_size(data, path, refusal)
    try:
        with Image.open(io.BytesIO(data)) as image:
            return image.convert(mode) if mode else image.copy()
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise refusal(f"{path} is not a readable picture ({error})") from error


def read_picture(
    path: Path, how: int, refusal: Refusal = ConfigurationError
) -> npt.NDArray[np.generic]:
    """A picture with OpenCV.

    Args:
        path: Of the file.
        how: OpenCV's ``IMREAD_`` flag.
        refusal: Class of the error.

    Returns:
        ``[H, W]`` or ``[H, W, C]``; colours in OpenCV's order, blue first.

    Raises:
        RoboReferError: as ``open_picture``.
    """
    import cv2

    data = read_bytes(path, FILE_LIMIT, refusal)
    _check_size(data, path, refusal)
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), how)
    except cv2.error:
        image = None
    if image is None:
        raise refusal(f"{path} is not a readable picture")
    picture: npt.NDArray[np.generic] = np.asarray(image)
    return picture


def _check_size(data: bytes, path: Path, refusal: Refusal) -> None:
    try:
        with Image.open(io.BytesIO(data)) as image:
            width, height = image.size
    except Image.DecompressionBombError as error:
        raise refusal(f"{path}: {error}") from error
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError) as error:
        raise refusal(f"{path} is not an image") from error
    if width * height > PIXEL_LIMIT:
        raise refusal(
            f"{path} has {width}x{height} pixels, more than the {PIXEL_LIMIT} that are read"
        )
