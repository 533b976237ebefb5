# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Encodings of cameras, checked on numbers: which channel, which pixel, which byte order."""

from __future__ import annotations

import array
from typing import Any

import numpy as np
import pytest
from sensor_msgs.msg import Image

from roborefer_ros.errors import InvalidImageError, UnsupportedEncodingError
from roborefer_ros.nodes.image_conversion import depth_from_message, rgb_from_message

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)
#: (Y, U, V) of ITU-R BT.601 in video range
YUV = {RED: (81, 90, 240), GREEN: (145, 54, 34), BLUE: (41, 240, 110)}
WIDTH, HEIGHT = 8, 6


def message(pixels: Any, encoding: str, *, height: int = 0, big: bool = False) -> Image:
    pixels = np.ascontiguousarray(pixels)
    msg = Image(height=height or pixels.shape[0], width=pixels.shape[1], encoding=encoding)
    msg.step, msg.is_bigendian = pixels.strides[0], int(big)
    msg.data = array.array("B", pixels.tobytes())
    return msg


def padded(msg: Image, bytes_per_row: int) -> Image:
    """The same with rubbish behind every row."""
    rows = np.frombuffer(msg.data, np.uint8).reshape(-1, msg.step)
    wide = np.pad(rows, ((0, 0), (0, bytes_per_row)), constant_values=171)
    msg.step += bytes_per_row
    msg.data = array.array("B", wide.tobytes())
    return msg


def assert_colour(msg: Image, colour: tuple[int, int, int], off: int = 3) -> None:
    rgb = rgb_from_message(msg)
    assert rgb.shape == (msg.height, msg.width, 3)
    assert rgb.dtype == np.uint8
    assert rgb.flags.c_contiguous
    assert np.abs(rgb[1:-1, 1:-1].astype(int) - colour).max() <= off


COLOURS = pytest.mark.parametrize("colour", [RED, GREEN, BLUE])


