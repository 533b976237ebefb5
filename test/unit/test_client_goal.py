# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""A goal that the server says nothing about ends, by a clock that the test holds."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from roborefer_ros.client_goal import Patience, ReferGoalHandle
from roborefer_ros.errors import (
    DeadlineExceededError,
    NoPointInAnswerError,
    RoboReferError,
    ServerLostError,
)

PATIENCE = Patience()
OLD, NEW = frozenset({b"old"}), frozenset({b"new"})


class Handle:
    """Stands for rclpy's handle of an accepted goal; answers when the test says so."""

    accepted = True

    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.cancelled = 0

    def get_result_async(self) -> Any:
        future = SimpleNamespace(add_done_callback=lambda call: self.asked.append(call))
        return future

    def cancel_goal_async(self) -> None:
        self.cancelled += 1

    def reply(self, status: int, number: int = -1, **result: Any) -> None:
        """Answer a request for the result."""
        fields = {"error_code": 0, "error_msg": "", "answer": "", "mode": 0, "mode_reason": ""}
        fields |= result
        response = SimpleNamespace(status=status, result=SimpleNamespace(**fields))
        self.asked[number](SimpleNamespace(result=lambda: response))


def sent(timeout_s: float = 0.0, servers: frozenset[bytes] = OLD) -> ReferGoalHandle:
    return ReferGoalHandle("the mug", "/a", timeout_s, PATIENCE, servers, now_s=0.0)


def accepted(timeout_s: float = 0.0) -> tuple[ReferGoalHandle, Handle]:
    """A goal that was accepted at 0 s."""
    goal, handle = sent(timeout_s), Handle()
    goal.accepted(SimpleNamespace(result=lambda: handle))
    goal._accepted_s = goal._asked_s = 0.0
    return goal, handle


def unknown() -> float | None:
    return None


def error_of(goal: ReferGoalHandle) -> RoboReferError:
    error = goal.future.exception(timeout=0.0)
    assert isinstance(error, RoboReferError)
    return error


def test_a_goal_with_a_timeout_ends_behind_it() -> None:
    goal, handle = accepted(5.0)
    goal.look(10.0, OLD, unknown)
    assert not goal.done()
    goal.look(10.1, OLD, unknown)
    assert isinstance(error_of(goal), DeadlineExceededError)
    assert handle.cancelled == 1


@pytest.mark.parametrize(("node_s", "limit_s"), [(None, 65.0), (600.0, 605.0), (1.0, 6.0)])
def test_without_a_timeout_the_node_s_holds(node_s: float | None, limit_s: float) -> None:
    goal, _ = accepted()
    goal.look(limit_s, OLD, lambda: node_s)
    assert not goal.done()
    goal.look(limit_s + 0.1, OLD, lambda: node_s)
    assert isinstance(error_of(goal), DeadlineExceededError)


@pytest.mark.parametrize("timeout_s", [-1.0, float("nan"), float("inf")])
def test_a_timeout_that_makes_no_sense_leaves_the_word_to_the_node(timeout_s: float) -> None:
    goal, handle = accepted(timeout_s)
    goal.look(30.0, OLD, unknown)
    assert not goal.done()
    handle.reply(6, error_code=2503, error_msg="timeout must be a number")
    assert error_of(goal).code == 2503


@pytest.mark.parametrize(("timeout_s", "limit_s"), [(0.0, 20.0), (5.0, 10.0)])
def test_a_goal_that_nobody_accepts_is_lost(timeout_s: float, limit_s: float) -> None:
    goal = sent(timeout_s)
    goal.look(limit_s, OLD, unknown)
    assert not goal.done()
    goal.look(limit_s + 0.1, OLD, unknown)
    assert isinstance(error_of(goal), ServerLostError)


def test_accepted_too_late_it_is_cancelled() -> None:
    goal, handle = sent(5.0), Handle()
    goal.look(11.0, OLD, unknown)
    goal.accepted(SimpleNamespace(result=lambda: handle))
    assert handle.cancelled == 1


def test_another_server_of_the_same_name_is_not_the_server() -> None:
    """Its name and its services are the same; its identity is not."""
    goal, _ = accepted()
    goal.look(1.0, OLD, unknown)
    goal.look(2.9, NEW, unknown)
    assert not goal.done()
    goal.look(3.1, NEW, unknown)
    error = error_of(goal)
    assert isinstance(error, ServerLostError)
    assert "replaced" in str(error)


def test_out_of_sight_for_a_moment_it_is_not_lost() -> None:
    goal, _ = accepted()
    for now_s, present in ((1.0, OLD), (2.5, frozenset[bytes]()), (4.0, OLD), (5.5, OLD | NEW)):
        goal.look(now_s, present, unknown)
    assert not goal.done()
    goal.look(8.0, frozenset(), unknown)
    assert "went away" in str(error_of(goal))


def test_a_newcomer_beside_a_silent_server_has_taken_its_place() -> None:
    """A killed process stays in sight for 20 s, and its successor hides that it is dead."""
    goal = sent()
    goal.look(1.0, OLD | NEW, unknown)
    assert not goal.done()
    goal.look(2.1, OLD | NEW, unknown)
    assert isinstance(error_of(goal), ServerLostError)


def test_a_server_that_does_not_know_the_goal_is_another() -> None:
    """rclpy answers for an unknown goal with an empty result: no error, and a pose at zero."""
    goal, handle = accepted()
    goal.look(2.0, OLD | NEW, unknown)
    handle.reply(0)
    assert isinstance(error_of(goal), ServerLostError)


def test_a_lost_result_is_asked_for_again() -> None:
    goal, handle = accepted()
    assert len(handle.asked) == 1
    for now_s in (1.0, 2.0, 3.0, 4.0):
        goal.look(now_s, OLD, unknown)
    assert len(handle.asked) == 3
    handle.reply(4)
    assert goal.result(0.0).error_code == 0
    handle.reply(4, number=0)  # the first one comes after all


def test_a_cancel_that_got_lost_is_sent_again() -> None:
    goal, handle = accepted()
    goal.cancel()
    goal.look(2.0, OLD, unknown)
    assert handle.cancelled == 2
    assert not goal.done()


def test_an_error_comes_with_the_answer() -> None:
    goal, handle = accepted()
    handle.reply(6, error_code=2544, error_msg="no point", answer="I see a mug")
    error = error_of(goal)
    assert isinstance(error, NoPointInAnswerError)
    assert error.answer == "I see a mug"
