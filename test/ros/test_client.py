# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""ReferPointClient against the real node on a real graph."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import rclpy
from rclpy.action import ActionServer
from rclpy.context import Context
from refer_graph import (
    Graph,
    ScriptedPointer,
    graph_fixture,  # noqa: F401
    wait,
    wait_until,
)
from std_srvs.srv import Trigger

from roborefer_ros.client import Patience, ReferPointClient
from roborefer_ros.errors import (
    CanceledError,
    DeadlineExceededError,
    NodeInactiveError,
    NoPointInAnswerError,
    QueueFullError,
    ServerLostError,
)
from roborefer_ros.nodes.interfaces import ReferPoint
from roborefer_ros.types import Mode

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"

Make = Callable[..., Graph]


def scripted(**values: Any) -> ScriptedPointer:
    """A pointer that answers as told."""
    pointer = ScriptedPointer()
    for name, value in values.items():
        setattr(pointer, name, value)
    return pointer


@pytest.fixture
def client(ros: Any) -> Iterator[ReferPointClient]:
    """A client in the context of the test."""
    with ReferPointClient(node=ros.create_node("planner")) as made:
        yield made


def test_a_quick_response_is_not_lost(graph: Make, client: ReferPointClient) -> None:
    """rclpy sends a goal before it is ready for the response; the node may be quicker."""

    class Slow(dict):  # type: ignore[type-arg]
        def __setitem__(self, key: object, value: object) -> None:
            time.sleep(0.3)
            super().__setitem__(key, value)

    graph()
    client._client._feedback_callbacks = Slow()
    assert client.send("the red mug").result(timeout_s=10.0).error_code == 0


def test_asks_and_gets_a_pose(graph: Make, client: ReferPointClient) -> None:
    g = graph(pointer=scripted(tokens=20, token_s=0.02))  # long enough for feedback to be sent
    states: list[int] = []
    result = client.refer(
        "the red mug", mode=Mode.OBJECT, on_feedback=lambda message: states.append(message.state)
    )
    assert result.error_code == 0
    assert result.pose.pose.position.z > 0.1
    assert g.pointer.calls == ["the red mug"]
    assert result.mode == Mode.OBJECT
    assert states
    assert states == sorted(states)


def test_an_error_of_the_node_is_raised_with_the_answer(
    graph: Make, client: ReferPointClient
) -> None:
    error = NoPointInAnswerError("no point in it")
    error.answer = "I cannot see it"
    graph(pointer=scripted(error=error))
    with pytest.raises(NoPointInAnswerError, match="no point in it") as caught:
        client.refer("the red mug")
    assert caught.value.answer == "I cannot see it"


def test_cancel_from_another_thread(graph: Make, client: ReferPointClient) -> None:
    g = graph(pointer=scripted(tokens=1000, token_s=0.01))
    goal = client.send("the red mug")
    assert g.pointer.running.wait(10.0)
    goal.cancel()
    with pytest.raises(CanceledError):
        goal.result(10.0)
    assert goal.done()


def test_cancel_before_the_node_has_accepted(graph: Make, client: ReferPointClient) -> None:
    graph(pointer=scripted(tokens=1000, token_s=0.01))
    goal = client.send("the red mug")
    goal.cancel()
    with pytest.raises(CanceledError):
        goal.result(10.0)


def test_a_wait_that_is_too_short_leaves_the_goal_alive(
    graph: Make, client: ReferPointClient
) -> None:
    graph(pointer=scripted(tokens=30, token_s=0.02))
    goal = client.send("the red mug")
    with pytest.raises(DeadlineExceededError, match="goes on"):
        goal.result(0.05)
    assert goal.result(10.0).error_code == 0


def test_the_deadline_of_the_goal(graph: Make, client: ReferPointClient) -> None:
    graph(pointer=scripted(tokens=1000, token_s=0.01), frame_timeout_s=0.1)
    with pytest.raises(DeadlineExceededError):
        client.refer("the red mug", timeout_s=0.3)


