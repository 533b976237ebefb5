# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Many clients, impatient clients, too little memory, and the end."""

from __future__ import annotations

import resource
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import numpy as np
import pytest
from serving import TINY, Served, Start, base64_png  # type: ignore[import-not-found]


def long_question(image: str, **more: Any) -> dict[str, Any]:
    """The tiny network talks on until it is stopped: 3000 tokens take seconds."""
    return {"image": image, "instruction": "the mug", **more}


def eventually(condition: Callable[[], bool], within_s: float = 10.0) -> bool:
    end = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def is_idle(served: Served) -> bool:
    """A short question is answered at once only when nothing else runs."""
    return served.metric("roborefer_queued_requests") == 0


def abandon(served: Served, body: dict[str, Any], route: str = "/v1/point") -> None:
    """Ask, and close the connection while the model answers."""
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(f"{served.url}{route}", json=body, timeout=0.4)


def test_deadline_ends_the_generation(tiny: Served, image: str) -> None:
    started = time.monotonic()
    reply = httpx.post(f"{tiny.url}/v1/point", json=long_question(image, timeout_s=0.3), timeout=20)
    assert reply.status_code == 504
    assert reply.json()["error"]["code"] == 2507
    assert time.monotonic() - started < 2.0
    # The model is free again: a whole short answer comes sooner than the long one would.
    assert _short_answer_s(tiny, image) < 2.0


def _short_answer_s(served: Served, image: str) -> float:
    started = time.monotonic()
    part = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{image}"}}
    body = {"messages": [{"role": "user", "content": [part]}], "max_tokens": 2}
    reply = httpx.post(f"{served.url}/v1/chat/completions", json=body, timeout=30)
    assert reply.status_code == 200, reply.text
    return time.monotonic() - started


@pytest.mark.parametrize("route", ["/v1/point", "/query", "stream"])
def test_disconnect_cancels_generation(tiny: Served, image: str, route: str) -> None:
    body = long_question(image)
    if route == "/query":
        body = {"image_url": [image], "text": "Where is the mug?"}
    if route == "stream":
        part = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{image}"}}
        chat = {"messages": [{"role": "user", "content": [part]}], "stream": True}
        with httpx.stream("POST", f"{tiny.url}/v1/chat/completions", json=chat) as reply:
            next(reply.iter_lines())
    else:
        abandon(tiny, body, route)
    assert _short_answer_s(tiny, image) < 1.5
    assert tiny.metric("roborefer_queued_requests") == 0


def test_queue_is_bounded_and_fair(tiny: Served, image: str) -> None:
    """One runs, six of its client wait, two places are kept for others; the rest is refused."""
    options = {"json": long_question(image, timeout_s=4.0), "timeout": 30.0}

    def ask(client: str) -> httpx.Response:
        headers = {"X-Client-ID": client}
        return httpx.post(f"{tiny.url}/v1/point", headers=headers, **options)

    with ThreadPoolExecutor(16) as pool:
        batches = tiny.metric("roborefer_batch_size_count")
        first = pool.submit(ask, "greedy")
        assert eventually(lambda: tiny.metric("roborefer_batch_size_count") == batches + 1)
        waiting = [pool.submit(ask, "greedy") for _ in range(6)]
        assert eventually(lambda: tiny.metric("roborefer_queued_requests") == 6)
        refused = ask("greedy")
        assert refused.status_code == 429
        assert refused.json()["error"]["code"] == 2505
        assert int(refused.headers["Retry-After"]) >= 1
        other = pool.submit(ask, "modest")
        assert eventually(lambda: tiny.metric("roborefer_queued_requests") == 7)
        assert httpx.get(f"{tiny.url}/healthz").status_code == 200
        results = [future.result().status_code for future in [first, *waiting, other]]
    # Each got a numbered reply: 3000 tokens within the deadline, or told that it passed.
    assert set(results) <= {200, 504}
    assert eventually(lambda: is_idle(tiny))


