# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""A bounded queue in which clients take turns."""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import Generic, TypeVar

from roborefer_ros.errors import QueueFullError

T = TypeVar("T")


class FairQueue(Generic[T]):
    """First in, first out for each client; round robin over the clients.

    A quarter of the places is kept for clients that have nothing waiting, so that one client
    that floods the queue cannot shut the others out.

    Args:
        capacity: items that may wait in all.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        # The order of the keys is the order of the turns.
        self._waiting: OrderedDict[str, deque[T]] = OrderedDict()
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def check_room(self, client: str) -> None:
        """Find out whether ``put`` would be refused.

        Raises:
            QueueFullError: no place is left for this client.
        """
        shared = self._capacity - self._capacity // 4
        if self._size >= (shared if client in self._waiting else self._capacity):
            raise QueueFullError(
                f"{self._size} requests wait already, {self._capacity} may; ask again later, or "
                "start the server with a larger --max-queue"
            )

    def put(self, client: str, item: T) -> None:
        """Add an item.

        Raises:
            QueueFullError: no place is left for this client.
        """
        self.check_room(client)
        self._waiting.setdefault(client, deque()).append(item)
        self._size += 1

    def get(self) -> T | None:
        """Take the oldest item of the client whose turn it is; None when nothing waits."""
        if not self._waiting:
            return None
        client, items = self._waiting.popitem(last=False)
        item = items.popleft()
        if items:
            self._waiting[client] = items
        self._size -= 1
        return item

    def remove(self, client: str, item: T) -> bool:
        """Take an item out of turn; False when it waits no longer."""
        items = self._waiting.get(client)
        if items is None or item not in items:
            return False
        items.remove(item)
        self._size -= 1
        if not items:
            del self._waiting[client]
        return True
