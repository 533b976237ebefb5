# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The action from outside: results, feedback, queue, cancel, deadline."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from action_msgs.msg import GoalStatus
from refer_graph import (
    CAMERA_FRAME,
    FOCAL,
    HEIGHT,
    WALL_M,
    WIDTH,
    Graph,
    ScriptedPointer,
    graph_fixture,  # noqa: F401
    wait,
    wait_until,
)
from std_msgs.msg import String

from roborefer_ros.nodes.interfaces import ReferPoint

Result = ReferPoint.Result


def test_a_goal_gives_a_pose(graph: Callable[..., Graph]) -> None:
    """Camera -> model -> pose, in the camera's frame, with the image's stamp."""
    g = graph(pointer=ScriptedPointer(((0.75, 0.5), (0.25, 0.5))))
    before_ns = g.node.get_clock().now().nanoseconds
    result = g.refer("the red mug")
    assert result.error_code == Result.NONE, result.error_msg
    assert len(result.points) == 2
    assert result.pose == result.points[0].pose
    assert result.pose.header.frame_id == CAMERA_FRAME
    assert result.pose.header.stamp == result.image_stamp
    stamp_ns = result.image_stamp.sec * 1_000_000_000 + result.image_stamp.nanosec
    assert abs(stamp_ns - before_ns) < 1e9
    u = 0.75 * WIDTH - 0.5
    assert result.points[0].u == pytest.approx(u)
    position = result.pose.pose.position
    assert position.x == pytest.approx((u - (WIDTH - 1) / 2) / FOCAL * WALL_M, abs=0.002)
    assert position.y == pytest.approx(((0.5 * HEIGHT - 0.5) - (HEIGHT - 1) / 2) / FOCAL, abs=0.002)
    assert position.z == pytest.approx(WALL_M, abs=0.002)
    stages = {t.stage for t in result.timings}
    assert {"queue", "wait_frame", "convert", "decode", "lift", "transform", "total"} <= stages
    assert result.answer
    assert g.pointer.calls[0] == "the red mug"


def slow_pointer(seconds: float = 10.0) -> ScriptedPointer:
    """Decodes a token every 10 ms."""
    pointer = ScriptedPointer()
    pointer.tokens, pointer.token_s = round(seconds * 100), 0.01
    return pointer


def cancel(handle: Any) -> int:
    """Cancel; returns how many goals are being cancelled."""
    return len(wait(handle.cancel_goal_async()).goals_canceling)


def test_fields_of_the_goal_reach_the_model(graph: Callable[..., Graph]) -> None:
    """Mode and max_points; blanks around the instruction go."""
    g = graph(
        pointer=ScriptedPointer(((0.2, 0.5), (0.5, 0.5), (0.8, 0.5))), placing_without_up="flag"
    )
    goal = {"mode": ReferPoint.Goal.MODE_FREE_SPACE, "max_points": 2}
    result = g.refer("  beside the plate ", **goal)
    assert result.error_code == 0, result.error_msg
    assert g.pointer.calls == ["beside the plate"]
    assert result.mode == ReferPoint.Goal.MODE_FREE_SPACE
    assert len(result.points) == 2


def test_feedback_tells_the_stages_and_the_text(graph: Callable[..., Graph]) -> None:
    """Stages come in order; the text grows."""
    g = graph(pointer=slow_pointer(0.5))
    assert g.refer().error_code == 0
    states = [f.state for f in g.feedback]
    assert states == sorted(states)
    feedback = ReferPoint.Feedback
    assert feedback.INFERRING in states  # the others were over before anybody could wonder
    texts = [f.partial_answer for f in g.feedback if f.partial_answer]
    assert len(texts) >= 3
    assert len(texts[-1]) > len(texts[0])
    assert len(g.feedback) < 20  # throttled: 50 tokens
    elapsed = [f.elapsed for f in g.feedback]
    assert elapsed == sorted(elapsed)


def test_goals_wait_in_order_and_the_queue_is_bounded(graph: Callable[..., Graph]) -> None:
    """One runs, max_queued_goals wait, the next is rejected; all accepted ones are answered."""
    g = graph(pointer=slow_pointer(0.4), max_queued_goals=2)
    first = g.send("1")
    wait_until(g.pointer.running.is_set)
    others = [g.send("2"), g.send("3")]
    rejected = g.send("4")
    assert first.accepted
    assert all(h.accepted for h in others)
    assert not rejected.accepted
    assert g.node._statistics.last_code == ReferPoint.Result.QUEUE_FULL
    for handle in (first, *others):
        answer = g.result_of(handle)
        assert answer.status == GoalStatus.STATUS_SUCCEEDED
    assert g.pointer.calls == ["1", "2", "3"]
    assert g.send("5").accepted


