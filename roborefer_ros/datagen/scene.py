# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""What the data engine knows of a picture: boxes, a camera, gravity, and depth.

Camera frame: x right, y down, z forward, metres (REP-103's optical frame).  World frame: the
camera frame turned upright, ``p_world = p_camera @ gravity`` in row form, so y is *down*, and x
and z stay close to the camera's: the top of a box is its smallest world y, and what is in front has
the smaller z.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

#: own axes' signs of the eight corners; the first four lie on the front face (+x)
_SIGNS = np.array(
    [[x, y, z] for x in (1.0, -1.0) for y in (-1.0, 1.0) for z in (-1.0, 1.0)], np.float64
)


@dataclass(frozen=True, eq=False)
class Camera:
    """A pinhole camera and where gravity points.

    Attributes:
        K: ``[3, 3]`` intrinsics, pixels, for pixel centres at integer coordinates.
        width, height: Size of the picture, pixels.
        gravity: ``[3, 3]`` rotation; ``p_camera @ gravity`` is upright, y down.
    """

    K: Array
    width: int
    height: int
    gravity: Array

    def to_world(self, points: npt.ArrayLike) -> Array:
        """Upright coordinates of ``[..., 3]`` camera points, metres."""
        upright: Array = np.asarray(points, np.float64) @ self.gravity
        return upright

    def to_camera(self, points: npt.ArrayLike) -> Array:
        """Camera coordinates of ``[..., 3]`` upright points, metres."""
        camera: Array = np.asarray(points, np.float64) @ self.gravity.T
        return camera

    def project(self, points: npt.ArrayLike) -> Array:
        """Pixels ``[N, 2]`` of ``[N, 3]`` camera points in front of the camera."""
        p = np.asarray(points, np.float64)
        pixels: Array = (p @ self.K.T)[:, :2] / p[:, 2:3]
        return pixels

    def normalised(self, pixel: npt.ArrayLike) -> tuple[float, float]:
        """The picture point ``(x, y)`` in [0, 1] over the picture's edges of a pixel."""
        u, v = np.asarray(pixel, np.float64)
        return float((u + 0.5) / self.width), float((v + 0.5) / self.height)


@dataclass(frozen=True, eq=False)
class Box:
    """One object as an oriented box.

    Attributes:
        id: Unique in its scene.
        category: What it is, a singular noun ("mug").
        position: ``[3]`` centre, camera frame, metres.
        scale: ``[3]`` full extents along the own axes: width, height, depth, metres.
        R: ``[3, 3]`` own axes as columns, camera frame; the front is ``R[:, 0]``.
        points: ``[N, 3]`` surface points, camera frame, metres; None: the corners stand in.
        colour: Name of its colour, or "".
        has_front: Whether its front is one that people would name.
        pixel: ``(u, v)`` a pixel on its visible surface; None: not known.
        visible: Whether the picture shows enough of it to ask about it.
    """

    id: str
    category: str
    position: Array
    scale: Array
    R: Array
    points: Array | None = None
    colour: str = ""
    has_front: bool = False
    pixel: tuple[float, float] | None = None
    visible: bool = True

    @cached_property
    def corners(self) -> Array:
        """``[8, 3]`` camera frame, metres; the first four on the front face."""
        corners: Array = self.position + (_SIGNS * (0.5 * self.scale)) @ self.R.T
        return corners

    @cached_property
    def cloud(self) -> Array:
        """``[N, 3]`` its points, else its corners."""
        return self.corners if self.points is None or not len(self.points) else self.points

    @cached_property
    def near(self) -> float:
        """Smallest z of the corners, metres."""
        return float(self.corners[:, 2].min())

    @cached_property
    def volume(self) -> float:
        """Cubic metres."""
        return float(np.prod(self.scale))

    @property
    def front(self) -> Array:
        """``[3]`` unit vector of its front, camera frame."""
        axis: Array = self.R[:, 0]
        return axis


@dataclass(frozen=True, eq=False)
class Scene:
    """One picture's boxes.

    Attributes:
        id: Names the picture; unique in a source.
        camera: Of the picture.
        boxes: In a fixed order.
        depth_m: ``[H, W]`` metres along the optical axis, NaN where unknown; None: no depth.
        group: Names the capture whose frames share a world; "" for a single picture.
        frame: Number in its group.
        world_T_camera: ``[4, 4]`` pose in the group's world; None: not known.
    """

    id: str
    camera: Camera
    boxes: tuple[Box, ...]
    depth_m: npt.NDArray[np.floating] | None = None
    group: str = ""
    frame: int = 0
    world_T_camera: Array | None = field(default=None)

    def box(self, name: str) -> Box:
        """The box of an id.

        Raises:
            KeyError: there is none.
        """
        return self._by_id[name]

    @cached_property
    def _by_id(self) -> dict[str, Box]:
        return {box.id: box for box in self.boxes}

    @cached_property
    def _upright(self) -> dict[str, Array]:
        return {box.id: self.camera.to_world(box.corners) for box in self.boxes}

    def world_corners(self, box: Box) -> Array:
        """``[8, 3]`` upright corners of a box of this scene, metres."""
        known = self._upright.get(box.id)
        return self.camera.to_world(box.corners) if known is None else known

    def world_centre(self, box: Box) -> Array:
        """``[3]`` upright centre, metres."""
        return self.camera.to_world(box.position)

    def top(self, box: Box) -> float:
        """Smallest world y, metres."""
        return float(self.world_corners(box)[:, 1].min())

    def bottom(self, box: Box) -> float:
        """Largest world y, metres."""
        return float(self.world_corners(box)[:, 1].max())
