# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Checkpoints of true size with meaningless weights, for measurements without a download."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from transformers import Qwen2Config, SiglipVisionConfig

from roborefer_ros.models.roborefer.checkpoint import write_configs
from roborefer_ros.models.roborefer.configuration import RoboReferConfig
from roborefer_ros.models.roborefer.modeling import RoboRefer
from roborefer_ros.models.roborefer.weights import TOWER_PREFIX
from roborefer_ros.training.tabletop.tokenizer import train_tokenizer

#: Qwen2-1.5B and Qwen2-7B with RoboRefer's vocabulary
_LLM_2B = {
    "hidden_size": 1536,
    "num_hidden_layers": 28,
    "num_attention_heads": 12,
    "num_key_value_heads": 2,
    "intermediate_size": 8960,
    "vocab_size": 151652,
    "tie_word_embeddings": True,
}
_LLM_8B = {
    "hidden_size": 3584,
    "num_hidden_layers": 28,
    "num_attention_heads": 28,
    "num_key_value_heads": 4,
    "intermediate_size": 18944,
    "vocab_size": 151652,
    "tie_word_embeddings": False,
}
_LLM_SMALL = {
    **_LLM_2B,
    "hidden_size": 896,
    "num_hidden_layers": 6,
    "num_attention_heads": 14,
    "intermediate_size": 4864,
    "vocab_size": 8000,
}
_SIGLIP = {"hidden_size": 1152, "intermediate_size": 4304, "num_hidden_layers": 27}
_SIGLIP_SMALL = {"hidden_size": 384, "intermediate_size": 1536, "num_hidden_layers": 6}

#: for runs of the same code on a CPU within seconds
_LLM_TINY = {
    **_LLM_2B,
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 128,
    "vocab_size": 400,
}
_SIGLIP_TINY = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 3,
    "image_size": 56,
}

#: name -> language model, tower, projector, image_aspect_ratio
SIZES: dict[str, tuple[dict[str, Any], dict[str, Any], str, str]] = {
    "tiny-2b": (_LLM_TINY, _SIGLIP_TINY, "mlp_downsample_3x3_fix", "dynamic"),
    "tiny-8b": (
        {**_LLM_TINY, "tie_word_embeddings": False},
        _SIGLIP_TINY,
        "mlp_downsample",
        "dynamic_s2",
    ),
    "small": (_LLM_SMALL, _SIGLIP_SMALL, "mlp_downsample_3x3_fix", "dynamic"),
    "2b": (_LLM_2B, _SIGLIP, "mlp_downsample_3x3_fix", "dynamic"),
    "8b": (_LLM_8B, _SIGLIP, "mlp_downsample", "dynamic_s2"),
}


def configuration(size: str) -> RoboReferConfig:
    """The shape of a name of ``SIZES``: ``2b`` and ``8b`` as published, the others smaller."""
    llm, tower, projector, mode = SIZES[size]
    # Qwen2's heads are 64 or 128 wide, SigLIP's 64 or 72.
    heads = 16 if tower["hidden_size"] == 1152 else tower["hidden_size"] // 64
    siglip = {
        "image_size": 448,
        **tower,
        "num_attention_heads": heads,
        "patch_size": 14,
        "vision_use_head": False,
    }
    side = int(siglip["image_size"])
    return RoboReferConfig(
        llm=Qwen2Config(**llm, max_position_embeddings=32768, rope_theta=1e6),
        vision=SiglipVisionConfig(**siglip),
        depth=SiglipVisionConfig(**siglip),
        projector_type=projector,  # type: ignore[arg-type]
        depth_projector_type=projector,  # type: ignore[arg-type]
        image_aspect_ratio=mode,  # type: ignore[arg-type]
        s2_scales=(side, 2 * side, 3 * side),
    )


def write_synthetic(
    folder: Path, size: str, dtype: torch.dtype = torch.bfloat16, shard_bytes: int = 2**30
) -> int:
    """Write a checkpoint of a size of ``SIZES`` shard by shard; returns its weights' bytes."""
    config = configuration(size)
    write_configs(config, folder)
    with torch.device("meta"):
        model = RoboRefer(config)
    block = (torch.randn(2**20, generator=torch.Generator().manual_seed(0)) * 0.02).to(dtype)
    total = 0
    for name, part in model.named_children():
        shapes = {key: value.shape for key, value in part.named_parameters()}
        prefix = TOWER_PREFIX if name.endswith("tower") else ""
        total += _write_shards(folder / name, prefix, shapes, block, shard_bytes)
    _write_tokenizer(folder / "llm", config.llm.vocab_size)
    return total


def _write_shards(
    folder: Path, prefix: str, shapes: dict[str, Any], block: torch.Tensor, shard_bytes: int
) -> int:
    total, weight_map = 0, {}
    shard: dict[str, torch.Tensor] = {}

    def flush() -> None:
        file = f"model-{len(set(weight_map.values())) + 1:05d}.safetensors"
        save_file(shard, folder / file, metadata={"format": "pt"})
        weight_map.update(dict.fromkeys(shard, file))
        shard.clear()

    for key, shape in shapes.items():
        count = shape.numel()
        shard[prefix + key] = block.repeat(-(-count // len(block)))[:count].reshape(shape).clone()
        total += shard[prefix + key].nbytes
        if sum(t.nbytes for t in shard.values()) > shard_bytes:
            flush()
    if shard:
        flush()
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return total


def _write_tokenizer(folder: Path, vocabulary: int) -> None:
    """A tokenizer of Qwen2's kind, filled up with words that no text has."""
    train_tokenizer(["one two three"], 300, 16384).save_pretrained(folder)
    path = folder / "tokenizer.json"
    content = json.loads(path.read_text())
    taken = {token["id"] for token in content["added_tokens"]}
    taken |= set(content["model"]["vocab"].values())
    fill = {f"\u0120\u0120{i}": i for i in range(vocabulary) if i not in taken}
    content["model"]["vocab"].update(fill)
    path.write_text(json.dumps(content))
