# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Cameras as they are: late, stopped, jumping back in time, with the wrong QoS, not aligned."""

from __future__ import annotations

import array
import struct
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from builtin_interfaces.msg import Time as TimeMsg
from geometry_msgs.msg import TransformStamped
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.serialization import serialize_message
from refer_graph import (
    CAMERA_FRAME,
    FOCAL,
    HEIGHT,
    WALL_M,
    WIDTH,
    Camera,
    Graph,
    graph_fixture,  # noqa: F401
    wait_until,
)
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, Image

from roborefer_ros.cancellation import Cancellation
from roborefer_ros.errors import InvalidImageError
from roborefer_ros.nodes.camera_subscriber import CameraSubscriber
from roborefer_ros.nodes.camera_topics import SerializedMessage, TopicState
from roborefer_ros.nodes.interfaces import ReferPoint
from roborefer_ros.nodes.parameters import default_options
from roborefer_ros.ros_compat import tf2_ros

Result = ReferPoint.Result
Make = Callable[..., Graph]


def stamp_s(result: Any) -> float:
    """Stamp of the image that was used, seconds."""
    return float(result.image_stamp.sec + result.image_stamp.nanosec * 1e-9)


def now_s(graph: Graph) -> float:
    """ROS time, seconds."""
    return float(graph.node.get_clock().now().nanoseconds * 1e-9)


@pytest.mark.parametrize("order", ["<", ">"])
def test_the_stamp_is_read_from_either_byte_order(order: str) -> None:
    """CDR says in its second byte how it is written."""
    data = bytes([0, order == "<", 0, 0]) + struct.pack(order + "iI", 7, 5) + b"rest"
    message = SerializedMessage.parse(data)
    assert message.stamp_ns == 7_000_000_005
    assert (message.header.stamp.sec, message.header.stamp.nanosec) == (7, 5)
    with pytest.raises(InvalidImageError, match="6 bytes"):
        SerializedMessage.parse(data[:6])


@pytest.mark.parametrize("mode", ["sampled", "continuous"])
def test_only_frames_after_the_goal_answer_it(mode: str, graph: Make) -> None:
    """With a tolerance of 0 the image is younger than the goal, in both modes."""
    g = graph(frame_tolerance_s=0.0, camera_mode=mode)
    for _ in range(5):
        time.sleep(0.05)
        sent = now_s(g)
        result = g.refer()
        assert result.error_code == 0, result.error_msg
        assert stamp_s(result) >= sent


def test_a_frame_within_the_tolerance_answers_at_once(graph: Make) -> None:
    """At 2 Hz, frames of the last second are taken rather than waited for."""
    g = graph(camera=False, frame_tolerance_s=1.0)
    g.camera = Camera(g.ros, rate_hz=2.0)
    assert g.refer().error_code == 0
    time.sleep(0.6)
    started = time.monotonic()
    result = g.refer()
    assert result.error_code == 0
    assert time.monotonic() - started < 0.3
    assert now_s(g) - stamp_s(result) < 1.4


def test_a_camera_that_stops_and_comes_back(graph: Make) -> None:
    """The error tells when the last message came; then all is well again."""
    g = graph(frame_timeout_s=0.4)
    assert g.refer().error_code == 0
    g.camera.stop()
    time.sleep(0.3)
    result = g.refer()
    assert result.error_code == Result.CAMERA_STALLED
    assert "s ago" in result.error_msg
    g.camera = Camera(g.ros)
    assert g.refer().error_code == 0


def test_one_silent_topic_is_named(graph: Make) -> None:
    """The others are not blamed."""
    g = graph(camera=False, frame_timeout_s=0.4)
    g.camera = Camera(g.ros)
    g.camera.silent = {"depth/image"}
    result = g.refer()
    assert result.error_code == Result.NO_CAMERA
    assert "/depth/image" in result.error_msg
    assert "/rgb/image" not in result.error_msg
    assert "fastdds_shm.xml" in result.error_msg  # there is a publisher, yet nothing comes


def test_a_camera_with_a_wrong_clock_is_explained(graph: Make) -> None:
    """Stamps an hour old never become fresh."""
    g = graph(camera=False, frame_timeout_s=0.5)
    g.camera = Camera(g.ros)
    g.camera.clock_offset_s = -3600.0
    result = g.refer()
    assert result.error_code == Result.CAMERA_CLOCK, result.error_msg
    assert "'/rgb/image' lie 3600.0" in result.error_msg
    assert "in the past" in result.error_msg
    assert "use_sim_time" in result.error_msg