def test_no_queue_at_all(graph: Callable[..., Graph]) -> None:
    """max_queued_goals = 0: one at a time."""
    g = graph(pointer=slow_pointer(0.5), max_queued_goals=0)
    first = g.send("1")
    assert first.accepted
    wait_until(g.pointer.running.is_set)
    assert not g.send("2").accepted
    assert g.result_of(first).status == GoalStatus.STATUS_SUCCEEDED


def test_cancel_inside_token_generation(
    graph: Callable[..., Graph], capfd: pytest.CaptureFixture[str]
) -> None:
    """It stops between tokens, is no bug for the log, and the next goal is answered."""
    g = graph(pointer=slow_pointer(10.0))
    handle = g.send()
    wait_until(g.pointer.running.is_set)
    started = time.monotonic()
    assert cancel(handle) == 1
    answer = g.result_of(handle)
    assert time.monotonic() - started < 8.0  # the answer would take 10 s
    assert answer.status == GoalStatus.STATUS_CANCELED
    assert answer.result.error_code == Result.CANCELED
    assert answer.result.error_msg
    g.pointer.tokens = 1
    assert g.refer().error_code == 0
    assert "Traceback" not in capfd.readouterr().err


def test_cancel_while_queued(graph: Callable[..., Graph]) -> None:
    """It ends at once, not after the goal before it."""
    g = graph(pointer=slow_pointer(10.0))
    running = g.send("1")
    wait_until(g.pointer.running.is_set)
    queued = g.send("2")
    assert cancel(queued) == 1
    answer = g.result_of(queued, 2.0)
    assert answer.status == GoalStatus.STATUS_CANCELED
    assert answer.result.error_code == Result.CANCELED
    assert g.pointer.running.is_set()
    cancel(running)
    assert g.result_of(running).status == GoalStatus.STATUS_CANCELED
    assert len(g.pointer.calls) == 1


def test_cancel_while_waiting_for_a_frame(graph: Callable[..., Graph]) -> None:
    """Also the wait for the camera is given up."""
    g = graph(camera=False, frame_timeout_s=9.0)
    handle = g.send()
    wait_until(lambda: bool(g.feedback))
    assert cancel(handle) == 1
    answer = g.result_of(handle, 2.0)
    assert answer.status == GoalStatus.STATUS_CANCELED
    assert answer.result.error_code == Result.CANCELED


def test_cancel_while_waiting_for_a_transform(graph: Callable[..., Graph]) -> None:
    """Also the wait for TF is given up; the model's text is in the result."""
    g = graph(transform_timeout_s=9.0, target_frame_is_upright=False)
    handle = g.send(target_frame="nowhere")
    wait_until(lambda: any(f.state == ReferPoint.Feedback.TRANSFORMING for f in g.feedback))
    assert cancel(handle) == 1
    assert g.result_of(handle, 2.0).status == GoalStatus.STATUS_CANCELED


def test_cancel_after_the_result_changes_nothing(graph: Callable[..., Graph]) -> None:
    """The result stands."""
    g = graph()
    handle = g.send()
    assert g.result_of(handle).status == GoalStatus.STATUS_SUCCEEDED
    assert cancel(handle) == 0
    assert g.result_of(handle).status == GoalStatus.STATUS_SUCCEEDED


def test_cancel_races_with_the_end(graph: Callable[..., Graph]) -> None:
    """Whenever the cancel comes, there is one terminal state and a result that agrees with it."""
    g = graph(pointer=slow_pointer(0.05))
    seen = set()
    for number in range(24):
        handle = g.send(str(number))
        time.sleep(0.004 * number)
        future = handle.cancel_goal_async()
        answer = g.result_of(handle)
        wait(future)
        seen.add(answer.status)
        if answer.status == GoalStatus.STATUS_CANCELED:
            assert answer.result.error_code == Result.CANCELED
        else:
            assert answer.status == GoalStatus.STATUS_SUCCEEDED
            assert answer.result.error_code == 0
            assert answer.result.points
    assert seen == {GoalStatus.STATUS_CANCELED, GoalStatus.STATUS_SUCCEEDED}


def test_deadline_inside_token_generation(graph: Callable[..., Graph]) -> None:
    """The goal's timeout ends it."""
    g = graph(pointer=slow_pointer(10.0))
    started = time.monotonic()
    answer = g.result_of(g.send(timeout=0.4))
    assert 0.35 < time.monotonic() - started < 1.5
    assert answer.status == GoalStatus.STATUS_ABORTED
    assert answer.result.error_code == Result.DEADLINE_EXCEEDED


