# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Clients take turns, within a bound."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roborefer_ros.errors import QueueFullError
from roborefer_ros.server.clients import Client
from roborefer_ros.server.fair_queue import FairQueue


def drain(queue: FairQueue[str]) -> list[str]:
    taken = []
    while (item := queue.get()) is not None:
        taken.append(item)
    return taken


def test_clients_take_turns() -> None:
    queue: FairQueue[str] = FairQueue(16)
    for item in ("a1", "a2", "a3", "b1", "c1", "c2"):
        queue.put(Client(item[0]), item)
    assert drain(queue) == ["a1", "b1", "c1", "a2", "c2", "a3"]


def test_last_quarter_is_for_clients_with_nothing_waiting() -> None:
    queue: FairQueue[str] = FairQueue(8)
    for number in range(6):
        queue.put(Client("greedy"), f"g{number}")
    with pytest.raises(QueueFullError, match="6 requests wait already, 8 may"):
        queue.put(Client("greedy"), "g6")
    queue.put(Client("b"), "b")
    queue.put(Client("c"), "c")
    with pytest.raises(QueueFullError):
        queue.check_capacity(Client("d"))
    assert drain(queue)[:3] == ["g0", "b", "c"]


def test_a_queue_of_one_takes_one() -> None:
    queue: FairQueue[str] = FairQueue(1)
    queue.put(Client("a"), "a")
    with pytest.raises(QueueFullError):
        queue.put(Client("b"), "b")


def test_removed_items_give_their_place_back() -> None:
    queue: FairQueue[str] = FairQueue(1)
    queue.put(Client("a"), "x")
    assert queue.remove(Client("a"), "x")
    assert not queue.remove(Client("a"), "x")
    queue.put(Client("b"), "y")
    assert drain(queue) == ["y"]


@given(
    st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from(["put", "get", "remove"]))),
    st.integers(1, 9),
)
def test_nothing_is_lost_or_doubled(steps: list[tuple[str, str]], capacity: int) -> None:
    queue: FairQueue[int] = FairQueue(capacity)
    inside: dict[int, str] = {}
    for number, (client, action) in enumerate(steps):
        if action == "put":
            try:
                queue.put(Client(client), number)
                inside[number] = client
            except QueueFullError:
                assert len(queue) >= capacity - capacity // 4
        elif action == "get":
            item = queue.get()
            assert (item is None) == (not inside)
            if item is not None:
                owner = inside.pop(item)
                assert all(other > item for other, name in inside.items() if name == owner)
        elif mine := [item for item, name in inside.items() if name == client]:
            assert queue.remove(Client(client), mine[-1])
            del inside[mine[-1]]
        assert len(queue) == len(inside) <= capacity
