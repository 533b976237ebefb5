# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Pictures from strangers: bounded before they are decoded, right or refused.

Nothing here trusts the sender: the format is read from the bytes, the size from the header
before a pixel is unpacked, and whatever the decoder stumbles over becomes a numbered error.
"""

from __future__ import annotations

import base64
import binascii
import io
import math
import re
import zlib
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
from PIL import ExifTags, Image

from roborefer_ros.errors import (
    InvalidImageError,
    RoboReferError,
    SizeMismatchError,
    UnsupportedEncodingError,
)
from roborefer_ros.inference.model import Picture
from roborefer_ros.types import DepthImage

T = TypeVar("T")

#: what is accepted; Pillow tries no other decoder
FORMATS = ("PNG", "JPEG", "WEBP", "BMP")

#: scans of a JPEG; cameras and programs write up to about ten, and each costs as much as a picture
MAX_SCANS = 64

#: what a cut-off JPEG lacks is filled up with grey by its decoder, which only warns; of its
#: warnings this one alone is harmless (webcams write such bytes)
_HARMLESS = "extraneous bytes"

#: a marker of a JPEG's entropy-coded data that ends it: not a stuffed zero, restart or fill byte
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")

#: EXIF orientation -> what turns the stored picture upright
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

#: told how many bytes decoding takes at its peak, before it begins; may refuse by an error
Reserve = Callable[[int], None]

#: base64 text may be broken into lines, as in MIME
_BLANKS = str.maketrans("", "", " \t\r\n")


def bytes_from_base64(text: str, what: str) -> bytes:
    """Decode base64, with or without a data URI's prefix.

    Raises:
        InvalidImageError: it is not base64.
        UnsupportedEncodingError: it is a link; the server fetches nothing.
    """
    if text[:5].lower() == "data:":
        head, _, text = text.partition(",")
        if not head.lower().endswith(";base64"):
            raise UnsupportedEncodingError(f"{what} is a data URI that does not say ';base64'")
    elif "://" in text[:16]:
        raise UnsupportedEncodingError(
            f"{what} is a link; this server fetches nothing, send the file itself as base64"
        )
    try:
        return base64.b64decode(text.translate(_BLANKS).encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError) as error:
        raise InvalidImageError(
            f"{what} is not base64; send the bytes of a PNG, JPEG, WebP or BMP file as base64"
        ) from error


def _unbounded(_: int) -> None:
    """Every size is welcome."""


def decode_rgb(
    data: bytes, max_pixels: int, what: str = "the image", reserve: Reserve = _unbounded
) -> Picture:
    """Decode an image file to RGB, upright.

    EXIF orientation is applied, so that points are those of the picture as people (and
    OpenCV) see it.  16-bit pictures keep their high byte, CMYK is converted, alpha dropped.

    Raises:
        UnsupportedEncodingError: another format, or an animation.
        InvalidImageError: broken, cut off, or more than ``max_pixels``.
    """
    image = _open(data, max_pixels, what)
    _check_file(data, image, what)
    reserve(_peak_bytes(image, data))
    return Picture.of(_guarded(lambda: np.asarray(_to_rgb(image, data), np.uint8), what))


def decode_grey(
    data: bytes, max_pixels: int, what: str = "the depth picture", reserve: Reserve = _unbounded
) -> Picture:
    """Decode a relative depth picture (near = bright) to ``[H, W]`` uint8.

    Raises:
        UnsupportedEncodingError, InvalidImageError: as ``decode_rgb``.
    """
    image = _open(data, max_pixels, what)
    _check_file(data, image, what)
    reserve(_peak_bytes(image, data))
    grey = _guarded(lambda: np.asarray(_to_rgb(image, data).convert("L"), np.uint8), what)
    return Picture.of(grey)


def decode_relative_depth(
    data: bytes, max_pixels: int, what: str = "the depth picture", reserve: Reserve = _unbounded
) -> Picture:
    """Decode a relative depth picture as the reference shows it to the model.

    Returns:
        ``[H, W]`` uint8 where its channels are equal (near = bright), else ``[H, W, 3]``: a picture
        in colours, of a colour map for example, is shown in them.

    Raises:
        UnsupportedEncodingError, InvalidImageError: as ``decode_rgb``.
    """
    shown = decode_rgb(data, max_pixels, what, reserve).pixels
    is_grey = (shown[..., 0] == shown[..., 1]).all() and (shown[..., 1] == shown[..., 2]).all()
    return Picture.of(shown[..., 0]) if is_grey else Picture.of(shown)


def decode_depth_png(
    data: bytes, unit_m: float, max_pixels: int, reserve: Reserve = _unbounded
) -> DepthImage:
    """Decode metric depth from a 16-bit grey PNG, in units of ``unit_m`` metres.

    Raises:
        UnsupportedEncodingError: not a 16-bit grey PNG.
        InvalidImageError: broken or too large.
    """
    image = _open(data, max_pixels, "the depth image")
    if image.format != "PNG" or not image.mode.startswith("I"):
        raise UnsupportedEncodingError(
            f"metric depth must be a 16-bit grey PNG, this is {image.format} with mode "
            f"{image.mode}; 8 bits cannot hold metres (send a relative depth picture as "
            "relative_depth)"
        )
    _check_file(data, image, "the depth image")
    reserve(_peak_bytes(image, data))
    raw = _guarded(lambda: np.asarray(image), "the depth image")
    return DepthImage(np.ascontiguousarray(raw, np.uint16), unit_m)


def decode_depth_float32(
    data: bytes, width: int, height: int, max_pixels: int, reserve: Reserve = _unbounded
) -> DepthImage:
    """Read metric depth from little-endian float32 rows, in metres (32FC1).

    Raises:
        SizeMismatchError: the length is not width times height times 4.
        InvalidImageError: too large.
    """
    _check_size(width, height, max_pixels, "the depth image")
    if len(data) != 4 * width * height:
        raise SizeMismatchError(
            f"depth of {width}x{height} float32 readings has {4 * width * height} bytes, "
            f"{len(data)} were sent"
        )
    reserve(4 * width * height)
    raw = np.frombuffer(data, "<f4").reshape(height, width).astype(np.float32)
    return DepthImage(raw, 1.0)


def _open(data: bytes, max_pixels: int, what: str) -> Image.Image:
    """Read the header only."""
    # Pillow sets up its WebP decoder, canvas and all, before it tells the size.
    canvas = _webp_canvas(data)
    if canvas is not None:
        _check_size(*canvas, max_pixels, what)
    try:
        image = _guarded(lambda: Image.open(io.BytesIO(data), formats=FORMATS), what)
    except InvalidImageError as error:
        if _looks_supported(data):
            raise
        raise UnsupportedEncodingError(
            f"{what} is no PNG, JPEG, WebP or BMP file ({len(data)} bytes); convert it first"
        ) from error
    width, height = image.size
    _check_size(width, height, max_pixels, what)
    # A JPEG with several pictures (MPO, of phones) has its main picture first.
    if image.format != "MPO" and _guarded(lambda: getattr(image, "n_frames", 1), what) > 1:
        raise UnsupportedEncodingError(f"{what} is animated; send a single frame")
    return image


def _webp_canvas(data: bytes) -> tuple[int, int] | None:
    """Size of an extended WebP file (RFC 9649, 2.7), which can differ from its frames'."""
    if data[:4] != b"RIFF" or data[8:16] != b"WEBPVP8X" or len(data) < 30:
        return None
    width, height = (int.from_bytes(data[at : at + 3], "little") + 1 for at in (24, 27))
    return width, height


