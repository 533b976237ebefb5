# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""How well points are lifted: real frames, synthetic planes with exact truth, speed.

    python -m benchmarks.lifting FOLDER [--json]

FOLDER holds one folder a frame with ``rgb.jpg`` or ``rgb.png``, ``depth.png`` (uint16),
``camera.json`` (width, height, fx, fy, cx, cy, depth_scale in metres, distortion) and,
where there are any, ``points.json`` (labelled pixels with ``xyz_ref_m``),
``depth_painted.png`` (a second capture, the reference) and ``mask_transparent.png``
(left out).  ``test/data/rgbd`` is laid out like that.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from roborefer_ros.errors import RoboReferError
from roborefer_ros.frame import CameraIntrinsics, DepthImage, Pixel, RGBDFrame
from roborefer_ros.lifting import LiftingOptions, lift_point

Array = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

#: a method's answer: depth in metres and whether it stands by it; None where it refuses
Answer = tuple[float, bool] | None
Method = Callable[[RGBDFrame, Pixel], Answer]

STEP_M = 0.020
#: working range of the sensor that the figures are for, metres
RANGE_M = (0.4, 1.0)
EDGE_RADIUS_PX = 4
#: painted twins stand not quite where the transparent objects stood
TRANSPARENT_MARGIN_PX = 12


@dataclass(frozen=True)
class Sample:
    """One folder: the frame, its labelled points and, where there is one, the reference."""

    name: str
    frame: RGBDFrame
    points: list[dict[str, object]]
    reference_m: npt.NDArray[np.float32] | None
    left_out: Mask


