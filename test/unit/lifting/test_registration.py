# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Depth from another camera: a tilted table and a box, rendered for both cameras."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from roborefer_ros.errors import InvalidCameraInfoError, NoValidDepthError, SizeMismatchError
from roborefer_ros.frame import CameraIntrinsics, DepthImage, Mode, RGBDFrame
from roborefer_ros.lifting import crop_cloud, is_aligned, lift_point, register_depth
from roborefer_ros.lifting.intrinsics import rays_through

COLOUR = CameraIntrinsics(640, 360, 460.0, 460.0, 321.0, 179.0)
FINER = CameraIntrinsics(1280, 720, 920.0, 920.0, 642.0, 359.0)
DEPTH = CameraIntrinsics(424, 240, 212.0, 212.0, 212.0, 120.0)
NORMAL = np.array([0.0, -0.6, -0.8])


def pose():
    c, s = np.cos(0.02), np.sin(0.02)
    transform = np.eye(4)
    transform[:3, :3] = [[c, 0, s], [0, 1, 0], [-s, 0, c]]
    transform[:3, 3] = (-0.05, 0.004, 0.002)
    return transform


def render(camera, camera_T_view):
    """``[H, W]`` depth of table and box in the view's frame; the scene is in the colour frame."""
    v, u = np.mgrid[: camera.height, : camera.width]
    rays = rays_through(np.column_stack((u.ravel(), v.ravel())), camera) @ camera_T_view[:3, :3].T
    origin = camera_T_view[:3, 3]
    z = NORMAL @ (np.array([0, 0, 0.7]) - origin) / (rays @ NORMAL)
    z[z <= 0] = np.nan
    box_z = (0.45 - origin[2]) / rays[:, 2]
    box = origin + rays * box_z[:, None]
    on_box = (np.abs(box[:, :2]) < 0.05).all(axis=1)
    z[on_box] = box_z[on_box]
    return z.reshape(camera.height, camera.width)


@pytest.fixture(params=[COLOUR, FINER], ids=["640x360", "1280x720"])
def frame(request):
    raw = np.nan_to_num(render(DEPTH, pose()) * 1000.0).clip(0, 60000).round().astype(np.uint16)
    rgb = np.zeros((request.param.height, request.param.width, 3), np.uint8)
    return RGBDFrame(
        rgb, DepthImage(raw, 0.001), request.param, "colour",
        depth_intrinsics=DEPTH, camera_T_depth=pose(),
    )  # fmt: skip


@pytest.mark.parametrize("x, y", [(0.5, 0.5), (0.56, 0.52), (0.2, 0.7), (0.8, 0.8), (0.5, 0.85)])
def test_points_land_where_the_colour_camera_sees_them(frame, x, y):
    truth = render(frame.intrinsics, np.eye(4))
    u, v = int(x * frame.width), int(y * frame.height)
    lifted = lift_point(frame, (u, v))
    assert lifted.position_m[2] == pytest.approx(truth[v, u], abs=0.004)
    normal = NORMAL if truth[v, u] > 0.5 else np.array([0.0, 0.0, -1.0])
    assert lifted.normal @ normal > np.cos(np.radians(4.0))


def test_whole_image_agrees_and_the_box_hides_the_table(frame):
    registered = register_depth(frame)
    truth = render(frame.intrinsics, np.eye(4))
    assert registered.shape == truth.shape
    seen = np.isfinite(registered)
    assert seen.mean() > 0.5
    error = np.abs(registered - truth)[seen & np.isfinite(truth)]
    assert np.median(error) < 0.001
    assert np.mean(error > 0.02) < 0.01


def test_free_space_works_unaligned(frame):
    pixel = (0.2 * frame.width, 0.7 * frame.height)
    lifted = lift_point(frame, pixel, mode=Mode.FREE_SPACE)
    assert lifted.normal @ NORMAL > np.cos(np.radians(2.0))


def test_sizes_without_intrinsics_are_refused(frame):
    with pytest.raises(SizeMismatchError, match="424x240"):
        lift_point(replace(frame, depth_intrinsics=None), (10, 10))


def test_broken_transform(frame):
    with pytest.raises(InvalidCameraInfoError):
        lift_point(replace(frame, camera_T_depth=np.full((4, 4), np.nan)), (10, 10))
    with pytest.raises(InvalidCameraInfoError):
        lift_point(replace(frame, camera_T_depth=np.zeros((4, 4))), (10, 10))


def test_dead_depth(frame):
    dead = DepthImage(np.zeros_like(frame.depth.raw), 0.001)
    with pytest.raises(NoValidDepthError):
        lift_point(replace(frame, depth=dead), (10, 10))


def test_aligned_is_told_from_unaligned(frame):
    assert not is_aligned(frame)
    same = replace(frame, depth_intrinsics=frame.intrinsics, camera_T_depth=None)
    assert is_aligned(same)


def test_cloud_of_the_box(frame):
    frame.rgb[..., 1] = 77
    cloud = crop_cloud(frame, (0.0, 0.0, 0.45), 0.06)
    assert len(cloud.points_m) > 500
    assert np.linalg.norm(cloud.points_m - (0, 0, 0.45), axis=1).max() <= 0.0601
    assert cloud.points_m[:, 2] == pytest.approx(0.45, abs=0.002)
    assert (cloud.rgb == (0, 77, 0)).all()


def test_empty_cloud(frame):
    assert crop_cloud(frame, (0.0, 0.0, 5.0), 0.1).points_m.shape == (0, 3)
