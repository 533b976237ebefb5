# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Exact depth images of planes, for the tests of the lifting."""

from __future__ import annotations

import numpy as np

from roborefer_ros.lifting.intrinsics import rays_through
from roborefer_ros.types import CameraIntrinsics, DepthImage, RGBDFrame

MEDIUM = CameraIntrinsics(640, 480, 460.0, 460.0, 321.0, 238.0)
SMALL = CameraIntrinsics(320, 240, 240.0, 240.0, 160.0, 119.0)


def frame_of(z_m, intrinsics=SMALL, unit_m=1.0, dtype=np.float32) -> RGBDFrame:
    """A frame with this depth ``[H, W]`` in metres, NaN where there is no reading."""
    raw = np.asarray(z_m, dtype=np.float64) / unit_m
    if np.dtype(dtype).kind == "u":
        raw = np.round(np.nan_to_num(raw, nan=0.0))
    rgb = np.zeros((intrinsics.height, intrinsics.width, 3), np.uint8)
    return RGBDFrame(rgb, DepthImage(raw.astype(dtype), unit_m), intrinsics, "camera")


def plane_depth(point_m, normal, intrinsics=SMALL):
    """``[H, W]`` depth of the plane through ``point_m`` with ``normal``; NaN behind."""
    v, u = np.mgrid[: intrinsics.height, : intrinsics.width]
    rays = rays_through(np.column_stack((u.ravel(), v.ravel())), intrinsics)
    facing = rays @ np.asarray(normal)
    with np.errstate(divide="ignore", invalid="ignore"):
        z = float(np.dot(normal, point_m)) / facing
    z[(facing >= -1e-6) | (z <= 0)] = np.nan
    return z.reshape(intrinsics.height, intrinsics.width)


def tilted_normal(ray, tilt_rad, turn_rad):
    """Unit normal at ``tilt_rad`` from the ray back to the camera, turned about that ray."""
    towards = -np.asarray(ray) / np.linalg.norm(ray)
    side = np.cross(towards, [0.0, 1.0, 0.0])
    side /= np.linalg.norm(side)
    other = np.cross(towards, side)
    sideways = np.cos(turn_rad) * side + np.sin(turn_rad) * other
    return np.cos(tilt_rad) * towards + np.sin(tilt_rad) * sideways


class Tabletop:
    """A table, a mug on it and a wall behind, seen by a camera that looks down; exact.

    The world's z is up; the table is 1.2 m x 0.9 m about the origin, at z = 0.
    """

    def __init__(
        self,
        pitch_deg=35.0,
        distance_m=0.75,
        mug=(0.0, 0.0, 0.04, 0.10),
        wall_y_m=None,
        camera=MEDIUM,
        table=True,
    ):
        """mug: x, y, radius, height."""
        self.camera, self.mug = camera, mug
        c, s = np.cos(np.radians(pitch_deg)), np.sin(np.radians(pitch_deg))
        # columns: the camera's x, y, z axes in the world
        self.rotation = np.column_stack(((1, 0, 0), (0, -s, -c), (0, c, -s)))
        self.origin = np.array([0.0, -distance_m * c, distance_m * s + 0.05])
        v, u = np.mgrid[: camera.height, : camera.width]
        rays = rays_through(np.column_stack((u.ravel(), v.ravel())), camera) @ self.rotation.T
        z = np.full(len(rays), np.inf)
        with np.errstate(all="ignore"):
            if table:
                t = -self.origin[2] / rays[:, 2]
                hit = self.origin + rays * t[:, None]
                on = (t > 0) & (abs(hit[:, 0]) < 0.6) & (abs(hit[:, 1]) < 0.45)
                z[on] = t[on]
            if wall_y_m is not None:
                t = (wall_y_m - self.origin[1]) / rays[:, 1]
                nearer = (t > 0) & (t < z)
                z[nearer] = t[nearer]
            for t in self._mug_hits(rays):
                nearer = (t > 0) & (t < z)
                z[nearer] = t[nearer]
        z[~np.isfinite(z)] = np.nan
        self.z_m = z.reshape(camera.height, camera.width)

    def _mug_hits(self, rays):
        x, y, radius, height = self.mug
        t = (height - self.origin[2]) / rays[:, 2]
        top = self.origin + rays * t[:, None]
        inside = np.hypot(top[:, 0] - x, top[:, 1] - y) <= radius
        yield np.where(inside, t, np.inf)
        o, d = self.origin[:2] - (x, y), rays[:, :2]
        a, b, c = (d**2).sum(1), (d * o).sum(1), (o**2).sum() - radius**2
        t = (-b - np.sqrt(b * b - a * c)) / a
        h = self.origin[2] + t * rays[:, 2]
        yield np.where((h >= 0) & (h <= height), t, np.inf)

    @property
    def up(self):
        return tuple(self.rotation[2])

    def world(self, points_m):
        return np.asarray(points_m) @ self.rotation.T + self.origin

    def pixel(self, point):
        p = (np.asarray(point) - self.origin) @ self.rotation
        i = self.camera
        return (i.cx + i.fx * p[0] / p[2], i.cy + i.fy * p[1] / p[2])

    def frame(self, seed=None, noise_px=0.09):
        z = self.z_m
        if seed is not None:
            sigma = noise_px / (0.5 * self.camera.width * 0.05) * z**2
            z = z + sigma * np.random.default_rng(seed).normal(size=z.shape)
        return frame_of(z, self.camera)
