# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Saved goals: mcap files with the frame and the instruction of a goal, as pictures to label.

A file holds one goal.  Taken from it are the first colour picture (``sensor_msgs/Image`` or
``CompressedImage``), the first depth picture (``16UC1``, ``mono16`` or ``32FC1``), and the words
of the first ``std_msgs/String`` on a topic that ends with ``instruction``.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from roborefer_ros.errors import ConfigurationError, DependencyMissingError
from roborefer_ros.files import MIB, open_regular, read_json, write_bytes, write_text

LOG = logging.getLogger(__name__)

#: folder of the pictures that were taken from saved goals
GOALS = "goals"

_MOST_FILES = 5000
_FILE_LIMIT = 256 * MIB
_MOST_MESSAGES = 2000
_PIXEL_LIMIT = 2**26
_LONGEST_INSTRUCTION = 2000

_IMAGE = "sensor_msgs/msg/Image"
_COMPRESSED = "sensor_msgs/msg/CompressedImage"
_STRING = "std_msgs/msg/String"

#: encoding -> channels, OpenCV's conversion to its order of channels
_COLOUR: dict[str, tuple[int, int | None]] = {
    "bgr8": (3, None),
    "rgb8": (3, cv2.COLOR_RGB2BGR),
    "bgra8": (4, cv2.COLOR_BGRA2BGR),
    "rgba8": (4, cv2.COLOR_RGBA2BGR),
    "mono8": (1, cv2.COLOR_GRAY2BGR),
}
_DEPTH = {"16UC1": np.uint16, "mono16": np.uint16, "32FC1": np.float32}


@dataclass
class SavedGoal:
    """What a file holds.

    Attributes:
        colour: ``[H, W, 3]`` uint8 in OpenCV's order of channels, or None.
        depth_mm: ``[H, W]`` uint16 millimetres, 0 without a reading, or None.
        instruction: Words, or empty.
    """

    colour: npt.NDArray[np.uint8] | None = None
    depth_mm: npt.NDArray[np.uint16] | None = None
    instruction: str = ""


def import_goals(folder: Path) -> int:
    """Take the pictures of a folder's mcap files into its sub-folder ``goals``.

    Files whose picture is there already are not opened again; damaged ones are told by a warning.

    Args:
        folder: With ``*.mcap``.

    Returns:
        Number of pictures that are new.

    Raises:
        DependencyMissingError: There are such files, and rosbags is not installed.
        ConfigurationError: There are too many.
    """
    files = sorted(folder.glob("*.mcap"))
    if len(files) > _MOST_FILES:
        raise ConfigurationError(
            f"{folder} holds {len(files)} mcap files, more than {_MOST_FILES}; label a part"
        )
    new = 0
    for file in files:
        target = folder / GOALS / f"{file.stem}.png"
        if target.exists():
            continue
        try:
            goal = read_goal(file)
            if goal.colour is None:
                raise ConfigurationError(f"{file} holds no colour picture")
            _write(goal, target)
        except DependencyMissingError:
            raise
        except ConfigurationError as error:
            LOG.warning("left out: %s", error)
            continue
        new += 1
    return new


def instruction_of(folder: Path, picture: str) -> str:
    """The words of the goal that a picture was taken from; empty for other pictures."""
    path = folder / picture
    if path.parent != folder / GOALS:
        return ""
    try:
        content = read_json(path.with_suffix(".json"), MIB)
    except ConfigurationError:
        return ""
    words = content.get("instruction") if isinstance(content, dict) else None
    return words[:_LONGEST_INSTRUCTION] if isinstance(words, str) else ""


def read_goal(file: Path) -> SavedGoal:
    """The frame and the words of an mcap file.

    Raises:
        DependencyMissingError: rosbags is not installed.
        ConfigurationError: The file is too large, damaged, or not of ROS 2.
    """
    with open_regular(file) as opened:
        size = opened.seek(0, 2)
    if size > _FILE_LIMIT:
        raise ConfigurationError(f"{file} has {size} bytes; a saved goal has at most {_FILE_LIMIT}")
    goal = SavedGoal()
    try:
        for topic, kind, message in _messages(file):
            _take(goal, topic, kind, message)
            if goal.colour is not None and goal.depth_mm is not None and goal.instruction:
                break
    except (ConfigurationError, DependencyMissingError):
        raise
    except Exception as error:  # readers raise anything on damaged files
        told = f"{type(error).__name__}: {error}"[:200]
        raise ConfigurationError(
            f"{file} cannot be read as an mcap file of ROS 2: {told}"
        ) from error
    return goal


