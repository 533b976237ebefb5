# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Own simulated tabletops: exact boxes, masks and depth.

The tables of ``roborefer simulate`` with more things on them, some of them in or on others, tables
that end near the things, and wider layouts, so that every relation occurs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from roborefer_ros.datagen.locate import mask_pixel
from roborefer_ros.datagen.scene import Array, Box, Camera, Scene
from roborefer_ros.datagen.source import Loaded
from roborefer_ros.simulation.meshes import Mesh, object_mesh
from roborefer_ros.simulation.rendering import (
    FIRST_OBJECT,
    TABLE,
    TABLE_THICKNESS_M,
    RenderedView,
    render,
)
from roborefer_ros.simulation.scenes import SceneObject, TabletopScene, sample_scene
from roborefer_ros.simulation.sensor_noise import d435_depth
from roborefer_ros.types import CameraIntrinsics

#: shapes with a front that people would name: a mug's is its handle
FRONTED = ("mug",)
_CENTRE = np.array([0.62, 0.0])
_CLOUD = 96
_APART_M = 0.02
_LEAST_SHARE = 0.4
_LEAST_PIXELS = 40


def sample_layout(rng: np.random.Generator) -> TabletopScene:
    """A tabletop with 4 to about 12 things."""
    base, more = sample_scene(rng), sample_scene(rng)
    spread = 1.0 if rng.random() < 0.4 else float(rng.uniform(1.2, 2.2))
    objects: list[SceneObject] = []
    for item in (*base.objects, *more.objects):
        x, y = _CENTRE + spread * (np.array([item.x, item.y]) - _CENTRE)
        item = replace(item, x=float(x), y=float(y))
        if all(_apart(item, other) for other in objects):
            objects.append(item)
    objects += _stacked(objects, rng)
    pose = base.world_T_camera.copy()
    target = np.array([*_CENTRE, 0.03])
    pose[:3, 3] = target + spread * (pose[:3, 3] - target)
    scene = replace(base, objects=tuple(objects), world_T_camera=pose)
    return replace(scene, table=_table(objects, rng))


def _apart(a: SceneObject, b: SceneObject) -> bool:
    return float(np.hypot(a.x - b.x, a.y - b.y)) > a.footprint_m + b.footprint_m + _APART_M


def _stacked(objects: list[SceneObject], rng: np.random.Generator) -> list[SceneObject]:
    """Small things in bowls, on plates and on boxes."""
    added = []
    for below in objects:
        if below.shape not in ("bowl", "plate", "box") or rng.random() < 0.4:
            continue
        shape = "ball" if below.shape == "bowl" else str(rng.choice(["ball", "box", "cylinder"]))
        radius = float(rng.uniform(0.5, 0.8)) * min(0.55 * below.radius, below.depth or 1.0, 0.035)
        if below.shape == "box":
            radius = float(rng.uniform(0.6, 0.9)) * min(below.radius, below.depth)
        if radius < 0.012:
            continue
        floor = {"bowl": max(0.003, 0.08 * below.radius), "plate": 0.35 * below.height}
        colours = [o for o in objects if o is not below]
        colour = colours[int(rng.integers(len(colours)))] if colours else below
        height = 2 * radius if shape == "ball" else float(rng.uniform(1.5, 2.5)) * radius
        added.append(
            SceneObject(
                shape, colour.colour, colour.rgb, below.x, below.y, float(rng.uniform(-3, 3)),
                radius, height, 0.8 * radius, floor.get(below.shape, below.height),
            )
        )  # fmt: skip
    return added


def _table(
    objects: list[SceneObject], rng: np.random.Generator
) -> tuple[float, float, float, float]:
    """The usual table, or one that ends close to the outermost things."""
    low, high = (
        np.array([f((o.x + s * o.footprint_m, o.y + s * o.footprint_m)) for o in objects])
        for f, s in ((np.array, -1.0), (np.array, 1.0))
    )
    margin = rng.uniform(0.02, 0.15, 2) if rng.random() < 0.6 else np.array([0.5, 0.6])
    lowest, highest = low.min(0) - margin, high.max(0) + margin
    centre, half = (lowest + highest) / 2, (highest - lowest) / 2
    return float(centre[0]), float(centre[1]), float(half[0]), float(half[1])


