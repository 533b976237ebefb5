# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Rules of the lifting, each in a scene that it alone decides."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scenes import MEDIUM, Tabletop, frame_of, plane_depth, tilted_normal
from test_placing import CONFIDENT, Painted, is_clean

from roborefer_ros.errors import RoboReferError
from roborefer_ros.lifting import LiftingOptions, lift_point
from roborefer_ros.lifting.air import _nearer_follows
from roborefer_ros.lifting.intrinsics import rays_through
from roborefer_ros.types import Mode, PointFlag

#: a pixel of MEDIUM whose hole lies on the border of a near thing
AT = (300.0, 200.0)


def border(own: str, sides: tuple[str, str] = ("red", "blue")):
    """A near thing left of a far wall, each of a colour, and a hole between; ``own`` inside it."""
    colours = {"red": (200, 40, 40), "blue": (40, 60, 200), "grey": (120, 120, 120)}
    left = np.arange(MEDIUM.width)[None, :] + np.zeros((MEDIUM.height, 1)) < AT[0]
    z = np.where(left, 0.6, 1.2)
    v, u = np.mgrid[: MEDIUM.height, : MEDIUM.width]
    hole = np.hypot(u - AT[0], v - AT[1]) <= 4
    z[hole] = np.nan
    frame = frame_of(z + 0.001 * np.random.default_rng(0).normal(size=z.shape), MEDIUM)
    near, far = (np.array(colours[side]) for side in sides)
    rgb = np.where(left[..., None], near, far).astype(np.uint8)
    rgb[hole] = colours[own]
    return replace(frame, rgb=rgb)


@pytest.mark.parametrize("mode", [Mode.AUTO, Mode.OBJECT])
@pytest.mark.parametrize(("own", "z_m"), [("red", 0.6), ("blue", 1.2)])
def test_a_hole_between_two_surfaces_is_on_that_of_its_colour_and_not_sure(own, z_m, mode):
    lifted = lift_point(border(own), AT, LiftingOptions(), mode)
    assert lifted.position_m[2] == pytest.approx(z_m, abs=0.005)
    assert lifted.confidence < CONFIDENT
    assert lifted.flags & PointFlag.EDGE
    assert lifted.flags & PointFlag.HOLE


def test_a_thing_with_a_label_is_told_by_what_is_most_like_it():
    """Most of the near side has another colour than the pixel, and all of the far one."""
    frame = border("red")
    frame.rgb[:, 280:294] = (230, 230, 90)
    lifted = lift_point(frame, AT)
    assert lifted.position_m[2] == pytest.approx(0.6, abs=0.005)


def test_colours_that_do_not_differ_decide_nothing():
    with pytest.raises(RoboReferError):
        lift_point(border("grey", ("grey", "grey")), AT)


def test_a_normals_patch_stops_where_the_surface_bends():
    """A face that bends away 11 px off: readings near the bend still pass as on the plane."""
    ray = rays_through([AT], MEDIUM)[0]
    face = tilted_normal(ray, 0.2, 0.0)
    z = plane_depth(ray * 0.7, face, MEDIUM)
    corner = rays_through([(AT[0] + 11.0, AT[1])], MEDIUM)[0] * z[int(AT[1]), int(AT[0]) + 11]
    c, s = np.cos(0.8), np.sin(0.8)
    other = np.array([c * face[0] + s * face[2], face[1], c * face[2] - s * face[0]])
    bent = np.where(np.arange(MEDIUM.width) > AT[0] + 11, plane_depth(corner, other, MEDIUM), z)
    off = []
    for seed in range(5):
        noisy = bent + 0.0005 * np.random.default_rng(seed).normal(size=z.shape)
        lifted = lift_point(frame_of(noisy, MEDIUM), AT, LiftingOptions(disparity_noise_px=0.03))
        off.append(np.degrees(np.arccos(min(1.0, lifted.normal @ face))))
    assert np.median(off) < 1.2  # 1.7 where the patch grows on


def with_block(share_half_m: float, **changes):
    """The spot beside a block 30 mm tall, of which this much reaches into the footprint."""
    table = Painted(75.0)
    table.put(table.within(0.0, 0.05, 0.03, share_half_m), None, 0.03)
    return table.place(max_occupied_ratio=1.0, **changes)


def test_a_few_readings_off_the_plane_are_flagged_as_not_flat_and_fewer_are_not():
    few, more = with_block(0.002), with_block(0.008)
    assert not few.flags & PointFlag.NOT_FLAT
    assert few.confidence >= CONFIDENT
    assert more.flags & PointFlag.NOT_FLAT
    assert more.confidence < CONFIDENT


