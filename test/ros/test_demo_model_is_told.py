# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The bundled network says what it is: in the points, the result, diagnostics and RViz."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from refer_graph import (
    Graph,
    ScriptedPointer,
    graph_fixture,  # noqa: F401
    wait_until,
)
from visualization_msgs.msg import Marker, MarkerArray

from roborefer_ros.nodes.interfaces import ReferPoint
from roborefer_ros.pipeline import ReferPipeline
from roborefer_ros.pointing.prediction import Prediction

Make = Callable[..., Graph]
Result = ReferPoint.Result


class BehindServer(ScriptedPointer):
    """A pointer whose server names its model."""

    model = "roborefer:demo"

    def point(self, *args: Any, **kwargs: Any) -> Prediction:
        return replace(super().point(*args, **kwargs), model=self.model)


def here(pointer: ScriptedPointer) -> ReferPipeline:
    return ReferPipeline(pointer, is_demo=True)


@pytest.mark.parametrize(
    ("pointer", "pipeline", "is_demo"),
    [
        (ScriptedPointer, here, True),
        (BehindServer, ReferPipeline, True),
        (ScriptedPointer, ReferPipeline, False),
    ],
)
def test_answers_of_the_bundled_network_are_told_apart(
    graph: Make,
    pointer: Callable[[], ScriptedPointer],
    pipeline: Callable[[ScriptedPointer], ReferPipeline],
    is_demo: bool,
) -> None:
    one = pointer()
    g = graph(pointer=one, open_model=lambda _: pipeline(one), diagnostics_period_s=0.1)
    seen: list[MarkerArray] = []
    states: list[DiagnosticStatus] = []

    def take(msg: DiagnosticArray) -> None:
        states.extend(status for status in msg.status if status.hardware_id == "model")

    g.client_node.create_subscription(MarkerArray, "/roborefer/markers", seen.append, 5)
    g.client_node.create_subscription(DiagnosticArray, "/diagnostics", take, 5)
    wait_until(lambda: g.node.count_subscribers("/roborefer/markers") > 0)
    result = g.refer()
    assert result.error_code == 0, result.error_msg
    assert bool(result.warnings & Result.WARNING_DEMO_MODEL) == is_demo
    assert all(bool(p.flags & p.FLAG_DEMO_MODEL) == is_demo for p in result.points)
    wait_until(lambda: bool(seen))
    (text,) = [m.text for m in seen[-1].markers if m.type == Marker.TEXT_VIEW_FACING]
    assert ("DEMO MODEL" in text) == is_demo
    level = DiagnosticStatus.WARN if is_demo else DiagnosticStatus.OK
    wait_until(lambda: bool(states) and states[-1].level == level)
    assert ("demonstration" in states[-1].message) == is_demo
