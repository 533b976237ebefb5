# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Pictures of a training row: found, opened, and depth brought to 8 bits and three channels.

RefSpatial's depth is normalised per picture, near is bright: inverse depth in its 2D part, linear
in its 3D part.  Both are learned as they are.  Depth of another kind is converted with a note.
"""

from __future__ import annotations

import io
import re
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from roborefer_ros.errors import ConfigurationError
from roborefer_ros.files import MIB, path_inside, read_bytes
from roborefer_ros.training.data.defects import Defect
from roborefer_ros.training.data.registry import DepthEncoding

Picture = npt.NDArray[np.uint8]

_FILE_LIMIT = 256 * MIB
_PIXEL_LIMIT = 100_000_000

#: sides of depth and picture may differ in scale, not in shape
_RATIO_TOLERANCE = 0.02

_PNG = b"\x89PNG\r\n\x1a\n"
_TEXT_CHUNKS = (b"tEXt", b"zTXt", b"iTXt", b"iCCP", b"eXIf")

#: ``<video><frame>_wide_image.png``: CA-1M's video numbers have eight digits
_UNSEPARATED = re.compile(r"(\d{8})(\d+_.+)")


class PictureError(ConfigurationError):
    """A picture cannot be used; ``defect`` says how."""

    def __init__(self, defect: Defect, message: str) -> None:
        super().__init__(message)
        self.defect = defect

    def __reduce__(self) -> tuple[type, tuple[Defect, str]]:
        return type(self), (self.defect, str(self))  # it crosses from the workers of a loader


@dataclass(frozen=True)
class Opened:
    """A decoded picture ``[H, W, 3]`` uint8, and what had to be done to it."""

    pixels: Picture
    notes: tuple[Defect, ...] = ()

    @property
    def size(self) -> tuple[int, int]:
        """``(width, height)``."""
        return self.pixels.shape[1], self.pixels.shape[0]


@dataclass(frozen=True)
class Located:
    """Path of a picture, and whether its name had to be repaired."""

    path: Path
    repaired: bool = False


def locate(folder: Path | None, name: str, *, absolute: bool = False) -> Located:
    """The file of a name in a row.

    Args:
        folder: That names are relative to.
        name: As it stands in the JSON.
        absolute: Whether absolute paths are followed.

    Raises:
        PictureError: it is not there, or leads out of the folder.
    """
    if absolute and Path(name).is_absolute():
        if Path(name).is_file():
            return Located(Path(name))
        raise PictureError(Defect.MISSING_PICTURE, f"{name} is missing")
    if folder is None:
        raise PictureError(Defect.NO_IMAGE_FOLDER, f"there is no folder to find {name!r} in")
    try:
        return Located(path_inside(folder, name))
    except ConfigurationError as error:
        match = _UNSEPARATED.fullmatch(name)
        if match and (folder / f"{match[1]}_{match[2]}").is_file():
            return Located(path_inside(folder, f"{match[1]}_{match[2]}"), repaired=True)
        if name.startswith("/"):
            raise PictureError(
                Defect.MISSING_PICTURE, f"{error} (absolute_paths: true allows such names)"
            ) from error
        raise PictureError(Defect.MISSING_PICTURE, str(error)) from error


def open_rgb(path: Path) -> Opened:
    """A picture as RGB; its EXIF orientation is not applied, as in the reference.

    Raises:
        PictureError: missing, empty, cut off, too large, or no picture.
    """
    image, notes = _decoded(path)
    return Opened(np.asarray(image.convert("RGB"), dtype=np.uint8), notes)


def open_depth(path: Path, encoding: DepthEncoding = "near-bright") -> Opened:
    """A depth picture, near is bright.

    8 bits with three channels are taken as they are.  One channel is repeated.  16 bits and
    floats are stretched to 0..255 between the picture's own limits; with ``metric`` (0 for
    unknown) after ``1 / depth``.

    Args:
        path: Of the file.
        encoding: Of the data set.

    Raises:
        PictureError: see ``open_rgb``.
    """
    image, notes = _decoded(path)
    if image.mode == "RGB" and encoding == "near-bright":
        return Opened(np.asarray(image, dtype=np.uint8), notes)
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        values = np.asarray(image).astype(np.float32)
    elif encoding == "metric":
        values = np.asarray(image.convert("L")).astype(np.float32)
    else:
        pixels = np.asarray(image.convert("RGB"), dtype=np.uint8)
        return Opened(pixels, (*notes, Defect.DEPTH_CONVERTED))
    known = np.isfinite(values) & (values > 0)
    if encoding == "metric":
        values = np.divide(1.0, values, out=np.zeros_like(values), where=known)
    limits = values[known] if known.any() else np.zeros(1, np.float32)
    low, high = float(limits.min()), float(limits.max())
    scaled = np.clip((values - low) / max(high - low, 1e-12), 0.0, 1.0) * 255.0
    pixels = np.where(known, scaled, 0.0).astype(np.uint8)
    return Opened(np.repeat(pixels[..., None], 3, axis=2), (*notes, Defect.DEPTH_CONVERTED))


def shape_mismatch(image: Path, depth: Path, rgb: tuple[int, int], d: tuple[int, int]) -> str:
    """Depth may have another size than its picture, not another shape.

    Args:
        image: Path of the colour picture, for the message.
        depth: Path of the depth picture, for the message.
        rgb: ``(width, height)`` of the colour picture, pixels.
        d: ``(width, height)`` of the depth picture, pixels.

    Returns:
        What is wrong where the aspect ratios differ by more than 2 %, else nothing.
    """
    ratio = (rgb[0] * d[1]) / (rgb[1] * d[0])
    if abs(ratio - 1.0) <= _RATIO_TOLERANCE:
        return ""
    return f"{depth} has {d[0]}x{d[1]} pixels, {image} {rgb[0]}x{rgb[1]}: not the same shape"


def _decoded(path: Path) -> tuple[Image.Image, tuple[Defect, ...]]:
    try:
        data = read_bytes(path, _FILE_LIMIT)
    except ConfigurationError as error:
        is_missing = not path.exists()
        defect = Defect.MISSING_PICTURE if is_missing else Defect.BROKEN_PICTURE
        raise PictureError(defect, str(error)) from error
    if not data:
        raise PictureError(Defect.EMPTY_PICTURE, f"{path} has 0 bytes")
    try:
        return _load(data), ()
    except ValueError as error:
        if "MAX_TEXT" not in str(error):
            raise _broken(path, error) from error
    except Exception as error:  # Pillow's decoders raise anything on damaged files
        raise _broken(path, error) from error
    try:
        return _load(_without_text(data)), (Defect.TEXT_CHUNK,)
    except Exception as error:
        raise _broken(path, error) from error


def _load(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data))
    if image.width * image.height > _PIXEL_LIMIT:
        raise OSError(f"{image.width}x{image.height} pixels are too many")
    image.load()
    return image


def _broken(path: Path, error: Exception) -> PictureError:
    reason = "not a picture" if isinstance(error, UnidentifiedImageError) else str(error)
    return PictureError(Defect.BROKEN_PICTURE, f"{path} cannot be decoded: {reason[:200]}")


def _without_text(data: bytes) -> bytes:
    """A PNG without its text, which Pillow refuses where it is very large."""
    if not data.startswith(_PNG):
        return data
    kept, at = [data[:8]], 8
    while at + 12 <= len(data):
        (length,) = struct.unpack(">I", data[at : at + 4])
        end = at + 12 + length
        if data[at + 4 : at + 8] not in _TEXT_CHUNKS:
            kept.append(data[at:end])
        at = end
    return b"".join(kept)
