# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The listener of /tf in a node of its own: remappings, bad messages, end."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest

rclpy = pytest.importorskip("rclpy")

from geometry_msgs.msg import TransformStamped  # noqa: E402
from rclpy.qos import DurabilityPolicy, QoSProfile  # noqa: E402
from tf2_msgs.msg import TFMessage  # noqa: E402

from roborefer_ros.errors import TransformUnavailableError  # noqa: E402
from roborefer_ros.nodes.transforms import Transforms  # noqa: E402

LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)


def transform(child: str, x: float) -> TransformStamped:
    made = TransformStamped()
    made.header.frame_id, made.child_frame_id = "base_link", child
    made.transform.translation.x, made.transform.rotation.w = x, 1.0
    return made


def test_remapped_topics_of_a_namespaced_robot(ros: Any) -> None:
    remap = ["--ros-args", "-r", "/tf_static:=/robot1/tf_static", "-r", "/tf:=/robot1/tf"]
    listener = ros.create_node("listener", cli_args=remap)
    sender = ros.create_node("sender")
    transforms = Transforms(listener)
    publisher = sender.create_publisher(TFMessage, "/robot1/tf_static", LATCHED)
    publisher.publish(TFMessage(transforms=[transform("camera", 0.25)]))
    found = transforms.lookup("base_link", "camera", 0, timeout_s=5.0)
    np.testing.assert_allclose(found[:3, 3], [0.25, 0.0, 0.0])
    transforms.close()


def test_a_transform_of_no_rotation_does_not_end_the_listener(ros: Any) -> None:
    sender = ros.create_node("sender")
    transforms = Transforms(ros.create_node("listener"))
    publisher = sender.create_publisher(TFMessage, "/tf_static", LATCHED)
    bad = transform("bad", float("nan"))
    bad.transform.rotation.w = 0.0
    publisher.publish(TFMessage(transforms=[bad]))
    with pytest.raises(TransformUnavailableError):
        transforms.lookup("base_link", "elsewhere", 0, timeout_s=0.3)
    publisher.publish(TFMessage(transforms=[transform("camera", 0.5)]))
    found = transforms.lookup("base_link", "camera", 0, timeout_s=5.0)
    assert found[0, 3] == 0.5
    transforms.close()


def test_close_ends_the_thread_and_the_node(ros: Any) -> None:
    listener = ros.create_node("listener")
    before = threading.active_count()
    transforms = Transforms(listener)
    assert "listener_transforms" in {t.name for t in threading.enumerate()}
    transforms.close()
    assert threading.active_count() == before
