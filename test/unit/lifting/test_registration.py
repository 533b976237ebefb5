# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Depth from another camera: a tilted table and a box, rendered for both cameras."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scenes import plane_depth, tilted_normal

from roborefer_ros.errors import (
    InvalidCameraInfoError,
    NoValidDepthError,
    RoboReferError,
    SizeMismatchError,
)
from roborefer_ros.lifting import LiftingOptions, crop_cloud, is_aligned, lift_point, register_depth
from roborefer_ros.lifting.intrinsics import project, rays_through
from roborefer_ros.types import CameraIntrinsics, DepthImage, Mode, RGBDFrame

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


@pytest.mark.parametrize(
    ("x", "y"), [(0.5, 0.5), (0.56, 0.52), (0.2, 0.7), (0.8, 0.8), (0.5, 0.85)]
)
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


LENSES = {
    "": (),
    "plumb_bob": (-0.28, 0.09, 0.001, -0.0007, -0.01),
    "rational_polynomial": (0.5, -2.8, 0.0008, 0.0002, 1.6, 0.38, -2.6, 1.5),
    "equidistant": (-0.01, 0.004, -0.003, 0.0005),
}


@settings(max_examples=60, deadline=None)
@given(
    lenses=st.tuples(*[st.sampled_from(sorted(LENSES))] * 2),
    focal=st.tuples(st.floats(330, 480), st.floats(200, 260)),
    turn=st.tuples(*[st.floats(-0.06, 0.06)] * 3),
    shift=st.tuples(*[st.floats(-0.06, 0.06)] * 3),
    pixel=st.tuples(st.floats(80, 560), st.floats(50, 310)),
    z_m=st.floats(0.5, 1.2),
    tilt=st.floats(0.0, 0.8),
    around=st.floats(-3.0, 3.0),
)
def test_planes_through_any_two_lenses(lenses, focal, turn, shift, pixel, z_m, tilt, around):
    colour = CameraIntrinsics(
        640, 360, focal[0], focal[0], 320.0, 180.0, lenses[0], LENSES[lenses[0]]
    )
    depth = CameraIntrinsics(
        424, 240, focal[1], focal[1], 212.0, 120.0, lenses[1], LENSES[lenses[1]]
    )
    transform = np.eye(4)
    transform[:3, :3], transform[:3, 3] = cv2.Rodrigues(np.array(turn))[0], shift
    ray = rays_through([pixel], colour)[0]
    point, normal = ray * z_m, tilted_normal(ray, tilt, around)
    seen = transform[:3, :3].T @ (point - transform[:3, 3])
    raw = plane_depth(seen, transform[:3, :3].T @ normal, depth).astype(np.float32)
    rgb = np.zeros((360, 640, 3), np.uint8)
    frame = RGBDFrame(rgb, DepthImage(raw, 1.0), colour, "colour", 0, depth, transform)
    try:
        lifted = lift_point(frame, pixel)
    except RoboReferError:
        return  # out of the depth camera's view, or at too flat an angle
    if lifted.flags:
        return
    assert np.linalg.norm(lifted.position_m - point) < 0.001
    assert lifted.normal @ normal > np.cos(np.radians(1.5))
    assert lifted.confidence > 0.5


# with k1 = -0.3 the corners of the image have no inverse, with -0.2 they do
@pytest.mark.parametrize("aside", [(1.8, -0.2), (1.4, -0.3)])
def test_what_a_distorted_lens_does_not_show_is_not_folded_into_its_image(aside):
    x, k1 = aside
    narrow = replace(COLOUR, distortion_model="plumb_bob", distortion=(k1, 0.0, 0.0, 0.0, 0.0))
    assert x * (1.0 + k1 * x * x) * narrow.fx + narrow.cx < narrow.width
    assert not np.isfinite(project([(x, 0.0, 1.0)], narrow)).any()
    seen = rays_through([(20.0, 180.0), (600.0, 170.0), (320.0, 0.0)], narrow)
    assert np.isfinite(project(seen, narrow)).all()


def test_noise_of_the_depth_camera_counts_not_that_of_the_colour_grid(frame):
    pixel = (0.2 * frame.width, 0.7 * frame.height)
    exact = LiftingOptions(pixel_sigma_px=0.0, normalised_step=0.0)
    lifted = lift_point(frame, pixel, exact)
    z = lifted.position_m[2]
    sigma = 0.09 * z * z / (DEPTH.fx * 0.05)
    # some twenty elements of the window, of which several share a reading
    per_reading = (frame.intrinsics.fx / DEPTH.fx) ** 2
    assert lifted.covariance[2, 2] > 0.5 * sigma**2 * per_reading / 60


