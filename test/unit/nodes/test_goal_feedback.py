# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Which stages a client is told: those that last, in order, and never after the result."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("rclpy")

from roborefer_ros.nodes import refer_goal
from roborefer_ros.nodes.interfaces import ReferPoint
from roborefer_ros.nodes.refer_goal import STAGE_TOLD_AFTER_S, ReferGoal

Feedback = ReferPoint.Feedback


class Handle:
    """Takes what a client would get."""

    def __init__(self) -> None:
        self.sent: list[Any] = []

    def publish_feedback(self, message: Any) -> None:
        self.sent.append(message)


class Clock:
    """A monotonic clock that the test sets."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def monotonic(self) -> float:
        return self.now_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(refer_goal, "time", made)
    return made


def goal() -> tuple[ReferGoal, Handle]:
    handle: Any = Handle()
    return ReferGoal(ReferPoint.Goal(instruction="the mug"), 10.0, 0, handle), handle


def test_a_goal_that_is_over_at_once_sends_no_feedback(clock: Clock) -> None:
    asked, handle = goal()
    for stage in ("wait_frame", "infer", "lift", "transform"):
        asked.enter(stage)
        asked.on_text("[(0.5, 0.5)]")
        asked.tell_stage()
        clock.now_s += STAGE_TOLD_AFTER_S / 4
    assert handle.sent == []


def test_a_stage_that_lasts_is_told_once(clock: Clock) -> None:
    asked, handle = goal()
    asked.enter("infer")
    for _ in range(4):
        clock.now_s += STAGE_TOLD_AFTER_S
        asked.tell_stage()
    assert [message.state for message in handle.sent] == [Feedback.INFERRING]
    asked.enter("lift")
    asked.enter("transform")
    clock.now_s += 2 * STAGE_TOLD_AFTER_S
    asked.tell_stage()
    assert [m.state for m in handle.sent] == [Feedback.INFERRING, Feedback.TRANSFORMING]


def test_the_text_is_told_as_it_grows_and_brings_its_stage(clock: Clock) -> None:
    asked, handle = goal()
    asked.enter("infer")
    for length in range(1, 31):
        clock.now_s += 0.02
        asked.on_text("x" * length)
    assert 4 <= len(handle.sent) <= 6
    assert {message.state for message in handle.sent} == {Feedback.INFERRING}
    asked.tell_stage()
    assert len(handle.sent) <= 6


def test_nothing_is_told_after_the_result(clock: Clock) -> None:
    asked, handle = goal()
    asked.enter("infer")
    asked.finished.set()
    clock.now_s += 1.0
    asked.tell_stage()
    assert handle.sent == []
