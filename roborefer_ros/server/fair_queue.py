# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""A bounded queue in which peers take turns, and within a peer its clients."""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import Generic, TypeVar

from roborefer_ros.errors import QueueFullError
from roborefer_ros.server.clients import Client

T = TypeVar("T")


class FairQueue(Generic[T]):
    """First in, first out for each client; round robin over the peers, then over their clients.

    A quarter of the places is kept for clients that have nothing waiting, half of it for peers
    that have nothing waiting: neither a client that floods the queue nor a peer that gives itself
    a new name for each request can shut the others out.

    Args:
        capacity: Items that may wait in all.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        # The order of the keys is the order of the turns.
        self._waiting: OrderedDict[str, OrderedDict[str, deque[T]]] = OrderedDict()
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def check_capacity(self, client: Client) -> None:
        """Find out whether ``put`` would be refused.

        Raises:
            QueueFullError: No place is left for this client.
        """
        names = self._waiting.get(client.peer)
        kept = 0
        if names is not None:
            kept = self._capacity // 4 if client.name in names else self._capacity // 8
        if self._size >= self._capacity - kept:
            raise QueueFullError(
                f"{self._size} requests wait already, {self._capacity} may; ask again later, or "
                "start the server with a larger --max-queue"
            )

    def put(self, client: Client, item: T) -> None:
        """Add an item.

        Raises:
            QueueFullError: No place is left for this client.
        """
        self.check_capacity(client)
        names = self._waiting.setdefault(client.peer, OrderedDict())
        names.setdefault(client.name, deque()).append(item)
        self._size += 1

    def first(self) -> T | None:
        """The item that ``get`` would take; None when nothing waits."""
        for names in self._waiting.values():
            for items in names.values():
                return items[0]
        return None

    def get(self) -> T | None:
        """Take the oldest item of the client whose turn it is; None when nothing waits."""
        if not self._waiting:
            return None
        peer, names = self._waiting.popitem(last=False)
        name, items = names.popitem(last=False)
        item = items.popleft()
        if items:
            names[name] = items
        if names:
            self._waiting[peer] = names
        self._size -= 1
        return item

    def remove(self, client: Client, item: T) -> bool:
        """Take an item out of turn; False when it waits no longer."""
        names = self._waiting.get(client.peer, OrderedDict())
        items = names.get(client.name)
        if items is None or item not in items:
            return False
        items.remove(item)
        self._size -= 1
        if not items:
            del names[client.name]
        if not names:
            del self._waiting[client.peer]
        return True
