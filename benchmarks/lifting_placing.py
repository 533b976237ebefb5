# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Free space on real tables: free spots, occupied ones, thin and transparent things, walls.

Truth comes from the frames themselves: the table is the widest plane that faces up, with up its
normal; a spot is occupied within 2.5 cm of a thing taller than 2.5 cm, free where nothing above
1 cm is within 6.5 cm, both at most 1 cm off the table.  A second capture with painted things,
where there is one, tells where the transparent ones stand.  ``spots.json`` in a frame's folder
adds labels made by hand.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from roborefer_ros.errors import RoboReferError
from roborefer_ros.files import read_json
from roborefer_ros.lifting import LiftingOptions, lift_point
from roborefer_ros.lifting.intrinsics import rays_through
from roborefer_ros.lifting.planes import Plane, widest_plane
from roborefer_ros.types import Mode, Pixel, PointFlag, RGBDFrame

Array = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

#: heights and distances that make a spot free or occupied, metres
_TALL_M, _LOW_M, _BESIDE_M, _CLEAR_M, _EDGE_M = 0.025, 0.010, 0.025, 0.065, 0.057
#: what hangs higher, such as a screen over its desk, leaves room for a thing, metres
_OVERHEAD_M = 0.10
_CELL_M = 0.004
_SPOTS = 60
#: labels of ``spots.json`` -> kind
_LABELS = {
    "free": "free (hand)",
    "on paper": "free (hand)",
    "near": "occupied (hand)",
    "on thin": "thin (hand)",
    "near thin": "thin (hand)",
}


def table_plane(frame: RGBDFrame, z_m: Array) -> Plane | None:
    """The widest plane that faces the image's up."""
    v, u = np.mgrid[0 : frame.height : 4, 0 : frame.width : 4]
    rays = rays_through(np.column_stack((u.ravel(), v.ravel())), frame.intrinsics)
    left = rays * z_m[::4, ::4].reshape(-1, 1)
    left = left[np.isfinite(left[:, 2])]
    best: tuple[int, Plane] | None = None
    for _ in range(4):
        plane = widest_plane(left, 0.008, 0.05)
        if plane is None:
            break
        on = np.abs(plane.heights_m(left)) < 0.008
        count = int(np.count_nonzero(on))
        if -plane.normal[1] > 0.4 and (best is None or count > best[0]):
            best = count, plane
        left = left[~on]
    return None if best is None else best[1]


def _raster(cells: npt.NDArray[np.intp], mask: Mask, size: tuple[int, int], least: int) -> Mask:
    """``size`` cells of the table that at least that many pixels of a mask fall into."""
    chosen = cells[mask]
    inside = ((chosen >= 0) & (chosen < size)).all(axis=1)
    counts = np.zeros(size, np.int32)
    np.add.at(counts, tuple(chosen[inside].T), 1)
    # a single cell is noise
    solid = (counts >= least).astype(np.uint8)
    raster: Mask = cv2.morphologyEx(solid, cv2.MORPH_OPEN, np.ones((2, 2), np.uint8)) > 0
    return raster


def _distance_m(cells: Mask) -> Array:
    distance = cv2.distanceTransform((~cells).astype(np.uint8), cv2.DIST_L2, 5) * _CELL_M
    return np.asarray(distance, dtype=np.float64)