def test_several_at_once_and_one_too_many(graph: Make, client: ReferPointClient) -> None:
    g = graph(pointer=scripted(tokens=20, token_s=0.01), max_queued_goals=1)
    first = client.send("one")
    assert g.pointer.running.wait(10.0)
    second = client.send("two")
    wait_until(lambda: g.node._server.queued == 1)
    with pytest.raises(QueueFullError, match="max_queued_goals"):
        client.send("three").result(10.0)
    assert first.result(10.0).error_code == second.result(10.0).error_code == 0
    assert g.pointer.calls == ["one", "two"]


def test_in_asyncio(graph: Make, client: ReferPointClient) -> None:
    graph()

    async def ask() -> Any:
        goals = [client.send(text) for text in ("one", "two")]
        return await asyncio.gather(*(asyncio.wrap_future(goal.future) for goal in goals))

    assert [result.error_code for result in asyncio.run(ask())] == [0, 0]


def test_blocking_call_in_a_callback_of_a_single_threaded_node(graph: Make, ros: Any) -> None:
    """The deadlock that action clients are known for: the client has its own thread."""
    graph()
    planner = ros.create_node("planner")
    client = ReferPointClient(node=planner)

    def on_call(_: Any, response: Any) -> Any:
        response.success = client.refer("the red mug").error_code == 0
        return response

    planner.create_service(Trigger, "plan", on_call)
    ros.spin(planner)
    caller = ros.create_node("caller")
    ros.spin(caller)
    service = caller.create_client(Trigger, "plan")
    assert service.wait_for_service(10.0)
    assert wait(service.call_async(Trigger.Request())).success
    client.close()