@COLOURS
@pytest.mark.parametrize("encoding", ["uyvy", "yuv422", "yuyv", "yuv422_yuy2", "UYVY"])
@pytest.mark.parametrize("padding", [0, 5])
def test_packed_yuv(colour: tuple[int, int, int], encoding: str, padding: int) -> None:
    y, u, v = YUV[colour]
    order = (u, y, v, y) if encoding.lower() in ("uyvy", "yuv422") else (y, u, y, v)
    pixels = np.tile(np.array(order, np.uint8), (HEIGHT, WIDTH // 2)).reshape(HEIGHT, WIDTH, 2)
    assert_colour(padded(message(pixels, encoding), padding), colour)


@COLOURS
@pytest.mark.parametrize("encoding", ["nv12", "nv21"])
@pytest.mark.parametrize("padding", [0, 8])
def test_semi_planar_yuv(colour: tuple[int, int, int], encoding: str, padding: int) -> None:
    y, u, v = YUV[colour]
    pair = (u, v) if encoding == "nv12" else (v, u)
    pixels = np.full((HEIGHT * 3 // 2, WIDTH), y, np.uint8)
    pixels[HEIGHT:] = np.tile(pair, (HEIGHT // 2, WIDTH // 2))
    assert_colour(padded(message(pixels, encoding, height=HEIGHT), padding), colour)


@COLOURS
def test_the_step_of_an_average_pixel(colour: tuple[int, int, int]) -> None:
    """One and a half bytes: rows are as wide as the image all the same."""
    y, u, v = YUV[colour]
    pixels = np.full((HEIGHT * 3 // 2, WIDTH), y, np.uint8)
    pixels[HEIGHT:] = np.tile((u, v), (HEIGHT // 2, WIDTH // 2))
    msg = message(pixels, "nv12", height=HEIGHT)
    msg.step = WIDTH * 3 // 2
    assert_colour(msg, colour)


@COLOURS
@pytest.mark.parametrize("padding", [0, 6])
def test_nv24(colour: tuple[int, int, int], padding: int) -> None:
    y, u, v = YUV[colour]
    plane = np.full((HEIGHT, WIDTH + padding), y, np.uint8)
    chroma = np.tile(np.array((u, v), np.uint8), (HEIGHT, WIDTH + padding))
    msg = Image(height=HEIGHT, width=WIDTH, step=WIDTH + padding, encoding="nv24")
    msg.data = array.array("B", plane.tobytes() + chroma.tobytes())
    assert_colour(msg, colour)


def mosaic(pattern: str, colour: tuple[int, int, int], dtype: Any, full: int) -> Any:
    """What a sensor with the filters ``pattern`` reads of a coloured wall."""
    values = {"r": colour[0], "g": colour[1], "b": colour[2]}
    tile = np.array([values[c] for c in pattern], np.float64).reshape(2, 2) / 255 * full
    return np.tile(tile.astype(dtype), (HEIGHT // 2, WIDTH // 2))


@COLOURS
@pytest.mark.parametrize("pattern", ["rggb", "bggr", "gbrg", "grbg"])
def test_bayer(colour: tuple[int, int, int], pattern: str) -> None:
    assert_colour(message(mosaic(pattern, colour, "u1", 255), f"bayer_{pattern}8"), colour)
    for order in "<>":
        pixels = mosaic(pattern, colour, f"{order}u2", 65535)
        assert_colour(message(pixels, f"bayer_{pattern}16", big=order == ">"), colour)


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize(
    ("encoding", "channels"),
    [
        ("rgb16", (65535, 25700, 257)),
        ("bgr16", (257, 25700, 65535)),
        ("rgba16", (65535, 25700, 257, 9)),
        ("bgra16", (257, 25700, 65535, 9)),
    ],
)
def test_sixteen_bit(encoding: str, channels: tuple[int, ...], big: bool) -> None:
    pixels = np.tile(np.array(channels, ">u2" if big else "<u2"), (HEIGHT, WIDTH, 1))
    assert_colour(message(pixels, encoding, big=big), (255, 100, 1), off=0)


@pytest.mark.parametrize("big", [False, True])
def test_grey(big: bool) -> None:
    pixels = np.full((HEIGHT, WIDTH), 25700, ">u2" if big else "<u2")
    assert_colour(message(pixels, "mono16", big=big), (100, 100, 100), off=0)
    assert_colour(message(np.full((HEIGHT, WIDTH), 7, "u1"), "mono8"), (7, 7, 7), off=0)


@pytest.mark.parametrize(
    ("encoding", "words"),
    [
        ("8UC3", "no colour order: publish the image as bgr8 or rgb8"),
        ("8UC4", "no colour order"),
        ("16UC3", "no colour order"),
        ("16UC1", "depth image; remap"),
        ("32FC1", "depth image; remap"),
        ("jpeg", "none of those that are converted"),
        ("", "none of those that are converted"),
    ],
)
def test_what_has_no_colour_says_what_to_do(encoding: str, words: str) -> None:
    msg = message(np.zeros((HEIGHT, WIDTH, 4), np.float32), encoding)
    with pytest.raises(UnsupportedEncodingError, match=words) as error:
        rgb_from_message(msg, "/cam/image")
    assert "'/cam/image'" in str(error.value)
    assert "debayer" not in str(error.value)


@pytest.mark.parametrize("encoding", ["yuyv", "uyvy", "nv12", "nv21"])
def test_shared_colour_needs_even_sizes(encoding: str) -> None:
    pixels = np.zeros((9, 7, 2), np.uint8)
    with pytest.raises(InvalidImageError, match="7x9"):
        rgb_from_message(message(pixels, encoding))


@pytest.mark.parametrize("encoding", ["rgb8", "yuyv", "nv12", "nv24", "bayer_rggb16", "mono16"])
def test_too_little_data_and_wrong_steps(encoding: str) -> None:
    msg = Image(height=HEIGHT, width=WIDTH, step=WIDTH * 6, encoding=encoding)
    msg.data = array.array("B", bytes(20))
    with pytest.raises(InvalidImageError, match="holds 20"):
        rgb_from_message(msg)
    msg.step, msg.data = 1, array.array("B", bytes(1000))
    with pytest.raises(InvalidImageError, match="step is 1"):
        rgb_from_message(msg)
    msg.height = 0
    with pytest.raises(InvalidImageError, match="8x0"):
        rgb_from_message(msg)


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize(("encoding", "kind"), [("16UC1", "u2"), ("mono16", "u2"), ("32FC1", "f4")])
def test_depth_in_either_byte_order(encoding: str, kind: str, big: bool) -> None:
    raw = np.arange(1, HEIGHT * WIDTH + 1).reshape(HEIGHT, WIDTH)
    msg = message(raw.astype((">" if big else "<") + kind), encoding, big=big)
    metres = raw / 1000 if kind == "u2" else raw
    np.testing.assert_allclose(depth_from_message(padded(msg, 3)).metres(), metres, rtol=1e-6)


def test_depth_with_a_step_that_is_too_small_names_its_topic() -> None:
    msg = message(np.ones((HEIGHT, WIDTH), np.uint16), "16UC1")
    msg.step = WIDTH
    with pytest.raises(InvalidImageError, match="'/d': .* its step is 8"):
        depth_from_message(msg, "/d")
