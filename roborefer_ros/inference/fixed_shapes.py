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

#: ``[B, Q]`` tokens and positions, and the cache -> ``[B, Q, hidden]``
Step = Callable[[torch.Tensor, torch.Tensor, KVCache], torch.Tensor]

#: slots of a cache come in multiples of this, so that few shapes occur
_SLOTS = 512

#: runs before a graph is captured; the first ones choose kernels and allocate
_WARM_UPS = 2


@dataclass
class _Captured:
    """A step with its own inputs and output.

    Attributes:
        tokens: ``[B, Q]`` read by the step.
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
        rows: Rows of a batch; fewer are padded.
    """

    def __init__(self, config: Any, tokens: int, rows: int = 1) -> None:
        self._config = config
        self._tokens = tokens
        self._rows = rows
        self._caches: dict[int, KVCache] = {}
        self._steps: dict[tuple[int, int], _Captured] = {}

    @property
    def shapes(self) -> int:
        """Number of shapes that were needed so far."""
        return len(self._steps)

    def cache_for(self, rows: int, slots: int, like: torch.Tensor) -> KVCache:
        """The cache of a batch: the same memory each time, since graphs are bound to theirs."""
        slots = -(-(slots + self._tokens) // _SLOTS) * _SLOTS
        self._rows = max(self._rows, rows)
        cache = self._caches.get(slots)
        if cache is None or cache.rows < self._rows:
            cache = self._caches[slots] = KVCache(self._config, self._rows, slots, like)
        return cache

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
        device = cache.layers[0][0].device
        key = (cache.memory, width)
        known = self._steps.get(key)
        if known is None:
            live = {own.memory for own in self._caches.values()}
            self._steps = {k: other for k, other in self._steps.items() if k[0] in live}
            zeros = torch.zeros((cache.rows, width), dtype=torch.long, device=device)
            known = self._steps[key] = _Captured(zeros, zeros.clone())
        # Rows beside the batch repeat position 0 on: what they write is overwritten by a prompt.
        ids = torch.zeros(known.tokens.shape, dtype=torch.long)
        places = torch.arange(width).repeat(len(ids), 1)
        ids[: len(tokens), : len(tokens[0])] = torch.tensor(tokens)
        places[: len(starts)] += torch.tensor(list(starts))[:, None]
        known.tokens.copy_(ids, non_blocking=True)
        known.positions.copy_(places, non_blocking=True)
        return self._replayed(known, step, cache)[: len(tokens)]

    @staticmethod
    def _replayed(known: _Captured, step: Step, cache: KVCache) -> torch.Tensor:
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
