# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Connections that say too much, too slowly or nothing, and what is announced but never comes."""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from serving import Served, Start  # type: ignore[import-not-found]

#: no answer of these takes so long, on any machine
PATIENCE_S = 60.0

JSON_HEAD = b"Host: 127.0.0.1\r\nContent-Type: application/json\r\n"


@pytest.fixture(scope="module")
def small(start: Start) -> Served:
    """Few places, little time for heads, little memory for bodies."""
    served: Served = start(
        *("--model", "echo:", "--head-s", "1", "--max-connections", "40"),
        *("--max-connections-per-peer", "16", "--max-body-mib", "1", "--max-bodies-mib", "2"),
    )
    return served


def connect(served: Served, source: str = "127.0.0.1") -> socket.socket:
    host, port = served.url.removeprefix("http://").split(":")
    return socket.create_connection(
        (host, int(port)), timeout=PATIENCE_S, source_address=(source, 0)
    )


def read_all(connection: socket.socket) -> bytes:
    """Until the server closes."""
    said = b""
    with contextlib.suppress(ConnectionError):
        while piece := connection.recv(65536):
            said += piece
    return said


def send_until_closed(connection: socket.socket, piece: bytes, most_bytes: int) -> int:
    sent = 0
    with contextlib.suppress(ConnectionError):
        while sent < most_bytes:
            connection.sendall(piece)
            sent += len(piece)
    return sent


def rss_kib(served: Served) -> int:
    for line in Path(f"/proc/{served.process.pid}/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1])
    raise AssertionError("no VmHWM")


def ready(served: Served) -> bool:
    return httpx.get(f"{served.url}/readyz", timeout=PATIENCE_S).status_code == 200


# --- heads -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sent", "status"),
    [(b"", b""), (b"GET /readyz HTTP/1.1\r\nHost: 127", b" 408 "), (b"\r\n", b" 408 ")],
)
def test_heads_that_do_not_come_end_the_connection(
    small: Served, sent: bytes, status: bytes
) -> None:
    with connect(small) as connection:
        connection.sendall(sent)
        said = read_all(connection)
    assert (status in said) if status else said == b""


@pytest.mark.parametrize("drop", [b"\r\n", b"X-A: b\r\n"])
def test_trickling_does_not_extend_the_time_for_a_head(small: Served, drop: bytes) -> None:
    with connect(small) as connection:
        if drop.startswith(b"X"):
            connection.sendall(b"GET /readyz HTTP/1.1\r\n")
        connection.settimeout(0.1)
        with contextlib.suppress(ConnectionError):
            for _ in range(round(PATIENCE_S / 0.1)):
                connection.sendall(drop)
                with contextlib.suppress(TimeoutError):
                    if not connection.recv(65536):
                        break
            else:
                pytest.fail("the connection was kept")


@pytest.mark.parametrize(
    "begin",
    [
        b"GET /readyz HTTP/1.1\r\nX-Long: ",
        b"GET /",
        b"POST /query HTTP/1.1\r\n" + JSON_HEAD + b"Transfer-Encoding: chunked\r\n\r\n1;",
        b"POST /query HTTP/1.1\r\n"
        + JSON_HEAD
        + b"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n0\r\nX-Trailer: ",
    ],
    ids=["header", "target", "chunk extension", "trailer"],
)
def test_endless_heads_cost_no_memory(small: Served, begin: bytes) -> None:
    before = rss_kib(small)
    with connect(small) as connection:
        connection.sendall(begin)
        sent = send_until_closed(connection, b"x" * 65536, 400 * 2**20)
    assert sent < 64 * 2**20
    assert rss_kib(small) - before < 32 * 1024
    assert ready(small)


def test_many_header_fields_are_refused(small: Served) -> None:
    fields = "".join(f"X-{number}: y\r\n" for number in range(200))
    with connect(small) as connection:
        connection.sendall(f"GET /readyz HTTP/1.1\r\nHost: 127.0.0.1\r\n{fields}\r\n".encode())
        head, _, body = read_all(connection).partition(b"\r\n\r\n")
    assert b" 431 " in head
    assert "100 fields" in json.loads(body)["error"]["message"]


def test_what_is_no_http_is_told_so_in_the_shape_of_all_errors(small: Served) -> None:
    with connect(small) as connection:
        connection.sendall(b"\x16\x03\x01 no http\r\n\r\n")
        head, _, body = read_all(connection).partition(b"\r\n\r\n")
    assert b" 400 " in head
    assert json.loads(body)["error"]["message"]


# --- places ----------------------------------------------------------------------------


@contextlib.contextmanager
def idle(served: Served, number: int, source: str) -> Iterator[list[socket.socket]]:
    """Connections that say nothing, or half of a head."""
    with contextlib.ExitStack() as stack:
        opened = []
        for index in range(number):
            opened.append(stack.enter_context(connect(served, source)))
            if index % 2:
                with contextlib.suppress(ConnectionError):
                    opened[-1].sendall(b"GET /readyz HTTP/1.1\r\nHost: 127")
        yield opened


