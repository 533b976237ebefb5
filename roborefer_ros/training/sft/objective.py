# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""What is learned, behind one seam: where the network comes from, its batches, and their loss.

The loop, the engine, states, log, evaluation and export know nothing more of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn

from roborefer_ros.errors import ConfigurationError
from roborefer_ros.models.roborefer.checkpoint import load_roborefer
from roborefer_ros.models.roborefer.modeling import RoboRefer
from roborefer_ros.models.roborefer.processing import RoboReferProcessor
from roborefer_ros.training.sft.batches import Collate, Collator, Samples, with_geometry
from roborefer_ros.training.sft.lora import add_adapters
from roborefer_ros.training.sft.module import StageModule
from roborefer_ros.training.sft.questions import QuestionSet
from roborefer_ros.training.sft.recipe import SftRecipe
from roborefer_ros.training.sft.stages import select_weights


class Objective(Protocol):
    """What a run learns."""

    def network(
        self, recipe: SftRecipe, source: str | Path, folder: Path | None
    ) -> tuple[RoboRefer, RoboReferProcessor]:
        """The network in float32 on the CPU, the weights that learn already chosen.

        Args:
            recipe: Of the run.
            source: Checkpoint to start from; empty for weights at random, where the objective
                allows it.
            folder: Of the run, where the objective may keep what it made; None keeps nothing.

        Raises:
            ConfigurationError: the recipe does not fit the checkpoint.
            CheckpointInvalidError, CheckpointNotFoundError: no usable checkpoint.
        """

    def module(
        self,
        model: RoboRefer,
        processor: RoboReferProcessor,
        recipe: SftRecipe,
        autocast: torch.dtype | None,
    ) -> nn.Module:
        """The network with its loss.

        Args:
            model: Of ``network``.
            processor: Likewise.
            recipe: Of the run.
            autocast: Type of the computation under autocast; None for that of the weights.

        Returns:
            Module with ``model``, ``processor``, ``autocast``, ``forward(tensors) -> StageLoss``
            and ``weight(tensors)``: the learned tokens of a batch, which its loss is divided by.
        """

    def collator(self, processor: RoboReferProcessor, recipe: SftRecipe) -> Collate:
        """Makes batches of samples."""

    def finish(self, model: RoboRefer, processor: RoboReferProcessor) -> None:
        """Change weights that are not learned, before the network is exported."""


class AnswersObjective:
    """The answers of rows, as the reference learns them, from a checkpoint."""

    def network(
        self, recipe: SftRecipe, source: str | Path, folder: Path | None
    ) -> tuple[RoboRefer, RoboReferProcessor]:
        """See ``Objective.network``."""
        del folder
        if not str(source):
            raise ConfigurationError("which checkpoint is trained? Name it with --model")
        model, processor = load_roborefer(source, dtype=torch.float32, keep_unused=True)
        config = with_geometry(model.config, recipe.tiling, recipe.max_tiles)
        model.config = processor.config = config
        select_weights(model, recipe.learning_parts)
        if recipe.lora_rank:
            add_adapters(model, recipe)
        return model, processor

    def module(
        self,
        model: RoboRefer,
        processor: RoboReferProcessor,
        recipe: SftRecipe,
        autocast: torch.dtype | None,
    ) -> nn.Module:
        """See ``Objective.module``."""
        return StageModule(
            model, processor, packing=recipe.packing, autocast=autocast, every_part=True
        )

    def collator(self, processor: RoboReferProcessor, recipe: SftRecipe) -> Collate:
        """See ``Objective.collator``."""
        return Collator(processor, recipe.max_length)

    def finish(self, model: RoboRefer, processor: RoboReferProcessor) -> None:
        """See ``Objective.finish``: there is nothing to change."""


ANSWERS = AnswersObjective()


@dataclass(frozen=True)
class Data:
    """What is learned, and what it is learned from.

    Attributes:
        samples: All of them.
        lengths: Samples of each data set, in order.
        digest: Name of the mixture's content, which must be the same when a run goes on.
        objective: Makes network, batches and loss.
        held_out: Samples that are never trained on, for their loss; loaded when they are asked
            for.
        questions: What is asked in evaluations.
        names: Options of the recipe that say what the data is, for the report.
    """

    samples: Samples
    lengths: tuple[int, ...]
    digest: str
    objective: Objective = ANSWERS
    held_out: Samples | Sequence[Any] = ()
    questions: tuple[QuestionSet, ...] = ()
    names: Mapping[str, str] = field(default_factory=dict)
