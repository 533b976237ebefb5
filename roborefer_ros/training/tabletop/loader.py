# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Batches for the trainer: decoded tiles, sampled questions, auxiliary targets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from roborefer_ros.image_files import open_picture
from roborefer_ros.training.tabletop.auxiliary import PatchLabels
from roborefer_ros.training.tabletop.dataset import Sample, patch_targets, read_tile
from roborefer_ros.training.tabletop.packing import PackedBatch, Segment, pack
from roborefer_ros.training.tabletop.recipe import TabletopRecipe


@dataclass(frozen=True)
class Tiles:
    """One sample's decoded pictures at the tile size, and its patch targets."""

    rgb: npt.NDArray[np.uint8]
    depth: npt.NDArray[np.uint8]
    colour: npt.NDArray[np.int64]
    shape: npt.NDArray[np.int64]
    centre: npt.NDArray[np.float32]
    ground: npt.NDArray[np.float32]


@dataclass(frozen=True)
class Batch:
    """What one training step needs."""

    rgb: torch.Tensor  #: ``[B, 3, S, S]`` float32 in [-1, 1]
    depth: torch.Tensor  #: likewise
    packed: PackedBatch
    patches: PatchLabels
    without_depth: torch.Tensor  #: ``[B]`` bool, whether the depth is kept from the network


class BatchLoader:
    """Samples images without replacement within an epoch and questions at random.

    Decoded tiles are kept in memory (about 0.25 MB an image), since decoding would
    otherwise cost a good part of a step on a small machine.
    """

    def __init__(
        self,
        root: Path,
        samples: Sequence[Sample],
        segments: Sequence[tuple[Sequence[Segment], Sequence[Segment]]],
        recipe: TabletopRecipe,
        pad_id: int,
    ) -> None:
        self._root, self._samples, self._segments = root, samples, segments
        self._recipe, self._pad_id = recipe, pad_id
        self._tile, self._grid = recipe.image_size, recipe.image_size // recipe.patch_size
        counts = Counter(s.kind for direct, _ in segments for s in direct)
        self._weights = {
            kind: recipe.kind_shares.get(kind, 0.05) / count for kind, count in counts.items()
        }
        self._cache: dict[int, Tiles] = {}

    def __len__(self) -> int:
        return len(self._samples)

    def batch(
        self, indices: Sequence[int], rng: np.random.Generator, augment: bool = True
    ) -> Batch:
        """Assemble the given images, each with as many of its questions at random as fit."""
        tiles = [self._tiles(i) for i in indices]
        chosen = [self._questions(index, rng) for index in indices]
        rgb = np.stack([t.rgb for t in tiles]).astype(np.float32) / 255.0
        depth = np.stack([t.depth for t in tiles]).astype(np.float32) / 255.0
        if augment:
            rgb = _photometric(rgb, rng)
            depth = np.clip(depth + 0.01 * rng.standard_normal(depth.shape, np.float32), 0, 1)
        patches = PatchLabels(
            *(
                torch.from_numpy(np.stack([getattr(t, name) for t in tiles])).flatten(1, 2)
                for name in ("colour", "shape", "centre", "ground")
            )
        )
        return Batch(
            rgb=_normalise(rgb.transpose(0, 3, 1, 2)),
            depth=_normalise(np.repeat(depth[:, None], 3, axis=1)),
            packed=pack(
                chosen,
                slots=self._recipe.slots,
                length=self._recipe.slot_tokens,
                cells=self._recipe.rows_per_tile,
                pad_id=self._pad_id,
            ),
            patches=patches,
            without_depth=torch.from_numpy(rng.random(len(indices)) < self._recipe.without_depth),
        )

    def _questions(self, index: int, rng: np.random.Generator) -> list[Segment]:
        """Questions to be answered in steps first, since the others fit around them."""
        direct, steps = self._segments[index]
        chosen = []
        if steps and rng.random() < self._recipe.in_steps:
            chosen.append(steps[int(rng.integers(len(steps)))])
        weights = np.array([self._weights[s.kind] for s in direct])
        count = min(len(direct), self._recipe.slots * self._recipe.slot_tokens // 25)
        picks = rng.choice(len(direct), count, replace=False, p=weights / weights.sum())
        return chosen + [direct[p] for p in picks]

    def _tiles(self, index: int) -> Tiles:
        if index not in self._cache:
            sample = self._samples[index]
            if sample.depth is None or sample.instance is None:
                raise ValueError(f"{sample.image}: training needs its depth and instance maps")
            instance = read_tile_nearest(self._root / sample.instance, self._tile)
            targets = patch_targets(
                instance, sample.instances, self._grid, self._recipe.colours, self._recipe.shapes
            )
            self._cache[index] = Tiles(
                read_tile(self._root / sample.image, self._tile, "RGB"),
                read_tile(self._root / sample.depth, self._tile, "L"),
                targets.colour,
                targets.shape,
                targets.centre,
                targets.ground,
            )
        return self._cache[index]


def read_tile_nearest(path: Path, size: int) -> npt.NDArray[np.uint8]:
    """Read an id map at the tile's size without mixing ids."""
    from PIL import Image

    image = open_picture(path, None)
    return np.asarray(image.resize((size, size), Image.Resampling.NEAREST), dtype=np.uint8)


def _photometric(rgb: npt.NDArray[np.float32], rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """Exposure, a slight colour cast and sensor noise; never enough to rename a colour."""
    count = len(rgb)
    gain = rng.uniform(0.85, 1.15, (count, 1, 1, 1)) * rng.uniform(0.96, 1.04, (count, 1, 1, 3))
    offset = rng.uniform(-0.04, 0.04, (count, 1, 1, 1))
    noisy = rgb * gain + offset + 0.015 * rng.standard_normal(rgb.shape, np.float32)
    clipped: npt.NDArray[np.float32] = np.clip(noisy, 0.0, 1.0).astype(np.float32)
    return clipped


def _normalise(pixels: npt.NDArray[np.float32]) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray((pixels - 0.5) / 0.5))
