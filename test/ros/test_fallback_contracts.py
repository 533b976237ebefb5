# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""What this package expects of cv_bridge, message_filters and tf2_ros.

Run against whichever is importable: the distribution's packages, else the fallbacks.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from geometry_msgs.msg import PointStamped, TransformStamped
from rclpy.duration import Duration
from rclpy.qos import qos_profile_sensor_data
from rclpy.time import Time
from sensor_msgs.msg import Image
from std_msgs.msg import Header, String

from roborefer_ros.ros_compat import cv_bridge, is_fallback, message_filters, tf2_ros

RNG = np.random.default_rng(0)
SECOND = 1_000_000_000


def wait_until(condition: Callable[[], bool], seconds: float = 5.0) -> bool:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)
    return condition()


# --- cv_bridge -------------------------------------------------------------------------

ENCODINGS = [
    ("mono8", np.uint8, 1),
    ("mono16", np.uint16, 1),
    ("rgb8", np.uint8, 3),
    ("bgr8", np.uint8, 3),
    ("rgba8", np.uint8, 4),
    ("bgra8", np.uint8, 4),
    ("16UC1", np.uint16, 1),
    ("32FC1", np.float32, 1),
]


def make_image(dtype: Any, channels: int) -> np.ndarray:
    shape = (5, 7) if channels == 1 else (5, 7, channels)
    return (RNG.random(shape) * 200).astype(dtype)


@pytest.mark.parametrize(("encoding", "dtype", "channels"), ENCODINGS)
def test_image_survives_the_round_trip(encoding: str, dtype: Any, channels: int) -> None:
    image = make_image(dtype, channels)
    header = Header(frame_id="camera")
    message = cv_bridge.CvBridge().cv2_to_imgmsg(image, encoding=encoding, header=header)
    assert (message.width, message.height, message.encoding) == (7, 5, encoding)
    assert message.step == 7 * image.itemsize * channels
    assert message.header.frame_id == "camera"
    back = cv_bridge.CvBridge().imgmsg_to_cv2(message)
    assert back.dtype == dtype
    np.testing.assert_array_equal(back, image)


@pytest.mark.parametrize(("encoding", "dtype", "channels"), ENCODINGS)
def test_row_padding_is_left_out(encoding: str, dtype: Any, channels: int) -> None:
    image = make_image(dtype, channels)
    rows = image.reshape(5, -1).view(np.uint8)
    padding = 4 * image.itemsize * channels  # whole pixels: the real package cannot do less
    message = Image(height=5, width=7, encoding=encoding, step=rows.shape[1] + padding)
    message.data = np.pad(rows, ((0, 0), (0, padding)), constant_values=255).tobytes()
    np.testing.assert_array_equal(cv_bridge.CvBridge().imgmsg_to_cv2(message), image)


def test_passthrough_names_the_type() -> None:
    message = cv_bridge.CvBridge().cv2_to_imgmsg(make_image(np.uint16, 1))
    assert message.encoding == "16UC1"


@pytest.mark.parametrize(
    ("source", "target", "expected"),
    [
        ("rgb8", "bgr8", [30, 20, 10]),
        ("rgb8", "rgba8", [10, 20, 30, 255]),
        ("bgr8", "rgb8", [30, 20, 10]),
        ("rgba8", "rgb8", [10, 20, 30]),
        ("bgra8", "rgb8", [30, 20, 10]),
        ("mono8", "rgb8", [10, 10, 10]),
        ("rgb8", "mono8", 18),  # 0.299 R + 0.587 G + 0.114 B
        ("mono8", "mono16", 2570),
        ("mono16", "mono8", 39),
    ],
)
def test_colours_are_converted(source: str, target: str, expected: Any) -> None:
    dtype, channels = next((d, c) for name, d, c in ENCODINGS if name == source)
    pixel = {"mono8": [10], "mono16": [10000]}.get(source, [10, 20, 30, 40])[:channels]
    image = np.full((2, 3, channels), pixel, dtype=dtype).squeeze()
    bridge = cv_bridge.CvBridge()
    result = bridge.imgmsg_to_cv2(
        bridge.cv2_to_imgmsg(image, encoding=source), desired_encoding=target
    )
    np.testing.assert_array_equal(result[0, 0], expected)


