# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Policy and reference on all processes: answers, log probabilities, optimizer steps."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn
from torch.distributed.fsdp import FSDPModule

from roborefer_ros.models.roborefer.checkpoint import load_roborefer
from roborefer_ros.models.roborefer.labels import TrainingBatch
from roborefer_ros.models.roborefer.modeling import RoboRefer
from roborefer_ros.models.roborefer.processing import RoboReferProcessor
from roborefer_ros.training.rft.objective import kl_k3, token_losses
from roborefer_ros.training.rft.policy import (
    LogProbs,
    LogProbTask,
    PolicyModule,
    PromptItem,
    RolloutTask,
    Sampled,
    rows_of,
)
from roborefer_ros.training.rft.recipe import RftRecipe
from roborefer_ros.training.sft.batches import with_geometry
from roborefer_ros.training.sft.engine import Engine, Processes
from roborefer_ros.training.sft.lora import adapters_off, add_adapters
from roborefer_ros.training.sft.stages import select_weights


@dataclass
class Group:
    """The answers to one prompt, on their way through an update.

    Attributes:
        batch: Prompt and answer in each row.
        advantages: ``[G]``.
        weights: ``[G]`` weight of each token of a completion in the loss of the group.
        reference: ``[G, T]`` log probabilities of the reference; None with beta 0.
        old: ``[G, T]`` log probabilities in the first update.
    """

    batch: TrainingBatch
    advantages: torch.Tensor
    weights: torch.Tensor
    reference: torch.Tensor | None = None
    old: torch.Tensor | None = None


@dataclass(frozen=True)
class UpdateResult:
    """What an optimizer step did.

    Attributes:
        loss: Mean over the prompts of all processes.
        gradient_norm: Of all weights, before clipping.
        kl: Mean over the answers of all processes of the mean over an answer's tokens.
        entropy: Likewise, nats.
        skipped: Whether the weights were left as they were: a number was not finite.
    """

    loss: float
    gradient_norm: float
    kl: float
    entropy: float
    skipped: bool


class PolicyEngine(Engine):
    """The network that learns, and the one that it must not drift away from.

    Args:
        model: Complete network in float32 on the CPU, the weights that learn already chosen.
        processor: Of the same checkpoint.
        recipe: What is done.
        group: The processes.
        reference: A second copy; None where beta is 0, or where switched-off adapters are it.
        learns: False for the reference itself, of which no gradients are exchanged.
    """

    module: PolicyModule
    recipe: RftRecipe

    def __init__(
        self,
        model: RoboRefer,
        processor: RoboReferProcessor,
        recipe: RftRecipe,
        group: Processes,
        reference: RoboRefer | None = None,
        *,
        learns: bool = True,
    ) -> None:
        super().__init__(model, processor, recipe, group, learns=learns)
        self._reference: PolicyEngine | None = None
        if reference is not None:
            reference.requires_grad_(False)
            self._reference = PolicyEngine(reference, processor, recipe, group, learns=False)
            self._reference.module.eval()

    def _make_module(
        self, model: RoboRefer, processor: RoboReferProcessor, autocast: torch.dtype | None
    ) -> PolicyModule:
        return PolicyModule(model, processor, autocast=autocast, every_part=True)

    # --- answers -----------------------------------------------------------------------------

    @contextlib.contextmanager
    def rollouts(self) -> Iterator[None]:
        """Get ready to draw answers: all weights gathered, nothing exchanged until the end.

        Processes whose answers differ in length would otherwise wait for each other for ever.
        """
        sharded = [m for m in self.module.modules() if isinstance(m, FSDPModule)]
        for module in sharded:
            module.set_reshard_after_forward(False, recurse=False)
            module.unshard()
        self.module.eval()
        try:
            yield
        finally:
            self.module.train()
            for module in sharded:
                module.set_reshard_after_forward(True, recurse=False)
                module.reshard()

    def answers(self, item: PromptItem, seeds: Sequence[int]) -> list[Sampled]:
        """Draw answers to a prompt, inside ``rollouts``.

        Args:
            item: The prompt.
            seeds: Of each answer.
        """
        recipe = self.recipe
        task = RolloutTask(item, tuple(seeds), recipe.max_new_tokens, recipe.temperature)
        drawn = self.module(task)
        assert isinstance(drawn, list)
        return drawn

    def reference_log_probs(self, batch: TrainingBatch) -> torch.Tensor | None:
        """``[G, T]`` log probabilities of the reference; None with beta 0."""
        if self.recipe.beta == 0.0:
            return None
        with torch.no_grad():
            if self._reference is not None:
                return self._told(self._reference.module, batch).values
            with adapters_off(self.model):
                return self._told(self.module, batch).values

    def log_probs(self, batch: TrainingBatch) -> LogProbs:
        """Of the policy, without gradient."""
        with torch.no_grad():
            return self._told(self.module, batch)

    def _told(self, module: nn.Module, batch: TrainingBatch) -> LogProbs:
        """Chunk by chunk, joined."""
        size = int((batch.labels >= 0).sum(dim=1).max())
        parts = []
        for rows in self._chunks(len(batch.input_ids)):
            told = module(LogProbTask(rows_of(batch, rows), self.recipe.temperature))
            assert isinstance(told, LogProbs)
            parts.append([_widened(t, size) for t in (told.values, told.mask, told.entropy)])
        values, mask, entropy = (torch.cat(own) for own in zip(*parts, strict=True))
        return LogProbs(values, mask, entropy)

    def _chunks(self, count: int) -> list[slice]:
        size = self.recipe.device_batch or count
        return [slice(start, start + size) for start in range(0, count, size)]

    # --- updates -----------------------------------------------------------------------------

    def update(
        self, groups: Sequence[Group], optimizer: torch.optim.Optimizer, prompts: int
    ) -> UpdateResult:
        """One optimizer step on the groups of all processes.

        Args:
            groups: This process'; every process has equally many, of equal size.
            optimizer: Of the weights that learn.
            prompts: Groups of all processes.
        """
        loss = kl = entropy = 0.0
        for index, group in enumerate(groups):
            chunks = self._chunks(len(group.advantages))
            for number, rows in enumerate(chunks):
                last = index == len(groups) - 1 and number == len(chunks) - 1
                with self._exchange(last):
                    own = self._backward(group, rows, self.group.world / prompts)
                loss, kl, entropy = loss + own[0], kl + own[1], entropy + own[2]
        norm = self._clip()
        answers = prompts * len(groups[0].advantages)
        loss, kl, entropy = self.group.total([loss, kl, entropy])
        skipped = not (math.isfinite(norm) and math.isfinite(loss))
        if not skipped:
            optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return UpdateResult(loss / prompts, norm, kl / answers, entropy / answers, skipped)

    def _backward(self, group: Group, rows: slice, scale: float) -> tuple[float, float, float]:
        """Gradients of some rows of a group; returns their loss, and sums of KL and entropy."""
        told = self.wrapped(LogProbTask(rows_of(group.batch, rows), self.recipe.temperature))
        assert isinstance(told, LogProbs)
        values, mask = told.values, told.mask
        size = values.shape[1]
        reference = None if group.reference is None else group.reference[rows, :size]
        old = None if group.old is None else group.old[rows, :size]
        advantage = group.advantages[rows, None].to(values.device)
        each = token_losses(values, reference, advantage, self.recipe.loss_options, old)
        loss = (each * mask * group.weights[rows, None].to(values.device)).sum()
        (loss * scale).backward()
        with torch.no_grad():
            lengths = mask.sum(dim=1)
            entropy = float((told.entropy.sum(dim=1) / lengths).sum())
            kl = 0.0
            if reference is not None:
                kl = float(((kl_k3(values, reference) * mask).sum(dim=1) / lengths).sum())
        return float(loss.detach()), kl, entropy


