# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The authors' ``.pth`` files of Depth-Anything-V2 in the names of transformers.

The names are those of the ``-hf`` repositories on the hub, which every transformers reads.
"""

from __future__ import annotations

import io
import pickle
import re
from pathlib import Path
from typing import Any

import torch
from transformers import DepthAnythingConfig, Dinov2Config

from roborefer_ros.errors import CheckpointInvalidError, CheckpointNotFoundError
from roborefer_ros.files import is_lfs_pointer, lfs_message, open_regular
from roborefer_ros.models.safetensors_file import check_values

#: number of blocks -> those whose output is used, counted from 1 (ViT-S and -B, -L, -g)
_TAPS = {12: [3, 6, 9, 12], 24: [5, 12, 18, 24], 40: [10, 20, 30, 40]}

_HEAD_WIDTH = 64

_FIXED = {
    "pretrained.cls_token": "backbone.embeddings.cls_token",
    "pretrained.mask_token": "backbone.embeddings.mask_token",
    "pretrained.pos_embed": "backbone.embeddings.position_embeddings",
}

#: pattern of the authors' names -> names in the hub's repositories
_RENAMED = [
    (r"pretrained\.patch_embed\.proj\.", "backbone.embeddings.patch_embeddings.projection."),
    (r"pretrained\.norm\.", "backbone.layernorm."),
    (
        r"pretrained\.blocks\.(\d+)\.attn\.proj\.",
        r"backbone.encoder.layer.\1.attention.output.dense.",
    ),
    (
        r"pretrained\.blocks\.(\d+)\.ls([12])\.gamma",
        r"backbone.encoder.layer.\1.layer_scale\2.lambda1",
    ),
    (r"pretrained\.blocks\.(\d+)\.(norm[12]|mlp\.fc[12])\.", r"backbone.encoder.layer.\1.\2."),
    (r"depth_head\.projects\.(\d)\.", r"neck.reassemble_stage.layers.\1.projection."),
    (r"depth_head\.resize_layers\.(\d)\.", r"neck.reassemble_stage.layers.\1.resize."),
    (r"depth_head\.scratch\.output_conv1\.", "head.conv1."),
    (r"depth_head\.scratch\.output_conv2\.0\.", "head.conv2."),
    (r"depth_head\.scratch\.output_conv2\.2\.", "head.conv3."),
]
_QKV = re.compile(r"pretrained\.blocks\.(\d+)\.attn\.qkv\.(weight|bias)")
_NECK = re.compile(r"depth_head\.scratch\.layer([1-4])_rn\.(weight)")
_FUSION = re.compile(r"depth_head\.scratch\.refinenet([1-4])\.(.+)\.(weight|bias)")
_FUSION_PARTS = {
    "out_conv": "projection",
    **{f"resConfUnit{u}.conv{c}": f"residual_layer{u}.convolution{c}" for u in "12" for c in "12"},
}

Weights = dict[str, torch.Tensor]


def read_original(path: Path) -> tuple[DepthAnythingConfig, Weights]:
    """Read a ``.pth`` without running what may be in it.

    Returns:
        The configuration, from the weights' shapes, and the renamed weights, on the CPU.

    Raises:
        CheckpointNotFoundError: there is no such file.
        CheckpointInvalidError: damaged, more than tensors, or another network.
    """
    if not path.is_file():
        raise CheckpointNotFoundError(f"there is no depth network file {path}")
    try:
        # Read, not mapped: a mapped file that shrinks would end the process.
        with open_regular(path, CheckpointInvalidError) as file:
            if is_lfs_pointer(file.read(1024)):
                raise CheckpointInvalidError(lfs_message(path))
            file.seek(0)
            content = torch.load(
                io.BufferedReader(file),  # type: ignore[type-var]
                map_location="cpu",
                weights_only=True,
            )
    except pickle.UnpicklingError as error:
        raise CheckpointInvalidError(
            f"{path} is damaged or holds more than weights, which could be code; it was not run. "
            "Download the original again"
        ) from error
    except (RuntimeError, ValueError, EOFError, OSError, KeyError) as error:
        raise CheckpointInvalidError(f"{path} is damaged ({error}); download it again") from error
    if not isinstance(content, dict) or not all(
        isinstance(k, str) and isinstance(v, torch.Tensor) for k, v in content.items()
    ):
        raise CheckpointInvalidError(f"{path} is not a plain table of weights")
    for name, tensor in content.items():
        if tensor.is_floating_point():
            check_values(tensor, str(path), name)
    try:
        return _configuration(content), rename(content)
    except (KeyError, IndexError, ValueError) as error:
        raise CheckpointInvalidError(
            f"{path} does not hold Depth-Anything-V2 (ViT-S, -B or -L): {error}"
        ) from error


def rename(weights: Weights) -> Weights:
    """The authors' names to those of the hub; query, key and value are taken apart.

    Raises:
        ValueError: a name is unknown.
    """
    result: Weights = {}
    for name, tensor in weights.items():
        qkv = _QKV.fullmatch(name)
        if qkv:
            layer = f"backbone.encoder.layer.{qkv[1]}.attention.attention"
            for part, value in zip(("query", "key", "value"), tensor.chunk(3), strict=True):
                result[f"{layer}.{part}.{qkv[2]}"] = value
        else:
            result[_renamed(name)] = tensor
    return result


def _renamed(name: str) -> str:
    if name in _FIXED:
        return _FIXED[name]
    neck = _NECK.fullmatch(name)
    if neck:
        return f"neck.convs.{int(neck[1]) - 1}.{neck[2]}"
    fusion = _FUSION.fullmatch(name)
    if fusion and fusion[2] in _FUSION_PARTS:
        layer = 4 - int(fusion[1])  # transformers counts from the coarsest
        return f"neck.fusion_stage.layers.{layer}.{_FUSION_PARTS[fusion[2]]}.{fusion[3]}"
    for pattern, replacement in _RENAMED:
        if re.match(pattern, name):
            return re.sub(pattern, replacement, name)
    raise ValueError(f"unknown weight {name}")


def _configuration(weights: Weights) -> DepthAnythingConfig:
    hidden = weights["pretrained.cls_token"].shape[-1]
    blocks = {m[1] for m in map(_QKV.match, weights) if m}
    if len(blocks) not in _TAPS:
        raise ValueError(f"{len(blocks)} blocks, known are {sorted(_TAPS)}")
    side = int((weights["pretrained.pos_embed"].shape[1] - 1) ** 0.5)
    patch = weights["pretrained.patch_embed.proj.weight"].shape[-1]
    # Through Any: the class's annotations lack out_indices.
    backbone_class: Any = Dinov2Config
    backbone = backbone_class(
        hidden_size=hidden,
        num_attention_heads=max(1, hidden // _HEAD_WIDTH),
        num_hidden_layers=len(blocks),
        mlp_ratio=weights["pretrained.blocks.0.mlp.fc1.weight"].shape[0] // hidden,
        image_size=side * patch,
        patch_size=patch,
        apply_layernorm=True,
        reshape_hidden_states=False,
        out_indices=_TAPS[len(blocks)],
    )
    neck = [weights[f"depth_head.projects.{i}.weight"].shape[0] for i in range(4)]
    return DepthAnythingConfig(
        backbone_config=backbone,
        patch_size=patch,
        reassemble_hidden_size=hidden,
        neck_hidden_sizes=neck,
        fusion_hidden_size=weights["depth_head.scratch.output_conv1.weight"].shape[1],
        head_hidden_size=weights["depth_head.scratch.output_conv2.0.weight"].shape[0],
    )