def test_idle_connections_of_a_peer_stop_nobody(start: Start) -> None:
    """More than there are places in all; heads may take their time."""
    served = start(
        *("--model", "echo:", "--head-s", "600", "--max-connections", "40"),
        *("--max-connections-per-peer", "16"),
    )
    with (
        idle(served, 60, "127.0.0.2"),
        idle(served, 60, "127.0.0.3"),
        idle(served, 60, "127.0.0.4"),
    ):
        for source in ("127.0.0.1", "127.0.0.2", "127.0.0.9"):
            with connect(served, source) as connection:
                connection.sendall(
                    b"GET /readyz HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
                )
                assert b" 200 " in read_all(connection), source
    served.stop()


def test_requests_keep_their_places_and_new_peers_get_theirs(small: Served) -> None:
    """All places of a peer have requests that do not end: it is refused, others are not."""
    head = b"POST /query HTTP/1.1\r\n" + JSON_HEAD + b"Content-Length: 9\r\n\r\n{"
    with contextlib.ExitStack() as stack:
        for _ in range(16):
            connection = stack.enter_context(connect(small, "127.0.0.5"))
            connection.sendall(head)
        refused = []
        for _ in range(3):
            with connect(small, "127.0.0.5") as connection:
                refused.append(read_all(connection))
        assert all(b" 503 " in said and b"retry-after: 1" in said for said in refused), refused
        assert ready(small)


# --- bodies ----------------------------------------------------------------------------


def test_announced_bodies_reserve_nothing(small: Served) -> None:
    """Ten announce 1 MiB each, 2 may be held in all: who really sends is answered."""
    head = b"POST /query HTTP/1.1\r\n" + JSON_HEAD + b"Content-Length: 1048576\r\n\r\n{"
    with contextlib.ExitStack() as stack:
        for _ in range(10):
            stack.enter_context(connect(small)).sendall(head)
        reply = httpx.post(f"{small.url}/query", json={"text": "[(0.5, 0.5)]", "x": "y" * 900_000})
    assert reply.status_code != 429, reply.text


def test_small_bodies_do_not_become_large_structures(small: Served) -> None:
    before = rss_kib(small)
    for value in ("[1" + ",1" * 400_000 + "]", "[" + ",".join(["{}"] * 300_000) + "]"):
        for field in ("image_url", "messages", "unknown", "depth"):
            for route in ("/query", "/v1/point", "/v1/chat/completions"):
                reply = httpx.post(
                    f"{small.url}{route}",
                    content=f'{{"{field}": {value}}}',
                    headers={"Content-Type": "application/json"},
                    timeout=PATIENCE_S,
                )
                assert reply.status_code == 422
                assert "JSON values" in reply.json()["error"]["message"]
    assert rss_kib(small) - before < 32 * 1024


# --- texts -----------------------------------------------------------------------------

HALF = "\\ud83d"


@pytest.mark.parametrize(
    ("route", "body"),
    [
        ("/query", f'{{"text": "x {HALF} [(0.5, 0.5)]"}}'),
        ("/query", f'{{"text": "x", "{HALF}": 1}}'),
        ("/query", f'{{"text": "x", "unknown": ["{HALF}"]}}'),
        ("/query", f'{{"image_url": ["{HALF}"]}}'),
        ("/query", f'{{"enable_depth": "{HALF}", "text": "x"}}'),
        ("/v1/point", f'{{"image": "AA", "instruction": "{HALF}"}}'),
        ("/v1/point", f'{{"image": "AA", "instruction": "x", "mode": "{HALF}"}}'),
        ("/v1/point", f'{{"image": "AA", "instruction": "x", "{HALF}": {{"{HALF}": 1}}}}'),
        ("/v1/point", f'{{"image": "AA", "instruction": "x", "depth": {{"data": "{HALF}"}}}}'),
        ("/v1/chat/completions", f'{{"messages": [{{"role": "user", "content": "{HALF}"}}]}}'),
        ("/v1/chat/completions", f'{{"model": "{HALF}", "messages": [{{"role": "user"}}]}}'),
        ("/v1/chat/completions", f'{{"messages": [], "stop": "{HALF}", "{HALF}": 0}}'),
        ("/query", f'"{HALF}"'),
        ("/query", "[" * 60 + "]" * 60),
    ],
)
def test_half_characters_and_deep_bodies_are_told(small: Served, route: str, body: str) -> None:
    reply = httpx.post(
        f"{small.url}{route}", content=body, headers={"Content-Type": "application/json"}
    )
    assert reply.status_code == 422, reply.text
    assert "surrogate" in reply.text or "nested" in reply.text
    assert "unexpected" not in small.log.read_text()


def test_raw_surrogates_and_odd_headers_are_told(small: Served) -> None:
    """UTF-8 of half a pair, which Python's JSON reader lets pass; headers are bytes."""
    reply = httpx.post(
        f"{small.url}/query",
        content=b'{"text": "\xed\xa0\xbd"}',
        headers={b"Content-Type": b"application/json", b"X-Client-ID": b"\xed\xa0\xbd"},
    )
    assert reply.status_code == 422
