# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Synthetic depth with exact truth: planes, edges with stereo shadows, several frames; speed."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import replace

import cv2
import numpy as np
import numpy.typing as npt

from benchmarks.lifting_methods import EDGE_RADIUS_PX, METHODS, open3d_crop_ransac, summarise
from roborefer_ros.errors import RoboReferError
from roborefer_ros.lifting import (
    DepthHistory,
    LiftingOptions,
    grow_segment,
    lift_point,
    lift_points,
)
from roborefer_ros.types import CameraIntrinsics, DepthImage, Mode, Pixel, RGBDFrame

Array = npt.NDArray[np.float64]

#: of the D435's colour camera at 1280x720, to which its depth is aligned
FOCAL_PX = 921.0


def synthetic_plane(
    rng: np.random.Generator, options: LiftingOptions
) -> tuple[RGBDFrame, Pixel, Array, Array, Array]:
    """A noisy plane; gives (frame, pixel as pointed, true point, true normal, true ray).

    Depth 0.4 to 1.2 m, incidence to 60 degrees, noise sigma_z = s Z^2 / (f B) on every
    reading, a tenth of the readings missing; the pixel is off by the pointing noise of the
    options and rounded to their coordinate step and to a whole pixel.
    """
    width, height, focal = 1280, 720, FOCAL_PX
    intrinsics = CameraIntrinsics(width, height, focal, focal, 642.0, 359.0)
    true_pixel = np.array([rng.uniform(80, 1200), rng.uniform(80, 640)])
    ray = np.array([(true_pixel[0] - 642) / focal, (true_pixel[1] - 359) / focal, 1.0])
    point = ray * rng.uniform(0.4, 1.2)
    towards = -ray / np.linalg.norm(ray)
    side = np.cross(towards, rng.normal(size=3))
    tilt = rng.uniform(0.0, math.radians(60.0))
    normal = math.cos(tilt) * towards + math.sin(tilt) * side / np.linalg.norm(side)
    x = (np.arange(width) - 642.0) / focal
    y = (np.arange(height) - 359.0) / focal
    u0, v0 = (int(c) for c in true_pixel)
    rows, columns = slice(max(0, v0 - 45), v0 + 45), slice(max(0, u0 - 45), u0 + 45)
    facing = normal[0] * x[None, columns] + normal[1] * y[rows, None] + normal[2]
    z = float(normal @ point) / facing
    sigma = options.sigma_z_m(1.0, width) * z * z
    z = (z + sigma * rng.normal(size=z.shape)).astype(np.float32)
    z[rng.random(z.shape) < 0.1] = np.nan
    raw = np.full((height, width), np.nan, dtype=np.float32)
    raw[rows, columns] = z
    pointed = true_pixel + options.pixel_sigma_px * rng.normal(size=2)
    size = np.array([width, height])
    step = options.normalised_step
    pointed = np.round(np.round((pointed + 0.5) / size / step) * step * size - 0.5)
    rgb = np.zeros((height, width, 3), np.uint8)
    frame = RGBDFrame(rgb, DepthImage(raw, 1.0), intrinsics, "camera")
    return frame, (float(pointed[0]), float(pointed[1])), point, normal, ray


def synthetic(count: int = 1000) -> dict[str, float]:
    """Depth error over sigma, normal error, and whether the covariance is honest."""
    rng = np.random.default_rng(3)
    options = LiftingOptions(depth_focal_px=FOCAL_PX)
    depth, angles, chi2, turned = [], [], [], []
    for _ in range(count):
        frame, pixel, point, normal, _ = synthetic_plane(rng, options)
        lifted = lift_point(frame, pixel, options)
        # the depth is judged at the pixel that was asked for, the covariance for the point meant
        i = frame.intrinsics
        asked = np.array([(pixel[0] - i.cx) / i.fx, (pixel[1] - i.cy) / i.fy, 1.0])
        true_z = float(normal @ point) / float(normal @ asked)
        depth.append(abs(lifted.position_m[2] - true_z) / options.sigma_z_m(true_z, 1280))
        angles.append(math.degrees(math.acos(min(1.0, float(lifted.normal @ normal)))))
        # the roll about the normal is a choice; what is left of the trace is the tilt, twice
        tilt = (np.trace(lifted.covariance[3:, 3:]) - math.pi**2 / 3.0) / 2.0
        turned.append(math.radians(angles[-1]) ** 2 / (2.0 * tilt))
        error = lifted.position_m - point
        chi2.append(float(error @ np.linalg.solve(lifted.covariance[:3, :3], error)))
    return {
        "n": count,
        "depth_error_p50_sigma": float(np.median(depth)),
        "normal_error_p50_deg": float(np.median(angles)),
        "normal_error_p95_deg": float(np.percentile(angles, 95)),
        "normalised_error": math.sqrt(float(np.mean(chi2)) / 3.0),
        "inside_95_percent_ellipsoid": float(np.mean(np.array(chi2) < 7.8147)),
        "normal_normalised_error": math.sqrt(float(np.mean(turned))),
    }