def test_depth_is_never_a_colour() -> None:
    bridge = cv_bridge.CvBridge()
    message = bridge.cv2_to_imgmsg(make_image(np.uint16, 1), encoding="16UC1")
    with pytest.raises(cv_bridge.CvBridgeError, match="not a color format"):
        bridge.imgmsg_to_cv2(message, desired_encoding="rgb8")


def test_wrong_type_for_the_encoding_is_refused() -> None:
    with pytest.raises(cv_bridge.CvBridgeError, match="incompatible type 8UC3"):
        cv_bridge.CvBridge().cv2_to_imgmsg(make_image(np.uint8, 3), encoding="16UC1")


def test_unknown_encoding_and_short_data_are_refused() -> None:
    bridge = cv_bridge.CvBridge()
    with pytest.raises(cv_bridge.CvBridgeError):
        bridge.imgmsg_to_cv2(Image(height=1, width=1, encoding="jpeg", step=3, data=[0, 0, 0]))
    with pytest.raises(TypeError):  # of which CvBridgeError is a kind
        bridge.imgmsg_to_cv2(Image(height=2, width=1, encoding="rgb8", step=3, data=[0, 0, 0]))


@pytest.mark.skipif(
    not is_fallback(cv_bridge), reason="cv_bridge on NumPy 2 fails on big-endian images"
)
@pytest.mark.parametrize("encoding", ["16UC1", "32FC1"])
def test_big_endian_images_are_read(encoding: str) -> None:
    dtype = {"16UC1": np.uint16, "32FC1": np.float32}[encoding]
    image = make_image(dtype, 1)
    message = Image(height=5, width=7, encoding=encoding, step=7 * image.itemsize, is_bigendian=1)
    message.data = image.astype(image.dtype.newbyteorder(">")).tobytes()
    back = cv_bridge.CvBridge().imgmsg_to_cv2(message)
    assert back.dtype == dtype
    np.testing.assert_array_equal(back, image)


# --- message_filters -------------------------------------------------------------------


def stamped(seconds: float) -> PointStamped:
    message = PointStamped()
    message.header.stamp = Time(nanoseconds=round(seconds * SECOND)).to_msg()
    message.point.x = seconds
    return message


class Inputs:
    """Filters fed by hand, and what came out of the synchroniser."""

    def __init__(self, count: int) -> None:
        self.filters = [message_filters.SimpleFilter() for _ in range(count)]
        self.groups: list[tuple[float, ...]] = []

    def receive(self, *messages: PointStamped) -> None:
        self.groups.append(tuple(round(m.point.x, 6) for m in messages))

    def feed(self, *arrivals: tuple[int, float]) -> list[tuple[float, ...]]:
        for index, seconds in arrivals:
            self.filters[index].signalMessage(stamped(seconds))
        return self.groups


def approximate(count: int = 2, queue_size: int = 5, slop: float = 0.1) -> Inputs:
    inputs = Inputs(count)
    sync = message_filters.ApproximateTimeSynchronizer(inputs.filters, queue_size, slop)
    sync.registerCallback(inputs.receive)
    return inputs


def test_exact_stamps_are_grouped() -> None:
    inputs = Inputs(3)
    sync = message_filters.TimeSynchronizer(inputs.filters, 5)
    sync.registerCallback(inputs.receive)
    assert inputs.feed((0, 1.0), (1, 1.0), (2, 1.1), (0, 1.1)) == []
    assert inputs.feed((2, 1.0), (1, 1.1)) == [(1.0, 1.0, 1.0), (1.1, 1.1, 1.1)]


def test_stamps_within_the_slop_are_grouped_once() -> None:
    inputs = approximate(3)
    assert inputs.feed((0, 1.00), (1, 1.03), (2, 1.05)) == [(1.00, 1.03, 1.05)]
    assert len(inputs.feed((2, 1.04))) == 1, "a message is used once"


def test_nearest_candidate_is_taken() -> None:
    assert approximate().feed((0, 1.00), (0, 1.06), (1, 1.05)) == [(1.06, 1.05)]


def test_slop_is_strict() -> None:
    assert approximate(slop=0.25).feed((0, 1.0), (1, 1.25)) == []
    assert approximate(slop=0.25).feed((0, 1.0), (1, 1.2499)) == [(1.0, 1.2499)]


def test_slop_holds_between_all_inputs() -> None:
    assert approximate(3).feed((0, 1.00), (1, 1.08), (2, 0.95)) == []


