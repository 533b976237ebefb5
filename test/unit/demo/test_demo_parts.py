# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The demo's judge, table and picture; the graph itself is in test/ros/test_demo.py."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from roborefer_ros.cli.demo import main
from roborefer_ros.demo.picture import beside_others, draw_picture
from roborefer_ros.demo.scoring import (
    DemoAnswer,
    choose_questions,
    is_inside,
    surface_distance_m,
)
from roborefer_ros.demo.table import format_summary, format_table
from roborefer_ros.demo.view3d import SideCamera, draw_cloud
from roborefer_ros.simulation.held_out import HeldOutScene, held_out_scene
from roborefer_ros.types import DepthImage, RGBDFrame


@pytest.fixture(scope="module")
def scene() -> HeldOutScene:
    return held_out_scene(0, 320, 240)


def answer(scene: HeldOutScene, **changes: object) -> DemoAnswer:
    """A right answer to the first question."""
    question = scene.questions[0]
    u, v = question.pixel
    position = scene.view.points_world()[v, u]
    right = DemoAnswer(
        scene=0,
        question=question,
        error_code=0,
        error_msg="",
        pixel=(float(u), float(v)),
        position_m=tuple(float(c) for c in position),
        approach=(0.0, 0.0, -1.0),
        frame_id="base_link",
        inside=True,
        distance_m=0.0012,
        timings_s={"encode": 0.01, "prefill": 0.02, "decode": 0.03, "lift": 0.004, "total": 0.07},
    )
    return replace(right, **changes)


def test_judge_pixels_and_positions(scene: HeldOutScene) -> None:
    for question in scene.questions:
        u, v = question.pixel
        assert is_inside(question, (u + 0.4, v - 0.4))
        position = scene.view.points_world()[v, u]
        assert surface_distance_m(scene, question, position) == pytest.approx(0.0, abs=1e-9)
        above = surface_distance_m(scene, question, position + [0.0, 0.0, 0.5])
        assert 0.2 < above <= 0.5
    question = scene.questions[0]
    v, u = np.argwhere(~question.mask)[0]
    assert not is_inside(question, (u, v))
    assert not is_inside(question, (-3.0, 5.0))
    assert not is_inside(question, (5.0, 240.0))


def test_questions_are_chosen_by_kind(scene: HeldOutScene) -> None:
    chosen = choose_questions(scene, 4)
    assert len(chosen) == 4
    assert len({q.instruction for q in chosen}) == 4
    assert chosen[0].kind == "named"
    assert chosen[-1].kind.startswith("free_")
    assert chosen == choose_questions(scene, 4)
    everything = choose_questions(scene, 1000)
    assert len(everything) <= len(scene.questions)


def test_table(scene: HeldOutScene) -> None:
    failed = answer(
        scene, error_code=2544, pixel=None, position_m=None, distance_m=None, inside=False,
        timings_s={},
    )  # fmt: skip
    text = format_table([answer(scene), answer(scene, inside=False), failed])
    right, wrong, error = text.splitlines()[2:]
    assert right.split()[-8:] == ["1.2", "yes", "0", "10", "20", "30", "4", "70"]
    assert " NO " in wrong
    assert "error 2544" in error
    assert "1 of 3" in format_summary([answer(scene), answer(scene, inside=False), failed])


def test_json_row(scene: HeldOutScene) -> None:
    row = json.loads(json.dumps(answer(scene).as_json()))
    assert {
        "instruction", "error_code", "pixel", "position_m", "frame_id", "inside", "distance_m",
        "timings_s",
    } <= set(row)  # fmt: skip
    assert row["inside"] is True
    assert len(row["position_m"]) == 3


def test_picture(scene: HeldOutScene, tmp_path: Path) -> None:
    """It shows a marker where the point is, in the instruction's colour."""
    view = scene.view
    depth = np.nan_to_num(view.depth_m * 1000).astype(np.uint16)
    frame = RGBDFrame(view.rgb, DepthImage(depth, 0.001), view.intrinsics, "camera")
    failed = answer(scene, error_code=2544, pixel=None, position_m=None, approach=None,
                    distance_m=None, inside=False)  # fmt: skip
    path = draw_picture([(scene, frame, [answer(scene), failed])], tmp_path / "demo.png")
    picture = cv2.imread(str(path))[..., ::-1].astype(int)
    marked = np.abs(picture - [0xD5, 0x5E, 0x00]).max(axis=2) < 12
    height, width = marked.shape
    # in the colour image, the depth image and the view in space
    for third in range(3):
        assert marked[:, third * width // 3 : (third + 1) * width // 3].sum() > 50


def test_labels_of_answers_that_coincide_stand_apart() -> None:
    places: list[tuple[float, float]] = []
    for wanted in ((300.0, 200.0), (300.0, 200.0), (310.0, 190.0), (500.0, 200.0)):
        places.append(beside_others(wanted, places))
    assert places[0] == (300.0, 200.0)
    assert places[3] == (500.0, 200.0)
    for number, (u, v) in enumerate(places):
        for x, y in places[:number]:
            assert max(abs(u - x), abs(v - y)) >= 44.0


def test_side_view_hides_what_is_behind() -> None:
    camera = SideCamera.looking_at(np.zeros(3), np.array([0.0, -1.0, 0.0]), 100, 80, np.deg2rad(60))
    points = np.array([[0.0, 0.2, 0.0], [0.0, -0.2, 0.0]])  # far, near: on one ray
    colours = np.array([[255, 0, 0], [0, 255, 0]], np.uint8)
    for order in ([0, 1], [1, 0]):
        image = draw_cloud(points[order], colours[order], camera, 0.05)
        assert image[40, 50].tolist() == [0, 255, 0]
    pixels, depth = camera.project(np.array([[0.1, 0.0, 0.1]]))
    assert pixels[0, 0] > 50
    assert pixels[0, 1] < 40
    assert depth[0] == pytest.approx(1.0)


@pytest.mark.parametrize("arguments", [["--scenes", "0"], ["--questions", "0"], ["--seed", "-1"]])
def test_senseless_arguments_are_refused(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2


def test_two_graphs_of_one_machine_have_domains_of_their_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also where both would begin to look at the same number."""
    from roborefer_ros.demo import processes

    monkeypatch.setattr(processes.os, "getpid", lambda: 7)
    first, second = processes._free_domain(), processes._free_domain()
    assert first != second
    while processes._held:
        processes._held.pop().close()
