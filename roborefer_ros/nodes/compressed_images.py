# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Compressed colour and depth messages to ``sensor_msgs/Image``.

They are those of image_transport's plugins ``compressed`` (JPEG or PNG) and ``compressedDepth``: 12
bytes of configuration, then a PNG of 16 bit. Some kilobytes can unfold to gigabytes, so the size is
read from the picture's header, and judged, before a pixel is decoded.
"""

from __future__ import annotations

import array
import io
import struct
import sys
import warnings
from typing import Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image as Pillow
from sensor_msgs.msg import CompressedImage, Image

from roborefer_ros.errors import InvalidImageError, UnsupportedEncodingError
from roborefer_ros.image_files import PIXEL_LIMIT

#: int32 format, float32 depthQuantA, float32 depthQuantB
_DEPTH_HEADER = struct.Struct("<iff")
#: the one value of that format: inverse depth
_INVERSE_DEPTH = 0
_PNG_START = b"\x89PNG\r\n\x1a\n"
_BAYER = ("bayer_rggb8", "bayer_bggr8", "bayer_gbrg8", "bayer_grbg8")
_DEPTH_ENCODINGS = ("16UC1", "mono16", "32FC1")


class _Format(NamedTuple):
    """The field ``format``: ``<encoding before>; <codec> compressed <encoding of the codec>``."""

    encoding: str
    codec: str


def _read_format(text: str) -> _Format:
    before, semicolon, behind = text.partition(";")
    # Old publishers and drivers of their own give the codec alone.
    return _Format(before.strip(), behind.strip()) if semicolon else _Format("", before.strip())


# --- colour ----------------------------------------------------------------------------


def colour_from_compressed(
    msg: CompressedImage, topic: str = "rgb/image/compressed"
) -> npt.NDArray[np.uint8]:
    """The pixels of a JPEG or PNG of 8 bit, as OpenCV decodes them; EXIF turns nothing.

    Args:
        msg: Colour image.
        topic: Its topic, for messages.

    Returns:
        ``[H, W]`` grey or a Bayer mosaic, ``[H, W, 3]`` or ``[H, W, 4]`` blue first.

    Raises:
        UnsupportedEncodingError, InvalidImageError
    """
    encoding, codec = _read_format(msg.format)
    words = f"{encoding} {codec}".lower()
    if "compresseddepth" in words or encoding in ("16UC1", "32FC1"):
        raise UnsupportedEncodingError(
            f"'{topic}': format '{msg.format[:60]}' is that of a depth image; remap the colour "
            "camera's image"
        )
    if codec and not any(known in codec.lower() for known in ("jpeg", "jpg", "png")):
        raise UnsupportedEncodingError(
            f"'{topic}': format '{msg.format[:60]}' is neither jpeg nor png; set the camera "
            "driver to one of them"
        )
    pixels = _decoded(msg.data, topic, ("JPEG", "PNG"))
    if pixels.dtype != np.uint8 or pixels.ndim == 3 and pixels.shape[2] not in (3, 4):
        raise UnsupportedEncodingError(
            f"'{topic}': the picture has {pixels.dtype.itemsize * 8} bit and "
            f"{pixels.shape[2] if pixels.ndim == 3 else 1} channels, only colour and grey of 8 bit "
            "are read; set the camera driver to rgb8, bgr8 or mono8"
        )
    return pixels


def _colour_image(msg: CompressedImage, topic: str) -> Image:
    pixels = colour_from_compressed(msg, topic)
    encoding, codec = _read_format(msg.format)
    if pixels.ndim == 2:
        mosaic = encoding.lower()
        return _image(msg, pixels, mosaic if mosaic in _BAYER else "mono8")
    # Pictures hold red first, and OpenCV gives blue first. A publisher that wrote RGB as if it
    # were BGR says so.
    order = "rgb" if "compressed rgb" in codec.lower() else "bgr"
    return _image(msg, pixels, f"{order}8" if pixels.shape[2] == 3 else f"{order}a8")


# --- depth -----------------------------------------------------------------------------


def depth_from_compressed(
    msg: CompressedImage, topic: str = "depth/image/compressedDepth"
) -> tuple[npt.NDArray[np.uint16] | npt.NDArray[np.float32], str]:
    """The depth of a ``compressedDepth`` message, and its encoding.

    32FC1 is quantised in inverse depth: ``depth = A / (value - B)``, the value 0 stands for no
    reading (image_transport_plugins, compressed_depth_image_transport/src/codec.cpp).

    Args:
        msg: Compressed depth image.
        topic: Its topic, for messages.

    Returns:
        ``[H, W]`` uint16 in millimetres and ``16UC1``, or float32 in metres with NaN where there
        is no reading and ``32FC1``.

    Raises:
        UnsupportedEncodingError, InvalidImageError
    """
    encoding, codec = _read_format(msg.format)
    if not encoding:  # before there were other codecs, the encoding stood alone
        encoding, codec = codec, "compressedDepth"
    if encoding not in _DEPTH_ENCODINGS or codec not in ("compressedDepth", "compressedDepth png"):
        raise UnsupportedEncodingError(
            f"'{topic}': format '{msg.format[:60]}' is not one of "
            f"{', '.join(f'{name}; compressedDepth png' for name in _DEPTH_ENCODINGS)}; set the "
            "publisher's parameter compressedDepth.format to png, or depth_transport to raw"
        )
    if bytes(msg.data[:8]) == _PNG_START:
        raise InvalidImageError(
            f"'{topic}': a PNG without the 12 bytes of configuration before it; remap the "
            "topic that image_transport's plugin compressedDepth publishes"
        )
    if len(msg.data) <= _DEPTH_HEADER.size:
        raise InvalidImageError(
            f"'{topic}': {len(msg.data)} bytes, no more than the configuration of "
            f"{_DEPTH_HEADER.size}; the message is cut off"
        )
    kind, a, b = _DEPTH_HEADER.unpack_from(msg.data)
    quantised = encoding == "32FC1"
    if quantised and not (kind == _INVERSE_DEPTH and 0.0 < a < np.inf and np.isfinite(b)):
        raise InvalidImageError(
            f"'{topic}': format {kind} with depthQuantA {a:g} and depthQuantB {b:g} is no "
            "quantisation of inverse depth (format 0, A above 0); the message is damaged"
        )
    values = _decoded(msg.data[_DEPTH_HEADER.size :], topic, ("PNG",))
    if values.dtype != np.uint16 or values.ndim != 2:
        raise UnsupportedEncodingError(
            f"'{topic}': the PNG has {values.dtype.itemsize * 8} bit and "
            f"{values.shape[2] if values.ndim == 3 else 1} channels, depth takes one of 16 bit"
        )
    return (_metres(values, a, b), encoding) if quantised else (values, "16UC1")


def _metres(values: npt.NDArray[np.uint16], a: float, b: float) -> npt.NDArray[np.float32]:
    """Depth ``[H, W]`` of quantised inverse depth: one entry for each value there can be."""
    steps = np.arange(1 << 16, dtype=np.float64) - b
    usable = steps > 0.0
    usable[0] = False
    table = np.full(1 << 16, np.nan, np.float32)
    with np.errstate(over="ignore"):
        table[usable] = a / steps[usable]
    table[np.isinf(table)] = np.nan
    return table[values]


# --- both ------------------------------------------------------------------------------


def decompressed(msg: Image | CompressedImage, topic: str, *, depth: bool = False) -> Image:
    """The image of a message of either kind, with its header; an ``Image`` comes back as it is.

    Args:
        msg: What came.
        topic: Its topic, for messages.
        depth: Whether it is a depth image.

    Raises:
        UnsupportedEncodingError, InvalidImageError
    """
    if not isinstance(msg, CompressedImage):
        return msg
    if not depth:
        return _colour_image(msg, topic)
    values, encoding = depth_from_compressed(msg, topic)
    return _image(msg, values, encoding)


def _decoded(
    data: array.array[int] | bytes, topic: str, formats: tuple[str, ...]
) -> npt.NDArray[Any]:
    """Pixels as they are in the picture, after its header has been judged."""
    held = bytes(data)
    kinds = " or ".join(formats)
    damaged = f"'{topic}': {len(held)} bytes that are no whole {kinds}"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Pillow.DecompressionBombWarning)
            with Pillow.open(io.BytesIO(held), formats=formats) as picture:
                (width, height), kind = picture.size, picture.format
                _check_pixels(width, height, topic)
                if kind == "PNG":
                    picture.verify()  # checksums of all chunks up to the last
    except Pillow.DecompressionBombError as error:
        raise InvalidImageError(f"'{topic}': {error}; the message is damaged") from error
    except (OSError, EOFError, ValueError, SyntaxError, struct.error) as error:
        raise InvalidImageError(
            f"{damaged}: the message is damaged or cut off; look at the network and the publisher"
        ) from error
    # OpenCV fills what is missing of a JPEG with grey. Its end follows the last scan, since
    # scans hold no markers; some cameras pad behind it.
    if kind != "PNG" and held.rfind(b"\xff\xd9") < held.rfind(b"\xff\xda"):
        raise InvalidImageError(
            f"{damaged}: its end is missing; look at the network and the publisher"
        )
    try:
        pixels = cv2.imdecode(np.frombuffer(held, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        pixels = None
    if pixels is None or pixels.shape[:2] != (height, width):
        raise InvalidImageError(f"{damaged}: OpenCV does not decode it; look at the publisher")
    return pixels


def _check_pixels(width: int, height: int, topic: str) -> None:
    if width < 1 or height < 1 or width * height > PIXEL_LIMIT:
        raise InvalidImageError(
            f"'{topic}': the picture says that it has {width}x{height} pixels, at most "
            f"{PIXEL_LIMIT} are decoded; check the camera driver"
        )


def _image(msg: CompressedImage, pixels: npt.NDArray[Any], encoding: str) -> Image:
    pixels = np.ascontiguousarray(pixels)
    image = Image(header=msg.header, height=pixels.shape[0], width=pixels.shape[1])
    image.encoding, image.step = encoding, pixels.strides[0]
    image.is_bigendian = int(sys.byteorder == "big")
    data = array.array("B")
    data.frombytes(pixels.data.cast("B"))
    image.data = data
    return image
