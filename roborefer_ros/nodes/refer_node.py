# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The managed node: parameters and wiring only.

    unconfigured --configure--> inactive (camera and TF subscribed)
                 --activate---> active (weights loaded)

Deactivating frees the weights, cleaning up the subscriptions.  The action exists in every state;
outside of active it answers NODE_INACTIVE.
"""

from __future__ import annotations

import sys

if __name__ == "__main__":  # before the imports below, which take a second
    from roborefer_ros.nodes.stop_request import end_at_once_on_signals

    end_at_once_on_signals()

import functools
import gc
import signal
import threading
import time
import traceback
from collections.abc import Callable
from typing import Any

import rclpy
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup, ReentrantCallbackGroup
from rclpy.executors import MultiThreadedExecutor
from rclpy.lifecycle import (
    LifecycleNode,
    LifecycleNodeMixin,
    LifecycleState,
    TransitionCallbackReturn,
)
from rclpy.node import Node
from std_msgs.msg import String

from roborefer_ros.errors import NodeFaultError, NodeInactiveError, RoboReferError
from roborefer_ros.lifting.tool_poses import ToolConvention
from roborefer_ros.nodes.action_server import ReferActionServer
from roborefer_ros.nodes.background_loading import BackgroundLoad
from roborefer_ros.nodes.bond import Bond
from roborefer_ros.nodes.camera_subscriber import CameraSubscriber
from roborefer_ros.nodes.diagnostics import Diagnostics, GoalStatistics, ModelState
from roborefer_ros.nodes.goal_runner import Answer, GoalRunner, NodeParts
from roborefer_ros.nodes.imu_input import ImuInput
from roborefer_ros.nodes.interfaces import ReferPoint
from roborefer_ros.nodes.model_loading import open_pipeline
from roborefer_ros.nodes.parameter_checks import (
    CheckedParameterService,
    unknown_overrides,
    unmatched_files,
)
from roborefer_ros.nodes.parameters import NodeOptions, Parameters
from roborefer_ros.nodes.process import (
    cannot_start,
    end_by_force_after,
    end_now,
    spin_through_failures,
    start_ros,
)
from roborefer_ros.nodes.refer_goal import Outcome, ReferGoal
from roborefer_ros.nodes.stop_request import StopRequest
from roborefer_ros.nodes.transforms import Transforms
from roborefer_ros.nodes.visualization import Visualization, target_transform
from roborefer_ros.pipeline import ReferPipeline
from roborefer_ros.ros_compat.environment import prepare_environment, tune_allocator
from roborefer_ros.types import ResultWarning

#: lifecycle transition, action protocol (one blocked while a goal runs), TF, diagnostics
EXECUTOR_THREADS = 5

#: how long ``close`` waits for a goal that does not stop, and ``main`` for everything, seconds
_CLOSE_S, _END_S = 2.0, 4.0

Transition = Callable[["ReferNode", LifecycleState], TransitionCallbackReturn]


def _logged(transition: Transition) -> Transition:
    """Rclpy turns an exception in a transition into an error state without a word."""

    @functools.wraps(transition)
    def guarded(node: ReferNode, state: LifecycleState) -> TransitionCallbackReturn:
        try:
            with node.transition_lock:
                return transition(node, state)
        except RoboReferError as error:
            node.problem = f"{error.code}: {error}"
            node.get_logger().error(f"{transition.__name__}: error {error.code}: {error}")
            return TransitionCallbackReturn.FAILURE
        except Exception as error:
            node.problem = f"{type(error).__name__}: {error}"
            node.get_logger().error(f"{transition.__name__} failed:\n{traceback.format_exc()}")
            return TransitionCallbackReturn.ERROR

    return guarded


class ReferNode(LifecycleNode):
    """Answers ``ReferPoint`` goals about what an RGB-D camera sees."""

    def __init__(
        self,
        node_name: str = "roborefer",
        *,
        open_model: Callable[[NodeOptions], ReferPipeline] = open_pipeline,
        **kwargs: Any,
    ) -> None:
        """Create the node, unconfigured (see the parameter ``auto_activate``).

        Args:
            node_name: without namespace.
            open_model: loads the model when the node is activated.
            kwargs: Further arguments of ``rclpy.node.Node``.
        """
        # As LifecycleNode does, but its services answer while a transition waits for the weights.
        Node.__init__(self, node_name, **{"start_parameter_services": False, **kwargs})
        LifecycleNodeMixin.__init__(self, callback_group=ReentrantCallbackGroup())
        self._values = Parameters(self)
        self._parameter_services = CheckedParameterService(self)
        for warning in unknown_overrides(self):
            self.get_logger().warning(warning)
        self._open_model = open_model
        self.problem = ""
        #: held during a transition, so that ``close`` finds everything it made
        self.transition_lock = threading.RLock()
        self._closing = False
        self._load: BackgroundLoad[ReferPipeline] | None = None
        self._bond: Bond | None = None
        #: why a thread of the node ended by itself; the next transition ends in an error then
        self._fault: NodeFaultError | None = None
        #: whether a server named the bundled network in its last answer
        self._demo_behind_server = False
        self._camera: CameraSubscriber | None = None
        self._transforms: Transforms | None = None
        self._imu: ImuInput | None = None
        self._visualization: Visualization | None = None
        self._parts: NodeParts | None = None
        self._statistics = GoalStatistics()
        self._server = ReferActionServer(self, self.options, self._answer, self._on_done)
        self._instruction = self.create_subscription(
            String,
            "~/instruction",
            self._on_instruction,
            5,
            callback_group=MutuallyExclusiveCallbackGroup(),
        )
        self._diagnostics = Diagnostics(
            self,
            self.options().diagnostics_period_s,
            lambda: self._camera,
            self._model_state,
            self._statistics,
            lambda: (self._server.queued, self._server.is_busy),
        )
        self._start_timer = None
        if self.options().auto_activate:
            self._start_timer = self.create_timer(
                0.0, self._start, callback_group=MutuallyExclusiveCallbackGroup()
            )
        else:
            self.get_logger().info("unconfigured; waiting for a lifecycle manager")

    def options(self) -> NodeOptions:
        """The parameters of the moment."""
        return self._values.options()

    # --- lifecycle ---------------------------------------------------------------------

    def _start(self) -> None:
        """Configure and activate without a manager; once."""
        assert self._start_timer is not None
        self._start_timer.cancel()
        success = TransitionCallbackReturn.SUCCESS
        if self.trigger_configure() == success and self.trigger_activate() == success:
            return
        if self._closing:
            return
        steps = (
            ("activate",)
            if self._model_state().lifecycle == "inactive"
            else ("configure", "activate")
        )
        commands = (f"ros2 lifecycle set {self.get_fully_qualified_name()} {s}" for s in steps)
        self.get_logger().error(
            f"could not activate itself ({self.problem}); put that right, then: "
            + " && ".join(commands)
        )

    @_logged
    def on_configure(self, _state: LifecycleState) -> TransitionCallbackReturn:
        """Subscribe to camera and transforms."""
        if self._closing:
            return TransitionCallbackReturn.FAILURE
        options = self.options()
        self._transforms = Transforms(self)
        self._visualization = Visualization(self)
        self._imu = ImuInput(self) if ImuInput.is_wanted(self) else None
        self._camera = CameraSubscriber(self, options, self._transforms.clear, self._on_fault)
        self.get_logger().info(
            f"configured; camera topics: {', '.join(t.name for t in self._camera.topics)}"
        )
        return TransitionCallbackReturn.SUCCESS

    @_logged
    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load the weights; fails, with the remedy in the log, where that is not possible."""
        if self._closing:
            return TransitionCallbackReturn.FAILURE
        options = self.options()
        started_s = time.monotonic()
        if options.bond_heartbeat_period > 0.0:
            self._bond = Bond(self, options.bond_heartbeat_period, options.bond_timeout)
        self.get_logger().info(f"loading '{options.model}' ...")
        self._server.fail_with(
            NodeInactiveError(
                f"the node still loads '{options.model}'; ask again when it is active"
            )
        )
        self._load = BackgroundLoad(lambda: self._open_model(options))
        try:
            if self._closing:  # since then; ``close`` saw no load that it could abandon
                self._load.abandon()
            pipeline = self._load.wait()
        except RoboReferError as error:
            # Goals get the reason rather than just "inactive".
            self._server.fail_with(error)
            self._break_bond()
            raise
        if pipeline is None:  # nobody waits for it any more
            return TransitionCallbackReturn.FAILURE
        assert self._camera is not None
        assert self._transforms is not None
        self._parts = NodeParts(self._camera, self._transforms, pipeline, self._imu)
        self.problem = ""
        self._server.open()
        self.get_logger().info(
            f"active: '{pipeline.pointer.name}' ready after {time.monotonic() - started_s:.1f} s; "
            f"action {self.get_fully_qualified_name()}/refer_point"
        )
        return super().on_activate(state)

    @_logged
    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """End all goals and free the weights."""
        self._release_model("the node was deactivated")
        if self._fault is not None:
            return TransitionCallbackReturn.ERROR
        return super().on_deactivate(state)

    @_logged
    def on_cleanup(self, _state: LifecycleState) -> TransitionCallbackReturn:
        """Unsubscribe."""
        self._release_all()
        if self._fault is not None:
            return TransitionCallbackReturn.ERROR
        return TransitionCallbackReturn.SUCCESS

    @_logged
    def on_shutdown(self, _state: LifecycleState) -> TransitionCallbackReturn:
        """End all goals, free everything."""
        self._release_model("the node was shut down")
        self._release_all()
        return TransitionCallbackReturn.SUCCESS

    @_logged
    def on_error(self, _state: LifecycleState) -> TransitionCallbackReturn:
        """Free everything and start again from unconfigured."""
        self._release_model("the node ran into an error")
        self._release_all()
        if self._fault is not None:
            self._server.fail_with(self._fault)
            self._fault = None
        return TransitionCallbackReturn.SUCCESS

    def _on_fault(self, fault: NodeFaultError) -> None:
        """Leave the active state through error processing, which a lifecycle manager sees.

        From a thread of its own: the transition waits for the thread that reports the fault.
        """
        self._fault = fault
        self.problem = f"{fault.code}: {fault}"
        threading.Thread(target=self._leave, name="fault", daemon=True).start()

    def _leave(self) -> None:
        with self.transition_lock:
            if self._closing or self._fault is None:
                return
            try:
                state = self._model_state().lifecycle
                if state == "active":
                    self.trigger_deactivate()
                elif state == "inactive":
                    self.trigger_cleanup()
            except Exception:
                self.get_logger().error(f"after a fault:\n{traceback.format_exc()}")

    def _release_model(self, reason: str, timeout_s: float = 30.0) -> None:
        self._break_bond()
        stopped = self._server.stop(reason, timeout_s)
        parts, self._parts = self._parts, None
        if parts is None:
            return
        if not stopped:
            self.get_logger().error(
                f"the running goal did not stop within {timeout_s:g} s; its model stays in memory"
            )
            return  # what is in use cannot be freed
        parts.pipeline.close()
        del parts
        gc.collect()
        # another thread may be importing torch: then it is there and lacks most of its names
        cuda = getattr(sys.modules.get("torch"), "cuda", None)
        if cuda is not None and cuda.is_available():
            cuda.empty_cache()

    def _break_bond(self) -> None:
        bond, self._bond = self._bond, None
        if bond is not None:
            bond.close()

    def _release_all(self) -> None:
        camera, self._camera = self._camera, None
        visualization, self._visualization = self._visualization, None
        transforms, self._transforms = self._transforms, None
        imu, self._imu = self._imu, None
        for part in (camera, visualization, transforms, imu):
            if part is not None:
                part.close()

    def close(self, timeout_s: float = _CLOSE_S) -> bool:
        """End all goals and threads; to be called while the executor still spins.

        Args:
            timeout_s: Longest wait for a goal whose model does not heed that it was cancelled.

        Returns:
            Whether all threads of the node have ended: a model that loads, or does not come back
            from a question, cannot be interrupted.
        """
        self._closing = True
        load = self._load
        if load is not None:
            load.abandon()
        ended = self._server.close(timeout_s)
        with self.transition_lock:
            self._release_model("the node is shutting down", 0.0)
            self._release_all()
        self._diagnostics.close()
        return ended and not (load is not None and load.is_running)

    # --- goals -------------------------------------------------------------------------

    def _answer(self, goal: ReferGoal) -> Outcome:
        parts = self._parts
        if parts is None:
            raise NodeInactiveError("the node was deactivated")
        return GoalRunner(goal, parts, self.options()).run()

    def _on_instruction(self, msg: String) -> None:
        self._server.submit(ReferPoint.Goal(instruction=msg.data))

    def _show(self, answer: Answer) -> None:
        options = answer.options
        try:
            if self._visualization is not None:
                self._visualization.show(answer)
        except Exception:  # a picture that cannot be drawn takes no answer away
            self.get_logger().error(f"could not draw the answer:\n{traceback.format_exc()}")
        if options.publish_target_tf and self._transforms is not None:
            first = answer.target.points[0]
            self._transforms.broadcast(
                target_transform(
                    first,
                    answer.target.stamp_ns,
                    options.target_tf_frame,
                    ToolConvention(options.approach_axis),
                )
            )

    def _on_done(self, goal: ReferGoal, outcome: Outcome) -> None:
        result = outcome.result
        self._statistics.count(
            result.error_code, result.error_msg, time.monotonic() - goal.accepted_s
        )
        if outcome.answer is not None:
            self._demo_behind_server = bool(
                outcome.answer.target.warnings & ResultWarning.DEMO_MODEL
            )
            self._show(outcome.answer)

    def _model_state(self) -> ModelState:
        state = str(self._state_machine.current_state[1])
        parts = self._parts
        is_demo = self._demo_behind_server or (parts is not None and parts.pipeline.is_demo)
        return ModelState(state, str(self.get_parameter("model").value), self.problem, is_demo)