def _looks_supported(data: bytes) -> bool:
    riff = data[:4] == b"RIFF" and data[8:12] == b"WEBP"
    return riff or data.startswith((b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"BM"))


def _check_size(width: int, height: int, max_pixels: int, what: str) -> None:
    if width < 1 or height < 1 or width * height > max_pixels:
        raise InvalidImageError(
            f"{what} has {width}x{height} = {width * height} pixels, at most {max_pixels} are "
            f"allowed; scale it down by {max(1.0, math.sqrt(width * height / max_pixels)):.1f}"
        )


def _peak_bytes(image: Image.Image, _data: bytes) -> int:
    """What decoding takes at its peak, bytes: the greatest measured (12 megapixels), rounded up."""
    progressive = bool(image.info.get("progressive"))
    deep = image.mode.startswith("I")  # 16 bit: 12 as a rule, 15.6 seen
    each = 20 if image.format == "WEBP" else 16 if progressive or deep else 14
    return each * image.width * image.height


def _check_file(data: bytes, image: Image.Image, what: str) -> None:
    """What decoders let pass, and what would cost them too much.

    Raises:
        InvalidImageError: Damaged or cut off, or a JPEG of very many scans.
    """
    if image.format in ("JPEG", "MPO"):
        scans = _scans(data)
        if scans > MAX_SCANS:
            raise InvalidImageError(
                f"{what} is a JPEG of {scans} scans, at most {MAX_SCANS} are allowed; save it "
                "again without progressive scans"
            )
    elif image.format == "PNG":
        fault = _png_fault(data)
        if fault:
            raise InvalidImageError(f"{what} is broken or cut off ({fault}); send the whole file")
    elif image.format == "BMP":
        if len(data) < int.from_bytes(data[2:6], "little"):
            raise InvalidImageError(f"{what} is cut off; send the whole file")
    elif len(data) < int.from_bytes(data[4:8], "little") + 8:
        raise InvalidImageError(f"{what} is cut off; send the whole file")


