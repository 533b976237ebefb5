# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""HTTP as a robot needs it: every wait bounded, every call cancellable, every reply limited.

The transfer runs on an event loop in a thread of its own, so that a cancelled goal closes the
connection at once, even while the server is silent (which tells servers such as vLLM to stop
generating).  The calling thread polls for cancellation and receives the data.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import json
import logging
import os
import queue
import random
import ssl
import threading
import time
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import urlsplit

from roborefer_ros.cancellation import Cancellation
from roborefer_ros.errors import (
    BackendBadReplyError,
    BackendFailedError,
    BackendRejectedError,
    BackendTimeoutError,
    BackendUnreachableError,
    CanceledError,
    ConfigurationError,
    DeadlineExceededError,
    DependencyMissingError,
    InvalidPointerSpecError,
    RoboReferError,
)
from roborefer_ros.inference.options import HttpLimits
from roborefer_ros.inference.proxies import is_loopback, proxy_for, shown

try:
    import httpx
except ImportError as missing:
    raise DependencyMissingError(
        f"remote models need httpx ({missing}); pip install 'roborefer_ros[remote]'"
    ) from missing

#: the environment variable that holds the API key, unless ``key_env=`` names another
DEFAULT_KEY_VARIABLE = "ROBOREFER_API_KEY"

#: how often a silent server lets the caller look for cancellation, seconds
_POLL_S = 0.02

#: how much of an error reply is read for its message, bytes
_ERROR_BYTES = 64 * 1024

#: the longest wait that a server may ask for with Retry-After, seconds
_MAX_RETRY_AFTER_S = 30.0

#: 5xx that say "never", not "not now"
_PERMANENT_5XX = {501, 505}

_T = TypeVar("_T")

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Head:
    status: int
    content_type: str
    content_encoding: str
    retry_after: str


class _RetryableError(Exception):
    """An attempt failed in a way that another one may not."""

    def __init__(self, error: RoboReferError, wait_s: float = 0.0) -> None:
        super().__init__(str(error))
        self.error = error
        self.wait_s = wait_s


def api_key(variable: str = DEFAULT_KEY_VARIABLE) -> str | None:
    """The key in an environment variable, or None.

    Raises:
        InvalidPointerSpecError: it holds characters that no key has (the key is not repeated).
    """
    key = os.environ.get(variable, "").strip()
    if not all(33 <= ord(c) <= 126 for c in key):
        raise InvalidPointerSpecError(
            f"the environment variable {variable} holds blanks or characters outside ASCII; "
            "set it to the bare API key"
        )
    return key or None


