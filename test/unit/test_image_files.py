# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Pictures and YAML of strangers: limits are those of the content, not of the file."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from roborefer_ros.camera_presets import load_preset
from roborefer_ros.errors import ConfigurationError
from roborefer_ros.files import read_yaml
from roborefer_ros.image_files import open_picture, read_picture
from roborefer_ros.launching import check_model
from roborefer_ros.pointing.calibration import read_calibration

READERS: list[Callable[[Path], Any]] = [
    lambda path: open_picture(path, "RGB"),
    lambda path: read_picture(path, cv2.IMREAD_UNCHANGED),
]


def huge_png(path: Path, width: int, height: int) -> None:
    """A 16-bit grey picture of zeros that is small as a file."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        check = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", check)

    head = struct.pack(">IIBBBBB", width, height, 16, 0, 0, 0, 0)
    rows = zlib.compress(bytes(1000), 9)
    content = chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + content)


@pytest.mark.parametrize("read", READERS)
def test_a_picture_is_read(tmp_path: Path, read: Callable[[Path], Any]) -> None:
    path = tmp_path / "a.png"
    cv2.imwrite(str(path), np.full((3, 5), 700, np.uint16))
    assert np.asarray(read(path)).shape[:2] == (3, 5)


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize("size", [(8193, 8192), (60000, 60000), (2**31 - 1, 2)])
def test_pictures_that_unfold_are_refused_by_their_header(
    tmp_path: Path, read: Callable[[Path], Any], size: tuple[int, int]
) -> None:
    huge_png(tmp_path / "a.png", *size)
    with pytest.raises(ConfigurationError, match=r"a\.png.*pixels"):
        read(tmp_path / "a.png")


@pytest.mark.parametrize("read", READERS)
def test_what_is_no_picture(tmp_path: Path, read: Callable[[Path], Any]) -> None:
    path = tmp_path / "a.png"
    path.write_text("text")
    with pytest.raises(ConfigurationError, match="is not an image"):
        read(path)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(ConfigurationError, match="named pipe"):
        read(path)


HOSTILE_YAML = {
    "not UTF-8": (b"a: \xff", "byte 0xff at offset 3"),
    "UTF-16": ("a: b".encode("utf-16"), "UTF-16"),
    "code": (b"a: !!python/object/apply:os.getcwd []", "is not YAML"),
    "deep": (b"[" * 2000, "is not YAML"),
    "a circle": (b"&a [*a]", "nested deeper"),
    "aliases of aliases": (
        b"a: &a [[], []]\n"
        + b"".join(b"%c: &%c [%s]\n" % (n + 1, n + 1, b",".join([b"*%c" % n] * 9))
                   for n in range(97, 109)),
        "stands for more than",
    ),
    "too large": (b"#" * (2**20 + 1), "more than the 1048576"),
}  # fmt: skip


@pytest.mark.parametrize("kind", HOSTILE_YAML)
def test_yaml_of_strangers(tmp_path: Path, kind: str) -> None:
    """Whoever reads it: presets, launch, node."""
    content, message = HOSTILE_YAML[kind]
    path = tmp_path / "file.yaml"
    path.write_bytes(content)
    for read in (read_yaml, lambda p: load_preset(str(p)), lambda p: check_model("", [str(p)])):
        with pytest.raises(ConfigurationError, match=message):
            read(path)


def test_the_node_leaves_such_files_to_rcl(tmp_path: Path) -> None:
    """Which has read them before, and says what is wrong."""
    checks = pytest.importorskip("roborefer_ros.nodes.parameter_checks", exc_type=ImportError)
    for content, _ in HOSTILE_YAML.values():
        path = tmp_path / "file.yaml"
        path.write_bytes(content)
        assert checks.unmatched_files(["--params-file", str(path)], "/roborefer") == []


def test_a_preset_whose_remappings_are_no_table(tmp_path: Path) -> None:
    path = tmp_path / "file.yaml"
    path.write_text("remappings: 5")
    with pytest.raises(ValueError, match="'remappings' must map"):
        load_preset(str(path))


def test_a_calibration_that_is_not_utf8(tmp_path: Path) -> None:
    (tmp_path / "confidence.json").write_bytes(b'{"curves": "\xe9"}')
    with pytest.raises(Exception, match="byte 0xe9 at offset 12"):
        read_calibration(tmp_path)
