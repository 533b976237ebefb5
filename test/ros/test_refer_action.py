# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The action from outside: results, feedback, queue, cancel, deadline."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from refer_graph import (
    CAMERA_FRAME,
    FOCAL,
    HEIGHT,
    WALL_M,
    WIDTH,
    Graph,
    ScriptedPointer,
)

from roborefer_ros.nodes.interfaces import ReferPoint

Result = ReferPoint.Result


@pytest.fixture
def graph(ros: Any) -> Iterator[Callable[..., Graph]]:
    """Makes graphs and ends them."""
    made: list[Graph] = []

    def make(**kwargs: Any) -> Graph:
        made.append(Graph(ros, **kwargs))
        return made[-1]

    yield make
    for one in made:
        one.close()


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
    assert result.answer and g.pointer.calls[0][0] == "the red mug"