def simulated(seed: int, number: int, size: tuple[int, int]) -> tuple[Scene, RenderedView]:
    """Scene ``number`` of a seed with its picture.

    Args:
        seed: Of the whole set.
        number: Which one.
        size: Width and height of the picture, pixels.
    """
    layout = sample_layout(np.random.default_rng((seed, number, 14)))
    view = render(layout, layout.intrinsics(*size))
    return with_boxes(layout, view, f"tabletop-{seed}-{number}"), view


def with_boxes(layout: TabletopScene, view: RenderedView, name: str) -> Scene:
    """The boxes of a rendered layout, with the pixels at which things show."""
    camera = camera_of(view.intrinsics, view.world_T_camera)
    table = _placed_box(
        "table", "table", _table_mesh(layout), np.zeros(3), 0.0, view.world_T_camera
    )
    boxes = [replace(table, pixel=mask_pixel(view.instance == TABLE), points=None)]
    for index, item in enumerate(layout.objects):
        box = object_box(f"{index}-{item.shape}", item, view.world_T_camera)
        mask = view.instance == FIRST_OBJECT + index
        boxes.append(_seen(box, mask, camera))
    return Scene(name, camera, tuple(boxes), view.depth_m, name, 0, view.world_T_camera)


def boxes_only(layout: TabletopScene, size: tuple[int, int], name: str) -> Scene:
    """A layout without its picture: nothing is hidden but what is out of view."""
    intrinsics = layout.intrinsics(*size)
    pose = layout.world_T_camera
    boxes = [_placed_box("table", "table", _table_mesh(layout), np.zeros(3), 0.0, pose)]
    boxes += [object_box(f"{i}-{o.shape}", o, pose) for i, o in enumerate(layout.objects)]
    return Scene(name, camera_of(intrinsics, pose), tuple(boxes))


def _seen(box: Box, mask: npt.NDArray[np.bool_], camera: Camera) -> Box:
    """The box with its pixel, if enough of it shows."""
    outline = camera.project(box.corners)
    extent = float(np.prod(np.ptp(outline, axis=0)))
    pixels = int(mask.sum())
    shown = pixels >= max(_LEAST_PIXELS, _LEAST_SHARE * 0.5 * extent)
    return replace(box, pixel=mask_pixel(mask) if shown else None, visible=shown)


def camera_of(intrinsics: CameraIntrinsics, world_T_camera: npt.NDArray[np.float64]) -> Camera:
    """The camera with the direction of gravity that its pose tells."""
    return Camera(
        intrinsics.matrix,
        intrinsics.width,
        intrinsics.height,
        gravity_of(-world_T_camera[2, :3]),
    )


def gravity_of(down: npt.ArrayLike) -> Array:
    """The rotation to the upright frame from the direction of "down" in the camera frame.

    Args:
        down: ``[3]`` vector, not along the camera's x axis.

    Returns:
        ``[3, 3]``; its columns are the upright axes in the camera frame.
    """
    y = np.asarray(down, np.float64) / np.linalg.norm(down)
    x = np.array([1.0, 0.0, 0.0]) - y[0] * y
    x /= np.linalg.norm(x)
    return np.stack([x, y, np.cross(x, y)], axis=1)


@lru_cache(maxsize=256)
def _mesh(shape: str, radius: float, height: float, depth: float) -> Mesh:
    return object_mesh(shape, radius, height, depth)


