# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""What the files of a RoboRefer checkpoint say about the network.

Only the keys that change the computation are kept; training copies dozens of others into
``config.json``.  Stored paths (``_name_or_path``, ``resume_path``) belong to the training
machine and are ignored.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

from transformers import Qwen2Config, SiglipVisionConfig

from roborefer_ros.errors import (
    CheckpointInvalidError,
    CheckpointNotFoundError,
    RoboReferError,
)
from roborefer_ros.files import MIB, read_json

AspectMode = Literal["dynamic", "dynamic_s2"]
ProjectorType = Literal["mlp_downsample_3x3_fix", "mlp_downsample", "mlp_downsample_2x2_fix"]

#: part -> key of the top config that says it is there
PARTS = {
    "llm": "llm_cfg",
    "vision_tower": "vision_tower_cfg",
    "mm_projector": "mm_projector_cfg",
    "depth_tower": "depth_tower_cfg",
    "depth_projector": "depth_projector_cfg",
}

#: in the configuration of a checkpoint that was trained to reason before it answers
REASONING_KEY = "reasoning"

#: far beyond what any context holds: a broken checkpoint must not make the search endless
_MOST_TILES = 256

#: larger than any published file of these names
CONFIG_LIMIT = 16 * MIB

#: part of a key -> the largest number that it can stand for; the first that fits counts
_LARGEST = (
    ("layers", 1024),
    ("depth", 1024),
    ("heads", 1024),
    ("experts", 4096),
    ("image_size", 8192),
    ("patch_size", 1024),
    ("channels", 4096),
    ("vocab", 4_194_304),
    ("hidden_size", 262_144),
    ("intermediate_size", 2_097_152),
    ("head_dim", 8192),
)
_LARGEST_NUMBER = 1e20
_MOST_ENTRIES = 100_000

_MOST_SCALES, _LARGEST_SCALE = 8, 8192

_DOWNSAMPLING = {"mlp_downsample_3x3_fix": 3, "mlp_downsample": 2, "mlp_downsample_2x2_fix": 2}


