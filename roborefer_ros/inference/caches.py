# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""What is kept between requests: pictures as the language model gets them, and prompts it has read.

Both depend on pictures and words alone, so that what is kept serves every later request and
changes no answer.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import torch

from roborefer_ros.inference.kv_cache import KVCache


class Sized(Protocol):
    """Something that knows its memory."""

    @property
    def size_bytes(self) -> int:
        """Memory that it holds, bytes."""


V = TypeVar("V", bound=Sized)


class LRUCache(Generic[V]):
    """The most recently used values.

    Args:
        capacity_bytes: Greatest size of all values together, bytes; None sets no limit.
        capacity: Greatest number of values; None sets no limit.

    Attributes:
        size_bytes: Size of all values, bytes.
        hits: Number of look-ups that found their value.
        misses: Number of look-ups that did not.
    """

    def __init__(self, capacity_bytes: int | None = None, capacity: int | None = None) -> None:
        self.capacity_bytes = capacity_bytes
        self.capacity = capacity
        self._entries: OrderedDict[Hashable, V] = OrderedDict()
        self.size_bytes = 0
        self.hits = 0
        self.misses = 0

    def __contains__(self, key: Hashable) -> bool:
        return key in self._entries

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: Hashable) -> V | None:
        """The value, if it is still there."""
        found = self._entries.get(key)
        if found is None:
            self.misses += 1
            return None
        self.hits += 1
        self._entries.move_to_end(key)
        return found

    def pop(self, key: Hashable) -> V | None:
        """The value, which leaves the cache."""
        found = self.get(key)
        if found is not None:
            del self._entries[key]
            self.size_bytes -= found.size_bytes
        return found

    def put(self, key: Hashable, value: V) -> None:
        """Keep a value, and drop what was used longest ago."""
        size = value.size_bytes
        if self.capacity_bytes is not None and size > self.capacity_bytes:
            return
        if (replaced := self._entries.pop(key, None)) is not None:
            self.size_bytes -= replaced.size_bytes
        self._entries[key] = value
        self.size_bytes += size
        while self._is_over():
            self._drop_oldest()

    def make_room(self) -> None:
        """Drop what the next new value would displace, where their number is limited.

        Its memory is then free before the new value is made.
        """
        while self.capacity is not None and len(self._entries) >= max(1, self.capacity):
            self._drop_oldest()

    def clear(self) -> None:
        """Drop everything."""
        self._entries.clear()
        self.size_bytes = 0

    def _is_over(self) -> bool:
        too_large = self.capacity_bytes is not None and self.size_bytes > self.capacity_bytes
        return too_large or (self.capacity is not None and len(self._entries) > self.capacity)

    def _drop_oldest(self) -> None:
        _, oldest = self._entries.popitem(last=False)
        self.size_bytes -= oldest.size_bytes


@dataclass(frozen=True)
class EncodedPicture:
    """One picture as the language model gets it.

    Attributes:
        tiles: Number of tiles it was cut into.
        block_size: (rows, columns) of the last grid in 8B mode, else None.
        rows: Embeddings per placeholder, ``[rows, hidden]`` each.
    """

    tiles: int
    block_size: tuple[int, int] | None
    rows: tuple[torch.Tensor, ...]

    @property
    def size_bytes(self) -> int:
        """Memory that it holds, bytes."""
        return sum(rows.numel() * rows.element_size() for rows in self.rows)


#: (kind, digest) of a picture -> its rows
VisionCache = LRUCache[EncodedPicture]


@dataclass
class Prefix:
    """A prompt that the language model has read.

    Attributes:
        cache: Its keys and values, in slots 0, 1, ... of row 0.  Not const: a lone request
            decodes in it, in the slots after those that it shares.
        ids: Tokens of the prompt, one per placeholder.
        ends: Slots up to and with each token; a placeholder takes many.
    """

    cache: KVCache
    ids: tuple[int, ...]
    ends: tuple[int, ...]

    @property
    def size_bytes(self) -> int:
        """Memory that it holds, bytes."""
        return self.cache.size_bytes

    def shared(self, ids: Sequence[int]) -> int:
        """Slots that another prompt about the same pictures need not read again.

        One token at least is left to be read, since its logits are needed.
        """
        count = common_length(self.ids, ids[:-1])
        return self.ends[count - 1] if count else 0

    def keep_only(self, slots: int) -> None:
        """Forget what stands in later slots, which are about to be overwritten."""
        count = sum(end <= slots for end in self.ends)
        self.ids, self.ends = self.ids[:count], self.ends[:count]


#: the pictures of a prompt -> what was read of the last prompt about them
PrefixCache = LRUCache[Prefix]


def common_length(one: Sequence[int], other: Sequence[int]) -> int:
    """Number of leading tokens that two prompts share."""
    for index, (a, b) in enumerate(zip(one, other, strict=False)):
        if a != b:
            return index
    return min(len(one), len(other))
