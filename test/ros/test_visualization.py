# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""What people and planners watch: each topic holds the answer, in the frame that was asked for."""

from __future__ import annotations

import array
import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from geometry_msgs.msg import PoseArray, PoseStamped, TransformStamped
from rclpy.qos import DurabilityPolicy, QoSProfile
from refer_graph import (
    CAMERA_FRAME,
    HEIGHT,
    WALL_M,
    WIDTH,
    Graph,
    ScriptedPointer,
    graph_fixture,  # noqa: F401
    wait_until,
)
from sensor_msgs.msg import Image, PointCloud2
from std_msgs.msg import Header
from visualization_msgs.msg import Marker, MarkerArray

from roborefer_ros.lifting import quaternion_xyzw
from roborefer_ros.nodes import visualization
from roborefer_ros.nodes.conversions import rgb_from_message
from roborefer_ros.ros_compat import tf2_ros
from roborefer_ros.types import Mode, Think

Make = Callable[..., Graph]

#: base_link lies so far from the camera, metres
OFFSET_M = (0.5, -0.2, 0.3)


def with_transform(g: Graph, xyzw: tuple[float, ...] = (0.0, 0.0, 0.0, 1.0)) -> Any:
    """Publish base_link -> camera: a shift, and a turn where one is given."""
    broadcaster = tf2_ros.StaticTransformBroadcaster(g.client_node)
    msg = TransformStamped(child_frame_id=CAMERA_FRAME)
    msg.header.frame_id = "base_link"
    t = msg.transform.translation
    t.x, t.y, t.z = OFFSET_M
    q = msg.transform.rotation
    q.x, q.y, q.z, q.w = xyzw
    broadcaster.sendTransform(msg)
    return broadcaster


class Watcher:
    """Keeps what comes on the node's topics."""

    def __init__(self, g: Graph, **topics: type) -> None:
        self.seen: dict[str, list[Any]] = {name: [] for name in topics}
        for name, kind in topics.items():
            durability = (
                DurabilityPolicy.TRANSIENT_LOCAL
                if kind in (PoseStamped, PoseArray)
                else DurabilityPolicy.VOLATILE
            )
            g.client_node.create_subscription(
                kind,
                f"/roborefer/{name}",
                self.seen[name].append,
                QoSProfile(depth=5, durability=durability),
            )
        # The node draws only for those it knows of.
        wait_until(lambda: all(g.node.count_subscribers(f"/roborefer/{name}") for name in topics))

    def all_seen(self) -> bool:
        return all(self.seen.values())


