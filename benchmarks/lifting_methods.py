# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The ways of reading a depth at a pixel that are compared, and how answers are counted."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from roborefer_ros.errors import RoboReferError
from roborefer_ros.lifting import LiftingOptions, lift_point
from roborefer_ros.types import Pixel, RGBDFrame

#: a method's answer: depth in metres and whether it stands by it; None where it refuses
Answer = tuple[float, bool] | None
Method = Callable[[RGBDFrame, Pixel], Answer]

#: a farther answer is on another surface
STEP_M = 0.020
EDGE_RADIUS_PX = 4


def _square(frame: RGBDFrame, pixel: Pixel, side: int) -> npt.NDArray[np.float32]:
    u, v, r = round(pixel[0]), round(pixel[1]), side // 2
    return frame.depth.metres(slice(max(0, v - r), v + r + 1), slice(max(0, u - r), u + r + 1))


def _median(side: int) -> Method:
    def method(frame: RGBDFrame, pixel: Pixel) -> Answer:
        z = _square(frame, pixel, side)
        z = z[np.isfinite(z)]
        return (float(np.median(z)), True) if z.size else None

    return method


def _front_cluster(frame: RGBDFrame, pixel: Pixel) -> Answer:
    """Median of the nearest run of sorted depths, split at gaps of 2 cm, at least 9 strong."""
    z = _square(frame, pixel, 11)
    z = np.sort(z[np.isfinite(z)])
    runs = np.split(z, np.nonzero(np.diff(z) > 0.02)[0] + 1)
    runs = [run for run in runs if run.size >= 9]
    return (float(np.median(runs[0])), True) if runs else None


def ours(frame: RGBDFrame, pixel: Pixel) -> Answer:
    """The package's own lifting with its default options."""
    options = LiftingOptions()
    try:
        lifted = lift_point(frame, pixel, options)
    except RoboReferError:
        return None
    return float(lifted.position_m[2]), lifted.confidence >= options.confident_above


METHODS: dict[str, Method] = {
    "single pixel": _median(1),
    "median 5x5": _median(5),
    "median 11x11": _median(11),
    "front cluster 11x11": _front_cluster,
    "ours": ours,
}


def open3d_crop_ransac(frame: RGBDFrame, pixel: Pixel) -> npt.NDArray[np.float64]:
    """Normal ``[3]`` of the widest plane in a crop of 41 pixels, as Open3D's RANSAC finds it."""
    import open3d as o3d  # a requirement of the benchmarks, slow to import

    z = _square(frame, pixel, 41).astype(np.float64)
    v, u = np.nonzero(np.isfinite(z))
    i, depth = frame.intrinsics, z[v, u]
    x = (u + max(0, round(pixel[0]) - 20) - i.cx) / i.fx * depth
    y = (v + max(0, round(pixel[1]) - 20) - i.cy) / i.fy * depth
    cloud = o3d.geometry.PointCloud(o3d.utility.Vector3dVector(np.column_stack((x, y, depth))))
    model, _ = cloud.segment_plane(0.008, 3, 50)
    normal = np.array(model[:3]) / np.linalg.norm(model[:3])
    towards: npt.NDArray[np.float64] = -normal if normal[2] > 0.0 else normal
    return towards


def summarise(errors_m: list[float | None], confident: list[bool]) -> dict[str, float]:
    """Coverage, errors in mm and the shares of wrong surfaces, over one stratum."""
    given = np.array([e for e in errors_m if e is not None])
    sure = np.array([c for e, c in zip(errors_m, confident, strict=True) if e is not None])
    if not given.size:
        return {"n": len(errors_m), "coverage": 0.0}
    return {
        "n": len(errors_m),
        "coverage": given.size / len(errors_m),
        "p50_mm": 1e3 * float(np.median(given)),
        "p95_mm": 1e3 * float(np.percentile(given, 95)),
        "wrong": float(np.mean(given > STEP_M)),
        "confident": float(np.mean(sure)),
        "wrong_confident": float(np.mean(given[sure] > STEP_M)) if sure.any() else 0.0,
    }