@dataclass(frozen=True)
class RoboReferConfig:
    """Everything that decides the network's computation.

    Attributes:
        llm, vision: transformers' configurations of the language model and the RGB tower.
        depth: Configuration of the depth tower; None without one.
        projector_type, depth_projector_type: see the specification of ``modeling.Projector``.
        image_aspect_ratio: ``dynamic`` ("2B mode") or ``dynamic_s2`` ("8B mode").
        min_tiles, max_tiles: bounds of the tile grid in ``dynamic`` mode.
        s2_scales: image sizes of the scales in ``dynamic_s2`` mode, pixels, ascending.
        s2_resize_output_to_scale_idx: which scale's grid the others are resampled to.
        select_layer: index into the tower's hidden states (embeddings first), e.g. -2.
        select_feature: ``cls_patch``, which keeps all tokens.  (``patch``, the reference's value
            where the key is missing, is for towers with a class token: it would drop a patch.)
        enable_depth: whether depth can be given.
        model_dtype: Floating-point type as stored, e.g. ``torch.bfloat16``.
    """

    llm: Qwen2Config
    vision: SiglipVisionConfig
    depth: SiglipVisionConfig | None
    projector_type: ProjectorType
    depth_projector_type: ProjectorType | None
    image_aspect_ratio: AspectMode = "dynamic"
    min_tiles: int = 1
    max_tiles: int = 12
    s2_scales: tuple[int, ...] = (448, 896, 1344)
    s2_resize_output_to_scale_idx: int = -1
    select_layer: int = -2
    select_feature: str = "cls_patch"
    enable_depth: bool = True
    model_dtype: str = "torch.bfloat16"

    def __post_init__(self) -> None:
        if not 1 <= self.min_tiles <= self.max_tiles <= _MOST_TILES:
            raise CheckpointInvalidError(
                f"min_tiles and max_tiles are {self.min_tiles} and {self.max_tiles}; they must be "
                f"1 to {_MOST_TILES}, the second not smaller"
            )
        if self.image_aspect_ratio not in ("dynamic", "dynamic_s2"):
            raise CheckpointInvalidError(
                f"image_aspect_ratio {self.image_aspect_ratio!r} is not supported; "
                "RoboRefer uses 'dynamic' (2B) or 'dynamic_s2' (8B)"
            )

        if self.select_feature != "cls_patch":
            raise CheckpointInvalidError(
                f"mm_vision_select_feature is {self.select_feature!r}; SigLIP has no class token "
                "to drop, so only 'cls_patch' leaves a square of patches"
            )
        for tower in (self.vision, self.depth):
            if tower is not None and not 0 <= self.used_layers(tower) <= tower.num_hidden_layers:
                raise CheckpointInvalidError(
                    f"mm_vision_select_layer is {self.select_layer}, but a tower has "
                    f"{tower.num_hidden_layers} layers"
                )
        if self.image_aspect_ratio == "dynamic_s2":
            self._check_scales()

    def _check_scales(self) -> None:
        tile, scales = self.tile_size, self.s2_scales
        if scales[0] != tile or any(scale % tile for scale in scales):
            raise CheckpointInvalidError(
                f"s2_scales {list(scales)} do not fit the tower's {tile} pixels: the first must be "
                "equal, the others multiples"
            )
        index = self.s2_resize_output_to_scale_idx
        if not -len(scales) <= index < len(scales) or scales[-1] > tile * _MOST_TILES**0.5:
            raise CheckpointInvalidError(
                f"s2_resize_output_to_scale_idx is {index} for the s2_scales {list(scales)}; it "
                f"must be one of them, and the last scale at most {_MOST_TILES} tiles"
            )

    def used_layers(self, tower: SiglipVisionConfig) -> int:
        """How many layers of a tower are computed up to the selected hidden state."""
        index = self.select_layer  # into (embeddings, layer 1, ..., last layer)
        return index if index >= 0 else int(tower.num_hidden_layers) + 1 + index

    @property
    def tile_size(self) -> int:
        """Side of a tile in pixels: the tower's input."""
        size = self.vision.image_size
        return int(size if isinstance(size, int) else size[0])

    @property
    def scale_count(self) -> int:
        """How many scales are concatenated on the channels."""
        return len(self.s2_scales) if self.image_aspect_ratio == "dynamic_s2" else 1

    @property
    def has_depth(self) -> bool:
        """Whether the network reads depth pictures."""
        return self.enable_depth and self.depth_projector_type is not None

    @classmethod
    def from_folder(cls, folder: Path) -> RoboReferConfig:
        """Read a checkpoint folder in the official layout (already descended into ``model/``).

        Raises:
            CheckpointNotFoundError: the folder or its ``config.json`` is missing.
            CheckpointInvalidError: a part is missing or a value unsupported.
        """
        top = _read_json(folder / "config.json", CheckpointNotFoundError)
        parts = part_folders(folder)
        for part in ("llm", "vision_tower", "mm_projector"):
            if part not in parts:
                raise CheckpointInvalidError(f"{folder}/config.json names no {PARTS[part]}")
        enable_depth = bool(top.get("enable_depth", "depth_projector" in parts))
        if not enable_depth:
            parts = {name: path for name, path in parts.items() if not name.startswith("depth")}
        has_depth_tower = "depth_tower" in parts and bool(top.get("use_depth_tower", True))
        return cls(
            llm=_hf_config(parts["llm"], Qwen2Config),
            vision=_hf_config(parts["vision_tower"], SiglipVisionConfig),
            depth=_hf_config(parts["depth_tower"], SiglipVisionConfig) if has_depth_tower else None,
            projector_type=_projector_type(parts["mm_projector"]),
            depth_projector_type=_projector_type(parts["depth_projector"])
            if "depth_projector" in parts
            else None,
            image_aspect_ratio=top.get("image_aspect_ratio", "dynamic"),
            min_tiles=_integer(top, "min_tiles", 1),
            max_tiles=_integer(top, "max_tiles", 12),
            s2_scales=_scales(top.get("s2_scales")),
            s2_resize_output_to_scale_idx=_integer(top, "s2_resize_output_to_scale_idx", -1),
            select_layer=_integer(top, "mm_vision_select_layer", -2),
            select_feature=top.get("mm_vision_select_feature", "patch"),
            enable_depth=enable_depth,
            model_dtype=str(top.get("model_dtype", "torch.bfloat16")),
        )

    def top_level(self) -> dict[str, Any]:
        """The ``config.json`` that describes this network."""
        parts: dict[str, dict[str, Any]] = {
            key: {"model_part": part} for part, key in PARTS.items() if self._has(part)
        }
        # The reference takes these from here before it opens the part.
        parts["llm_cfg"] |= {
            "architectures": ["Qwen2ForCausalLM"],
            "hidden_size": self.llm.hidden_size,
            "model_type": "qwen2",
            "vocab_size": self.llm.vocab_size,
        }
        return {
            "model_type": "llava_llama",
            "architectures": ["LlavaLlamaModel"],
            **parts,
            "enable_depth": self.enable_depth,
            "use_depth_tower": self.depth is not None,
            "hidden_size": self.llm.hidden_size,
            "mm_hidden_size": self.vision.hidden_size * self.scale_count,
            "image_aspect_ratio": self.image_aspect_ratio,
            "mm_vision_select_layer": self.select_layer,
            "mm_vision_select_feature": self.select_feature,
            "min_tiles": self.min_tiles,
            "max_tiles": self.max_tiles,
            "dynamic_s2": self.image_aspect_ratio == "dynamic_s2",
            "s2_scales": ",".join(map(str, self.s2_scales)),
            "s2_resize_output_to_scale_idx": self.s2_resize_output_to_scale_idx,
            "model_dtype": self.model_dtype,
        }

    def _has(self, part: str) -> bool:
        if part == "depth_tower":
            return self.depth is not None
        return part != "depth_projector" or self.depth_projector_type is not None


