# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Ray casting of a scene: colour with light and shadow, exact depth, instance ids.

Open3D's RaycastingScene (Embree) finds the first hit of one ray a pixel; a second ray
towards the light decides on shadow.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from roborefer_ros.simulation.meshes import Mesh, box, object_mesh
from roborefer_ros.simulation.scenes import SceneObject, TabletopScene
from roborefer_ros.types import CameraIntrinsics

#: instance ids: nothing or room, the table, then the scene's objects in order
BACKGROUND, TABLE, FIRST_OBJECT = 0, 1, 2

TABLE_THICKNESS_M = 0.04


@dataclass(frozen=True)
class RenderedView:
    """What the camera sees of a scene, without any sensor noise.

    Attributes:
        rgb: ``[H, W, 3]`` uint8.
        depth_m: ``[H, W]`` float32 along the optical axis, NaN where nothing is hit.
        instance: ``[H, W]`` int16, see the constants above.
        normals: ``[H, W, 3]`` float32 unit normals in the camera frame, facing the camera.
        intrinsics: Intrinsics of the picture.
        world_T_camera: ``[4, 4]``.
    """

    rgb: npt.NDArray[np.uint8]
    depth_m: npt.NDArray[np.float32]
    instance: npt.NDArray[np.int16]
    normals: npt.NDArray[np.float32]
    intrinsics: CameraIntrinsics
    world_T_camera: npt.NDArray[np.float64]

    def points_world(self) -> npt.NDArray[np.float32]:
        """``[H, W, 3]`` metres in the world frame; NaN where nothing is hit."""
        rays = _camera_rays(self.intrinsics) * self.depth_m[..., None]
        rotation, origin = self.world_T_camera[:3, :3], self.world_T_camera[:3, 3]
        points: npt.NDArray[np.float32] = (rays @ rotation.T + origin).astype(np.float32)
        return points


#: a mesh in the world, its albedo, and its instance id
Part = tuple[Mesh, tuple[float, float, float], int]


def render(
    scene: TabletopScene, intrinsics: CameraIntrinsics, parts: Sequence[Part] | None = None
) -> RenderedView:
    """Render a scene.

    Args:
        scene: Scene to render.
        intrinsics: pinhole; see ``TabletopScene.intrinsics``.
        parts: What there is besides ``room_parts``, instead of the scene's objects.
    """
    import open3d as o3d

    # Open3D's stubs leave the defaults of its constructor out.
    tensor: Any = o3d.core.Tensor
    caster = o3d.t.geometry.RaycastingScene(nthreads=1)
    albedo, instance_of = [], []
    for mesh, rgb, instance in [*room_parts(scene), *_or_objects(scene, parts)]:
        caster.add_triangles(tensor(mesh.vertices), tensor(mesh.triangles))
        albedo.append(rgb)
        instance_of.append(instance)

    directions = _camera_rays(intrinsics)
    rotation = scene.world_T_camera[:3, :3].astype(np.float32)
    origin = scene.world_T_camera[:3, 3].astype(np.float32)
    world_directions = directions @ rotation.T
    rays = np.concatenate([np.broadcast_to(origin, world_directions.shape), world_directions], -1)
    hits = caster.cast_rays(tensor(np.ascontiguousarray(rays)))
    # The rays have z = 1 in the camera frame, so the ray parameter is the depth.
    depth = hits["t_hit"].numpy()
    seen = np.isfinite(depth)
    geometry = np.where(seen, hits["geometry_ids"].numpy().astype(np.int64), 0)
    normals = hits["primitive_normals"].numpy()
    facing = np.sum(normals * world_directions, -1, keepdims=True)
    normals = np.where(facing > 0, -normals, normals)
    points = origin + world_directions * np.where(seen, depth, 0.0)[..., None]

    light = scene.light.astype(np.float32)
    toward_light = np.broadcast_to(light, points.shape)
    shadow_rays = np.concatenate([points + 1e-3 * normals, toward_light], -1).astype(np.float32)
    shadowed = caster.test_occlusions(tensor(shadow_rays)).numpy()
    colour = np.asarray(albedo, np.float32)[geometry]
    ids = np.where(seen, np.asarray(instance_of)[geometry], BACKGROUND).astype(np.int16)
    colour = _shade(scene, colour, normals, points, world_directions, shadowed, ids == TABLE)
    colour[~seen] = scene.wall_rgb
    return RenderedView(
        rgb=(np.clip(colour, 0, 1) ** (1 / 1.1) * 255).astype(np.uint8),
        depth_m=np.where(seen, depth, np.nan).astype(np.float32),
        instance=ids,
        normals=(normals @ rotation).astype(np.float32),
        intrinsics=intrinsics,
        world_T_camera=scene.world_T_camera,
    )


