# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""What a checkpoint is, from its configuration and the headers of its files.

The published checkpoints of one size share their shapes.  What tells their training stages apart
is the depth branch, which begins as a copy of the RGB branch: depth alignment trains its projector
alone, supervised fine-tuning (SFT) everything (arXiv 2506.04308, section 3).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from roborefer_ros.models.roborefer.checkpoint import resolve_folder
from roborefer_ros.models.roborefer.configuration import (
    RoboReferConfig,
    downsampling,
    part_folders,
)
from roborefer_ros.models.roborefer.weights import TOWER_PREFIX, weight_files
from roborefer_ros.models.safetensors_file import SafetensorsFile

#: hidden width of the language model -> name of the published size
_SIZES = {1536: "2B", 3584: "8B"}

_LAYER = re.compile(r"model\.layers\.(\d+)\.")

#: stage -> what it means for whoever wanted RoboRefer's SFT weights
STAGES = {
    "SFT": "fine-tuned: both towers and both projectors differ",
    "depth alignment": (
        "the depth tower is still the RGB tower, only its projector was trained: a *-Depth-Align "
        "checkpoint, or a fine-tuning that left the towers alone; RoboRefer-*-SFT trains all parts"
    ),
    "base": (
        "the depth branch is a copy of the RGB branch: an NVILA-*-Depth base that has learned "
        "nothing about depth or pointing; take Zhoues/RoboRefer-*-SFT"
    ),
    "RGB only": (
        "there is no depth branch: an NVILA base or an RGB fine-tuning; RoboRefer-*-SFT has one, "
        "and its published RGB-D results need it"
    ),
    "shared tower": "depth goes through the RGB tower; the published checkpoints have two towers",
}


@dataclass(frozen=True)
class Identity:
    """What a checkpoint is.

    Attributes:
        folder: Folder that holds ``config.json``.
        size: "2B", "8B" or "no published size".
        mode: ``dynamic`` (2B) or ``dynamic_s2`` (8B).
        stage: Key of ``STAGES``.
        stored: Types of the weights in the files.
        weights: Number of weights in the files.
        problems: Why it is not a whole checkpoint of one model.
    """

    folder: Path
    size: str
    mode: str
    stage: str
    stored: tuple[str, ...]
    weights: int
    problems: tuple[str, ...] = ()

    @property
    def is_sft(self) -> bool:
        """Whether it can be one of the published SFT checkpoints."""
        return self.stage == "SFT" and not self.problems

    def describe(self) -> str:
        """One line for a report."""
        stored = ", ".join(self.stored) or "unknown type"
        return (
            f"{self.size}, {self.mode}, {self.weights / 1e9:.3g} billion weights stored as "
            f"{stored}; {self.stage}: {STAGES[self.stage]}"
        )


class _Part:
    """The open files of a part."""

    def __init__(self, folder: Path) -> None:
        self.files = [SafetensorsFile(path) for path in weight_files(folder)]
        self.where = {
            name.removeprefix(TOWER_PREFIX): (file, name)
            for file in self.files
            for name in file.tensors
        }

    def shape(self, name: str) -> tuple[int, ...] | None:
        """Sizes of a weight; None where it is not there."""
        found = self.where.get(name)
        return None if found is None else found[0].tensors[found[1]].shape

    def read(self, name: str) -> torch.Tensor:
        """The values of a weight."""
        file, key = self.where[name]
        return file.read(key)

    def close(self) -> None:
        """Close the files."""
        for file in self.files:
            file.close()


def identify(source: str | Path, revision: str | None = None) -> Identity:
    """Tell what a checkpoint is; no network is built and only a few weights are read.

    Args:
        source: Folder or hub id.
        revision: Revision of a hub id.

    Raises:
        CheckpointNotFoundError: There is no such folder, or the hub cannot be reached.
        CheckpointInvalidError: A configuration or a file is broken.
    """
    folder = resolve_folder(source, revision)
    config, folders = RoboReferConfig.from_folder(folder), part_folders(folder)
    parts: dict[str, _Part] = {}
    try:
        for name, place in folders.items():
            parts[name] = _Part(place)
        return _identified(folder, config, parts)
    finally:
        for part in parts.values():
            part.close()


