# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""What is kept between queries about the same picture: most recently used first, bounded."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import torch


class Sized(Protocol):
    """Something that knows its memory."""

    @property
    def size_bytes(self) -> int:
        """Memory that it holds."""


V = TypeVar("V", bound=Sized)


@dataclass(frozen=True)
class Encoded:
    """One picture as the language model sees it.

    Attributes:
        tiles: how many it was cut into.
        block_size: (rows, columns) of the last grid in 8B mode, else None.
        rows: embeddings per placeholder, ``[rows, hidden]`` each.
    """

    tiles: int
    block_size: tuple[int, int] | None
    rows: tuple[torch.Tensor, ...]

    @property
    def size_bytes(self) -> int:
        """Memory that it holds."""
        return sum(rows.numel() * rows.element_size() for rows in self.rows)


@dataclass(frozen=True)
class Prefix:
    """The beginning of a prompt as the language model has read it.

    Attributes:
        ids: its tokens, one per placeholder.
        layers: ``(keys, values)`` of each layer, ``[heads, length, width]``.
    """

    ids: tuple[int, ...]
    layers: tuple[tuple[torch.Tensor, torch.Tensor], ...]

    @property
    def length(self) -> int:
        """Rows, which are more than tokens."""
        return int(self.layers[0][0].shape[1])

    @property
    def size_bytes(self) -> int:
        """Memory that it holds."""
        return sum(t.numel() * t.element_size() for layer in self.layers for t in layer)


class Recent(Generic[V]):
    """The most recently used values, up to a number of bytes."""

    def __init__(self, capacity_bytes: int) -> None:
        self.capacity_bytes = capacity_bytes
        self._entries: OrderedDict[Hashable, V] = OrderedDict()
        self.size_bytes = 0
        self.hits = 0
        self.misses = 0

    def __contains__(self, key: Hashable) -> bool:
        return key in self._entries

    def get(self, key: Hashable) -> V | None:
        """The value, if it is still there."""
        found = self._entries.get(key)
        if found is None:
            self.misses += 1
            return None
        self.hits += 1
        self._entries.move_to_end(key)
        return found

    def put(self, key: Hashable, value: V) -> None:
        """Keep it, and drop what was used longest ago."""
        if value.size_bytes > self.capacity_bytes:
            return
        replaced = self._entries.pop(key, None)
        self.size_bytes += value.size_bytes - (replaced.size_bytes if replaced else 0)
        self._entries[key] = value
        while self.size_bytes > self.capacity_bytes:
            _, oldest = self._entries.popitem(last=False)
            self.size_bytes -= oldest.size_bytes

    def clear(self) -> None:
        """Drop everything."""
        self._entries.clear()
        self.size_bytes = 0
