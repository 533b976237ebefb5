# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Camera presets: sound, complete, and refused with a reason where they are not."""

from __future__ import annotations

from pathlib import Path

import pytest

from roborefer_ros.camera_presets import TOPIC_NAMES, load_preset, preset_names
from roborefer_ros.lifting import LiftingOptions
from roborefer_ros.nodes.parameter_table import PARAMETERS


def test_all_cameras_are_there() -> None:
    assert preset_names() == [
        "astra",
        "azure_kinect",
        "gazebo",
        "isaac_sim",
        "oak",
        "openni",
        "orbbec",
        "realsense",
        "simulation",
        "webots",
        "zed",
    ]


@pytest.mark.parametrize("name", preset_names())
def test_presets_are_sound(name: str) -> None:
    preset = load_preset(name)
    assert set(TOPIC_NAMES[:3]) <= set(preset.remappings)
    assert all(topic.startswith("/") for topic in preset.remappings.values())
    specs = {spec.name: spec for spec in PARAMETERS}
    for parameter, value in preset.parameters.items():
        assert type(value) is specs[parameter].type


@pytest.mark.parametrize("name", preset_names())
def test_presets_know_their_sensor(name: str) -> None:
    parameters = load_preset(name).parameters
    lifting = {
        key.removeprefix("lifting."): value
        for key, value in parameters.items()
        if key.startswith("lifting.")
    }
    LiftingOptions(**lifting)  # within every range
    assert {"depth_noise_model", "shadow_side"} <= set(lifting)
    if lifting["depth_noise_model"] == "stereo":
        assert {"baseline_m", "disparity_noise_px"} <= set(lifting)


def test_a_file_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("remappings: {rgb/image: /a, depth/image: /b, rgb/camera_info: /c}\n")
    assert load_preset(str(path)).remappings["depth/image"] == "/b"
    assert load_preset(str(path)).parameters == {}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "remappings"),
        ("[]", "remappings"),
        ("remappings: {rgb/image: /a}", "depth/image"),
        (
            "remappings: {rgb/image: /a, depth/image: /b, rgb/camera_info: /c, tof: /d}",
            "remappings",
        ),
    ],
)
def test_another_form_is_refused(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=words):
        load_preset(str(path))


def test_an_unknown_name_lists_the_known() -> None:
    with pytest.raises(ValueError, match="realsense, simulation, webots, zed"):
        load_preset("kinect360")


@pytest.mark.parametrize(
    ("name", "names", "topic"),
    [
        ("realsense", {}, "/camera/camera/color/image_raw"),
        ("realsense", {"camera_name": "d435"}, "/camera/d435/color/image_raw"),
        ("realsense", {"namespace": "robot1"}, "/robot1/camera/camera/color/image_raw"),
        (
            "realsense",
            {"namespace": "/robot1/", "camera_namespace": "left", "camera_name": "d435"},
            "/robot1/left/d435/color/image_raw",
        ),
        ("realsense", {"namespace": "robot1", "camera_namespace": "/"}, "/camera/color/image_raw"),
        (
            "realsense",
            {"namespace": "robot1", "camera_namespace": "/cell"},
            "/cell/camera/color/image_raw",
        ),
        ("zed", {"camera_name": "zed2i"}, "/zed2i/zed_node/rgb/color/rect/image"),
        ("isaac_sim", {"namespace": "robot1"}, "/robot1/rgb"),
        ("azure_kinect", {"camera_namespace": "left"}, "/left/rgb/image_raw"),
        ("webots", {"camera_namespace": "tiago"}, "/tiago/camera/image_color"),
        ("oak", {"camera_name": "oak_d"}, "/oak_d/rgb/image_raw"),
    ],
)
def test_topics_follow_the_driver_s_names(name: str, names: dict[str, str], topic: str) -> None:
    assert load_preset(name).topics(**names)["rgb/image"] == topic


@pytest.mark.parametrize("name", preset_names())
def test_without_names_the_topics_are_the_preset_s(name: str) -> None:
    preset = load_preset(name)
    assert preset.topics() == preset.remappings
