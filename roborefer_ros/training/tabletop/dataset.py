# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Reading RefSpatial-style conversations as single questions about one image.

The layout is that of RefSpatial (LLaVA-style JSON, several turns an image).  At
inference every question is asked alone, so the turns are taken apart here: each is
trained as if it were the first, and they share the image (see ``packing``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from roborefer_ros.files import MIB, path_inside, read_json
from roborefer_ros.image_files import open_picture

_TABLE_LIMIT = 1024 * MIB

_PLACEHOLDERS = ("<image>", "<depth>", "<vila/video>")

#: patches with less of their area on one object count as background in the auxiliary target
_MIN_PATCH_COVERAGE = 0.15


@dataclass(frozen=True)
class Turn:
    """One question and its answer, placeholders removed.

    Attributes:
        question, answer: The texts.
        kind: Of the question; "" if it is not told.
        mentions: ``(end, instances)``: what the first ``end`` characters of the question end with
            names these instances.
        steps: ``(words, (x, y))``: what to look for first, and where it is.
    """

    question: str
    answer: str
    kind: str = ""
    mentions: tuple[tuple[int, tuple[int, ...]], ...] = ()
    steps: tuple[tuple[str, tuple[float, float]], ...] = ()


@dataclass(frozen=True)
class Sample:
    """One image with everything asked about it; paths are relative to the dataset's root."""

    image: Path
    depth: Path | None
    instance: Path | None
    turns: tuple[Turn, ...]
    instances: tuple[dict[str, Any], ...] = ()


def read_samples(root: Path) -> list[Sample]:
    """Read ``root/questions.json``.

    Raises:
        ConfigurationError: there is no such file, it is not JSON, or a picture is missing or
            outside the data set.
        ValueError: a sample lacks a field, or turns do not alternate human, gpt.
    """
    path = root / "questions.json"
    entries = read_json(path, _TABLE_LIMIT)
    try:
        return [_sample(entry, root) for entry in entries]
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is no list of conversations: {error!r}") from error


def _sample(entry: dict[str, Any], root: Path) -> Sample:
    conversation = entry["conversations"]
    if len(conversation) % 2:
        raise ValueError(f"sample {entry['id']!r}: {len(conversation)} turns do not pair up")
    about = entry.get("questions", [])
    turns = []
    for index in range(0, len(conversation), 2):
        human, gpt = conversation[index : index + 2]
        if (human["from"], gpt["from"]) != ("human", "gpt"):
            raise ValueError(f"sample {entry['id']!r}: turn {index} is not human then gpt")
        more = about[index // 2] if index // 2 < len(about) else {}
        turns.append(
            Turn(
                strip_placeholders(human["value"]),
                gpt["value"].strip(),
                more.get("kind", ""),
                tuple((end, tuple(ids)) for end, ids in more.get("mentions", ())),
                tuple((words, (x, y)) for words, (x, y) in more.get("steps", ())),
            )
        )
    return Sample(
        image=_inside(root, "image", entry["image"]),
        depth=_inside(root, "depth", entry["depth"]) if entry.get("depth") else None,
        instance=_inside(root, "instance", entry["instance"]) if entry.get("instance") else None,
        turns=tuple(turns),
        instances=tuple(entry.get("instances", ())),
    )


def _inside(root: Path, folder: str, name: Any) -> Path:
    """Relative path of a picture that the table names."""
    path_inside(root / folder, name, root=root)
    return Path(folder) / name


def strip_placeholders(text: str) -> str:
    """Remove media placeholders with one following newline each, and surrounding blanks."""
    for placeholder in _PLACEHOLDERS:
        text = text.replace(placeholder + "\n", "").replace(placeholder, "")
    return text.strip()


def read_tile(path: Path, size: int, mode: str) -> npt.NDArray[np.uint8]:
    """Read a picture as one ``[size, size]`` tile, resized as the processor does it."""
    picture = open_picture(path, mode)
    # Width first, then height: the pass order of the reference's Pillow (see processing.py).
    tile = picture.resize((size, picture.height)).resize((size, size))
    return np.asarray(tile, dtype=np.uint8)


@dataclass(frozen=True)
class PatchTargets:
    """What each patch of the tower shows, for auxiliary supervision.

    Attributes:
        colour, shape: ``[G, G]`` int64 class per patch, 0 = no object.
        centre: ``[G, G, 2]`` float32 normalised centroid of the patch's object.
        ground: ``[G, G, 2]`` float32 its place on the table, metres to the right of the camera
            and forward from 0.75 m in front of it; NaN where it is not known.
    """

    colour: npt.NDArray[np.int64]
    shape: npt.NDArray[np.int64]
    centre: npt.NDArray[np.float32]
    ground: npt.NDArray[np.float32]


#: middle of the table, metres in front of the camera
_FORWARD_M = 0.75


def patch_targets(
    instance: npt.NDArray[np.uint8],
    instances: Sequence[dict[str, Any]],
    grid: int,
    colours: Sequence[str],
    shapes: Sequence[str],
) -> PatchTargets:
    """Reduce an instance map to the object that covers most of each patch.

    Args:
        instance: ``[S, S]`` instance ids at the tile's size (nearest neighbour).
        instances: their descriptions (``id``, ``colour``, ``shape`` and
            ``pixel_centroid_normalised``).
        grid: patches along each side; S must be a multiple.
        colours: Names of the colours; class k + 1 is the k-th name.
        shapes: Names of the shapes; class k + 1 is the k-th name.
    """
    side = instance.shape[0] // grid
    blocks = instance.reshape(grid, side, grid, side).transpose(0, 2, 1, 3).reshape(grid, grid, -1)
    best = np.full((grid, grid), side * side * _MIN_PATCH_COVERAGE)
    colour = np.zeros((grid, grid), np.int64)
    shape = np.zeros((grid, grid), np.int64)
    centre = np.zeros((grid, grid, 2), np.float32)
    ground = np.full((grid, grid, 2), np.nan, np.float32)
    for item in instances:
        area = (blocks == item["id"]).sum(-1)
        wins = area > best
        best[wins] = area[wins]
        colour[wins] = colours.index(item["colour"]) + 1
        shape[wins] = shapes.index(item["shape"]) + 1
        centre[wins] = item["pixel_centroid_normalised"]
        if "ground_m" in item:
            right, forward = item["ground_m"]
            ground[wins] = right, forward - _FORWARD_M
    return PatchTargets(colour, shape, centre, ground)
