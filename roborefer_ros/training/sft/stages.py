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
from roborefer_ros.training.sft.recipe import SftRecipe, TrainingRecipe


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


def build_optimizers(module: nn.Module, recipe: SftRecipe) -> list[torch.optim.Optimizer]:
    """The optimizers of an objective's module, whose weights they share out.

    Args:
        module: With ``model``, the network; what else learns in it has AdamW's rate.
        recipe: Kind of optimizer, rates, decay.

    Returns:
        AdamW, or Muon for the matrices inside the layers and AdamW, without decay, for the rest.
    """
    network = module.model
    assert isinstance(network, nn.Module)
    if recipe.optimizer == "adamw":
        own = {id(p) for p in network.parameters()}
        further = [p for p in module.parameters() if p.requires_grad and id(p) not in own]
        optimizer = build_optimizer(network, recipe)
        if further:
            rate = recipe.learning_rate
            optimizer.add_param_group(
                {"params": further, "lr": rate, "base_lr": rate, "weight_decay": 0.0}
            )
        return [optimizer]
    matrices: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            inside = "layers" in name and parameter.ndim == 2
            (matrices if inside else others).append(parameter)
    muon = torch.optim.Muon(
        matrices,
        lr=recipe.matrix_rate,
        weight_decay=recipe.weight_decay,
        adjust_lr_fn="match_rms_adamw",
    )
    adamw = torch.optim.AdamW(
        others,
        lr=recipe.learning_rate,
        betas=(recipe.beta1, recipe.beta2),
        eps=recipe.epsilon,
        weight_decay=0.0,
    )
    both: list[torch.optim.Optimizer] = [muon, adamw]
    for each in both:
        for group in each.param_groups:
            group["base_lr"] = group["lr"]
    return both


def rate_factor(
    step: int, total: int, warmup: float, schedule: str = "cosine", cooldown: float = 1.0
) -> float:
    """Factor on the learning rate in a step: linear from zero, then half a cosine to zero.

    The convention of Hugging Face's ``get_cosine_schedule_with_warmup``: the first step of a run
    with warm-up has the rate zero.

    Args:
        step: Number of the step, from 0 on.
        total: Steps of the whole run.
        warmup: Share of the steps in which the rate rises.
        schedule: ``cosine``, or ``trapezoid``: constant behind the warm-up, then linear to zero.
        cooldown: Share of the steps in which the rate of a trapezoid falls.
    """
    rising = math.ceil(warmup * total)
    if step < rising:
        return step / rising
    if schedule == "trapezoid":
        return min(1.0, (1.0 - step / total) / cooldown) if cooldown else 1.0
    done = (step - rising) / max(1, total - rising)
    return 0.5 * (1.0 + math.cos(math.pi * min(1.0, done)))
