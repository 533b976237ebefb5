# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Saved goals: pictures, depth and words out of mcap files, also of damaged ones."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from roborefer_ros.errors import ConfigurationError
from roborefer_ros.training.label.goals import import_goals, instruction_of, read_goal
from roborefer_ros.training.label.pictures import find_pictures


def write_goal(
    target: Path, rgb: np.ndarray, depth: np.ndarray, words: str, encoding: str = "rgb8"
) -> Path:
    """An mcap file as a recorder of ROS 2 writes it."""
    types = get_typestore(Stores.ROS2_HUMBLE)
    known: dict[str, Any] = types.types
    stamp = known["builtin_interfaces/msg/Time"](sec=1, nanosec=0)
    header = known["std_msgs/msg/Header"](stamp=stamp, frame_id="camera")

    def image(pixels: np.ndarray, encoding: str) -> Any:
        data = np.frombuffer(np.ascontiguousarray(pixels).tobytes(), np.uint8)
        return known["sensor_msgs/msg/Image"](
            header=header, height=pixels.shape[0], width=pixels.shape[1], encoding=encoding,
            is_bigendian=0, step=len(data) // pixels.shape[0], data=data,
        )  # fmt: skip

    messages = {
        "/roborefer/instruction": known["std_msgs/msg/String"](data=words),
        "/camera/color/image_raw": image(rgb, encoding),
        "/camera/depth/image_raw": image(depth, "32FC1" if depth.dtype == np.float32 else "16UC1"),
    }
    bag = target.with_name(f"{target.stem}_bag")
    with Writer(bag, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        for topic, message in messages.items():
            kind = message.__msgtype__
            connection = writer.add_connection(topic, kind, typestore=types)
            writer.write(connection, 1, types.serialize_cdr(message, kind))
    next(bag.glob("*.mcap")).rename(target)
    return target


@pytest.fixture
def rgb() -> np.ndarray:
    """A picture in which red and blue are told apart."""
    pixels = np.zeros((12, 16, 3), np.uint8)
    pixels[..., 0] = 200
    return pixels


def test_a_saved_goal_becomes_a_picture_with_depth_and_words(
    tmp_path: Path, rgb: np.ndarray
) -> None:
    depth = np.full((12, 16), 0.75, np.float32)
    depth[0, 0] = np.nan
    write_goal(tmp_path / "a.mcap", rgb, depth, "the glass  on the left")
    assert import_goals(tmp_path) == 1
    assert import_goals(tmp_path) == 0
    (picture,) = find_pictures(tmp_path)
    assert picture.name == "goals/a.png"
    assert picture.depth is not None
    assert cv2.imread(str(tmp_path / picture.name))[5, 5].tolist() == [0, 0, 200]
    millimetres = cv2.imread(str(picture.depth), cv2.IMREAD_UNCHANGED)
    assert millimetres[5, 5] == 750
    assert millimetres[0, 0] == 0
    assert instruction_of(tmp_path, picture.name) == "the glass on the left"


def test_damaged_goals_are_left_out_with_a_warning(
    tmp_path: Path, rgb: np.ndarray, caplog: pytest.LogCaptureFixture
) -> None:
    whole = write_goal(tmp_path / "a.mcap", rgb, np.ones((12, 16), np.uint16), "x").read_bytes()
    (tmp_path / "cut.mcap").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "empty.mcap").write_bytes(b"")
    with caplog.at_level(logging.WARNING):
        assert import_goals(tmp_path) == 1
    assert "cut.mcap" in caplog.text
    assert "empty.mcap" in caplog.text


def test_an_image_that_says_more_than_it_holds_is_refused(tmp_path: Path, rgb: np.ndarray) -> None:
    file = write_goal(tmp_path / "a.mcap", rgb, np.ones((12, 16), np.uint16), "x", "rgba8")
    with pytest.raises(ConfigurationError, match="do not fit"):
        read_goal(file)