def test_every_topic_shows_the_answer_in_the_target_frame(graph: Make) -> None:
    g = graph(pointer=ScriptedPointer(((0.5, 0.5), (0.25, 0.5))), cloud_radius_m=0.1)
    broadcaster = with_transform(g)
    watcher = Watcher(
        g,
        target_pose=PoseStamped,
        points=PoseArray,
        markers=MarkerArray,
        annotated_image=Image,
        target_cloud=PointCloud2,
        target_segment=PointCloud2,
    )
    result = g.refer("the red mug", target_frame="base_link")
    assert result.error_code == 0, result.error_msg
    wait_until(watcher.all_seen)
    pose, points, markers, picture, cloud, segment = (topic[-1] for topic in watcher.seen.values())

    assert pose == result.pose
    assert [p.position.z for p in points.poses] == pytest.approx([WALL_M + 0.3] * 2, abs=0.003)
    for message in (pose, points, cloud, segment, *markers.markers):
        assert message.header.frame_id == "base_link"
        assert message.header.stamp == result.image_stamp

    texts = [m.text for m in markers.markers if m.type == Marker.TEXT_VIEW_FACING]
    assert texts == ["the red mug"]
    balls = [m for m in markers.markers if m.ns == "points"]
    assert [ball.pose.position for ball in balls] == [p.position for p in points.poses]
    tip_of_arrow = next(m for m in markers.markers if m.ns == "approach")
    # The wall faces the camera: the arrow comes from the camera's side.
    assert tip_of_arrow.pose.position.z == pytest.approx(WALL_M + 0.3 - 0.1, abs=0.005)

    pixels = rgb_from_message(picture)
    assert pixels.shape == (HEIGHT, WIDTH, 3)
    assert picture.header.frame_id == CAMERA_FRAME  # it is the camera's picture
    centre = pixels[HEIGHT // 2 - 1 : HEIGHT // 2 + 1, WIDTH // 2 - 1 : WIDTH // 2 + 1]
    assert centre.reshape(-1, 3).mean(0) == pytest.approx([255, 40, 64], abs=40)

    data = np.frombuffer(cloud.data, np.float32).reshape(-1, 4)
    assert len(data) == cloud.width > 100
    centre = np.array([pose.pose.position.x, pose.pose.position.y, pose.pose.position.z])
    assert np.linalg.norm(data[:, :3] - centre, axis=1).max() <= 0.1 + 1e-4
    grown = np.frombuffer(segment.data, np.float32).reshape(-1, 4)[:, :3]
    assert len(grown) > 20
    assert grown[:, 2] == pytest.approx(WALL_M + 0.3, abs=0.005)  # all of it on the wall
    colours = data[:, 3].view(np.uint32)
    assert set(colours.tolist()) == {90 << 16 | 120 << 8 | 150}
    del broadcaster


def test_steps_of_a_reasoning_are_in_the_result_the_picture_and_space(graph: Make) -> None:
    pointer = ScriptedPointer()
    pointer.tokens, pointer.token_s = 20, 0.02  # long enough for feedback to be sent
    pointer.thought = "I see it.\n[Position] [the lamp]: [(0.250, 0.500)]\n[Size] [the lamp]: 0.300"
    g = graph(pointer=pointer)
    broadcaster = with_transform(g)
    watcher = Watcher(g, markers=MarkerArray, annotated_image=Image)
    result = g.refer("the red mug", target_frame="base_link", think=1)
    assert result.error_code == 0, result.error_msg
    assert pointer.think[-1] == Think.ON
    assert result.reasoning == pointer.thought
    position, size = result.steps
    assert (position.type, position.target) == (position.POSITION, "the lamp")
    assert list(position.value) == [0.25, 0.5]
    assert (size.type, list(size.value)) == (size.SIZE, [0.3])
    assert any(len(feedback.steps) == 2 for feedback in g.feedback)

    wait_until(watcher.all_seen)
    markers, picture = (topic[-1] for topic in watcher.seen.values())
    (ball,) = [m for m in markers.markers if m.ns == "steps"]
    assert ball.header.frame_id == "base_link"
    assert ball.pose.position.z == pytest.approx(WALL_M + OFFSET_M[2], abs=0.005)
    (name,) = [m.text for m in markers.markers if m.ns == "step names"]
    assert name == "1 the lamp"
    pixels = rgb_from_message(picture).astype(int)
    row, column = HEIGHT // 2, WIDTH // 4
    near = pixels[row - 8 : row + 8, column - 8 : column + 8].reshape(-1, 3)
    assert np.abs(near - [51, 178, 255]).sum(axis=1).min() < 60
    del broadcaster


def test_a_goal_that_says_something_else_about_thinking_is_refused(graph: Make) -> None:
    result = graph().refer("the red mug", think=7)
    assert (result.error_code, "think 7" in result.error_msg) == (2503, True)


def test_nothing_is_drawn_for_nobody(graph: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[str] = []
    for name in ("markers", "picture", "cloud_message"):
        monkeypatch.setattr(
            f"roborefer_ros.nodes.visualization.{name}",
            lambda *_, name=name: drawn.append(name),
        )
    assert graph().refer().error_code == 0
    assert drawn == []


def test_a_picture_that_fails_takes_no_answer_away(
    graph: Make, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("a bug in the drawing")

    monkeypatch.setattr("roborefer_ros.nodes.visualization.Visualization.show", fail)
    g = graph()
    assert g.refer().error_code == 0
    heard: list[str] = []  # it is drawn after the answer went out

    def told() -> bool:
        heard.extend(capfd.readouterr())
        return "a bug in the drawing" in "".join(heard)

    wait_until(told)


def test_median_of_several_frames(graph: Make) -> None:
    """Readings that alternate about the wall: with three frames the middle one counts."""
    g = graph(**{"lifting.temporal_frames": 3, "frame_tolerance_s": 0.0})
    depths_mm = itertools.cycle((995, 1000, 1005))

    def spoil(rgb: Image, depth: Image, info: Any) -> None:
        pixels = np.full((HEIGHT, WIDTH), next(depths_mm), "<u2")
        depth.data = array.array("B", pixels.tobytes())

    g.camera.spoil = spoil
    g.refer()  # from here on all frames are spoilt
    results = [g.refer() for _ in range(4)]
    assert all(result.error_code == 0 for result in results)
    z = [result.pose.pose.position.z for result in results]
    assert z == pytest.approx([1.0] * 4, abs=0.0015)


@pytest.mark.parametrize("moves", [False, True])
@pytest.mark.parametrize("target_frame", ["base_link", ""])
def test_no_median_of_a_camera_that_moves(graph: Make, target_frame: str, moves: bool) -> None:
    """Also where the answer is asked for in the camera's own frame: ``up_frame`` tells."""
    g = graph(up_frame="base_link", target_frame=target_frame,
              **{"lifting.temporal_frames": 3, "frame_tolerance_s": 0.0})  # fmt: skip
    broadcaster = tf2_ros.TransformBroadcaster(g.camera.node)
    numbers = itertools.count()

    def spoil(rgb: Image, depth: Image, info: Any) -> None:
        number = next(numbers)
        pose = TransformStamped(header=Header(stamp=rgb.header.stamp, frame_id="base_link"))
        pose.child_frame_id = CAMERA_FRAME
        pose.transform.translation.x = 0.01 * number if moves else 0.0
        pose.transform.rotation.w = 1.0
        broadcaster.sendTransform(pose)
        pixels = np.full((HEIGHT, WIDTH), (994, 1000, 1006, 1000)[number % 4], "<u2")
        depth.data = array.array("B", pixels.tobytes())

    g.camera.spoil = spoil
    wait_until(lambda: next(numbers) > 6)
    results = [g.refer() for _ in range(6)]
    assert all(result.error_code == 0 for result in results)
    z = [result.pose.pose.position.z for result in results]
    if moves:
        assert max(abs(value - 1.0) for value in z) > 0.004
    else:
        assert z == pytest.approx([1.0] * 6, abs=0.0015)


@pytest.mark.parametrize("source", ["up_frame", "target_frame", ""])
def test_up_comes_from_a_frame(graph: Make, source: str) -> None:
    """For a camera that looks straight down the wall is a level table; unknown without."""
    down = np.array([[0.0, -1.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 0.0, -1.0]])
    g = graph(
        up_frame="base_link" if source == "up_frame" else "",
        target_frame_is_upright=source == "target_frame",
        placing_without_up="flag",
    )
    broadcaster = with_transform(g, tuple(float(v) for v in quaternion_xyzw(down)))
    result = g.refer("the free space", mode=int(Mode.FREE_SPACE), target_frame="base_link")
    assert result.error_code == 0, result.error_msg
    (point,) = result.points
    assert point.support_flatness == pytest.approx(0.0, abs=0.002)
    assert result.up_source == source
    if source:
        assert point.support_tilt == pytest.approx(0.0, abs=0.02)
        assert not point.flags & point.FLAG_UP_UNKNOWN
    else:
        assert np.isnan(point.support_tilt)
        assert point.flags & point.FLAG_UP_UNKNOWN
        assert point.confidence < 0.5
    del broadcaster


def test_an_up_frame_that_nobody_publishes(graph: Make) -> None:
    result = graph(up_frame="nowhere").refer()
    assert result.error_code == 2580
    assert "nowhere" in result.error_msg
    assert "up_frame" in result.error_msg


def test_the_segment_is_grown_with_the_up_of_the_goal(
    graph: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The camera looks straight down: the table under a thing is not part of it."""
    ups: list[Any] = []
    grow = visualization.grow_segment

    def seen(frame: Any, pixel: Any, z_m: float, lifting: Any) -> Any:
        ups.append(lifting.up)
        return grow(frame, pixel, z_m, lifting)

    monkeypatch.setattr(visualization, "grow_segment", seen)
    down = np.array([[0.0, -1.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 0.0, -1.0]])
    g = graph()
    broadcaster = with_transform(g, tuple(float(v) for v in quaternion_xyzw(down)))
    watcher = Watcher(g, target_segment=PointCloud2)
    result = g.refer("the red mug", target_frame="base_link")
    assert result.error_code == 0
    assert result.up_source == "target_frame"
    wait_until(lambda: bool(ups))
    assert ups[0] == pytest.approx((0.0, 0.0, -1.0), abs=1e-6)
    del broadcaster, watcher
