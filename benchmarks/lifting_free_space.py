# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Whether free spots are given and occupied ones refused, on simulated tabletops."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from roborefer_ros.errors import RoboReferError
from roborefer_ros.lifting import LiftingOptions, lift_point
from roborefer_ros.simulation.held_out import held_out_view
from roborefer_ros.simulation.rendering import FIRST_OBJECT, TABLE, RenderedView
from roborefer_ros.simulation.scenes import TabletopScene
from roborefer_ros.simulation.sensor_noise import d435_depth
from roborefer_ros.types import DepthImage, Mode, PointFlag, RGBDFrame

Array = npt.NDArray[np.float64]

#: farther from every object than the footprint by this counts as free, metres
_MARGIN_M = 0.015
#: what stands inside this share of the footprint makes the spot occupied
_INNER = 0.5
#: a thing below this, such as a plate, is low: at 1 m not far above the sensor's noise
_LOW_M = 0.03
#: a spot whose footprint reaches beyond the picture is neither
_BORDER_PX = 90
_SPOTS = 12


def _spots(
    scene: TabletopScene, view: RenderedView, radius_m: float, rng: np.random.Generator
) -> tuple[Array, Array]:
    """Pixels ``[N, 2]`` of the table that are free, and that are occupied.

    Free by the objects' true circles on the table, also of their hidden sides; occupied by what
    the camera sees of them.
    """
    world = view.points_world()[..., :2]
    height, width = view.instance.shape
    v, u = np.nonzero(view.instance == TABLE)
    inside = (np.minimum(u, v) >= _BORDER_PX) & (u < width - _BORDER_PX)
    inside &= v < height - _BORDER_PX
    pick = rng.permutation(np.flatnonzero(inside))[: 40 * _SPOTS]
    pixels = np.stack([u[pick], v[pick]], axis=1)
    at = world[pixels[:, 1], pixels[:, 0]]
    to_edge = np.min(
        [np.hypot(*(at - (o.x, o.y)).T) - o.footprint_m for o in scene.objects], axis=0
    )
    things = world[view.instance >= FIRST_OBJECT]
    things = things[rng.permutation(len(things))[:2000]]
    to_thing = np.min(np.linalg.norm(at[:, None] - things[None], axis=2), axis=1)
    free = pixels[to_edge > radius_m + _MARGIN_M][:_SPOTS]
    occupied = pixels[to_thing < _INNER * radius_m][:_SPOTS]
    return free.astype(np.float64), occupied.astype(np.float64)


def _height_there(view: RenderedView, pixel: tuple[float, float], radius_m: float) -> float:
    """Height of the things that the camera sees within a radius of a table's pixel, metres."""
    world = view.points_world()
    aside = np.linalg.norm(world[..., :2] - world[int(pixel[1]), int(pixel[0]), :2], axis=2)
    return float(world[..., 2][(view.instance >= FIRST_OBJECT) & (aside < radius_m)].max())


def free_space(scenes: int = 40) -> dict[str, float]:
    """Shares of free spots given and occupied ones refused; errors of those that were given.

    Free spots that other things hide in part from the camera are among them: those are not given
    with confidence, as they are not seen to be free.
    """
    given: list[bool] = []
    warned: list[bool] = []
    confident: list[bool] = []
    refused: dict[bool, list[bool]] = {False: [], True: []}
    low_flagged: list[bool] = []
    off_mm: list[float] = []
    tilt_deg: list[float] = []
    for number in range(scenes):
        scene, view = held_out_view(number, 640, 480)
        rng = np.random.default_rng(number)
        depth = d435_depth(view.depth_m, rng, normals=view.normals, focal_px=view.intrinsics.fx)
        frame = RGBDFrame(view.rgb, DepthImage(depth, 0.001), view.intrinsics, "camera")
        pose = view.world_T_camera
        options = LiftingOptions(up=tuple(float(x) for x in pose[2, :3]))
        free, occupied = _spots(scene, view, options.footprint_radius_m, rng)
        for u, v in free:
            try:
                point = lift_point(frame, (u, v), options, Mode.FREE_SPACE)
            except RoboReferError:
                given.append(False)
                confident.append(False)
                continue
            given.append(True)
            confident.append(point.confidence >= options.confident_above)
            warned.append(bool(point.flags & PointFlag.NOT_FLAT))
            off_mm.append(1e3 * abs(float(pose[2, :3] @ point.position_m + pose[2, 3])))
            tilt_deg.append(float(np.degrees(point.tilt_rad or 0.0)))
        for u, v in occupied:
            low = _height_there(view, (u, v), options.footprint_radius_m) < _LOW_M
            try:
                point = lift_point(frame, (u, v), options, Mode.FREE_SPACE)
            except RoboReferError:
                refused[low].append(True)
                continue
            refused[low].append(False)
            if low:
                low_flagged.append(bool(point.flags & PointFlag.NOT_FLAT))
    return {
        "free": len(given),
        "free_given": float(np.mean(given)),
        "free_confident": float(np.mean(confident)),
        "free_given_but_flagged": float(np.mean(warned)),
        "height_error_p95_mm": float(np.percentile(off_mm, 95)),
        "tilt_p95_deg": float(np.percentile(tilt_deg, 95)),
        "occupied": len(refused[False]),
        "occupied_refused": float(np.mean(refused[False])),
        "occupied_by_low_things": len(refused[True]),
        "low_refused": float(np.mean(refused[True])),
        "low_refused_or_flagged": (sum(refused[True]) + sum(low_flagged)) / len(refused[True]),
    }
