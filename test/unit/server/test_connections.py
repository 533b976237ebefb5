# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Places for connections, memory for bodies, and who counts as one peer."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

pytest.importorskip("uvicorn")
pytest.importorskip("prometheus_client")

from roborefer_ros.errors import QueueFullError
from roborefer_ros.server.bodies import Bodies
from roborefer_ros.server.clients import Client, client_of, peer_of
from roborefer_ros.server.connections import Connections
from roborefer_ros.server.fair_queue import FairQueue
from roborefer_ros.server.metrics import Metrics
from roborefer_ros.server.replies import HttpError
from roborefer_ros.server.request_guard import RequestGuard
from roborefer_ros.server.settings import Limits, Settings


class Connection:
    """Knows whether it had to give way."""

    def __init__(self, places: Connections, peer: str) -> None:
        self.places, self.peer, self.gone = places, peer, False
        self.entered = places.enter(self, peer)

    def give_way(self) -> None:
        self.gone = True
        self.places.leave(self, self.peer)


def test_the_longest_waiting_gives_way_to_its_peer() -> None:
    places = Connections(10, 3)
    first, second, third = (Connection(places, "a") for _ in range(3))
    places.begin(first, "a")
    fourth = Connection(places, "a")
    assert fourth.entered
    assert second.gone
    assert not (first.gone)
    assert not (third.gone)
    places.end(first, "a")  # waits since now: it is the youngest
    assert Connection(places, "a").entered
    assert third.gone
    assert not first.gone
    assert len(places) == 3


def test_requests_do_not_give_way() -> None:
    places = Connections(10, 2)
    for _ in range(2):
        places.begin(Connection(places, "a"), "a")
    assert not Connection(places, "a").entered
    assert Connection(places, "b").entered


def test_the_peer_with_most_gives_way_to_others() -> None:
    places = Connections(6, 5)
    greedy = [Connection(places, "a") for _ in range(5)]
    modest = Connection(places, "b")
    assert Connection(places, "c").entered
    assert greedy[0].gone
    assert not modest.gone
    assert len(places) == 6


def test_leaving_twice_counts_once() -> None:
    places = Connections(3, 3)
    one = Connection(places, "a")
    Connection(places, "a")
    places.leave(one, "a")
    places.leave(one, "a")
    assert len(places) == 1


def test_one_ipv6_network_is_one_peer() -> None:
    assert peer_of("2001:db8::1") == peer_of("2001:db8::ffff:2") != peer_of("2001:db8:1::1")
    assert peer_of("::ffff:192.0.2.1") == peer_of("192.0.2.1") == "192.0.2.1"
    assert peer_of("fe80::1%eth0") == peer_of("fe80::2")
    assert peer_of(None) == "-"


def test_a_peer_that_changes_its_name_gains_nothing() -> None:
    """As many names as requests: the other peer has its turn second, and a place."""
    queue: FairQueue[str] = FairQueue(32)
    with pytest.raises(QueueFullError):
        for number in range(99):
            queue.put(client_of("192.0.2.1", str(number)), "greedy")
    assert len(queue) == 28
    queue.put(Client("192.0.2.2"), "modest")
    assert [queue.get(), queue.get()] == ["greedy", "modest"]


def test_clients_of_one_peer_take_turns() -> None:
    queue: FairQueue[str] = FairQueue(32)
    for name in ("a", "a", "b"):
        queue.put(Client("proxy", name), name)
    assert [queue.get() for _ in range(3)] == ["a", "b", "a"]


def test_one_peer_holds_half_of_the_bodies() -> None:
    bodies = Bodies(100, 20)
    with bodies.share("a") as first, bodies.share("a") as second, bodies.share("b") as other:
        first.take(40)
        second.take(10)
        with pytest.raises(HttpError, match="from this address"):
            second.take(1)
        other.take(50)
    assert bodies.used_bytes == 0


def gate(app: Any, **limits: Any) -> RequestGuard:
    return RequestGuard(app, Settings(host="0.0.0.0", limits=Limits(**limits)), Metrics())


async def ask(gate: RequestGuard, messages: list[dict[str, Any]]) -> int:
    """The status of a request whose body comes in these pieces, and then no more."""
    sent: list[int] = []
    rest = iter(messages)

    async def receive() -> dict[str, Any]:
        for message in rest:
            return {"type": "http.request", **message}
        await asyncio.Event().wait()
        raise AssertionError

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            sent.append(message["status"])

    scope = {"type": "http", "path": "/query", "method": "POST", "headers": []}
    await gate(scope, receive, send)
    return sent[0]


async def answers(scope: Any, receive: Any, send: Any) -> None:
    await receive()
    await send({"type": "http.response.start", "status": 200})


def test_silent_bodies_are_given_up_before_their_time() -> None:
    """The time for a whole body is long, that for silence short."""
    half = [{"body": b"{", "more_body": True}]
    assert asyncio.run(ask(gate(answers, silence_s=0.05, body_s=3600.0), half)) == 408


def test_bodies_have_a_time_however_they_trickle() -> None:
    async def trickle() -> int:
        return await ask(gate(answers, body_s=0.0), [{"body": b"{", "more_body": True}] * 9)

    assert asyncio.run(trickle()) == 408


def test_a_whole_body_is_answered() -> None:
    assert asyncio.run(ask(gate(answers), [{"body": b"{}"}])) == 200
