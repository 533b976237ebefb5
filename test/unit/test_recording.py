# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Recordings: what is read, and what is refused with a reason."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from roborefer_ros.recording import DEFAULT_FRAME, RecordingError, read_recording


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A small sound recording."""
    camera = {
        "width": 4, "height": 3, "fx": 5.0, "fy": 5.0, "cx": 1.5, "cy": 1.0,
        "depth_scale": 0.0002, "frame": "colour optical, registered",
    }  # fmt: skip
    (tmp_path / "camera.json").write_text(json.dumps(camera))
    cv2.imwrite(str(tmp_path / "rgb.png"), np.full((3, 4, 3), (10, 20, 30), np.uint8))
    depth = np.full((3, 4), 5000, np.uint16)
    depth[0, 0] = 0
    cv2.imwrite(str(tmp_path / "depth.png"), depth)
    return tmp_path


def test_units_and_channels(folder: Path) -> None:
    recording = read_recording(folder)
    assert recording.rgb[0, 0].tolist() == [30, 20, 10]  # OpenCV wrote BGR
    assert np.isnan(recording.depth_m[0, 0])
    np.testing.assert_allclose(recording.depth_m[1:], 1.0, rtol=1e-6)
    assert recording.frame_id == DEFAULT_FRAME  # a description is no frame


def spoil_camera(folder: Path, **changes: object) -> None:
    camera = json.loads((folder / "camera.json").read_text())
    (folder / "camera.json").write_text(json.dumps({**camera, **changes}))


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda f: (f / "rgb.png").unlink(), "rgb.png"),
        (lambda f: (f / "depth.png").unlink(), "depth.png is missing"),
        (lambda f: (f / "depth.png").write_bytes(b"not a png"), "not an image"),
        (lambda f: (f / "camera.json").write_text("{"), "camera.json"),
        (lambda f: (f / "camera.json").write_text("[]"), "camera.json"),
        (lambda f: (f / "camera.json").write_text('{"width": 4}'), "height"),
        (lambda f: spoil_camera(f, fx=0.0), "fx must be positive"),
        (lambda f: spoil_camera(f, fx=float("nan")), "fx must be positive"),
        (lambda f: spoil_camera(f, width=5), "5x3"),
        (
            lambda f: cv2.imwrite(str(f / "depth.png"), np.zeros((3, 4), np.uint8)),
            "16 bit",
        ),
    ],
)
def test_what_is_wrong_is_said(folder: Path, spoil: Callable[[Path], object], words: str) -> None:
    spoil(folder)
    with pytest.raises(RecordingError, match=words):
        read_recording(folder)
