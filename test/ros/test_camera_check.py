# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""``roborefer doctor --camera`` says of a camera what a goal would meet."""

from __future__ import annotations

from typing import Any

import pytest
from refer_graph import Camera, stranger  # type: ignore[import-not-found]
from sensor_msgs.msg import CompressedImage

from roborefer_ros.doctor.check import Check
from roborefer_ros.nodes.camera_check import check_camera

TOPICS = {
    "rgb/image": "/camera/color",
    "depth/image": "/camera/depth",
    "rgb/camera_info": "/camera/info",
}


def by_name(checks: list[Check]) -> dict[str, Check]:
    return {check.name: check for check in checks}


def look(ros: Any, seconds: float = 3.0, **parameters: Any) -> dict[str, Check]:
    return by_name(check_camera({}, parameters, seconds=seconds, context=ros.context))


def test_a_camera_that_works_is_said_to_work(ros: Any) -> None:
    camera = Camera(ros)
    try:
        checks = look(ros)
    finally:
        camera.stop()
    assert not [check for check in checks.values() if check.is_failure]
    assert checks["/rgb/image"].status == "ok"
    assert "Hz" in checks["/rgb/image"].detail
    assert "works: the middle of the image lies at" in checks["a goal"].detail


def test_no_camera_is_said_of_every_topic(ros: Any) -> None:
    checks = look(ros, seconds=0.5)
    for name in ("/rgb/image", "/depth/image", "/rgb/camera_info"):
        assert checks[name].is_failure
        assert "no publisher" in checks[name].detail
    assert checks["a goal"].is_failure
    assert "error 2520" in checks["a goal"].detail


def test_remapped_topics_of_another_type_are_named(ros: Any) -> None:
    with stranger("driver") as node:
        node.create_publisher(CompressedImage, TOPICS["depth/image"], 1)
        checks = by_name(check_camera(TOPICS, {}, seconds=3.0, context=ros.context))
    assert "carries sensor_msgs/msg/CompressedImage" in checks["/camera/depth"].detail
    assert "no publisher" in checks["/camera/color"].detail


def test_a_frame_that_nothing_relates_ends_the_goal_with_its_number(ros: Any) -> None:
    camera = Camera(ros)
    try:
        checks = look(ros, target_frame="nowhere", transform_timeout_s=0.1)
    finally:
        camera.stop()
    assert checks["a goal"].is_failure
    assert "error 2580" in checks["a goal"].detail


def test_two_nodes_of_one_name_are_found(ros: Any) -> None:
    ros.create_node("roborefer")
    ros.create_node("roborefer")
    checks = look(ros, seconds=2.0)
    assert checks["node names"].status == "warn"
    assert "/roborefer: more than one node" in checks["node names"].detail


@pytest.mark.parametrize("line", ["rgb/image", "rgb/image:=", "colour:=/x"])
def test_a_remapping_of_another_form_is_one_line(
    line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    from roborefer_ros.cli import doctor

    assert doctor.main(["--camera", "--remap", line]) == 2
    assert "is not NAME:=TOPIC" in capsys.readouterr().err
