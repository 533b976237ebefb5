# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""``/v1/point`` as a robot needs it: confidences, rejected points, up, region; who answered."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from serving import TOKEN, Served, base64_png  # type: ignore[import-not-found]

from roborefer_ros.errors import DepthNetworkRequiredError
from roborefer_ros.pipeline import ReferPipeline
from roborefer_ros.pointing.factory import open_pointer
from roborefer_ros.simulation.held_out import held_out_scene
from roborefer_ros.types import CameraIntrinsics, DepthImage, PointFlag, ResultWarning, RGBDFrame

BEARER = {"Authorization": f"Bearer {TOKEN}"}
WALL = np.full((48, 64), 1500, np.uint16)
CAMERA = {"fx": 60.0, "fy": 60.0, "cx": 31.5, "cy": 23.5}
IN_3D = {"depth": {"data": base64_png(WALL)}, "intrinsics": CAMERA}


def point(server: Served, **body: Any) -> Any:
    return server.client(headers=BEARER).post("/v1/point", json=body)


def test_points_that_could_not_be_lifted_are_told_apart(echo: Served, image: str) -> None:
    depth = WALL.copy()
    depth[:, :40] = 0
    body = {
        "image": image,
        "instruction": "[(0.1, 0.5), (0.9, 0.5)]",
        "depth": {"data": base64_png(depth)},
        "intrinsics": CAMERA,
    }
    reply = point(echo, **body).json()
    (rejected,) = reply["rejected_points"]
    assert (rejected["u"], rejected["v"]) == (pytest.approx(5.9), 23.5)
    assert rejected["error"]["code"] == 2560
    assert rejected["error"]["message"]
    assert reply["error"]["code"] == 2560, "the model's first point is what was asked for"
    assert point(echo, **body, accept_partial=True).json()["error"] is None
    good = reply["points"][1]
    assert good["model_confidence"] is None
    assert good["confidence"] == good["geometry_confidence"] > 0.0


def test_steps_of_a_reasoning_come_with_the_reply(echo: Served, image: str) -> None:
    said = "<think>[Position] [the lamp]: [(0.1, 0.2)]</think> <answer>[(0.5, 0.5)]</answer>"
    reply = point(echo, image=image, instruction=said, think="on").json()
    assert reply["steps"] == [{"type": "position", "target": "the lamp", "value": [0.1, 0.2]}]
    assert reply["reasoning"] == "[Position] [the lamp]: [(0.1, 0.2)]"
    assert len(reply["points"]) == 1
    part = {"region": [0.5, 0.0, 1.0, 0.5], "crop_to_region": True}
    (step,) = point(echo, image=image, instruction=said, **part).json()["steps"]
    assert step["value"] == pytest.approx([0.55, 0.1]), "over the whole image"
    plain = point(echo, image=image, instruction="[(0.5, 0.5)]").json()
    assert (plain["reasoning"], plain["steps"]) == ("", [])
    assert point(echo, image=image, instruction=said, think="loudly").status_code == 422


def test_the_region_and_the_limits_of_a_request(echo: Served, image: str) -> None:
    asked = {"image": image, "instruction": "[(0.2, 0.5), (0.8, 0.5)]"}
    reply = point(echo, **asked, region=[0.5, 0.0, 1.0, 1.0]).json()
    assert [p["error"]["code"] for p in reply["rejected_points"]] == [2554]
    assert reply["error"]["code"] == 2554
    assert point(echo, **asked, region=[0.0, 0.0, 0.5, 1.0]).json()["error"] is None
    reply = point(echo, **asked, **IN_3D, min_confidence=1.0).json()
    assert {p["error"]["code"] for p in reply["rejected_points"]} == {2568}
    for wrong in ({"region": [0.1]}, {"min_confidence": 2.0}, {"up": [0, 0, 0]}, {"up": [1.0]}):
        refused = point(echo, **asked, **IN_3D, **wrong)
        assert refused.status_code == 422
        assert next(iter(wrong)) in refused.text


def test_a_crop_of_the_region_is_all_that_the_model_sees(echo: Served, image: str) -> None:
    asked = {"image": image, "instruction": "[(0.5, 0.25)]", **IN_3D}
    region = [0.5, 0.0, 1.0, 1.0]
    (whole,) = point(echo, **asked).json()["points"]
    (beside,) = point(echo, **asked, region=region, crop_to_region=False).json()["points"]
    assert (whole["x"], whole["y"]) == (beside["x"], beside["y"]) == (0.5, 0.25)
    (cropped,) = point(echo, **asked, region=region, crop_to_region=True).json()["points"]
    assert (cropped["x"], cropped["y"]) == (0.75, 0.25), "over the whole image"
    assert (cropped["u"], cropped["v"]) == (47.5, 11.5)
    assert cropped["position"]["xyz_m"][0] == pytest.approx(1.5 * (47.5 - 31.5) / 60.0, abs=1e-3)


