# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Low-rank adapters (LoRA, arXiv 2106.09685) in the language model, by PEFT."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import nn
from torch.distributed.tensor import DTensor

from roborefer_ros.errors import ConfigurationError
from roborefer_ros.models.roborefer.modeling import RoboRefer
from roborefer_ros.training.sft.recipe import TrainingRecipe

#: all linear layers of Qwen2
TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def add_adapters(model: RoboRefer, recipe: TrainingRecipe) -> None:
    """Freeze the language model and let adapters in its layers learn instead.

    Args:
        model: Its language model is changed in place; the weights that learn already chosen.
        recipe: Rank, scale, dropout.

    Raises:
        ConfigurationError: PEFT is not installed.
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise ConfigurationError(
            f"lora_rank is {recipe.lora_rank}, but PEFT is missing: pip install peft"
        ) from error
    config = LoraConfig(
        r=recipe.lora_rank,
        lora_alpha=recipe.lora_alpha,  # type: ignore[arg-type]
        lora_dropout=recipe.lora_dropout,
        target_modules=TARGETS,
    )
    model.llm.requires_grad_(False)
    inject_adapter_in_model(config, model.llm)
    for name, weight in model.llm.named_parameters():
        weight.requires_grad_("lora_" in name)


@contextlib.contextmanager
def adapters_off(model: RoboRefer) -> Iterator[None]:
    """Compute as without adapters for a while: as the network that the run started from.

    Args:
        model: With adapters in its language model, or without.
    """
    from peft.tuners.lora import LoraLayer

    layers = [module for module in model.llm.modules() if isinstance(module, LoraLayer)]
    for layer in layers:
        layer._disable_adapters = True  # enable_adapters would change what learns
    try:
        yield
    finally:
        for layer in layers:
            layer._disable_adapters = False


def merged(part: nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    """Names and weights of a part as they are without adapters.

    Args:
        part: With or without adapters.
    """
    weights = part.state_dict()
    for name, weight in weights.items():
        if "lora_" in name:
            continue
        plain = name.replace(".base_layer.", ".")
        if plain != name and name.endswith(".weight"):
            prefix = name.removesuffix(".base_layer.weight")
            layer = part.get_submodule(prefix)
            scale = layer.scaling["default"]  # type: ignore[index]
            down = _whole(weights[f"{prefix}.lora_A.default.weight"])
            up = _whole(weights[f"{prefix}.lora_B.default.weight"])
            weight = _whole(weight).float() + scale * (up.float() @ down.float())
        yield plain, weight


def _whole(weight: torch.Tensor) -> torch.Tensor:
    return weight.full_tensor() if isinstance(weight, DTensor) else weight
