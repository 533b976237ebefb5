# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The ReferPoint action for people who write planners.

    with ReferPointClient() as client:
        result = client.refer("the red mug left of the box", target_frame="base_link")
        plan_to(result.pose)

The client has a node and a thread of its own, so blocking calls work from anywhere, also from a
callback of another node.  No call waits for ever: see ``client_goal``.
"""

from __future__ import annotations

import itertools
import os
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any

import rclpy
from rcl_interfaces.srv import GetParameters
from rclpy.action import ActionClient
from rclpy.client import Client
from rclpy.context import Context
from rclpy.executors import ExternalShutdownException, ShutdownException, SingleThreadedExecutor
from rclpy.node import Node

from roborefer_ros.client_goal import Patience, ReferGoalHandle, error_of
from roborefer_ros.errors import NodeInactiveError, UnknownError
from roborefer_ros.nodes.action_qos import service_qos
from roborefer_ros.nodes.interfaces import ReferPoint
from roborefer_ros.ros_compat.environment import prepare_environment
from roborefer_ros.types import Mode

__all__ = ["DEFAULT_ACTION", "Patience", "ReferGoalHandle", "ReferPointClient", "error_of"]

DEFAULT_ACTION = "/roborefer/refer_point"

#: how long discovery may take before a missing server counts as missing, seconds
_DISCOVERY_S = 10.0
#: how often open goals are looked after, seconds
_POLL_S = 0.25
#: how long the node's goal_timeout_s is believed before it is asked for again, seconds
_TIMEOUT_KNOWN_S = 10.0

_numbers = itertools.count()

Feedback = Callable[[Any], None]


class ReferPointClient:
    """Calls the ReferPoint action.

    Args:
        action_name: Name of the action; a relative name is resolved in ``namespace``.
        node: a node whose context and namespace to use; None starts ROS 2 where it is not yet
            running.  The node itself is not spun and need not be.
        namespace: Namespace of the client's own node, where no ``node`` is given.
        patience: how long to wait for what before a goal counts as lost.
    """

    def __init__(
        self,
        action_name: str = DEFAULT_ACTION,
        *,
        node: Node | None = None,
        namespace: str = "",
        patience: Patience | None = None,
    ) -> None:
        self._patience = patience or Patience()
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
            self._node, ReferPoint, action_name, **service_qos()
        )
        self.action_name = action_name
        resolved = self._node.resolve_topic_name(action_name)
        self._status_topic = f"{resolved}/_action/status"
        self._parameters: Client[Any, Any] = self._node.create_client(
            GetParameters, f"{resolved.rpartition('/')[0]}/get_parameters"
        )
        self._node_timeout_s: float | None = None
        self._node_timeout_asked_s = float("-inf")
        self._open: set[ReferGoalHandle] = set()
        self._condition = threading.Condition()
        self._closing = False
        self._executor = SingleThreadedExecutor(context=context)
        self._executor.add_node(self._node)
        self._thread = threading.Thread(target=self._spin, name="refer_point_client", daemon=True)
        self._thread.start()
        # Beside the spinning thread, which a user's feedback callback may hold up.
        self._watcher = threading.Thread(target=self._watch, name="refer_point_watch", daemon=True)
        self._watcher.start()

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
        **fields: Any,
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
            **fields,
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
        **fields: Any,
    ) -> ReferGoalHandle:
        """Ask without waiting for the answer.

        Args:
            instruction: Thing or place to find, in words.
            mode: object, free space, or let the model decide.
            target_frame: Frame of the poses; "" takes the node's.
            max_points: Greatest number of points kept; 0 keeps all.
            timeout_s: deadline of the goal in the node; 0 takes the node's.
            on_feedback: receives each feedback message, in the client's thread.
            fields: further fields of the goal, as ``min_confidence``; see ``ReferPoint.action``.

        Raises:
            NodeInactiveError: there is no node with that action.
        """
        if not self.wait_for_server(_DISCOVERY_S):
            raise NodeInactiveError(
                f"no action server {self.action_name} appeared within {_DISCOVERY_S:g} s; start "
                "it (ros2 launch roborefer_ros roborefer.launch.py model:=...; without a camera: "
                "roborefer demo --stay), and check its namespace and ROS_DOMAIN_ID"
            )
        goal = ReferPoint.Goal(
            instruction=instruction,
            mode=int(mode),
            target_frame=target_frame,
            max_points=max_points,
            timeout=float(timeout_s),
            **fields,
        )
        handle = ReferGoalHandle(
            instruction, self.action_name, goal.timeout, self._patience, self._server_ids()
        )
        with self._condition:
            if self._closing:
                raise NodeInactiveError("the client was closed")
            self._open.add(handle)
            self._condition.notify_all()
        handle.future.add_done_callback(lambda _: self._open.discard(handle))

        def feedback(message: Any) -> None:
            if on_feedback is not None and not handle.done():
                on_feedback(message.feedback)

        def dispatch() -> None:
            try:
                sent = self._client.send_goal_async(goal, feedback_callback=feedback)
            except Exception as error:  # nobody would hear of it here
                handle.fail(UnknownError(f"sending the goal failed: {error}"))
                return
            sent.add_done_callback(handle.accepted)

        # In the client's thread, which also takes the responses: rclpy's send_goal_async enters its
        # future after sending (Kilted: twice), and a response in between would be lost for ever.
        self._executor.create_task(dispatch)
        return handle

    def close(self) -> None:
        """Cancel what is open and end the client's threads."""
        with self._condition:
            self._closing = True
            self._condition.notify_all()
        for handle in tuple(self._open):
            handle.cancel()
            handle.fail(NodeInactiveError("the client was closed"))
        self._executor.shutdown(timeout_sec=5.0)
        # A thread that still spins while Python ends would abort the process.
        for thread in (self._thread, self._watcher):
            if thread is not threading.current_thread():
                thread.join(5.0)
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
                if self._closing:
                    return
                self._node.get_logger().error(f"a callback failed: {type(error).__name__}: {error}")

    # --- looking after open goals --------------------------------------------------------

    def _server_ids(self) -> frozenset[bytes]:
        """Identities of the servers in sight; one that was restarted has another."""
        infos = self._node.get_publishers_info_by_topic(self._status_topic)
        return frozenset(bytes(info.endpoint_gid) for info in infos)

    def _watch(self) -> None:
        while True:
            with self._condition:
                while not (self._open or self._closing):
                    self._condition.wait()
                if not self._closing:
                    self._condition.wait(_POLL_S)
                if self._closing:
                    return
            try:
                self._look(time.monotonic())
            except Exception as error:  # no goal may stay unwatched
                for handle in tuple(self._open):
                    handle.fail(UnknownError(f"looking after the goal failed: {error}"))

    def _look(self, now_s: float) -> None:
        if not self._node.context.ok():
            for handle in tuple(self._open):
                handle.fail(NodeInactiveError("ROS 2 was shut down in the client's process"))
            return
        present = self._server_ids()
        for handle in tuple(self._open):
            handle.look(now_s, present, self._timeout_of_the_node)

    def _timeout_of_the_node(self) -> float | None:
        """The node's ``goal_timeout_s``, asked for when a goal takes long; None while unknown."""
        now_s = time.monotonic()
        is_old = now_s - self._node_timeout_asked_s > _TIMEOUT_KNOWN_S
        if is_old and self._parameters.service_is_ready():
            self._node_timeout_asked_s = now_s
            future = self._parameters.call_async(GetParameters.Request(names=["goal_timeout_s"]))
            future.add_done_callback(self._keep_timeout)
        return self._node_timeout_s

    def _keep_timeout(self, future: Any) -> None:
        if future.exception() is None and future.result().values:
            self._node_timeout_s = float(future.result().values[0].double_value) or None
