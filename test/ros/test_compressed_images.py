# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Compressed colour and depth, as image_transport's publishers write them, down to the pose."""

from __future__ import annotations

import array
import struct
import zlib
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import pytest
from rclpy.qos import qos_profile_sensor_data
from rclpy.serialization import serialize_message
from refer_graph import (
    CAMERA_FRAME,
    HEIGHT,
    WIDTH,
    Graph,
    graph_fixture,  # noqa: F401
    wait_until,
)
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from roborefer_ros.errors import InvalidImageError, UnsupportedEncodingError
from roborefer_ros.nodes.camera_topics import SerializedMessage, topic_states
from roborefer_ros.nodes.compressed_images import (
    decompressed,
    depth_from_compressed,
)
from roborefer_ros.nodes.image_conversion import depth_from_message, rgb_from_message
from roborefer_ros.nodes.interfaces import ReferPoint

Make = Callable[..., Graph]
#: depth_max 10 m and depth_quantization 100, the publisher's defaults
QUANT_A, QUANT_B = 10100.0, 1.0 - 10100.0 / 10.0
HEADER = struct.pack("<iff", 0, QUANT_A, QUANT_B)


def encode(pixels: Any, extension: str = ".png") -> bytes:
    """A picture with OpenCV, which takes blue first."""
    done, data = cv2.imencode(extension, np.ascontiguousarray(pixels))
    assert done
    return bytes(data)


def message(data: bytes, text: str) -> CompressedImage:
    msg = CompressedImage(format=text, data=array.array("B", data))
    msg.header.frame_id = CAMERA_FRAME
    return msg


def gradient() -> Any:
    """[24, 32, 3] RGB, smooth, so that JPEG keeps it; red, green and blue all differ."""
    v, u = np.mgrid[:24, :32]
    return np.dstack((200 - 2 * u, 60 + 2 * v, 20 + u + v)).astype(np.uint8)


