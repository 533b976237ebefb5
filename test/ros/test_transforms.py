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
from refer_graph import wait_until  # noqa: E402
from tf2_msgs.msg import TFMessage  # noqa: E402

from roborefer_ros.errors import InvalidTransformError, TransformUnavailableError  # noqa: E402
from roborefer_ros.nodes.transforms import (  # noqa: E402
    Transforms,
    body_frame_warning,
    matrix_of,
)

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


IMPOSSIBLE = {
    "NaN": ((0.0, 0.0, 0.0), (0.0, 0.0, float("nan"), 1.0)),
    "zero": ((0.0, 0.0, 0.0), (0.0, 0.0, 0.0, 0.0)),
    "1.41421e+300": ((0.0, 0.0, 0.0), (0.0, 0.0, 1e300, 1e300)),
    "length 0.5": ((0.0, 0.0, 0.0), (0.0, 0.0, 0.0, 0.5)),
    "inf": ((float("inf"), 0.0, 0.0), (0.0, 0.0, 0.0, 1.0)),
    "1e+200": ((0.0, 1e200, 0.0), (0.0, 0.0, 0.0, 1.0)),
}


def spoilt(child: str, words: str) -> TransformStamped:
    """A transform with the numbers that ``words`` of its error name."""
    made = transform(child, 0.0)
    translation, rotation = IMPOSSIBLE[words]
    t, r = made.transform.translation, made.transform.rotation
    t.x, t.y, t.z = translation
    r.x, r.y, r.z, r.w = rotation
    return made


@pytest.mark.parametrize("words", IMPOSSIBLE)
@pytest.mark.parametrize("topic", ["/tf", "/tf_static"])
def test_impossible_transforms_are_told_with_their_numbers(
    ros: Any, words: str, topic: str
) -> None:
    """Not "frame does not exist"; and a good one that follows is used."""
    sender = ros.create_node("sender")
    transforms = Transforms(ros.create_node("listener"))
    qos = LATCHED if topic == "/tf_static" else 10
    publisher = sender.create_publisher(TFMessage, topic, qos)
    wait_until(lambda: publisher.get_subscription_count() > 0)
    tip = transform("tip", 0.1)
    tip.header.frame_id = "camera"
    publisher.publish(TFMessage(transforms=[tip, spoilt("camera", words)]))

    def told() -> bool:
        with pytest.raises((InvalidTransformError, TransformUnavailableError)) as error:
            transforms.lookup("base_link", "/tip", 0, timeout_s=0.0)
        return words in str(error.value) and error.type is InvalidTransformError

    wait_until(told)
    publisher.publish(TFMessage(transforms=[tip, transform("camera", 0.5)]))
    found = transforms.lookup("/base_link", "tip", 0, timeout_s=5.0)
    assert found[0, 3] == pytest.approx(0.6)
    transforms.close()


@pytest.mark.parametrize("words", IMPOSSIBLE)
def test_no_matrix_is_made_of_impossible_numbers(words: str) -> None:
    with pytest.raises(InvalidTransformError, match="base_link"):
        matrix_of(spoilt("camera", words))


def test_a_negative_stamp_takes_no_other_transform_along(ros: Any) -> None:
    sender = ros.create_node("sender")
    transforms = Transforms(ros.create_node("listener"))
    publisher = sender.create_publisher(TFMessage, "/tf_static", LATCHED)
    early = transform("early", 0.1)
    early.header.stamp.sec = -5
    publisher.publish(TFMessage(transforms=[early, transform("camera", 0.5)]))
    assert transforms.lookup("base_link", "camera", 0, timeout_s=5.0)[0, 3] == 0.5
    with pytest.raises(InvalidTransformError, match="negative"):
        transforms.lookup("base_link", "early", 0, timeout_s=0.0)
    transforms.close()


def turned(x_axis: Any, y_axis: Any) -> Any:
    """A pose with these axes."""
    pose = np.eye(4)
    pose[:3, :3] = np.column_stack((x_axis, y_axis, np.cross(x_axis, y_axis)))
    return pose


def test_images_in_a_body_frame_are_told_from_those_in_an_optical_one() -> None:
    down = np.radians(30.0)
    level = turned((1, 0, 0), (0, 1, 0))
    pitched = turned((np.cos(down), 0, -np.sin(down)), (0, 1, 0))
    optical = turned((0, -1, 0), (0, 0, -1))
    looking_down = turned((0, -1, 0), (-1, 0, 0))
    for body in (level, pitched):
        words = body_frame_warning("camera_link", "base_link", body)
        assert "'camera_link'" in words
        assert "optical frame" in words
        assert body_frame_warning("camera_optical_frame", "base_link", body) == ""
    for pose in (optical, looking_down):
        assert body_frame_warning("camera", "base_link", pose) == ""