def test_full_queue_drops_its_oldest_stamp() -> None:
    inputs = approximate(queue_size=2)
    inputs.feed((0, 1.0), (0, 2.0), (0, 3.0))
    assert inputs.feed((1, 1.0)) == []
    assert inputs.feed((1, 2.0)) == [(2.0, 2.0)]


def test_backward_jump_starves_a_full_queue() -> None:
    """The reason why the camera input rebuilds its synchroniser when time jumps back."""
    inputs = approximate(queue_size=2)
    inputs.feed((0, 11.0), (0, 12.0))
    assert inputs.feed((0, 1.0), (1, 1.0)) == []


def test_headerless_messages_need_permission() -> None:
    for allowed, expected in ((False, 0), (True, 1)):
        filters = [message_filters.SimpleFilter() for _ in range(2)]
        groups: list[Any] = []
        sync = message_filters.ApproximateTimeSynchronizer(
            filters, 5, 1.0, allow_headerless=allowed
        )
        sync.registerCallback(lambda *messages, groups=groups: groups.append(messages))
        for one in filters:
            one.signalMessage(String(data="no header"))
        assert len(groups) == expected


def test_callback_gets_its_extra_arguments() -> None:
    source = message_filters.SimpleFilter()
    seen: list[Any] = []
    source.registerCallback(lambda message, extra: seen.append((message, extra)), "extra")
    source.signalMessage("message")
    assert seen == [("message", "extra")]


def test_subscribers_feed_the_synchronizer(ros: Any) -> None:
    node = ros.create_node("camera_and_listener")
    publishers = [
        node.create_publisher(PointStamped, name, qos_profile_sensor_data)
        for name in ("left", "right")
    ]
    subscribers = [
        message_filters.Subscriber(node, PointStamped, name, qos_profile=qos_profile_sensor_data)
        for name in ("left", "right")
    ]
    groups: list[Any] = []
    sync = message_filters.ApproximateTimeSynchronizer(subscribers, 5, 0.05)
    sync.registerCallback(lambda *messages: groups.append(messages))
    ros.spin(node)
    assert wait_until(lambda: all(p.get_subscription_count() == 1 for p in publishers))
    for publisher, seconds in zip(publishers, (1.00, 1.02), strict=True):
        publisher.publish(stamped(seconds))
    assert wait_until(lambda: len(groups) == 1)
    assert [m.point.x for m in groups[0]] == [1.00, 1.02]


# --- tf2_ros ---------------------------------------------------------------------------


def transform(
    parent: str, child: str, seconds: float, x: float = 0.0, yaw: float = 0.0, z: float = 0.0
) -> TransformStamped:
    message = TransformStamped()
    message.header.frame_id, message.child_frame_id = parent, child
    message.header.stamp = Time(nanoseconds=round(seconds * SECOND)).to_msg()
    message.transform.translation.x, message.transform.translation.z = x, z
    message.transform.rotation.z, message.transform.rotation.w = (
        math.sin(yaw / 2),
        math.cos(yaw / 2),
    )
    return message


def at(seconds: float) -> Time:
    return Time(nanoseconds=round(seconds * SECOND))


def translation(result: TransformStamped) -> list[float]:
    t = result.transform.translation
    return [t.x, t.y, t.z]


@pytest.fixture
def buffer(ros_domain_id: int) -> Any:
    return tf2_ros.Buffer()


def test_lookup_takes_source_points_into_the_target(buffer: Any) -> None:
    """The camera is 1 m ahead of base, turned left by 90 degrees: base is at (0, 1) in it."""
    buffer.set_transform_static(transform("base", "camera", 0.0, x=1.0, yaw=math.pi / 2), "test")
    result = buffer.lookup_transform("base", "camera", at(5.0))
    assert (result.header.frame_id, result.child_frame_id) == ("base", "camera")
    assert Time.from_msg(result.header.stamp).nanoseconds == at(5.0).nanoseconds
    assert translation(result) == pytest.approx([1.0, 0.0, 0.0])
    assert result.transform.rotation.z == pytest.approx(math.sin(math.pi / 4))
    assert translation(buffer.lookup_transform("camera", "base", at(5.0))) == pytest.approx(
        [0.0, 1.0, 0.0]
    )