def test_batches_happen(tiny: Served, image: str) -> None:
    """While one answer is generated, the next two come together."""
    part = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{image}"}}
    body = {"messages": [{"role": "user", "content": [part]}], "max_tokens": 400}
    batches = tiny.metric("roborefer_batch_size_count")

    def ask() -> int:
        url = f"{tiny.url}/v1/chat/completions"
        return int(httpx.post(url, json=body, timeout=30).status_code)

    with ThreadPoolExecutor(5) as pool:
        futures = [pool.submit(ask) for _ in range(5)]
        assert [future.result() for future in futures] == [200] * 5
    assert tiny.metric("roborefer_batch_size_count") - batches <= 4


def test_sigterm_completes_what_was_accepted(start: Start, image: str) -> None:
    served = start("--model", TINY, "--max-new-tokens", "400", "--max-batch", "1")
    body = {"image_url": [image], "text": "Where is the mug?"}
    with ThreadPoolExecutor(4) as pool:
        futures = [
            pool.submit(httpx.post, f"{served.url}/query", json=body, timeout=30) for _ in range(4)
        ]
        assert eventually(lambda: served.metric("roborefer_queued_requests") == 3)
        served.process.send_signal(signal.SIGTERM)
        replies = [future.result() for future in futures]
    assert [reply.status_code for reply in replies] == [200] * 4
    assert len({reply.json()["answer"] for reply in replies}) == 1
    assert served.process.wait(10) in (0, -signal.SIGTERM)
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{served.url}/healthz")


def test_sigterm_tells_those_it_cannot_complete(start: Start, image: str) -> None:
    served = start("--model", TINY, "--max-new-tokens", "9000", "--drain-s", "0.5")
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(
            httpx.post, f"{served.url}/v1/point", json=long_question(image), timeout=30
        )
        assert eventually(lambda: served.metric("roborefer_batch_size_count") == 1)
        started = time.monotonic()
        served.process.send_signal(signal.SIGTERM)
        reply = future.result()
    assert reply.status_code == 503
    assert reply.json()["error"]["name"] == "ShuttingDown"
    served.process.wait(10)
    assert time.monotonic() - started < 5.0


def test_out_of_memory_is_answered_and_survived(brief_wide: Served, image: str) -> None:
    """The process may not have more than a little more memory than it has now."""
    pid = brief_wide.process.pid
    wide = np.random.default_rng(7).integers(0, 256, (900, 1200, 3), np.uint8)
    many = [base64_png(np.roll(wide, shift)) for shift in range(8)]
    greedy = {"image_url": many, "text": "Compare them."}
    small = {"image_url": [image], "text": "What is this?"}
    before = httpx.post(f"{brief_wide.url}/query", json=small, timeout=30)
    assert before.status_code == 200
    used = int((_proc(pid, "statm")).split()[0]) * resource.getpagesize()
    limits = resource.prlimit(pid, resource.RLIMIT_AS)
    resource.prlimit(pid, resource.RLIMIT_AS, (used + 48 * 2**20, limits[1]))
    try:
        reply = httpx.post(f"{brief_wide.url}/query", json=greedy, timeout=60)
    finally:
        resource.prlimit(pid, resource.RLIMIT_AS, limits)
    assert reply.status_code == 503, reply.text
    assert reply.json()["error"]["name"] == "ModelOutOfMemory"
    assert "Retry-After" in reply.headers
    after = httpx.post(f"{brief_wide.url}/query", json=small, timeout=30)
    assert after.json() == before.json()
    assert httpx.post(f"{brief_wide.url}/query", json=greedy, timeout=60).status_code == 200


def _proc(pid: int, name: str) -> str:
    with open(f"/proc/{pid}/{name}") as file:
        return file.read()


@pytest.fixture(scope="module")
def brief_wide(start: Start) -> Served:
    """Short answers, large bodies."""
    served: Served = start("--model", TINY, "--max-new-tokens", "8", "--max-body-mib", "64")
    return served
