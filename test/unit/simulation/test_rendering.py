# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The rendered picture against exact geometry."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from roborefer_ros.simulation.held_out import held_out_scene, held_out_view
from roborefer_ros.simulation.meshes import object_mesh
from roborefer_ros.simulation.rendering import FIRST_OBJECT, TABLE, render
from roborefer_ros.simulation.scenes import SHAPES, SceneObject, TabletopScene, sample_scene
from roborefer_ros.simulation.sensor_noise import d435_depth, depth_sigma_m
from roborefer_ros.types import CameraIntrinsics

SIZE = (160, 120)


def top_down(*objects: SceneObject) -> TabletopScene:
    """A camera one metre above the table, looking straight down, x of the image along world -y."""
    scene = sample_scene(np.random.default_rng(0))
    pose = np.eye(4)
    pose[:3, :3] = np.array([[0, -1, 0], [-1, 0, 0], [0, 0, -1]], float)
    pose[:3, 3] = (0.6, 0.0, 1.0)
    return replace(scene, objects=objects, world_T_camera=pose, light=np.array([0.0, 0.0, 1.0]))


def thing(shape: str, **changes: float) -> SceneObject:
    values = {"x": 0.6, "y": 0.0, "yaw": 0.0, "radius": 0.05, "height": 0.1, "depth": 0.05}
    return SceneObject(shape=shape, colour="red", rgb=(0.8, 0.1, 0.1), **{**values, **changes})


def test_depth_is_exact() -> None:
    """A ball of 5 cm under the camera: its top is 0.9 m away, the table 1 m."""
    scene = top_down(thing("ball", height=0.1))
    k = CameraIntrinsics(161, 121, 200.0, 200.0, 80.0, 60.0)
    view = render(scene, k)
    assert view.instance[60, 80] == FIRST_OBJECT
    assert view.depth_m[60, 80] == pytest.approx(0.9, abs=5e-4)  # 36 facets, not a sphere
    assert view.instance[5, 5] == TABLE
    assert view.depth_m[5, 5] == pytest.approx(1.0, abs=1e-5)  # along the axis, not the ray
    np.testing.assert_allclose(view.normals[5, 5], [0, 0, -1], atol=1e-6)
    # its outline: the tangent cone of a sphere
    columns = np.flatnonzero(view.instance[60] == FIRST_OBJECT)
    half_angle = np.arcsin(0.05 / 0.95)
    expected = 200.0 * np.tan(half_angle)
    assert (columns[-1] - columns[0]) / 2 == pytest.approx(expected, abs=1.0)


def test_points_in_the_world() -> None:
    """Depth, intrinsics and pose together put table pixels on z = 0."""
    _, view = held_out_view(2, *SIZE)
    z = view.points_world()[view.instance == TABLE][:, 2]
    np.testing.assert_allclose(z, 0.0, atol=2e-5)


def test_shadow_is_dark() -> None:
    """Beside a box that the light comes over, the table is darker than elsewhere."""
    light = np.array([0.0, 0.8, 0.6])
    scene = replace(top_down(thing("box", height=0.1)), light=light, texture=(0.0, 1.0, 0.0))
    view = render(scene, CameraIntrinsics(161, 121, 200.0, 200.0, 80.0, 60.0))
    table = view.instance == TABLE
    points = view.points_world()
    behind = table & (points[..., 1] < -0.06) & (points[..., 1] > -0.15)
    behind &= abs(points[..., 0] - 0.6) < 0.03
    opposite = table & (points[..., 1] > 0.06) & (points[..., 1] < 0.15)
    assert view.rgb[behind].mean() < 0.8 * view.rgb[opposite].mean()


@pytest.mark.parametrize("shape", SHAPES)
def test_objects_stand_on_the_table(shape: str) -> None:
    mesh = object_mesh(shape, 0.05, 0.1, 0.04)
    assert mesh.vertices[:, 2].min() == pytest.approx(0.0, abs=1e-6)
    assert mesh.vertices[:, 2].max() > 0.01
    assert mesh.triangles.max() < len(mesh.vertices)
    # All of it lies within the circle that keeps objects apart; only the very end of a mug's
    # handle looks out, by far less than the clearance.
    reach = thing(shape, depth=0.04).footprint_m + (0.008 if shape == "mug" else 1e-6)
    assert np.linalg.norm(mesh.vertices[:, :2], axis=1).max() <= reach


def test_the_same_number_is_the_same_scene() -> None:
    first, second = held_out_scene(5, *SIZE), held_out_scene(5, *SIZE)
    np.testing.assert_array_equal(first.view.rgb, second.view.rgb)
    assert [q.instruction for q in first.questions] == [q.instruction for q in second.questions]
    other = held_out_scene(6, *SIZE)
    assert not np.array_equal(first.view.rgb, other.view.rgb)
    # The picture does not depend on how much is asked.
    _, view = held_out_view(5, *SIZE)
    np.testing.assert_array_equal(first.view.rgb, view.rgb)


def test_objects_do_not_touch() -> None:
    for seed in range(30):
        scene = sample_scene(np.random.default_rng(seed))
        for i, a in enumerate(scene.objects):
            for b in scene.objects[:i]:
                gap = np.hypot(a.x - b.x, a.y - b.y) - a.footprint_m - b.footprint_m
                assert gap > 0.02


# --- the depth camera's noise ----------------------------------------------------------


def test_noise_follows_the_model() -> None:
    """sigma = Z^2 s / (f B), checked by the spread of many readings of a wall."""
    rng = np.random.default_rng(0)
    for distance in (0.5, 1.0, 2.0):
        wall = np.full((200, 200), distance, np.float32)
        noisy = d435_depth(wall, rng, hole_rate=0.0) * 0.001
        expected = float(depth_sigma_m(np.float64(distance)))
        assert expected == pytest.approx(distance**2 * 0.09 / (640 * 0.05))
        # rounding to millimetres adds a twelfth of a square millimetre
        assert noisy.std() == pytest.approx(np.hypot(expected, 0.001 / 12**0.5), rel=0.05)


def test_holes_where_the_second_imager_is_blind() -> None:
    """Left of a near edge, as wide as the disparity changes there."""
    depth = np.full((40, 200), 1.0, np.float32)
    depth[:, 100:] = 0.5
    focal = 200.0
    readings = d435_depth(depth, np.random.default_rng(0), focal_px=focal, hole_rate=0.0)
    missing = np.flatnonzero(readings[20] == 0)
    width = focal * 0.05 * (1 / 0.5 - 1 / 1.0)  # 10 px
    assert missing.max() == 99
    assert len(missing) == pytest.approx(width, abs=1)


def test_nothing_and_grazing_surfaces_give_no_reading() -> None:
    depth = np.full((20, 20), 1.0, np.float32)
    depth[0] = np.nan
    normals = np.zeros((20, 20, 3), np.float32)
    normals[..., 2] = -1.0
    normals[1] = (np.sin(np.deg2rad(85)), 0.0, -np.cos(np.deg2rad(85)))
    readings = d435_depth(depth, np.random.default_rng(0), normals=normals, hole_rate=0.0)
    assert (readings[:2] == 0).all()
    assert (readings[2:] > 0).all()
