# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Bare rclpy, to compare the node with on the same machine at the same moment.

``BareSubscriber`` takes the camera's topics the way tutorials do and does nothing with them;
``BareServer`` answers every ``ReferPoint`` goal at once with an empty result.  The ``node_*``
benchmarks start them as processes: ``python -m benchmarks.node_bare --ros-args -p role:=server``.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import rclpy
from rclpy.action import ActionServer
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import CameraInfo, Image

from roborefer_ros.nodes.interfaces import ReferPoint

_TOPICS = (("rgb/image", Image), ("depth/image", Image), ("rgb/camera_info", CameraInfo))


class BareSubscriber:
    """Counts messages; prints the counts as JSON every second for the benchmark."""

    def __init__(self, node: Node) -> None:
        self._counts = dict.fromkeys((name for name, _ in _TOPICS), 0)
        for name, kind in _TOPICS:
            node.create_subscription(kind, name, self._counter(name), qos_profile_sensor_data)
        node.create_timer(1.0, lambda: print(json.dumps(self._counts), flush=True))

    def _counter(self, name: str) -> Any:
        def count(_: Any) -> None:
            self._counts[name] += 1

        return count


class BareServer:
    """The action's protocol and nothing else."""

    def __init__(self, node: Node) -> None:
        self._server: Any = ActionServer(node, ReferPoint, "~/refer_point", self._execute)

    @staticmethod
    def _execute(handle: Any) -> Any:
        handle.succeed()
        return ReferPoint.Result()


def main() -> int:
    """Run one of the two until SIGINT."""
    rclpy.init()
    node = Node("bare")
    role = node.declare_parameter("role", "subscriber").value
    part = {"subscriber": BareSubscriber, "server": BareServer}[str(role)](node)
    try:
        rclpy.spin(node)
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    finally:
        del part
        rclpy.try_shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
