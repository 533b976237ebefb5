# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Connections of strangers: counted by peer, and closed when they say nothing or too much.

uvicorn bounds neither a request's head nor the time for it, and answers everyone 503 once the
connections of one peer have used up the places.
"""

from __future__ import annotations

import asyncio
import json
import resource
from collections import OrderedDict
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Protocol

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from roborefer_ros.server.clients import peer_of
from roborefer_ros.server.replies import HttpError, http_body
from roborefer_ros.server.settings import ConnectionLimits

#: open files that are not connections
_OTHER_FILES = 256

#: what no process needs more of, where the system would allow it
_MAX_FILES = 65536


class Evictable(Protocol):
    """A connection, as ``Connections`` knows it."""

    def give_way(self) -> None:
        """Close: another connection needs the place."""


@dataclass
class _Peer:
    """The connections of one peer; those without a request in the order of their waiting."""

    waiting: OrderedDict[Evictable, None] = field(default_factory=OrderedDict)
    busy: set[Evictable] = field(default_factory=set)

    def __len__(self) -> int:
        return len(self.waiting) + len(self.busy)


class Connections:
    """The places for connections, of one peer and in all.

    A connection without a request gives its place to a new one of its peer; where all places
    are taken, to a new one of any peer, from the peer that holds the most.

    Args:
        total: Places in all.
        per_peer: Places of one peer.
    """

    def __init__(self, total: int, per_peer: int) -> None:
        self._total = total
        self._per_peer = per_peer
        self._peers: dict[str, _Peer] = {}
        self._open = 0

    def __len__(self) -> int:
        return self._open

    def enter(self, connection: Evictable, peer: str) -> bool:
        """Take a place; False when all are taken by requests."""
        own = self._peers.get(peer)
        if own is not None and len(own) >= self._per_peer and not self._evict([own]):
            return False
        if self._open >= self._total:
            others = sorted(self._peers.values(), key=len, reverse=True)
            if not self._evict(others):
                return False
        self._peers.setdefault(peer, _Peer()).waiting[connection] = None
        self._open += 1
        return True

    def begin(self, connection: Evictable, peer: str) -> None:
        """A request has come in on the connection."""
        own = self._peers.get(peer)
        if own is not None and connection in own.waiting:
            del own.waiting[connection]
            own.busy.add(connection)

    def end(self, connection: Evictable, peer: str) -> None:
        """The request has been answered."""
        own = self._peers.get(peer)
        if own is not None and connection in own.busy:
            own.busy.remove(connection)
            own.waiting[connection] = None

    def leave(self, connection: Evictable, peer: str) -> None:
        """The connection is closed; nothing happens if it has no place."""
        own = self._peers.get(peer)
        if own is None or (connection not in own.waiting and connection not in own.busy):
            return
        own.waiting.pop(connection, None)
        own.busy.discard(connection)
        self._open -= 1
        if not len(own):
            del self._peers[peer]

    def _evict(self, peers: list[_Peer]) -> bool:
        """Free the place that has been without a request for longest, of the first that has."""
        for peer in peers:
            if peer.waiting:
                connection = next(iter(peer.waiting))
                connection.give_way()
                return True
        return False


class BoundedProtocol(HttpToolsProtocol):
    """HTTP/1.1 with bounds on heads, waits and connections.

    Args:
        limits: The bounds.
        places: Shared by all connections of the server.
        options: What uvicorn gives to its protocols.
    """

    def __init__(self, *, limits: ConnectionLimits, places: Connections, **options: Any) -> None:
        super().__init__(**options)
        self._limits = limits
        self._places = places
        self._peer = "-"
        self._head_timer: asyncio.TimerHandle | None = None
        self._write_timer: asyncio.TimerHandle | None = None
        self._head_bytes = 0
        self._head_fields = 0
        self._loose_bytes = 0  # came, and were neither a body's nor the end of a head
        self._refusal: HttpError | None = None

    # --- the connection ------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See ``asyncio.Protocol``."""
        super().connection_made(transport)  # type: ignore[arg-type]
        self._peer = peer_of(self.client[0] if self.client else None)
        if self._places.enter(self, self._peer):
            self._await_head()
            return
        self._refuse(HttpError(503, "too many connections; ask again later", {"Retry-After": "1"}))

    def connection_lost(self, exc: Exception | None) -> None:
        """See ``asyncio.Protocol``."""
        self._stop_timers()
        self._places.leave(self, self._peer)
        super().connection_lost(exc)

    def give_way(self) -> None:
        """See ``Evictable``."""
        self._places.leave(self, self._peer)
        self._close()

    def data_received(self, data: bytes) -> None:
        """See ``asyncio.Protocol``."""
        if self.transport.is_closing():
            return
        self._loose_bytes += len(data)
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self._loose_bytes > self._limits.head_bytes:
            self._refuse(self._too_large())
        elif self._answers_nothing():
            self._await_head()

    def pause_writing(self) -> None:
        """The client reads too slowly; one that does not read at all is cut off."""
        super().pause_writing()
        if self._write_timer is None:
            self._write_timer = self.loop.call_later(self._limits.write_s, self.transport.abort)

    def resume_writing(self) -> None:
        """The client reads again."""
        super().resume_writing()
        if self._write_timer is not None:
            self._write_timer.cancel()
            self._write_timer = None

    def timeout_keep_alive_handler(self) -> None:
        """The next request did not come."""
        self._close()

    # --- what the parser finds -----------------------------------------------------------

    def on_message_begin(self) -> None:
        """A head begins."""
        self._head_bytes = self._head_fields = 0
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """A piece of the request's target."""
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """A field of the head, or of the trailer of a body in chunks."""
        self._head_fields += 1
        self._count(len(name) + len(value) + 4)
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The head is there: the request begins."""
        self._loose_bytes = 0
        self._stop_head_timer()
        self._places.begin(self, self._peer)
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        self._loose_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The body is complete."""
        self._loose_bytes = 0
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """The request is answered."""
        super().on_response_complete()
        if self._answers_nothing():
            self._places.end(self, self._peer)

    def send_400_response(self, msg: str) -> None:
        """What uvicorn calls when the parser stops."""
        self._refuse(self._refusal or HttpError(400, "this is not an HTTP/1.1 request"))

    # --- bounds --------------------------------------------------------------------------

    def _answers_nothing(self) -> bool:
        return self.cycle is None or bool(self.cycle.response_complete)

    def _count(self, size_bytes: int) -> None:
        self._head_bytes += size_bytes
        limits = self._limits
        if self._head_bytes > limits.head_bytes or self._head_fields > limits.head_fields:
            self._refusal = self._too_large()
            raise self._refusal  # the parser stops

    def _too_large(self) -> HttpError:
        return HttpError(
            431,
            f"the head of the request is too large: at most {self._limits.head_bytes} bytes and "
            f"{self._limits.head_fields} fields are allowed",
        )

    def _await_head(self) -> None:
        """A request must come in full within a time that begins now, if it does not run yet."""
        if self._head_timer is None and self.timeout_keep_alive_task is None:
            self._head_timer = self.loop.call_later(self._limits.head_s, self._head_is_late)

    def _head_is_late(self) -> None:
        self._head_timer = None
        if self._loose_bytes and self._answers_nothing():
            self._refuse(
                HttpError(408, f"the request's head did not come within {self._limits.head_s:g} s")
            )
        else:
            self._close()

    def _refuse(self, error: HttpError) -> None:
        if self._answers_nothing() and not self.transport.is_closing():
            self.transport.write(_raw(error))
        self._close()

    def _close(self) -> None:
        """Close, and do not wait for ever for the client to read what is left."""
        self._stop_head_timer()
        if not self.transport.is_closing():
            self.transport.close()
        if self.transport.get_write_buffer_size() and self._write_timer is None:
            self._write_timer = self.loop.call_later(self._limits.write_s, self.transport.abort)

    def _stop_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _stop_timers(self) -> None:
        self._stop_head_timer()
        if self._write_timer is not None:
            self._write_timer.cancel()
            self._write_timer = None


def allow_files(wanted: int) -> int:
    """Let this process open as many connections as it may.

    Args:
        wanted: Connections.

    Returns:
        How many there can be: fewer where the system allows fewer open files.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = min(wanted + _OTHER_FILES, _MAX_FILES)
    if soft != resource.RLIM_INFINITY and soft < needed:
        soft = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if soft == resource.RLIM_INFINITY:
        return wanted
    return max(16, min(wanted, soft - _OTHER_FILES))


def _raw(error: HttpError) -> bytes:
    """A reply that is sent where there is no request to answer."""
    body = json.dumps(http_body(error)).encode()
    head = [
        f"HTTP/1.1 {error.status} {HTTPStatus(error.status).phrase}",
        "content-type: application/json",
        f"content-length: {len(body)}",
        "connection: close",
        *(f"{name.lower()}: {value}" for name, value in error.headers.items()),
    ]
    return "\r\n".join(head).encode("ascii") + b"\r\n\r\n" + body
