# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Every documented error number, provoked from outside, with the node alive afterwards."""

from __future__ import annotations

import array
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from geometry_msgs.msg import TransformStamped
from rclpy.parameter import Parameter
from refer_graph import (
    CAMERA_FRAME,
    FOCAL,
    HEIGHT,
    WALL_M,
    WIDTH,
    Camera,
    Graph,
    ScriptedPointer,
    graph_fixture,  # noqa: F401
    stranger,
    wait,
    wait_until,
)
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from roborefer_ros import errors
from roborefer_ros.client import Patience, ReferPointClient
from roborefer_ros.nodes.interfaces import ReferPoint
from roborefer_ros.nodes.model_loading import open_pipeline
from roborefer_ros.ros_compat import tf2_ros
from roborefer_ros.simulation.held_out import held_out_scene

Make = Callable[..., Graph]
Case = Callable[[Make], Any]

CODES = {
    name: getattr(ReferPoint.Result, name)
    for name in dir(ReferPoint.Result)
    if name.isupper()
    and name not in ("NONE", "SLOT_TYPES")
    and not name.startswith(("WARNING_", "MODE_"))
}
CASES: dict[str, Case] = {}

#: numbers that no goal can carry: remote models, and rejected goals (which have no result)
RAISED_BY_THE_MODEL = {
    "CHECKPOINT_INVALID": errors.CheckpointInvalidError,
    "DEPENDENCY_MISSING": errors.DependencyMissingError,
    "INVALID_POINTER_SPEC": errors.InvalidPointerSpecError,
    "CHECKPOINT_NOT_FOUND": errors.CheckpointNotFoundError,
}
RAISED_WHILE_ANSWERING = {
    "MODEL_OUT_OF_MEMORY": errors.ModelOutOfMemoryError("CUDA out of memory"),
    "MODEL_FAILED": errors.ModelFailedError("the decoder raised"),
    "NO_POINT_IN_ANSWER": errors.NoPointInAnswerError("no point in 'I see a mug'"),
    "POINT_OUTSIDE_IMAGE": errors.PointOutsideImageError("(1.7, 0.2) is outside"),
    "NOTHING_FOUND": errors.NothingFoundError("the model says that no mug is there"),
    "BACKEND_UNREACHABLE": errors.BackendUnreachableError("connection refused"),
    "BACKEND_TIMEOUT": errors.BackendTimeoutError("no answer in 5 s"),
    "BACKEND_REJECTED": errors.BackendRejectedError("HTTP 400"),
    "BACKEND_FAILED": errors.BackendFailedError("HTTP 500"),
    "BACKEND_BAD_REPLY": errors.BackendBadReplyError("not JSON"),
    "UNKNOWN": RuntimeError("a bug"),
}


def provokes(name: str) -> Callable[[Case], Case]:
    """Register the case of a number."""

    def register(case: Case) -> Case:
        CASES[name] = case
        return case

    return register


def camera_case(name: str, spoil: Callable[..., None], **goal: Any) -> None:
    """A case in which camera messages are spoilt; the next, good frame must be answered."""

    def case(make: Make) -> Any:
        graph = make(frame_timeout_s=1.0, frame_tolerance_s=0.0)
        good, graph.camera.spoil = graph.camera.spoil, spoil
        result = graph.refer(**goal)
        graph.camera.spoil = good
        assert graph.refer().error_code == 0
        return result

    CASES[name] = case


def set_depth(values: Any) -> Callable[..., None]:
    """Spoil: depth in millimetres from a function of the image's rows and columns."""

    def spoil(rgb: Any, depth: Any, info: Any) -> None:
        rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH]
        depth.encoding, depth.step = "16UC1", 2 * WIDTH
        pixels = np.broadcast_to(values(rows, columns), (HEIGHT, WIDTH)).astype("<u2")
        depth.data = array.array("B", pixels.tobytes())

    return spoil