def _scans(data: bytes) -> int:
    """Of a JPEG's first picture (ITU T.81, annex B)."""
    at, scans = 2, 0
    while at + 4 <= len(data):
        if data[at] != 0xFF:
            found = _MARKER.search(data, at)
            if found is None:
                return scans
            at = found.start()
        kind = data[at + 1]
        if kind == 0xD9:
            return scans
        if kind == 0xFF:
            at += 1
        elif kind in (0x00, 0x01) or 0xD0 <= kind <= 0xD8:
            at += 2
        else:
            at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
            if kind == 0xDA:
                scans += 1
                found = _MARKER.search(data, at)
                if found is None:
                    return scans
                at = found.start()
    return scans


def _png_fault(data: bytes) -> str:
    """What is wrong with the chunks of a PNG; empty when nothing is."""
    at = 8
    while at + 12 <= len(data):
        length, kind = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        end = at + 12 + length
        if end > len(data):
            return "a chunk is not complete"
        check = int.from_bytes(data[end - 4 : end], "big")
        if zlib.crc32(memoryview(data)[at + 4 : end - 4]) != check:
            return "a checksum is wrong"
        if kind == b"IEND":
            return ""
        at = end
    return "its end is missing"


def _to_rgb(image: Image.Image, data: bytes) -> Image.Image:
    turn = _UPRIGHT.get(_orientation(image))
    if image.format in ("JPEG", "MPO"):
        image = _jpeg(image, data)
    image.load()
    if image.mode.startswith("I"):
        # Pillow's own conversion would clip everything above 255 to white.
        deep = np.asarray(image)
        high = (deep >> 8).astype(np.uint8)
        if deep.dtype != np.uint16:
            high[deep > 0xFFFF], high[deep < 0] = 255, 0
        image = Image.fromarray(high)
    if image.mode != "RGB":
        image = image.convert("RGB")
    return image if turn is None else image.transpose(turn)


def _jpeg(image: Image.Image, data: bytes) -> Image.Image:
    """Decoded by the library that tells what it had to make up; the pixels are Pillow's."""
    import simplejpeg

    colours = "CMYK" if image.mode == "CMYK" else "RGB"
    # Colours of print are left to Pillow, which knows Adobe's inversion: an eighth is enough here.
    factor = 8.0 if colours == "CMYK" else 1.0
    try:
        pixels = simplejpeg.decode_jpeg(data, colours, min_factor=factor)
    except ValueError as error:
        if _HARMLESS not in str(error):
            raise
        pixels = simplejpeg.decode_jpeg(data, colours, min_factor=factor, strict=False)
    return image if colours == "CMYK" else Image.fromarray(pixels)


def _orientation(image: Image.Image) -> Any:
    """What EXIF says; broken EXIF in a good picture says nothing."""
    try:
        return image.getexif().get(ExifTags.Base.Orientation)
    except Exception:
        return None


def _guarded(read: Callable[[], T], what: str) -> T:
    """Run a decoder; Pillow raises almost anything over broken files."""
    try:
        return read()
    except (RoboReferError, MemoryError):
        raise
    except Image.DecompressionBombError as error:
        raise InvalidImageError(f"{what} has far too many pixels; scale it down") from error
    except Exception as error:
        raise InvalidImageError(
            f"{what} is broken or cut off and cannot be decoded ({type(error).__name__}); "
            "send the whole file"
        ) from error
