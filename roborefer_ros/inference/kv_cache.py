# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Pre-allocated keys and values: the slot of a token is its position.

A step writes its own slots and copies nothing else, rows of a batch may stand at different
positions, and a rejected draft needs no cutting back: its slots are written again before
anything looks at them.  transformers' cache that grows by concatenation copies all keys and
values for each token.
"""

from __future__ import annotations

import itertools
from typing import Any

import torch

#: slots are allocated in multiples of this
BLOCK = 64

_memories = itertools.count()


class KVCache:
    """Keys and values of the rows of a batch, for ``Qwen2Model``'s cache argument.

    Args:
        config: Configuration of the language model.
        rows: Number of rows.
        slots: Number of tokens that fit in a row; rounded up.
        like: Any tensor of the wanted type and device.

    Attributes:
        layers: ``(keys, values)`` of each layer, ``[rows, heads, slots, width]``.
        memory: Number of the memory that the layers lie in; another one after it has grown.
    """

    def __init__(self, config: Any, rows: int, slots: int, like: torch.Tensor) -> None:
        self.memory = next(_memories)
        width = getattr(config, "head_dim", None)
        width = width or config.hidden_size // config.num_attention_heads
        shape = (rows, config.num_key_value_heads, -(-slots // BLOCK) * BLOCK, width)
        # Zeros: what is masked counts with weight 0, which a NaN would survive.
        self.layers = [
            (like.new_zeros(shape), like.new_zeros(shape)) for _ in range(config.num_hidden_layers)
        ]
        self._start: int | None = 0
        self._positions = self._numbers = torch.empty(0)
        self._view = 0

    @property
    def rows(self) -> int:
        """Sequences of the batch."""
        return int(self.layers[0][0].shape[0])

    @property
    def slots(self) -> int:
        """Tokens that fit in a row."""
        return int(self.layers[0][0].shape[2])

    @property
    def size_bytes(self) -> int:
        """Memory that it holds, bytes."""
        return sum(t.numel() * t.element_size() for layer in self.layers for t in layer)

    def begin(self, positions: torch.Tensor, view: int, start: int | None) -> None:
        """Say where the next pass writes and how far it looks.

        Args:
            positions: ``[B, Q]`` position of each token of the pass.
            view: Number of slots that the pass attends to (through its mask).
            start: First slot if all rows write the same slots, which is faster; else None.
        """
        self._view, self._start, self._positions = view, start, positions
        if start is None:
            self._numbers = torch.arange(len(positions), device=positions.device)[:, None]

    def update(
        self, keys: torch.Tensor, values: torch.Tensor, layer_idx: int, *_: Any, **__: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Write ``[B, heads, Q, width]`` and return what is attended to, as transformers asks."""
        count, view = len(keys), self._view
        own_keys, own_values = self.layers[layer_idx]
        if self._start is not None:
            slots = slice(self._start, self._start + keys.shape[2])
            own_keys[:count, :, slots] = keys
            own_values[:count, :, slots] = values
        else:
            own_keys[self._numbers, :, self._positions] = keys.transpose(1, 2)
            own_values[self._numbers, :, self._positions] = values.transpose(1, 2)
        return own_keys[:count, :, :view], own_values[:count, :, :view]

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Slots that a pass attends to (transformers' protocol)."""
        return self._view

    def reserve(self, slots: int) -> None:
        """Make room for more tokens; what is there is copied, so it is done in large steps."""
        if slots <= self.slots:
            return
        more = max(slots, self.slots + self.slots // 4)
        missing = -(-more // BLOCK) * BLOCK - self.slots
        self.memory = next(_memories)
        pad = torch.nn.functional.pad
        self.layers = [
            (pad(keys, (0, 0, 0, missing)), pad(values, (0, 0, 0, missing)))
            for keys, values in self.layers
        ]

    def copy_row(self, source: KVCache, from_row: int, to_row: int, slots: int) -> None:
        """Copy the first slots of a row, perhaps of another cache."""
        for own, other in zip(self.layers, source.layers, strict=True):
            for target, origin in zip(own, other, strict=True):
                target[to_row, :, :slots] = origin[from_row, :, :slots]

    def row(self, number: int, slots: int, config: Any) -> KVCache:
        """A copy of the first slots of one row: a view would keep the whole batch in memory."""
        own = KVCache(config, 1, slots, self.layers[0][0])
        own.copy_row(self, number, 0, slots)
        return own
