# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""A coloured point cloud seen from the side, drawn point by point with a depth buffer."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

_BACKGROUND = (250, 250, 252)


@dataclass(frozen=True)
class SideCamera:
    """A pinhole camera that looks at a point.

    Attributes:
        width, height: pixels.
        focal_px: focal length.
        world_T_camera: ``[4, 4]``, optical axes.
    """

    width: int
    height: int
    focal_px: float
    world_T_camera: Array

    @classmethod
    def looking_at(
        cls, target: Array, eye: Array, width: int, height: int, horizontal_fov_rad: float
    ) -> SideCamera:
        """From ``eye`` to ``target`` ``[3]``, world z up."""
        forward = (target - eye) / np.linalg.norm(target - eye)
        right = np.cross(forward, [0.0, 0.0, 1.0])
        right /= np.linalg.norm(right)
        pose = np.eye(4)
        pose[:3, :3] = np.stack([right, np.cross(forward, right), forward], axis=1)
        pose[:3, 3] = eye
        return cls(width, height, 0.5 * width / np.tan(0.5 * horizontal_fov_rad), pose)

    def project(self, points: npt.ArrayLike) -> tuple[Array, Array]:
        """Pixels ``[N, 2]`` and depths ``[N]`` of world points ``[N, 3]``."""
        world = np.atleast_2d(np.asarray(points, np.float64))
        camera = (world - self.world_T_camera[:3, 3]) @ self.world_T_camera[:3, :3]
        depth = camera[:, 2]
        safe = np.where(depth > 1e-6, depth, np.nan)[:, None]
        pixels = self.focal_px * camera[:, :2] / safe + 0.5 * np.array([self.width, self.height])
        return pixels, depth


def draw_cloud(
    points: npt.ArrayLike, colours: npt.NDArray[np.uint8], camera: SideCamera, size_m: float
) -> npt.NDArray[np.uint8]:
    """Draw points as squares, the near ones over the far ones.

    Args:
        points: ``[N, 3]`` world, metres.
        colours: ``[N, 3]`` uint8 RGB.
        camera: Viewpoint.
        size_m: side of a square.

    Returns:
        ``[H, W, 3]`` uint8 RGB.
    """
    image = np.full((camera.height, camera.width, 3), _BACKGROUND, np.uint8)
    pixels, depth = camera.project(points)
    usable = np.isfinite(pixels).all(axis=1) & (depth > 0.05)
    order = np.flatnonzero(usable)[np.argsort(-depth[usable])]
    half = 0.5 * camera.focal_px * size_m / depth[order]
    low = np.maximum(np.floor(pixels[order] - half[:, None]), 0).astype(int)
    high = np.maximum(np.ceil(pixels[order] + half[:, None]), 0).astype(int)
    for (u0, v0), (u1, v1), colour in zip(low, high, colours[order], strict=True):
        # A slice is far quicker than a call of OpenCV for a few pixels.
        image[v0:v1, u0:u1] = colour
    return image


def draw_arrow(
    image: npt.NDArray[np.uint8],
    camera: SideCamera,
    tail: npt.ArrayLike,
    tip: npt.ArrayLike,
    colour: tuple[int, int, int],
) -> None:
    """Draw an arrow between two world points, outlined in white."""
    pixels, _ = camera.project(np.stack([np.asarray(tail), np.asarray(tip)]))
    if not np.isfinite(pixels).all():
        return
    start, end = (tuple(round(float(c) * 16) for c in p) for p in pixels)
    for shade, width in (((255, 255, 255), 7), (colour, 3)):
        cv2.arrowedLine(image, start, end, shade, width, cv2.LINE_AA, shift=4, tipLength=0.25)
