# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""What the RGB-D camera sees of a world in physics.

The picture is that of ``simulation.rendering``, which the bundled network was trained on, with the
objects where physics has them and the robot in it; so the camera needs no OpenGL.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from roborefer_ros.arm.world import ArmWorld
from roborefer_ros.simulation.meshes import Mesh, box, object_mesh
from roborefer_ros.simulation.rendering import BACKGROUND, FIRST_OBJECT, Part, RenderedView, render
from roborefer_ros.simulation.sensor_noise import d435_depth
from roborefer_ros.types import DepthImage, RGBDFrame

Array = npt.NDArray[np.float64]

#: name of the camera's optical frame
CAMERA_FRAME = "camera_color_optical_frame"
#: of the pictures, pixels
SIZE = (640, 480)
#: how far other views are turned about the table's middle, radians
_TURN_RAD = 0.30


def view_of(
    world: ArmWorld, *, size: tuple[int, int] = SIZE, view: int = 0, without: int | None = None
) -> RenderedView:
    """What is seen, without noise; the object with number n has the instance ``FIRST_OBJECT + n``.

    Args:
        world: What to look at.
        size: Width and height, pixels.
        view: 0 is the scene's own camera; odd numbers are turned to one side, even ones to
            the other.
        without: Number of an object to leave out.
    """
    scene = replace(world.scene, world_T_camera=camera_pose(world, view))
    parts: list[Part] = []
    for number, item in enumerate(world.scene.objects):
        if number != without:
            mesh = object_mesh(item.shape, item.radius, item.height, item.depth)
            parts.append((_moved(mesh, world.pose(number)), item.rgb, FIRST_OBJECT + number))
    parts += _robot_parts(world)
    return render(scene, scene.intrinsics(*size), parts)


def camera_pose(world: ArmWorld, view: int) -> Array:
    """``[4, 4]`` pose of the camera in the world for a view; see ``view_of``."""
    steps = (view + 1) // 2 if view % 2 else -(view // 2)
    angle = _TURN_RAD * steps
    c, s = np.cos(angle), np.sin(angle)
    turn = np.eye(4)
    turn[:2, :2] = [[c, -s], [s, c]]
    centre = np.array([0.62, 0.0, 0.0])
    turn[:3, 3] = centre - turn[:3, :3] @ centre
    pose: Array = turn @ world.scene.world_T_camera
    return pose


def frame_of(
    view: RenderedView, rng: np.random.Generator, stamp_ns: int = 0, noise: bool = True
) -> RGBDFrame:
    """What a D435 would send of a view."""
    if noise:
        raw = d435_depth(view.depth_m, rng, normals=view.normals, focal_px=view.intrinsics.fx)
        depth = DepthImage(raw, 0.001)
    else:
        depth = DepthImage(view.depth_m, 1.0)
    return RGBDFrame(view.rgb, depth, view.intrinsics, CAMERA_FRAME, stamp_ns)


def _robot_parts(world: ArmWorld) -> list[Part]:
    """The robot's parts that collide, which have few triangles, in light grey."""
    model, data = world.model, world.data
    parts = []
    for mesh, geom in _robot_geoms(model):
        pose = np.eye(4)
        pose[:3, :3] = np.array(data.geom_xmat[geom]).reshape(3, 3)
        pose[:3, 3] = data.geom_xpos[geom]
        parts.append((_moved(mesh, pose), (0.8, 0.8, 0.8), BACKGROUND))
    return parts


@lru_cache(maxsize=4)
def _robot_geoms(model: Any) -> tuple[tuple[Mesh, int], ...]:
    """Mesh and number of each of the robot's geoms that can collide."""
    found = []
    for geom in range(model.ngeom):
        body = model.body(int(model.geom_bodyid[geom])).name
        if (
            not body.startswith("arm/")
            or not model.geom_contype[geom] | model.geom_conaffinity[geom]
        ):
            continue
        number = int(model.geom_dataid[geom])
        if number >= 0:
            first, count = model.mesh_vertadr[number], model.mesh_vertnum[number]
            face, faces = model.mesh_faceadr[number], model.mesh_facenum[number]
            mesh = Mesh(
                np.array(model.mesh_vert[first : first + count], np.float32),
                np.array(model.mesh_face[face : face + faces], np.uint32),
            )
        else:
            x, y, z = (float(value) for value in model.geom_size[geom])
            whole = box(x, y, 2 * z)
            mesh = Mesh(whole.vertices - np.array([0, 0, z], np.float32), whole.triangles)
        found.append((mesh, geom))
    return tuple(found)


def _moved(mesh: Mesh, pose: Array) -> Mesh:
    vertices = mesh.vertices @ pose[:3, :3].T + pose[:3, 3]
    return Mesh(vertices.astype(np.float32), mesh.triangles)