def test_time_that_goes_backwards(graph: Make) -> None:
    """After a bag starts over, goals are answered again, with stamps of the new time."""
    g = graph(camera=False, frame_tolerance_s=0.0, max_clock_offset_s=200.0)
    g.camera = Camera(g.ros)
    g.camera.clock_offset_s = 100.0
    assert g.refer().error_code == 0
    g.camera.clock_offset_s = 0.5
    # Until a message of the new time is looked at, the old ones are simply the newest.
    wait_until(lambda: g.node._camera.jumps > 0)
    result = g.refer()
    assert result.error_code == 0, result.error_msg
    assert abs(stamp_s(result) - now_s(g)) < 2.0
    # Twice where a late message of the old time comes between.
    assert g.node._camera.jumps in (1, 2)


def test_a_frame_from_before_the_clock_jumped_answers_no_goal(graph: Make) -> None:
    """Its stamp lies in the future then, so it looks newer than the goal."""
    g = graph(camera=False, activate=False, use_sim_time=True, frame_timeout_s=0.5)
    clock = g.client_node.create_publisher(Clock, "/clock", 1)
    wait_until(lambda: clock.get_subscription_count() > 0)

    def set_clock(seconds: int) -> None:
        clock.publish(Clock(clock=TimeMsg(sec=seconds)))
        wait_until(lambda: abs(now_s(g) - seconds) < 1e-6)

    def show(seconds: float) -> None:
        camera.clock_offset_s = seconds - camera.node.get_clock().now().nanoseconds * 1e-9
        camera.publish()

    camera = Camera(g.ros, rate_hz=0.001)  # publishes what the test tells it to
    g.camera = camera
    set_clock(1000)
    g.activate()
    wait_until(lambda: show(1000.0) or g.node._camera.matched > 0)
    assert g.refer().error_code == 0
    set_clock(900)
    result = g.refer()
    assert result.error_code == Result.CAMERA_STALLED, stamp_s(result)
    show(1000.2)  # was on its way while the clock jumped
    assert g.refer().error_code == Result.CAMERA_STALLED
    show(900.1)
    result = g.refer()
    assert result.error_code == 0, result.error_msg
    assert stamp_s(result) == pytest.approx(900.1, abs=0.05)


def test_the_wait_for_a_frame_follows_its_parameter(graph: Make) -> None:
    """Changed while the node runs, it holds for the next goal."""
    g = graph(camera=False, frame_timeout_s=8.0)
    assert g.node.set_parameters([Parameter("frame_timeout_s", value=0.2)])[0].successful
    started = time.monotonic()
    result = g.refer()
    assert time.monotonic() - started < 4.0
    assert result.error_code == Result.NO_CAMERA
    assert "within 0.2 s" in result.error_msg


def test_incompatible_qos_is_told(graph: Make) -> None:
    """A reliable subscription and a best-effort camera: not silence but the policy's name."""
    g = graph(camera=False, image_reliability="reliable", frame_timeout_s=0.6)
    g.camera = Camera(g.ros)  # best effort
    result = g.refer()
    assert result.error_code == Result.NO_CAMERA
    assert "RELIABILITY" in result.error_msg
    assert "image_reliability" in result.error_msg
    assert len(g.node._camera.health.refusals()) == 3


def test_best_effort_receives_from_reliable_cameras(graph: Make) -> None:
    """The default matches any camera."""
    g = graph(camera=False)
    reliable = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE)
    g.camera = Camera(g.ros, qos=reliable)
    assert g.refer().error_code == 0


def test_a_broken_message_does_not_end_the_camera(graph: Make) -> None:
    """What raises in the callback is logged and dropped."""
    g = graph()
    g.node._camera._received(0, b"\x00\x01")
    g.node._camera._received(0, b"")
    assert g.refer().error_code == 0


def test_depth_of_another_rate(graph: Make) -> None:
    """Depth comes with every third picture: each answer is of one that had depth of its own."""
    g = graph(sync_slop_s=0.01)
    numbers: dict[int, int] = {}

    def spoil(rgb: Any, depth: Any, info: Any) -> None:
        number = len(numbers)
        numbers[rgb.header.stamp.sec * 1_000_000_000 + rgb.header.stamp.nanosec] = number
        values = np.full((HEIGHT, WIDTH), 1000 + 10 * number, "<u2")
        depth.data = array.array("B", values.tobytes())
        g.camera.silent = {"depth/image"} if number % 3 else set()

    g.camera.spoil = spoil
    wait_until(lambda: len(numbers) > 3)
    for _ in range(4):
        result = g.refer()
        assert result.error_code == 0, result.error_msg
        number = numbers[result.image_stamp.sec * 1_000_000_000 + result.image_stamp.nanosec]
        assert number % 3 == 0
        assert result.pose.pose.position.z == pytest.approx(1.0 + 0.01 * number, abs=0.004)


