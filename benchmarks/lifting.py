# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""How well points are lifted: real frames, synthetic ones with exact truth, speed; the goals.

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
import sys
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from benchmarks.lifting_borders import borders
from benchmarks.lifting_free_space import free_space
from benchmarks.lifting_goals import goals
from benchmarks.lifting_methods import EDGE_RADIUS_PX, METHODS, STEP_M, summarise
from benchmarks.lifting_normals import normals
from benchmarks.lifting_placing import placing
from benchmarks.lifting_synthetic import speed, synthetic, synthetic_edges, temporal
from benchmarks.lifting_units import wrong_units
from benchmarks.lifting_walls import walls
from roborefer_ros.errors import ConfigurationError, RoboReferError
from roborefer_ros.files import read_json
from roborefer_ros.image_files import read_picture
from roborefer_ros.lifting import LiftingOptions, lift_point
from roborefer_ros.types import CameraIntrinsics, DepthImage, Pixel, RGBDFrame

Array = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

#: working range of the sensor that the figures are for, metres
RANGE_M = (0.4, 1.0)
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
    transparent: Mask


def load(folder: Path) -> Sample:
    """Read one folder of the layout above."""
    camera = read_json(folder / "camera.json")
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
    points = read_json(labels) if labels.exists() else []
    reference = None
    if (folder / "depth_painted.png").exists():
        painted = _picture(folder / "depth_painted.png", cv2.IMREAD_UNCHANGED)
        reference = DepthImage(painted, unit_m).metres()
    left_out = np.zeros(depth.raw.shape, dtype=bool)
    transparent = left_out
    if (folder / "mask_transparent.png").exists():
        mask = _picture(folder / "mask_transparent.png", cv2.IMREAD_GRAYSCALE)
        side = 2 * TRANSPARENT_MARGIN_PX + 1
        transparent = mask > 0
        left_out = cv2.dilate(mask, np.ones((side, side), np.uint8)) > 0
    frame = RGBDFrame(rgb.astype(np.uint8), depth, intrinsics, "camera")
    return Sample(folder.name, frame, points, reference, left_out, transparent)


def _picture(path: Path, mode: int) -> npt.NDArray[np.generic]:
    try:
        return read_picture(path, mode)
    except ConfigurationError as error:
        raise SystemExit(str(error)) from error


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


def compare_methods(samples: list[Sample], count: int = 2500) -> dict[str, dict[str, dict]]:
    """Kind of pixel -> method -> figures, pooled over the samples that have a reference."""
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


def honesty(samples: list[Sample], count: int) -> dict[str, float]:
    """Share of confident depths whose 95 % interval holds the second capture, by kind of pixel.

    With the default ``depth_bias_ratio`` and without; the second capture adds the noise of
    one of its own readings.  Both captures are of one sensor: an error that is the same in
    both, such as that of its calibration, is not seen.
    """
    figures = {}
    for title, bias in (("", LiftingOptions().depth_bias_ratio), ("_without_bias", 0.0)):
        options = LiftingOptions(depth_bias_ratio=bias, pixel_sigma_px=0.0, normalised_step=0.0)
        inside: dict[str, list[bool]] = {}
        for sample in samples:
            if sample.reference_m is None:
                continue
            for kind, pixels in strata(sample, np.random.default_rng(7), count).items():
                for u, v in pixels:
                    truth = float(sample.reference_m[int(v), int(u)])
                    held = _holds(sample.frame, (u, v), truth, options)
                    inside.setdefault(kind, []).extend(() if held is None else (held,))
        for kind, found in inside.items():
            if found:
                name = f"inside_95_percent{title}_{kind.replace(' ', '_')}"
                figures[name] = float(np.mean(found))
    return figures


def _holds(frame: RGBDFrame, pixel: Pixel, truth: float, options: LiftingOptions) -> bool | None:
    """Whether the 95 % interval of a confident depth holds the second capture's."""
    try:
        lifted = lift_point(frame, pixel, options)
    except RoboReferError:
        return None
    if lifted.confidence < options.confident_above:
        return None
    sigma = options.bound_to(frame).sigma_z_m(truth, frame.width)
    deviation = np.hypot(np.sqrt(lifted.covariance[2, 2]), sigma)
    return bool(abs(lifted.position_m[2] - truth) < 1.96 * deviation)


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
    for title in (
        "covariance on real frames",
        "synthetic",
        "synthetic edges",
        "free space",
        "placing on real frames",
        "holes at borders",
        "normals on real frames",
        "wrong units",
        "temporal",
        "speed",
    ):
        print(f"\n{title}")
        for key, value in report[title].items():
            print(f"  {key:44s} {value:.4g}")
    print("\ngoals")
    for goal in report["goals"]:
        bound = f"{'<=' if goal['is_maximum'] else '>='} {goal['bound']:g}"
        verdict = "" if goal["reached"] else "NOT REACHED"
        print(f"  {goal['name']:48s} {goal['measured']:8.3g}  {bound:8s} {verdict}")


def main(arguments: list[str] | None = None) -> int:
    """Measure all frames; returns 1 where a goal falls short."""
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
        "covariance on real frames": honesty(samples, min(options.pixels, 1000)),
        "synthetic": synthetic(),
        "synthetic edges": synthetic_edges(),
        "free space": free_space(),
        "placing on real frames": placing(samples, folders) | walls(samples),
        "holes at borders": borders(samples),
        "normals on real frames": normals(samples),
        "wrong units": wrong_units(samples),
        "temporal": temporal(),
        "speed": speed(),
    }
    report["goals"] = [goal._asdict() for goal in goals(report)]
    if options.json:
        json.dump(report, sys.stdout, indent=1)
        print()
    else:
        _print(report)
    return 0 if all(goal["reached"] for goal in report["goals"]) else 1


if __name__ == "__main__":
    sys.exit(main())
