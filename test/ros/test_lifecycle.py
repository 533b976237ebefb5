# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The managed node: up, down, up again, broken models, start and end of the process."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from lifecycle_msgs.msg import State, Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rcl_interfaces.msg import Parameter as ParameterMsg
from rcl_interfaces.msg import ParameterType, ParameterValue
from rcl_interfaces.srv import GetParameters, SetParameters, SetParametersAtomically
from refer_graph import Graph, graph_fixture, wait, wait_until  # noqa: F401

from roborefer_ros.errors import CheckpointNotFoundError
from roborefer_ros.nodes.background_loading import BackgroundLoad
from roborefer_ros.nodes.interfaces import ReferPoint
from roborefer_ros.nodes.refer_node import ReferNode
from roborefer_ros.pipeline import ReferPipeline

Result = ReferPoint.Result
Make = Callable[..., Graph]
INACTIVE, ACTIVE = State.PRIMARY_STATE_INACTIVE, State.PRIMARY_STATE_ACTIVE


def test_twenty_times_up_and_down(graph: Make) -> None:
    """Each time a goal is answered; afterwards no thread and no model is left over."""
    g = graph()
    threads = own_threads()
    for number in range(20):
        assert g.refer().error_code == 0
        g.node.trigger_deactivate()
        assert g.state == INACTIVE
        assert g.pointer.closed == number + 1
        g.node.trigger_cleanup()
        assert g.state == State.PRIMARY_STATE_UNCONFIGURED
        g.activate()
    # A thread that has done its work may need a moment to be gone.
    wait_until(lambda: own_threads() == threads)
    assert g.refer().error_code == 0


def own_threads() -> list[str]:
    """Names of all threads but the executors' pools, which grow with use."""
    names = (thread.name for thread in threading.enumerate())
    return sorted(name for name in names if not name.startswith("ThreadPoolExecutor"))


def test_transitions_by_service(graph: Make) -> None:
    """As a lifecycle manager does it."""
    g = graph(activate=False)
    client = g.client_node.create_client(ChangeState, "/roborefer/change_state")
    assert client.wait_for_service(5.0)
    for number, state in (
        (Transition.TRANSITION_CONFIGURE, INACTIVE),
        (Transition.TRANSITION_ACTIVATE, ACTIVE),
        (Transition.TRANSITION_DEACTIVATE, INACTIVE),
        (Transition.TRANSITION_ACTIVATE, ACTIVE),
        (Transition.TRANSITION_ACTIVE_SHUTDOWN, State.PRIMARY_STATE_FINALIZED),
    ):
        request = ChangeState.Request(transition=Transition(id=number))
        assert wait(client.call_async(request)).success
        assert g.state == state
    assert g.refer().error_code == Result.NODE_INACTIVE


def test_auto_activate(graph: Make) -> None:
    """Without a manager the node brings itself up."""
    g = graph(activate=False, auto_activate=True)
    wait_until(lambda: g.state == ACTIVE)
    assert g.refer().error_code == 0


def test_missing_weights_keep_the_node_inactive(graph: Make) -> None:
    """The reason is in the goals' results; put right, it activates."""
    present = False

    def open_model(options: Any) -> ReferPipeline:
        if not present:
            raise CheckpointNotFoundError("no checkpoint at /nowhere; set the parameter model")
        return ReferPipeline(g.pointer)

    g = graph(activate=False, open_model=open_model)
    g.node.trigger_configure()
    g.node.trigger_activate()
    assert g.state == INACTIVE
    assert "/nowhere" in g.refer().error_msg
    present = True
    g.node.trigger_activate()
    assert g.state == ACTIVE
    assert g.refer().error_code == 0


def test_goals_during_loading_are_told_to_wait(graph: Make) -> None:
    """A large model takes a minute; "activate it" would be the wrong advice."""
    loading, loaded = threading.Event(), threading.Event()

    def open_model(options: Any) -> ReferPipeline:
        loading.set()
        assert loaded.wait(20.0)
        return ReferPipeline(g.pointer)

    g = graph(activate=False, open_model=open_model)
    g.node.trigger_configure()
    activation = threading.Thread(target=g.node.trigger_activate)
    activation.start()
    try:
        assert loading.wait(20.0)
        result = g.refer()
        assert result.error_code == Result.NODE_INACTIVE
        assert "loads" in result.error_msg
    finally:
        loaded.set()
        activation.join()
    assert g.refer().error_code == 0
    g.node.trigger_deactivate()
    assert "loads" not in g.refer().error_msg