def test_deadline_of_the_parameter_and_in_the_queue(graph: Callable[..., Graph]) -> None:
    """goal_timeout_s counts where the goal names none, also while it waits."""
    g = graph(pointer=slow_pointer(10.0), goal_timeout_s=0.5, frame_timeout_s=0.5)
    running = g.send("1", timeout=5.0)
    wait_until(g.pointer.running.is_set)
    started = time.monotonic()
    queued = g.result_of(g.send("2"), 2.0)
    assert time.monotonic() - started < 1.5
    assert queued.status == GoalStatus.STATUS_ABORTED
    assert queued.result.error_code == Result.DEADLINE_EXCEEDED
    assert g.pointer.running.is_set()
    cancel(running)
    g.result_of(running)


def test_deactivating_ends_running_and_waiting_goals(graph: Callable[..., Graph]) -> None:
    """All get SHUTTING_DOWN; afterwards goals get NODE_INACTIVE."""
    g = graph(pointer=slow_pointer(10.0))
    handles = [g.send("1"), g.send("2")]
    # Accepted is not yet queued: a client may know of it before the node has gone on.
    wait_until(lambda: g.pointer.running.is_set() and g.node._server.queued == 1)
    g.node.trigger_deactivate()
    for handle in handles:
        answer = g.result_of(handle, 3.0)
        assert answer.status == GoalStatus.STATUS_ABORTED
        assert answer.result.error_code == Result.SHUTTING_DOWN
    assert g.refer().error_code == Result.NODE_INACTIVE


def test_nothing_slips_in_while_the_node_deactivates(graph: Callable[..., Graph]) -> None:
    """Goals sent from the side during the transition end at once, whatever they meet."""
    g = graph(pointer=slow_pointer(10.0))
    first = g.send("1")
    wait_until(g.pointer.running.is_set)
    sender = threading.Thread(target=lambda: handles.extend(g.send(str(i)) for i in range(4)))
    handles: list[Any] = []
    sender.start()
    g.node.trigger_deactivate()
    sender.join()
    codes = {g.result_of(h, 3.0).result.error_code for h in [first, *handles] if h.accepted}
    assert codes <= {Result.SHUTTING_DOWN, Result.NODE_INACTIVE}
    assert not g.node._server.is_busy


def test_an_instruction_by_topic_is_answered_on_topics(graph: Callable[..., Graph]) -> None:
    """A speech front end publishes a String."""
    g = graph()
    publisher = g.client_node.create_publisher(String, "/roborefer/instruction", 1)
    wait_until(lambda: publisher.get_subscription_count() == 1)
    publisher.publish(String(data="the green box"))
    wait_until(lambda: g.node._statistics.succeeded == 1)
    assert g.pointer.calls[0] == "the green box"


def test_an_instruction_by_topic_that_finds_the_queue_full(
    graph: Callable[..., Graph], capfd: Any
) -> None:
    """Nobody gets a result, so the log says which one was dropped and why."""
    g = graph(pointer=slow_pointer(0.5), max_queued_goals=0)
    publisher = g.client_node.create_publisher(String, "/roborefer/instruction", 5)
    wait_until(lambda: publisher.get_subscription_count() == 1)
    publisher.publish(String(data="the green box"))
    wait_until(g.pointer.running.is_set)
    publisher.publish(String(data="the white plate"))
    wait_until(lambda: g.node._statistics.succeeded == 1)
    text = "".join(capfd.readouterr())
    assert f"rejected 'the white plate': error {ReferPoint.Result.QUEUE_FULL}" in text


def test_a_client_that_vanishes_leaves_the_node_alive(graph: Callable[..., Graph]) -> None:
    """Its goal runs to its end; the next client is answered."""
    g = graph(pointer=slow_pointer(0.4))
    other = g.ros.create_node("vanishing")
    executor = g.ros.spin(other)
    from rclpy.action import ActionClient

    client = ActionClient(other, ReferPoint, "/roborefer/refer_point")
    assert client.wait_for_server(5.0)
    wait(client.send_goal_async(ReferPoint.Goal(instruction="gone")))
    wait_until(g.pointer.running.is_set)
    client.destroy()
    executor.remove_node(other)
    assert g.refer("the mug").error_code == 0
    assert len(g.pointer.calls) == 2


def test_many_goals_do_not_grow(graph: Callable[..., Graph]) -> None:
    """Memory after 60 more goals is that after the first 20, within noise."""
    g = graph()

    def resident_mb() -> float:
        with open("/proc/self/statm") as statm:
            return int(statm.read().split()[1]) * 4096 / 1e6

    for _ in range(20):
        assert g.refer().error_code == 0
    before = resident_mb()
    for _ in range(60):
        assert g.refer().error_code == 0
    assert resident_mb() - before < 6.0
    assert not g.node._server._goals
    assert g.node._server.queued == 0