def spots_of(sample: Any, rng: np.random.Generator, count: int) -> tuple[Array, dict[str, Array]]:
    """Up ``[3]`` and the pixels ``[N, 2]`` of each kind, by the heights over the table."""
    frame: RGBDFrame = sample.frame
    depth = frame.depth.metres() if sample.reference_m is None else sample.reference_m
    z_m = depth.astype(np.float64)
    plane = table_plane(frame, z_m)
    if plane is None:
        return np.zeros(3), {}
    height, width = z_m.shape
    v, u = np.mgrid[:height, :width]
    rays = rays_through(np.column_stack((u.ravel(), v.ravel())), frame.intrinsics)
    points = rays.reshape(height, width, 3) * z_m[..., None]
    unsteady = np.nan_to_num(plane.heights_m(points), nan=9.0).astype(np.float32)
    heights = np.asarray(cv2.medianBlur(unsteady, 5), dtype=np.float64)
    read = np.isfinite(z_m)
    a = np.cross(plane.normal, [1.0, 0.0, 0.0])
    a /= np.linalg.norm(a)
    at = np.stack((points @ a, points @ np.cross(plane.normal, a)), axis=-1)
    level = read & (np.abs(heights) < 0.010)
    low, high = np.percentile(at[level], (0.5, 99.5), axis=0)
    cells = np.floor((np.nan_to_num(at, nan=-99.0) - low + 0.2) / _CELL_M).astype(np.intp)
    size = (int((high[0] - low[0] + 0.4) / _CELL_M), int((high[1] - low[1] + 0.4) / _CELL_M))
    tall = _raster(cells, read & (heights > _TALL_M) & (heights < _OVERHEAD_M), size, 2)
    anything = _raster(cells, read & (heights > _LOW_M) & (heights < 0.4), size, 2)
    seen = _raster(cells, level, size, 1)
    closed = cv2.morphologyEx(seen.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((9, 9), np.uint8)) > 0
    on_table = ((cells >= 0) & (cells < size)).all(axis=-1)
    index = tuple(np.clip(cells, 0, np.array(size) - 1).reshape(-1, 2).T)

    def looked_up(distance: Array) -> Array:
        return distance[index].reshape(height, width)

    reach_px = 0.05 * frame.intrinsics.fx / np.nan_to_num(z_m, nan=1.0)
    whole = (np.minimum(u, v) > reach_px) & (u < width - reach_px) & (v < height - reach_px)
    glass = sample.transparent
    beside_glass = cv2.dilate(glass.astype(np.uint8), np.ones((81, 81), np.uint8)) > 0
    free = on_table & level & whole & ~beside_glass & (looked_up(_distance_m(anything)) > _CLEAR_M)
    free &= looked_up(_distance_m(~closed)) > _EDGE_M
    beside = on_table & read & ~glass & (looked_up(_distance_m(tall)) < _BESIDE_M)
    # flat tops of books and boxes carry something, too, so those are not judged
    occupied = beside & (np.abs(heights) < _LOW_M)
    on_things = beside & (heights >= _LOW_M) & (heights < 0.4)
    kinds = {"free": free, "occupied": occupied, "on things": on_things, "transparent": glass}
    return plane.normal, {kind: _picked(mask, rng, count) for kind, mask in kinds.items()}


def _picked(mask: Mask, rng: np.random.Generator, count: int) -> Array:
    v, u = np.nonzero(mask)
    chosen = rng.permutation(u.size)[:count]
    return np.column_stack((u[chosen], v[chosen])).astype(np.float64)


def outcome(frame: RGBDFrame, pixel: Pixel, options: LiftingOptions) -> str:
    """What a spot ends in: "clean" (given with confidence), "air", "low" or "refused"."""
    try:
        point = lift_point(frame, pixel, options, Mode.FREE_SPACE)
    except RoboReferError:
        return "refused"
    if point.confidence < options.confident_above:
        return "low"
    return "air" if point.flags & PointFlag.IN_AIR else "clean"


def placing(samples: list[Any], folders: list[Path], count: int = _SPOTS) -> dict[str, float]:
    """Shares of spots that are given with confidence, by kind; 1 - share is refused or low."""
    outcomes: dict[str, Counter[str]] = {}
    for sample, folder in zip(samples, folders, strict=True):
        up, kinds = spots_of(sample, np.random.default_rng(0), count)
        if not up.any():
            continue
        labels = folder / "spots.json"
        hand = read_json(labels)["spots"] if labels.exists() else []
        for spot in hand:
            kind = _LABELS.get(spot["what"])
            if kind:
                pixel = np.array([[spot["u"], spot["v"]]], dtype=np.float64)
                kinds[kind] = np.concatenate((kinds.get(kind, np.empty((0, 2))), pixel))
        options = LiftingOptions(up=(float(up[0]), float(up[1]), float(up[2])))
        for kind, pixels in kinds.items():
            for u, v in pixels:
                found = outcome(sample.frame, (float(u), float(v)), options)
                outcomes.setdefault(kind, Counter())[found] += 1
    figures: dict[str, float] = {}
    for kind, counted in outcomes.items():
        name = kind.replace(" (", "_").replace(" ", "_").replace(")", "")
        total = sum(counted.values())
        figures[name] = total
        figures[f"{name}_given"] = (counted["clean"] + counted["air"]) / max(1, total)
    return figures