def huge_png(width: int, height: int) -> bytes:
    """A whole PNG whose header says a size that nothing backs."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    header = struct.pack(">IIBBBBB", width, height, 16, 0, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def huge_jpeg(width: int, height: int) -> bytes:
    """A JPEG whose frame header says another size than it holds."""
    data = bytearray(encode(gradient(), ".jpg"))
    at = data.index(b"\xff\xc0") + 5
    data[at : at + 4] = struct.pack(">HH", height, width)
    return bytes(data)


def rgb_of(msg: CompressedImage) -> Any:
    image = decompressed(msg, "/cam/compressed")
    assert image.header == msg.header
    return rgb_from_message(image)


# --- colour ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "extension"),
    [
        ("bgr8; jpeg compressed bgr8", ".jpg"),
        ("rgb8; jpeg compressed bgr8", ".jpg"),
        ("rgb8; png compressed bgr8", ".png"),
        ("jpeg", ".jpg"),
        ("png", ".png"),
        ("jpg", ".jpg"),
        ("", ".jpg"),
    ],
)
def test_colour_has_its_channels_where_they_belong(text: str, extension: str) -> None:
    pixels = gradient()
    rgb = rgb_of(message(encode(pixels[..., ::-1], extension), text))
    assert rgb.shape == pixels.shape
    assert np.abs(rgb.astype(int) - pixels).max() <= (0 if extension == ".png" else 8)


def test_a_publisher_that_wrote_rgb_as_if_it_were_bgr_is_read_as_it_says() -> None:
    pixels = gradient()
    msg = message(encode(pixels), "rgb8; png compressed rgb8")
    np.testing.assert_array_equal(rgb_of(msg), pixels)


def test_a_fourth_channel_is_dropped() -> None:
    pixels = np.dstack((gradient()[..., ::-1], np.full((24, 32), 9, np.uint8)))
    rgb = rgb_of(message(encode(pixels), "bgra8; png compressed bgra8"))
    np.testing.assert_array_equal(rgb, gradient())


def test_grey_and_mosaics_become_colour() -> None:
    grey = gradient()[..., 0]
    rgb = rgb_of(message(encode(grey, ".png"), "mono8; png compressed mono8"))
    np.testing.assert_array_equal(rgb, np.dstack([grey] * 3))
    mosaic = np.zeros((24, 32), np.uint8)
    mosaic[::2, ::2] = 250  # red of RGGB
    rgb = rgb_of(message(encode(mosaic), "bayer_rggb8; png compressed "))
    np.testing.assert_array_equal(rgb[6, 6], (250, 0, 0))


def test_exif_turns_no_image() -> None:
    """The camera info describes the sensor's rows and columns."""
    exif = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"
    data = encode(gradient()[..., ::-1], ".jpg")
    data = data[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + data[2:]
    assert rgb_of(message(data, "jpeg")).shape == (24, 32, 3)


def test_padding_behind_a_jpeg_is_no_damage() -> None:
    data = encode(gradient(), ".jpg") + bytes(64)
    assert rgb_of(message(data, "jpeg")).shape == (24, 32, 3)


@pytest.mark.parametrize("extension", [".jpg", ".png"])
@pytest.mark.parametrize("share", [0.0, 0.02, 0.3, 0.6, 0.95, 0.99])
def test_a_cut_off_picture_is_an_error(extension: str, share: float) -> None:
    noise = np.random.default_rng(1).integers(0, 255, (48, 64, 3), np.uint8)
    data = encode(noise, extension)
    with pytest.raises(InvalidImageError, match="'/cam/compressed'"):
        rgb_of(message(data[: int(share * len(data))], extension[1:]))


@pytest.mark.parametrize("text", ["jpeg", "png", ""])
def test_bytes_that_are_no_picture_are_an_error(text: str) -> None:
    with pytest.raises(InvalidImageError, match="500 bytes that are no whole JPEG or PNG"):
        rgb_of(message(bytes(range(250)) * 2, text))


def test_flipped_bytes_of_a_png_are_an_error() -> None:
    data = bytearray(encode(gradient()))
    for at in range(40, len(data) - 12, 97):
        broken = data.copy()
        broken[at] ^= 0x55
        with pytest.raises(InvalidImageError):
            rgb_of(message(bytes(broken), "png"))


@pytest.mark.parametrize("data", [huge_png(1 << 30, 1 << 30), huge_png(9000, 9000)])
def test_a_png_with_more_pixels_than_any_camera_is_not_decoded(
    data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("decoded"))
    with pytest.raises(InvalidImageError):
        rgb_of(message(data, "png"))
    with pytest.raises(InvalidImageError):
        depth_from_compressed(message(HEADER + data, "16UC1; compressedDepth png"))


@pytest.mark.parametrize("size", [(65500, 65500), (9000, 9000), (0, 24)])
def test_a_jpeg_with_more_pixels_than_any_camera_is_not_decoded(
    size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("decoded"))
    with pytest.raises(InvalidImageError):
        rgb_of(message(huge_jpeg(*size), "jpeg"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("16UC1; compressedDepth png", "depth image"),
        ("16UC1; png compressed 16UC1", "depth image"),
        ("h264", "neither jpeg nor png"),
        ("bgr8; tiff compressed bgr8", "neither jpeg nor png"),
    ],
)
def test_other_formats_are_named(text: str, words: str) -> None:
    with pytest.raises(UnsupportedEncodingError, match=words):
        rgb_of(message(encode(gradient()), text))


def test_colour_of_16_bit_is_refused() -> None:
    with pytest.raises(UnsupportedEncodingError, match="16 bit"):
        rgb_of(message(encode(gradient().astype(np.uint16) * 257), "png"))


# --- depth -----------------------------------------------------------------------------


def quantised(metres: Any) -> Any:
    """What the publisher makes of 32FC1: truncated inverse depth, 0 where there is none."""
    near = metres < 10.0
    values = np.zeros(metres.shape, np.uint16)
    values[near] = (QUANT_A / metres[near] + QUANT_B).astype(np.uint16)
    return values


def metres_of(msg: CompressedImage) -> Any:
    return depth_from_message(decompressed(msg, "/d", depth=True)).metres()


@pytest.mark.parametrize(
    "text", ["16UC1; compressedDepth png", "16UC1; compressedDepth", "16UC1", "mono16"]
)
def test_millimetres_come_back_exactly(text: str) -> None:
    values = np.arange(24 * 32, dtype=np.uint16).reshape(24, 32) * 80
    # 16UC1 needs no quantisation: whatever stands there is not read.
    found, encoding = depth_from_compressed(message(b"\xff" * 12 + encode(values), text))
    assert encoding == "16UC1"
    np.testing.assert_array_equal(found, values)
    np.testing.assert_allclose(
        metres_of(message(HEADER + encode(values), text))[1], values[1] * 0.001, rtol=1e-6
    )


def test_metres_come_back_as_near_as_their_quantisation_allows() -> None:
    metres = np.linspace(0.3, 9.9, 24 * 32, dtype=np.float32).reshape(24, 32)
    metres[0, 0], metres[0, 1], metres[0, 2] = np.nan, 12.0, np.inf
    msg = message(HEADER + encode(quantised(metres)), "32FC1; compressedDepth png")
    found, encoding = depth_from_compressed(msg)
    assert (encoding, found.dtype) == ("32FC1", np.float32)
    assert np.isnan(found[0, :3]).all()
    # One step of the inverse depth A / z is z * z / A.
    off = np.abs(found - metres).reshape(-1)[3:]
    flat = metres.reshape(-1)[3:]
    assert (off <= 1.01 * found.reshape(-1)[3:] * flat / QUANT_A).all()
    assert off.max() > 1e-4  # it was quantised


def test_the_formula_of_the_quantisation() -> None:
    header = struct.pack("<iff", 0, 50.0, 5.0)
    values = np.array([[0, 5, 4, 30, 65535]], np.uint16)
    found, _ = depth_from_compressed(message(header + encode(values), "32FC1; compressedDepth png"))
    assert np.isnan(found[0, :3]).all()  # no reading, at infinity, behind the camera
    np.testing.assert_allclose(found[0, 3:], [2.0, 50.0 / 65530.0], rtol=1e-6)


@pytest.mark.parametrize(
    "header",
    [
        struct.pack("<iff", -1, QUANT_A, QUANT_B),
        struct.pack("<iff", 7, QUANT_A, QUANT_B),
        struct.pack("<iff", 0, 0.0, 0.0),
        struct.pack("<iff", 0, -3.0, 0.0),
        struct.pack("<iff", 0, float("nan"), 0.0),
        struct.pack("<iff", 0, float("inf"), 0.0),
        struct.pack("<iff", 0, QUANT_A, float("nan")),
    ],
)
def test_a_quantisation_that_is_none_is_an_error(header: bytes) -> None:
    data = header + encode(np.full((4, 4), 9, np.uint16))
    with pytest.raises(InvalidImageError, match="depthQuantA"):
        depth_from_compressed(message(data, "32FC1; compressedDepth png"))


@pytest.mark.parametrize("length", [0, 5, 12, 13, 40, -20, -5])
@pytest.mark.parametrize("encoding", ["16UC1", "32FC1"])
def test_cut_off_depth_is_an_error(length: int, encoding: str) -> None:
    values = np.random.default_rng(2).integers(0, 60000, (24, 32), np.uint16)
    data = (HEADER + encode(values))[:length]
    with pytest.raises(InvalidImageError, match="'/d'"):
        metres_of(message(data, f"{encoding}; compressedDepth png"))


def test_a_png_without_configuration_is_said_to_be_one() -> None:
    data = encode(np.full((4, 4), 9, np.uint16))
    with pytest.raises(InvalidImageError, match="without the 12 bytes"):
        depth_from_compressed(message(data, "16UC1; compressedDepth png"))


@pytest.mark.parametrize(
    "text", ["16UC1; compressedDepth rvl", "16UC1; png compressed 16UC1", "jpeg", "8UC3", ""]
)
def test_depth_in_other_formats_is_refused(text: str) -> None:
    data = HEADER + encode(np.full((4, 4), 9, np.uint16))
    with pytest.raises(UnsupportedEncodingError, match="compressedDepth png"):
        depth_from_compressed(message(data, text))


def test_depth_of_8_bit_and_as_jpeg_is_refused() -> None:
    text = "16UC1; compressedDepth png"
    with pytest.raises(UnsupportedEncodingError, match="8 bit"):
        depth_from_compressed(message(HEADER + encode(np.full((4, 4), 9, np.uint8)), text))
    with pytest.raises(InvalidImageError, match="no whole PNG"):
        depth_from_compressed(message(HEADER + encode(gradient(), ".jpg"), text))


# --- topics ----------------------------------------------------------------------------


def test_topics_are_named_as_image_transport_names_them() -> None:
    rules = {
        "rgb/image": "/cam/color",
        "depth/image": "/cam/depth/compressedDepth",
        "/cam/color/compressed": "/cam/jpeg",
    }
    packed = {"rgb_transport": "compressed", "depth_transport": "compressedDepth"}
    names = [t.name for t in topic_states(lambda name: rules.get(name, name), packed)]
    assert names == ["/cam/jpeg", "/cam/depth/compressedDepth", "rgb/camera_info"]
    rules.pop("/cam/color/compressed")
    names = [t.name for t in topic_states(lambda name: rules.get(name, name), packed)]
    assert names[0] == "/cam/color/compressed"
    plain = {"rgb_transport": "raw", "depth_transport": "raw"}
    states = topic_states(lambda name: f"/{name}", plain)
    assert [t.name for t in states[:2]] == ["/rgb/image", "/depth/image"]
    assert [t.kind for t in states] == [Image, Image, CameraInfo]


def test_a_compressed_message_tells_its_stamp_and_frame_but_no_size() -> None:
    msg = message(bytes(40), "bgr8; jpeg compressed bgr8")
    msg.header.stamp.sec = 3
    found = SerializedMessage.parse(serialize_message(msg), 5, CompressedImage)
    assert (found.stamp_ns, found.frame_id, found.size) == (3_000_000_000, CAMERA_FRAME, (0, 0))


# --- the graph -------------------------------------------------------------------------


def republish(graph: Graph, depth_encoding: str, spoil: Callable[[bytes], bytes] = bytes) -> None:
    """Make the graph's camera a compressed one, of the same names."""
    camera = graph.camera
    assert camera is not None
    rgb, depth = (
        camera.node.create_publisher(CompressedImage, name, qos_profile_sensor_data)
        for name in ("/rgb/image/compressed", "/depth/image/compressedDepth")
    )
    camera.encoding = depth_encoding

    def compress(colour: Image, ranges: Image, _: CameraInfo) -> None:
        pixels = np.frombuffer(colour.data, np.uint8).reshape(HEIGHT, WIDTH, 3)
        msg = message(spoil(encode(pixels[..., ::-1], ".jpg")), "rgb8; jpeg compressed bgr8")
        msg.header = colour.header
        rgb.publish(msg)
        values = np.frombuffer(ranges.data, "<f4" if depth_encoding == "32FC1" else "<u2")
        values = values.reshape(HEIGHT, WIDTH)
        if depth_encoding == "32FC1":
            values = quantised(values)
        msg = message(HEADER + encode(values), f"{depth_encoding}; compressedDepth png")
        msg.header = ranges.header
        depth.publish(msg)

    camera.silent = {"rgb/image", "depth/image"}
    camera.spoil = compress


PACKED = {"rgb_transport": "compressed", "depth_transport": "compressedDepth"}


@pytest.mark.parametrize("encoding", ["16UC1", "32FC1"])
@pytest.mark.parametrize("mode", ["sampled", "continuous"])
def test_a_compressed_camera_gives_a_pose(graph: Make, encoding: str, mode: str) -> None:
    g = graph(camera_mode=mode, **PACKED)
    republish(g, encoding)
    result = g.refer()
    assert (result.error_code, result.error_msg) == (0, "")
    assert result.pose.header.frame_id == CAMERA_FRAME
    assert result.pose.pose.position.z == pytest.approx(1.0, abs=0.001)


def test_damaged_colour_ends_the_goal_with_its_number(graph: Make) -> None:
    g = graph(**PACKED)
    republish(g, "16UC1", lambda data: data[:-40])
    result = g.refer()
    assert result.error_code == ReferPoint.Result.INVALID_IMAGE
    assert "'/rgb/image/compressed'" in result.error_msg


def test_a_camera_of_the_other_transport_is_told_with_the_parameter(graph: Make) -> None:
    g = graph(camera=False, frame_timeout_s=0.5)
    for name in ("/rgb/image/compressed", "/depth/image/compressedDepth"):
        g.client_node.create_publisher(CompressedImage, name, qos_profile_sensor_data)
    words = (
        "'/rgb/image/compressed' has one; set rgb_transport to compressed",
        "'/depth/image/compressedDepth' has one; set depth_transport to compressedDepth",
    )
    wait_until(lambda: all(text in g.refer().error_msg for text in words), timeout_s=30.0)