def object_box(name: str, item: SceneObject, world_T_camera: npt.NDArray[np.float64]) -> Box:
    """The box of a simulated thing in the camera frame."""
    mesh = _mesh(item.shape, item.radius, item.height, item.depth)
    place = np.array([item.x, item.y, item.z])
    box = _placed_box(name, item.shape, mesh, place, item.yaw, world_T_camera)
    return replace(box, colour=item.colour, has_front=item.shape in FRONTED)


def _table_mesh(layout: TabletopScene) -> Mesh:
    x, y, half_x, half_y = layout.table
    low, high = (x - half_x, y - half_y, -TABLE_THICKNESS_M), (x + half_x, y + half_y, 0.0)
    return Mesh(np.array([low, high], np.float32), np.zeros((0, 3), np.uint32))


def _placed_box(
    name: str, category: str, mesh: Mesh, place: Array, yaw: float,
    world_T_camera: npt.NDArray[np.float64],
) -> Box:  # fmt: skip
    """A mesh's bounding box: own axes x (front), down, y of the mesh."""
    vertices = mesh.vertices.astype(np.float64)
    low, high = vertices.min(0), vertices.max(0)
    c, s = np.cos(yaw), np.sin(yaw)
    turn = np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])
    rotation, origin = world_T_camera[:3, :3], world_T_camera[:3, 3]
    own = np.stack([turn[:, 0], -turn[:, 2], turn[:, 1]], axis=1)
    step = max(1, len(vertices) // _CLOUD)
    cloud = vertices[::step] @ turn.T + place
    centre = turn @ ((low + high) / 2) + place
    extent = high - low
    return Box(
        name, category, (centre - origin) @ rotation, extent[[0, 2, 1]], rotation.T @ own,
        (cloud - origin) @ rotation,
    )  # fmt: skip


@dataclass(frozen=True)
class SimulationSource:
    """Simulated tabletops.

    Attributes:
        seed: Of the whole set.
        scenes: How many.
        size: Width and height of the pictures, pixels.
    """

    seed: int
    scenes: int
    size: tuple[int, int] = (640, 480)

    def names(self) -> Sequence[str]:
        """See ``Source``."""
        return [f"tabletop-{self.seed}-{number}" for number in range(self.scenes)]

    def load(self, name: str) -> Loaded:
        """See ``Source``."""
        number = int(name.rpartition("-")[2])
        scene, view = simulated(self.seed, number, self.size)
        return Loaded(scene, view.rgb, _sensed(view, (self.seed, number, 15)))

    def second_view(self, name: str) -> Loaded | None:
        """The same table from a camera that was turned and moved by some degrees."""
        number = int(name.rpartition("-")[2])
        rng = np.random.default_rng((self.seed, number, 16))
        if rng.random() < 0.5:
            return None
        layout = sample_layout(np.random.default_rng((self.seed, number, 14)))
        pose = layout.world_T_camera.copy()
        yaw, pitch = rng.uniform(-0.35, 0.35), rng.uniform(-0.2, 0.2)
        turned, _ = cv2.Rodrigues(np.array([pitch, yaw, 0.0]))
        pose[:3, :3] = pose[:3, :3] @ turned
        pose[:3, 3] += rng.uniform(-0.08, 0.08, 3)
        layout = replace(layout, world_T_camera=pose)
        view = render(layout, layout.intrinsics(*self.size))
        scene = with_boxes(layout, view, name)
        return Loaded(scene, view.rgb, _sensed(view, (self.seed, number, 17)))

    def settings(self) -> dict[str, Any]:
        """See ``Source``."""
        return {"source": "simulation", "seed": self.seed, "size": list(self.size)}


def _sensed(view: RenderedView, seed: tuple[int, ...]) -> npt.NDArray[np.float32]:
    """Metres as a depth camera would read them."""
    rng = np.random.default_rng(seed)
    mm = d435_depth(view.depth_m, rng, normals=view.normals, focal_px=view.intrinsics.fx)
    metres: npt.NDArray[np.float32] = np.where(mm > 0, mm * np.float32(0.001), np.nan)
    return metres.astype(np.float32)
