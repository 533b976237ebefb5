# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The ReferPoint action for people who write planners.

    with ReferPointClient() as client:
        result = client.refer("the red mug left of the box", target_frame="base_link")
        plan_to(result.pose)

The client has a node and a thread of its own, so blocking calls work from anywhere, also from a
callback of another node.
"""

from __future__ import annotations

import itertools
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import CancelledError, Future, InvalidStateError
from concurrent.futures import TimeoutError as FutureTimeoutError
from types import TracebackType
from typing import Any

import rclpy
from rclpy.action import ActionClient
from rclpy.context import Context
from rclpy.executors import ExternalShutdownException, ShutdownException, SingleThreadedExecutor
from rclpy.node import Node

from roborefer_ros.errors import (
    ERRORS_BY_CODE,
    DeadlineExceededError,
    NodeInactiveError,
    QueueFullError,
    RoboReferError,
    UnknownError,
)
from roborefer_ros.frame import Mode
from roborefer_ros.nodes.interfaces import ReferPoint
from roborefer_ros.standalone.environment import prepare_environment

DEFAULT_ACTION = "/roborefer/refer_point"

#: how long discovery may take before a missing server counts as missing, seconds
_DISCOVERY_S = 10.0
#: how often a waiting caller looks whether the server is still there, seconds
_POLL_S = 0.25
#: how long the server may be out of sight before its goals count as lost, seconds
_GONE_S = 2.0

_numbers = itertools.count()

Feedback = Callable[[Any], None]


class ReferGoalHandle:
    """A goal on its way; of ``ReferPointClient.send``."""

    def __init__(self, client: ReferPointClient, instruction: str) -> None:
        self._client = client
        self._instruction = instruction
        self._handle: Any = None
        self._cancel_asked = False
        self._lock = threading.Lock()
        #: ``concurrent.futures.Future`` of the result message; in asyncio:
        #: ``await asyncio.wrap_future(goal.future)``.  Its callbacks run in the client's thread.
        self.future: Future[Any] = Future()

    def done(self) -> bool:
        """Whether there is a result or an error."""
        return self.future.done()

    def result(self, timeout_s: float | None = None) -> Any:
        """Wait for the result.

        Args:
            timeout_s: longest wait; None waits as long as the server is there.

        Returns:
            The ``ReferPoint.Result`` message, ``error_code`` 0.

        Raises:
            RoboReferError: the numbered error of the result; its ``answer`` holds the model's
                text where there is one.
            DeadlineExceededError: ``timeout_s`` passed; the goal goes on.
            NodeInactiveError: the node went away.
        """
        give_up_s = None if timeout_s is None else time.monotonic() + timeout_s
        seen_s = time.monotonic()
        while True:
            now_s = time.monotonic()
            left_s = _POLL_S if give_up_s is None else min(_POLL_S, give_up_s - now_s)
            try:
                return self.future.result(max(left_s, 0.0))
            except (FutureTimeoutError, TimeoutError):
                pass
            now_s = time.monotonic()
            if give_up_s is not None and now_s >= give_up_s:
                raise DeadlineExceededError(
                    f"no result of {self._instruction!r} within {timeout_s:g} s; the goal goes "
                    "on, cancel it if it is no longer wanted"
                )
            if self._client.is_server_ready():
                seen_s = now_s
            elif now_s - seen_s > _GONE_S:
                self._fail(
                    NodeInactiveError(
                        f"the action server {self._client.action_name} went away while it worked "
                        f"on {self._instruction!r}; see the log of the node"
                    )
                )

    def cancel(self) -> None:
        """Ask the node to stop; the result is then a ``CanceledError``. Returns at once."""
        with self._lock:
            self._cancel_asked = True
            handle = self._handle
        if handle is not None and not self.done():
            handle.cancel_goal_async()

    # --- for the client ----------------------------------------------------------------

    def _accepted(self, future: Any) -> None:
        try:
            handle = future.result()
        except Exception as error:
            self._fail(UnknownError(f"sending the goal failed: {error}"))
            return
        if not handle.accepted:
            self._fail(
                QueueFullError(
                    f"the node rejected {self._instruction!r}: as many goals as it accepts "
                    "(parameter max_queued_goals) already wait; try again later"
                )
            )
            return
        with self._lock:
            self._handle = handle
            cancel = self._cancel_asked
        handle.get_result_async().add_done_callback(self._finished)
        if cancel:
            handle.cancel_goal_async()

    def _finished(self, future: Any) -> None:
        try:
            result = future.result().result
        except Exception as error:
            self._fail(UnknownError(f"reading the result failed: {error}"))
            return
        if result.error_code:
            self._fail(error_of(result))
            return
        try:
            self.future.set_result(result)
        except InvalidStateError:
            pass

    def _fail(self, error: RoboReferError) -> None:
        try:
            self.future.set_exception(error)
        except (InvalidStateError, CancelledError):
            pass  # the result came after all, or the user cancelled the future


def error_of(result: Any) -> RoboReferError:
    """The numbered error that a failed ``ReferPoint.Result`` tells."""
    error = ERRORS_BY_CODE.get(result.error_code, UnknownError)(result.error_msg)
    error.answer = result.answer
    error.mode, error.mode_reason = result.mode, result.mode_reason
    return error


class ReferPointClient:
    """Calls the ReferPoint action.

    Args:
        action_name: of the action; a relative name is resolved in ``namespace``.
        node: a node whose context and namespace to use; None starts ROS 2 where it is not yet
            running.  The node itself is not spun and need not be.
        namespace: of the client's own node, where no ``node`` is given.
    """

    def __init__(
        self,
        action_name: str = DEFAULT_ACTION,
        *,
        node: Node | None = None,
        namespace: str = "",
    ) -> None:
        self._own_context: Context | None = None
        if node is not None:
            context, namespace = node.context, node.get_namespace()
        elif rclpy.ok():
            context = rclpy.get_default_context()
        else:
            prepare_environment()
            context = self._own_context = Context()
            rclpy.init(context=context)
        name = f"refer_point_client_{os.getpid()}_{next(_numbers)}"
        self._node = Node(
            name,
            context=context,
            namespace=namespace,
            use_global_arguments=False,
            enable_rosout=False,
            start_parameter_services=False,
        )
        self._client: ActionClient[Any, Any, Any] = ActionClient(
            self._node, ReferPoint, action_name
        )
        self.action_name = action_name
        self._open: set[ReferGoalHandle] = set()
        self._executor = SingleThreadedExecutor(context=context)
        self._executor.add_node(self._node)
        self._thread = threading.Thread(target=self._spin, name="refer_point_client", daemon=True)
        self._thread.start()

    def is_server_ready(self) -> bool:
        """Whether the node can be seen at this moment."""
        return bool(self._client.server_is_ready())

    def wait_for_server(self, timeout_s: float = _DISCOVERY_S) -> bool:
        """Wait until the node can be seen; False after ``timeout_s``."""
        give_up_s = time.monotonic() + timeout_s
        while not self.is_server_ready():
            if time.monotonic() >= give_up_s:
                return False
            time.sleep(0.02)
        return True

    def refer(
        self,
        instruction: str,
        *,
        mode: Mode = Mode.AUTO,
        target_frame: str = "",
        max_points: int = 0,
        timeout_s: float = 0.0,
        on_feedback: Feedback | None = None,
    ) -> Any:
        """Ask and wait for the answer; see ``send`` for the arguments.

        Returns:
            The ``ReferPoint.Result`` message: ``pose``, ``points``, ``answer``, ...

        Raises:
            RoboReferError: the numbered error of the result.
        """
        goal = self.send(
            instruction,
            mode=mode,
            target_frame=target_frame,
            max_points=max_points,
            timeout_s=timeout_s,
            on_feedback=on_feedback,
        )
        try:
            return goal.result()
        except BaseException:
            goal.cancel()  # also after Ctrl-C: nobody waits for it any more
            raise

    def send(
        self,
        instruction: str,
        *,
        mode: Mode = Mode.AUTO,
        target_frame: str = "",
        max_points: int = 0,
        timeout_s: float = 0.0,
        on_feedback: Feedback | None = None,
    ) -> ReferGoalHandle:
        """Ask without waiting for the answer.

        Args:
            instruction: what to find, in words.
            mode: object, free space, or let the model decide.
            target_frame: of the poses; "" takes the node's.
            max_points: keep at most so many; 0 keeps all.
            timeout_s: deadline of the goal in the node; 0 takes the node's.
            on_feedback: receives each feedback message, in the client's thread.

        Raises:
            NodeInactiveError: there is no node with that action.
        """
        if not self.wait_for_server(_DISCOVERY_S):
            raise NodeInactiveError(
                f"no action server {self.action_name} appeared within {_DISCOVERY_S:g} s; start "
                "it (ros2 launch roborefer_ros roborefer.launch.py; without a camera: roborefer "
                "demo --stay), and check its namespace and ROS_DOMAIN_ID"
            )
        goal = ReferPoint.Goal(
            instruction=instruction,
            mode=int(mode),
            target_frame=target_frame,
            max_points=max_points,
            timeout=float(timeout_s),
        )
        handle = ReferGoalHandle(self, instruction)
        self._open.add(handle)
        handle.future.add_done_callback(lambda _: self._open.discard(handle))

        def feedback(message: Any) -> None:
            if on_feedback is not None and not handle.done():
                on_feedback(message.feedback)

        def dispatch() -> None:
            try:
                sent = self._client.send_goal_async(goal, feedback_callback=feedback)
            except Exception as error:  # nobody would hear of it here
                handle._fail(UnknownError(f"sending the goal failed: {error}"))
                return
            sent.add_done_callback(handle._accepted)

        # In the client's thread, which also takes the responses: rclpy's send_goal_async enters its
        # future after sending (Kilted: twice), and a response in between would be lost for ever.
        self._executor.create_task(dispatch)
        return handle

    def close(self) -> None:
        """Cancel what is open and end the client's thread."""
        for handle in tuple(self._open):
            handle.cancel()
            handle._fail(NodeInactiveError("the client was closed"))
        self._executor.shutdown(timeout_sec=5.0)
        # A thread that still spins while Python ends would abort the process.
        if self._thread is not threading.current_thread():
            self._thread.join(5.0)
        self._client.destroy()
        self._node.destroy_node()
        if self._own_context is not None:
            self._own_context.try_shutdown()

    def __enter__(self) -> ReferPointClient:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _spin(self) -> None:
        while True:
            try:
                self._executor.spin()
                return
            except (ExternalShutdownException, ShutdownException):
                return
            except Exception as error:  # of a user's feedback callback; others still wait
                self._node.get_logger().error(f"a callback failed: {type(error).__name__}: {error}")
