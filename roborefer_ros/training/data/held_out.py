# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Pictures that no training sees: chosen by their names, so that all data sets agree on them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

import numpy as np

from roborefer_ros.training.data.pictures import PictureError
from roborefer_ros.training.data.rows import Row

if TYPE_CHECKING:
    from roborefer_ros.training.data.dataset import LoadedSample, MixtureDataset, Sample

#: CA-1M's names, ``{video}_{frame}_...``; neighbouring frames show the same
_FRAME = re.compile(r"(\d{8})_?\d+_(?:wide|image)_")

#: rows that are looked at for one that is held out
_MOST_LOOKED_AT = 1_000_000


def scene_of(name: str) -> str:
    """What a picture shows, as far as its name tells.

    Args:
        name: Of the picture, with or without folders.

    Returns:
        The video of a frame, else the name without folders and ending.
    """
    stem = PurePosixPath(name.replace("\\", "/")).stem
    match = _FRAME.match(f"{stem}_")
    return match[1] if match else stem


def is_held_out(row: Row, share: float) -> bool:
    """Whether one of a row's pictures belongs to the share that is never trained on.

    Args:
        row: With or without pictures; one without is always trained on.
        share: Of all scenes, 0 to 1.
    """
    return any(_fraction(scene_of(name)) < share for name in row.images)


def held_out_samples(data: MixtureDataset, share: float, count: int, seed: int) -> list[Sample]:
    """Samples of pictures that are never trained on, without opening them.

    Args:
        data: Where they are looked for; each data set gives about equally many.
        share: Of all scenes; 1 takes samples whatever they show.
        count: Most samples.
        seed: Of the choice.
    """
    sources = [
        _of_part(data, number, share, np.random.default_rng((seed, number)))
        for number in range(len(data.parts))
    ]
    chosen: list[Sample] = []
    while sources and len(chosen) < count:
        for source in list(sources):
            sample = next(source, None)
            if sample is None:
                sources.remove(source)
            elif len(chosen) < count:
                chosen.append(sample)
    return chosen


class HeldOut:
    """Samples that are opened when they are asked for.

    Args:
        samples: Of ``held_out_samples``.
    """

    def __init__(self, samples: Sequence[Sample]) -> None:
        self._samples = samples

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, number: int) -> LoadedSample:
        """A sample with its pictures, or the next one where they are defective.

        Raises:
            PictureError: all are.
        """
        for step in range(len(self)):
            try:
                return self._samples[(number + step) % len(self)].load()
            except PictureError:
                if step == len(self) - 1:
                    raise
        raise IndexError(number)


def _of_part(
    data: MixtureDataset, number: int, share: float, generator: np.random.Generator
) -> Iterator[Sample]:
    part = data.parts[number]
    if part.unique <= _MOST_LOOKED_AT:
        order = generator.permutation(part.unique)
    else:
        order = generator.integers(0, part.unique, _MOST_LOOKED_AT)
    seen = set()
    for own in order:
        sample = part.sample(int(own))
        if (share >= 1.0 or is_held_out(sample.row, share)) and int(own) not in seen:
            seen.add(int(own))
            yield sample


def _fraction(name: str) -> float:
    """A number in [0, 1) that depends on the name alone."""
    digest = hashlib.sha256(name.encode(errors="replace")).digest()
    return int.from_bytes(digest[:8], "big") / 2**64
