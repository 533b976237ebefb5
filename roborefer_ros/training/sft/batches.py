# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""From samples to batches of tensors: tiles, token ids, labels, never cut through a picture."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from torch.utils.data import DataLoader, Sampler

from roborefer_ros.errors import ConfigurationError
from roborefer_ros.models.roborefer.configuration import RoboReferConfig
from roborefer_ros.models.roborefer.labels import (
    IGNORE,
    TrainingItem,
    collate,
    training_item,
)
from roborefer_ros.models.roborefer.processing import RoboReferProcessor
from roborefer_ros.training.data.dataset import LoadedSample
from roborefer_ros.training.data.items import fit_item


@dataclass(frozen=True)
class Batch:
    """The samples that one process passes through the network at once.

    Attributes:
        tensors: Of them, as the objective's module takes them.
        names: What each row's loss is counted under in the log: its data set.
        origins: Where the rows come from, without their pictures; empty where none can be
            defective.
        positions: Rows of the language model's input, without padding.
        cut_pairs: Question-answer pairs that did not fit into the longest sample.
        lost_rows: Samples of which not even one pair fitted.
    """

    tensors: Any
    names: tuple[str, ...]
    positions: int
    origins: tuple[LoadedSample, ...] = ()
    cut_pairs: int = 0
    lost_rows: int = 0


class Samples(Protocol):
    """What is learned from, by number, e.g. ``training.data.dataset.MixtureDataset``."""

    def __len__(self) -> int: ...

    def __getitem__(self, number: int, /) -> Any: ...


#: samples -> their batch; runs in the processes that load
Collate = Callable[[Sequence[Any]], Batch]


class Collator:
    """Makes a batch of samples; runs in the processes that load.

    Args:
        processor: Of the checkpoint that is trained.
        max_length: Most rows of a sample, media rows included.  Whole pairs are dropped from the
            end of a longer one; what is longer with one pair alone counts nothing.
    """

    def __init__(self, processor: RoboReferProcessor, max_length: int) -> None:
        self._processor = processor
        self._limit = min(max_length, processor.max_length)

    def __call__(self, samples: Sequence[LoadedSample]) -> Batch:
        """The batch of some samples, which may come from different data sets."""
        items, positions, cut, lost = [], 0, 0, 0
        for loaded in samples:
            fitted = fit_item(self._processor, loaded, self._limit)
            if fitted is None:
                cut += len(loaded.sample.row.pairs)
                lost += 1
                items.append(self._nothing())
                continue
            cut += fitted.dropped_pairs
            positions += fitted.rows
            items.append(fitted.item)
        return Batch(
            collate(items, self._processor.tokenizer.pad_token_id, self._limit),
            tuple(loaded.sample.dataset for loaded in samples),
            positions,
            tuple(replace(loaded, images=(), depths=()) for loaded in samples),
            cut,
            lost,
        )

    def _nothing(self) -> TrainingItem:
        """A row without anything to learn."""
        turns = [{"from": "human", "value": "-"}, {"from": "gpt", "value": "-"}]
        item = training_item(self._processor, turns)
        return replace(item, labels=torch.full_like(item.labels, IGNORE))


def with_geometry(config: RoboReferConfig, tiling: str, max_tiles: int) -> RoboReferConfig:
    """The configuration with the tiles that a recipe asks for.

    Args:
        config: Of the checkpoint.
        tiling: ``dynamic`` or ``resize``.
        max_tiles: Most tiles; 0 for the checkpoint's.

    Raises:
        ConfigurationError: the checkpoint is of the 8B kind, whose scales are fixed.
    """
    if tiling == "dynamic" and not max_tiles:
        return config
    if config.image_aspect_ratio != "dynamic":
        raise ConfigurationError(
            "max_tiles and tiling are for checkpoints of the 2B kind; the 8B kind has fixed scales "
            f"({', '.join(map(str, config.s2_scales))} pixels)"
        )
    most = 1 if tiling == "resize" else max_tiles
    return replace(config, max_tiles=most, min_tiles=min(config.min_tiles, most))


def open_loader(
    samples: Samples, order: Sequence[Any], collator: Callable[[Any], Any], workers: int
) -> Iterator[Any]:
    """Load batches in a given order, ahead of time where there are workers.

    Args:
        samples: All samples.
        order: Numbers of the samples of each batch.
        collator: Makes a batch of a list of samples.
        workers: Processes; 0 loads in this one.
    """
    options: Mapping[str, Any] = {}
    if workers:
        options = {"prefetch_factor": 2, "worker_init_fn": _quiet_worker}
    loader: DataLoader[Any] = DataLoader(
        samples,  # type: ignore[arg-type]
        batch_sampler=_Order(order),
        collate_fn=collator,
        num_workers=workers,
        **options,
    )
    yield from loader


class _Order(Sampler[list[int]]):
    """Batches of numbers that were decided before; an epoch has millions."""

    def __init__(self, order: Sequence[Sequence[int]]) -> None:
        self._order = order

    def __iter__(self) -> Iterator[list[int]]:
        return ([int(number) for number in batch] for batch in self._order)

    def __len__(self) -> int:
        return len(self._order)


def _quiet_worker(number: int) -> None:
    """Leave signals to the training process, which ends its workers when it has saved."""
    del number
    for name in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT):
        signal.signal(name, signal.SIG_IGN)
    torch.set_num_threads(1)