def room_parts(scene: TabletopScene) -> list[Part]:
    """Table, floor and wall in world coordinates."""
    x, y, half_x, half_y = scene.table
    table_mesh = _placed(box(half_x, half_y, TABLE_THICKNESS_M), x, y, -TABLE_THICKNESS_M)
    floor = _placed(box(6.0, 6.0, 0.01), 0.0, 0.0, -0.8)
    wall = _placed(box(0.05, 6.0, 5.0), 2.6, 0.0, -0.8)
    return [
        (table_mesh, scene.table_rgb, TABLE),
        (floor, scene.floor_rgb, BACKGROUND),
        (wall, scene.wall_rgb, BACKGROUND),
    ]


def _or_objects(scene: TabletopScene, parts: Sequence[Part] | None) -> Sequence[Part]:
    if parts is not None:
        return parts
    return [
        (placed_mesh(item), item.rgb, FIRST_OBJECT + index)
        for index, item in enumerate(scene.objects)
    ]


def placed_mesh(item: SceneObject) -> Mesh:
    """The object's mesh in world coordinates."""
    mesh = object_mesh(item.shape, item.radius, item.height, item.depth)
    return _placed(mesh, item.x, item.y, item.z, item.yaw)


def _placed(mesh: Mesh, x: float, y: float, z: float, yaw: float = 0.0) -> Mesh:
    c, s = np.cos(yaw), np.sin(yaw)
    rotation = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]], np.float32)
    return Mesh(
        (mesh.vertices @ rotation.T + np.array([x, y, z], np.float32)).astype(np.float32),
        mesh.triangles,
    )


def _shade(
    scene: TabletopScene,
    albedo: npt.NDArray[np.float32],
    normals: npt.NDArray[np.float32],
    points: npt.NDArray[np.float32],
    directions: npt.NDArray[np.float32],
    shadowed: npt.NDArray[np.bool_],
    on_table: npt.NDArray[np.bool_],
) -> npt.NDArray[np.float32]:
    """Lambert with ambient light, a weak highlight on objects, and the table's grain."""
    light = scene.light.astype(np.float32)
    lit = np.where(shadowed, 0.0, 1.0)
    lambert = np.clip(normals @ light, 0.0, 1.0) * lit
    # Light from everywhere still comes from above more than from below.
    ambient = scene.ambient * (0.75 + 0.25 * normals[..., 2])
    radiance = albedo * (ambient + (1.0 - 0.6 * scene.ambient) * lambert)[..., None]
    view = -directions / np.linalg.norm(directions, axis=-1, keepdims=True)
    half = view + light
    half /= np.linalg.norm(half, axis=-1, keepdims=True)
    highlight = 0.15 * lit * np.clip(np.sum(half * normals, -1), 0.0, 1.0) ** 40
    radiance = radiance + np.where(on_table, 0.0, highlight)[..., None]
    amplitude, frequency, angle = scene.texture
    across = points[..., 0] * np.cos(angle) + points[..., 1] * np.sin(angle)
    grain = np.sin(frequency * (across + 0.02 * np.sin(9 * points[..., 1])) * 2 * np.pi)
    radiance *= np.where(on_table, 1.0 + amplitude * grain, 1.0)[..., None]
    return radiance.astype(np.float32)


def _camera_rays(intrinsics: CameraIntrinsics) -> npt.NDArray[np.float32]:
    """``[H, W, 3]`` viewing rays with z = 1."""
    u, v = np.meshgrid(np.arange(intrinsics.width), np.arange(intrinsics.height))
    rays = np.stack(
        [
            (u - intrinsics.cx) / intrinsics.fx,
            (v - intrinsics.cy) / intrinsics.fy,
            np.ones_like(u, dtype=np.float64),
        ],
        -1,
    )
    return rays.astype(np.float32)
