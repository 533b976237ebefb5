# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""One goal of ``ReferPointClient`` on its way, and when it counts as lost.

ROS 2 promises a client nothing: a request or a response may be dropped, a server may be killed and
replaced by another of the same name.  So a goal is watched: whether the server said that it accepts
it, whether that very server is still there, whether it still knows the goal (its result is asked
for again and again), and whether its deadline is over.
"""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections.abc import Callable
from concurrent.futures import CancelledError, Future, InvalidStateError
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass
from typing import Any

from roborefer_ros.errors import (
    ERRORS_BY_CODE,
    DeadlineExceededError,
    QueueFullError,
    RoboReferError,
    ServerLostError,
    UnknownError,
)

#: ``action_msgs/GoalStatus.STATUS_UNKNOWN``: the server has no goal of that id
_STATUS_UNKNOWN = 0


@dataclass(frozen=True)
class Patience:
    """How long a client waits for what, seconds.

    Attributes:
        grace_s: Time that a result may come after the goal's deadline in the node.
        accept_s: Longest wait for the server to accept or reject a goal that names no timeout.
        gone_s: Time that a server may be out of sight before its goals count as lost.
        ask_again_s: Period of asking for the result again; below the node's ``result_timeout_s``.
        default_timeout_s: Deadline of a goal that names none, where the node does not tell its
            ``goal_timeout_s``.
    """

    grace_s: float = 5.0
    accept_s: float = 20.0
    gone_s: float = 2.0
    ask_again_s: float = 2.0
    default_timeout_s: float = 60.0


class ReferGoalHandle:
    """A goal on its way; of ``ReferPointClient.send``."""

    def __init__(
        self,
        instruction: str,
        action_name: str,
        timeout_s: float,
        patience: Patience,
        server_ids: frozenset[bytes],
        *,
        now_s: float | None = None,
    ) -> None:
        """Enter the goal, to be sent now.

        Args:
            instruction: Of the goal, for messages.
            action_name: Of the server, for messages.
            timeout_s: Of the goal; 0 where the node's own holds.
            patience: Limits of waiting.
            server_ids: Identities of the servers that can be seen now.
            now_s: ``time.monotonic()`` of the sending; None takes the clock.
        """
        self._instruction = instruction
        self._action = action_name
        # What is not a sensible timeout the node refuses by itself.
        self._timeout_s = timeout_s if 0.0 < timeout_s < math.inf else 0.0
        self._patience = patience
        self._server_ids = server_ids
        self._handle: Any = None
        self._cancel_asked = False
        self._lock = threading.Lock()
        self._sent_s = self._seen_s = time.monotonic() if now_s is None else now_s
        self._accepted_s: float | None = None
        self._asked_s = 0.0
        #: ``concurrent.futures.Future`` of the result message; in asyncio:
        #: ``await asyncio.wrap_future(goal.future)``.  Its callbacks run in a thread of the client.
        self.future: Future[Any] = Future()

    def done(self) -> bool:
        """Whether there is a result or an error."""
        return self.future.done()

    def result(self, timeout_s: float | None = None) -> Any:
        """Wait for the result, at most until the goal's own deadline and the client's grace.

        Args:
            timeout_s: Longest wait; None waits until the goal has ended.

        Returns:
            The ``ReferPoint.Result`` message, ``error_code`` 0.

        Raises:
            RoboReferError: the numbered error of the result; its ``answer`` holds the model's
                text where there is one.
            DeadlineExceededError: ``timeout_s`` passed and the goal goes on, or the node did not
                answer within the goal's deadline and the client's grace.
            ServerLostError: the node went away or was replaced.
            NodeInactiveError: the client was closed.
        """
        try:
            return self.future.result(timeout_s)
        except (FutureTimeoutError, TimeoutError):
            raise DeadlineExceededError(
                f"no result of {self._instruction!r} within {timeout_s:g} s; the goal goes "
                "on, cancel it if it is no longer wanted"
            ) from None

    def cancel(self) -> None:
        """Ask the node to stop; the result is then a ``CanceledError``. Returns at once."""
        with self._lock:
            self._cancel_asked = True
            handle = self._handle
        if handle is not None and not self.done():
            handle.cancel_goal_async()

    # --- for the client ----------------------------------------------------------------

    def accepted(self, future: Any) -> None:
        """Take the server's word on the goal, a future of rclpy's goal handle."""
        try:
            handle = future.result()
        except Exception as error:
            self.fail(UnknownError(f"sending the goal failed: {error}"))
            return
        if not handle.accepted:
            self.fail(
                QueueFullError(
                    f"the node rejected {self._instruction!r}: as many goals as it accepts "
                    "(parameter max_queued_goals) already wait; try again later"
                )
            )
            return
        with self._lock:
            self._handle = handle
            self._accepted_s = self._asked_s = time.monotonic()
            # Nobody waits any more for a goal that was given up before it was accepted.
            cancel = self._cancel_asked or self.done()
        handle.get_result_async().add_done_callback(self._finished)
        if cancel:
            handle.cancel_goal_async()

    def fail(self, error: RoboReferError) -> None:
        """End the goal, unless it has ended."""
        # The result came after all, or the user cancelled the future.
        with contextlib.suppress(InvalidStateError, CancelledError):
            self.future.set_exception(error)

    def look(
        self,
        now_s: float,
        present_ids: frozenset[bytes],
        node_timeout_s: Callable[[], float | None],
    ) -> None:
        """End the goal if it is lost; ask for its result again from time to time.

        Args:
            now_s: ``time.monotonic()``.
            present_ids: Identities of the servers that can be seen now.
            node_timeout_s: Tells the node's ``goal_timeout_s``; None while it is not known.
        """
        error = self._why_lost(now_s, present_ids, node_timeout_s)
        if error is not None:
            self.cancel()  # if it still works on it: nobody waits for it any more
            self.fail(error)
            return
        with self._lock:
            handle = self._handle
        if handle is None or now_s - self._asked_s < self._patience.ask_again_s:
            return
        self._asked_s = now_s
        handle.get_result_async().add_done_callback(self._finished)
        if self._cancel_asked:
            handle.cancel_goal_async()

    def _why_lost(
        self,
        now_s: float,
        present_ids: frozenset[bytes],
        node_timeout_s: Callable[[], float | None],
    ) -> RoboReferError | None:
        patience = self._patience
        if not self._server_ids or self._server_ids & present_ids:
            self._seen_s = now_s
            self._server_ids = self._server_ids or present_ids
        elif now_s - self._seen_s > patience.gone_s:
            what = "was replaced" if present_ids else "went away"
            return ServerLostError(
                f"the action server {self._action} {what} before it answered "
                f"{self._instruction!r}; see the log of the node, then ask again"
            )
        if self._accepted_s is None:
            limit_s = self._timeout_s + patience.grace_s if self._timeout_s else patience.accept_s
            waited_s = now_s - self._sent_s
            # A newcomer beside a server that says nothing has most likely taken its place: the
            # middleware needs up to 20 s to notice that a process was killed.
            replaced = bool(present_ids - self._server_ids) and waited_s > patience.gone_s
            if waited_s <= limit_s and not replaced:
                return None
            return ServerLostError(
                f"the action server {self._action} has not said for {waited_s:.1f} s whether it "
                f"accepts {self._instruction!r}"
                + (", and another one has appeared" if replaced else "")
                + "; if its process lives, see its log and the load of its machine"
            )
        timeout_s = self._timeout_s
        if not timeout_s and now_s - self._accepted_s > patience.ask_again_s:
            timeout_s = node_timeout_s() or 0.0
        timeout_s = timeout_s or patience.default_timeout_s
        if now_s - self._accepted_s <= timeout_s + patience.grace_s:
            return None
        return DeadlineExceededError(
            f"no result of {self._instruction!r} within its deadline of {timeout_s:g} s and "
            f"{patience.grace_s:g} s more; the node hangs or its process has died: see its log"
        )

    def _finished(self, future: Any) -> None:
        try:
            response = future.result()
        except Exception as error:
            self.fail(UnknownError(f"reading the result failed: {error}"))
            return
        result = response.result
        if response.status == _STATUS_UNKNOWN:
            self.fail(
                ServerLostError(
                    f"the action server {self._action} does not know the goal "
                    f"{self._instruction!r}: the node was restarted, or two nodes have that name; "
                    "ask again"
                )
            )
            return
        if result.error_code:
            self.fail(error_of(result))
            return
        with contextlib.suppress(InvalidStateError):
            self.future.set_result(result)


def error_of(result: Any) -> RoboReferError:
    """The numbered error that a failed ``ReferPoint.Result`` tells."""
    error = ERRORS_BY_CODE.get(result.error_code, UnknownError)(result.error_msg)
    error.answer = result.answer
    error.mode, error.mode_reason = result.mode, result.mode_reason
    return error