def bad_model(name: str, error: type[errors.RoboReferError]) -> None:
    """The model cannot be opened: the node stays inactive and goals say why."""

    def case(make: Make) -> Any:
        def open_model(_: Any) -> Any:
            raise error("this model cannot be opened; do this and that")

        graph = make(open_model=open_model, activate=False)
        graph.node.trigger_configure()
        graph.node.trigger_activate()
        assert graph.node._state_machine.current_state[1] == "inactive"
        return graph.refer()

    CASES[name] = case


def failing_model(name: str, error: Exception) -> None:
    """The model raises while it answers."""

    def case(make: Make) -> Any:
        graph = make()
        graph.pointer.error = error
        result = graph.refer()
        graph.pointer.error = None
        assert graph.refer().error_code == 0
        return result

    CASES[name] = case


for _name, _class in RAISED_BY_THE_MODEL.items():
    bad_model(_name, _class)
for _name, _error in RAISED_WHILE_ANSWERING.items():
    failing_model(_name, _error)


def _shift(message: Any, **changes: Any) -> None:
    for key, value in changes.items():
        setattr(message, key, value)


camera_case("UNSUPPORTED_ENCODING", lambda rgb, depth, info: _shift(depth, encoding="8UC3"))
camera_case("INVALID_IMAGE", lambda rgb, depth, info: _shift(rgb, data=rgb.data[:100]))
camera_case("INVALID_CAMERA_INFO", lambda rgb, depth, info: _shift(info, k=[0.0] * 9))
camera_case(
    "UNSUPPORTED_DISTORTION",
    lambda rgb, depth, info: _shift(info, distortion_model="fov", d=[0.1, 0.2]),
)
camera_case("SIZE_MISMATCH", lambda rgb, depth, info: _shift(depth, height=HEIGHT // 2))
camera_case("FRAME_MISMATCH", lambda rgb, depth, info: _shift(depth.header, frame_id="elsewhere"))
camera_case("NO_VALID_DEPTH", set_depth(lambda v, u: 0))
camera_case("NO_DEPTH_AT_POINT", set_depth(lambda v, u: np.where(abs(u - WIDTH / 2) < 50, 0, 1000)))
camera_case("OUT_OF_RANGE", set_depth(lambda v, u: 15000))


@provokes("GRAZING_SURFACE")
def _grazing(make: Make) -> Any:
    # A wall that runs away to the right: z = 1 / (1 - tan(60 deg) x), seen at 60 degrees.
    graph = make(frame_tolerance_s=0.0, **{"lifting.max_incidence_rad": 0.8})
    graph.camera.spoil = set_depth(lambda v, u: 1000 / (1 - 1.73 * (u - 79.5) / FOCAL))
    return graph.refer()


@provokes("NOT_FREE_SPACE")
def _not_free(make: Make) -> Any:
    # Nothing can be put on the wall that the camera looks at.
    graph = make(**{"lifting.up": [0.0, -1.0, 0.0]})
    assert graph.refer(mode=ReferPoint.Goal.MODE_OBJECT).error_code == 0
    return graph.refer(mode=ReferPoint.Goal.MODE_FREE_SPACE)


@provokes("INVALID_INSTRUCTION")
def _empty(make: Make) -> Any:
    graph = make()
    assert graph.refer(" \n\t ").error_code == CODES["INVALID_INSTRUCTION"]
    return graph.refer("")


@provokes("INSTRUCTION_TOO_LONG")
def _long(make: Make) -> Any:
    return make().refer("mug " * 25_000)


@provokes("INVALID_GOAL")
def _bad_goal(make: Make) -> Any:
    graph = make()
    for fields in ({"mode": 9}, {"timeout": -1.0}, {"timeout": float("nan")}):
        result = graph.refer(**fields)
        assert result.error_code == CODES["INVALID_GOAL"]
    return result


@provokes("NODE_INACTIVE")
def _inactive(make: Make) -> Any:
    graph = make(activate=False)
    result = graph.refer()
    graph.activate()
    assert graph.refer().error_code == 0
    return result


def _slow(make: Make, **parameters: Any) -> Graph:
    pointer = ScriptedPointer()
    pointer.tokens, pointer.token_s = 1000, 0.01
    return make(pointer=pointer, **parameters)


@provokes("QUEUE_FULL")
def _queue_full(make: Make) -> Any:
    # A rejected goal has no result in ROS 2; the number is in the log and the diagnostics.
    graph = _slow(make, max_queued_goals=0)
    handle = graph.send()
    wait_until(graph.pointer.running.is_set)
    assert not graph.send().accepted
    statistics = graph.node._statistics
    result = ReferPoint.Result(
        error_code=statistics.last_code, error_msg=statistics.last_error.partition(": ")[2]
    )
    wait(handle.cancel_goal_async())
    return result


@provokes("CANCELED")
def _cancelled(make: Make) -> Any:
    graph = _slow(make)
    handle = graph.send()
    wait_until(graph.pointer.running.is_set)
    wait(handle.cancel_goal_async())
    return graph.result_of(handle).result


@provokes("DEADLINE_EXCEEDED")
def _late(make: Make) -> Any:
    return _slow(make).refer(timeout=0.2)


@provokes("SERVER_LOST")
def _server_lost(make: Make) -> Any:
    # Raised by the client: a server that is gone can send no result.
    graph = _slow(make)
    patience = Patience(gone_s=0.2)
    with ReferPointClient(node=graph.client_node, patience=patience) as client:
        goal = client.send("the red mug")
        wait_until(graph.pointer.running.is_set)
        graph.lose_server()
        with pytest.raises(errors.ServerLostError) as caught:
            goal.result(20.0)
    return ReferPoint.Result(error_code=caught.value.code, error_msg=str(caught.value))


@provokes("SHUTTING_DOWN")
def _shutting_down(make: Make) -> Any:
    graph = _slow(make)
    handle = graph.send()
    wait_until(graph.pointer.running.is_set)
    graph.node.trigger_shutdown()
    return graph.result_of(handle).result


@provokes("NO_CAMERA")
def _no_camera(make: Make) -> Any:
    result = make(camera=False, frame_timeout_s=0.3).refer()
    for name in ("/rgb/image", "/depth/image", "/rgb/camera_info"):
        assert name in result.error_msg
    return result


@provokes("CAMERA_STALLED")
def _stalled(make: Make) -> Any:
    graph = make(frame_timeout_s=0.3)
    assert graph.refer().error_code == 0
    silent, graph.camera.silent = graph.camera.silent, {"rgb/image", "depth/image"}
    time.sleep(0.3)
    result = graph.refer()
    graph.camera.silent = silent
    assert graph.refer().error_code == 0
    return result


@provokes("FRAMES_NOT_SYNCHRONIZED")
def _not_synchronised(make: Make) -> Any:
    # No tolerance: a frame from before the offset must not answer.
    graph = make(frame_timeout_s=0.5, sync_slop_s=0.005, frame_tolerance_s=0.0)
    graph.camera.offsets_s["depth/image"] = 0.017
    result = graph.refer()
    graph.camera.offsets_s["depth/image"] = 0.0
    assert graph.refer().error_code == 0
    return result


@provokes("DEPTH_AMBIGUOUS")
def _ambiguous(make: Make) -> Any:
    graph = make(frame_tolerance_s=0.0, **{"lifting.on_low_confidence": "refuse"})
    # A hole with two surfaces at its rim, equally far from the pixel.
    graph.camera.spoil = set_depth(
        lambda v, u: np.where(u < WIDTH / 2 - 2, 700, np.where(u > WIDTH / 2 + 1, 1400, 0))
    )
    return graph.refer()


@provokes("TRANSFORM_UNAVAILABLE")
def _no_transform(make: Make) -> Any:
    result = make(target_frame_is_upright=False).refer(target_frame="base_link")
    assert CAMERA_FRAME in result.error_msg
    assert "base_link" in result.error_msg
    assert result.answer
    return result


@provokes("TRANSFORM_EXTRAPOLATION")
def _old_transform(make: Make) -> Any:
    graph = make()
    broadcaster = tf2_ros.TransformBroadcaster(graph.client_node)
    transform = TransformStamped(child_frame_id=CAMERA_FRAME)
    transform.header.frame_id = "base_link"
    transform.transform.rotation.w = 1.0
    old = graph.client_node.get_clock().now().nanoseconds - 3_000_000_000
    transform.header.stamp.sec, transform.header.stamp.nanosec = divmod(old, 1_000_000_000)
    wait_until(lambda: graph.client_node.count_subscribers("/tf") > 0)
    for _ in range(3):
        broadcaster.sendTransform(transform)
    wait_until(
        lambda: graph.node._transforms._buffer.can_transform(
            "base_link", CAMERA_FRAME, type(graph.node.get_clock().now())()
        )
    )
    return graph.refer(target_frame="base_link")


@provokes("CAMERA_CLOCK")
def _clock_ahead(make: Make) -> Any:
    graph = make(camera=True, frame_timeout_s=0.5)
    graph.camera.clock_offset_s = 5.0
    wait_until(lambda: graph.refer().error_code == CODES["CAMERA_CLOCK"])
    result = graph.refer()
    assert "'/rgb/image' lie 5.0" in result.error_msg
    assert "in the future" in result.error_msg
    graph.camera.clock_offset_s = 0.0
    wait_until(lambda: graph.refer().error_code == 0)
    return result


@provokes("WRONG_MESSAGE_TYPE")
def _wrong_type(make: Make) -> Any:
    graph = make(frame_timeout_s=0.5, camera=False)
    with stranger() as node:
        node.create_publisher(CompressedImage, "/depth/image", 1)
        wait_until(lambda: graph.refer().error_code == CODES["WRONG_MESSAGE_TYPE"])
        result = graph.refer()
    for words in (
        "'/depth/image' carries sensor_msgs/msg/CompressedImage",
        "needed is sensor_msgs/msg/Image",
        "stranger",
        "image_transport",
    ):
        assert words in result.error_msg
    return result


@provokes("NODE_FAULT")
def _camera_thread_ends(make: Make) -> Any:
    """The node leaves its active state, and works again once it is configured and activated."""
    graph = make(camera=False, frame_timeout_s=9.0)
    handle = graph.send()

    def ends(**_: Any) -> None:
        raise SystemExit("a callback ended the thread")

    graph.node._camera._executor.spin_once = ends
    result = graph.result_of(handle).result
    wait_until(lambda: graph.node._state_machine.current_state[1] == "unconfigured")
    assert "a callback ended the thread" in graph.node.problem
    graph.activate()
    graph.camera = Camera(graph.ros)
    assert graph.refer().error_code == 0
    return result


@provokes("INVALID_TRANSFORM")
def _invalid_transform(make: Make) -> Any:
    graph = make(frame_tolerance_s=0.0)
    broadcaster = tf2_ros.StaticTransformBroadcaster(graph.client_node)
    transform = TransformStamped(child_frame_id=CAMERA_FRAME)
    transform.header.frame_id = "base_link"
    transform.transform.rotation.z = transform.transform.rotation.w = 1e300
    broadcaster.sendTransform(transform)
    invalid = CODES["INVALID_TRANSFORM"]
    wait_until(lambda: graph.refer(target_frame="base_link").error_code == invalid)
    result = graph.refer(target_frame="base_link")
    assert "1e+300" in result.error_msg
    assert "base_link" in result.error_msg
    assert graph.refer().error_code == 0
    return result


@provokes("LOW_MODEL_CONFIDENCE")
def _doubtful_model(make: Make) -> Any:
    graph = make()
    graph.pointer.confidences = (0.1,)
    result = graph.refer()
    assert "0.5, 0.5" in result.answer
    assert "min_model_confidence" in result.error_msg
    assert graph.refer(min_model_confidence=0.05).error_code == 0
    graph.pointer.confidences = (0.9,)
    assert graph.refer(min_model_confidence=0.95).error_code == result.error_code
    assert graph.refer().error_code == 0
    return result


@provokes("LOW_CONFIDENCE")
def _doubtful(make: Make) -> Any:
    graph = make(min_confidence=0.5)
    graph.pointer.confidences = (0.4,)
    result = graph.refer()
    assert result.answer
    assert "0.40" in result.error_msg
    assert graph.refer(min_confidence=0.3).error_code == 0
    return result


@provokes("POINT_OUTSIDE_REGION")
def _outside_region(make: Make) -> Any:
    graph = make()
    assert graph.refer(region=[0.4, 0.4, 0.6, 0.6]).error_code == 0
    result = graph.refer(region=[0.0, 0.0, 0.4, 1.0])
    assert result.answer
    return result


@provokes("UP_UNKNOWN")
def _no_up(make: Make) -> Any:
    graph = make()
    result = graph.refer("put it down here")
    for name in ("up_frame", "target_frame", "lifting.up", "imu", "placing_without_up"):
        assert name in result.error_msg
    assert graph.refer("the red mug").error_code == 0
    return result


@provokes("OUT_OF_WORKSPACE")
def _out_of_reach(make: Make) -> Any:
    graph = make(**{"lifting.workspace_m": [-1.0, -1.0, 0.0, 1.0, 1.0, 0.5]})
    flagged = graph.refer()
    assert flagged.error_code == 0
    assert flagged.points[0].flags & flagged.points[0].FLAG_OUT_OF_WORKSPACE
    graph.node.set_parameters([Parameter("on_out_of_workspace", value="refuse")])
    return graph.refer()


@provokes("DEPTH_NETWORK_REQUIRED")
def _no_depth_for_the_model(make: Make) -> Any:
    """The bundled network takes a depth picture; a strict node does not ask it without one."""
    graph = make(open_model=open_pipeline, activate=False, require_depth=True, depth_source="none")
    graph.node.trigger_configure()
    graph.node.trigger_activate()
    result = graph.refer()
    assert "depth_source" in result.error_msg
    assert not result.depth_used
    graph.node.set_parameters([Parameter("depth_source", value="sensor")])
    scene = held_out_scene(0, WIDTH, HEIGHT)
    millimetres = np.nan_to_num(1000.0 * scene.view.depth_m).astype("<u2").tobytes()

    def show_scene(rgb: Image, depth: Image, _: CameraInfo) -> None:
        rgb.data, depth.data = scene.view.rgb.tobytes(), millimetres

    graph.camera.spoil = show_scene  # a wall alone is nothing that the network could point at
    graph.activate()
    found = graph.refer(scene.questions[0].instruction)
    assert found.error_code == 0, found.error_msg
    assert found.depth_used == "sensor"
    return result


@provokes("CONFIGURATION")
def _depth_network_that_went_away(make: Make) -> Any:
    """A folder of the working directory is a depth network when the node starts, and then not."""
    with tempfile.TemporaryDirectory(dir=".") as folder:
        name = Path(folder).name
        graph = make(
            open_model=open_pipeline, activate=False, depth_source="model", depth_network=name
        )
    graph.node.trigger_configure()
    graph.node.trigger_activate()
    result = graph.refer()
    assert name in result.error_msg
    changes = {"depth_network": "auto", "depth_source": "sensor"}
    graph.node.set_parameters([Parameter(name, value=value) for name, value in changes.items()])
    graph.activate()
    return result


def test_every_number_has_a_case() -> None:
    """The constants of the action, the error classes and the cases agree."""
    assert set(CASES) == set(CODES)
    assert set(CODES.values()) == set(errors.ERRORS_BY_CODE)


@pytest.mark.parametrize("name", sorted(CODES))
def test_error(name: str, graph: Make) -> None:
    """The number comes, with a message, and nothing that looks like an answer."""
    result = CASES[name](graph)
    assert result.error_code == CODES[name], f"{result.error_code}: {result.error_msg}"
    assert len(result.error_msg) > 5
    assert not result.points
    assert result.pose.header.frame_id == ""


def test_wall_is_where_the_tests_say(graph: Make) -> None:
    """The spoilt cases differ from this one by what they spoil only."""
    g = graph()
    g.camera.spoil = set_depth(lambda v, u: WALL_M * 1000)
    assert g.refer().error_code == 0