def synthetic_edge(
    rng: np.random.Generator, options: LiftingOptions
) -> tuple[RGBDFrame, list[Pixel], Array, tuple[float, float]]:
    """A box in front of a wall with what a stereo camera makes of it; exact truth.

    Gives (frame, pixels within 4 px of the outline, ``[H, W]`` true depth, the two depths).
    The wall has no readings where the second camera sees the box (left of it); 30 % of the
    readings within a pixel of the outline fly between the two surfaces.
    """
    width, height, focal = 1280, 720, FOCAL_PX
    near = rng.uniform(0.4, 0.8)
    far = near + rng.uniform(0.03, 0.15)
    truth = np.full((height, width), far)
    u0, v0 = int(rng.integers(200, 900)), int(rng.integers(150, 450))
    box = np.zeros((height, width), np.uint8)
    box[v0 : v0 + int(rng.integers(40, 160)), u0 : u0 + int(rng.integers(40, 160))] = 1
    truth[box > 0] = near
    z = truth + options.sigma_z_m(1.0, width) * truth**2 * rng.normal(size=truth.shape)
    side = np.ones((3, 3), np.uint8)
    rim = cv2.dilate(box, side) > cv2.erode(box, side)
    fly = rim & (rng.random(truth.shape) < 0.3)
    z[fly] = rng.uniform(near, far, size=int(fly.sum()))
    shadow = round(focal * options.baseline_m * (1.0 / near - 1.0 / far))
    shifted = np.zeros_like(box)
    shifted[:, :-shadow] = box[:, shadow:]
    z[(shifted > 0) & (box == 0)] = np.nan
    z[rng.random(z.shape) < 0.02] = np.nan
    kernel = np.ones((2 * EDGE_RADIUS_PX + 1,) * 2, np.uint8)
    v, u = np.nonzero(cv2.dilate(box, kernel) > cv2.erode(box, kernel))
    chosen = rng.permutation(u.size)[:40]
    pixels = [(float(u[k]), float(v[k])) for k in chosen]
    intrinsics = CameraIntrinsics(width, height, focal, focal, 642.0, 359.0)
    rgb = np.zeros((height, width, 3), np.uint8)
    frame = RGBDFrame(rgb, DepthImage(z.astype(np.float32), 1.0), intrinsics, "camera")
    return frame, pixels, truth, (near, far)


def synthetic_edges(scenes: int = 60) -> dict[str, float]:
    """Wrong surfaces and averaged depths around exact depth steps of 3 to 15 cm."""
    rng = np.random.default_rng(11)
    options = LiftingOptions(depth_focal_px=FOCAL_PX)
    errors: list[float | None] = []
    confident, averaged, normalised = [], [], []
    for _ in range(scenes):
        frame, pixels, truth, depths = synthetic_edge(rng, options)
        for u, v in pixels:
            try:
                lifted = lift_point(frame, (u, v), options)
            except RoboReferError:
                errors.append(None)
                confident.append(False)
                continue
            z_m = float(lifted.position_m[2])
            error_m = abs(z_m - float(truth[int(v), int(u)]))
            errors.append(error_m)
            confident.append(lifted.confidence >= options.confident_above)
            off = min(abs(z_m - z) / options.sigma_z_m(z, 1280) for z in depths)
            averaged.append(off > 4.0)
            if confident[-1]:
                # along the ray alone: the pixel is given exactly
                i = frame.intrinsics
                ray = np.array([(u - i.cx) / i.fx, (v - i.cy) / i.fy, 1.0])
                along = float(ray @ lifted.covariance[:3, :3] @ ray) / float(ray @ ray) ** 2
                normalised.append(error_m / math.sqrt(along))
    figures = summarise(errors, confident)
    inside = np.mean(np.array(normalised) < 1.96)
    return figures | {
        "between_surfaces": float(np.mean(averaged)),
        "confident_inside_95_percent": float(inside),
    }


def temporal(trials: int = 60, frames: int = 5) -> dict[str, float]:
    """Depth error and its published deviation, one frame against the median of several."""
    width, height, focal = 640, 360, 460.0
    intrinsics = CameraIntrinsics(width, height, focal, focal, 320.0, 180.0)
    options = LiftingOptions(
        temporal_frames=frames, pixel_sigma_px=0.0, normalised_step=0.0, depth_focal_px=focal
    )
    rng = np.random.default_rng(13)
    rgb = np.zeros((height, width, 3), np.uint8)
    errors: dict[int, list[float]] = {1: [], frames: []}
    normalised: dict[int, list[float]] = {1: [], frames: []}
    for _ in range(trials):
        z_m = rng.uniform(0.4, 1.2)
        history = DepthHistory(options)
        sigma = options.sigma_z_m(z_m, width)
        for k in range(frames):
            z = (z_m + sigma * rng.normal(size=(height, width))).astype(np.float32)
            single = RGBDFrame(rgb, DepthImage(z, 1.0), intrinsics, "camera", k * 33_000_000)
            fused = history.push(single)
        for count, frame in ((1, single), (frames, fused)):
            lifted = lift_point(frame, (320.0, 180.0), options)
            errors[count].append(abs(float(lifted.position_m[2]) - z_m) / sigma)
            deviation = math.sqrt(float(lifted.covariance[2, 2]))
            normalised[count].append(errors[count][-1] * sigma / deviation)
    return {
        "frames": frames,
        "error_rms_sigma_1": _rms(errors[1]),
        f"error_rms_sigma_{frames}": _rms(errors[frames]),
        "normalised_error_1": _rms(normalised[1]),
        f"normalised_error_{frames}": _rms(normalised[frames]),
    }


