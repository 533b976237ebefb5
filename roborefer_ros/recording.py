# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Recorded RGB-D frames: a folder with ``rgb``, ``depth`` and ``camera.json``.

FOLDER/rgb.png or rgb.jpg   8 bit colour
FOLDER/depth.png            16 bit, 0 = no reading
FOLDER/camera.json          width, height, fx, fy, cx, cy [pixels], depth_scale [m per unit];
                            optional: distortion [], distortion_model, frame
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from roborefer_ros.errors import ConfigurationError
from roborefer_ros.files import MIB, read_json
from roborefer_ros.image_files import read_picture
from roborefer_ros.types import CameraIntrinsics

DEFAULT_FRAME = "camera_color_optical_frame"

_RGB_NAMES = ("rgb.png", "rgb.jpg", "rgb.jpeg")

_NUMBERS = ("width", "height", "fx", "fy", "cx", "cy", "depth_scale")


class RecordingError(ConfigurationError):
    """A folder is no recording, or a file of it is broken; the message names the file."""


@dataclass(frozen=True)
class Recording:
    """One recorded frame.

    Attributes:
        rgb: ``[H, W, 3]`` uint8.
        depth_m: ``[H, W]`` float32 metres, NaN where there is no reading.
        intrinsics: Intrinsics of both images.
        frame_id: optical frame.
    """

    rgb: npt.NDArray[np.uint8]
    depth_m: npt.NDArray[np.float32]
    intrinsics: CameraIntrinsics
    frame_id: str


def read_recording(folder: Path) -> Recording:
    """Read a folder.

    Raises:
        RecordingError: a file is missing, unreadable, or does not fit the others.
    """
    rgb_path = next((folder / name for name in _RGB_NAMES if (folder / name).is_file()), None)
    if rgb_path is None:
        raise RecordingError(
            f"{folder} holds none of {', '.join(_RGB_NAMES)}; a recording is a folder with rgb, "
            "depth.png and camera.json"
        )
    camera = _read_camera(folder / "camera.json")
    colour = _read_image(rgb_path, cv2.IMREAD_COLOR, np.uint8)
    depth = _read_image(folder / "depth.png", cv2.IMREAD_UNCHANGED, np.uint16)
    size = int(camera["width"]), int(camera["height"])
    for path, image in ((rgb_path, colour), (folder / "depth.png", depth)):
        if (image.shape[1], image.shape[0]) != size:
            raise RecordingError(
                f"{path} is {image.shape[1]}x{image.shape[0]}, camera.json says {size[0]}x{size[1]}"
            )
    metres = depth.astype(np.float32) * np.float32(camera["depth_scale"])
    metres[depth == 0] = np.nan
    distortion = tuple(float(value) for value in camera.get("distortion", ()))
    intrinsics = CameraIntrinsics(
        width=size[0],
        height=size[1],
        fx=float(camera["fx"]),
        fy=float(camera["fy"]),
        cx=float(camera["cx"]),
        cy=float(camera["cy"]),
        distortion_model=str(camera.get("distortion_model", "plumb_bob" if distortion else "")),
        distortion=distortion,
    )
    frame = str(camera.get("frame", ""))
    # The frame's name goes into TF; some recordings describe it in words.
    frame = frame if frame and not any(c.isspace() or c in ",;" for c in frame) else DEFAULT_FRAME
    return Recording(np.ascontiguousarray(colour[..., ::-1]), metres, intrinsics, frame)


def _read_camera(path: Path) -> dict[str, Any]:
    try:
        camera = read_json(path, MIB, RecordingError)
        bad = [
            name
            for name in _NUMBERS
            if not math.isfinite(float(camera[name])) or float(camera[name]) <= 0
        ]
    except RecordingError:
        raise
    except (ValueError, TypeError, KeyError, OverflowError) as error:
        raise RecordingError(
            f"{path}: {type(error).__name__}: {error}; it must hold the numbers "
            f"{', '.join(_NUMBERS)}"
        ) from error
    if bad:
        raise RecordingError(f"{path}: {', '.join(bad)} must be positive")
    return dict(camera)


def _read_image(path: Path, how: int, dtype: type) -> npt.NDArray[Any]:
    image = read_picture(path, how, RecordingError)
    if image.dtype != dtype or (dtype is np.uint16 and image.ndim != 2):
        raise RecordingError(
            f"{path} holds {image.dtype} with {image.ndim} dimensions; depth must be one channel "
            "of 16 bit"
        )
    return image
