# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Nodes beside a node, for busy topics.

rclpy builds the wait set anew for whatever arrives, so a topic that comes often costs in
proportion to everything else in its executor.  Camera and transforms get nodes, executors and
threads of their own, with little else in them.
"""

from __future__ import annotations

import threading
import traceback
from collections.abc import Sequence

from rclpy.executors import ExternalShutdownException, ShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter


def create_side_node(parent: Node, suffix: str, absolute_topics: Sequence[str] = ()) -> Node:
    """A bare node called ``<parent>_<suffix>`` with the parent's namespace, context and clock.

    Args:
        parent: Node whose remappings hold for ``absolute_topics``, too.
        suffix: Ending of the node's name.
        absolute_topics: names that code out of our hands subscribes to, as "/tf".
    """
    # Remapping rules that rename the parent would rename this node too: no global arguments.
    remaps = [f"{topic}:={parent.resolve_topic_name(topic)}" for topic in absolute_topics]
    arguments = [word for remap in remaps for word in ("-r", remap)]
    return Node(
        f"{parent.get_name()}_{suffix}",
        namespace=parent.get_namespace(),
        context=parent.context,
        cli_args=["--ros-args", *arguments] if arguments else None,
        use_global_arguments=False,
        start_parameter_services=False,
        enable_rosout=False,
        parameter_overrides=[
            Parameter("use_sim_time", value=parent.get_parameter("use_sim_time").value)
        ],
    )


class SpinThread:
    """Spins one node in a thread of its own until ``close``, which destroys the node."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._closing = False
        self._executor = SingleThreadedExecutor(context=node.context)
        self._executor.add_node(node)
        self._thread = threading.Thread(target=self._run, name=node.get_name(), daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._closing:
            try:
                self._executor.spin_once(timeout_sec=1.0)
            except (ExternalShutdownException, ShutdownException):
                break
            except Exception:  # of a callback: one bad message must not end the thread
                if self._closing or not self._node.context.ok():
                    break
                self._node.get_logger().error(
                    f"a callback failed:\n{traceback.format_exc()}", throttle_duration_sec=5.0
                )

    def close(self) -> None:
        """Join the thread, then destroy the node."""
        self._closing = True
        self._executor.wake()
        self._thread.join()
        self._executor.remove_node(self._node)
        self._executor.shutdown()
        self._node.destroy_node()
