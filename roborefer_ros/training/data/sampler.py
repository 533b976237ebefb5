# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The order of samples in an epoch, on every rank.

``reference``: each data set is cut into contiguous pieces, one a rank; pieces are shuffled and
spread over the epoch in proportion to their length.  What does not fill a global batch is
dropped, so a data set smaller than one disappears (``tail="keep"`` fills it up instead).

``global``: one permutation of all samples, of which rank r takes every W-th.  The samples of a
global batch do not depend on the number of ranks, so a run can go on with another one.
"""

from __future__ import annotations

import random
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from roborefer_ros.errors import ConfigurationError

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Layout:
    """How the samples of a step are spread.

    Attributes:
        world: Ranks.
        batch: Samples of a rank's batch.
        accumulation: Batches of a rank in one step.
    """

    world: int = 1
    batch: int = 1
    accumulation: int = 1

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if value < 1:
                raise ConfigurationError(f"{name} is {value}; it must be 1 or more")

    @property
    def global_batch(self) -> int:
        """Samples of one step."""
        return self.world * self.batch * self.accumulation


@dataclass(frozen=True)
class SamplerState:
    """Where a run stands; saved with it.

    Attributes:
        epoch: From 0.
        steps: Global batches of this epoch that were consumed.
        layout: That they were consumed with.
        mixture: Digest of the mixture (``mixtures.mixture_digest``).
        seed, shuffle, tail: Of the sampler.
        samples: Samples of this epoch that were consumed on all ranks.
    """

    epoch: int
    steps: int
    layout: Layout
    mixture: str
    seed: int
    shuffle: str
    tail: str
    samples: int

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> SamplerState:
        """From ``as_dict``.

        Raises:
            ConfigurationError: entries are missing, unknown or of other types.
        """
        try:
            state = cls(**{**values, "layout": Layout(**values["layout"])})
        except (TypeError, KeyError) as error:
            raise ConfigurationError(
                f"the saved position in the data is damaged: {error}"
            ) from error
        numbers = (state.epoch, state.steps, state.samples)
        if not all(isinstance(n, int) and n >= 0 for n in numbers):
            raise ConfigurationError(f"the saved position in the data is damaged: {numbers}")
        return state


@dataclass(frozen=True)
class MixtureSampler:
    """Order of the samples of a mixture.

    Attributes:
        lengths: Samples of each data set, in the mixture's order.
        layout: Ranks and batches.
        seed: Of all epochs.
        shuffle: ``reference`` or ``global``.
        tail: What becomes of samples that fill no global batch: ``drop``, or ``keep``, which
            fills the last one up from the start of the data set (or of the permutation).
        mixture: Digest of the mixture, kept in the state.
    """

    lengths: Sequence[int]
    layout: Layout = Layout()
    seed: int = 42
    shuffle: Literal["reference", "global"] = "reference"
    tail: Literal["drop", "keep"] = "drop"
    mixture: str = ""

    def __post_init__(self) -> None:
        for name, known in (("shuffle", ("reference", "global")), ("tail", ("drop", "keep"))):
            if getattr(self, name) not in known:
                raise ConfigurationError(
                    f"{name} is {getattr(self, name)!r}, not {' or '.join(known)}"
                )

    @property
    def steps(self) -> int:
        """Global batches of an epoch."""
        whole = self.layout.global_batch
        if self.shuffle == "global":
            return _parts(sum(self.lengths), whole, self.tail)
        return sum(_parts(length, whole, self.tail) for length in self.lengths)

    @property
    def dropped(self) -> int:
        """Samples that an epoch leaves out."""
        if self.tail == "keep":
            return 0
        return sum(self.lengths) - self.steps * self.layout.global_batch

    def order(self, rank: int, epoch: int = 0) -> Indices:
        """Numbers of the samples of a rank, ``[steps * accumulation * batch]``.

        Samples count through the data sets of the mixture.

        Args:
            rank: From 0.
            epoch: From 0.
        """
        if not 0 <= rank < self.layout.world:
            raise ConfigurationError(f"rank {rank} does not exist among {self.layout.world}")
        if self.shuffle == "global":
            return self._permutation(epoch)[rank :: self.layout.world]
        return self._reference(rank, epoch)

    def batches(self, rank: int, state: SamplerState | None = None) -> Iterator[Indices]:
        """The rest of an epoch, one batch of a rank after the other.

        Args:
            rank: From 0.
            state: Where to go on; the start of epoch 0 without one.

        Raises:
            ConfigurationError: the state is of another mixture, seed or order, or of another number
                of ranks or batch and the order is ``reference``.
        """
        state = state or self.start()
        self._check(state)
        order = self.order(rank, state.epoch)
        batch = self.layout.batch
        skipped = state.samples // self.layout.world
        for start in range(skipped, len(order), batch):
            yield order[start : start + batch]

    def start(self, epoch: int = 0) -> SamplerState:
        """The start of an epoch."""
        return SamplerState(
            epoch, 0, self.layout, self.mixture, self.seed, self.shuffle, self.tail, 0
        )

    def after(self, state: SamplerState, steps: int = 1) -> SamplerState:
        """The state after some more global batches; at the end of an epoch that of the next."""
        self._check(state)
        samples = state.samples + steps * self.layout.global_batch
        if samples > self._samples():
            raise ConfigurationError(f"an epoch has {self._samples()} samples, not {samples}")
        if samples == self._samples():
            return self.start(state.epoch + 1)
        return replace(state, steps=state.steps + steps, samples=samples, layout=self.layout)

    def _samples(self) -> int:
        return self.steps * self.layout.global_batch

    def _check(self, state: SamplerState) -> None:
        for name in ("mixture", "seed", "shuffle", "tail"):
            mine, theirs = getattr(self, name), getattr(state, name)
            if mine != theirs:
                raise ConfigurationError(
                    f"the run was started with {name} {theirs!r}, now it is {mine!r}: going on "
                    "would repeat samples and leave others out"
                )
        if state.layout == self.layout:
            return
        if self.shuffle != "global":
            raise ConfigurationError(
                f"the run was started with {state.layout}, now it is {self.layout}: only a run "
                "with shuffle 'global' goes on with other ranks or batches"
            )
        if state.samples % self.layout.global_batch:
            raise ConfigurationError(
                f"{state.samples} samples were consumed, no multiple of the new global batch "
                f"{self.layout.global_batch}; keep the old one, {state.layout.global_batch}"
            )

    def _permutation(self, epoch: int) -> Indices:
        total = sum(self.lengths)
        generator = np.random.Generator(np.random.PCG64(np.random.SeedSequence([self.seed, epoch])))
        order = generator.permutation(total)
        return _resized(order, self._samples())

    def _reference(self, rank: int, epoch: int) -> Indices:
        layout = self.layout
        generator = random.Random(self.seed + epoch)
        pieces: list[Indices] = []
        first = 0
        for length in self.lengths:
            own = (
                _parts(length, layout.global_batch, self.tail) * layout.batch * layout.accumulation
            )
            numbers = np.arange(rank * own, (rank + 1) * own) + first
            if self.tail == "keep" and length:
                numbers = first + (numbers - first) % length
            pieces.append(numbers[_shuffled(own, generator)])
            first += length
        return _interleaved(pieces)


def _parts(length: int, whole: int, tail: str) -> int:
    return -(-length // whole) if tail == "keep" else length // whole


def _resized(order: Indices, length: int) -> Indices:
    """Cut, or filled up from its start."""
    return np.resize(order, length) if len(order) else order


def _shuffled(length: int, generator: random.Random) -> Indices:
    """What ``random.shuffle`` does to 0..length-1, in a fifth of its time.

    It exchanges each element, from the last on, with its partner.  Exchanges that do not touch
    each other are done together.
    """
    partners = _partners(length, generator)
    order = np.arange(length, dtype=np.int32)
    done, last = 0, length - 1
    while done < last:
        index = last - done
        count = min(max(1, int(index**0.5 / 2)), index)
        own, other = np.arange(index, index - count, -1), partners[done : done + count]
        by_partner = np.argsort(other, kind="stable")
        touched = other > index - count
        touched[by_partner[1:]] |= np.diff(other[by_partner]) == 0
        count = max(1, int(touched.argmax())) if touched.any() else count
        own, other = own[:count], other[:count]
        order[own], order[other] = order[other], order[own]
        done += count
    return order.astype(np.int64)


def _partners(length: int, generator: random.Random) -> npt.NDArray[np.int32]:
    """Partners of the elements length-1, ..., 1, as ``random.shuffle`` draws them.

    The number of bits that it draws changes at powers of two only.
    """
    partners = array("i")
    draw, add = generator.getrandbits, partners.append
    last = length - 1
    while last > 0:
        bits = (last + 1).bit_length()
        first = (1 << (bits - 1)) - 1  # the least index for which that many bits are drawn
        for index in range(last, max(first, 1) - 1, -1):
            other = draw(bits)
            while other > index:
                other = draw(bits)
            add(other)
        last = first - 1
    return np.frombuffer(partners, np.int32)


def _interleaved(pieces: Sequence[Indices]) -> Indices:
    """Spread each piece evenly over the positions that longer ones have left."""
    total = sum(map(len, pieces))
    result = np.empty(total, np.int64)
    free = np.arange(total, dtype=np.int32)
    for piece in sorted(pieces, key=len, reverse=True):
        ranks = np.arange(len(piece), dtype=np.int64) * len(free) // max(1, len(piece))
        result[free[ranks]] = piece
        free = np.delete(free, ranks)
    return result