def _spin(executor: MultiThreadedExecutor, node: ReferNode, stop: StopRequest) -> None:
    spin_through_failures(executor.spin, node.get_logger())
    stop.set()


def main(args: list[str] | None = None) -> int:
    """Run the node until SIGINT or SIGTERM; both may come more than once."""
    prepare_environment()
    tune_allocator()
    stop = StopRequest()
    stop.on_signals((signal.SIGINT, signal.SIGTERM))
    status = start_ros("roborefer_node", args, own_signals=True)
    if status is not None:
        return status
    try:
        node = ReferNode()
    except Exception as error:
        rclpy.try_shutdown()
        return cannot_start("roborefer_node", error)
    for warning in unmatched_files(sys.argv if args is None else args, _full_name(node)):
        node.get_logger().warning(warning)
    executor = MultiThreadedExecutor(num_threads=EXECUTOR_THREADS)
    executor.add_node(node)
    thread = threading.Thread(target=_spin, args=(executor, node, stop), name="spin", daemon=True)
    thread.start()
    stop.wait()
    for number in (signal.SIGINT, signal.SIGTERM):
        # Ignored from here on: a second one must not end the process half-way, also not while
        # Python itself finishes, when its own handlers are gone already.
        signal.signal(number, signal.SIG_IGN)
    end_by_force_after(_END_S, "roborefer_node")
    try:
        ended = node.close()
    except Exception:  # the process is to end all the same, and not in an abort
        node.get_logger().error(f"could not close in order:\n{traceback.format_exc()}")
        ended = False
    executor.shutdown(timeout_sec=5.0)
    thread.join(10.0)
    node.destroy_node()
    rclpy.try_shutdown()
    if not ended:
        end_now()  # Python would wait for what cannot be interrupted, or abort in its midst
    return 0


def _full_name(node: Node) -> str:
    return str(node.get_fully_qualified_name())


if __name__ == "__main__":
    sys.exit(main())
