# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""What stands before every route: who may come in, how much they may bring, what is logged.

Plain ASGI, because it must act before the body is read and must not hold back streams.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import logging
import time
import traceback
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from roborefer_ros.server.bodies import Bodies, BodyShare
from roborefer_ros.server.clients import peer_of
from roborefer_ros.server.metrics import Metrics
from roborefer_ros.server.replies import HttpError, http_reply, numbered_reply, public_error
from roborefer_ros.server.settings import Settings, is_loopback

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

#: routes that need no token: they tell nothing and cost nothing
OPEN_ROUTES = frozenset({"/", "/healthz", "/readyz", "/ui", "/openapi.json"})

_KNOWN = OPEN_ROUTES | {
    "/query",
    "/metrics",
    "/v1/point",
    "/v1/chat/completions",
    "/v1/models",
}

#: of a refused body this much is read and dropped, so that the client reads the refusal
#: instead of finding its connection reset
_DROPPED_BYTES = 64 * 1024 * 1024
_DROPPED_S = 5.0

_access = logging.getLogger("roborefer_ros.server.access")


class RequestGuard:
    """ASGI middleware around the application.

    Args:
        app: the application.
        settings: token, host and limits.
        metrics: counts requests.
    """

    def __init__(self, app: App, settings: Settings, metrics: Metrics) -> None:
        self._app = app
        self._token = settings.token.encode() if settings.token else None
        self._limits = settings.limits
        self._metrics = metrics
        self._bodies = Bodies(settings.limits.bodies_bytes, settings.limits.body_bytes)
        # A page on the web can make a browser ask 127.0.0.1 under a name of its own (DNS
        # rebinding); without a token only the names of this machine are answered.
        own = f"[{settings.host}]" if ":" in settings.host else settings.host
        names = {"127.0.0.1", "localhost", "[::1]", own.lower()}
        self._hosts = names if is_loopback(settings.host) else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        status = 0

        async def watch(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), *_SAFE_HEADERS]
            await send(message)

        try:
            await self._handle(scope, receive, watch)
        except HttpError as error:
            await http_reply(error)(scope, receive, watch)
        except MemoryError as error:
            error.__traceback__ = None  # its frames hold what did not fit
            if not status:
                await numbered_reply(public_error(error))(scope, receive, watch)
        except asyncio.CancelledError:
            status = status or 499
            raise
        except Exception as error:
            # Not the message and not the values: they could hold what the client sent.
            _access.error(
                "unexpected %s\n%s",
                type(error).__name__,
                "".join(traceback.format_tb(error.__traceback__)),
            )
            if not status:
                problem = HttpError(500, f"an unexpected {type(error).__name__}; see the log")
                await http_reply(problem)(scope, receive, watch)
        finally:
            self._record(scope, status, time.perf_counter() - started)

    async def _handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = dict(scope["headers"])
        self._check_host(headers)
        self._check_token(scope["path"], headers)
        if scope["method"] not in ("POST", "PUT", "PATCH"):
            await self._app(scope, receive, send)
            return
        expected = await self._expected_bytes(headers, receive)
        with self._bodies.share(peer_of((scope.get("client") or ("-",))[0])) as share:
            try:
                body = await self._read(receive, expected, share)
            except HttpError as error:
                if error.status == 429:
                    await _drop(receive, expected - share.taken_bytes)
                raise
            self._check_values(body)
            await self._app(scope, _replay(body, receive), send)

    def _check_host(self, headers: dict[bytes, bytes]) -> None:
        if self._hosts is None or self._token is not None:
            return
        host = headers.get(b"host", b"").decode("latin-1").lower()
        name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
        if name not in self._hosts:
            raise HttpError(
                421, "this server answers to 127.0.0.1 and localhost only; see docs/server.md"
            )

    def _check_token(self, path: str, headers: dict[bytes, bytes]) -> None:
        if self._token is None or path in OPEN_ROUTES:
            return
        scheme, _, given = headers.get(b"authorization", b"").partition(b" ")
        if scheme.lower() == b"bearer" and hmac.compare_digest(given.strip(), self._token):
            return
        raise HttpError(
            401,
            "the bearer token is missing or wrong; send the header 'Authorization: Bearer ...'",
            {"WWW-Authenticate": "Bearer"},
        )

    async def _expected_bytes(self, headers: dict[bytes, bytes], receive: Receive) -> int:
        """The most that the body can have; refuses what is too much."""
        limit = self._limits.body_bytes
        length = headers.get(b"content-length", b"")
        # 15 digits are beyond any limit; a body in chunks tells no length.
        expected = int(length[:15]) if length.isdigit() else limit
        if b"content-encoding" in headers:
            raise HttpError(415, "compressed bodies are not accepted; send the JSON as it is")
        if expected > limit:
            await _drop(receive, expected)
            raise HttpError(413, f"the body has {expected} bytes, at most {limit} are allowed")
        return expected

    async def _read(self, receive: Receive, expected: int, share: BodyShare) -> bytes:
        """The whole body.  Only bytes that have come are counted, not those that are announced."""
        body = bytearray()
        limits = self._limits
        end = time.monotonic() + limits.body_s
        while True:
            left = min(limits.silence_s, end - time.monotonic())
            try:
                message = await asyncio.wait_for(receive(), max(0.0, left))
            except asyncio.TimeoutError:
                raise HttpError(
                    408,
                    f"{len(body)} bytes of the body came, which is not all of it; it may take "
                    f"{limits.body_s:g} s, and be silent for {limits.silence_s:g} s",
                    {"Connection": "close"},
                ) from None
            if message["type"] == "http.disconnect":
                raise HttpError(499, "the client went away")
            piece = message.get("body", b"")
            if len(body) + len(piece) > expected:
                raise HttpError(
                    413,
                    f"the body has more than the {expected} bytes that are allowed",
                    {"Connection": "close"},
                )
            share.take(len(piece))
            body.extend(piece)
            if not message.get("more_body", False):
                return bytes(body)

    def _check_values(self, body: bytes) -> None:
        """Refuse what would become far more memory than it has bytes.

        Pictures are base64, which has none of these characters.
        """
        values = sum(body.count(mark) for mark in (b",", b":", b"[", b"{"))
        if values > self._limits.json_values:
            raise HttpError(
                422,
                f"the body has about {values} JSON values, at most {self._limits.json_values} are "
                "allowed",
            )

    def _record(self, scope: Scope, status: int, took_s: float) -> None:
        path = scope["path"]
        route = path if path in _KNOWN else "other"
        self._metrics.requests.labels(route, str(status)).inc()
        self._metrics.request_seconds.labels(route).observe(took_s)
        peer = scope.get("client") or ("-", 0)
        # Neither the path of unknown routes nor any header: both can hold secrets.
        _access.info("%s %s %s %d %.1f ms", peer[0], scope["method"], route, status, 1000 * took_s)


_SAFE_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
)


def _replay(body: bytes, receive: Receive) -> Receive:
    """First the body that was read, then what really comes: the disconnect."""
    sent = False

    async def replay() -> Message:
        nonlocal sent
        if sent:
            return await receive()
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay


async def _drop(receive: Receive, expected: int) -> None:
    if expected > _DROPPED_BYTES:
        return

    async def drop() -> None:
        while True:
            message = await receive()
            if message["type"] == "http.disconnect" or not message.get("more_body", False):
                return

    with contextlib.suppress(asyncio.TimeoutError):
        await asyncio.wait_for(drop(), _DROPPED_S)
