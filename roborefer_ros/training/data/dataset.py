# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Samples of a mixture: conversations with pictures that are opened when they are asked for."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from roborefer_ros.errors import ConfigurationError
from roborefer_ros.files import read_json
from roborefer_ros.training.data.defects import Defect
from roborefer_ros.training.data.held_out import is_held_out
from roborefer_ros.training.data.index import RowIndex, open_index, usable
from roborefer_ros.training.data.mixtures import Part
from roborefer_ros.training.data.pictures import (
    Picture,
    PictureError,
    locate,
    open_depth,
    open_rgb,
    shape_mismatch,
)
from roborefer_ros.training.data.registry import DatasetSpec
from roborefer_ros.training.data.rows import (
    Pair,
    Row,
    Rules,
    ThinkMode,
    conversation,
    render_think,
    shuffled,
)

#: share of skipped samples beyond which a run stops
SKIP_LIMIT = 0.001

#: samples that are tried in place of a defective one
_MOST_TRIES = 100

_SUBSET_SEED = 20_250_604


@dataclass(frozen=True)
class ReadOptions:
    """How samples are made of rows.

    Attributes:
        think: Where a data set does not say it itself.
        max_turns: Most pairs of a sample, where it is less than the data set's own limit.
        shuffle_turns: Whether the pairs of a sample come in another order in every epoch.
        seed: Of that order.
        on_error: ``skip`` takes the next sample of the data set for one with a defective picture.
        strict_shapes: Whether depth of another aspect ratio than its picture is a defect of the
            sample; else it is noted and learned, as by the reference.
        slice_folder: With ``<subset>/<name>.json``: rows that ``name@subset`` leaves out.
        index_dir: Folder of the indexes; beside the JSON without it.
        held_out: Share of the scenes that are not trained on; a sample of one is replaced by the
            next of its data set.
    """

    think: ThinkMode = field(default_factory=ThinkMode)
    max_turns: int | None = None
    shuffle_turns: bool = False
    seed: int = 42
    on_error: Literal["skip", "raise"] = "skip"
    strict_shapes: bool = False
    slice_folder: Path | None = None
    index_dir: Path | None = None
    held_out: float = 0.0


@dataclass(frozen=True)
class Sample:
    """One sample of training; its pictures are still files.

    Attributes:
        dataset: Name of its data set.
        row_number: Of its row in the JSON, from 0.
        row: With the pairs of this sample alone, rendered as they are learned.
        spec: Of the data set.
    """

    dataset: str
    row_number: int
    row: Row
    spec: DatasetSpec

    @property
    def conversation(self) -> list[dict[str, str]]:
        """LLaVA's turns, without placeholders."""
        return conversation(self.row.pairs, self.row.system)

    def image_paths(self) -> list[Path]:
        """Files of the pictures.

        Raises:
            PictureError: one is missing.
        """
        return self._paths(self.spec.image, self.row.images)

    def depth_paths(self) -> list[Path]:
        """Files of the depth pictures, none for RGB."""
        return self._paths(self.spec.depth, self.row.depths) if self.spec.depth else []

    def load(self, *, strict_shapes: bool = False) -> LoadedSample:
        """Open the pictures.

        Args:
            strict_shapes: See ``ReadOptions``.

        Raises:
            PictureError: one is missing or damaged, or of another shape.
        """
        images, depths = self.image_paths(), self.depth_paths()
        opened = [open_rgb(path) for path in images]
        deep = [open_depth(path, self.spec.depth_encoding) for path in depths]
        notes = Counter(note.key for picture in (*opened, *deep) for note in picture.notes)
        for path, depth_path, image, depth in zip(images, depths, opened, deep, strict=False):
            message = shape_mismatch(path, depth_path, image.size, depth.size)
            if message and strict_shapes:
                raise PictureError(Defect.DEPTH_SHAPE, message)
            if message:
                notes[Defect.DEPTH_SHAPE.key] += 1
        return LoadedSample(
            self, tuple(p.pixels for p in opened), tuple(p.pixels for p in deep), notes
        )

    def _paths(self, folder: Path | None, names: Sequence[str]) -> list[Path]:
        absolute = self.spec.absolute_paths
        return [locate(folder, name, absolute=absolute).path for name in names]


