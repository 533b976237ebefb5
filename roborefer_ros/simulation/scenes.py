# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Random tabletops.

World frame: REP-103 (x forward, y left, z up), the table's top at z = 0; published as
``base_link``.  The camera looks at the table from the robot's side (smaller x).
"""

from __future__ import annotations

import colorsys
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from roborefer_ros.simulation.things import THINGS
from roborefer_ros.types import CameraIntrinsics

#: name -> (hue range in degrees, saturation range, value range)
_PALETTE: dict[str, tuple[tuple[float, float], tuple[float, float], tuple[float, float]]] = {
    "red": ((-8, 6), (0.80, 0.95), (0.65, 0.90)),
    "orange": ((22, 30), (0.85, 1.00), (0.90, 1.00)),
    "yellow": ((50, 58), (0.80, 0.95), (0.88, 1.00)),
    "green": ((105, 145), (0.60, 0.90), (0.40, 0.70)),
    "blue": ((212, 230), (0.75, 0.95), (0.55, 0.90)),
    "purple": ((268, 285), (0.50, 0.75), (0.45, 0.70)),
    "pink": ((325, 342), (0.35, 0.50), (0.92, 1.00)),
    "white": ((0, 360), (0.00, 0.03), (0.93, 1.00)),
    "black": ((0, 360), (0.00, 0.15), (0.04, 0.10)),
}

COLOURS: tuple[str, ...] = tuple(_PALETTE)

#: name -> (radius range, height range) in metres
_SIZES: dict[str, tuple[tuple[float, float], tuple[float, float]]] = {
    "box": ((0.025, 0.050), (0.040, 0.110)),
    "cylinder": ((0.025, 0.040), (0.060, 0.120)),
    "ball": ((0.030, 0.045), (0.0, 0.0)),
    "cone": ((0.035, 0.050), (0.080, 0.130)),
    "mug": ((0.036, 0.046), (0.080, 0.105)),
    "bowl": ((0.060, 0.085), (0.045, 0.065)),
    "plate": ((0.075, 0.105), (0.014, 0.022)),
    "bottle": ((0.028, 0.038), (0.160, 0.220)),
}

SHAPES: tuple[str, ...] = tuple(_SIZES)

#: objects stand in this rectangle of the table, metres: (x min, x max, y min, y max)
WORKSPACE = (0.38, 0.86, -0.33, 0.33)

_CLEARANCE_M = 0.025


@dataclass(frozen=True)
class SceneObject:
    """One object standing on the table.

    Attributes:
        shape, colour: names out of ``SHAPES`` and ``COLOURS``.
        rgb: ``[3]`` albedo in [0, 1].
        x, y, yaw: pose on the table, metres and radians.
        radius, height, depth: see ``meshes.object_mesh``; metres.
        z: height of its foot above the table, metres.
    """

    shape: str
    colour: str
    rgb: tuple[float, float, float]
    x: float
    y: float
    yaw: float
    radius: float
    height: float
    depth: float
    z: float = 0.0

    @property
    def footprint_m(self) -> float:
        """Radius of the circle on the table that encloses the object."""
        if self.shape == "box" or self.shape in THINGS:
            return float(np.hypot(self.radius, self.depth))
        return self.radius * (1.5 if self.shape == "mug" else 1.0)

    @property
    def name(self) -> str:
        """Colour and shape, as people would name it."""
        return f"{self.colour} {self.shape}"


@dataclass(frozen=True)
class TabletopScene:
    """Everything that decides what the camera sees.

    Attributes:
        objects: Objects, in no particular order.
        world_T_camera: ``[4, 4]`` pose of the colour optical frame in the world.
        horizontal_fov_rad: Horizontal field of view of the camera, radians.
        light: ``[3]`` unit vector towards the light.
        ambient: share of the light that comes from everywhere.
        table_rgb, floor_rgb, wall_rgb: albedos.
        texture: amplitude, frequency [1/m] and angle [rad] of the table's grain.
        table: centre (x, y) and half sizes (x, y) of its top, metres.
    """

    objects: tuple[SceneObject, ...]
    world_T_camera: npt.NDArray[np.float64]
    horizontal_fov_rad: float
    light: npt.NDArray[np.float64]
    ambient: float
    table_rgb: tuple[float, float, float]
    floor_rgb: tuple[float, float, float]
    wall_rgb: tuple[float, float, float]
    texture: tuple[float, float, float] = field(default=(0.0, 1.0, 0.0))
    table: tuple[float, float, float, float] = (0.72, 0.0, 0.75, 0.85)

    def intrinsics(self, width: int, height: int) -> CameraIntrinsics:
        """Pinhole intrinsics of the scene's camera at an image size."""
        f = 0.5 * width / np.tan(0.5 * self.horizontal_fov_rad)
        return CameraIntrinsics(width, height, f, f, 0.5 * (width - 1), 0.5 * (height - 1))