def load(folder: Path) -> Sample:
    """Read one folder of the layout above."""
    camera = json.loads((folder / "camera.json").read_text())
    colour = next(p for p in (folder / "rgb.png", folder / "rgb.jpg") if p.exists())
    rgb = cv2.cvtColor(_picture(colour, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
    distortion = tuple(float(c) for c in camera.get("distortion", ()))
    intrinsics = CameraIntrinsics(
        camera["width"], camera["height"], camera["fx"], camera["fy"], camera["cx"], camera["cy"],
        "plumb_bob" if any(distortion) else "", distortion,
    )  # fmt: skip
    unit_m = float(camera["depth_scale"])
    depth = DepthImage(_picture(folder / "depth.png", cv2.IMREAD_UNCHANGED), unit_m)
    labels = folder / "points.json"
    points = json.loads(labels.read_text()) if labels.exists() else []
    reference = None
    if (folder / "depth_painted.png").exists():
        painted = _picture(folder / "depth_painted.png", cv2.IMREAD_UNCHANGED)
        reference = DepthImage(painted, unit_m).metres()
    left_out = np.zeros(depth.raw.shape, dtype=bool)
    if (folder / "mask_transparent.png").exists():
        mask = _picture(folder / "mask_transparent.png", cv2.IMREAD_GRAYSCALE)
        side = 2 * TRANSPARENT_MARGIN_PX + 1
        left_out = cv2.dilate(mask, np.ones((side, side), np.uint8)) > 0
    frame = RGBDFrame(rgb.astype(np.uint8), depth, intrinsics, "camera")
    return Sample(folder.name, frame, points, reference, left_out)


def _picture(path: Path, mode: int) -> npt.NDArray[np.generic]:
    picture = cv2.imread(str(path), mode)
    if picture is None:
        raise SystemExit(f"cannot read {path}")
    return picture


# --- the methods -----------------------------------------------------------------------


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


def _ours(frame: RGBDFrame, pixel: Pixel) -> Answer:
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
    "ours": _ours,
}


# --- real frames against a second capture ----------------------------------------------


def strata(sample: Sample, rng: np.random.Generator, count: int) -> dict[str, Array]:
    """Pixels ``[N, 2]`` by kind: all, near an edge of the reference, without a reading."""
    assert sample.reference_m is not None
    reference = sample.reference_m
    known = (reference >= RANGE_M[0]) & (reference <= RANGE_M[1]) & ~sample.left_out
    kernel = np.ones((3, 3), np.uint8)
    far = cv2.dilate(np.nan_to_num(reference, nan=-1.0), kernel)
    near = cv2.erode(np.nan_to_num(reference, nan=99.0), kernel)
    step = (np.isfinite(reference) & (far - near > STEP_M)).astype(np.uint8)
    side = 2 * EDGE_RADIUS_PX + 1
    edge = cv2.dilate(step, np.ones((side, side), np.uint8)) > 0
    empty = ~np.isfinite(sample.frame.depth.metres())
    masks = {"all": known, "near edges": known & edge, "no reading": known & empty}
    picked = {}
    for kind, mask in masks.items():
        v, u = np.nonzero(mask)
        chosen = rng.permutation(u.size)[:count]
        picked[kind] = np.column_stack((u[chosen], v[chosen])).astype(np.float64)
    return picked


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


def compare_methods(samples: list[Sample], count: int = 2500) -> dict[str, dict[str, dict]]:
    """kind of pixel -> method -> figures, pooled over the samples that have a reference."""
    errors: dict[str, dict[str, tuple[list, list]]] = {}
    for sample in samples:
        if sample.reference_m is None:
            continue
        for kind, pixels in strata(sample, np.random.default_rng(7), count).items():
            for name, method in METHODS.items():
                found = errors.setdefault(kind, {}).setdefault(name, ([], []))
                for u, v in pixels:
                    answer = method(sample.frame, (u, v))
                    truth = float(sample.reference_m[int(v), int(u)])
                    found[0].append(None if answer is None else abs(answer[0] - truth))
                    found[1].append(answer is not None and answer[1])
    return {
        kind: {name: summarise(*found) for name, found in by_method.items()}
        for kind, by_method in errors.items()
    }


def check_points(samples: list[Sample]) -> list[dict[str, object]]:
    """Lift every labelled point; transparent ones are listed but are no failures."""
    rows = []
    for sample in samples:
        for point in sample.points:
            row = {"frame": sample.name, "label": point["label"], "kind": point["kind"]}
            try:
                lifted = lift_point(sample.frame, tuple(point["pixel"]))  # type: ignore[arg-type]
            except RoboReferError as error:
                row |= {"error": type(error).__name__}
            else:
                row |= {"confidence": lifted.confidence, "flags": str(lifted.flags)}
                if point["xyz_ref_m"] is not None:
                    miss = np.linalg.norm(lifted.position_m - np.array(point["xyz_ref_m"]))
                    row["error_mm"] = 1e3 * float(miss)
            rows.append(row)
    return rows


# --- synthetic planes with exact truth -------------------------------------------------


def synthetic_plane(
    rng: np.random.Generator, options: LiftingOptions
) -> tuple[RGBDFrame, Pixel, Array, Array, Array]:
    """A noisy plane; gives (frame, pixel as pointed, true point, true normal, true ray).

    Depth 0.4 to 1.2 m, incidence to 60 degrees, noise sigma_z = s Z^2 / (f B) on every
    reading, a tenth of the readings missing; the pixel is off by the pointing noise of the
    options and rounded to their coordinate step and to a whole pixel.
    """
    width, height, focal = 1280, 720, 921.0
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
    options = LiftingOptions()
    depth, angles, chi2 = [], [], []
    for _ in range(count):
        frame, pixel, point, normal, _ = synthetic_plane(rng, options)
        lifted = lift_point(frame, pixel, options)
        # the depth is judged at the pixel that was asked for, the covariance for the point meant
        i = frame.intrinsics
        asked = np.array([(pixel[0] - i.cx) / i.fx, (pixel[1] - i.cy) / i.fy, 1.0])
        true_z = float(normal @ point) / float(normal @ asked)
        depth.append(abs(lifted.position_m[2] - true_z) / options.sigma_z_m(true_z, 1280))
        angles.append(math.degrees(math.acos(min(1.0, float(lifted.normal @ normal)))))
        error = lifted.position_m - point
        chi2.append(float(error @ np.linalg.solve(lifted.covariance[:3, :3], error)))
    return {
        "n": count,
        "depth_error_p50_sigma": float(np.median(depth)),
        "normal_error_p50_deg": float(np.median(angles)),
        "normal_error_p95_deg": float(np.percentile(angles, 95)),
        "normalised_error": math.sqrt(float(np.mean(chi2)) / 3.0),
        "inside_95_percent_ellipsoid": float(np.mean(np.array(chi2) < 7.8147)),
    }


def synthetic_edge(
    rng: np.random.Generator, options: LiftingOptions
) -> tuple[RGBDFrame, list[Pixel], Array, tuple[float, float]]:
    """A box in front of a wall with what a stereo camera makes of it; exact truth.

    Gives (frame, pixels within 4 px of the outline, ``[H, W]`` true depth, the two depths).
    The wall has no readings where the second camera sees the box (left of it); 30 % of the
    readings within a pixel of the outline fly between the two surfaces.
    """
    width, height, focal = 1280, 720, 921.0
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
    options = LiftingOptions()
    errors, confident, averaged = [], [], []
    for _ in range(scenes):
        frame, pixels, truth, depths = synthetic_edge(rng, options)
        for u, v in pixels:
            answer = _ours(frame, (u, v))
            errors.append(None if answer is None else abs(answer[0] - truth[int(v), int(u)]))
            confident.append(answer is not None and answer[1])
            if answer is not None:
                off = min(abs(answer[0] - z) / options.sigma_z_m(z, 1280) for z in depths)
                averaged.append(off > 4.0)
    figures = summarise(errors, confident)
    return figures | {"between_surfaces": float(np.mean(averaged))}


def speed(repeats: int = 300) -> dict[str, float]:
    """Milliseconds for one point and for fifty in a 1280x720 frame."""
    rng = np.random.default_rng(5)
    frame, pixel, *_ = synthetic_plane(rng, LiftingOptions())
    lift_point(frame, pixel)

    def one() -> float:
        started = time.perf_counter()
        lift_point(frame, pixel)
        return 1e3 * (time.perf_counter() - started)

    single = [one() for _ in range(repeats)]
    fifty = [sum(one() for _ in range(50)) for _ in range(5)]
    return {
        "one_point_p50_ms": float(np.median(single)),
        "fifty_points_ms": float(np.median(fifty)),
    }


# --- the report ------------------------------------------------------------------------


def _print(report: dict[str, dict]) -> None:
    for kind, by_method in report["methods"].items():
        n = next(iter(by_method.values()))["n"]
        print(f"\n{kind} ({n} pixels; |dz| against the second capture)")
        print(f"{'method':22s} coverage  p50 mm  p95 mm  >20 mm  confident  >20 mm among confident")
        for name, f in by_method.items():
            if not f["coverage"]:
                print(f"{name:22s} {0:7.1%}")
                continue
            print(
                f"{name:22s} {f['coverage']:7.1%} {f['p50_mm']:7.1f} {f['p95_mm']:7.1f} "
                f"{f['wrong']:7.1%} {f['confident']:9.1%} {f['wrong_confident']:9.1%}"
            )
    print("\nlabelled points")
    for row in report["points"]:
        outcome = row.get("error") or (
            f"{row['error_mm']:6.1f} mm" if "error_mm" in row else "no reference"
        )
        print(f"{row['frame']:22s} {row['label'][:34]:34s} {row['kind'][:11]:11s} {outcome}")
    for title in ("synthetic", "synthetic edges", "speed"):
        print(f"\n{title}")
        for key, value in report[title].items():
            print(f"  {key:30s} {value:.4g}")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, help="holds one folder a frame")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    parser.add_argument("--pixels", type=int, default=2500, help="per frame and kind of pixel")
    options = parser.parse_args(arguments)
    folders = sorted(p.parent for p in options.folder.glob("*/camera.json"))
    if not folders:
        parser.error(f"no */camera.json in {options.folder}")
    samples = [load(folder) for folder in folders]
    report = {
        "methods": compare_methods(samples, options.pixels),
        "points": check_points(samples),
        "synthetic": synthetic(),
        "synthetic edges": synthetic_edges(),
        "speed": speed(),
    }
    if options.json:
        json.dump(report, sys.stdout, indent=1)
        print()
    else:
        _print(report)
    return 0


if __name__ == "__main__":
    sys.exit(main())