def test_lookup_interpolates_position_and_rotation(buffer: Any) -> None:
    buffer.set_transform(transform("world", "base", 10.0, x=0.0, yaw=0.0), "test")
    buffer.set_transform(transform("world", "base", 11.0, x=4.0, yaw=2.0), "test")
    result = buffer.lookup_transform("world", "base", at(10.25))
    assert translation(result) == pytest.approx([1.0, 0.0, 0.0])
    assert 2 * math.atan2(
        result.transform.rotation.z, result.transform.rotation.w
    ) == pytest.approx(0.5)


def test_rotation_is_interpolated_the_short_way(buffer: Any) -> None:
    first, second = transform("a", "b", 1.0, yaw=0.0), transform("a", "b", 2.0, yaw=0.4)
    r = second.transform.rotation
    r.z, r.w = -r.z, -r.w  # the same rotation
    buffer.set_transform(first, "test")
    buffer.set_transform(second, "test")
    rotation = buffer.lookup_transform("a", "b", at(1.5)).transform.rotation
    assert abs(rotation.z) == pytest.approx(math.sin(0.1))
    assert abs(rotation.w) == pytest.approx(math.cos(0.1))


def test_branches_meet_at_their_common_ancestor(buffer: Any) -> None:
    buffer.set_transform(transform("world", "base", 1.0, x=100.0), "test")
    buffer.set_transform_static(transform("base", "camera", 0.0, z=1.0), "test")
    buffer.set_transform_static(transform("base", "gripper", 0.0, x=0.5), "test")
    expected = [0.5, 0.0, -1.0]
    assert translation(buffer.lookup_transform("camera", "gripper", at(1.0))) == pytest.approx(
        expected
    )
    # world -> base has no data at this time, but the way does not lead over it
    assert translation(buffer.lookup_transform("camera", "gripper", at(50.0))) == pytest.approx(
        expected
    )


def test_time_zero_is_the_latest_common_time(buffer: Any) -> None:
    for seconds in (1.0, 2.0, 3.0):
        buffer.set_transform(transform("world", "base", seconds, x=seconds), "test")
    for seconds in (1.0, 2.5):
        buffer.set_transform(transform("base", "arm", seconds), "test")
    buffer.set_transform_static(transform("arm", "camera", 0.0), "test")
    result = buffer.lookup_transform("world", "camera", Time())
    assert Time.from_msg(result.header.stamp).nanoseconds == at(2.5).nanoseconds
    assert translation(result) == pytest.approx([2.5, 0.0, 0.0])


@pytest.mark.parametrize("seconds", [9.0, 12.0])
def test_times_outside_the_data_are_refused(buffer: Any, seconds: float) -> None:
    for known in (10.0, 11.0):
        buffer.set_transform(transform("world", "base", known), "test")
    assert not buffer.can_transform("world", "base", at(seconds))
    with pytest.raises(tf2_ros.ExtrapolationException, match="extrapolation"):
        buffer.lookup_transform("world", "base", at(seconds))


def test_single_sample_holds_at_its_time_only(buffer: Any) -> None:
    buffer.set_transform(transform("world", "base", 10.0, x=1.0), "test")
    assert translation(buffer.lookup_transform("world", "base", at(10.0))) == pytest.approx(
        [1.0, 0.0, 0.0]
    )
    with pytest.raises(tf2_ros.ExtrapolationException):
        buffer.lookup_transform("world", "base", at(10.001))


def test_unknown_frame_and_separate_trees(buffer: Any) -> None:
    buffer.set_transform_static(transform("world", "base", 0.0), "test")
    buffer.set_transform_static(transform("map", "other", 0.0), "test")
    with pytest.raises(tf2_ros.LookupException, match="nowhere"):
        buffer.lookup_transform("world", "nowhere", at(1.0))
    with pytest.raises(tf2_ros.ConnectivityException, match="world.*other|other.*world"):
        buffer.lookup_transform("world", "other", at(1.0))
    with pytest.raises(tf2_ros.TransformException):
        buffer.lookup_transform("world", "", at(1.0))


def test_old_samples_leave_the_cache(ros_domain_id: int) -> None:
    buffer = tf2_ros.Buffer(cache_time=Duration(seconds=2.0))
    for seconds in (10.0, 12.0, 13.0, 13.1):
        buffer.set_transform(transform("world", "base", seconds), "test")
    assert buffer.can_transform("world", "base", at(12.0))
    with pytest.raises(tf2_ros.ExtrapolationException):
        buffer.lookup_transform("world", "base", at(10.0))
    buffer.set_transform(transform("world", "base", 10.5), "test")  # older than the cache: ignored
    assert not buffer.can_transform("world", "base", at(10.5))


