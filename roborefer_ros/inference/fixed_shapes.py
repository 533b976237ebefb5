# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Decode steps in shapes that never change, which a CUDA graph can replay.

Eager decoding spends most of a step on launching about a thousand small kernels.  A graph
launches them together, but needs the same shapes and the same memory at every step: the batch, the
number of tokens with their draft, and the slots of the cache are therefore rounded up.  On
a CPU the same shapes run without a graph, so that their token choice can be compared with that of
steps that follow the lengths at hand.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from roborefer_ros.inference.kv_cache import KVCache

#: ``[B, Q]`` tokens (or their rows) and positions, and the cache -> ``[B, Q, hidden]``
Step = Callable[[torch.Tensor, torch.Tensor, KVCache], torch.Tensor]

#: slots of a cache come in multiples of this, so that few shapes occur
_SLOTS = 512

#: memories that are kept, each with its graphs: a camera has one size, a batch a few
_MOST_CACHES = 6

#: rows of a prompt that are read in one fixed shape, where the pictures before them are known
WORDS = 128

#: runs before a graph is captured; the first ones choose kernels and allocate
_WARM_UPS = 2


@dataclass
class _Captured:
    """A step with its own inputs and output.

    Attributes:
        tokens: ``[B, Q]`` tokens, or ``[B, Q, hidden]`` rows, read by the step.
        positions: ``[B, Q]`` read by the step.
        output: ``[B, Q, hidden]`` written by the graph; None on a CPU.
        graph: CUDA graph; None on a CPU.
    """

    tokens: torch.Tensor
    positions: torch.Tensor
    output: torch.Tensor | None = None
    graph: Any = None


class FixedShapes:
    """Keeps caches and captured steps by shape.

    Args:
        config: Configuration of the language model.
        tokens: Tokens of a step: one and the longest draft.
        rows: Least rows of a batch; others are padded to the next power of two.
    """

    def __init__(self, config: Any, tokens: int, rows: int = 1) -> None:
        self._config = config
        self._tokens = tokens
        self._rows = rows
        #: (rows, slots) -> the memory, the one used last at the end
        self._caches: dict[tuple[int, int], KVCache] = {}
        self._steps: dict[tuple[int, int, bool], _Captured] = {}

    @property
    def shapes(self) -> int:
        """Number of shapes that were needed so far."""
        return len(self._steps)

    def cache_for(self, rows: int, slots: int, like: torch.Tensor) -> KVCache:
        """The cache of a batch: the same memory each time, since graphs are bound to theirs."""
        slots = -(-(slots + self._tokens) // _SLOTS) * _SLOTS
        padded = self._rows
        while padded < rows:  # a lone row must not pay for the memory of sixteen
            padded *= 2
        cache = self._caches.pop((padded, slots), None)
        if cache is None or cache.slots < slots:
            cache = KVCache(self._config, padded, slots, like)
        self._caches[padded, slots] = cache
        while len(self._caches) > _MOST_CACHES:
            del self._caches[next(iter(self._caches))]
        return cache

    def forget(self) -> None:
        """Free all memory and graphs."""
        self._caches.clear()
        self._steps.clear()

    def run(
        self,
        step: Step,
        tokens: Sequence[Sequence[int]],
        starts: Sequence[int],
        cache: KVCache,
    ) -> torch.Tensor:
        """Run a step padded to its fixed shape; returns the rows asked for.

        Args:
            step: Runs the network on device tensors alone.
            tokens: Last token and guesses of each row, equally many.
            starts: Position of the first of them.
            cache: Keys and values; made by ``cache_for``.
        """
        width = max(self._tokens, len(tokens[0]))
        cache.reserve(max(starts) + width)
        known = self._captured(cache, width, None)
        ids = torch.zeros((cache.rows, width), dtype=torch.long)
        ids[: len(tokens), : len(tokens[0])] = torch.tensor(tokens)
        known.tokens.copy_(ids, non_blocking=True)
        return self._replayed(known, step, starts, cache)[: len(tokens)]

    def run_rows(
        self, step: Step, embeds: torch.Tensor, starts: Sequence[int], cache: KVCache
    ) -> torch.Tensor | None:
        """Likewise for the words of prompts, ``[B, Q, hidden]``; None where they do not fit.

        Args:
            step: Runs the network on device tensors alone; gets rows in the place of tokens.
            embeds: Rows of the prompts that are not known yet.
            starts: Position of the first of them.
            cache: Keys and values; made by ``cache_for``.
        """
        count, length, hidden = embeds.shape
        if length > WORDS or max(starts) + WORDS > cache.slots:
            return None
        known = self._captured(cache, WORDS, embeds.new_zeros((cache.rows, WORDS, hidden)))
        known.tokens[:count, :length] = embeds
        return self._replayed(known, step, starts, cache)[:count, :length]

    def _captured(self, cache: KVCache, width: int, inputs: torch.Tensor | None) -> _Captured:
        """The step of a memory and a width; without inputs it takes tokens."""
        key = (cache.memory, width, inputs is not None)
        known = self._steps.get(key)
        if known is None:
            live = {own.memory for own in self._caches.values()}
            self._steps = {k: other for k, other in self._steps.items() if k[0] in live}
            device = cache.layers[0][0].device
            zeros = torch.zeros((cache.rows, width), dtype=torch.long, device=device)
            first = zeros.clone() if inputs is None else inputs
            known = self._steps[key] = _Captured(first, zeros)
        return known

    @staticmethod
    def _replayed(
        known: _Captured, step: Step, starts: Sequence[int], cache: KVCache
    ) -> torch.Tensor:
        # Rows beside the batch repeat position 0 on: what they write is overwritten by a prompt.
        places = torch.arange(known.positions.shape[1]).repeat(cache.rows, 1)
        places[: len(starts)] += torch.tensor(list(starts))[:, None]
        known.positions.copy_(places, non_blocking=True)
        if not known.tokens.is_cuda:
            return step(known.tokens, known.positions, cache)
        if known.graph is None:
            side = torch.cuda.Stream()
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side):
                for _ in range(_WARM_UPS):  # writes the same slots again and again
                    step(known.tokens, known.positions, cache)
            torch.cuda.current_stream().wait_stream(side)
            known.graph = torch.cuda.CUDAGraph()
            # Other threads, such as that of the depth network, may allocate meanwhile.
            with torch.cuda.graph(known.graph, capture_error_mode="thread_local"):
                known.output = step(known.tokens, known.positions, cache)
        known.graph.replay()
        assert known.output is not None
        return known.output
