# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scenes import Tabletop, frame_of

from roborefer_ros.errors import NoDepthAtPointError
from roborefer_ros.lifting import LiftingOptions, grow_segment, lift_point
from roborefer_ros.simulation.held_out import held_out_view
from roborefer_ros.simulation.rendering import FIRST_OBJECT
from roborefer_ros.simulation.sensor_noise import d435_depth
from roborefer_ros.types import CameraIntrinsics, DepthImage, RGBDFrame

FINE = CameraIntrinsics(1280, 720, 921.0, 921.0, 642.0, 359.0)


def segment_at(scene, point, seed=1, **changes):
    frame, pixel = scene.frame(seed), scene.pixel(point)
    lifted = lift_point(frame, pixel)
    segment = grow_segment(frame, pixel, lifted.position_m[2], LiftingOptions(**changes))
    return segment, scene.world(segment.cloud.points_m)


@settings(max_examples=15, deadline=None)
@given(
    pitch=st.floats(20, 60),
    height=st.floats(0.08, 0.14),
    radius=st.floats(0.03, 0.06),
    up_the_mug=st.floats(0.4, 0.95),
    wall=st.booleans(),
    seed=st.integers(0, 999),
)
def test_the_mug_and_nothing_but_the_mug(pitch, height, radius, up_the_mug, wall, seed):
    scene = Tabletop(
        pitch, mug=(0.0, 0.0, radius, height), wall_y_m=0.3 if wall else None, camera=FINE
    )
    segment, world = segment_at(scene, (0.0, -radius, up_the_mug * height), seed)
    assert not segment.is_support
    on_mug = (np.hypot(world[:, 0], world[:, 1]) < radius + 0.01) & (world[:, 2] > 0.0)
    assert on_mug.mean() > 0.97
    # all of it but the foot, which nothing tells from the table
    assert world[:, 2].max() > height - 0.005
    assert world[:, 2].min() < 0.02
    assert np.ptp(world[:, 0]) > 1.8 * radius


def test_on_the_table_it_is_the_table_around():
    segment, world = segment_at(Tabletop(35, camera=FINE), (0.2, -0.1, 0.0))
    assert segment.is_support
    assert np.abs(world[:, 2]).max() < 0.02
    away = np.hypot(world[:, 0] - 0.2, world[:, 1] + 0.1)
    assert 0.12 < away.max() < 0.155
    assert segment.support.normal == pytest.approx(Tabletop(35).up, abs=0.02)


def test_the_foot_of_the_mug_is_the_mug():
    segment, world = segment_at(Tabletop(60, camera=FINE), (0.0, -0.04, 0.008))
    assert not segment.is_support
    assert world[:, 2].max() > 0.095


def on_simulated_tables(wanted, numbers):
    """Shares of segments on the thing that was asked for, against exact masks and with noise."""
    on_it = []
    for number in numbers:
        scene, view = held_out_view(number, 640, 480)
        rng = np.random.default_rng(number)
        depth = d435_depth(view.depth_m, rng, normals=view.normals, focal_px=view.intrinsics.fx)
        frame = RGBDFrame(view.rgb, DepthImage(depth, 0.001), view.intrinsics, "camera")
        height = view.points_world()[..., 2]
        for index, thing in enumerate(scene.objects):
            mask = view.instance == FIRST_OBJECT + index
            solid = cv2.erode(mask.astype(np.uint8), np.ones((7, 7), np.uint8)) > 0
            pixels = np.argwhere(solid & (height > 0.012) & (depth > 0))
            if len(pixels) < 100 or not wanted(thing.name):
                continue
            for v, u in pixels[rng.choice(len(pixels), 3)]:
                pixel = (float(u), float(v))
                lifted = lift_point(frame, pixel)
                found = grow_segment(frame, pixel, lifted.position_m[2]).cloud.pixels
                on_it.append(float(mask[found[:, 1], found[:, 0]].mean()))
    return np.array(on_it)


def test_a_plate_is_not_the_table():
    """Two centimetres high, at a noise of up to four millimetres in each reading."""
    on_plates = on_simulated_tables(lambda name: "plate" in name, range(0, 20))
    assert len(on_plates) >= 12
    assert (on_plates > 0.95).mean() > 0.9


def test_things_do_not_leak_into_the_table():
    on_things = on_simulated_tables(lambda name: "plate" not in name, range(8))
    assert len(on_things) >= 40
    assert (on_things > 0.8).mean() > 0.95


def test_the_reach_is_a_parameter():
    _, world = segment_at(Tabletop(35), (0.2, -0.1, 0.0), segment_radius_m=0.05)
    assert np.hypot(world[:, 0] - 0.2, world[:, 1] + 0.1).max() < 0.055


def test_two_things_at_different_depths_are_two():
    z = np.full((240, 320), 0.8)
    z[80:160, 100:140] = 0.5
    z[80:160, 140:180] = 0.55
    for u, depth in ((120, 0.5), (160, 0.55)):
        segment = grow_segment(frame_of(z), (u, 120), depth)
        assert segment.cloud.points_m[:, 2] == pytest.approx(depth, abs=1e-4)


def test_the_colours_are_those_of_the_pixels():
    scene = Tabletop(35)
    frame = scene.frame()
    frame.rgb[...] = np.arange(640, dtype=np.uint16)[None, :, None] % 251
    pixel = scene.pixel((0, -0.04, 0.06))
    cloud = grow_segment(frame, pixel, lift_point(frame, pixel).position_m[2]).cloud
    assert (cloud.rgb[:, 0] == cloud.pixels[:, 0] % 251).all()


def test_nothing_at_the_seed():
    with pytest.raises(NoDepthAtPointError):
        grow_segment(frame_of(np.full((240, 320), np.nan)), (160, 120), 0.5)
    with pytest.raises(NoDepthAtPointError):
        grow_segment(frame_of(np.full((240, 320), 2.0)), (160, 120), 0.5)


def test_a_cloud_moves_with_its_frame():
    scene = Tabletop(35)
    segment, world = segment_at(scene, (0.0, 0.0, 0.1))
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = scene.rotation, scene.origin
    assert segment.cloud.moved(pose).points_m == pytest.approx(world, abs=1e-5)