def test_services_answer_while_the_weights_load(graph: Make) -> None:
    """A manager sees 'activating', and parameters can be read: nothing waits for the weights."""
    loading, loaded = threading.Event(), threading.Event()

    def open_model(options: Any) -> ReferPipeline:
        loading.set()
        assert loaded.wait(60.0)
        return ReferPipeline(g.pointer)

    g = graph(activate=False, open_model=open_model)
    client = g.client_node.create_client(ChangeState, "/roborefer/change_state")
    state = g.client_node.create_client(GetState, "/roborefer/get_state")
    values = g.client_node.create_client(GetParameters, "/roborefer/get_parameters")
    for one in (client, state, values):
        assert one.wait_for_service(10.0)
    g.node.trigger_configure()
    request = ChangeState.Request(transition=Transition(id=Transition.TRANSITION_ACTIVATE))
    activation = client.call_async(request)
    try:
        assert loading.wait(20.0)
        assert wait(state.call_async(GetState.Request())).current_state.label == "activating"
        reply = wait(values.call_async(GetParameters.Request(names=["model"])))
        assert reply.values[0].string_value == "roborefer:demo"
        assert not activation.done()
    finally:
        loaded.set()
    assert wait(activation).success
    assert g.state == ACTIVE


def test_closing_does_not_wait_for_weights(graph: Make) -> None:
    """A load cannot be interrupted; what it brings in the end is closed."""
    loading, loaded = threading.Event(), threading.Event()

    def open_model(options: Any) -> ReferPipeline:
        loading.set()
        assert loaded.wait(60.0)
        return ReferPipeline(g.pointer)

    g = graph(activate=False, open_model=open_model)
    g.node.trigger_configure()
    activation = threading.Thread(target=g.node.trigger_activate)
    activation.start()
    assert loading.wait(20.0)
    closed = threading.Thread(target=g.node.close)
    closed.start()
    closed.join(60.0)
    activation.join(60.0)
    assert not (closed.is_alive())
    assert not (activation.is_alive())
    assert not (loaded.is_set())
    loaded.set()
    wait_until(lambda: g.pointer.closed == 1)
    g.node.close = lambda: None


def test_a_bond_without_its_messages_is_told(graph: Make) -> None:
    """They come with a distribution; without them the node says what to install."""
    if importlib.util.find_spec("bond") is not None:
        assert graph(bond_heartbeat_period=0.1).refer().error_code == 0
        return
    g = graph(activate=False, bond_heartbeat_period=0.1)
    g.node.trigger_configure()
    g.node.trigger_activate()
    assert g.state == INACTIVE
    assert "ros-$ROS_DISTRO-bond" in g.node.problem


def test_closing_frees_the_model_once(graph: Make) -> None:
    """The load that brought it has nothing to do with it any more."""
    g = graph()
    assert g.node.close()
    assert g.pointer.closed == 1
    g.node.close = lambda: None


def test_closing_does_not_wait_for_a_model_that_never_returns(graph: Make) -> None:
    """Its client gets its answer, and the node tells that a thread is left."""
    release = threading.Event()
    g = graph()
    point = g.pointer.point

    def stuck(*args: Any, **kwargs: Any) -> Any:
        g.pointer.running.set()
        assert release.wait(120.0)
        return point(*args, **kwargs)

    g.pointer.point = stuck  # type: ignore[method-assign]
    handle = g.send()
    assert g.pointer.running.wait(20.0)
    result = handle.get_result_async()
    ended: list[bool] = []
    closing = threading.Thread(target=lambda: ended.append(g.node.close(timeout_s=0.2)))
    closing.start()
    closing.join(60.0)
    assert ended == [False]
    assert not release.is_set()
    assert wait(result).result.error_code == Result.SHUTTING_DOWN
    release.set()
    wait_until(lambda: not any(t.is_alive() for t in g.node._server._threads))
    g.node.close = lambda: None


