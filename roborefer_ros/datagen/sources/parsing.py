# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Values of foreign files: boxes, rotations, intrinsics, pictures."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from roborefer_ros.datagen.scene import Array, Box, Camera
from roborefer_ros.datagen.source import SceneSkippedError
from roborefer_ros.datagen.wording import clean_name

MAX_BOXES = 500
_MAX_SIDE_PX = 8192
_MAX_EXTENT_M = 100.0
_ROTATION_TOLERANCE = 0.02
_RATIO_TOLERANCE = 0.02
_LEAST_Z_M = 0.05
_POINTS = 256


def numbers(value: Any, *shape: int) -> Array | None:
    """An array of finite numbers of a shape, also from a flat list; None: it is none."""
    try:
        array = np.asarray(value, np.float64)
    except (TypeError, ValueError):
        return None
    if array.size != int(np.prod(shape)) or not np.isfinite(array).all():
        return None
    return array.reshape(shape)


def rotation(value: Any) -> Array | None:
    """A 3x3 rotation, also out of a 4x4 pose or an object with one such value; None: none."""
    if isinstance(value, dict):
        value = next(iter(value.values()), None)
    pose = numbers(value, 4, 4)
    matrix = numbers(value, 3, 3) if pose is None else pose[:3, :3]
    if matrix is None:
        return None
    close = np.abs(matrix.T @ matrix - np.eye(3)).max() < _ROTATION_TOLERANCE
    return matrix if close and np.linalg.det(matrix) > 0 else None


def intrinsics(value: Any) -> Array | None:
    """``[3, 3]`` K from a matrix, a list of nine, or fx, fy, cx, cy; None: none."""
    if isinstance(value, dict):
        if all(key in value for key in ("fx", "fy", "cx", "cy")):
            fx, fy, cx, cy = (value[key] for key in ("fx", "fy", "cx", "cy"))
            value = [[fx, 0, cx], [0, fy, cy], [0, 0, 1]]
        else:
            value = value.get("K", next(iter(value.values()), None))
    K = numbers(value, 3, 3)
    if K is None or K[0, 0] <= 0 or K[1, 1] <= 0 or abs(K[2, 2] - 1) > 1e-6:
        return None
    return K


def camera(K: Any, gravity: Any, width: int, height: int) -> Camera:
    """The camera of foreign values.

    Raises:
        SceneSkippedError: K or gravity is missing or wrong.
    """
    matrix = intrinsics(K)
    if matrix is None:
        raise SceneSkippedError("no intrinsics" if K is None else "intrinsics are wrong")
    upright = rotation(gravity)
    if upright is None:
        raise SceneSkippedError("no gravity" if gravity is None else "gravity is not a rotation")
    return Camera(matrix, width, height, upright)


def boxes(values: Any, counts: Counter[str]) -> tuple[Box, ...]:
    """The usable boxes of a list; the others are counted by reason.

    Raises:
        SceneSkippedError: no list, or not one box is usable.
    """
    if isinstance(values, dict):
        values = next((v for v in values.values() if isinstance(v, list)), None)
    if not isinstance(values, list):
        raise SceneSkippedError("no list of boxes")
    if not values:
        raise SceneSkippedError("no boxes")
    found: dict[str, Box] = {}
    for index, value in enumerate(values[:MAX_BOXES]):
        box = _box(value, index, counts)
        if box is not None:
            found[box.id if box.id not in found else f"{box.id}#{index}"] = box
    counts["box beyond the limit"] += max(0, len(values) - MAX_BOXES)
    if not found:
        reason = max(sorted(counts), key=lambda name: counts[name])
        raise SceneSkippedError(f"no usable box: {reason}")
    return tuple(box if box.id == name else replace(box, id=name) for name, box in found.items())


