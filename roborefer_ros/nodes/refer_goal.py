# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""One goal of the action, from its acceptance to its result."""

from __future__ import annotations

import math
import threading
import time
from dataclasses import dataclass
from typing import Any

from rclpy.action.server import ServerGoalHandle

from roborefer_ros.answer_policy import AnswerPolicy
from roborefer_ros.cancellation import Cancellation
from roborefer_ros.errors import (
    CanceledError,
    DeadlineExceededError,
    InvalidGoalError,
    RoboReferError,
    ShuttingDownError,
    UnknownError,
)
from roborefer_ros.nodes.conversions import step_messages
from roborefer_ros.nodes.interfaces import ReferPoint
from roborefer_ros.pointing.answers import answer_so_far, split_reasoning
from roborefer_ros.pointing.reasoning import read_steps
from roborefer_ros.pointing.region import Region
from roborefer_ros.types import Mode, Think

#: a stage that is over sooner is not told, seconds
STAGE_TOLD_AFTER_S = 0.03

#: pause before a feedback message that only brings more text, seconds
_TEXT_PERIOD_S = 0.1

Result = Any  #: ReferPoint.Result
_STATES = {
    "wait_frame": ReferPoint.Feedback.WAITING_FOR_FRAME,
    "depth": ReferPoint.Feedback.INFERRING,
    "infer": ReferPoint.Feedback.INFERRING,
    "lift": ReferPoint.Feedback.LIFTING,
    "transform": ReferPoint.Feedback.TRANSFORMING,
}


@dataclass(frozen=True)
class Outcome:
    """What came of a goal.

    Attributes:
        result: Message for the client.
        answer: What there is to draw; None where there is nothing.
        bug: Exception behind the result that no numbered class describes, for the log.
    """

    result: Result
    answer: Any = None
    bug: BaseException | None = None


class ReferGoal:
    """One accepted goal, from its acceptance to its result."""

    def __init__(
        self,
        request: Any,
        goal_timeout_s: float,
        stamp_ns: int,
        handle: ServerGoalHandle[Any, Any, Any] | None = None,
        name: str = "topic",
    ) -> None:
        """Accept now.

        Args:
            request: the ``ReferPoint.Goal``.
            goal_timeout_s: used where the request names no timeout.
            stamp_ns: ROS time of the acceptance, nanoseconds.
            handle: None for an instruction that came by topic.
            name: Name for the log.
        """
        self.request = request
        self.handle = handle
        self.name = name
        self.stamp_ns = stamp_ns
        self.accepted_s = time.monotonic()
        timeout_s = request.timeout if request.timeout > 0.0 else goal_timeout_s
        self.deadline = self.accepted_s + timeout_s
        self.timings_s: dict[str, float] = {}
        self.finished = threading.Event()
        self.result: Result = None
        self._cancelled = False
        self._shutting_down = ""
        self._text, self._state = "", ReferPoint.Feedback.QUEUED
        self._told, self._entered_s = self._state, self.accepted_s
        self._sent_s = self.accepted_s

    def cancel(self) -> None:
        """The client wants no answer any more."""
        self._cancelled = True

    def shut_down(self, reason: str) -> None:
        """The node cannot answer any more."""
        self._shutting_down = reason

    @property
    def cancellation(self) -> Cancellation:
        """Deadline and cancel flag, for whatever works on this goal."""
        return Cancellation(self.deadline, self.is_cancelled)

    def is_cancelled(self) -> bool:
        """Whether work on this goal must stop, for whatever reason."""
        return self._cancelled or bool(self._shutting_down)

    def stop_reason(self) -> RoboReferError:
        """The error of a goal that was stopped."""
        if self._shutting_down:
            return ShuttingDownError(self._shutting_down)
        return CanceledError("the goal was cancelled by its client")

    def timed_out(self) -> DeadlineExceededError:
        """The error of a goal whose deadline passed while it waited."""
        return DeadlineExceededError(
            f"the goal waited {time.monotonic() - self.accepted_s:.2f} s in the queue and its "
            "timeout passed; "
            "allow more time or send fewer goals at once"
        )

    def numbered(self, error: Exception) -> RoboReferError:
        """The error that the client is told."""
        if isinstance(error, CanceledError) and self.is_cancelled():
            stopped = self.stop_reason()
            stopped.answer = error.answer
            stopped.mode, stopped.mode_reason = error.mode, error.mode_reason
            return stopped
        if isinstance(error, RoboReferError):
            return error
        return UnknownError(
            f"unexpected {type(error).__name__}: {error}; the node's log has the traceback"
        )

    def enter(self, stage: str) -> None:
        """Note which stage begins; ``tell_stage`` tells the client if it lasts.

        A feedback message costs both sides more than most stages take (about 1 ms in Python).
        """
        state = _STATES.get(stage, self._state)
        if state != self._state:
            self._state, self._entered_s = state, time.monotonic()

    def tell_stage(self) -> None:
        """Tell the client the stage, once it has lasted so long that somebody may wonder."""
        lasts_s = time.monotonic() - self._entered_s
        is_news = self._state != self._told and not self.finished.is_set()
        if is_news and lasts_s >= STAGE_TOLD_AFTER_S:
            self._send_feedback()

    def on_text(self, text: str) -> None:
        """Tell the client the model's text so far, not too often."""
        self._text = text
        if time.monotonic() - self._sent_s >= _TEXT_PERIOD_S:
            self._send_feedback()

    def _send_feedback(self) -> None:
        if self.handle is None:
            return
        self._sent_s = time.monotonic()
        self._told = self._state
        self.handle.publish_feedback(
            ReferPoint.Feedback(
                state=self._state,
                elapsed=time.monotonic() - self.accepted_s,
                partial_answer=answer_so_far(self._text),
                steps=step_messages(read_steps(split_reasoning(self._text)[0])),
            )
        )


def check_request(request: Any) -> None:
    """Check the fields that need no image.

    Raises:
        InvalidGoalError
    """
    if request.mode not in tuple(Mode):
        raise InvalidGoalError(
            f"mode {request.mode} is not one of {', '.join(f'{m.value} ({m.name})' for m in Mode)}"
        )
    if request.think not in tuple(Think):
        known = ", ".join(f"{t.value} ({t.name})" for t in Think)
        raise InvalidGoalError(f"think {request.think} is not one of {known}")
    if not (math.isfinite(request.timeout) and request.timeout >= 0.0):
        raise InvalidGoalError(
            "timeout must be a number of seconds from 0 (the node's default), not "
            f"{request.timeout}"
        )
    # both raise InvalidGoalError themselves
    Region.from_numbers(request.region)
    AnswerPolicy(
        min_confidence=request.min_confidence, min_model_confidence=request.min_model_confidence
    )
    if len(request.target_frame) > 256:
        raise InvalidGoalError(
            f"target_frame has {len(request.target_frame)} characters, at most 256 are sensible"
        )