def test_no_node(ros: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("roborefer_ros.client._DISCOVERY_S", 0.3)
    with (
        ReferPointClient("/nobody/refer_point", node=ros.create_node("planner")) as client,
        pytest.raises(NodeInactiveError, match="/nobody/refer_point"),
    ):
        client.wait_for_server(0.1)
        client.send("the red mug")


def impatient(ros: Any, **seconds: float) -> ReferPointClient:
    """A client that gives up soon."""
    return ReferPointClient(node=ros.create_node("planner"), patience=Patience(**seconds))


def test_a_node_that_goes_away(graph: Make, ros: Any) -> None:
    """Waiting ends, although no result ever comes."""
    g = graph(pointer=scripted(tokens=2000, token_s=0.01), goal_timeout_s=30.0)
    with impatient(ros, gone_s=0.3) as client:
        goal = client.send("the red mug")
        assert g.pointer.running.wait(10.0)
        g.lose_server()
        with pytest.raises(ServerLostError, match="went away"):
            goal.result(20.0)


def test_a_node_that_was_replaced(graph: Make, ros: Any) -> None:
    """The new server has the name and services of the old one, and knows nothing of the goal."""
    g = graph(pointer=scripted(tokens=2000, token_s=0.01), goal_timeout_s=30.0)
    with impatient(ros, gone_s=0.3) as client:
        goal = client.send("the red mug")
        assert g.pointer.running.wait(10.0)
        other = ros.create_node("replacement")
        # Made before the old one is taken away, so that some server is in sight at any moment.
        server = ActionServer(other, ReferPoint, "/roborefer/refer_point", lambda _: None)
        wait_until(lambda: len(client._server_ids()) == 2)
        g.lose_server()
        with pytest.raises(ServerLostError, match="replaced"):
            goal.result(20.0)
        server.destroy()


def test_a_node_that_hangs(graph: Make, ros: Any) -> None:
    """It is there, and neither answers nor heeds its own deadline; asyncio does not wait either."""
    g = graph(pointer=scripted(tokens=2000, token_s=0.01), goal_timeout_s=30.0)
    with impatient(ros, grace_s=0.2) as client:
        goal = client.send("the red mug", timeout_s=0.2)
        assert g.pointer.running.wait(10.0)
        # What a model does that does not look at its deadline.
        for waiting in tuple(g.node._server._goals.values()):
            waiting.deadline += 60.0

        async def ask() -> Any:
            return await asyncio.wrap_future(goal.future)

        with pytest.raises(DeadlineExceededError):
            asyncio.run(asyncio.wait_for(ask(), 20.0))


def test_the_node_s_own_deadline_is_asked_for(graph: Make, ros: Any) -> None:
    """A goal without a timeout may take as long as the node allows, and no longer."""
    g = graph(pointer=scripted(tokens=2000, token_s=0.01), goal_timeout_s=30.0)
    with impatient(ros, default_timeout_s=0.5, grace_s=0.0, ask_again_s=0.1) as client:
        client.wait_for_server()
        assert client._parameters.wait_for_service(10.0)
        wait_until(lambda: client._timeout_of_the_node() == 30.0)
        goal = client.send("the red mug")
        assert g.pointer.running.wait(10.0)
        with pytest.raises(DeadlineExceededError, match="goes on"):
            goal.result(1.5)
        goal.cancel()


def test_replies_wait_for_a_busy_client(graph: Make, ros: Any) -> None:
    """More than rclpy's ten: those that come while the client's thread is held up are kept."""
    g = graph(max_queued_goals=100)
    held, release = threading.Event(), threading.Event()

    def hold() -> None:
        held.set()
        release.wait(60.0)

    with impatient(ros, accept_s=5.0) as client:
        client.wait_for_server()
        goals = [client.send(str(number)) for number in range(40)]
        client._executor.create_task(hold)
        assert held.wait(20.0)
        # All forty have been sent: they were before the task that holds the thread.
        wait_until(lambda: len(g.pointer.calls) == 40, 60.0)
        release.set()
        assert [goal.result(60.0).error_code for goal in goals] == [0] * 40


def test_requests_wait_for_a_busy_node(graph: Make, ros: Any) -> None:
    """The same on the node's side: its protocol may be held up by one client's goal."""
    g = graph(max_queued_goals=100)
    release = threading.Event()
    is_full = g.node._server._is_full
    g.node._server._is_full = lambda: not release.wait(60.0) or is_full()
    with impatient(ros, accept_s=30.0) as client:
        client.wait_for_server()
        goals = [client.send(str(number)) for number in range(40)]
        sent = threading.Event()
        client._executor.create_task(sent.set)
        assert sent.wait(20.0)
        release.set()
        assert [goal.result(60.0).error_code for goal in goals] == [0] * 40


def test_closing_ends_what_waits(graph: Make, ros: Any) -> None:
    g = graph(pointer=scripted(tokens=1000, token_s=0.01))
    client = ReferPointClient(node=ros.create_node("planner"))
    goal = client.send("the red mug")
    assert g.pointer.running.wait(10.0)
    failure: list[BaseException] = []

    def wait_for_it() -> None:
        try:
            goal.result()
        except NodeInactiveError as error:
            failure.append(error)

    thread = threading.Thread(target=wait_for_it)
    thread.start()
    time.sleep(0.1)
    client.close()
    thread.join(5.0)
    assert not thread.is_alive()
    assert "closed" in str(failure[0])
    wait_until(lambda: not g.pointer.running.is_set())


def test_a_failing_feedback_callback_does_not_end_the_client(
    graph: Make, client: ReferPointClient
) -> None:
    graph(pointer=scripted(tokens=20, token_s=0.01))

    def fail(_: Any) -> None:
        raise RuntimeError("a bug of the user's")

    assert client.refer("the red mug", on_feedback=fail).error_code == 0
    assert client.refer("the red mug").error_code == 0


def test_without_a_context_of_its_own_it_makes_one(ros_domain_id: int) -> None:
    assert not rclpy.ok()
    client = ReferPointClient("/nobody/refer_point")
    assert isinstance(client._own_context, Context)
    assert client._own_context.ok()
    assert not client.is_server_ready()
    client.close()
    assert not client._own_context.ok()


def test_the_example_asks_a_node(graph: Callable[..., Graph]) -> None:
    """It prints the pose and says by its status whether that can be acted on."""
    graph(camera=True)
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / "ask_once.py"), "the red mug"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert "confidence" in done.stdout