def _transform(parent: str, child: str, x: float, stamp: Any) -> TransformStamped:
    transform = TransformStamped(child_frame_id=child)
    transform.header.frame_id, transform.header.stamp = parent, stamp
    transform.transform.translation.x = x
    transform.transform.rotation.w = 1.0
    return transform


def test_depth_from_another_place(graph: Make) -> None:
    """A depth camera 3 cm to the right, half the size: registered by its info and the transform.

    The left half of its image shows a wall at 1 m, the right half one at 2 m.  The edge is where
    its own axis is, so at x = 0.03 m in the colour camera's frame.
    """
    g = graph(camera=False)
    g.camera = Camera(g.ros)
    height, width = HEIGHT // 2, WIDTH // 2
    depth_info = CameraInfo(height=height, width=width)
    depth_info.k = [FOCAL / 2, 0.0, width / 2, 0.0, FOCAL / 2, height / 2, 0.0, 0.0, 1.0]

    def spoil(rgb: Any, depth: Any, info: Any) -> None:
        columns = np.arange(width)[None].repeat(height, axis=0)
        values = np.where(columns < width // 2, 1000, 2000).astype("<u2")
        depth.height, depth.width, depth.step = height, width, 2 * width
        depth.data = array.array("B", values.tobytes())
        depth.header.frame_id = "depth_frame"

    g.camera.spoil = spoil
    result = g.refer()
    assert result.error_code == Result.FRAME_MISMATCH

    broadcaster = tf2_ros.StaticTransformBroadcaster(g.client_node)
    stamp = g.client_node.get_clock().now().to_msg()
    broadcaster.sendTransform(_transform(CAMERA_FRAME, "depth_frame", 0.03, stamp))
    result = g.refer()
    wait_until(lambda: g.refer().error_code == Result.SIZE_MISMATCH)  # no depth/camera_info yet

    publisher = g.client_node.create_publisher(CameraInfo, "/depth/camera_info", 1)
    wait_until(lambda: publisher.get_subscription_count() == 1)
    depth_info.header.frame_id = "depth_frame"
    publisher.publish(depth_info)
    wait_until(lambda: g.refer().error_code == 0)
    for x_m, z_m in ((-0.1, 1.0), (-0.02, 1.0), (0.15, 2.0)):
        u = FOCAL * x_m / z_m + (WIDTH - 1) / 2
        g.pointer.points = (((u + 0.5) / WIDTH, 0.5),)
        position = g.refer().pose.pose.position
        assert position.z == pytest.approx(z_m, abs=0.01)
        assert position.x == pytest.approx(x_m, abs=0.01)


def test_depth_through_another_lens_at_the_same_place(graph: Make) -> None:
    """Same frame and size, half the focal length: the two halves meet at the same middle, but
    what depth shows 40 pixels aside colour shows 80 pixels aside."""
    g = graph(camera=False)
    g.camera = Camera(g.ros)

    def spoil(rgb: Any, depth: Any, info: Any) -> None:
        columns = np.arange(WIDTH)[None].repeat(HEIGHT, axis=0)
        values = np.where(columns < WIDTH // 2 + 40, 1000, 2000).astype("<u2")
        depth.data = array.array("B", values.tobytes())

    g.camera.spoil = spoil
    g.pointer.points = (((WIDTH / 2 + 60.5) / WIDTH, 0.5),)
    assert g.refer().pose.pose.position.z == pytest.approx(2.0, abs=0.01)  # taken for aligned

    publisher = g.client_node.create_publisher(CameraInfo, "/depth/camera_info", 1)
    wait_until(lambda: publisher.get_subscription_count() == 1)
    info = CameraInfo(height=HEIGHT, width=WIDTH)
    centre = ((WIDTH - 1) / 2, (HEIGHT - 1) / 2)
    info.k = [FOCAL / 2, 0.0, centre[0], 0.0, FOCAL / 2, centre[1], 0.0, 0.0, 1.0]
    info.header.frame_id = "elsewhere"  # not of the image that comes
    publisher.publish(info)
    wait_until(lambda: g.node._camera._depth_info is not None)
    assert g.refer().pose.pose.position.z == pytest.approx(2.0, abs=0.01)
    info.header.frame_id = CAMERA_FRAME
    publisher.publish(info)
    wait_until(lambda: abs(g.refer().pose.pose.position.z - 1.0) < 0.01)


def test_the_pose_in_another_frame(graph: Make) -> None:
    """base_link: camera at (1, 2, 3), looking along x (REP-103 optical rotation)."""
    g = graph(target_frame="base_link")
    broadcaster = tf2_ros.StaticTransformBroadcaster(g.client_node)
    transform = _transform("base_link", CAMERA_FRAME, 1.0, g.node.get_clock().now().to_msg())
    transform.transform.translation.y, transform.transform.translation.z = 2.0, 3.0
    q = transform.transform.rotation
    q.x, q.y, q.z, q.w = -0.5, 0.5, -0.5, 0.5
    broadcaster.sendTransform(transform)
    g.pointer.points = ((0.75, 0.25),)
    wait_until(lambda: g.refer().error_code == 0)
    result = g.refer()
    camera = g.refer(target_frame=CAMERA_FRAME)
    assert result.pose.header.frame_id == "base_link"
    assert result.pose.header.stamp == result.image_stamp
    optical, base = camera.pose.pose.position, result.pose.pose.position
    assert base.x == pytest.approx(1.0 + optical.z, abs=1e-6)
    assert base.y == pytest.approx(2.0 - optical.x, abs=1e-6)
    assert base.z == pytest.approx(3.0 - optical.y, abs=1e-6)
    assert optical.z == pytest.approx(WALL_M, abs=0.002)
    # The approach (x axis) goes into the wall: along x of base_link.
    r = result.pose.pose.orientation
    approach = [1 - 2 * (r.y**2 + r.z**2), 2 * (r.x * r.y + r.z * r.w), 2 * (r.x * r.z - r.y * r.w)]
    assert approach == pytest.approx([1.0, 0.0, 0.0], abs=0.02)
    # The uncertain axis turns with the frame: z in the camera is x in base_link.
    in_camera = np.array(camera.points[0].covariance).reshape(6, 6)
    in_base = np.array(result.points[0].covariance).reshape(6, 6)
    assert in_base[0, 0] == pytest.approx(in_camera[2, 2])
    assert np.trace(in_base[:3, :3]) == pytest.approx(np.trace(in_camera[:3, :3]))


# --- old or impossible moments ---------------------------------------------------------


@pytest.mark.parametrize("ahead_s", [0.3, 3600.0])
def test_a_dead_camera_whose_clock_runs_ahead_answers_no_goal(ahead_s: float, graph: Make) -> None:
    """Its last stamp stays newer than every goal; that it arrived long ago tells."""
    g = graph(camera=False, frame_timeout_s=0.4, max_clock_offset_s=4000.0)
    g.camera = Camera(g.ros)
    g.camera.clock_offset_s = ahead_s
    assert g.refer().error_code == 0
    g.camera.stop()
    time.sleep(0.3)
    for _ in range(2):
        result = g.refer()
        assert result.error_code == Result.CAMERA_STALLED, result.error_msg


def test_a_camera_whose_clock_runs_ahead_shows_what_is_there_now(graph: Make) -> None:
    """Depth tells when a frame was published: never before the goal."""
    g = graph(camera=False, frame_tolerance_s=0.0, max_clock_offset_s=100.0)
    g.camera = Camera(g.ros, rate_hz=15.0)
    g.camera.clock_offset_s = 50.0
    shown: list[int] = []

    def spoil(rgb: Any, depth: Any, info: Any) -> None:
        shown.append(len(shown))
        values = np.full((HEIGHT, WIDTH), 1000 + 5 * shown[-1], "<u2")
        depth.data = array.array("B", values.tobytes())

    g.camera.spoil = spoil
    for _ in range(5):
        time.sleep(0.2)
        before = len(shown)
        result = g.refer()
        assert result.error_code == 0, result.error_msg
        assert result.pose.pose.position.z > 1.0 + 0.005 * (before - 1) - 0.002


def test_a_driver_that_repeats_one_stamp_is_stalled(graph: Make) -> None:
    g = graph(camera=False, frame_timeout_s=0.6, max_clock_offset_s=100.0)
    g.camera = Camera(g.ros)
    frozen = g.node.get_clock().now().nanoseconds + 20_000_000_000

    def freeze(*messages: Any) -> None:
        for msg in messages:
            msg.header.stamp.sec, msg.header.stamp.nanosec = divmod(frozen, 1_000_000_000)

    g.camera.spoil = freeze
    wait_until(lambda: g.node._camera.topics[0].repeated > 3)
    result = g.refer()
    assert result.error_code == Result.CAMERA_STALLED, result.error_msg
    assert "the same stamp came again" in result.error_msg
    assert "/rgb/image" in result.error_msg


@pytest.mark.parametrize("name", ["rgb/image", "depth/image"])
def test_images_stamped_zero_are_named(name: str, graph: Make) -> None:
    g = graph(camera=False, frame_timeout_s=0.5)
    g.camera = Camera(g.ros)

    def spoil(rgb: Any, depth: Any, info: Any) -> None:
        odd = rgb if name == "rgb/image" else depth
        odd.header.stamp = TimeMsg()

    g.camera.spoil = spoil
    result = g.refer()
    assert result.error_code == Result.CAMERA_CLOCK, result.error_msg
    assert f"'/{name}' is stamped 0" in result.error_msg


def test_an_info_stamped_zero_answers_goals_and_is_named(graph: Make) -> None:
    g = graph(camera=False)
    g.camera = Camera(g.ros)

    def spoil(rgb: Any, depth: Any, info: Any) -> None:
        info.header.stamp = TimeMsg()

    g.camera.spoil = spoil
    assert g.refer().error_code == 0
    (told,) = g.node._camera.health.zero_stamps()
    assert "'/rgb/camera_info' are stamped 0" in told


def test_negative_clock_messages_end_nothing(ros: Any) -> None:
    """They raise in the camera's thread, which goes on."""
    parent = ros.create_node("parent", parameter_overrides=[Parameter("use_sim_time", value=True)])
    sender = ros.create_node("sender")
    clock = sender.create_publisher(Clock, "/clock", 10)
    faults: list[Any] = []
    camera = CameraSubscriber(parent, default_options(), lambda: None, faults.append)
    wait_until(lambda: clock.get_subscription_count() == 2)
    for _ in range(5):
        clock.publish(Clock(clock=TimeMsg(sec=-5)))
        time.sleep(0.02)
    driver = Camera(ros)
    try:
        messages = camera.wait_for_frame(0, 5.0, Cancellation(), max_offset_s=float("inf"))
        assert messages.rgb.width == WIDTH
        assert camera._thread.is_alive()
        assert camera.fault is None
        assert not faults
    finally:
        driver.stop()
        camera.close()


@pytest.mark.parametrize("durability", ["transient_local", "volatile"])
def test_camera_info_that_is_published_once(durability: str, graph: Make) -> None:
    """Latched before the node starts, or sent once while it listens, with whatever stamp."""
    g = graph(camera=False, activate=False)
    latched = durability == "transient_local"
    qos = QoSProfile(depth=1, durability=getattr(DurabilityPolicy, durability.upper()))
    publisher = g.client_node.create_publisher(CameraInfo, "/rgb/camera_info", qos)
    g.camera = Camera(g.ros)
    g.camera.silent = {"rgb/camera_info"}
    info = g.camera.messages()[2]
    info.header.frame_id = f"/{CAMERA_FRAME}"
    if latched:
        publisher.publish(info)
    g.activate()
    if not latched:
        wait_until(lambda: publisher.get_subscription_count() > 0)
        publisher.publish(info)
    for _ in range(2):
        result = g.refer()
        assert result.error_code == 0, result.error_msg
        time.sleep(0.1)


def test_the_info_of_an_image_is_that_of_its_frame_and_size(graph: Make) -> None:
    """Another camera's info comes on the same topic, and more often."""
    g = graph()
    other = g.camera.messages()[2]
    other.header.frame_id = "other_optical_frame"
    other.k = [value * 1.3 for value in other.k[:8]] + [1.0]
    publisher = g.client_node.create_publisher(CameraInfo, "/rgb/camera_info", 10)
    wait_until(lambda: publisher.get_subscription_count() > 0)
    for _ in range(6):
        other.header.stamp = g.node.get_clock().now().to_msg()
        publisher.publish(other)
        assert g.refer().error_code == 0


def test_header_and_size_are_read_from_the_wire() -> None:
    info = CameraInfo(width=640, height=480)
    info.header.frame_id = "cam_optical"
    message = SerializedMessage.parse(serialize_message(info), arrived_ns=5)
    assert (message.frame_id, message.size) == ("cam_optical", (640, 480))
    assert message.moment_ns == 0
    image = Image(width=7, height=5)
    image.header.stamp.sec = 3
    message = SerializedMessage.parse(serialize_message(image), arrived_ns=1_000_000_000)
    assert (message.frame_id, message.size) == ("", (7, 5))
    assert message.moment_ns == 1_000_000_000


def test_rate_is_told_by_the_stamps() -> None:
    """Whatever the speed of the machine."""
    topic = TopicState("/rgb/image")
    for number in range(20):
        data = struct.pack("<4BiI", 0, 1, 0, 0, 10, 40_000_000 * number)
        topic.take(SerializedMessage.parse(data), now_s=float(number))
    assert 1.0 / topic.period_s == pytest.approx(25.0)
