# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Files of every kind are decoded right or refused with a reason."""

from __future__ import annotations

import base64
import io
import struct
import zlib
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image

from roborefer_ros.errors import InvalidImageError, RoboReferError, UnsupportedEncodingError
from roborefer_ros.inference.model import Picture
from roborefer_ros.server.pictures import (
    bytes_from_base64,
    decode_depth_float32,
    decode_depth_png,
    decode_grey,
    decode_relative_depth,
    decode_rgb,
)

LIMIT = 100_000

#: four flat quarters, so that lossy formats and orientation can be checked
QUARTERS = np.zeros((32, 48, 3), np.uint8)
QUARTERS[:16, :24] = (220, 30, 30)
QUARTERS[:16, 24:] = (30, 200, 30)
QUARTERS[16:, :24] = (30, 30, 220)
QUARTERS[16:, 24:] = (200, 200, 200)


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def png_header_of(width: int, height: int, colour: int = 2, depth: int = 8) -> bytes:
    """A tiny PNG file that claims to be large."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        crc = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + crc

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    pixels = zlib.compress(b"\0" * 1000)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels)


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_lossless_pixels_arrive_as_they_are(kind: str) -> None:
    rgb = np.random.default_rng(1).integers(0, 256, (20, 30, 3), np.uint8)
    data = encoded(Image.fromarray(rgb), kind, lossless=True)
    assert np.array_equal(decode_rgb(data, LIMIT).pixels, rgb)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied_as_opencv_does(orientation: int) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    data = encoded(Image.fromarray(QUARTERS), "JPEG", exif=exif, quality=95)
    bgr = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    rgb = decode_rgb(data, LIMIT).pixels
    assert rgb.shape == bgr.shape
    assert np.abs(rgb.astype(int) - bgr[..., ::-1]).max() <= 3


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_broken_exif_does_not_matter() -> None:
    data = encoded(Image.fromarray(QUARTERS), "JPEG", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff garbage")
    assert decode_rgb(data, LIMIT).pixels.shape == QUARTERS.shape


def test_cmyk_jpeg_has_the_right_colours() -> None:
    data = encoded(Image.fromarray(QUARTERS).convert("CMYK"), "JPEG", quality=95)
    assert Image.open(io.BytesIO(data)).mode == "CMYK"
    assert np.abs(decode_rgb(data, LIMIT).pixels.astype(int) - QUARTERS).mean() < 4


def test_sixteen_bit_grey_keeps_its_high_byte() -> None:
    ramp = np.linspace(0, 65535, 64 * 8).reshape(8, 64).astype(np.uint16)
    rgb = decode_rgb(encoded(Image.fromarray(ramp), "PNG"), LIMIT).pixels
    assert np.array_equal(rgb[..., 0], (ramp >> 8).astype(np.uint8))
    assert np.array_equal(rgb[..., 0], rgb[..., 2])


def test_sixteen_bit_colour_keeps_its_high_byte() -> None:
    colour = np.random.default_rng(2).integers(0, 65536, (9, 7, 3)).astype(np.uint16)
    done, data = cv2.imencode(".png", colour)  # stored as RGB, given as BGR
    assert done
    rgb = decode_rgb(data.tobytes(), LIMIT).pixels.astype(int)
    assert np.abs(rgb - (colour[..., ::-1] >> 8)).max() <= 1


@pytest.mark.parametrize("mode", ["RGBA", "LA", "L", "P", "1"])
def test_other_modes_become_rgb(mode: str) -> None:
    image = Image.fromarray(QUARTERS).convert(mode)
    rgb = decode_rgb(encoded(image, "PNG"), LIMIT).pixels
    assert np.array_equal(rgb, np.asarray(image.convert("RGB")))


def test_alpha_is_dropped() -> None:
    rgba = np.dstack([QUARTERS, np.zeros(QUARTERS.shape[:2], np.uint8)])
    assert np.array_equal(decode_rgb(encoded(Image.fromarray(rgba), "PNG"), LIMIT).pixels, QUARTERS)


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_animations_are_refused(kind: str) -> None:
    frames = [Image.fromarray(QUARTERS), Image.fromarray(255 - QUARTERS)]
    data = encoded(frames[0], kind, save_all=True, append_images=frames[1:])
    with pytest.raises(UnsupportedEncodingError, match="animated"):
        decode_rgb(data, LIMIT)


@pytest.mark.parametrize("kind", ["GIF", "TIFF", "PPM", "ICO"])
def test_other_formats_are_refused(kind: str) -> None:
    with pytest.raises(UnsupportedEncodingError, match="no PNG, JPEG, WebP or BMP"):
        decode_rgb(encoded(Image.fromarray(QUARTERS), kind), LIMIT)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("part", [0.02, 0.3, 0.7, 0.98])
def test_cut_off_files_are_refused(kind: str, part: float) -> None:
    rgb = np.random.default_rng(3).integers(0, 256, (64, 64, 3), np.uint8)
    data = encoded(Image.fromarray(rgb), kind)
    with pytest.raises((InvalidImageError, UnsupportedEncodingError)):
        decode_rgb(data[: int(len(data) * part)], LIMIT)


@pytest.mark.parametrize(
    ("width", "height"), [(20_000, 20_000), (2**31 - 1, 2**31 - 1), (LIMIT, 2)]
)
def test_bombs_are_refused_by_their_header(width: int, height: int) -> None:
    with pytest.raises(InvalidImageError, match="pixels"):
        decode_rgb(png_header_of(width, height), LIMIT)


def test_webp_canvas_is_checked_before_the_decoder_makes_it() -> None:
    size = (16_000).to_bytes(3, "little")
    chunk = b"VP8X" + struct.pack("<I", 10) + b"\x02\0\0\0" + size + size
    data = b"RIFF" + struct.pack("<I", len(chunk) + 4) + b"WEBP" + chunk
    with pytest.raises(InvalidImageError, match="16001x16001"):
        decode_rgb(data, LIMIT)


def test_picture_at_the_limit_passes() -> None:
    rgb = np.zeros((250, 400, 3), np.uint8)
    assert decode_rgb(encoded(Image.fromarray(rgb), "PNG"), LIMIT).pixels.shape == rgb.shape


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_mutated_files_are_decoded_or_refused(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(["PNG", "JPEG", "WEBP"]))
    content = bytearray(encoded(Image.fromarray(QUARTERS), kind))
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        pixels = decode_rgb(bytes(content), LIMIT).pixels
    except RoboReferError:
        return
    assert pixels.dtype == np.uint8
    assert pixels.shape[2] == 3
    assert pixels.size <= 3 * LIMIT


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300))
def test_garbage_is_refused(content: bytes) -> None:
    for decode in (decode_rgb, decode_grey):
        with pytest.raises(RoboReferError):
            decode(content, LIMIT)
    with pytest.raises(RoboReferError):
        decode_depth_png(content, 0.001, LIMIT)


# --- depth -----------------------------------------------------------------------------


def test_metric_depth_from_png() -> None:
    raw = np.array([[0, 1000], [1500, 65535]], np.uint16)
    depth = decode_depth_png(encoded(Image.fromarray(raw), "PNG"), 0.001, LIMIT)
    assert np.allclose(depth.metres(), [[np.nan, 1.0], [1.5, 65.535]], equal_nan=True)


def test_eight_bits_are_no_metric_depth() -> None:
    with pytest.raises(UnsupportedEncodingError, match="16-bit grey PNG"):
        decode_depth_png(encoded(Image.fromarray(QUARTERS), "PNG"), 0.001, LIMIT)


def test_metric_depth_from_floats() -> None:
    raw = np.array([[0.5, np.nan, -1.0], [np.inf, 2.0, 0.0]], "<f4")
    depth = decode_depth_float32(raw.tobytes(), 3, 2, LIMIT)
    assert np.allclose(
        depth.metres(), [[0.5, np.nan, np.nan], [np.nan, 2.0, np.nan]], equal_nan=True
    )
    with pytest.raises(RoboReferError, match="24 bytes, 23 were sent"):
        decode_depth_float32(raw.tobytes()[1:], 3, 2, LIMIT)


def test_depth_picture_becomes_grey() -> None:
    grey = np.arange(200, dtype=np.uint8).reshape(10, 20)
    three = np.dstack([grey] * 3)
    for array in (grey, three):
        assert np.array_equal(
            decode_grey(encoded(Image.fromarray(array), "PNG"), LIMIT).pixels, grey
        )


# --- base64 and digests ----------------------------------------------------------------


@given(st.binary(max_size=100))
def test_base64_with_prefix_and_line_breaks(data: bytes) -> None:
    text = base64.encodebytes(data).decode()
    assert bytes_from_base64(text, "it") == data
    assert bytes_from_base64(f"data:image/png;base64,{text}", "it") == data


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("http://169.254.169.254/latest", "fetches nothing"),
        ("file:///etc/passwd", "fetches nothing"),
        ("data:image/png,abc", "does not say"),
        ("a*b=", "not base64"),
        ("abc", "not base64"),
        ("é" * 4, "not base64"),
    ],
)
def test_what_is_not_base64_is_refused(text: str, reason: str) -> None:
    with pytest.raises(RoboReferError, match=reason):
        bytes_from_base64(text, "image")


def test_digests_tell_pictures_apart() -> None:
    pixels = np.arange(24, dtype=np.uint8)
    shapes = {Picture.of(pixels.reshape(shape)).digest for shape in ((4, 6), (6, 4), (2, 4, 3))}
    assert len(shapes) == 3
    assert (
        Picture.of(pixels.reshape(4, 6)[:, ::2]).digest
        == Picture.of(pixels.reshape(4, 6)[:, ::2].copy()).digest
    )


def test_bmp_is_read_and_cut_off_ones_are_refused() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (13, 9, 3), dtype=np.uint8)
    data = encoded(Image.fromarray(pixels), "BMP")
    assert np.array_equal(decode_rgb(data, LIMIT).pixels, pixels)
    with pytest.raises(InvalidImageError, match="cut off"):
        decode_rgb(data[:-40], LIMIT)
    with pytest.raises(InvalidImageError):
        decode_rgb(data[:30], LIMIT)


def test_depth_in_colours_is_shown_in_them_as_the_reference_does() -> None:
    grey = np.random.default_rng(0).integers(0, 256, (12, 16), dtype=np.uint8)
    shown = decode_relative_depth(encoded(Image.fromarray(grey), "PNG"), LIMIT).pixels
    assert np.array_equal(shown, grey)
    three = np.repeat(grey[..., None], 3, axis=2)
    assert np.array_equal(
        decode_relative_depth(encoded(Image.fromarray(three), "PNG"), LIMIT).pixels, grey
    )
    three[..., 2] = 255 - grey
    shown = decode_relative_depth(encoded(Image.fromarray(three), "PNG"), LIMIT).pixels
    assert np.array_equal(shown, three)