def _identified(folder: Path, config: RoboReferConfig, parts: Mapping[str, _Part]) -> Identity:
    entries = [e for part in parts.values() for file in part.files for e in file.tensors.values()]
    weights = sum(int(torch.Size(entry.shape).numel()) for entry in entries)
    hidden = config.llm.hidden_size
    return Identity(
        folder=folder,
        size=_SIZES.get(hidden, "no published size"),
        mode=config.image_aspect_ratio,
        stage=_stage(config, parts),
        stored=tuple(sorted({entry.dtype for entry in entries})),
        weights=weights,
        problems=tuple(_problems(config, parts)),
    )


def _problems(config: RoboReferConfig, parts: Mapping[str, _Part]) -> list[str]:
    """Where configuration and weights are not of one model."""
    problems = []
    embeddings = parts["llm"].shape("model.embed_tokens.weight")
    if embeddings is not None and embeddings[1] != config.llm.hidden_size:
        problems.append(
            f"llm/config.json describes {_of_width(config.llm.hidden_size)}, the weights beside it "
            f"are those of {_of_width(embeddings[1])}: folders of two checkpoints were mixed"
        )
    layers = {int(m[1]) for name in parts["llm"].where if (m := _LAYER.match(name))}
    if layers and len(layers) != config.llm.num_hidden_layers:
        problems.append(
            f"llm/ holds {len(layers)} layers, its config.json asks for "
            f"{config.llm.num_hidden_layers}: files are missing, or of another model"
        )
    for name, kind, tower in (
        ("mm_projector", config.projector_type, config.vision),
        ("depth_projector", config.depth_projector_type, config.depth or config.vision),
    ):
        if name in parts and kind is not None:
            problems += _projector_problems(config, name, kind, tower.hidden_size, parts[name])
    return problems


def _projector_problems(
    config: RoboReferConfig, name: str, kind: str, channels: int, part: _Part
) -> list[str]:
    stored = part.shape("layers.1.weight")
    wanted = downsampling(kind) ** 2 * channels * config.scale_count
    problems = []
    if stored is not None and stored[0] != wanted:
        problems.append(
            f"{name} reads rows of {stored[0]} numbers ({_mode_of(stored[0], channels, config)}), "
            f"config.json ({config.image_aspect_ratio}, {kind}) makes rows of {wanted}: the top "
            "config.json belongs to the other size"
        )
    last = max((key for key in part.where if key.endswith(".weight")), key=_number, default=None)
    width = part.shape(last) if last is not None else None
    if width is not None and width[0] != config.llm.hidden_size:
        problems.append(
            f"{name} makes rows for {_of_width(width[0])}, the language model is that of "
            f"{_of_width(config.llm.hidden_size)}"
        )
    return problems


def _number(key: str) -> int:
    digits = re.findall(r"\d+", key)
    return int(digits[0]) if digits else -1


def _of_width(hidden: int) -> str:
    name = _SIZES.get(hidden)
    return f"the {name} model (hidden size {hidden})" if name else f"hidden size {hidden}"


def _mode_of(rows: int, channels: int, config: RoboReferConfig) -> str:
    if rows == 9 * channels:
        return "the 2B model's: dynamic, mlp_downsample_3x3_fix"
    if rows == 4 * len(config.s2_scales) * channels:
        return "the 8B model's: dynamic_s2, mlp_downsample"
    return "neither the 2B nor the 8B model's"


def _stage(config: RoboReferConfig, parts: Mapping[str, _Part]) -> str:
    if not config.has_depth:
        return "RGB only"
    if config.depth is None:
        return "shared tower"
    towers = _same(parts["vision_tower"], parts["depth_tower"])
    projectors = _same(parts["mm_projector"], parts["depth_projector"])
    if not towers:
        return "SFT"
    return "base" if projectors else "depth alignment"


def _same(one: _Part, other: _Part) -> bool:
    """Whether two parts hold the same numbers, in whatever types: the first difference decides."""
    if set(one.where) != set(other.where):
        return False
    for name in sorted(one.where, key=lambda key: _size(one, key)):  # the small ones first
        if one.shape(name) != other.shape(name):
            return False
        a, b = one.read(name), other.read(name)
        if not torch.equal(*_alike(a, b)):
            return False
    return True


def _size(part: _Part, name: str) -> int:
    return int(torch.Size(part.shape(name) or ()).numel())


def _alike(a: torch.Tensor, b: torch.Tensor) -> tuple[Any, Any]:
    if a.dtype == b.dtype:
        return a, b
    return a.float(), b.float()
