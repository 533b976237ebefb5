# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Memory that requests share: small files can hold large pictures, and many requests can wait."""

from __future__ import annotations

import threading
from types import TracebackType

from roborefer_ros.errors import CanceledError, InvalidImageError, QueueFullError

_MIB = 1024 * 1024


class MemoryBudget:
    """Bytes that decoding and decoded pictures of all requests may take; used by several threads.

    Args:
        capacity_bytes: Bytes that all reservations together may hold.
    """

    def __init__(self, capacity_bytes: int) -> None:
        self._capacity = capacity_bytes
        self._lock = threading.Lock()
        self.used_bytes = 0

    def share(self) -> Reservation:
        """What one request takes; as a context, it is given back at its end."""
        return Reservation(self)

    def _take(self, share: Reservation, size_bytes: int) -> None:
        with self._lock:
            if share.closed:
                raise CanceledError("the client went away")
            if share.taken_bytes + size_bytes > self._capacity:
                raise InvalidImageError(
                    f"the pictures of this request take {_mib(share.taken_bytes + size_bytes)} "
                    f"decoded, at most {_mib(self._capacity)} are allowed; send fewer or smaller "
                    "ones"
                )
            if self.used_bytes + size_bytes > self._capacity:
                raise QueueFullError(
                    "decoded pictures of the requests that are being answered take "
                    f"{_mib(self.used_bytes)}, {_mib(self._capacity)} may; ask again later, or "
                    "start the server with a larger --max-decoded-mib"
                )
            self.used_bytes += size_bytes
            share.taken_bytes += size_bytes

    def _give(self, share: Reservation, size_bytes: int) -> None:
        with self._lock:
            size_bytes = min(size_bytes, share.taken_bytes)
            share.taken_bytes -= size_bytes
            self.used_bytes -= size_bytes

    def _give_back(self, share: Reservation) -> None:
        with self._lock:
            self.used_bytes -= share.taken_bytes
            share.taken_bytes, share.closed = 0, True


class Reservation:
    """What one request holds of a budget."""

    def __init__(self, budget: MemoryBudget) -> None:
        self._budget = budget
        self.taken_bytes = 0
        self.closed = False

    def take(self, size_bytes: int) -> None:
        """Ask for memory before it is used.

        Raises:
            QueueFullError: others hold too much of it now.
            InvalidImageError: this request alone asks for more than there is.
            CanceledError: the request is over.
        """
        self._budget._take(self, size_bytes)

    def give(self, size_bytes: int) -> None:
        """Give a part back: what decoding needed and the pixels do not."""
        self._budget._give(self, size_bytes)

    def __enter__(self) -> Reservation:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._budget._give_back(self)


def _mib(size_bytes: int) -> str:
    return f"{size_bytes / _MIB:.1f} MiB"