class HttpSession:
    """A connection to one server.

    Args:
        base_url: ``http(s)://host[:port][/path]``.
        key: sent as a bearer token; appears in no message.
        limits: see ``HttpLimits``.

    Raises:
        ConfigurationError: the environment names a proxy that is none.
    """

    def __init__(
        self, base_url: str, *, key: str | None = None, limits: HttpLimits | None = None
    ) -> None:
        self._base_url = base_url
        self._key = key
        self._limits = limits or HttpLimits()
        # A compressed reply could unpack to far more than the size limit within one read.
        headers = {"Accept-Encoding": "identity", "User-Agent": "roborefer_ros"}
        if key:
            headers["Authorization"] = f"Bearer {key}"
            if base_url.startswith("http:") and not is_loopback(urlsplit(base_url).hostname or ""):
                _logger.warning(
                    "the API key travels to %s without encryption; use tls=true", base_url
                )
        proxy = proxy_for(base_url, os.environ)
        self._through = f" through the proxy {shown(proxy)}" if proxy else ""
        try:
            self._client = httpx.AsyncClient(
                headers=headers,
                follow_redirects=False,  # a key must not travel to another host
                timeout=httpx.Timeout(self._limits.silence_s, connect=self._limits.connect_s),
                limits=httpx.Limits(keepalive_expiry=30.0),
                trust_env=False,  # see ``proxies``; certificates as httpx has them
                proxy=proxy,
                verify=_certificates(),
            )
        except (ValueError, ImportError, httpx.InvalidURL) as error:
            raise ConfigurationError(
                f"requests to {base_url}{self._through} cannot be sent ({type(error).__name__}); "
                "check the proxy's variables (socks5:// needs `pip install httpx[socks]`)"
            ) from error
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self._loop.run_forever, name="roborefer-http", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Close the connections and end the thread."""
        if self._loop.is_closed():
            return
        self._submit(self._shut_down()).result(timeout=5.0)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=5.0)
        self._loop.close()

    async def _shut_down(self) -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await self._client.aclose()

    def exchange(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        cancellation: Cancellation | None = None,
        on_data: Callable[[bytes, str], None] | None = None,
    ) -> bytes:
        """Send a request and receive the reply.

        Args:
            method: Method of the request, ``GET`` or ``POST``.
            path: Path of the request, appended to the base URL.
            body: sent as JSON; None sends nothing.
            cancellation: Deadline and cancel flag of the goal; looked at while waiting.
            on_data: receives each piece of a good reply and its content type, in the calling
                thread; an exception of it ends the transfer.

        Returns:
            The whole body of the reply (status 2xx).

        Raises:
            CanceledError, DeadlineExceededError: the caller's own reasons.
            BackendUnreachableError, BackendTimeoutError, BackendRejectedError,
            BackendFailedError, BackendBadReplyError
        """
        expires = time.monotonic() + self._limits.total_s
        goal = cancellation or Cancellation()
        deadline = goal.deadline

        def check() -> None:
            if goal.cancelled():
                raise CanceledError("the goal was cancelled while the server answered")
            now = time.monotonic()
            if deadline is not None and now > deadline:
                raise DeadlineExceededError(
                    f"the deadline passed while waiting for {self._base_url}; allow a longer "
                    "timeout or use a faster server"
                )
            if now > expires:
                raise BackendTimeoutError(
                    f"{self._base_url} had not answered in full after {self._limits.total_s:g} s; "
                    "check its load, or allow more with the option timeout_s="
                )

        content = None if body is None else json.dumps(body).encode()
        wait_s = self._limits.back_off_s
        for attempt in range(1, self._limits.attempts + 1):
            check()
            try:
                return self._attempt(method, path, content, check, on_data)
            except _RetryableError as failure:
                pause = max(wait_s * random.uniform(0.75, 1.25), failure.wait_s)
                end = min(expires, deadline if deadline is not None else expires)
                if attempt == self._limits.attempts or time.monotonic() + pause > end:
                    raise failure.error from failure
                _sleep(pause, check)
                wait_s *= 2.0
        raise AssertionError("no attempt was made")  # attempts >= 1

    def _attempt(
        self,
        method: str,
        path: str,
        content: bytes | None,
        check: Callable[[], None],
        on_data: Callable[[bytes, str], None] | None,
    ) -> bytes:
        pieces: queue.SimpleQueue[_Head | bytes | None] = queue.SimpleQueue()
        transfer = self._submit(self._transfer(method, path, content, pieces))
        transfer.add_done_callback(lambda _: pieces.put(None))
        head: _Head | None = None
        received = bytearray()
        try:
            while True:
                check()
                try:
                    piece = pieces.get(timeout=_POLL_S)
                except queue.Empty:
                    continue
                if piece is None:
                    self._raise_failure(transfer, bool(received))
                    break
                if isinstance(piece, _Head):
                    head = piece
                    continue
                received += piece
                assert head is not None
                if on_data is not None and head.status < 300:
                    on_data(piece, head.content_type)
        finally:
            transfer.cancel()  # nothing happens if it is complete
        assert head is not None
        if not 200 <= head.status < 300:
            self._raise_status(head, bytes(received))
        return bytes(received)

    async def _transfer(
        self,
        method: str,
        path: str,
        content: bytes | None,
        pieces: queue.SimpleQueue[_Head | bytes | None],
    ) -> None:
        """Runs on the loop's thread; cancelling it closes the connection."""
        headers = {"Content-Type": "application/json"} if content is not None else {}
        async with self._client.stream(
            method, self._base_url + path, content=content, headers=headers
        ) as response:
            head = _Head(
                response.status_code,
                response.headers.get("content-type", "").partition(";")[0].strip().lower(),
                response.headers.get("content-encoding", "identity").strip().lower(),
                response.headers.get("retry-after", ""),
            )
            if head.content_encoding not in ("identity", ""):
                raise BackendBadReplyError(
                    f"{self._base_url} sent its reply compressed though it was asked not to; "
                    "turn compression off in the server or the proxy before it"
                )
            pieces.put(head)
            limit = self._limits.reply_bytes if head.status < 300 else _ERROR_BYTES
            size = 0
            async for piece in response.aiter_raw():
                size += len(piece)
                if size > limit:
                    if head.status >= 300:
                        return
                    raise BackendBadReplyError(
                        f"the reply of {self._base_url} is larger than {limit} bytes and was "
                        "abandoned; is this really a model server?"
                    )
                pieces.put(piece)

    def _raise_failure(self, transfer: concurrent.futures.Future[None], has_data: bool) -> None:
        """Turn an exception of the transfer into a numbered error."""
        if transfer.cancelled():
            raise BackendUnreachableError(f"the connection to {self._base_url} was closed")
        error = transfer.exception()
        if error is None:
            return
        if isinstance(error, RoboReferError):
            raise error
        name = type(error).__name__
        if isinstance(error, httpx.ConnectTimeout):
            raise _RetryableError(
                BackendTimeoutError(
                    f"{self._base_url} did not accept a connection{self._through} within "
                    f"{self._limits.connect_s:g} s; check address, network and firewall"
                )
            ) from error
        if isinstance(error, httpx.TimeoutException):
            raise BackendTimeoutError(
                f"{self._base_url} was silent for {self._limits.silence_s:g} s; check its load"
            ) from error
        if isinstance(error, httpx.TransportError) and not has_data:
            raise _RetryableError(
                BackendUnreachableError(
                    f"no connection to {self._base_url}{self._through} "
                    f"({name}: {self._clean(str(error))}); is the server "
                    "running, and are host and port right?"
                )
            ) from error
        if isinstance(error, httpx.HTTPError):
            raise BackendBadReplyError(
                f"the reply of {self._base_url} broke off ({name}: {self._clean(str(error))}); "
                "look into the server's log"
            ) from error
        raise BackendBadReplyError(
            f"the exchange with {self._base_url} failed ({name}: {self._clean(str(error))})"
        ) from error

    def _raise_status(self, head: _Head, body: bytes) -> None:
        said = self._clean(_error_message(body))
        where = f"{self._base_url} answered{self._through} HTTP {head.status}"
        if 400 <= head.status < 500:
            hint = {
                401: "set the API key in the environment (see docs/models.md)",
                403: "check what the API key may do",
                404: "check the path and the model's name",
                413: "the image is too large for the server",
                429: "the server is busy or a quota is used up",
            }.get(head.status, "the server does not accept the request")
            rejected = BackendRejectedError(f"{where} ({said}); {hint}")
            if head.status in (408, 429):
                raise _RetryableError(rejected, _retry_after_s(head.retry_after))
            raise rejected
        if head.status >= 500:
            failed = BackendFailedError(f"{where} ({said}); look into the server's log")
            if head.status in _PERMANENT_5XX:
                raise failed
            raise _RetryableError(failed, _retry_after_s(head.retry_after))
        raise BackendBadReplyError(
            f"{where}, which is no answer (redirects are not followed); check the address"
        )

    def redact(self, text: str) -> str:
        """A server's text as it may be shown and logged: whole characters, without the key.

        A server may repeat the request's headers.  Half surrogate pairs, which JSON can
        hold, cannot be written as UTF-8.
        """
        text = text.encode("utf-8", "replace").decode()
        return text.replace(self._key, "***") if self._key else text

    def _clean(self, text: str) -> str:
        """A foreign text for a message: printable, short, without the key."""
        text = self.redact(text)
        printable = "".join(c if c.isprintable() else " " for c in text[:2000])
        return " ".join(printable.split())[:300] or "no message"

    def _submit(self, coroutine: Coroutine[Any, Any, _T]) -> concurrent.futures.Future[_T]:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop)