def _messages(file: Path) -> Iterator[tuple[str, str, Any]]:
    try:
        from rosbags.rosbag2.storage_mcap import McapReader
        from rosbags.typesys import Stores, get_typestore
    except ImportError as error:
        raise DependencyMissingError(
            f"saved goals (mcap) need rosbags ({error}); pip install 'roborefer_ros[label]'"
        ) from error
    types = get_typestore(Stores.ROS2_HUMBLE)
    reader = McapReader(file)
    reader.open()
    try:
        wanted = [c for c in reader.connections if c.msgtype in (_IMAGE, _COMPRESSED, _STRING)]
        if not wanted:
            return
        for number, (connection, _, data) in enumerate(reader.messages(wanted)):
            if number >= _MOST_MESSAGES:
                return
            message = types.deserialize_cdr(data, connection.msgtype)
            yield connection.topic, connection.msgtype, message
    finally:
        reader.close()


def _take(goal: SavedGoal, topic: str, kind: str, message: Any) -> None:
    if kind == _STRING:
        if not goal.instruction and topic.rstrip("/").endswith("instruction"):
            goal.instruction = " ".join(str(message.data)[:_LONGEST_INSTRUCTION].split())
    elif kind == _COMPRESSED:
        if goal.colour is None and "depth" not in f"{topic} {message.format}".lower():
            decoded = cv2.imdecode(np.asarray(message.data, np.uint8), cv2.IMREAD_COLOR)
            goal.colour = None if decoded is None else np.asarray(decoded, np.uint8)
    elif goal.colour is None and message.encoding in _COLOUR:
        channels, conversion = _COLOUR[message.encoding]
        pixels = _pixels(message, topic, np.dtype(np.uint8), channels)
        turned = pixels if conversion is None else cv2.cvtColor(pixels, conversion)
        goal.colour = np.ascontiguousarray(turned, np.uint8)
    elif goal.depth_mm is None and message.encoding in _DEPTH:
        readings = _pixels(message, topic, np.dtype(_DEPTH[message.encoding]), 1)
        if readings.dtype == np.float32:
            known = np.isfinite(readings) & (readings > 0)
            readings = np.where(known, np.clip(readings * 1000.0, 0, 65535), 0)
        goal.depth_mm = readings.astype(np.uint16)


def _pixels(message: Any, topic: str, dtype: np.dtype[Any], channels: int) -> npt.NDArray[Any]:
    """``[H, W]`` or ``[H, W, C]`` of a message; its step may be longer than a line."""
    height, width, step = int(message.height), int(message.width), int(message.step)
    line = width * channels * dtype.itemsize
    data = np.asarray(message.data, np.uint8)
    if not 0 < width * height <= _PIXEL_LIMIT or step < line or data.size < step * height:
        raise ConfigurationError(
            f"{topic}: {width}x{height} pixels with a step of {step} do not fit {data.size} bytes"
        )
    rows = np.ascontiguousarray(data[: step * height].reshape(height, step)[:, :line])
    order = dtype.newbyteorder(">" if message.is_bigendian else "<")
    shape = (height, width) if channels == 1 else (height, width, channels)
    return rows.view(order).reshape(shape).astype(dtype)


def _write(goal: SavedGoal, target: Path) -> None:
    """Depth and words first: the picture's file says that all of it is there."""
    target.parent.mkdir(exist_ok=True)
    if goal.depth_mm is not None:
        write_bytes(target.with_name(f"{target.stem}_depth.png"), _png(goal.depth_mm))
    write_text(target.with_suffix(".json"), json.dumps({"instruction": goal.instruction}) + "\n")
    assert goal.colour is not None
    write_bytes(target, _png(goal.colour))


def _png(pixels: npt.NDArray[Any]) -> bytes:
    done, data = cv2.imencode(".png", pixels)
    assert done
    return data.tobytes()