def test_placing_in_3d_needs_to_know_where_up_is(echo: Served, image: str) -> None:
    place = {"image": image, "instruction": "put it at [(0.5, 0.5)]", **IN_3D}
    refused = point(echo, **place)
    assert refused.status_code == 422
    error = refused.json()["error"]
    assert error["code"] == 2566
    assert "placing_without_up" in error["message"]
    (flagged,) = point(echo, **place, placing_without_up="flag").json()["points"]
    assert "UP_UNKNOWN" in flagged["flags"]
    assert flagged["confidence"] < 0.5
    # The camera looks down at a table: what it sees of it is level.
    (good,) = point(echo, **place, up=[0.0, 0.0, -2.0]).json()["points"]
    assert good["error"] is None
    assert "UP_UNKNOWN" not in good["flags"]
    # The same picture, held level: a wall.
    (wall,) = point(echo, **place, up=[0.0, -1.0, 0.0]).json()["rejected_points"]
    assert wall["error"]["code"] == 2565
    # A 2D point needs no up.
    flat = point(echo, image=image, instruction="put it at [(0.5, 0.5)]").json()
    assert flat["error"] is None
    assert flat["points"][0]["flags"] == []


def test_query_command_tells_what_was_rejected_and_why(
    echo: Served, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from roborefer_ros.cli.query import main

    monkeypatch.setenv("ROBOREFER_API_KEY", TOKEN)
    picture, depth = tmp_path / "a.png", tmp_path / "d.png"
    cv2.imwrite(str(picture), np.zeros((48, 64, 3), np.uint8))
    cv2.imwrite(str(depth), WALL)
    ask = [str(picture), "put it at [(0.5, 0.5), (0.9, 0.5)]", "--url", echo.url]
    ask += ["--depth", str(depth), "--intrinsics", "60", "60", "31.5", "23.5"]
    assert main(ask) == 1
    assert "Send up" in capsys.readouterr().err
    ask += ["--up", "0", "0", "-1", "--region", "0", "0", "0.6", "1"]
    assert main(ask) == 0
    told = capsys.readouterr().out
    assert "confidence" in told
    assert "rejected, error 2554" in told
    assert main([*ask, "--json"]) == 0
    reply = json.loads(capsys.readouterr().out)
    assert [row["error_code"] for row in reply["rejected_points"]] == [2554]
    assert reply["points"][0]["confidence"] == reply["points"][0]["geometry_confidence"] > 0.0


@pytest.fixture(scope="module")
def demo(start: Any) -> Served:
    """The bundled network on a server."""
    return start("--model", "roborefer:demo")


def held_out() -> tuple[RGBDFrame, str]:
    scene = held_out_scene(3, 320, 240, 1)
    view = scene.view
    depth = DepthImage(view.depth_m.astype(np.float32), 1.0)
    return RGBDFrame(view.rgb, depth, view.intrinsics, "camera"), scene.questions[0].instruction


def test_the_bundled_network_is_flagged_behind_http(demo: Served) -> None:
    """A robot that asks a server is told, too."""
    frame, instruction = held_out()
    camera: CameraIntrinsics = frame.intrinsics
    body = {
        "image": base64_png(frame.rgb),
        "instruction": instruction,
        "mode": "object",
        "depth": {"data": base64_png((frame.depth.metres() * 1000).astype(np.uint16))},
        "intrinsics": {name: getattr(camera, name) for name in ("fx", "fy", "cx", "cy")},
    }
    reply = point(demo, **body).json()
    assert reply["warnings"] == ["DEMO_MODEL"]
    first = reply["points"][0]
    assert first["error"] is None, first
    assert "DEMO_MODEL" in first["flags"]
    assert 0.0 < first["confidence"] < 1.0
    assert 0.0 < first["model_confidence"] <= 1.0
    low = point(demo, **body, min_model_confidence=1.0).json()
    assert low["rejected_points"][0]["error"]["code"] == 2553

    pointer = open_pointer(demo.url.replace("http:", "roborefer-http:"))
    try:
        result = ReferPipeline(pointer).refer(frame, instruction)
    finally:
        pointer.close()
    assert result.warnings & ResultWarning.DEMO_MODEL
    assert result.depth_used == "sensor"
    assert all(p.flags & PointFlag.DEMO_MODEL for p in result.points)


def test_what_a_server_saw_of_the_depth_is_told_exactly(demo: Served, echo: Served) -> None:
    """This server has no depth network: it answered from RGB alone, and a strict robot refuses."""
    frame, instruction = held_out()
    pointer = open_pointer(f"{demo.url.replace('http:', 'roborefer-http:')}?depth=server")
    try:
        assert ReferPipeline(pointer).refer(frame, instruction).depth_used == "none"
        with pytest.raises(DepthNetworkRequiredError, match="--depth-network"):
            ReferPipeline(pointer, require_depth=True).refer(frame, instruction)
    finally:
        pointer.close()


def test_the_reply_of_the_reference_stays_as_it_was(echo: Served, image: str) -> None:
    """Only who asks for more gets more."""
    client = echo.client(headers=BEARER)
    body = {"image_url": [image], "text": "[(0.5, 0.5)]"}
    assert set(client.post("/query", json=body).json()) == {"result", "answer"}
    more = client.post("/query", json={**body, "tell_model": 1}).json()
    assert more["model"] == "echo"