def parse_json(body: bytes, server: str, redact: Callable[[str], str] = str) -> Any:
    """Parse a reply; ``redact`` takes secrets out of what a message quotes.

    Raises:
        BackendBadReplyError: it is not JSON.
    """
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        said = redact(body[:_ERROR_BYTES].decode("utf-8", "replace"))
        start = "".join(c if c.isprintable() else " " for c in said[:80])
        raise BackendBadReplyError(
            f"the reply of {server} is not JSON, it begins {start!r}; check the address"
        ) from error


def _certificates() -> ssl.SSLContext | bool:
    """Those of ``SSL_CERT_FILE`` or ``SSL_CERT_DIR`` where one is set, else httpx' own.

    Raises:
        ConfigurationError: they cannot be read.
    """
    file, folder = (os.environ.get(name) or None for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"))
    if file is None and folder is None:
        return True
    try:
        return ssl.create_default_context(cafile=file, capath=folder)
    except OSError as error:
        raise ConfigurationError(
            f"the certificates that SSL_CERT_FILE or SSL_CERT_DIR name cannot be read ({error})"
        ) from error


def _error_message(body: bytes) -> str:
    """What an error reply says: OpenAI's ``error.message``, FastAPI's ``detail``, or its text."""
    try:
        reply = json.loads(body)
    except (ValueError, RecursionError):
        return body.decode("utf-8", "replace")
    for name in ("error", "detail", "message"):
        found = reply.get(name) if isinstance(reply, dict) else None
        if isinstance(found, dict):
            found = found.get("message")
        if isinstance(found, str):
            return found
    return json.dumps(reply)


def _retry_after_s(text: str) -> float:
    """Retry-After in seconds, bounded; its date form is ignored."""
    return min(float(text), _MAX_RETRY_AFTER_S) if text.isascii() and text.isdigit() else 0.0


def _sleep(duration_s: float, check: Callable[[], None]) -> None:
    end = time.monotonic() + duration_s
    while (left := end - time.monotonic()) > 0:
        check()
        time.sleep(min(left, _POLL_S))


def open_session(
    server: str, options: Mapping[str, Any], limits: HttpLimits | None = None
) -> HttpSession:
    """A session as the options of a spec want it.

    Args:
        server: ``http(s)://host[:port][/path]``.
        options: Options of the spec; ``timeout_s``, ``attempts`` and ``key_env`` are read.
        limits: Limits in place of those of the options.

    Raises:
        InvalidPointerSpecError: The key is not usable.
        ConfigurationError: The environment names a proxy that is none.
    """
    limits = limits or HttpLimits(
        total_s=options.get("timeout_s", HttpLimits.total_s),
        attempts=options.get("attempts", HttpLimits.attempts),
    )
    key = api_key(options.get("key_env", DEFAULT_KEY_VARIABLE))
    return HttpSession(server, key=key, limits=limits)
