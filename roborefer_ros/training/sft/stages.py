# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Which weights learn in a stage, and how fast."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from roborefer_ros.errors import ConfigurationError
from roborefer_ros.models.roborefer.modeling import RoboRefer
from roborefer_ros.training.sft.recipe import TrainingRecipe


def select_weights(model: RoboRefer, parts: tuple[str, ...]) -> None:
    """Let the weights of some parts learn and freeze all others.

    The towers' layers behind the selected hidden state are never computed.  They stay frozen:
    without a gradient they would have no optimizer state, which a distributed checkpoint refuses.

    Args:
        model: Complete network.
        parts: Names of parts, e.g. ``depth_projector``.

    Raises:
        ConfigurationError: a part that the checkpoint does not have.
    """
    own = dict(model.named_children())
    absent = [part for part in parts if part not in own]
    if "depth_projector" in absent:
        raise ConfigurationError(
            "the checkpoint has no depth_projector to train; make one with `roborefer sft "
            "init-depth --from FOLDER --output FOLDER`"
        )
    if absent and absent != ["depth_tower"]:
        raise ConfigurationError(f"the checkpoint has no {' and no '.join(absent)}")
    model.requires_grad_(False)
    for part in parts:
        if part in own:
            own[part].requires_grad_(True)
    for tower in (model.vision_tower, model.depth_tower):
        if tower is not None:
            tower.encoder.layers[model.config.used_layers(tower.config) :].requires_grad_(False)
            tower.post_layernorm.requires_grad_(False)


def parameter_groups(model: nn.Module, recipe: TrainingRecipe) -> list[dict[str, Any]]:
    """AdamW's groups: one for each part that learns, matrices apart from the rest.

    Args:
        model: Network; its children are the parts.
        recipe: Rates and decay; decay is for matrices only.

    Returns:
        Groups with ``params``, ``lr``, ``base_lr`` and ``weight_decay``.
    """
    groups = []
    seen: set[nn.Parameter] = set()
    for part, module in model.named_children():
        rate = recipe.learning_rate * recipe.part_rates.get(part, 1.0)
        own = [p for p in module.parameters() if p.requires_grad and p not in seen]
        seen.update(own)
        for is_matrix, decay in ((True, recipe.weight_decay), (False, 0.0)):
            chosen = [p for p in own if (p.ndim > 1) == is_matrix]
            if chosen:
                groups.append(
                    {"params": chosen, "lr": rate, "base_lr": rate, "weight_decay": decay}
                )
    return groups


def build_optimizer(model: nn.Module, recipe: TrainingRecipe) -> torch.optim.AdamW:
    """AdamW over the weights that learn."""
    return torch.optim.AdamW(
        parameter_groups(model, recipe),
        lr=recipe.learning_rate,
        betas=(recipe.beta1, recipe.beta2),
        eps=recipe.epsilon,
    )


def rate_factor(step: int, total: int, warmup: float) -> float:
    """Factor on the learning rate in a step: linear from zero, then half a cosine to zero.

    The convention of Hugging Face's ``get_cosine_schedule_with_warmup``: the first step of a run
    with warm-up has the rate zero.

    Args:
        step: Number of the step, from 0 on.
        total: Steps of the whole run.
        warmup: Share of the steps in which the rate rises.
    """
    rising = math.ceil(warmup * total)
    if step < rising:
        return step / rising
    done = (step - rising) / max(1, total - rising)
    return 0.5 * (1.0 + math.cos(math.pi * min(1.0, done)))
