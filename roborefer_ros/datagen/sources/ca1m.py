# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Captures of CA-1M (Apple's Cubify Anything), as folders or as the tar files of the release.

CAPTURE/STAMP.wide/image.png            colour
CAPTURE/STAMP.wide/depth.png            16 bit, millimetres (the device's)
CAPTURE/STAMP.wide/instances.json       boxes in the camera frame
CAPTURE/STAMP.wide/T_gravity.json       3x3
CAPTURE/STAMP.wide/image/K.json         3x3 (or STAMP.wide/K.json)
CAPTURE/STAMP.gt/RT.json, depth.png     pose; the laser scanner's depth, 0 where there is none
"""

from __future__ import annotations

import tarfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from roborefer_ros.datagen.engine import scene_rng
from roborefer_ros.datagen.scene import Array, Scene
from roborefer_ros.datagen.source import Loaded, SceneSkippedError
from roborefer_ros.datagen.sources import parsing
from roborefer_ros.errors import ConfigurationError
from roborefer_ros.files import MIB, decode_text, parse_json, path_inside, read_bytes

#: frames of a long capture: the first ones are dropped, then every n-th is taken
DROPPED, STRIDE = 20, 20
#: captures with fewer frames are taken whole
SHORT_CAPTURE = 60
_PICTURE_LIMIT = 64 * MIB
_WIDE, _GT = ".wide", ".gt"


@dataclass(frozen=True)
class Ca1mSource:
    """Frames of captures.

    Attributes:
        folder: With captures as folders or tar files; or one capture.
        scenes: Greatest number of scenes; 0 for all.
        stride: Every n-th frame of long captures is taken.
        seed: Of the start within a capture.
    """

    folder: Path
    scenes: int = 0
    stride: int = STRIDE
    seed: int = 0

    def names(self) -> Sequence[str]:
        """See ``Source``."""
        names = [
            f"{name}_{stamp}_wide"
            for name, capture in _captures(self.folder).items()
            for stamp in self._chosen(name, capture)
        ]
        if not names:
            raise ConfigurationError(
                f"{self.folder} holds no capture: no folder or tar file with STAMP.wide in it"
            )
        return names[: self.scenes] if self.scenes else names

    def _chosen(self, name: str, capture: Capture) -> Sequence[str]:
        stamps = capture.stamps
        if len(stamps) < SHORT_CAPTURE:
            return stamps
        start = DROPPED + int(scene_rng(self.seed, name, "start").integers(self.stride))
        return stamps[start :: self.stride]

    def _find(self, name: str) -> tuple[Capture, int]:
        capture_name, stamp, _ = name.rsplit("_", 2)
        capture = _captures(self.folder)[capture_name]
        return capture, capture.stamps.index(stamp)

    def load(self, name: str) -> Loaded:
        """See ``Source``."""
        capture, index = self._find(name)
        return _load(capture, index, name)

    def second_view(self, name: str) -> Loaded | None:
        """A frame of the capture 5 to 15 frames later, in short ones the next."""
        capture, index = self._find(name)
        rng = scene_rng(self.seed, name, "second view")
        step = int(rng.integers(5, 16)) if len(capture.stamps) >= SHORT_CAPTURE else 1
        if index + step >= len(capture.stamps):
            return None
        return _load(capture, index + step, name)

    def settings(self) -> dict[str, Any]:
        """See ``Source``."""
        return {
            "source": "ca1m", "folder": self.folder.name, "stride": self.stride, "seed": self.seed,
        }  # fmt: skip


class Capture:
    """The files of a capture.

    Args:
        path: Folder or tar file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._tar = tarfile.open(path) if path.is_file() else None  # noqa: SIM115
        self._members: dict[str, tarfile.TarInfo | None] = dict.fromkeys(
            _files(path) if self._tar is None else []
        )
        for member in self._tar or ():
            if member.isfile():
                self._members[member.name.removeprefix("./")] = member
        self._prefix: dict[str, str] = {}
        for name in self._members:
            parts = name.split("/")
            for depth, part in enumerate(parts[:-1]):
                if part.endswith(_WIDE):
                    stamp = part.removesuffix(_WIDE)
                    self._prefix.setdefault(stamp, "".join(f"{p}/" for p in parts[:depth]))
        self.stamps = sorted(self._prefix, key=lambda s: (len(s), s))

    def read(self, stamp: str, kind: str, name: str) -> bytes | None:
        """A file of a frame; None: it is not there.

        Raises:
            ConfigurationError: it is no regular file, or too large.
        """
        full = f"{self._prefix[stamp]}{stamp}{kind}/{name}"
        if full not in self._members:
            return None
        if self._tar is None:
            return read_bytes(path_inside(self.path, full), _PICTURE_LIMIT)
        member = self._members[full]
        assert member is not None
        if member.size > _PICTURE_LIMIT:
            raise ConfigurationError(f"{self.path}: {full} has {member.size} bytes")
        try:
            file = self._tar.extractfile(member)
            return file.read() if file is not None else None
        except (OSError, tarfile.TarError) as error:
            raise ConfigurationError(f"{self.path}: {full} cannot be read: {error}") from error

    def json(self, stamp: str, kind: str, *names: str) -> Any:
        """The value of the first of some JSON files; None: none is there."""
        for name in names:
            data = self.read(stamp, kind, name)
            if data is not None:
                where = f"{self.path}: {stamp}{kind}/{name}"
                return parse_json(decode_text(data, where), where)
        return None


def _files(folder: Path) -> list[str]:
    found = []
    for path in sorted(folder.glob(f"*{_WIDE}")) + sorted(folder.glob(f"*/*{_WIDE}")):
        gt = path.with_name(path.name.removesuffix(_WIDE) + _GT)
        for part in (path, gt):
            files = [*part.glob("*"), *part.glob("*/*")]
            found += [str(p.relative_to(folder)) for p in files if not p.is_dir()]
        found.append(f"{path.relative_to(folder)}/")
    return found


@lru_cache(maxsize=2)
def _captures(folder: Path) -> dict[str, Capture]:
    if not folder.is_dir():
        if folder.is_file() and folder.suffix == ".tar":
            return {parsing.safe_names([folder.stem])[0]: _opened(folder)}
        raise ConfigurationError(f"{folder} is not a directory")
    paths = [folder] if any(folder.glob(f"*{_WIDE}")) else sorted(folder.iterdir())
    usable = [p for p in paths if p.is_dir() or p.suffix == ".tar"]
    names = parsing.safe_names([p.stem if p.is_file() else p.name for p in usable])
    found = dict(zip(names, map(_opened, usable), strict=True))
    return {name: capture for name, capture in found.items() if capture.stamps}


def _opened(path: Path) -> Capture:
    try:
        return Capture(path)
    except (OSError, tarfile.TarError) as error:
        raise ConfigurationError(f"{path} is not a readable capture: {error}") from error


def _load(capture: Capture, index: int, name: str) -> Loaded:
    stamp = capture.stamps[index]
    picture = capture.read(stamp, _WIDE, "image.png")
    if picture is None:
        raise SceneSkippedError("no picture")
    rgb = parsing.colour_picture(picture)
    depth_file = capture.read(stamp, _WIDE, "depth.png")
    if depth_file is None:
        raise SceneSkippedError("no depth")
    depth = parsing.depth_metres(depth_file, 0.001)
    parsing.same_shape(rgb, depth)
    gravity = capture.json(stamp, _WIDE, "T_gravity.json")
    camera = parsing.camera(_intrinsics(capture, stamp, rgb.shape, depth.shape), gravity,
                            rgb.shape[1], rgb.shape[0])  # fmt: skip
    counts: Counter[str] = Counter()
    values = capture.json(stamp, _WIDE, "instances.json")
    if values is None:
        raise SceneSkippedError("no instances.json")
    boxes = parsing.boxes(values, counts)
    checked = depth
    laser = capture.read(stamp, _GT, "depth.png")
    if laser is not None:
        checked = parsing.depth_metres(laser, 0.001)
        parsing.same_shape(rgb, checked)
    pose = parsing.numbers(capture.json(stamp, _GT, "RT.json"), 4, 4)
    scene = Scene(name, camera, boxes, checked, str(capture.path.name), index, pose)
    return Loaded(scene, rgb, depth, +counts)


def _intrinsics(
    capture: Capture, stamp: str, picture: tuple[int, ...], depth: tuple[int, ...]
) -> Array | None:
    """K of the colour picture; from the depth's where only that is there."""
    value = capture.json(stamp, _WIDE, "image/K.json", "K.json", "image.K.json", "intrinsics.json")
    if value is not None:
        return parsing.intrinsics(value)
    K = parsing.intrinsics(capture.json(stamp, _WIDE, "depth/K.json"))
    if K is None:
        return None
    sx, sy = picture[1] / depth[1], picture[0] / depth[0]
    scaled: Array = np.diag([sx, sy, 1.0]) @ K
    # Pixel centres lie at integers, so that the edge of the picture is at -0.5.
    scaled[0, 2] += 0.5 * (sx - 1)
    scaled[1, 2] += 0.5 * (sy - 1)
    return scaled