@pytest.mark.parametrize("kind", [42, 255])
def test_a_value_of_an_unknown_type_gets_a_reply(kind: int, graph: Make) -> None:
    """rclpy raises within its service, and the caller would wait for ever."""
    g = graph(activate=False)
    message = ParameterMsg(name="device", value=ParameterValue(type=kind))
    client = g.client_node.create_client(SetParameters, "/roborefer/set_parameters")
    together = g.client_node.create_client(
        SetParametersAtomically, "/roborefer/set_parameters_atomically"
    )
    assert client.wait_for_service(10.0)
    assert together.wait_for_service(10.0)
    reply = wait(client.call_async(SetParameters.Request(parameters=[message])))
    assert not reply.results[0].successful
    assert str(kind) in reply.results[0].reason
    request = SetParametersAtomically.Request(parameters=[message])
    assert not wait(together.call_async(request)).result.successful


def test_an_unknown_parameter_is_refused_with_the_nearest(graph: Make) -> None:
    g = graph(activate=False)
    value = ParameterValue(type=ParameterType.PARAMETER_DOUBLE, double_value=1.0)
    message = ParameterMsg(name="frame_timout_s", value=value)
    client = g.client_node.create_client(SetParameters, "/roborefer/set_parameters")
    assert client.wait_for_service(10.0)
    reply = wait(client.call_async(SetParameters.Request(parameters=[message])))
    assert "frame_timeout_s" in reply.results[0].reason


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("dtype", "foo"),
        ("depth_source", "foo"),
        ("camera_mode", "foo"),
        ("image_reliability", "reliabel"),
        ("device", "gpu"),
    ],
)
def test_choices_are_checked(name: str, value: str, graph: Make) -> None:
    """What is none of them would silently mean the default."""
    from rclpy.parameter import Parameter

    g = graph(activate=False)
    result = g.node.set_parameters([Parameter(name, value=value)])[0]
    assert not result.successful
    assert name in result.reason
    assert value in result.reason
    with pytest.raises(ValueError, match=name):
        g.ros.create_node("other", ReferNode, parameter_overrides=[Parameter(name, value=value)])


