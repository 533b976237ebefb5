# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Fuller tables: fronts, stacks, shelves, clutter and cameras."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from roborefer_ros.simulation.dataset import generate
from roborefer_ros.simulation.instructions import make_questions
from roborefer_ros.simulation.meshes import object_mesh
from roborefer_ros.simulation.rendering import FIRST_OBJECT, placed_mesh, render
from roborefer_ros.simulation.scenes import SceneObject, TabletopScene
from roborefer_ros.simulation.things import THINGS
from roborefer_ros.simulation.varied import CAMERAS, MOST, sample_varied_scene


@pytest.fixture(scope="module")
def scenes() -> list[TabletopScene]:
    return [sample_varied_scene(np.random.default_rng(number)) for number in range(60)]


def test_tables_hold_few_things_and_many(scenes: list[TabletopScene]) -> None:
    counts = [len(scene.objects) for scene in scenes]
    assert max(counts) == MOST
    assert min(counts) < 8
    shapes = {item.shape for scene in scenes for item in scene.objects}
    assert set(THINGS) <= shapes


def supports(item: SceneObject, below: SceneObject) -> bool:
    """Whether ``item`` stands over ``below`` and inside its outline."""
    distance = np.hypot(item.x - below.x, item.y - below.y)
    return below is not item and distance < below.footprint_m and item.z <= below.height + 1e-6


def test_what_is_not_on_the_table_is_on_or_in_something(scenes: list[TabletopScene]) -> None:
    raised = [(s, item) for s in scenes for item in s.objects if item.z > 0]
    assert len(raised) > 20
    for scene, item in raised:
        assert any(supports(item, below) for below in scene.objects), item
    assert any(i.shape == "ball" for _, i in raised)


def test_things_on_a_board_do_not_reach_the_next_one(scenes: list[TabletopScene]) -> None:
    found = 0
    for scene in scenes:
        for shelf in (o for o in scene.objects if o.shape == "shelf"):
            for item in scene.objects:
                if supports(item, shelf) and 0 < item.z < 0.9 * shelf.height:
                    boards = np.array([0.5, 1.0]) * (shelf.height - 0.01)
                    above = boards[boards > item.z]
                    assert item.z + item.height < above.min()
                    found += 1
    assert found > 5


@pytest.mark.parametrize("name", THINGS)
def test_things_have_the_size_that_is_asked_for_and_a_front(name: str) -> None:
    """Half length along x, half width along y, standing on z = 0; front and back differ."""
    mesh = object_mesh(name, 0.08, 0.12, 0.05)
    low, high = mesh.vertices.min(0), mesh.vertices.max(0)
    assert low == pytest.approx([-0.08, -0.05, 0.0], abs=0.004)
    assert high == pytest.approx([0.08, 0.05, 0.12], abs=0.006)
    if name != "shelf":
        mirrored = {tuple(np.round(v * [-1, 1, 1], 5)) for v in mesh.vertices}
        assert mirrored != {tuple(np.round(v, 5)) for v in mesh.vertices}


@pytest.mark.parametrize("camera", CAMERAS)
def test_every_camera_sees_the_things(camera: str) -> None:
    """Each looks down at its own angle and can be asked about what it sees."""
    seen, questions = [], 0
    for number in range(3):
        rng = np.random.default_rng((number, 9))
        scene = sample_varied_scene(rng, camera)
        view = render(scene, scene.intrinsics(160, 120))
        seen.append(float((view.instance >= FIRST_OBJECT).mean()))
        questions += len(make_questions(scene, view, rng, 6))
        pose = scene.world_T_camera
        down = np.rad2deg(np.arcsin(-pose[2, 2]))
        assert CAMERAS[camera][1][0] - 1e-6 <= down <= CAMERAS[camera][1][1] + 1e-6
        assert pose[:3, :3] @ pose[:3, :3].T == pytest.approx(np.eye(3), abs=1e-9)
        assert np.linalg.det(pose[:3, :3]) == pytest.approx(1.0)
    assert min(seen) > 0.005
    assert questions > 3


def test_meshes_stay_above_the_table(scenes: list[TabletopScene]) -> None:
    for scene in scenes[:20]:
        for item in scene.objects:
            assert placed_mesh(item).vertices[:, 2].min() > -1e-6


def test_a_set_of_another_layout_or_sensor_is_not_mixed(tmp_path: Path) -> None:
    how = {"size": (64, 48), "questions": 4, "workers": 1, "layout": "varied", "sensor": "tof"}
    path = generate(tmp_path, 2, 3, **how)
    assert json.loads(path.read_text())
    with pytest.raises(ValueError, match="choose another folder"):
        generate(tmp_path, 2, 3, **{**how, "sensor": "xtion"})
