# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""For tools that run beside the graph: the camera's newest frame, the state of a managed node.

The node itself uses ``camera_subscriber.py``, which does far more; this one just looks.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import rclpy
from lifecycle_msgs.srv import GetState
from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import SetParameters
from rclpy.client import Client
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import CameraInfo, Image

from roborefer_ros.nodes.conversions import frame_from_messages, stamp_ns
from roborefer_ros.nodes.process import spin_through_failures
from roborefer_ros.types import RGBDFrame

_TOPICS = (("rgb/image", Image), ("depth/image", Image), ("rgb/camera_info", CameraInfo))


class CameraMonitor:
    """Keeps the newest complete frame of a camera.

    Args:
        camera: full name of the camera node.
        topics: ``rgb/image``, ``depth/image`` and ``rgb/camera_info`` -> topic.
    """

    def __init__(self, camera: str, topics: Mapping[str, str]) -> None:
        self._context = Context()
        rclpy.init(context=self._context)
        self._node = Node(
            f"camera_view_{os.getpid()}",
            context=self._context,
            use_global_arguments=False,
            enable_rosout=False,
            start_parameter_services=False,
        )
        self._lock = threading.Lock()
        self._newest: dict[str, Any] = {}
        self._complete: tuple[Any, ...] | None = None
        self._not_before_ns = 0
        for name, kind in _TOPICS:
            self._node.create_subscription(
                kind, topics[name], self._receiver(name), qos_profile_sensor_data
            )
        self._set_parameters: Client[Any, Any] = self._node.create_client(
            SetParameters, f"{camera}/set_parameters"
        )
        self._get_state: dict[str, Client[Any, Any]] = {}
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)
        self._thread = threading.Thread(
            target=spin_through_failures,
            args=(self._executor.spin, self._node.get_logger()),
            name="camera_view",
            daemon=True,
        )
        self._thread.start()

    def has_frame(self) -> bool:
        """Whether a complete frame of the present scene has come."""
        return self._complete is not None

    def frame(self) -> RGBDFrame:
        """The newest complete frame; there must be one (see ``has_frame``)."""
        with self._lock:
            assert self._complete is not None, "no frame has come yet"
            rgb, depth, info = self._complete
        return frame_from_messages(rgb, depth, info)

    def set_scene(self, number: int, timeout_s: float = 30.0) -> bool:
        """Set the parameter ``scene`` of a simulated camera; earlier frames are forgotten."""
        value = ParameterValue(type=ParameterType.PARAMETER_INTEGER, integer_value=number)
        request = SetParameters.Request(parameters=[Parameter(name="scene", value=value)])
        reply = self._call(self._set_parameters, request, timeout_s)
        with self._lock:
            self._newest.clear()
            self._complete = None
            # What was on its way when the reply came shows the old scene.
            self._not_before_ns = self._node.get_clock().now().nanoseconds
        return reply is not None and bool(reply.results[0].successful)

    def state_of(self, node: str, timeout_s: float = 2.0) -> str:
        """Lifecycle state of a managed node; "" where it does not tell."""
        if node not in self._get_state:
            self._get_state[node] = self._node.create_client(GetState, f"{node}/get_state")
        reply = self._call(self._get_state[node], GetState.Request(), timeout_s)
        return str(reply.current_state.label) if reply is not None else ""

    def close(self) -> None:
        """End the thread."""
        self._executor.shutdown(timeout_sec=5.0)
        self._thread.join(5.0)
        self._node.destroy_node()
        self._context.try_shutdown()

    def _call(self, client: Client[Any, Any], request: Any, timeout_s: float) -> Any:
        """Call a service from outside of the executor; None without an answer in time."""
        give_up_s = time.monotonic() + timeout_s
        while not client.service_is_ready():
            if time.monotonic() > give_up_s:
                return None
            time.sleep(0.02)
        done = threading.Event()
        future = client.call_async(request)
        future.add_done_callback(lambda _: done.set())
        return future.result() if done.wait(max(0.0, give_up_s - time.monotonic())) else None

    def _receiver(self, name: str) -> Callable[[Any], None]:
        def receive(message: Any) -> None:
            if stamp_ns(message.header.stamp) < self._not_before_ns:
                return
            with self._lock:
                self._newest[name] = message
                parts = [self._newest.get(topic) for topic, _ in _TOPICS]
                stamps = {stamp_ns(p.header.stamp) for p in parts if p is not None}
                if None not in parts and len(stamps) == 1:
                    self._complete = tuple(parts)

        return receive
