# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""What a run of ``roborefer rft`` does: typed values, from YAML files and the command line."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

from roborefer_ros.errors import ConfigurationError
from roborefer_ros.models.roborefer.configuration import PARTS
from roborefer_ros.training.rft.objective import LossOptions, LossRule
from roborefer_ros.training.rft.rewards import RewardRules
from roborefer_ros.training.sft.recipe import TrainingRecipe, converted, read_recipe


@dataclass(frozen=True)
class RftRecipe(TrainingRecipe):
    """Every value that decides what a run learns and how; see ``TrainingRecipe`` for the rest.

    Attributes:
        group_size: Answers that are drawn to each prompt.
        global_batch: Prompts of one optimizer step over all processes.
        device_batch: Completions that one process passes through the network at a time; 0 for the
            whole group.
        beta: Weight of the divergence from the model that the run started from; 0 keeps no copy.
        loss: ``grpo`` or ``token_mean``; see ``LossOptions``.
        scale_advantages: Whether advantages are divided by the spread of their group.
        clip_low, clip_high: Bounds of the ratio in later updates; see ``LossOptions``.
        updates: Optimizer steps on the same answers.
        mask_truncated: Whether answers that were cut off at the limit teach nothing.
        temperature: Of the draws; 1 draws from the model as it is.
        max_new_tokens: Longest answer, tokens.
        suffix: What follows a question: ``append`` adds the request for reasoning, ``replace`` puts
            it in the place of the released request for points, ``point`` adds the latter where it
            is missing, ``none`` leaves the question.
        require_steps: Whether prompts without key steps are left out.
        answer_form, format_rule, accuracy_rule, process_rule, target_rule: See ``RewardRules``.
        format_weight, point_weight, process_weight, accuracy_weight: See ``RewardRules``.
        point_limit_px: Largest distance of a right point, pixels; see ``RewardRules``.
        examples_every: Steps between two examples in the log.
    """

    learning_rate: float = 1e-6
    warmup: float = 0.0
    epochs: int = 2
    save_every: int = 100
    group_size: int = 8
    global_batch: int = 16
    device_batch: int = 0
    beta: float = 0.04
    loss: LossRule = "grpo"
    scale_advantages: bool = True
    clip_low: float = 0.2
    clip_high: float = 0.2
    updates: int = 1
    mask_truncated: bool = False
    temperature: float = 1.0
    max_new_tokens: int = 512
    suffix: Literal["append", "replace", "point", "none"] = "append"
    require_steps: bool = False
    answer_form: Literal["tags", "text"] = "tags"
    format_rule: Literal["strict", "r1v"] = "strict"
    accuracy_rule: Literal["sum", "mean"] = "sum"
    process_rule: Literal["all", "fraction"] = "all"
    target_rule: Literal["exact", "contains"] = "exact"
    format_weight: float = 1.0
    point_weight: float = 1.0
    process_weight: float = 0.25
    accuracy_weight: float = 0.25
    point_limit_px: float = 50.0
    examples_every: int = 50

    def __post_init__(self) -> None:
        super().__post_init__()
        for key in ("global_batch", "updates", "max_new_tokens", "examples_every"):
            if getattr(self, key) < 1:
                raise ConfigurationError(f"{key} is {getattr(self, key)}; it must be 1 or more")
        if self.group_size < 2:
            raise ConfigurationError(
                f"group_size is {self.group_size}; an answer is judged against others of its "
                "group, so that there must be 2 or more"
            )
        if not self.temperature > 0.0:
            raise ConfigurationError("temperature is 0: all answers of a group would be the same")

    @property
    def learning_parts(self) -> tuple[str, ...]:
        """The parts that learn: all five unless ``parts`` names some."""
        return self.parts or tuple(PARTS)

    @property
    def rules(self) -> RewardRules:
        """How rewards are weighed."""
        return RewardRules(**{e.name: getattr(self, e.name) for e in fields(RewardRules)})

    @property
    def loss_options(self) -> LossOptions:
        """Choices of the loss."""
        return LossOptions(self.beta, self.loss, self.clip_low, self.clip_high)

    def accumulation(self, world: int) -> int:
        """Prompts that one process takes in a step.

        Args:
            world: Number of processes.

        Raises:
            ConfigurationError: the global batch cannot be split evenly.
        """
        if self.global_batch % world:
            raise ConfigurationError(
                f"global_batch {self.global_batch} (prompts a step) is not a multiple of {world} "
                f"processes: give one such as {max(1, round(self.global_batch / world)) * world}"
            )
        return self.global_batch // world

    def rate_factor(self, step: int, total: int) -> float:
        """Factor on the learning rate: linear from zero over the warm-up, then linear to zero.

        Args:
            step: Number of the step, from 0 on.
            total: Steps of the whole run.
        """
        rising = math.ceil(self.warmup * total)
        if step < rising:
            return step / rising
        return max(0.0, (total - step) / max(1, total - rising))


def load_recipe(name: str | None, changes: Mapping[str, Any]) -> RftRecipe:
    """The paper's values, or those of a YAML file, with changes.

    Args:
        name: Path of a YAML file; None for the paper's values.
        changes: Field -> value, which replaces the recipe's; text is converted.

    Raises:
        ConfigurationError: unknown key (the message names the nearest), wrong value.
    """
    values = {**(read_recipe(name) if name else {}), **changes}
    return replace(RftRecipe(), **converted(values, name or "the command line", RftRecipe))
