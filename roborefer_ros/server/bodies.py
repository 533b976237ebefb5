# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Memory for the bodies of requests, of one peer and of all."""

from __future__ import annotations

from collections import Counter
from types import TracebackType

from roborefer_ros.server.replies import HttpError


class Bodies:
    """Bytes of bodies that are being received or answered; used by one thread.

    One peer may hold half of them, and always one body of the greatest size.

    Args:
        total_bytes: Of all peers.
        body_bytes: Greatest size of one body.
    """

    def __init__(self, total_bytes: int, body_bytes: int) -> None:
        self._total = total_bytes
        self._of_one_peer = max(total_bytes // 2, min(body_bytes, total_bytes))
        self._held: Counter[str] = Counter()
        self.used_bytes = 0

    def share(self, peer: str) -> BodyShare:
        """What one request holds; as a context, it is given back at its end."""
        return BodyShare(self, peer)

    def _take(self, share: BodyShare, size_bytes: int) -> None:
        own = self._held[share.peer]
        if self.used_bytes + size_bytes > self._total or own + size_bytes > self._of_one_peer:
            raise HttpError(
                429,
                f"bodies of {self.used_bytes} bytes are held, {own} of them from this address; "
                f"{self._total} may be, {self._of_one_peer} from one; ask again later",
                {"Retry-After": "1", "Connection": "close"},
            )
        self._held[share.peer] += size_bytes
        self.used_bytes += size_bytes
        share.taken_bytes += size_bytes

    def _give_back(self, share: BodyShare) -> None:
        self._held[share.peer] -= share.taken_bytes
        if not self._held[share.peer]:
            del self._held[share.peer]
        self.used_bytes -= share.taken_bytes
        share.taken_bytes = 0


class BodyShare:
    """What the body of one request holds.

    Args:
        bodies: The memory.
        peer: Who sends it.
    """

    def __init__(self, bodies: Bodies, peer: str) -> None:
        self._bodies = bodies
        self.peer = peer
        self.taken_bytes = 0

    def take(self, size_bytes: int) -> None:
        """Count bytes that have come.

        Raises:
            HttpError: 429: there is no room for them.
        """
        self._bodies._take(self, size_bytes)

    def __enter__(self) -> BodyShare:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bodies._give_back(self)
