# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""/diagnostics tells the truth about camera, model and goals."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from geometry_msgs.msg import TransformStamped
from rclpy.parameter import Parameter
from rclpy.time import Time
from refer_graph import Camera, Graph, graph_fixture, stranger, wait_until  # noqa: F401
from sensor_msgs.msg import CompressedImage, Image

from roborefer_ros.errors import CheckpointNotFoundError, ModelFailedError
from roborefer_ros.nodes import camera_health, diagnostics
from roborefer_ros.nodes.arrival_clock import ArrivalClock
from roborefer_ros.pipeline import ReferPipeline
from roborefer_ros.ros_compat import tf2_ros

Make = Callable[..., Graph]
OK, WARN = DiagnosticStatus.OK, DiagnosticStatus.WARN
ERROR, STALE = DiagnosticStatus.ERROR, DiagnosticStatus.STALE


class Watch:
    """The newest status of each part."""

    def __init__(self, g: Graph) -> None:
        self._parts: dict[str, DiagnosticStatus] = {}
        g.client_node.create_subscription(DiagnosticArray, "/diagnostics", self._store, 5)

    def _store(self, msg: DiagnosticArray) -> None:
        self._parts.update({status.hardware_id: status for status in msg.status})

    def until(self, part: str, level: bytes, words: str = "") -> dict[str, str]:
        """Wait for a level and words in the message; returns the values."""

        def told() -> bool:
            status = self._parts.get(part)
            return status is not None and status.level == level and words in status.message

        try:
            wait_until(told)
        except AssertionError:
            pytest.fail(f"{part}: {self._parts.get(part)}")
        return {pair.key: pair.value for pair in self._parts[part].values}


def watched(make: Make, **kwargs: Any) -> tuple[Graph, Watch]:
    """A graph that tells its state often."""
    g = make(diagnostics_period_s=0.1, **kwargs)
    return g, Watch(g)


def test_a_node_that_works(graph: Make) -> None:
    """Rates, age, what found no partners, goals."""
    g, watch = watched(graph)
    assert g.refer().error_code == 0
    rate = "/rgb/image rate [Hz]"  # is known from the second message on
    wait_until(lambda: watch.until("camera", OK, "receiving")[rate] != "unknown")
    camera = watch.until("camera", OK, "receiving")
    assert float(camera[rate]) > 0.0  # how much depends on the machine
    assert float(camera["age of the newest frame [s]"]) < 2.5
    assert int(camera["synchronised frames"]) >= 1
    assert camera["backward jumps of time"] == "0"
    assert "taken without partners" in camera
    watch.until("model", OK, "ready")
    wait_until(lambda: watch.until("goals", OK)["succeeded"] == "1")
    goals = watch.until("goals", OK)
    assert goals["failed"] == "0"
    assert goals["waiting"] == "0"