def test_a_support_that_may_be_too_tilted_is_not_given_with_confidence():
    scene = Tabletop(35, distance_m=1.6, mug=(5.0, 5.0, 0.01, 0.01))
    up = np.array(scene.up)
    away = np.array([0.0, -up[2], up[1]])
    leaning = tuple(np.cos(0.3) * up + np.sin(0.3) * away)
    pixel = scene.pixel((0.0, 0.0, 0.0))
    for most, sure in ((0.304, False), (0.35, True)):
        options = LiftingOptions(up=leaning, max_tilt_rad=most)
        lifted = lift_point(scene.frame(1, 0.06), pixel, options, Mode.FREE_SPACE)
        assert (lifted.confidence >= CONFIDENT) == sure, (most, lifted.tilt_rad)


@pytest.mark.parametrize("aside", [0.0, 0.02, 0.035])
def test_a_bowl_is_no_place(aside):
    table = Painted(65.0)
    away = np.hypot(table.world[..., 0], table.world[..., 1])
    bowl = np.isfinite(table.scene.z_m) & (away < 0.07)
    table.z_m[bowl] += 0.05 * (away[bowl] / 0.07) ** 2 / table.along[bowl]
    table.rgb[bowl] = (180, 60, 60)
    assert not is_clean(table, aside, 0.0)


def test_a_cup_is_no_place():
    table = Painted(80.0)
    away = np.hypot(table.world[..., 0], table.world[..., 1])
    wall = np.isfinite(table.scene.z_m) & (away > 0.034) & (away < 0.042)
    table.put(wall, (60, 60, 160), 0.09)
    table.put(np.isfinite(table.scene.z_m) & (away <= 0.034), (60, 60, 160), 0.005)
    assert not is_clean(table)


def test_a_little_that_is_low_and_a_few_rims_speak_together_and_not_alone():
    def table(*, low: bool, rims: bool) -> Painted:
        painted = Painted()
        if low:
            painted.put(painted.within(0.02, 0.0, 0.006, 0.006), None, 0.007)
        if rims:
            for x in (-0.035, 0.035):
                painted.put(painted.within(x, 0.0, 0.0015, 0.025), (190, 150, 120))
        return painted

    assert is_clean(table(low=True, rims=False))
    assert is_clean(table(low=False, rims=True))
    both = table(low=True, rims=True).place()
    assert both.flags & PointFlag.COLOUR_CHANGE
    assert both.confidence < CONFIDENT


@pytest.mark.parametrize(("nearer", "confidence"), [(True, 0.42), (False, 0.6)])
def test_over_something_far_behind_a_nearer_thing_is_not_sure(nearer, confidence):
    """Before a wall: a thing 1.6 m away, and right below it in the image one that is 0.8 m away."""
    z = np.full((MEDIUM.height, MEDIUM.width), 2.0)
    z[200:225, 300:340] = 1.6
    if nearer:
        z[228:300, 290:350] = 0.8
    z += 0.001 * np.random.default_rng(0).normal(size=z.shape)
    options = LiftingOptions(up=(0.0, -1.0, 0.0))
    lifted = lift_point(frame_of(z, MEDIUM), (320.0, 190.0), options, Mode.FREE_SPACE)
    assert lifted.position_m[2] == pytest.approx(1.6, abs=0.01)
    assert lifted.flags == PointFlag.IN_AIR
    assert lifted.confidence == pytest.approx(confidence)


@pytest.mark.parametrize(
    ("z_m", "expected"),
    [
        ([1.6] * 9 + [0.8] * 4, True),
        ([1.6] * 9 + [0.8] * 3, False),  # three readings are no surface
        ([1.6] * 9 + [1.25] * 9, False),  # not much nearer
        ([1.6] * 20 + [0.8] * 9, False),  # too far below
        ([1.6] * 4 + [np.nan] * 3 + [0.8] * 6, True),
        ([1.6] * 2, False),
    ],
)
def test_a_run_of_much_nearer_readings_soon_after_what_is_met(z_m, expected):
    points = np.column_stack((np.zeros((len(z_m), 2)), z_m))
    assert _nearer_follows(points, 16.0) is expected


@pytest.mark.parametrize(("flatness_m", "sure"), [(0.008, False), (0.02, True)])
def test_a_support_whose_heights_scatter_by_what_is_asked_for_hides_things(flatness_m, sure):
    scene = Tabletop(60, distance_m=1.4, mug=(9.0, 9.0, 0.04, 0.1))
    options = LiftingOptions(up=scene.up, flatness_m=flatness_m)
    pixel = scene.pixel((0.0, 0.0, 0.0))
    lifted = lift_point(scene.frame(1, 0.09), pixel, options, Mode.FREE_SPACE)
    assert 0.008 < lifted.flatness_m < 0.02
    assert (lifted.confidence >= CONFIDENT) == sure
    assert bool(lifted.flags & PointFlag.NOT_FLAT) != sure
