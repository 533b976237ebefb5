# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""What Humble's rclpy lacks: facts of its branch, played by taking them from the one at hand."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import rclpy
from rclpy.node import Node
from rclpy.parameter import Parameter
from refer_graph import Graph, graph_fixture  # noqa: F401

from roborefer_ros.nodes import camera_subscriber
from roborefer_ros.nodes.parameters import Parameters


@pytest.fixture
def humble(monkeypatch: pytest.MonkeyPatch) -> None:
    """No callback after parameters were set; callbacks of one argument."""
    monkeypatch.delattr(Node, "add_post_set_parameters_callback")
    monkeypatch.setattr(camera_subscriber, "TELLS_ARRIVAL", False)


def test_goals_are_answered(humble: None, graph: Callable[..., Graph]) -> None:
    result = graph().refer()
    assert result.error_code == 0, result.error_msg


def test_a_change_of_a_parameter_is_seen(humble: None) -> None:
    context = rclpy.Context()
    rclpy.init(context=context)
    node = Node("humble", context=context)
    try:
        values = Parameters(node)
        before = values.options().frame_timeout_s
        node.set_parameters([Parameter("frame_timeout_s", value=before + 1.0)])
        assert values.options().frame_timeout_s == before + 1.0
    finally:
        node.destroy_node()
        rclpy.shutdown(context=context)
