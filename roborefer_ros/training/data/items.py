# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""From a loaded sample to ids, labels and tiles, within a length; and batches of those.

The reference cuts the ids at the limit, which can drop placeholders whose pictures stay: its step
then fails.  Here whole question-answer pairs are dropped from the end, never a part of one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from roborefer_ros.errors import ConfigurationError
from roborefer_ros.models.roborefer.configuration import RoboReferConfig, downsampling, part_folders
from roborefer_ros.models.roborefer.labels import TrainingItem, training_item
from roborefer_ros.models.roborefer.processing import RoboReferProcessor, TiledPictures
from roborefer_ros.models.roborefer.tokenizing import load_tokenizer
from roborefer_ros.training.data.dataset import LoadedSample, MixtureDataset
from roborefer_ros.training.data.rows import conversation


def open_processor(folder: Path) -> RoboReferProcessor:
    """Tokenizer and image side of a checkpoint, without its weights.

    Args:
        folder: Of the checkpoint, in the official layout.

    Raises:
        CheckpointNotFoundError, CheckpointInvalidError: as ``checkpoint.load_roborefer``.
    """
    config = RoboReferConfig.from_folder(folder)
    tokenizer = load_tokenizer(part_folders(folder)["llm"], config.llm.vocab_size)
    return RoboReferProcessor(tokenizer, config)


@dataclass(frozen=True)
class FittedItem:
    """A training item that fits.

    Attributes:
        item: Ids, labels and tiles.
        rows: Length of the sequence with its media, in rows of the language model.
        dropped_pairs: Question-answer pairs that did not fit.
    """

    item: TrainingItem
    rows: int
    dropped_pairs: int = 0


def media_rows(processor: RoboReferProcessor, images: TiledPictures, depths: TiledPictures) -> int:
    """Rows of the language model that the pictures of a sample take, newlines included.

    Args:
        processor: Of the checkpoint.
        images: Tiles of the colour pictures.
        depths: Tiles of the depth pictures.
    """
    config = processor.config
    side = config.tile_size // _side(config.vision.patch_size)
    rows = 0
    for tiles, projector in (
        (images, config.projector_type),
        (depths, config.depth_projector_type),
    ):
        if projector is None or not tiles.counts:
            continue
        per_block = (-(-side // downsampling(projector))) ** 2
        if config.image_aspect_ratio == "dynamic":
            rows += sum(tiles.counts) * (per_block + 1)
        else:
            rows += sum(down * across * per_block + 1 for down, across in tiles.block_sizes)
    return rows


def fit_item(
    processor: RoboReferProcessor, loaded: LoadedSample, max_length: int | None = None
) -> FittedItem | None:
    """The item of a sample, without the last pairs where it is too long.

    Args:
        processor: Of the checkpoint.
        loaded: The sample with its pictures.
        max_length: Most rows of the language model; the checkpoint's own limit without it.

    Returns:
        None where not even one pair fits.
    """
    limit = min(max_length or processor.max_length, processor.max_length)
    row = loaded.sample.row
    low, high = 0, len(row.pairs)
    best: FittedItem | None = None
    count = high
    while low < high:  # the most pairs that fit; nearly always all of them
        turns = conversation(row.pairs[:count], row.system)
        item = training_item(processor, turns, loaded.images, loaded.depths)
        rows = _spliced_rows(processor, item)
        if rows <= limit:
            best, low = FittedItem(item, rows, len(row.pairs) - count), count
        else:
            high = count - 1
        count = (low + high + 1) // 2
    return best


def _side(size: int | Sequence[int]) -> int:
    return int(size if isinstance(size, int) else size[0])


def _spliced_rows(processor: RoboReferProcessor, item: TrainingItem) -> int:
    tokens = processor.splice_ids
    media = [tokens["image_token_id"], tokens["depth_token_id"]]
    text = int((~torch.isin(item.input_ids, torch.tensor(media))).sum())
    return text + media_rows(processor, item.images, item.depths)


@dataclass(frozen=True)
class LoadedItem:
    """What a worker of the loader hands over: the item (None if too long) and its origin."""

    fitted: FittedItem | None
    loaded: LoadedSample


class ItemDataset(Dataset[LoadedItem]):
    """Items of a mixture by number; pictures are dropped after they were tiled.

    Args:
        samples: Of the mixture.
        processor: Of the checkpoint.
        max_length: See ``fit_item``.
    """

    def __init__(
        self, samples: MixtureDataset, processor: RoboReferProcessor, max_length: int | None = None
    ) -> None:
        self.samples, self._processor, self._max_length = samples, processor, max_length

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, number: int) -> LoadedItem:
        loaded = self.samples[int(number)]
        fitted = fit_item(self._processor, loaded, self._max_length)
        return LoadedItem(fitted, replace(loaded, images=(), depths=()))


class _Order(Sampler[list[int]]):
    """Batches of numbers that were decided before."""

    def __init__(self, batches: Sequence[npt.NDArray[np.int64]]) -> None:
        self._batches = batches

    def __iter__(self) -> Iterator[list[int]]:
        return (batch.tolist() for batch in self._batches)

    def __len__(self) -> int:
        return len(self._batches)


def item_loader(
    items: ItemDataset, batches: Sequence[npt.NDArray[np.int64]], workers: int = 0
) -> DataLoader[list[LoadedItem]]:
    """Batches of items in a given order, the same with any number of workers.

    Args:
        items: Of the mixture.
        batches: Numbers of each batch (``MixtureSampler.batches``).
        workers: Processes; 0 reads in this one.
    """
    if workers < 0:
        raise ConfigurationError(f"workers is {workers}; it must be 0 or more")
    dataset: Any = items  # the stubs know no collate_fn that changes the type
    return DataLoader(
        dataset,
        batch_sampler=_Order(batches),
        num_workers=workers,
        collate_fn=_as_list,
        persistent_workers=False,
        multiprocessing_context="fork" if workers else None,
    )


def _as_list(items: list[LoadedItem]) -> list[LoadedItem]:
    return items
