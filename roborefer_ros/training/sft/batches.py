# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""From samples to batches of tensors: tiles, token ids, labels, never cut through a picture."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch

from roborefer_ros.models.roborefer.configuration import RoboReferConfig, downsampling
from roborefer_ros.models.roborefer.labels import (
    IGNORE,
    Picture,
    TrainingBatch,
    TrainingItem,
    collate,
    training_item,
)
from roborefer_ros.models.roborefer.processing import (
    DEPTH,
    IMAGE,
    RoboReferProcessor,
    TiledPictures,
)


class Described(Protocol):
    """What a sample says about itself."""

    @property
    def dataset(self) -> str: ...

    @property
    def conversation(self) -> list[dict[str, str]]: ...


class Loaded(Protocol):
    """A sample with its pictures, ``[H, W, 3]`` uint8 each; depth pairs with image by position."""

    @property
    def sample(self) -> Described: ...

    @property
    def images(self) -> Sequence[Picture]: ...

    @property
    def depths(self) -> Sequence[Picture]: ...

    @property
    def skipped(self) -> Sequence[str]: ...


class Samples(Protocol):
    """Numbered samples, e.g. ``training.data.dataset.MixtureDataset``."""

    def __len__(self) -> int: ...

    def __getitem__(self, number: int, /) -> Loaded: ...


@dataclass(frozen=True)
class Batch:
    """The samples that one process passes through the network at once.

    Attributes:
        tensors: Of them.
        datasets: Name of the data set of each row.
        skipped: For each row: messages of the samples that it stands in for.
        positions: Rows of the language model's input, without padding.
        cut_pairs: Question-answer pairs that did not fit into the longest sample.
        lost_rows: Samples of which not even one pair fitted.
    """

    tensors: TrainingBatch
    datasets: tuple[str, ...]
    skipped: tuple[tuple[str, ...], ...]
    positions: int
    cut_pairs: int
    lost_rows: int


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

    def __call__(self, samples: Sequence[Loaded]) -> Batch:
        """The batch of some samples, which may come from different data sets."""
        items, positions, cut, lost = [], 0, 0, 0
        for loaded in samples:
            item, dropped = self._fitted(loaded)
            cut += dropped
            if item is None:
                lost += 1
                item = self._nothing()
            items.append(item)
            positions += spliced_length(self._processor, item)
        return Batch(
            collate(items, self._processor.tokenizer.pad_token_id, self._limit),
            tuple(loaded.sample.dataset for loaded in samples),
            tuple(tuple(loaded.skipped) for loaded in samples),
            positions,
            cut,
            lost,
        )

    def _fitted(self, loaded: Loaded) -> tuple[TrainingItem | None, int]:
        """The longest item of whole pairs that fits, and the number of pairs left out."""
        turns = loaded.sample.conversation
        first = sum(turn["from"] == "system" for turn in turns[:1])
        pairs = (len(turns) - first) // 2
        for kept in range(pairs, 0, -1):
            item = training_item(
                self._processor, turns[: first + 2 * kept], loaded.images, loaded.depths
            )
            if spliced_length(self._processor, item) <= self._limit:
                return item, pairs - kept
        return None, pairs

    def _nothing(self) -> TrainingItem:
        """A row without anything to learn."""
        turns = [{"from": "human", "value": "-"}, {"from": "gpt", "value": "-"}]
        item = training_item(self._processor, turns)
        return replace(item, labels=torch.full_like(item.labels, IGNORE))


def spliced_length(processor: RoboReferProcessor, item: TrainingItem) -> int:
    """Rows of the language model's input: a token, or a medium's rows and a newline."""
    config = processor.config
    length = len(item.input_ids)
    for projector, pictures in (
        (config.projector_type, item.images),
        (config.depth_projector_type, item.depths),
    ):
        if pictures.pixel_values is not None and projector is not None:
            length += media_rows(config, projector, pictures)
    return length


def media_rows(config: RoboReferConfig, projector: str, pictures: TiledPictures) -> int:
    """Rows of some pictures behind the projector, without the newlines.

    Args:
        config: Of the network.
        projector: Its type.
        pictures: Tiled.
    """
    patch = config.vision.patch_size
    assert isinstance(patch, int)
    patches = config.tile_size // patch
    tile = (-(-patches // downsampling(projector))) ** 2
    if config.image_aspect_ratio == "dynamic":
        return tile * sum(pictures.counts)
    grids = [(scale // config.tile_size) ** 2 for scale in config.s2_scales[:-1]]
    index = config.s2_resize_output_to_scale_idx
    total = 0
    for rows, columns in pictures.block_sizes:
        total += tile * [*grids, rows * columns][index]
    return total


def check_placeholders(processor: RoboReferProcessor, item: TrainingItem) -> None:
    """Make sure that every placeholder has its picture.

    Raises:
        ValueError: their numbers differ.
    """
    ids = processor.splice_ids
    per_tile = processor.config.image_aspect_ratio == "dynamic"
    for kind, name, pictures in (("image", IMAGE, item.images), ("depth", DEPTH, item.depths)):
        wanted = sum(pictures.counts) if per_tile else len(pictures.counts)
        found = int((item.input_ids == ids[f"{kind}_token_id"]).sum())
        if found != wanted:
            raise ValueError(f"{found} placeholders {name} for {wanted} media")


def with_geometry(config: RoboReferConfig, tiling: str, max_tiles: int) -> RoboReferConfig:
    """The configuration with the tiles that a recipe asks for.

    Args:
        config: Of the checkpoint.
        tiling: ``dynamic`` or ``resize``.
        max_tiles: Most tiles; 0 for the checkpoint's.

    Raises:
        ConfigurationError: the checkpoint is of the 8B kind, whose scales are fixed.
    """
    from roborefer_ros.errors import ConfigurationError

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
    samples: Samples, order: Sequence[Sequence[int]], collator: Collator, workers: int
) -> Iterator[Batch]:
    """Load batches in a given order, ahead of time where there are workers.

    Args:
        samples: All samples.
        order: Numbers of the samples of each batch.
        collator: Makes the batches.
        workers: Processes; 0 loads in this one.
    """
    from torch.utils.data import DataLoader

    options: Mapping[str, Any] = {}
    if workers:
        options = {"prefetch_factor": 2, "worker_init_fn": _quiet_worker}
    loader: DataLoader[Any] = DataLoader(
        samples,  # type: ignore[arg-type]
        batch_sampler=[[int(number) for number in batch] for batch in order],
        collate_fn=collator,
        num_workers=workers,
        **options,
    )
    yield from loader


def _quiet_worker(number: int) -> None:
    """Leave signals to the training process, which ends its workers when it has saved."""
    del number
    for name in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT):
        signal.signal(name, signal.SIG_IGN)
    torch.set_num_threads(1)