def test_a_camera_that_stopped(graph: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """It does not go on "receiving"; with or without a publisher left."""
    monkeypatch.setattr(camera_health, "SILENCE_S", 1.5)
    g, watch = watched(graph)
    watch.until("camera", OK, "receiving")
    g.camera.stop()
    watch.until("camera", ERROR, "'/depth/image'")
    g.camera.node.destroy_node()
    wait_until(lambda: not g.client_node.count_publishers("/depth/image"))
    watch.until("camera", ERROR, "the camera stopped")


def test_before_there_is_a_camera(graph: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unconfigured, without publisher, with one from which nothing comes."""
    monkeypatch.setattr(camera_health, "SILENCE_S", 0.5)
    g, watch = watched(graph, camera=False, activate=False)
    watch.until("camera", STALE, "not configured")
    watch.until("model", WARN, "unconfigured")
    g.activate()
    watch.until("camera", WARN, "no camera yet")
    g.client_node.create_publisher(Image, "/rgb/image", 1)
    watch.until("camera", WARN, "published but not received: /rgb/image")


def test_a_model_that_is_not_there(graph: Make) -> None:
    """The message says why; the spec stays the spec."""

    def open_model(options: Any) -> ReferPipeline:
        raise CheckpointNotFoundError("no checkpoint at /nowhere")

    g, watch = watched(graph, activate=False, auto_activate=True, open_model=open_model)
    values = watch.until("model", ERROR, "inactive: 2540: no checkpoint at /nowhere")
    assert values["model"] == "roborefer:demo"
    assert values["state"] == "inactive"


def test_a_goal_that_failed(graph: Make) -> None:
    """The model's failure worries, an empty instruction does not."""
    g, watch = watched(graph)
    g.pointer.error = ModelFailedError("the scripted model failed")
    assert g.refer().error_code == ModelFailedError.code
    values = watch.until("goals", WARN, "the scripted model failed")
    assert values["failed"] == "1"
    assert values["last error"].startswith(str(ModelFailedError.code))
    g.refer("")
    watch.until("goals", OK)


def test_the_period_cannot_change(graph: Make) -> None:
    """It is read once, and says so."""
    g = graph(activate=False)
    result = g.node.set_parameters([Parameter("diagnostics_period_s", value=5.0)])[0]
    assert not result.successful
    assert "read-only" in result.reason


@pytest.mark.parametrize("with_cuda", [False, True])
def test_a_half_imported_torch_is_left_alone(
    with_cuda: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another thread imports it: the module is there, and lacks most of its names."""
    half = ModuleType("torch")
    if with_cuda:
        half.cuda = ModuleType("torch.cuda")  # type: ignore[attr-defined]
        spec = type("Spec", (), {"_initializing": True})
        monkeypatch.setattr(half, "__spec__", spec)
    monkeypatch.setitem(sys.modules, "torch", half)
    assert diagnostics._gpu_memory() == {}


def test_diagnostics_while_the_model_loads(graph: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """They come, without an error, whatever state torch is in."""
    monkeypatch.setitem(sys.modules, "torch", ModuleType("torch"))
    g, watch = watched(graph, activate=False)
    watch.until("model", WARN, "unconfigured")
    g.activate()
    watch.until("model", OK, "ready")


def test_two_cameras_on_the_same_topics_are_told(graph: Make) -> None:
    """With the nodes, and with the frames that their messages name."""
    g, watch = watched(graph)
    watch.until("camera", OK, "receiving")
    second = Camera(g.ros, name="second_camera")
    second.frame_ids = dict.fromkeys(second.frame_ids, "second_optical_frame")
    try:
        watch.until("camera", WARN, "'/rgb/image' has 2 publishers: ")
        values = watch.until("camera", WARN, "/second_camera")
        assert values["/rgb/image publishers"] == "2"
        watch.until("camera", WARN, "name several frames")
    finally:
        second.stop()


def test_an_info_stamped_zero_is_told(graph: Make) -> None:
    g, watch = watched(graph)
    watch.until("camera", OK, "receiving")

    def spoil(rgb: Any, depth: Any, info: Any) -> None:
        info.header.stamp = Time().to_msg()

    g.camera.spoil = spoil
    watch.until("camera", WARN, "'/rgb/camera_info' are stamped 0")


def test_camera_info_and_clock_are_judged_before_any_goal(graph: Make) -> None:
    g, watch = watched(graph)

    def spoil(rgb: Any, depth: Any, info: Any) -> None:
        info.k = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]

    good, g.camera.spoil = g.camera.spoil, spoil
    watch.until("camera", WARN, "'/rgb/camera_info': K is the identity")
    g.camera.spoil = good
    values = watch.until("camera", OK, "receiving")
    assert values["intrinsics"] == "plausible"
    assert "sensor_msgs/msg/Image best_effort volatile" in values["/rgb/image offered"]
    g.camera.clock_offset_s = 60.0
    watch.until("camera", ERROR, "off this node's clock: '/rgb/image' by +")


def test_a_topic_of_another_type_is_told(graph: Make) -> None:
    g, watch = watched(graph, camera=False)
    with stranger() as node:
        node.create_publisher(CompressedImage, "/rgb/image", 1)
        watch.until("camera", ERROR, "'/rgb/image' carries sensor_msgs/msg/CompressedImage")


def test_images_in_a_body_frame_are_told_once_and_in_diagnostics(graph: Make) -> None:
    """The frame's z axis points up in base_link: it is not an optical one."""
    g, watch = watched(graph)
    g.camera.frame_ids = dict.fromkeys(g.camera.frame_ids, "camera_link")
    broadcaster = tf2_ros.StaticTransformBroadcaster(g.client_node)
    mount = TransformStamped(child_frame_id="camera_link")
    mount.header.frame_id = "base_link"
    mount.transform.rotation.w = 1.0
    broadcaster.sendTransform(mount)
    wait_until(lambda: g.refer(target_frame="/base_link").error_code == 0)
    assert g.refer(target_frame="/base_link").pose.header.frame_id == "base_link"
    watch.until("camera", WARN, "images are in frame 'camera_link'")


def test_arrival_is_told_by_the_middleware_or_taken_at_its_earliest() -> None:
    """What the middleware held may have come right after it was emptied."""

    class Fixed:
        ros_time_is_active = False
        ns = 50_000_000_000

        def now(self) -> Any:
            return Time(nanoseconds=self.ns)

    arrivals = ArrivalClock(clock := Fixed())
    clock.ns += 2_000_000_000
    assert arrivals.arrived_ns({}) == clock.ns
    arrivals.takes_held = True
    assert arrivals.arrived_ns({}) == 50_000_000_000
    late = {"received_timestamp": time.time_ns() - 1_500_000_000}
    off_s = (clock.ns - arrivals.arrived_ns(late)) * 1e-9
    assert 1.5 <= off_s < 60.0
    ahead = {"received_timestamp": time.time_ns() + 1_500_000_000}
    assert arrivals.arrived_ns(ahead) == clock.ns
