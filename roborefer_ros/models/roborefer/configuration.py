# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""What the files of a RoboRefer checkpoint say about the network.

Only the keys that change the computation are kept; training copies dozens of others into
``config.json``.  Stored paths (``_name_or_path``, ``resume_path``) belong to the training
machine and are ignored.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from transformers import Qwen2Config, SiglipVisionConfig

from roborefer_ros.errors import CheckpointInvalidError, CheckpointNotFoundError

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

_DOWNSAMPLING = {"mlp_downsample_3x3_fix": 3, "mlp_downsample": 2, "mlp_downsample_2x2_fix": 2}


@dataclass(frozen=True)
class RoboReferConfig:
    """Everything that decides the network's computation.

    Attributes:
        llm, vision: transformers' configurations of the language model and the RGB tower.
        depth: of the depth tower; None without one.
        projector_type, depth_projector_type: see the specification of ``modeling.Projector``.
        image_aspect_ratio: ``dynamic`` ("2B mode") or ``dynamic_s2`` ("8B mode").
        min_tiles, max_tiles: bounds of the tile grid in ``dynamic`` mode.
        s2_scales: image sizes of the scales in ``dynamic_s2`` mode, pixels, ascending.
        s2_resize_output_to_scale_idx: which scale's grid the others are resampled to.
        select_layer: index into the tower's hidden states (embeddings first), e.g. -2.
        select_feature: ``cls_patch`` keeps all tokens, ``patch`` drops the first.
        enable_depth: whether depth can be given.
        model_dtype: as stored, e.g. ``torch.bfloat16``.
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
        for name in (self.projector_type, self.depth_projector_type):
            if name is not None and name not in _DOWNSAMPLING:
                raise CheckpointInvalidError(
                    f"projector type {name!r} is not supported; known are {sorted(_DOWNSAMPLING)}"
                )
        if self.image_aspect_ratio not in ("dynamic", "dynamic_s2"):
            raise CheckpointInvalidError(
                f"image_aspect_ratio {self.image_aspect_ratio!r} is not supported; "
                "RoboRefer uses 'dynamic' (2B) or 'dynamic_s2' (8B)"
            )

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
        return self.enable_depth and self.depth_projector_type is not None

    @classmethod
    def from_folder(cls, folder: Path) -> RoboReferConfig:
        """Read a checkpoint folder in the official layout (already descended into ``model/``).

        Raises:
            CheckpointNotFoundError: the folder or its ``config.json`` is missing.
            CheckpointInvalidError: a part is missing or a value unsupported.
        """
        top = _read_json(folder / "config.json", CheckpointNotFoundError)
        present = {part for part, key in PARTS.items() if top.get(key)}
        for part in ("llm", "vision_tower", "mm_projector"):
            if part not in present:
                raise CheckpointInvalidError(f"{folder}/config.json names no {PARTS[part]}")
        has_depth_tower = "depth_tower" in present and bool(top.get("use_depth_tower", True))
        return cls(
            llm=_hf_config(folder / "llm", Qwen2Config),
            vision=_hf_config(folder / "vision_tower", SiglipVisionConfig),
            depth=_hf_config(folder / "depth_tower", SiglipVisionConfig)
            if has_depth_tower
            else None,
            projector_type=_projector_type(folder / "mm_projector"),
            depth_projector_type=_projector_type(folder / "depth_projector")
            if "depth_projector" in present
            else None,
            image_aspect_ratio=top.get("image_aspect_ratio", "dynamic"),
            min_tiles=int(top.get("min_tiles") or 1),
            max_tiles=int(top.get("max_tiles") or 12),
            s2_scales=_scales(top.get("s2_scales")),
            s2_resize_output_to_scale_idx=int(top.get("s2_resize_output_to_scale_idx") or -1)
            if top.get("s2_resize_output_to_scale_idx") != 0
            else 0,
            select_layer=int(top.get("mm_vision_select_layer", -2)),
            select_feature=top.get("mm_vision_select_feature", "patch"),
            enable_depth=bool(top.get("enable_depth", "depth_projector" in present)),
            model_dtype=str(top.get("model_dtype", "torch.bfloat16")),
        )

    def top_level(self) -> dict[str, Any]:
        """The ``config.json`` that describes this network."""
        parts = {key: {"model_part": part} for part, key in PARTS.items() if self._has(part)}
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


def downsampling(projector_type: str) -> int:
    """Side of the block of patches that becomes one row: 3 or 2."""
    return _DOWNSAMPLING[projector_type]


def _scales(value: str | list[int] | None) -> tuple[int, ...]:
    if not value:
        return (448, 896, 1344)
    items = value.split(",") if isinstance(value, str) else value
    return tuple(sorted(int(item) for item in items))


def _projector_type(folder: Path) -> ProjectorType:
    config = _read_json(folder / "config.json", CheckpointInvalidError)
    value: ProjectorType = config.get("mm_projector_type", "")
    return value


def _hf_config(folder: Path, kind: type[Any]) -> Any:
    values = _read_json(folder / "config.json", CheckpointInvalidError)
    architecture = (values.get("architectures") or ["?"])[0].lower()
    expected = "siglip" if kind is SiglipVisionConfig else "qwen2"
    if expected not in architecture:
        raise CheckpointInvalidError(
            f"{folder}/config.json names architecture {architecture!r}, expected {expected}"
        )
    for key in ("_name_or_path", "torch_dtype", "dtype", "transformers_version"):
        values.pop(key, None)
    return kind(**values)


def _read_json(path: Path, error: type[Exception]) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text())
    except FileNotFoundError as cause:
        raise error(
            f"{path} is missing; a RoboRefer checkpoint has config.json and the folders "
            f"{list(PARTS)}"
        ) from cause
    except (UnicodeDecodeError, json.JSONDecodeError) as cause:
        raise CheckpointInvalidError(f"{path} is not valid JSON: {cause}") from cause
    if not isinstance(values, dict):
        raise CheckpointInvalidError(f"{path} does not hold a JSON object")
    return values
