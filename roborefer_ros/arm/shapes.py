# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Bodies of the tabletop's objects for physics: convex parts where contact matters.

The origin is that of ``simulation.meshes``: the middle of the foot.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from roborefer_ros.arm.robot import import_mujoco
from roborefer_ros.simulation.meshes import Mesh, lathe, object_mesh
from roborefer_ros.simulation.scenes import SceneObject

#: sliding, torsional and rolling friction of painted wood and glazed ceramics
FRICTION = (0.5, 0.005, 0.0005)
#: rolling friction of a ball on a tablecloth
_BALL_FRICTION = (0.5, 0.005, 0.002)
#: kg/m^3: hollow or wooden things; walls of ceramics
_DENSITY_SOLID, _DENSITY_WALL = 350.0, 1200.0
#: boxes around a wall of revolution
_SECTORS = 20


def add_object(spec: Any, name: str, item: SceneObject) -> Any:
    """Add an object to an MjSpec where the scene has it; returns its body."""
    mujoco = import_mujoco()
    half = 0.5 * item.yaw
    body = spec.worldbody.add_body(
        name=name,
        pos=[item.x, item.y, item.z + 0.0005],
        quat=[math.cos(half), 0, 0, math.sin(half)],
    )
    body.add_freejoint(name=name)
    _add_mesh(spec, f"{name}_looks", object_mesh(item.shape, item.radius, item.height, item.depth))
    body.add_geom(
        name=f"{name}_looks", type=mujoco.mjtGeom.mjGEOM_MESH, meshname=f"{name}_looks",
        contype=0, conaffinity=0, group=2, density=0, rgba=[*item.rgb, 1],
    )  # fmt: skip
    _PARTS[item.shape](spec, body, name, item)
    return body


def _add_mesh(spec: Any, name: str, mesh: Mesh, exact: bool = False) -> None:
    mujoco = import_mujoco()
    kind = mujoco.mjtMeshInertia
    spec.add_mesh(
        name=name,
        uservert=mesh.vertices.astype(np.float64).ravel(),
        userface=mesh.triangles.astype(np.int32).ravel(),
        inertia=kind.mjMESH_INERTIA_CONVEX if exact else kind.mjMESH_INERTIA_SHELL,
    )


def _geom(body: Any, kind: str, size: list[float], density: float, **more: Any) -> None:
    mujoco = import_mujoco()
    values: dict[str, Any] = {"friction": FRICTION, "condim": 4, "group": 3, "rgba": [0, 0, 0, 0]}
    body.add_geom(
        type=getattr(mujoco.mjtGeom, f"mjGEOM_{kind.upper()}"),
        size=size,
        density=density,
        **{**values, **more},
    )


def _hull(spec: Any, body: Any, name: str, profile: npt.ArrayLike) -> None:
    _add_mesh(spec, name, lathe(profile, 24), exact=True)
    _geom(body, "mesh", [0, 0, 0], _DENSITY_SOLID, meshname=name)


def _box(_spec: Any, body: Any, _name: str, item: SceneObject) -> None:
    half = 0.5 * item.height
    _geom(body, "box", [item.radius, item.depth, half], _DENSITY_SOLID, pos=[0, 0, half])


def _cylinder(_spec: Any, body: Any, _name: str, item: SceneObject) -> None:
    half = 0.5 * item.height
    _geom(body, "cylinder", [item.radius, half, 0], _DENSITY_SOLID, pos=[0, 0, half])


def _ball(_spec: Any, body: Any, _name: str, item: SceneObject) -> None:
    _geom(
        body, "sphere", [item.radius, 0, 0], _DENSITY_SOLID, pos=[0, 0, item.radius], condim=6,
        friction=_BALL_FRICTION,
    )  # fmt: skip


def _cone(spec: Any, body: Any, name: str, item: SceneObject) -> None:
    _hull(spec, body, f"{name}_hull", [(0, 0), (item.radius, 0), (0, item.height)])