def part_folders(folder: Path) -> dict[str, Path]:
    """Where the parts of a checkpoint lie: in sub-folders of it.

    Where a sub-folder is missing, a path stored in ``config.json`` counts, if it exists;
    otherwise such paths are leftovers of the training machine.

    Raises:
        CheckpointNotFoundError: there is no ``config.json``.
        CheckpointInvalidError: it is broken, or a part that it names is nowhere.
    """
    top = _read_json(folder / "config.json", CheckpointNotFoundError)
    result = {}
    for part, key in PARTS.items():
        value = top.get(key)
        if value is None or value == "":
            continue
        result[part] = folder / part
        if isinstance(value, str) and not (folder / part).is_dir():
            if not os.path.isdir(folder / value):
                raise CheckpointInvalidError(
                    f"the folder {folder / part} is missing, and {key} in {folder}/config.json "
                    f"names {value[:200]!r}, which is not here either; copy that part into it"
                )
            result[part] = folder / value
    return result


def downsampling(projector_type: str) -> int:
    """Side of the block of patches that becomes one row: 3 or 2."""
    return _DOWNSAMPLING[projector_type]


def _scales(value: str | list[int] | None) -> tuple[int, ...]:
    if not value:
        return (448, 896, 1344)
    items = value.split(",") if isinstance(value, str) else value
    try:
        scales = tuple(sorted(int(item) for item in items))
    except (TypeError, ValueError, OverflowError) as error:
        raise CheckpointInvalidError(f"s2_scales in config.json is {str(value)[:80]!r}") from error
    if len(scales) > _MOST_SCALES or not all(0 < scale <= _LARGEST_SCALE for scale in scales):
        raise CheckpointInvalidError(
            f"s2_scales in config.json is {str(value)[:80]!r}; at most {_MOST_SCALES} sizes of up "
            f"to {_LARGEST_SCALE} pixels are possible"
        )
    return scales


def _integer(top: dict[str, Any], key: str, default: int) -> int:
    value = top.get(key)
    if value is None:
        return default
    if not isinstance(value, int | float) or not math.isfinite(value) or value != int(value):
        raise CheckpointInvalidError(f"{key} in config.json is {value!r}, not a whole number")
    return int(value)


def _projector_type(folder: Path) -> ProjectorType:
    config = _read_json(folder / "config.json", CheckpointInvalidError)
    value = config.get("mm_projector_type")
    if not isinstance(value, str) or value not in _DOWNSAMPLING:
        raise CheckpointInvalidError(
            f"{folder}/config.json: projector type {value!r} is not supported; known are "
            f"{sorted(_DOWNSAMPLING)}"
        )
    return cast(ProjectorType, value)


def _hf_config(folder: Path, kind: type[Any]) -> Any:
    values = _read_json(folder / "config.json", CheckpointInvalidError)
    named = [values.get("architectures"), values.get("model_type")]
    expected = "siglip" if kind is SiglipVisionConfig else "qwen2"
    if not any(expected in str(name).lower() for name in named):
        raise CheckpointInvalidError(
            f"{folder}/config.json names the architecture {named}, expected {expected}"
        )
    check_numbers(values, folder / "config.json")
    # The training machine's path, type and attention kernels (FlashAttention 2) are its own.
    for key in [k for k in values if "attn_implementation" in k]:
        del values[key]
    for key in ("_name_or_path", "torch_dtype", "dtype", "transformers_version"):
        values.pop(key, None)
    if kind is SiglipVisionConfig:
        values["vision_use_head"] = False  # the pooling head is neither stored nor used
        if not values.get("image_size", 224):
            raise CheckpointInvalidError(f"{folder}/config.json has no image_size")
    try:
        return kind(**values)
    except Exception as error:  # the classes that transformers raises vary
        raise CheckpointInvalidError(
            f"{folder}/config.json does not describe a network: {error}"
        ) from error


def _read_json(path: Path, error: type[RoboReferError]) -> dict[str, Any]:
    if not path.exists() and not path.is_symlink():
        raise error(
            f"{path} is missing; a RoboRefer checkpoint has config.json and the folders "
            f"{list(PARTS)}"
        )
    values = read_json(path, CONFIG_LIMIT, CheckpointInvalidError)
    if not isinstance(values, dict):
        raise CheckpointInvalidError(f"{path} does not hold a JSON object")
    return values


def check_numbers(values: Any, where: Path) -> None:
    """Refuse sizes that no network has, before anything is built of them.

    A million layers take minutes and all memory even without weights.

    Args:
        values: Content of a ``config.json``.
        where: Its path, for the message.

    Raises:
        CheckpointInvalidError
    """
    for key, value in values.items() if isinstance(values, dict) else enumerate(values):
        if isinstance(value, dict | list):
            if len(value) > _MOST_ENTRIES:
                raise CheckpointInvalidError(f"{where}: {key} has {len(value)} entries")
            check_numbers(value, where)
            continue
        name = str(key)
        most = next((most for part, most in _LARGEST if part in name), _LARGEST_NUMBER)
        if isinstance(value, int | float) and not isinstance(value, bool) and value > most:
            raise CheckpointInvalidError(
                f"{where}: {name} is {value:g}, networks have at most {most}; copy the file from "
                "the original checkpoint"
            )
