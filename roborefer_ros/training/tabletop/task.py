# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The bundled network as something that ``roborefer sft`` trains: recipe, data, network, loss.

Loop, engine, states, log, evaluation and export are those of ``training.sft``.
"""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import AutoTokenizer

from roborefer_ros.errors import CheckpointInvalidError, ConfigurationError
from roborefer_ros.files import replaced_folder, restore_folder
from roborefer_ros.models.roborefer.configuration import PARTS
from roborefer_ros.models.roborefer.modeling import RoboRefer
from roborefer_ros.models.roborefer.processing import RoboReferProcessor
from roborefer_ros.models.roborefer.tokenizing import check_files
from roborefer_ros.training.sft.batches import Batch, Collate
from roborefer_ros.training.sft.engine import Processes
from roborefer_ros.training.sft.module import StageLoss
from roborefer_ros.training.sft.objective import Data
from roborefer_ros.training.sft.questions import QuestionSet, benchmark_set
from roborefer_ros.training.sft.recipe import SftRecipe
from roborefer_ros.training.sft.stages import select_weights
from roborefer_ros.training.tabletop.dataset import Sample, read_samples
from roborefer_ros.training.tabletop.loader import Batch as TabletopBatch
from roborefer_ros.training.tabletop.loader import BatchLoader
from roborefer_ros.training.tabletop.objective import TabletopLosses
from roborefer_ros.training.tabletop.packing import IGNORE
from roborefer_ros.training.tabletop.recipe import TabletopRecipe, build_network
from roborefer_ros.training.tabletop.segments import segments_of
from roborefer_ros.training.tabletop.tokenizer import share_request, train_tokenizer
from roborefer_ros.training.tabletop.warm_start import start_from

#: name of the rows in the log
_NAME = "tabletop"

#: folder of a run with the tokenizer that its weights belong to
_TOKENIZER = "tokenizer"


class TabletopSamples:
    """Images of a data set by number, with the epoch that their questions are drawn for.

    Args:
        numbers: Of the images.
        epoch: Set by the loop before an epoch; -1 draws and changes nothing at random.
    """

    def __init__(self, numbers: Sequence[int], epoch: int = 0) -> None:
        self._numbers, self.epoch = numbers, epoch

    def __len__(self) -> int:
        return len(self._numbers)

    def __getitem__(self, number: int) -> tuple[int, int]:
        """Number of an image in the data set, and the epoch."""
        return self._numbers[number], self.epoch


class TabletopModule(nn.Module):
    """The network with its losses.

    Args:
        losses: Losses of a batch, with the network and the heads that only training has.
        processor: Of the network.
        recipe: Of the run.
        autocast: Type of the computation; None for that of the weights.
    """

    def __init__(
        self,
        losses: TabletopLosses,
        processor: RoboReferProcessor,
        recipe: TabletopRecipe,
        autocast: torch.dtype | None,
    ) -> None:
        super().__init__()
        self.losses = losses
        self.processor, self.autocast = processor, autocast
        self._weights = recipe.loss_weights
        self._settling = round(recipe.warmup * recipe.max_steps)
        self.register_buffer("steps", torch.zeros((), dtype=torch.long))

    @property
    def model(self) -> RoboRefer:
        """The network, without the heads that only training has."""
        return self.losses.model

    def forward(self, batch: TabletopBatch) -> StageLoss:
        """The loss of a batch; see ``StageLoss``."""
        device = self.model.device
        assert isinstance(self.steps, torch.Tensor)
        settled = not self.training or int(self.steps) >= self._settling
        if self.training:
            self.steps += 1
        with torch.autocast(
            device.type, dtype=self.autocast or torch.bfloat16, enabled=self.autocast is not None
        ):
            parts = self.losses(batch, device, settled)
        answer = parts.pop("answer")
        weight = self.weight(batch)
        further = sum(self._weights[name] * part for name, part in parts.items())
        return StageLoss(
            total=(answer + further) * weight,
            per_row=(answer.detach() * weight)[None],
            tokens=torch.tensor([weight]),
            parts={"answer": answer.detach(), **{n: p.detach() for n, p in parts.items()}},
        )

    @staticmethod
    def weight(batch: TabletopBatch) -> float:
        """Weight of the learned tokens of a batch."""
        return float(batch.packed.weights[batch.packed.labels != IGNORE].sum())


class TabletopObjective:
    """Answers to packed questions about simulated tabletops, and what is seen on the way.

    Args:
        root: Folder of the data set.
        samples: Of it.
        tokenizer: Learned from its text.
    """

    def __init__(self, root: Path, samples: Sequence[Sample], tokenizer: Any) -> None:
        self._root, self._samples, self._tokenizer = root, samples, tokenizer

    def network(
        self, recipe: SftRecipe, source: str | Path, folder: Path | None
    ) -> tuple[RoboRefer, RoboReferProcessor]:
        """See ``Objective.network``; a checkpoint is taken as far as its shapes fit."""
        del folder
        assert isinstance(recipe, TabletopRecipe)
        torch.manual_seed(recipe.seed)
        model = build_network(recipe, self._tokenizer)
        if str(source):
            start_from(Path(source), model, self._tokenizer)
        select_weights(model, tuple(PARTS))
        return model, RoboReferProcessor(self._tokenizer, model.config)

    def module(
        self,
        model: RoboRefer,
        processor: RoboReferProcessor,
        recipe: SftRecipe,
        autocast: torch.dtype | None,
    ) -> nn.Module:
        """See ``Objective.module``."""
        assert isinstance(recipe, TabletopRecipe)
        _, prefix = segments_of(processor.tokenizer, self._samples[:1], recipe.projected_grid)
        losses = TabletopLosses(model, processor.tokenizer, prefix, recipe)
        if recipe.compiled:
            losses.compile_passes()
        return TabletopModule(losses, processor, recipe, autocast)

    def collator(self, processor: RoboReferProcessor, recipe: SftRecipe) -> Collate:
        """See ``Objective.collator``."""
        assert isinstance(recipe, TabletopRecipe)
        segments, _ = segments_of(processor.tokenizer, self._samples, recipe.projected_grid)
        pad = processor.tokenizer.pad_token_id
        loader = BatchLoader(self._root, self._samples, segments, recipe, pad)

        def collate(chosen: Sequence[tuple[int, int]]) -> Batch:
            numbers, epochs = [number for number, _ in chosen], {epoch for _, epoch in chosen}
            (epoch,) = epochs
            rng = np.random.default_rng((recipe.seed, epoch + 1, *numbers))
            batch = loader.batch(numbers, rng, augment=epoch >= 0)
            names = (_NAME,) * len(numbers)
            return Batch(batch, names, positions=int(batch.packed.input_ids.numel()))

        return collate

    def finish(self, model: RoboRefer, processor: RoboReferProcessor) -> None:
        """See ``Objective.finish``: all ways of asking for points are the one that was learned."""
        share_request(model.llm.model.embed_tokens.weight, processor.tokenizer)


def open_tabletop_data(
    options: argparse.Namespace, recipe: TabletopRecipe, group: Processes
) -> Data:
    """A folder of ``roborefer simulate``.

    Args:
        options: Of the command line; ``data`` is the folder.
        recipe: Of the run.
        group: The processes.

    Raises:
        ConfigurationError: no folder is named, or it holds too few images.
    """
    if options.data is None:
        raise ConfigurationError("which data? Name a folder of `roborefer simulate` with --data")
    try:
        samples = read_samples(options.data)
    except ValueError as error:
        raise ConfigurationError(str(error)) from error
    needed = recipe.validation_images + recipe.global_batch
    if len(samples) < needed:
        raise ConfigurationError(
            f"{options.data} holds {len(samples)} images, at least {needed} are needed "
            "(validation_images and global_batch); make more with `roborefer simulate`"
        )
    tokenizer = _tokenizer(samples, recipe, options.output, group)
    trained = range(recipe.validation_images, len(samples))
    digest = hashlib.sha256(repr([str(sample.image) for sample in samples]).encode()).hexdigest()
    questions: tuple[QuestionSet, ...] = ()
    if recipe.benchmark:
        questions = (benchmark_set(recipe.benchmark, recipe.eval_samples, recipe.seed),)
    return Data(
        TabletopSamples(trained),
        (len(trained),),
        digest,
        TabletopObjective(options.data, samples, tokenizer),
        TabletopSamples(range(recipe.validation_images), epoch=-1),
        questions,
        {"data": str(options.data), "samples": str(len(trained))},
    )


def _tokenizer(
    samples: Sequence[Sample], recipe: TabletopRecipe, output: Path | None, group: Processes
) -> Any:
    """That of the run so far, since its weights depend on it; else learned from the text.

    The first process writes it into the run's folder, while the others wait.
    """
    texts = (t for s in samples for turn in s.turns for t in (turn.question, turn.answer))
    if output is None:
        return train_tokenizer(texts, recipe.vocabulary)
    folder = output / _TOKENIZER
    if group.is_first:
        restore_folder(folder)
        if not folder.exists():
            tokenizer = train_tokenizer(texts, recipe.vocabulary)
            with replaced_folder(folder) as partial:
                tokenizer.save_pretrained(partial)
    group.wait()
    return _stored_tokenizer(folder)


def _stored_tokenizer(folder: Path) -> Any:
    try:
        check_files(folder)
        if not (folder / "tokenizer.json").exists():
            raise CheckpointInvalidError(f"{folder} holds no tokenizer.json")
        return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # tokenizers raises bare Exception
        raise CheckpointInvalidError(
            f"the run's tokenizer in {folder} cannot be read ({error}); the weights depend on it: "
            "restore it from a copy, or begin anew with another --output"
        ) from error
