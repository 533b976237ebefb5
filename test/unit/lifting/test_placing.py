# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Places that look free in depth alone: low things, glass, walls, sides, what is not seen."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from scenes import Tabletop

from roborefer_ros.errors import NotFreeSpaceError, RoboReferError
from roborefer_ros.lifting import LiftedPoint, LiftingOptions, lift_point
from roborefer_ros.lifting.intrinsics import rays_through
from roborefer_ros.types import CameraIntrinsics, DepthImage, Mode, PointFlag, RGBDFrame

EMPTY = (5.0, 5.0, 0.01, 0.01)  # a mug out of sight
CONFIDENT = LiftingOptions().confident_above
Picture = npt.NDArray[np.uint8]


class Painted:
    """A table from 45 degrees, with what lies on it painted and raised by its place there."""

    def __init__(self, pitch_deg: float = 45.0, camera: CameraIntrinsics | None = None) -> None:
        self.scene = Tabletop(
            pitch_deg, mug=EMPTY, **({} if camera is None else {"camera": camera})
        )
        i = self.scene.camera
        v, u = np.mgrid[: i.height, : i.width]
        rays = rays_through(np.column_stack((u.ravel(), v.ravel())), i)
        self.along = (rays @ self.scene.rotation.T)[:, 2].reshape(i.height, i.width)
        points = rays * np.nan_to_num(self.scene.z_m).reshape(-1, 1)
        self.world = self.scene.world(points).reshape(i.height, i.width, 3)
        rng = np.random.default_rng(0)
        grain = rng.integers(-6, 7, (i.height, i.width, 1))
        self.rgb: Picture = np.clip(np.array([150, 110, 80]) + grain, 0, 255).astype(np.uint8)
        self.z_m = self.scene.z_m.copy()

    def within(self, x: float, y: float, half_x: float, half_y: float) -> Any:
        at = np.abs(self.world[..., :2] - (x, y)) <= (half_x, half_y)
        return at.all(axis=-1) & np.isfinite(self.scene.z_m)

    def put(self, mask: Any, colour: tuple[int, int, int] | None, height_m: float = 0.0) -> None:
        if colour is not None:
            self.rgb[mask] = colour
        self.z_m[mask] += height_m / self.along[mask]

    def frame(self, noise_m: float = 0.001) -> RGBDFrame:
        rng = np.random.default_rng(1)
        z = self.z_m + noise_m * rng.normal(size=self.z_m.shape)
        depth = DepthImage(z.astype(np.float32), 1.0)
        return RGBDFrame(self.rgb, depth, self.scene.camera, "camera")

    def place(
        self, x: float = 0.0, y: float = 0.0, noise_m: float = 0.001, **changes: Any
    ) -> LiftedPoint:
        options = LiftingOptions(**{"up": self.scene.up, **changes})
        pixel = self.scene.pixel((x, y, 0.0))
        return lift_point(self.frame(noise_m), pixel, options, Mode.FREE_SPACE)


def is_clean(table: Painted, x: float = 0.0, y: float = 0.0, **changes: Any) -> bool:
    try:
        return table.place(x, y, **changes).confidence >= CONFIDENT
    except RoboReferError:
        return False


def test_a_bare_table_is_given_and_less_surely_where_colour_tells_nothing() -> None:
    table = Painted()
    assert table.place().confidence > 0.95
    table.rgb[:] = 0
    assert 0.8 < table.place().confidence < 0.95


@pytest.mark.parametrize("height_m", [0.007, 0.012])
def test_a_marker_that_a_coarse_noise_model_would_hide_shows_in_the_measured_noise(
    height_m: float,
) -> None:
    table = Painted()
    table.put(table.within(0.0, 0.0, 0.07, 0.007), None, height_m)
    for x, y in ((0.0, 0.0), (0.03, 0.015), (0.0, -0.02)):
        assert not is_clean(table, x, y, disparity_noise_px=0.3)
    assert is_clean(table, 0.0, 0.12, disparity_noise_px=0.3)


def test_a_thing_too_thin_for_depth_is_told_by_its_colour() -> None:
    table = Painted()
    table.put(table.within(0.0, 0.0, 0.06, 0.006), (30, 40, 160))
    lifted = table.place()
    assert lifted.flags & PointFlag.COLOUR_CHANGE
    assert lifted.confidence < CONFIDENT
    assert not is_clean(table, 0.0, 0.02)
    assert is_clean(table, 0.0, 0.12)


def test_the_rim_of_glass_is_told_and_refused_where_readings_are_missing_too() -> None:
    table = Painted()
    outline = table.within(0.0, 0.0, 0.03, 0.03) & ~table.within(0.0, 0.0, 0.022, 0.022)
    table.put(outline, (235, 240, 245))
    assert table.place().flags & PointFlag.COLOUR_CHANGE
    table.z_m[table.within(0.0, 0.0, 0.025, 0.03)] = np.nan
    table.z_m[table.within(0.0, 0.0, 0.004, 0.004)] = table.scene.z_m[
        table.within(0.0, 0.0, 0.004, 0.004)
    ]
    with pytest.raises(NotFreeSpaceError, match="transparent"):
        table.place()