def _box(value: Any, index: int, counts: Counter[str]) -> Box | None:
    if not isinstance(value, dict):
        counts["box that is no object"] += 1
        return None
    position, scale = numbers(value.get("position"), 3), numbers(value.get("scale"), 3)
    turned = rotation(value.get("R"))
    if position is None or scale is None or turned is None:
        counts["box without position, scale or rotation"] += 1
        return None
    if not ((scale > 0).all() and (scale < _MAX_EXTENT_M).all()):
        counts["box of no size"] += 1
        return None
    if position[2] <= _LEAST_Z_M:
        counts["box behind the camera"] += 1
        return None
    category = value.get("category", value.get("class"))
    name = clean_name(category) if isinstance(category, str) else ""
    if not name:
        counts["box without a category"] += 1  # still in the way of other things
    colour = value.get("colour", value.get("color"))
    box = Box(
        str(value.get("id", index))[:64], name, position, scale, turned, _points(value),
        clean_name(colour) if isinstance(colour, str) else "",
        value.get("has_front") is True,
    )  # fmt: skip
    if box.near <= _LEAST_Z_M or not name:
        box = replace(box, visible=False)
    return box


def _points(value: dict[str, Any]) -> Array | None:
    given = value.get("points")
    if not isinstance(given, list) or not given:
        return None
    points = numbers(given, len(given), 3)
    if points is None:
        return None
    return points[:: max(1, len(points) // _POINTS)]


def colour_picture(data: bytes) -> npt.NDArray[np.uint8]:
    """``[H, W, 3]`` RGB of a coded picture.

    Raises:
        SceneSkippedError: it is damaged or too large.
    """
    picture = _decoded(data, cv2.IMREAD_COLOR)
    if picture is None:
        raise SceneSkippedError("picture is damaged")
    rgb: npt.NDArray[np.uint8] = np.ascontiguousarray(picture[..., ::-1], np.uint8)
    return rgb


def depth_metres(data: bytes, unit_m: float) -> npt.NDArray[np.float32]:
    """``[H, W]`` metres, NaN in holes, of a coded depth picture.

    Args:
        data: PNG or TIFF of one channel: 16-bit integers or floats.
        unit_m: Metres of a unit.

    Raises:
        SceneSkippedError: it is damaged, of another kind, or holds no reading.
    """
    picture = _decoded(data, cv2.IMREAD_UNCHANGED)
    if picture is None:
        raise SceneSkippedError("depth is damaged")
    if picture.ndim != 2 or picture.dtype not in (np.uint16, np.float32):
        raise SceneSkippedError("depth is not one channel of 16-bit integers or floats")
    metres: npt.NDArray[np.float32] = picture.astype(np.float32) * np.float32(unit_m)
    metres[~((metres > 0) & (metres < np.inf))] = np.nan
    if not np.isfinite(metres).any():
        raise SceneSkippedError("depth has no reading")
    return metres


def _decoded(data: bytes, flags: int) -> npt.NDArray[Any] | None:
    if not data or _too_large(data):
        return None
    try:
        picture = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error:
        return None
    if picture is None or max(picture.shape[:2]) > _MAX_SIDE_PX:
        return None
    return picture


def _too_large(data: bytes) -> bool:
    """Whether a PNG's head promises more pixels than are read."""
    if not data.startswith(b"\x89PNG") or len(data) < 24:
        return False
    sides = int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")
    return max(sides) > _MAX_SIDE_PX


def same_shape(rgb: npt.NDArray[np.uint8], depth: npt.NDArray[np.floating]) -> None:
    """Check that depth and colour have the same aspect ratio.

    Raises:
        SceneSkippedError: they have not.
    """
    ratio = (rgb.shape[1] * depth.shape[0]) / (rgb.shape[0] * depth.shape[1])
    if abs(ratio - 1) > _RATIO_TOLERANCE:
        raise SceneSkippedError("depth has another aspect ratio than the picture")


def safe_names(wanted: Sequence[str]) -> list[str]:
    """File names out of foreign ids: letters, digits, dots, dashes; each one once."""
    names: dict[str, None] = {}
    for index, text in enumerate(wanted):
        name = re.sub(r"[^A-Za-z0-9._-]+", "_", text)[:80].strip("._") or "scene"
        while name in names:
            name = f"{name}-{index}"
        names[name] = None
    return list(names)