@dataclass(frozen=True)
class LoadedSample:
    """A sample with its pictures.

    Attributes:
        sample: Where it comes from, and its conversation.
        images, depths: ``[H, W, 3]`` uint8 each.
        notes: Key of a defect that was mended while reading -> pictures.
        skipped: Messages of the samples that this one stands in for.
    """

    sample: Sample
    images: tuple[Picture, ...]
    depths: tuple[Picture, ...]
    notes: Counter[str] = field(default_factory=Counter)
    skipped: tuple[str, ...] = ()


class PartDataset:
    """The samples of one data set of a mixture.

    A row with more pairs than ``max_turns`` is several samples.

    Args:
        part: Of the mixture.
        options: How samples are made.

    Raises:
        ConfigurationError: the JSON or the list of a subset is missing or damaged, or nothing
            usable is left.
    """

    def __init__(self, part: Part, options: ReadOptions) -> None:
        self.part, self.spec, self._options = part, part.spec, options
        self.index: RowIndex = open_index(self.spec.data, Rules.of(self.spec), options.index_dir)
        limits = [n for n in (self.spec.max_turns, options.max_turns) if n]
        self.max_turns = min(limits) if limits else None
        self._think = ThinkMode.parse(self.spec.think) if self.spec.think else options.think
        pairs = usable(self.index, with_depth=self.spec.depth is not None)
        self.left_out = self._leave_out(pairs)
        slices = np.minimum(pairs, 1) if self.max_turns is None else -(-pairs // self.max_turns)
        self._starts = np.concatenate([[0], np.cumsum(slices)])
        self._chosen = self._share(int(self._starts[-1]))
        self.unique = int(self._starts[-1]) if self._chosen is None else len(self._chosen)
        if not self.unique:
            raise ConfigurationError(
                f"{part.text}: {self.spec.data} has no usable samples "
                "(roborefer dataset check tells why)"
            )

    def __len__(self) -> int:
        return self.unique * self.part.times

    def sample(self, number: int, epoch: int = 0) -> Sample:
        """A sample by its number in the data set.

        Args:
            number: From 0.
            epoch: For ``shuffle_turns``.
        """
        number %= self.unique
        if self._chosen is not None:
            number = int(self._chosen[number])
        row_number = int(np.searchsorted(self._starts, number, side="right")) - 1
        row = self.index.row(row_number)
        if row is None:
            raise ConfigurationError(
                f"{self.index.folder} is damaged at row {row_number}; remove it"
            )
        first = (number - int(self._starts[row_number])) * (self.max_turns or 0)
        pairs: tuple[Pair, ...] = row.pairs[first:][: self.max_turns]
        if self._options.shuffle_turns:
            pairs = shuffled(pairs, self._options.seed, epoch, row_number, first)
        shown = tuple(render_think(p) if self._think.shows(row.id, p) else p for p in pairs)
        own = Row(row.id, row.images, row.depths if self.spec.depth else (), shown, row.system)
        return Sample(self.spec.name, row_number, own, self.spec)

    def load(self, number: int, epoch: int = 0) -> LoadedSample:
        """A sample with its pictures, or the next one where they are defective.

        Raises:
            PictureError: with ``on_error="raise"``, or too many defective samples in a row.
        """
        skipped: list[str] = []
        share = self._options.held_out
        for step in range(self.unique):
            sample = self.sample(number + step, epoch)
            if share and is_held_out(sample.row, share):
                continue
            if len(skipped) >= _MOST_TRIES:
                break
            try:
                loaded = sample.load(strict_shapes=self._options.strict_shapes)
            except PictureError as error:
                if self._options.on_error == "raise":
                    raise
                skipped.append(f"{self.spec.name}: {error}")
                continue
            if not skipped:
                return loaded
            return LoadedSample(
                loaded.sample, loaded.images, loaded.depths, loaded.notes, tuple(skipped)
            )
        if not skipped:
            raise ConfigurationError(
                f"{self.part.text}: held_out {share:g} holds all {self.unique} samples out; lower "
                "it, or train on more pictures"
            )
        raise PictureError(
            Defect.BROKEN_PICTURE, f"{len(skipped)} samples in a row are defective; {skipped[-1]}"
        )

    def _leave_out(self, pairs: npt.NDArray[np.int64]) -> int:
        """Set the pairs of the subset's rows to 0; returns the number of those rows."""
        if not self.part.subset:
            return 0
        folder = self._options.slice_folder
        if folder is None:
            raise ConfigurationError(
                f"{self.part.text}: where are the lists of its subset? Name their folder with "
                "--slice-folder or VILA_SLICE_FOLDER"
            )
        path = folder / self.part.subset / f"{self.spec.name}.json"
        numbers = read_json(path)
        if not isinstance(numbers, list) or not all(type(n) is int and n >= 0 for n in numbers):
            raise ConfigurationError(f"{path} is not a list of row numbers")
        rows = np.array([n for n in set(numbers) if n < len(pairs)], np.int64)
        pairs[rows] = 0
        return len(rows)

    def _share(self, samples: int) -> npt.NDArray[np.int64] | None:
        if self.part.share == 1.0:
            return None
        count = max(1, round(samples * self.part.share)) if samples else 0
        generator = np.random.Generator(np.random.PCG64(_SUBSET_SEED))
        return np.sort(generator.permutation(samples)[:count])


class MixtureDataset:
    """All samples of a mixture under one count, for ``torch.utils.data.DataLoader`` or alone.

    Args:
        parts: Of ``mixtures.expand``.
        options: How samples are made.

    Raises:
        ConfigurationError: see ``PartDataset``.
    """

    def __init__(self, parts: Sequence[Part], options: ReadOptions | None = None) -> None:
        self.parts = [PartDataset(part, options or ReadOptions()) for part in parts]
        self.lengths = [len(part) for part in self.parts]
        self._ends = np.cumsum(self.lengths)
        #: Set before the loader of an epoch starts.
        self.epoch = 0

    def __len__(self) -> int:
        return int(self._ends[-1]) if self.parts else 0

    def __getitem__(self, number: int) -> LoadedSample:
        part, own = self._find(number)
        return part.load(own, self.epoch)

    def sample(self, number: int) -> Sample:
        """A sample whose pictures are not opened."""
        part, own = self._find(number)
        return part.sample(own, self.epoch)

    def _find(self, number: int) -> tuple[PartDataset, int]:
        if not 0 <= number < len(self):
            raise IndexError(f"sample {number} of {len(self)}")
        which = int(np.searchsorted(self._ends, number, side="right"))
        return self.parts[which], int(number) - int(self._ends[which]) + self.lengths[which]


class SkipTally:
    """Counts skipped samples of each data set; too many end the run.

    Args:
        limit: Largest share of skipped samples.
        grace: Samples before the share counts.
    """

    def __init__(self, limit: float = SKIP_LIMIT, grace: int = 1000) -> None:
        self.seen: Counter[str] = Counter()
        self.skipped: Counter[str] = Counter()
        self.last: dict[str, str] = {}
        self._limit, self._grace = limit, grace

    def add(self, loaded: LoadedSample) -> None:
        """Count a sample.

        Raises:
            ConfigurationError: more than the limit of a data set was skipped.
        """
        name = loaded.sample.dataset
        self.seen[name] += 1
        if not loaded.skipped:
            return
        self.skipped[name] += len(loaded.skipped)
        self.last[name] = loaded.skipped[-1]
        if self.skipped[name] > self._limit * max(self.seen[name], self._grace):
            raise ConfigurationError(
                f"{self.skipped[name]} of {self.seen[name]} samples of {name} were skipped, more "
                f"than {self._limit:.1%}; the last: {self.last[name]} "
                "(roborefer dataset check lists all)"
            )

    def as_json(self) -> str:
        """Counts, for the log of a run."""
        return json.dumps({"seen": dict(self.seen), "skipped": dict(self.skipped)}, sort_keys=True)