def _rms(values: list[float]) -> float:
    return math.sqrt(float(np.mean(np.square(values))))


def _unaligned(frame: RGBDFrame) -> RGBDFrame:
    """A table for 848x480 depth, 50 mm beside the colour camera of ``frame``."""
    depth = CameraIntrinsics(848, 480, 424.0, 424.0, 424.0, 240.0)
    v = np.arange(480.0)[:, None] + np.zeros((1, 848))
    z_m = 0.7 / (0.8 + 0.6 * (v - 240.0) / 424.0)
    pose = np.eye(4)
    pose[0, 3] = 0.05
    raw = np.clip(z_m * 1000.0, 0, 60000).astype(np.uint16)
    image = DepthImage(raw, 0.001)
    return replace(frame, depth=image, depth_intrinsics=depth, camera_T_depth=pose)


def _real_sized(rng: np.random.Generator) -> tuple[RGBDFrame, Pixel]:
    """A plane that fills 1280x720, 16UC1 as cameras send it, with a hole in its middle."""
    width, height = 1280, 720
    intrinsics = CameraIntrinsics(width, height, FOCAL_PX, FOCAL_PX, 642.0, 359.0)
    v = np.arange(720.0)[:, None] + np.zeros((1, 1280))
    z_m = 0.7 / (0.9 + 0.4 * (v - 359.0) / 921.0)
    z_m += (
        LiftingOptions(depth_focal_px=FOCAL_PX).sigma_z_m(1.0, width)
        * z_m**2
        * rng.normal(size=z_m.shape)
    )
    raw = np.round(1000.0 * z_m).astype(np.uint16)
    raw[345:375, 625:660] = 0
    rgb = np.zeros((height, width, 3), np.uint8)
    return RGBDFrame(rgb, DepthImage(raw, 0.001), intrinsics, "camera"), (642.0, 359.0)


#: rounds over all that is timed; the fastest counts
_ROUNDS = 6


def _median_ms(job: Callable[[], object], repeats: int) -> float:
    """Median CPU time of a job, milliseconds."""
    job()
    times = []
    for _ in range(repeats):
        started = time.process_time()
        job()
        times.append(1e3 * (time.process_time() - started))
    return float(np.median(times))


def speed(repeats: int = 240) -> dict[str, float]:
    """CPU milliseconds in a 1280x720 frame of uint16, and ratios to a single reading and peers.

    Each is the median of a round, of the fastest of several rounds.
    """
    frame, hole = _real_sized(np.random.default_rng(5))
    on_plane = (300.0, 200.0)
    table = _unaligned(frame)
    options = LiftingOptions()
    spread = [(100.0 + 21.0 * k, 60.0 + 12.0 * k) for k in range(50)]
    jobs: dict[str, Callable[[], object]] = {
        "single_pixel": lambda: METHODS["single pixel"](frame, on_plane),
        "median_11x11": lambda: METHODS["median 11x11"](frame, on_plane),
        "open3d_crop_ransac": lambda: open3d_crop_ransac(frame, on_plane),
        "one_point": lambda: lift_point(frame, on_plane),
        "one_point_in_a_hole": lambda: lift_point(frame, hole),
        "fifty_points": lambda: lift_points(frame, spread),
        "free_space": lambda: lift_point(frame, on_plane, options, Mode.FREE_SPACE),
        "unaligned": lambda: lift_point(table, on_plane),
        "segment": lambda: grow_segment(frame, on_plane, 0.8, options),
        "whole_image_to_metres": lambda: frame.depth.metres(),
    }
    figures: dict[str, float] = {}
    for _ in range(_ROUNDS):
        # other programs on the machine slow rounds down, never up
        for name, job in jobs.items():
            slow = name in ("fifty_points", "segment")
            spent = _median_ms(job, max(3, repeats // _ROUNDS // (10 if slow else 1)))
            key = f"{name}_p50_ms"
            figures[key] = min(spent, figures.get(key, math.inf))
    baseline = figures["single_pixel_p50_ms"]
    peer = figures["open3d_crop_ransac_p50_ms"]
    if peer:
        figures["one_point_over_open3d"] = figures["one_point_p50_ms"] / peer
    figures["one_point_over_single_pixel"] = figures["one_point_p50_ms"] / baseline
    figures["fifty_points_over_fifty_single_pixels"] = figures["fifty_points_p50_ms"] / (
        50.0 * baseline
    )
    return figures
