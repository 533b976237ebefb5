# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The action server: accept, queue, cancel, deadline, feedback, and exactly one result.

Policy for concurrent goals: one runs, ``max_queued_goals`` wait (first in, first out), more are
rejected.  The answering itself happens in one worker thread, so the model sees one call at a time.
A second thread, idle while there is no goal, ends waiting goals that are cancelled or too late, and
tells the client the stages that last.
"""

from __future__ import annotations

import threading
import time
import traceback
from collections import deque
from collections.abc import Callable
from typing import Any

from rclpy.action.server import ActionServer, CancelResponse, GoalResponse, ServerGoalHandle
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.lifecycle import LifecycleNode

from roborefer_ros.errors import (
    CanceledError,
    NodeInactiveError,
    QueueFullError,
    RoboReferError,
)
from roborefer_ros.nodes.action_qos import service_qos
from roborefer_ros.nodes.interfaces import ReferPoint
from roborefer_ros.nodes.parameters import NodeOptions
from roborefer_ros.nodes.refer_goal import (
    STAGE_TOLD_AFTER_S,
    Outcome,
    ReferGoal,
    Result,
    check_request,
)

#: longest wait for rclpy to enter the cancelling state after our cancel callback, seconds
_CANCELING_WAIT_S = 1.0


def _inactive() -> NodeInactiveError:
    return NodeInactiveError(
        "the node is not active; activate it (ros2 lifecycle set <node> configure, then activate)"
    )


def failure_result(error: RoboReferError) -> Result:
    """The action result of an error."""
    return ReferPoint.Result(
        error_code=error.code,
        error_msg=str(error),
        answer=error.answer,
        mode=int(error.mode),
        mode_reason=error.mode_reason,
    )


def _failure(error: RoboReferError) -> Outcome:
    return Outcome(failure_result(error))


class ReferActionServer:
    """The server for ``~/refer_point``."""

    def __init__(
        self,
        node: LifecycleNode,
        options: Callable[[], NodeOptions],
        answer: Callable[[ReferGoal], Outcome],
        on_done: Callable[[ReferGoal, Outcome], None],
    ) -> None:
        """Start serving; goals get NODE_INACTIVE until ``open``.

        Args:
            node: Node whose executor runs the protocol.
            options: the parameters of the moment.
            answer: does the work, in the worker thread; may raise.
            on_done: told about every outcome, in any thread, once it is on its way.
        """
        self._node = node
        self._options = options
        self._answer = answer
        self._on_done = on_done
        self._log = node.get_logger()
        # Two conditions of one lock: a goal that finds the worker idle wakes the worker alone.
        lock = threading.RLock()
        self._lock = threading.Condition(lock)
        self._waiting = threading.Condition(lock)
        self._queue: deque[ReferGoal] = deque()
        self._running: ReferGoal | None = None
        self._goals: dict[bytes, ReferGoal] = {}
        self._is_open = False
        self._why_closed: RoboReferError = _inactive()
        self._closing = False
        self._server: ActionServer[Any, Any, Any] = ActionServer(
            node,
            ReferPoint,
            "~/refer_point",
            execute_callback=self._execute,
            callback_group=MutuallyExclusiveCallbackGroup(),
            goal_callback=self._on_goal,
            handle_accepted_callback=self._on_accepted,
            cancel_callback=self._on_cancel,
            result_timeout=options().result_timeout_s,
            **service_qos(),
        )
        self._threads = [
            threading.Thread(target=self._work, name="roborefer_worker", daemon=True),
            threading.Thread(target=self._watch_queue, name="roborefer_queue", daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    # --- for the node ------------------------------------------------------------------

    @property
    def queued(self) -> int:
        """Goals that wait."""
        return len(self._queue)

    @property
    def is_busy(self) -> bool:
        """Whether a goal runs."""
        return self._running is not None

    def open(self) -> None:
        """Answer goals from now on."""
        self._why_closed = _inactive()
        self._is_open = True

    def fail_with(self, error: RoboReferError) -> None:
        """Answer goals with this error until ``open`` or ``stop``: why it is not active."""
        self._why_closed = error

    def stop(self, reason: str, timeout_s: float = 30.0) -> bool:
        """Answer no more goals, end those at hand with SHUTTING_DOWN, wait for the worker.

        Returns:
            Whether the running goal ended in time.
        """
        with self._lock:
            self._is_open = False
            self._why_closed = _inactive()
            waiting = list(self._queue)
            self._queue.clear()
            if self._running is not None:
                self._running.shut_down(reason)
        for goal in waiting:
            goal.shut_down(reason)
            self._finish(goal, _failure(goal.stop_reason()), started=False)
        with self._lock:
            if self._lock.wait_for(lambda: self._running is None, timeout_s):
                return True
            running = self._running
        if running is not None:  # its model does not heed; its client need not wait for that
            self._finish(running, _failure(running.stop_reason()), started=True)
        return False

    def submit(self, request: Any) -> None:
        """Queue an instruction that came by topic; its result goes to topics only."""
        goal = ReferGoal(request, self._options().goal_timeout_s, self._now_ns())
        if self._is_open and self._is_full():
            self._refuse(goal)
            return
        self._enqueue(goal)

    def close(self, timeout_s: float = 30.0) -> bool:
        """Stop, join the threads, take the action off the graph.

        Args:
            timeout_s: Longest wait for the running goal.

        Returns:
            Whether the threads ended: a model that never returns keeps its own.
        """
        stopped = self.stop("the node is shutting down", timeout_s)
        with self._lock:
            self._closing = True
            self._lock.notify_all()
            self._waiting.notify_all()
        for thread in self._threads:
            thread.join(None if stopped else 0.1)
        self._server.destroy()
        return not any(thread.is_alive() for thread in self._threads)

    # --- the protocol, in the executor -------------------------------------------------

    def _now_ns(self) -> int:
        return int(self._node.get_clock().now().nanoseconds)

    def _is_full(self) -> bool:
        with self._lock:
            # A goal that nobody runs yet does not count as waiting.
            waiting = len(self._queue) - (self._running is None)
            return waiting >= self._options().max_queued_goals

    def _refuse(self, goal: ReferGoal) -> None:
        """Say that the queue is full: in ROS 2 a rejected goal has no result to say it in."""
        error = QueueFullError(
            f"{len(self._queue)} goals already wait (max_queued_goals); wait for a result before "
            "sending more"
        )
        self._log.warning(
            f"rejected '{goal.request.instruction[:80]}': error {error.code}: {error}"
        )
        self._on_done(goal, _failure(error))

    def _on_goal(self, request: Any) -> GoalResponse:
        if self._is_open and self._is_full():
            self._refuse(ReferGoal(request, 0.0, 0, name="rejected"))
            return GoalResponse.REJECT
        return GoalResponse.ACCEPT

    def _on_accepted(self, handle: ServerGoalHandle[Any, Any, Any]) -> None:
        key = bytes(handle.goal_id.uuid)
        goal = ReferGoal(
            handle.request, self._options().goal_timeout_s, self._now_ns(), handle, key.hex()[:8]
        )
        self._goals[key] = goal
        self._enqueue(goal)

    def _enqueue(self, goal: ReferGoal) -> None:
        try:
            check_request(goal.request)
            with self._lock:
                # Looked at under the lock: after stop() nothing may enter the queue any more.
                if not self._is_open:
                    raise self._why_closed
                self._queue.append(goal)
                self._lock.notify_all()
                if self._running is not None or len(self._queue) > 1:
                    self._waiting.notify_all()
        except RoboReferError as error:
            self._finish(goal, _failure(error), started=False)
            return
        # After the worker has been woken: a line of log takes as long as a transform.
        self._log.info(f"goal {goal.name}: '{goal.request.instruction[:80]}'")

    def _on_cancel(self, handle: ServerGoalHandle[Any, Any, Any]) -> CancelResponse:
        goal = self._goals.get(bytes(handle.goal_id.uuid))
        if goal is None or goal.finished.is_set():
            return CancelResponse.REJECT  # its result is on the way
        goal.cancel()
        with self._waiting:
            self._waiting.notify_all()
        return CancelResponse.ACCEPT

    def _execute(self, handle: ServerGoalHandle[Any, Any, Any]) -> Result:
        """Rclpy's execute callback: wait for the worker, then make the one terminal call."""
        key = bytes(handle.goal_id.uuid)
        goal = self._goals[key]
        goal.finished.wait()
        result = goal.result
        if result.error_code == CanceledError.code:
            # rclpy enters the cancelling state only after our cancel callback has returned.
            give_up_s = time.monotonic() + _CANCELING_WAIT_S
            while not handle.is_cancel_requested and time.monotonic() < give_up_s:
                time.sleep(0.001)
        try:
            if result.error_code == 0:
                handle.succeed()  # also allowed when a cancel came too late
            elif result.error_code == CanceledError.code and handle.is_cancel_requested:
                handle.canceled()
            else:
                handle.abort()
        except Exception as error:  # the context is going down
            self._log.warning(f"goal {goal.name}: could not send its final state: {error}")
        self._goals.pop(key, None)
        return result

    # --- the worker --------------------------------------------------------------------

    def _work(self) -> None:
        while True:
            with self._lock:
                self._lock.wait_for(lambda: self._queue or self._closing)
                if self._closing:
                    return
                goal = self._running = self._queue.popleft()
                self._waiting.notify_all()  # whoever tells stages
            goal.timings_s["queue"] = time.monotonic() - goal.accepted_s
            try:
                if goal.handle is not None:
                    goal.handle.execute()
                self._finish(goal, self._answer_safely(goal), started=True)
            except Exception as error:  # only rclpy itself can end here, while it shuts down
                self._log.error(f"goal {goal.name}: {type(error).__name__}: {error}")
            finally:
                with self._lock:
                    self._running = None
                    self._lock.notify_all()

    def _answer_safely(self, goal: ReferGoal) -> Outcome:
        """Every way it can end as a filled result."""
        try:
            if goal.is_cancelled():
                raise goal.stop_reason()
            return self._answer(goal)
        except Exception as error:
            numbered = goal.numbered(error)
            return Outcome(
                failure_result(numbered), bug=None if isinstance(error, RoboReferError) else error
            )

    def _finish(self, goal: ReferGoal, outcome: Outcome, *, started: bool) -> None:
        total_s = time.monotonic() - goal.accepted_s
        with self._lock:
            if goal.finished.is_set():
                return  # given up by ``stop``
            result = goal.result = outcome.result
            goal.finished.set()  # first: nothing below is the client's concern
        if outcome.bug is not None:
            self._log.error(f"goal {goal.name}: {_traceback_of(outcome.bug)}")
        if result.error_code:
            self._log.warning(
                f"goal {goal.name}: error {result.error_code} after {total_s:.3f} s: "
                f"{result.error_msg}"
            )
        else:
            self._log.info(f"goal {goal.name}: {len(result.points)} point(s) after {total_s:.3f} s")
        if goal.handle is not None and not started:
            goal.handle.execute()
        try:
            self._on_done(goal, outcome)
        except Exception as error:
            self._log.error(f"goal {goal.name}: {_traceback_of(error)}")

    # --- the queue ---------------------------------------------------------------------

    def _watch_queue(self) -> None:
        """End waiting goals when they are cancelled or too late; tell the running one's stages."""
        while True:
            running = self._running
            if running is not None:
                running.tell_stage()
            with self._waiting:
                now_s = time.monotonic()
                ended = [g for g in self._queue if g.is_cancelled() or now_s > g.deadline]
                for goal in ended:
                    self._queue.remove(goal)
                if not ended:
                    if self._closing:
                        return
                    pauses_s = [g.deadline - now_s for g in self._queue]
                    if self._running is not None:
                        pauses_s.append(STAGE_TOLD_AFTER_S)
                    self._waiting.wait(min(pauses_s, default=None))
            for goal in ended:
                error = goal.stop_reason() if goal.is_cancelled() else goal.timed_out()
                self._finish(goal, _failure(error), started=False)


def _traceback_of(error: BaseException) -> str:
    return "".join(traceback.format_exception(error)).rstrip()