def _bottle(spec: Any, body: Any, name: str, item: SceneObject) -> None:
    r, h = item.radius, item.height
    neck = 0.38 * r
    profile = [(0, 0), (r, 0), (r, 0.55 * h), (0.8 * r, 0.68 * h), (neck, 0.78 * h), (0, 0.78 * h)]
    _hull(spec, body, f"{name}_hull", profile)
    # a capsule has an exact contact with the flat pads of a hand; that of a cylinder wanders
    _geom(body, "capsule", [neck, 0, 0], _DENSITY_SOLID, fromto=[0, 0, 0.70 * h, 0, 0, h - neck])


def _mug(_spec: Any, body: Any, _name: str, item: SceneObject) -> None:
    r, h = item.radius, item.height
    wall = max(0.003, 0.08 * r)
    _geom(body, "cylinder", [r - wall, 0.5 * wall, 0], _DENSITY_WALL, pos=[0, 0, 0.5 * wall])
    _wall(body, [(r - 0.5 * wall, 0.0), (r - 0.5 * wall, h)], wall)
    angles = np.linspace(-0.5 * np.pi, 0.5 * np.pi, 5)
    arc = [(r + 0.55 * r * math.cos(a), 0.5 * h + 0.3 * h * math.sin(a)) for a in angles]
    for (x0, z0), (x1, z1) in zip(arc, arc[1:], strict=False):
        _geom(body, "capsule", [0.11 * r, 0, 0], _DENSITY_WALL, fromto=[x0, 0, z0, x1, 0, z1])


def _bowl(_spec: Any, body: Any, _name: str, item: SceneObject) -> None:
    r, h = item.radius, item.height
    wall = max(0.003, 0.08 * r)
    _geom(body, "cylinder", [0.5 * r, 0.5 * wall, 0], _DENSITY_WALL, pos=[0, 0, 0.5 * wall])
    angles = np.linspace(0.2, np.pi / 2, 5)
    middle = [
        (0.45 * r + 0.55 * r * math.sin(a) - 0.5 * wall, h * (1 - math.cos(a))) for a in angles
    ]
    _wall(body, middle, wall)


def _plate(_spec: Any, body: Any, _name: str, item: SceneObject) -> None:
    r, h = item.radius, item.height
    thick = 0.35 * h
    _geom(body, "cylinder", [0.6 * r, 0.5 * thick, 0], _DENSITY_WALL, pos=[0, 0, 0.5 * thick])
    _wall(body, [(0.6 * r, 0.5 * thick), (r - 0.5 * thick, h - 0.5 * thick)], thick)


def _wall(body: Any, middle: list[tuple[float, float]], thickness: float) -> None:
    """Boxes around the z axis along the middle line ``(radius, z)`` of a wall."""
    for (r0, z0), (r1, z1) in zip(middle, middle[1:], strict=False):
        length = math.hypot(r1 - r0, z1 - z0)
        lean = math.atan2(r1 - r0, z1 - z0)
        radius, z = 0.5 * (r0 + r1), 0.5 * (z0 + z1)
        half_chord = max(r0, r1) * math.tan(math.pi / _SECTORS)
        for sector in range(_SECTORS):
            angle = 2 * math.pi * sector / _SECTORS
            about_z = np.array([math.cos(angle / 2), 0, 0, math.sin(angle / 2)])
            about_y = np.array([math.cos(lean / 2), 0, math.sin(lean / 2), 0])
            quat = np.zeros(4)
            import_mujoco().mju_mulQuat(quat, about_z, about_y)
            _geom(
                body,
                "box",
                [0.5 * thickness, half_chord, 0.5 * length],
                _DENSITY_WALL,
                pos=[radius * math.cos(angle), radius * math.sin(angle), z],
                quat=quat,
            )


_PARTS = {
    "box": _box,
    "cylinder": _cylinder,
    "ball": _ball,
    "cone": _cone,
    "mug": _mug,
    "bowl": _bowl,
    "plate": _plate,
    "bottle": _bottle,
}