def token_weights(
    lengths: Sequence[int], is_cut: Sequence[bool], recipe: RftRecipe
) -> torch.Tensor:
    """``[G]`` weight of each token of an answer in the loss of its group.

    Args:
        lengths: Tokens of each answer.
        is_cut: Whether the longest length ended it.
        recipe: Rule of the loss, and whether such answers teach something.
    """
    masked = [cut and recipe.mask_truncated for cut in is_cut]
    if recipe.loss == "token_mean":
        total = sum(n for n, left_out in zip(lengths, masked, strict=True) if not left_out)
        weights = [1.0 / max(1, total)] * len(lengths)
    else:
        weights = [1.0 / (len(lengths) * max(1, n)) for n in lengths]
    return torch.tensor([0.0 if m else w for w, m in zip(weights, masked, strict=True)])


def open_policy(
    recipe: RftRecipe, source: str | Path, group: Processes
) -> tuple[PolicyEngine, RoboReferProcessor]:
    """Open a checkpoint as policy and, where it is needed, once more as reference.

    Raises:
        CheckpointInvalidError, CheckpointNotFoundError: no usable checkpoint.
        ConfigurationError: it lacks a part that is to learn.
    """
    model, processor = _opened(recipe, source)
    select_weights(model, recipe.learning_parts)
    if recipe.lora_rank:
        add_adapters(model, recipe)
    reference = None
    if recipe.beta > 0.0 and not _adapters_are_all(recipe):
        reference, _ = _opened(recipe, source)
    return PolicyEngine(model, processor, recipe, group, reference), processor


def _adapters_are_all(recipe: RftRecipe) -> bool:
    """Whether the policy without its adapters is the reference."""
    return recipe.lora_rank > 0 and recipe.learning_parts == ("llm",)


def _opened(recipe: RftRecipe, source: str | Path) -> tuple[RoboRefer, RoboReferProcessor]:
    model, processor = load_roborefer(source, dtype=torch.float32, keep_unused=True)
    config = with_geometry(model.config, recipe.tiling, recipe.max_tiles)
    model.config = processor.config = config
    return model, processor


def _widened(rows: torch.Tensor, size: int) -> torch.Tensor:
    return nn.functional.pad(rows, (0, size - rows.shape[1]))