def test_a_chequered_cloth_and_wood_are_free() -> None:
    table = Painted()
    squares = np.floor(table.world[..., :2] / 0.03).sum(axis=-1) % 2 > 0.5
    table.put(squares & np.isfinite(table.scene.z_m), (60, 40, 30))
    for x in (-0.1, 0.0, 0.07, 0.15):
        assert table.place(x, 0.02).flags == PointFlag.SUPPORT_PLANE
        assert is_clean(table, x, 0.02)
    wood = Painted()
    stripes = np.sin(wood.world[..., 1] * 600.0 + 3.0 * np.sin(wood.world[..., 0] * 20.0))
    wood.rgb = np.clip(wood.rgb + 20.0 * stripes[..., None], 0, 255).astype(np.uint8)
    assert all(is_clean(wood, x, 0.0) for x in (-0.1, 0.0, 0.12))


def test_a_soft_shadow_and_falling_light_are_free() -> None:
    table = Painted()
    away = np.hypot(table.world[..., 0] - 0.02, table.world[..., 1])
    shade = 1.0 - 0.4 / (1.0 + np.exp((away - 0.04) / 0.012)) - 0.5 * table.world[..., 0]
    table.rgb = np.clip(table.rgb * np.clip(shade, 0.3, 1.5)[..., None], 0, 255).astype(np.uint8)
    assert table.place().flags == PointFlag.SUPPORT_PLANE
    assert is_clean(table)


def test_a_sheet_of_paper_is_free() -> None:
    table = Painted()
    table.put(table.within(0.0, 0.0, 0.105, 0.148), (245, 245, 245))
    assert is_clean(table)
    assert is_clean(table, 0.1, 0.05)


def test_a_footprint_behind_a_thing_is_flagged_as_not_all_seen() -> None:
    mug = (0.0, 0.0, 0.04, 0.08)
    scene = Tabletop(40, mug=mug)
    seen = []
    for y in np.arange(0.06, 0.2, 0.01):
        try:
            spot = scene.pixel((0.0, y, 0.0))
            lifted = lift_point(scene.frame(1), spot, LiftingOptions(up=scene.up), Mode.FREE_SPACE)
        except RoboReferError:
            continue
        seen.append(lifted)
    unseen = [lifted for lifted in seen if lifted.flags & PointFlag.UNSEEN]
    assert unseen
    assert all(lifted.confidence < CONFIDENT for lifted in unseen)
    assert seen[-1].confidence >= CONFIDENT


@pytest.mark.parametrize("pitch", [15, 25, 40])
def test_the_side_of_a_thing_is_neither_support_nor_air(pitch: float) -> None:
    scene = Tabletop(pitch, mug=(0.0, 0.0, 0.05, 0.18))
    for height in (0.03, 0.06, 0.1, 0.14):
        pixel = scene.pixel((0.0, -0.05, height))
        for up in (scene.up, None):
            with pytest.raises(NotFreeSpaceError):
                lift_point(scene.frame(1), pixel, LiftingOptions(up=up), Mode.FREE_SPACE)


@pytest.mark.parametrize("known", [True, False])
def test_a_wall_behind_a_table_carries_nothing_with_or_without_up(known: bool) -> None:
    scene = Tabletop(20, wall_y_m=0.3, mug=EMPTY)
    options = LiftingOptions(up=scene.up if known else None)
    for x, height in ((0.0, 0.2), (0.2, 0.15), (-0.2, 0.3)):
        pixel = scene.pixel((x, 0.3, height))
        with pytest.raises(NotFreeSpaceError):
            lift_point(scene.frame(1), pixel, options, Mode.FREE_SPACE)


def test_without_up_a_place_is_flagged_and_not_confident() -> None:
    lifted = Painted().place(up=None)
    assert lifted.flags & PointFlag.UP_UNKNOWN
    assert lifted.confidence < CONFIDENT
    assert lifted.tilt_rad is None


def test_a_far_noisy_floor_is_no_air() -> None:
    scene = Tabletop(35, distance_m=2.6, mug=EMPTY)
    for seed in range(4):
        lifted = lift_point(
            scene.frame(seed, 0.15), scene.pixel((0.0, 0.0, 0.0)), LiftingOptions(up=scene.up),
            Mode.FREE_SPACE,
        )  # fmt: skip
        assert lifted.flags & PointFlag.SUPPORT_PLANE
        assert not lifted.flags & PointFlag.IN_AIR
        assert lifted.tilt_rad is not None
        assert lifted.tilt_rad < np.radians(12.0)


def test_above_a_thing_must_be_about_over_it() -> None:
    scene = Tabletop(12, distance_m=1.0, wall_y_m=0.35, mug=(0.0, 0.0, 0.04, 0.08))
    options = LiftingOptions(up=scene.up, air_height_m=0.05)
    near = lift_point(scene.frame(1), scene.pixel((0, 0, 0.14)), options, Mode.FREE_SPACE)
    assert near.flags & PointFlag.IN_AIR
    far = replace(options, air_height_m=0.0)
    with pytest.raises(NotFreeSpaceError):
        lift_point(scene.frame(1), scene.pixel((0, 0, 0.45)), far, Mode.FREE_SPACE)


def test_a_hole_that_looks_like_its_support_is_given_and_one_that_does_not_is_not() -> None:
    table = Painted()
    table.z_m[table.within(0.0, 0.0, 0.022, 0.022)] = np.nan
    lifted = table.place()
    assert lifted.flags & PointFlag.HOLE
    assert lifted.confidence >= CONFIDENT
    table.put(table.within(0.0, 0.0, 0.02, 0.02), (200, 205, 215))
    assert not is_clean(table)