def test_values_that_nothing_takes_are_told(ros_domain_id: int, tmp_path: Path) -> None:
    """Misspelt names, and files for a node of another name."""
    mine, other = tmp_path / "mine.yaml", tmp_path / "other.yaml"
    text = "{}:\n  ros__parameters:\n    {}: 5\n"
    mine.write_text(text.format("roborefer", "max_queued_gaols"))
    other.write_text(text.format("refer_node", "max_queued_goals"))
    files = ("--params-file", str(mine), "--params-file", str(other))
    process = subprocess.Popen(
        [*NODE, *files, "-p", "auto_activate:=false"], stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stderr is not None
        seen = ""
        while str(other) not in seen:
            line = process.stderr.readline()
            assert line, seen
            seen += line
        assert "'max_queued_gaols' is unknown" in seen
        assert "'max_queued_goals'?" in seen
        assert "'refer_node'" in seen
        assert str(mine) not in seen
    finally:
        process.kill()


@pytest.mark.parametrize("module", ["refer_node", "sim_camera_node", "replay_camera_node"])
@pytest.mark.parametrize(
    "arguments",
    [
        ("--foo",),
        ("--ros-args", "--bogus"),
        ("--ros-args", "--params-file", "/nowhere.yaml"),
        ("--ros-args", "-p", "nonsense"),
    ],
)
def test_bad_arguments_are_one_line(
    module: str, arguments: tuple[str, ...], ros_domain_id: int
) -> None:
    command = [sys.executable, "-m", f"roborefer_ros.nodes.{module}", *arguments]
    process = subprocess.run(command, capture_output=True, text=True, timeout=60.0)
    assert process.returncode == 2
    (line,) = [one for one in process.stderr.splitlines() if not one.startswith("[")]
    assert line.startswith(("roborefer_node: ", f"{module}: "))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_during_the_imports(number: signal.Signals) -> None:
    """They take a second and more; nothing is to be cleaned up yet."""
    code = f"""
import os, signal, sys, threading
from roborefer_ros.nodes import start

class Interrupting:
    def find_spec(self, name, path=None, target=None):
        if name == "rclpy":
            os.kill(os.getpid(), {int(number)})
        return None

sys.meta_path.insert(0, Interrupting())
start.refer_node()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0
    assert done.stderr == ""


def test_an_exception_in_a_transition_is_logged(graph: Make, capfd: Any) -> None:
    """rclpy says nothing about it; the node does, and can be configured again."""

    def open_model(options: Any) -> ReferPipeline:
        raise RuntimeError("a bug in the loader")

    g = graph(activate=False, open_model=open_model)
    g.node.trigger_configure()
    g.node.trigger_activate()
    assert g.state == State.PRIMARY_STATE_UNCONFIGURED
    text = "".join(capfd.readouterr())
    assert "a bug in the loader" in text
    assert "Traceback" in text
    g.node.trigger_configure()
    assert g.state == INACTIVE


def test_parameters_are_checked_and_take_effect(graph: Make) -> None:
    """A change that makes sense holds for the next goal; another is refused with the reason."""
    from rclpy.parameter import Parameter

    g = graph()
    ok = g.node.set_parameters([Parameter("max_instruction_length", value=5)])[0]
    assert ok.successful
    assert g.refer("too long for that").error_code == Result.INSTRUCTION_TOO_LONG
    bad = g.node.set_parameters([Parameter("frame_timeout_s", value=100.0)])[0]
    assert not bad.successful
    assert "goal_timeout_s" in bad.reason
    bad = g.node.set_parameters([Parameter("lifting.z_min_m", value=20.0)])[0]
    assert not bad.successful
    assert "depth range" in bad.reason
    assert g.node.options().frame_timeout_s == 2.0


@pytest.mark.parametrize("twice", [False, True])
def test_the_process_ends_with_0_on_interrupt(twice: bool, ros_domain_id: int) -> None:
    """Also when the interrupt comes twice, as from launch and a terminal together."""
    process = start_node("-p", "auto_activate:=false")
    try:
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        if twice:
            time.sleep(0.05)
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
        assert process.wait(20.0) == 0
        assert "Traceback" not in str(process.stderr.read() if process.stderr else "")
    finally:
        process.kill()


def test_an_interrupt_while_the_model_loads(ros_domain_id: int) -> None:
    """The process ends without blaming anything."""
    process = start_node()
    try:
        assert process.stderr is not None
        while "loading" not in process.stderr.readline():
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        text = process.stderr.read()
        assert process.wait(60.0) == 0
        for words in ("Traceback", "could not activate", "active:"):
            assert words not in text
    finally:
        process.kill()


@pytest.mark.parametrize(
    ("error", "commands"),
    [
        (CheckpointNotFoundError("none"), "then: ros2 lifecycle set /roborefer activate"),
        (
            RuntimeError("a bug"),
            "set /roborefer configure && ros2 lifecycle set /roborefer activate",
        ),
    ],
)
def test_a_failed_start_names_the_commands(
    error: Exception, commands: str, graph: Make, capfd: Any
) -> None:
    """Those of the state that the failure left the node in."""

    def open_model(options: Any) -> ReferPipeline:
        raise error

    graph(activate=False, auto_activate=True, open_model=open_model)
    seen = ""

    def told() -> bool:
        nonlocal seen
        seen += "".join(capfd.readouterr())
        return commands in seen

    wait_until(told)


def test_the_process_refuses_contradicting_parameters(ros_domain_id: int) -> None:
    """With the reason, and without a traceback."""
    process = subprocess.run(
        [*NODE, "-p", "frame_timeout_s:=70.0"], capture_output=True, text=True, timeout=30.0
    )
    assert process.returncode == 2
    assert "goal_timeout_s" in process.stderr
    assert "Traceback" not in process.stderr


@pytest.mark.parametrize("wrong", ["dtype:=foo", "max_queued_goals:=many", "lifting.up:=[1.0]"])
def test_the_process_refuses_a_wrong_parameter_in_one_line(wrong: str, ros_domain_id: int) -> None:
    process = subprocess.run([*NODE, "-p", wrong], capture_output=True, text=True, timeout=60.0)
    assert process.returncode == 2
    assert len(process.stderr.splitlines()) == 1
    assert wrong.partition(":=")[0] in process.stderr


NODE = [sys.executable, "-m", "roborefer_ros.nodes.refer_node", "--ros-args"]


def start_node(*arguments: str) -> subprocess.Popen[str]:
    """The node's process, once it says something."""
    process = subprocess.Popen(
        [*NODE, *arguments, "--log-level", "roborefer:=debug"],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        env=dict(os.environ),
    )
    assert process.stderr is not None
    assert process.stderr.readline()
    return process


def test_a_model_that_was_handed_over_is_not_closed_by_its_load() -> None:
    """Who waited owns it: closed once, at the end of the node."""

    class Model:
        closed = 0

        def close(self) -> None:
            self.closed += 1

    load = BackgroundLoad(Model)
    model = load.wait()
    load.abandon()
    assert model is not None
    assert model.closed == 0
