# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Many clients, impatient clients, too little memory, and the end."""

from __future__ import annotations

import json
import resource
import signal
import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import numpy as np
import pytest
from serving import TINY, Served, Start, base64_png  # type: ignore[import-not-found]

#: The network of the fixture ``tiny`` talks on for 12000 tokens, which takes any machine far
#: longer than what is waited for here; nothing below depends on how fast the machine is.
PATIENCE_S = 60.0


def long_question(image: str, **more: Any) -> dict[str, Any]:
    """For ``/v1/point``: the answer takes very long."""
    return {"image": image, "instruction": "the mug", **more}


def chat(image: str, **more: Any) -> dict[str, Any]:
    """For ``/v1/chat/completions``."""
    part = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{image}"}}
    return {"messages": [{"role": "user", "content": [part]}], **more}


def eventually(condition: Callable[[], bool], within_s: float = PATIENCE_S) -> bool:
    end = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def count(served: Served, what: str) -> float:
    """Requests that are "queued" or "running"."""
    return served.metric(f"roborefer_{what}_requests")


def ask_and_hold(
    served: Served, route: str, body: dict[str, Any], client: str = ""
) -> socket.socket:
    """Send a request; closing the socket is the client's leaving."""
    host, port = served.url.removeprefix("http://").split(":")
    data = json.dumps(body).encode()
    head = (
        f"POST {route} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
        f"X-Client-ID: {client}\r\nContent-Length: {len(data)}\r\n\r\n"
    )
    connection = socket.create_connection((host, int(port)), timeout=PATIENCE_S)
    connection.sendall(head.encode() + data)
    return connection


def test_deadline_ends_the_generation(tiny: Served, image: str) -> None:
    reply = httpx.post(
        f"{tiny.url}/v1/point", json=long_question(image, timeout_s=0.5), timeout=PATIENCE_S
    )
    assert reply.status_code == 504
    assert reply.json()["error"]["code"] == 2507
    assert eventually(lambda: count(tiny, "running") == 0, 10.0)


@pytest.mark.parametrize("route", ["/v1/point", "/query", "stream"])
def test_disconnect_cancels_generation(tiny: Served, image: str, route: str) -> None:
    asked = {
        "/v1/point": ("/v1/point", long_question(image)),
        "/query": ("/query", {"image_url": [image], "text": "Where is the mug?"}),
        "stream": ("/v1/chat/completions", chat(image, stream=True)),
    }
    connection = ask_and_hold(tiny, *asked[route])
    assert eventually(lambda: count(tiny, "running") == 1)
    if route == "stream":
        said = b""
        while b"data:" not in said:
            said += connection.recv(4096)
    connection.close()
    assert eventually(lambda: count(tiny, "running") == 0, 10.0)
    assert count(tiny, "queued") == 0


def test_queue_is_bounded_and_fair(tiny: Served, image: str) -> None:
    """One runs, six of its client wait, two places are kept for others; the rest is refused."""
    url, question = f"{tiny.url}/v1/point", long_question(image)
    held = [ask_and_hold(tiny, "/v1/point", question, "greedy")]
    assert eventually(lambda: count(tiny, "running") == 1)
    held += [ask_and_hold(tiny, "/v1/point", question, "greedy") for _ in range(6)]
    assert eventually(lambda: count(tiny, "queued") == 6)
    headers = {"X-Client-ID": "greedy"}
    refused = httpx.post(url, json=question, headers=headers, timeout=PATIENCE_S)
    assert refused.status_code == 429
    assert refused.json()["error"]["code"] == 2505
    assert int(refused.headers["Retry-After"]) >= 1
    with ThreadPoolExecutor(1) as pool:
        modest = pool.submit(
            httpx.post,
            f"{tiny.url}/v1/chat/completions",
            json=chat(image, max_tokens=2),
            headers={"X-Client-ID": "modest"},
            timeout=PATIENCE_S,
        )
        assert eventually(lambda: count(tiny, "queued") == 7)
        assert httpx.get(f"{tiny.url}/healthz").status_code == 200
        held[0].close()
        # It came last of seven and is in the next batch of two: the clients take turns.
        assert modest.result().status_code == 200
        assert count(tiny, "queued") == 5
    for connection in held[1:]:
        connection.close()
    assert eventually(lambda: count(tiny, "queued") == count(tiny, "running") == 0)