def test_late_samples_are_sorted_in(buffer: Any) -> None:
    for seconds in (1.0, 3.0, 2.0):
        buffer.set_transform(transform("world", "base", seconds, x=seconds**2), "test")
    assert translation(buffer.lookup_transform("world", "base", at(2.5)))[0] == pytest.approx(6.5)


def test_broken_transforms_are_ignored(buffer: Any) -> None:
    nan = transform("world", "a", 1.0, x=math.nan)
    for bad in (nan, transform("b", "b", 1.0), transform("", "c", 1.0)):
        buffer.set_transform(bad, "test")
    for name in "abc":
        assert not buffer.can_transform("world", name, Time())


def test_clear_forgets_what_moves_and_keeps_what_is_static(buffer: Any) -> None:
    buffer.set_transform(transform("world", "base", 1.0), "test")
    buffer.set_transform_static(transform("base", "camera", 0.0), "test")
    buffer.clear()
    assert not buffer.can_transform("world", "base", Time())
    assert buffer.can_transform("base", "camera", Time())


def test_lookup_waits_for_the_transform(buffer: Any) -> None:
    late = threading.Timer(
        0.1, lambda: buffer.set_transform(transform("world", "base", 1.0, x=3.0), "test")
    )
    late.start()
    result = buffer.lookup_transform("world", "base", at(1.0), timeout=Duration(seconds=5.0))
    late.join()
    assert translation(result)[0] == 3.0


def test_waiting_ends_at_the_timeout(buffer: Any) -> None:
    started = time.monotonic()
    possible, reason = buffer.can_transform(
        "world", "base", at(1.0), timeout=Duration(seconds=0.1), return_debug_tuple=True
    )
    assert not possible
    assert reason
    assert 0.08 < time.monotonic() - started < 2.0


def test_transforms_travel_over_topics(ros: Any) -> None:
    sender, receiver = ros.create_node("sender"), ros.create_node("receiver")
    static = tf2_ros.StaticTransformBroadcaster(sender)
    static.sendTransform(transform("base", "camera", 0.0, z=1.0))
    static.sendTransform([transform("base", "gripper", 0.0, x=2.0)])
    buffer = tf2_ros.Buffer(node=receiver)
    listener = tf2_ros.TransformListener(buffer, receiver)  # joins late, still gets both
    ros.spin(receiver)
    assert buffer.can_transform("camera", "gripper", Time(), timeout=Duration(seconds=5.0))

    moving = tf2_ros.TransformBroadcaster(sender)
    assert wait_until(lambda: sender.count_subscribers("/tf") == 1)
    assert wait_until(lambda: moving.pub_tf.get_subscription_count() == 1)
    moving.sendTransform([transform("world", "base", 7.0, x=5.0)])
    assert buffer.can_transform("world", "camera", at(7.0), timeout=Duration(seconds=5.0))
    assert translation(buffer.lookup_transform("world", "camera", at(7.0))) == pytest.approx(
        [5.0, 0.0, 1.0]
    )
    listener.unregister()


def test_jump_back_of_simulated_time_clears(ros: Any) -> None:
    from rclpy.parameter import Parameter
    from rosgraph_msgs.msg import Clock as ClockMessage

    node = ros.create_node("listener", parameter_overrides=[Parameter("use_sim_time", value=True)])
    clock = ros.create_node("simulator").create_publisher(ClockMessage, "/clock", 10)
    buffer = tf2_ros.Buffer(node=node)
    ros.spin(node)
    assert wait_until(lambda: clock.get_subscription_count() == 1)

    def set_time(seconds: float) -> bool:
        clock.publish(ClockMessage(clock=at(seconds).to_msg()))
        return wait_until(lambda: node.get_clock().now().nanoseconds == at(seconds).nanoseconds)

    assert set_time(100.0)
    buffer.set_transform(transform("world", "base", 100.0), "test")
    assert set_time(101.0)
    assert buffer.can_transform("world", "base", Time()), "a step forward clears nothing"
    assert set_time(20.0)
    assert wait_until(lambda: not buffer.can_transform("world", "base", Time()))