@pytest.mark.parametrize("depth", [DEPTH, replace(DEPTH, fx=450.0, fy=450.0)])
def test_noise_does_not_pull_registered_depth_to_the_camera(depth):
    """Where readings share a pixel the nearest would be the one with the largest error."""
    errors = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        z_m = 0.6 + 0.09 * 0.6**2 / (depth.fx * 0.05) * rng.normal(size=(240, 424))
        frame = RGBDFrame(
            np.zeros((360, 640, 3), np.uint8), DepthImage(z_m.astype(np.float32), 1.0), COLOUR,
            "colour", depth_intrinsics=depth, camera_T_depth=np.eye(4),
        )  # fmt: skip
        exact = LiftingOptions(pixel_sigma_px=0.0, normalised_step=0.0)
        lifted = lift_point(frame, (300.0 + seed, 170.0), exact)
        errors.append((lifted.position_m[2] - 0.6) / np.sqrt(lifted.covariance[2, 2]))
    assert abs(np.mean(errors)) < 0.5
    assert np.sqrt(np.mean(np.square(errors))) < 1.3


def two_surfaces(view, camera_T_view, seed=None):
    """``[H, W]`` depth in the view's frame of a box's face at z = 0.4 m and a wall at 1.2 m."""
    v, u = np.mgrid[: view.height, : view.width]
    rays = rays_through(np.column_stack((u.ravel(), v.ravel())), view) @ camera_T_view[:3, :3].T
    origin = camera_T_view[:3, 3]
    z = (1.2 - origin[2]) / rays[:, 2]
    face = (0.4 - origin[2]) / rays[:, 2]
    on_face = (np.abs((origin + rays * face[:, None])[:, :2]) < (0.1, 0.08)).all(axis=1)
    z[on_face] = face[on_face]
    if seed is not None:
        sigma = 0.09 * z**2 / (view.fx * 0.05)
        z = z + sigma * np.random.default_rng(seed).normal(size=z.shape)
    return z.reshape(view.height, view.width)


def test_nothing_shines_through_a_surface_that_the_depth_camera_sees_from_farther_away():
    """The depth camera stands 30 cm behind and 10 cm aside: its readings of the face land two
    pixels apart, and some of the wall, which it sees past the face, between them."""
    camera = CameraIntrinsics(320, 240, 300.0, 300.0, 160.0, 120.0)
    behind = np.eye(4)
    behind[:3, 3] = (0.1, 0.0, -0.3)
    z = two_surfaces(camera, behind, seed=0)
    rgb = np.zeros((240, 320, 3), np.uint8)
    frame = RGBDFrame(rgb, DepthImage(z.astype(np.float32), 1.0), camera, "c", 0, camera, behind)
    face = two_surfaces(camera, np.eye(4)) < 1.0
    inner = cv2.erode(face.astype(np.uint8), np.ones((9, 9), np.uint8)) > 0
    registered = register_depth(frame)
    assert np.isfinite(registered[inner]).all()
    assert (registered[inner] > 0.5).mean() < 0.001  # noise moves a few readings aside
    pixels = np.argwhere(inner)[:: inner.sum() // 40, ::-1]
    lifted = [lift_point(frame, (float(u), float(v))) for u, v in pixels]
    assert all(abs(point.position_m[2] - 0.4) < 0.02 for point in lifted)
    assert min(point.confidence for point in lifted) > 0.5


def test_noise_is_that_of_where_the_depth_camera_stands():
    """From 40 cm behind the noise is three times that at the colour camera's depth."""
    camera = CameraIntrinsics(640, 480, 450.0, 450.0, 320.0, 240.0)
    behind = np.eye(4)
    behind[2, 3] = -0.4
    rgb = np.zeros((480, 640, 3), np.uint8)
    normal = np.array([0.3, -0.2, -0.9]) / np.linalg.norm([0.3, -0.2, -0.9])
    exact = plane_depth((0, 0, 0.9), normal, camera)
    turned = []
    for seed in range(25):
        noise = np.random.default_rng(seed).normal(size=exact.shape)
        z = exact + 0.09 * exact**2 / (camera.fx * 0.05) * noise
        depth = DepthImage(z.astype(np.float32), 1.0)
        frame = RGBDFrame(rgb, depth, camera, "c", 0, camera, behind)
        lifted = lift_point(frame, (320.0, 240.0))
        variance = np.trace(lifted.covariance[3:, 3:]) - np.pi**2 / 3.0  # without the roll
        turned.append(np.sum(np.cross(lifted.normal, normal) ** 2) / variance)
    assert 0.5 < np.mean(turned) < 2.0