def test_batches_happen(tiny: Served, image: str) -> None:
    """While one answer is generated, four others come: two batches of two."""
    batches = tiny.metric("roborefer_batch_size_count")
    first = ask_and_hold(tiny, "/v1/point", long_question(image))
    assert eventually(lambda: count(tiny, "running") == 1)
    url = f"{tiny.url}/v1/chat/completions"
    with ThreadPoolExecutor(4) as pool:
        futures = [
            pool.submit(httpx.post, url, json=chat(image, max_tokens=20), timeout=PATIENCE_S)
            for _ in range(4)
        ]
        assert eventually(lambda: count(tiny, "queued") == 4)
        first.close()
        assert [future.result().status_code for future in futures] == [200] * 4
    assert tiny.metric("roborefer_batch_size_count") - batches == 3


@pytest.mark.timeout(300)
def test_sigterm_completes_what_was_accepted(start: Start, image: str) -> None:
    patience = ("--drain-s", "100", "--timeout-s", "110")
    served = start("--model", TINY, "--max-new-tokens", "800", "--max-batch", "1", *patience)
    body = {"image_url": [image], "text": "Where is the mug?"}
    # One client for all: making four takes longer on a busy machine than the first answer.
    with httpx.Client(base_url=served.url, timeout=120) as client, ThreadPoolExecutor(4) as pool:
        futures = [pool.submit(client.post, "/query", json=body) for _ in range(4)]
        assert eventually(lambda: count(served, "queued") == 3)
        served.process.send_signal(signal.SIGTERM)
        replies = [future.result() for future in futures]
    assert [reply.status_code for reply in replies] == [200] * 4
    assert len({reply.json()["answer"] for reply in replies}) == 1
    assert served.process.wait(60) in (0, -signal.SIGTERM)
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{served.url}/healthz")


def test_sigterm_tells_those_it_cannot_complete(start: Start, image: str) -> None:
    served = start("--model", TINY, "--max-new-tokens", "12000", "--drain-s", "0.5")
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(
            httpx.post, f"{served.url}/v1/point", json=long_question(image), timeout=120
        )
        assert eventually(lambda: count(served, "running") == 1)
        served.process.send_signal(signal.SIGTERM)
        reply = future.result()
    assert reply.status_code == 503
    assert reply.json()["error"]["name"] == "ShuttingDown"
    served.process.wait(60)


def test_out_of_memory_is_answered_and_survived(brief_wide: Served, image: str) -> None:
    """The process may not have more than a little more memory than it has now."""
    pid = brief_wide.process.pid
    wide = np.random.default_rng(7).integers(0, 256, (900, 1200, 3), np.uint8)
    many = [base64_png(np.roll(wide, shift)) for shift in range(8)]
    greedy = {"image_url": many, "text": "Compare them."}
    small = {"image_url": [image], "text": "What is this?"}
    before = httpx.post(f"{brief_wide.url}/query", json=small, timeout=120)
    assert before.status_code == 200
    used = int((_proc(pid, "statm")).split()[0]) * resource.getpagesize()
    limits = resource.prlimit(pid, resource.RLIMIT_AS)
    resource.prlimit(pid, resource.RLIMIT_AS, (used + 48 * 2**20, limits[1]))
    try:
        reply = httpx.post(f"{brief_wide.url}/query", json=greedy, timeout=120)
    finally:
        resource.prlimit(pid, resource.RLIMIT_AS, limits)
    assert reply.status_code == 503, reply.text
    assert reply.json()["error"]["name"] == "ModelOutOfMemory"
    assert "Retry-After" in reply.headers
    after = httpx.post(f"{brief_wide.url}/query", json=small, timeout=120)
    assert after.json() == before.json()
    assert httpx.post(f"{brief_wide.url}/query", json=greedy, timeout=120).status_code == 200


def _proc(pid: int, name: str) -> str:
    with open(f"/proc/{pid}/{name}") as file:
        return file.read()


@pytest.fixture(scope="module")
def brief_wide(start: Start) -> Served:
    """Short answers, large bodies."""
    served: Served = start("--model", TINY, "--max-new-tokens", "8", "--max-body-mib", "64")
    return served
