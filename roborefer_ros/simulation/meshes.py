# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Triangle meshes of the tabletop objects, standing on z = 0, centred on the z axis, metres."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

_SEGMENTS = 36


@dataclass(frozen=True)
class Mesh:
    """``vertices`` ``[V, 3]`` float32 metres, ``triangles`` ``[T, 3]`` uint32."""

    vertices: npt.NDArray[np.float32]
    triangles: npt.NDArray[np.uint32]


def lathe(profile: npt.ArrayLike, segments: int = _SEGMENTS) -> Mesh:
    """Turn a profile of ``(radius, z)`` points about the z axis."""
    points = np.asarray(profile, np.float32)
    angles = np.linspace(0.0, 2 * np.pi, segments, endpoint=False)
    ring = np.stack([np.cos(angles), np.sin(angles)], -1)
    xy = points[:, None, :1] * ring[None]
    z = np.broadcast_to(points[:, None, 1:], (*xy.shape[:2], 1))
    vertices = np.concatenate([xy, z], -1).reshape(-1, 3)
    return Mesh(vertices.astype(np.float32), _grid_triangles(len(points), segments, True))


def tube(path: npt.ArrayLike, radius: float, segments: int = 10) -> Mesh:
    """Sweep a circle along a path in the x-z plane (a mug's handle)."""
    centre = np.asarray(path, np.float64)
    tangent = np.gradient(centre, axis=0)
    tangent /= np.linalg.norm(tangent, axis=1, keepdims=True)
    across = np.tile([0.0, 1.0, 0.0], (len(centre), 1))
    outward = np.cross(tangent, across)
    angles = np.linspace(0.0, 2 * np.pi, segments, endpoint=False)
    offset = (
        np.cos(angles)[None, :, None] * across[:, None]
        + np.sin(angles)[None, :, None] * outward[:, None]
    )
    vertices = (centre[:, None] + radius * offset).reshape(-1, 3)
    return Mesh(vertices.astype(np.float32), _grid_triangles(len(centre), segments, True))


def box(half_x: float, half_y: float, height: float) -> Mesh:
    """A cuboid of the given half widths."""
    signs = np.array([[x, y, z] for z in (0, 1) for y in (-1, 1) for x in (-1, 1)], np.float32)
    vertices = signs * np.array([half_x, half_y, height], np.float32)
    quads = [(0, 2, 3, 1), (4, 5, 7, 6), (0, 1, 5, 4), (2, 6, 7, 3), (0, 4, 6, 2), (1, 3, 7, 5)]
    triangles = [t for a, b, c, d in quads for t in ((a, b, c), (a, c, d))]
    return Mesh(vertices, np.asarray(triangles, np.uint32))


def merge(*meshes: Mesh) -> Mesh:
    """Several meshes as one."""
    offsets = np.cumsum([0, *(len(m.vertices) for m in meshes[:-1])])
    return Mesh(
        np.concatenate([m.vertices for m in meshes]),
        np.concatenate(
            [m.triangles + np.uint32(o) for m, o in zip(meshes, offsets, strict=True)]
        ).astype(np.uint32),
    )


def moved(mesh: Mesh, x: float = 0.0, y: float = 0.0, z: float = 0.0) -> Mesh:
    """The mesh shifted by metres."""
    return Mesh(
        (mesh.vertices + np.array([x, y, z], np.float32)).astype(np.float32), mesh.triangles
    )


def object_mesh(shape: str, radius: float, height: float, depth: float = 0.0) -> Mesh:
    """The mesh of a named shape.

    Args:
        shape: one of ``scenes.SHAPES`` or of ``things.THINGS``.
        radius: largest horizontal radius (a box: half its width), metres.
        height: metres.
        depth: half the depth of a box, metres.
    """
    r, h = radius, height
    wall = max(0.003, 0.08 * r)
    if shape == "box":
        return box(r, depth, h)
    if shape == "cylinder":
        return lathe([(0, 0), (r, 0), (r, h), (0, h)])
    if shape == "ball":
        angles = np.linspace(-np.pi / 2, np.pi / 2, 20)
        return lathe(np.stack([r * np.cos(angles), r + r * np.sin(angles)], -1))
    if shape == "cone":
        return lathe([(0, 0), (r, 0), (0, h)])
    if shape == "mug":
        body = lathe([(0, 0), (r, 0), (r, h), (r - wall, h), (r - wall, wall), (0, wall)])
        angles = np.linspace(-0.5 * np.pi, 0.5 * np.pi, 12)
        reach = 0.55 * r
        arc = np.stack(
            [r + reach * np.cos(angles), np.zeros(12), 0.5 * h + 0.3 * h * np.sin(angles)], -1
        )
        return merge(body, tube(arc, 0.11 * r))
    if shape == "bowl":
        angles = np.linspace(0.0, np.pi / 2, 10)
        outer = [(0.45 * r + 0.55 * r * np.sin(a), h * (1 - np.cos(a))) for a in angles]
        inner = [(x - wall, max(z, wall)) for x, z in reversed(outer)]
        return lathe([(0, 0), *outer, *inner, (0, wall)])
    if shape == "plate":
        return lathe(
            [(0, 0), (0.6 * r, 0), (r, h), (r - wall, h), (0.6 * r, 0.35 * h), (0, 0.35 * h)]
        )
    if shape == "bottle":
        neck = 0.38 * r
        shoulder = [(r, 0.55 * h), (0.8 * r, 0.68 * h), (neck, 0.78 * h)]
        return lathe([(0, 0), (r, 0), *shoulder, (neck, h), (0, h)])
    from roborefer_ros.simulation.things import THINGS, thing_mesh  # they are built of these

    if shape in THINGS:
        return thing_mesh(shape, radius, height, depth)
    raise ValueError(f"no mesh for shape {shape!r}")


def _grid_triangles(rows: int, columns: int, closed: bool) -> npt.NDArray[np.uint32]:
    """Two triangles per cell of a grid of vertices, the last column joined to the first."""
    row, column = np.meshgrid(
        np.arange(rows - 1), np.arange(columns if closed else columns - 1), indexing="ij"
    )
    following = (column + 1) % columns
    a, b = row * columns + column, row * columns + following
    c, d = a + columns, b + columns
    triangles = np.stack([np.stack([a, b, d], -1), np.stack([a, d, c], -1)], -2)
    return triangles.reshape(-1, 3).astype(np.uint32)