def sample_scene(rng: np.random.Generator) -> TabletopScene:
    """Draw a scene: 3 to 7 objects, some sharing colour, shape or both."""
    objects = _sample_objects(rng, int(rng.integers(3, 8)))
    # from the robot's side, so that the wall behind the table does not put it into shadow
    azimuth, elevation = np.pi + rng.uniform(-1.5, 1.5), rng.uniform(0.7, 1.3)
    light = np.array(
        [
            np.cos(elevation) * np.cos(azimuth),
            np.cos(elevation) * np.sin(azimuth),
            np.sin(elevation),
        ]
    )
    return TabletopScene(
        objects=objects,
        world_T_camera=_sample_camera(rng),
        horizontal_fov_rad=float(np.deg2rad(rng.uniform(62, 70))),
        light=light,
        ambient=float(rng.uniform(0.35, 0.55)),
        table_rgb=_sample_table(rng),
        floor_rgb=_grey(rng, 0.25, 0.5),
        wall_rgb=_grey(rng, 0.55, 0.85),
        texture=(rng.uniform(0.0, 0.10), rng.uniform(15, 60), rng.uniform(0, np.pi)),
    )


def _sample_objects(rng: np.random.Generator, count: int) -> tuple[SceneObject, ...]:
    objects: list[SceneObject] = []
    for _ in range(20 * count):
        if len(objects) == count:
            break
        shape, colour = str(rng.choice(SHAPES)), str(rng.choice(COLOURS))
        if objects and rng.random() < 0.35:  # relations need objects that share a name
            twin = objects[int(rng.integers(len(objects)))]
            which = rng.random()
            shape = twin.shape if which < 0.75 else shape
            colour = twin.colour if which > 0.45 else colour
        candidate = sample_object(rng, shape, colour)
        if all(_apart(candidate, other) for other in objects):
            objects.append(candidate)
    return tuple(objects)


def colour_of(name: str, rng: np.random.Generator) -> tuple[float, float, float]:
    """Hue, saturation and value in [0, 1] of something that people would call so."""
    hue, saturation, value = (rng.uniform(*limits) for limits in _PALETTE[name])
    return (hue / 360.0) % 1.0, saturation, value


def sample_object(rng: np.random.Generator, shape: str, colour: str) -> SceneObject:
    """An object of ``SHAPES`` somewhere in the workspace."""
    (r_low, r_high), (h_low, h_high) = _SIZES[shape]
    radius = rng.uniform(r_low, r_high)
    hsv = colour_of(colour, rng)
    x_min, x_max, y_min, y_max = WORKSPACE
    return SceneObject(
        shape=shape,
        colour=colour,
        rgb=colorsys.hsv_to_rgb(*hsv),
        x=rng.uniform(x_min, x_max),
        y=rng.uniform(y_min, y_max),
        yaw=rng.uniform(-np.pi, np.pi),
        radius=radius,
        height=2 * radius if shape == "ball" else rng.uniform(h_low, h_high),
        depth=rng.uniform(0.6, 1.0) * radius,
    )


def _apart(a: SceneObject, b: SceneObject) -> bool:
    distance = np.hypot(a.x - b.x, a.y - b.y)
    return bool(distance > a.footprint_m + b.footprint_m + _CLEARANCE_M)


def _sample_camera(rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """Look at the workspace from the robot's side, 0.7 to 0.9 m away, 32 to 60 degrees down."""
    x_min, x_max, _, _ = WORKSPACE
    target = np.array([0.5 * (x_min + x_max), 0.0, 0.03]) + rng.uniform(-0.03, 0.03, 3)
    distance = rng.uniform(0.68, 0.92)
    elevation, azimuth = np.deg2rad(rng.uniform(32, 60)), np.deg2rad(rng.uniform(-25, 25))
    return look_at(target, distance, elevation, azimuth, np.deg2rad(rng.uniform(-2, 2)))


def look_at(
    target: npt.NDArray[np.float64],
    distance: float,
    elevation: float,
    azimuth: float,
    roll: float,
) -> npt.NDArray[np.float64]:
    """``[4, 4]`` pose of an optical frame that looks at a point, metres and radians.

    Args:
        target: ``[3]`` the point in the world.
        distance: To the point.
        elevation: Of the camera above the point's horizon.
        azimuth: Of the camera, from the robot's side (-x) towards +y being negative.
        roll: About the optical axis.
    """
    backwards = np.array(
        [
            -np.cos(elevation) * np.cos(azimuth),
            -np.cos(elevation) * np.sin(azimuth),
            np.sin(elevation),
        ]
    )
    forward = -backwards
    right = np.cross(forward, [0.0, 0.0, 1.0])
    right /= np.linalg.norm(right)
    down = np.cross(forward, right)
    right, down = (
        np.cos(roll) * right + np.sin(roll) * down,
        np.cos(roll) * down - np.sin(roll) * right,
    )
    pose = np.eye(4)
    pose[:3, :3] = np.stack([right, down, forward], axis=1)
    pose[:3, 3] = target + distance * backwards
    return pose


def _sample_table(rng: np.random.Generator) -> tuple[float, float, float]:
    """Wood or grey, never a colour that an object could have."""
    if rng.random() < 0.5:
        hue, saturation, value = rng.uniform(22, 36), rng.uniform(0.2, 0.45), rng.uniform(0.35, 0.7)
        return colorsys.hsv_to_rgb(hue / 360, saturation, value)
    return _grey(rng, 0.3, 0.72)


def _grey(rng: np.random.Generator, low: float, high: float) -> tuple[float, float, float]:
    base, tint = rng.uniform(low, high), rng.uniform(-0.03, 0.03)
    return (base + tint, base, base - tint)
