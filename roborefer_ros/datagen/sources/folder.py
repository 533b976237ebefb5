# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Any folder with ``rgb/``, ``depth/`` and ``scene.json``.

    scene.json     {"depth_unit_m": 0.001, "scenes": [SCENE, ...]}, or a list, or one SCENE
    SCENE          {"id", "rgb", "depth", "K", "gravity", "boxes": [BOX, ...],
                    "group"?, "world_T_camera"?}
    BOX            {"id", "category", "position", "scale", "R", "colour"?, "has_front"?, "points"?}

``rgb`` and ``depth`` are paths below the folder; without them ``rgb/ID.png`` (or .jpg) and
``depth/ID.png`` are taken.  Depth is 16 bit, in millimetres unless ``depth_unit_m`` says otherwise.
In place of boxes a scene may have ``masks`` (a picture of instance numbers) and ``detections``
(``{"mask", "label", "score"}``), see ``detections.py``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from roborefer_ros.datagen.scene import Box, Camera, Scene
from roborefer_ros.datagen.source import Loaded, SceneSkippedError
from roborefer_ros.datagen.sources import parsing
from roborefer_ros.datagen.sources.detections import boxes_from_detections, instance_masks
from roborefer_ros.errors import ConfigurationError
from roborefer_ros.files import MIB, path_inside, read_bytes, read_json

_SCENES = "scene.json"
_TABLE_LIMIT = 1024 * MIB
_PICTURE_LIMIT = 128 * MIB
_BOX_KEYS = ("boxes", "objects", "instances")


@dataclass(frozen=True)
class FolderSource:
    """Scenes of a folder.

    Attributes:
        folder: With ``scene.json``.
        scenes: Greatest number of scenes; 0 for all.
    """

    folder: Path
    scenes: int = 0

    def names(self) -> Sequence[str]:
        """See ``Source``."""
        names = list(_table(self.folder)[0])
        return names[: self.scenes] if self.scenes else names

    def load(self, name: str) -> Loaded:
        """See ``Source``."""
        entries, unit_m = _table(self.folder)
        return load_entry(self.folder, name, entries[name], unit_m)

    def second_view(self, name: str) -> Loaded | None:
        """The next scene of the same group."""
        entries, unit_m = _table(self.folder)
        group = entries[name].get("group") if isinstance(entries[name], dict) else None
        if not group:
            return None
        same = [n for n, e in entries.items() if isinstance(e, dict) and e.get("group") == group]
        following = same[same.index(name) + 1 :][:1]
        if not following:
            return None
        return load_entry(self.folder, following[0], entries[following[0]], unit_m)

    def settings(self) -> dict[str, Any]:
        """See ``Source``."""
        return {"source": "boxes", "folder": self.folder.name}


@lru_cache(maxsize=2)
def _table(folder: Path) -> tuple[dict[str, Any], float]:
    value = read_json(folder / _SCENES, _TABLE_LIMIT)
    unit_m = 0.001
    if isinstance(value, dict):
        unit = value.get("depth_unit_m", unit_m)
        if isinstance(unit, bool) or not isinstance(unit, int | float) or not 0 < unit <= 1000:
            raise ConfigurationError(f"{folder / _SCENES}: depth_unit_m is {unit!r}, not metres")
        unit_m = float(unit)
        value = value.get("scenes", value.get("frames", [value]))
    if not isinstance(value, list):
        raise ConfigurationError(f"{folder / _SCENES} holds no list of scenes")
    ids = [
        str(entry["id"]) if isinstance(entry, dict) and "id" in entry else f"{index:06d}"
        for index, entry in enumerate(value)
    ]
    return dict(zip(parsing.safe_names(ids), value, strict=True)), unit_m


def load_entry(folder: Path, name: str, entry: Any, unit_m: float) -> Loaded:
    """One scene of the table.

    Raises:
        SceneSkippedError, ConfigurationError: it is damaged or incomplete.
    """
    if not isinstance(entry, dict):
        raise SceneSkippedError("entry is no object")
    rgb = parsing.colour_picture(_content(folder, entry, "rgb", name, (".png", ".jpg", ".jpeg")))
    depth = parsing.depth_metres(_content(folder, entry, "depth", name, (".png", ".tiff")), unit_m)
    parsing.same_shape(rgb, depth)
    given = entry.get("camera")
    view = given if isinstance(given, dict) else entry
    camera = parsing.camera(
        view.get("K", view.get("intrinsics")),
        view.get("gravity", view.get("T_gravity")),
        rgb.shape[1],
        rgb.shape[0],
    )
    counts: Counter[str] = Counter()
    scene = Scene(name, camera, _boxes(folder, entry, camera, depth, counts), depth)
    pose = parsing.numbers(entry.get("world_T_camera"), 4, 4)
    scene = replace(scene, group=str(entry.get("group", "")), world_T_camera=pose)
    return Loaded(scene, rgb, depth, +counts)


def _boxes(
    folder: Path, entry: dict[str, Any], camera: Camera, depth: Any, counts: Counter[str]
) -> tuple[Box, ...]:
    if "detections" in entry:
        data = _content(folder, entry, "masks", str(entry.get("id", "")), (".png",))
        masks = instance_masks(data, entry["detections"], counts)
        return boxes_from_detections(masks, depth, camera, counts)
    values = next((entry[key] for key in _BOX_KEYS if key in entry), None)
    return parsing.boxes(values, counts)


def _content(
    folder: Path, entry: dict[str, Any], kind: str, name: str, endings: Sequence[str]
) -> bytes:
    given = entry.get(kind, entry.get("image") if kind == "rgb" else None)
    if given is None:
        stems = [str(entry.get("id", name)), name]
        names = [f"{kind}/{stem}{ending}" for stem in stems for ending in endings]
        given = next((n for n in names if ".." not in n and (folder / n).is_file()), None)
        if given is None:
            raise SceneSkippedError(f"no {kind} picture")
    elif isinstance(given, str) and not (folder / given).is_file():
        if "/" not in given and (folder / kind / given).is_file():
            given = f"{kind}/{given}"
        elif ".." not in given and not given.startswith("/"):
            raise SceneSkippedError(f"{kind} picture is missing")
    return read_bytes(path_inside(folder, given), _PICTURE_LIMIT)
