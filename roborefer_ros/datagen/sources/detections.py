# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Boxes from a detector's masks and a depth picture: pseudo-3D, for pictures without boxes.

An adapter for any detector yields ``Detection``s; everything behind it is here.  Boxes are upright
and aligned with the view; their front is not known.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import cv2
import numpy as np
import numpy.typing as npt

from roborefer_ros.datagen.locate import mask_pixel
from roborefer_ros.datagen.scene import Array, Box, Camera
from roborefer_ros.datagen.source import SceneSkippedError
from roborefer_ros.datagen.wording import clean_name

LEAST_MASK_PX, LEAST_SCORE, MOST_PICTURE_SHARE = 25, 0.3, 0.75
LEAST_POINTS, LEAST_CLUSTER, LEAST_VOLUME_M3 = 16, 10, 1e-6
NOISE_M, NEIGHBOURS, OUTLIER_STD = 0.004, 10, 1.2
VOXEL_M, VOXEL_SHARE = 0.01, 3.0 / 40.0
CLUSTER_EPS_M, CLUSTER_LEAST = 0.2, 10
_MOST_POINTS = 1500


@dataclass(frozen=True, eq=False)
class Detection:
    """What a detector found.

    Attributes:
        mask: ``[H, W]`` bool, of the depth picture's size.
        label: Noun.
        score: 0 to 1.
        colour: Name, or "".
    """

    mask: npt.NDArray[np.bool_]
    label: str
    score: float
    colour: str = ""


class Detector(Protocol):
    """An adapter: any detector with masks."""

    def detect(self, rgb: npt.NDArray[np.uint8]) -> Sequence[Detection]:
        """The detections of a ``[H, W, 3]`` picture."""


def instance_masks(data: bytes, values: Any, counts: Counter[str]) -> list[Detection]:
    """Detections of a picture of instance numbers and a list of what they are.

    Raises:
        SceneSkippedError: the picture is damaged, or there is no list.
    """
    try:
        numbers = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        numbers = None
    if numbers is None or numbers.ndim != 2:
        raise SceneSkippedError("masks are no picture of one channel")
    if not isinstance(values, list):
        raise SceneSkippedError("no list of detections")
    found = []
    for value in values:
        usable = isinstance(value, dict) and isinstance(value.get("mask"), int)
        if not usable or not isinstance(value.get("label"), str):
            counts["detection without mask or label"] += 1
            continue
        score, colour = value.get("score", 1.0), value.get("colour", "")
        found.append(
            Detection(
                numbers == value["mask"],
                value["label"],
                float(score) if isinstance(score, int | float) else 0.0,
                clean_name(colour) if isinstance(colour, str) else "",
            )
        )
    return found


def boxes_from_detections(
    detections: Sequence[Detection],
    depth_m: npt.NDArray[np.floating],
    camera: Camera,
    counts: Counter[str],
) -> tuple[Box, ...]:
    """Upright boxes of the masks' points.

    Args:
        detections: Of one picture.
        depth_m: ``[H, W]`` metres, NaN in holes.
        camera: K of the colour picture, and gravity.
        counts: Takes what is left out, by reason.

    Raises:
        SceneSkippedError: no detection is usable.
    """
    boxes = []
    rng = np.random.default_rng(0)
    for index, detection in enumerate(detections):
        found = _box(index, detection, detections, depth_m, camera, rng)
        if isinstance(found, str):
            counts[found] += 1
        else:
            boxes.append(found)
    if not boxes:
        raise SceneSkippedError("no usable detection")
    return tuple(boxes)


def _box(
    index: int, detection: Detection, others: Sequence[Detection],
    depth_m: npt.NDArray[np.floating], camera: Camera, rng: np.random.Generator,
) -> Box | str:  # fmt: skip
    mask = detection.mask
    if mask.shape != depth_m.shape:
        return "mask of another size than the depth"
    if int(mask.sum()) < LEAST_MASK_PX:
        return "mask too small"
    if detection.score < LEAST_SCORE:
        return "detection not confident"
    v, u = np.nonzero(mask)
    if (np.ptp(u) + 1) * (np.ptp(v) + 1) > MOST_PICTURE_SHARE * mask.size:
        return "detection covers the picture"
    name = clean_name(detection.label)
    if not name:
        return "detection without mask or label"
    points = _points(_own_part(mask, index, others), depth_m, camera)
    if len(points) < LEAST_POINTS:
        return "too few points"
    cloud = largest_cluster(cleaned(points + rng.normal(0, NOISE_M, points.shape)))
    if len(cloud) < LEAST_CLUSTER:
        return "too few points"
    upright = camera.to_world(cloud)
    low, high = upright.min(0), upright.max(0)
    if float(np.prod(high - low)) < LEAST_VOLUME_M3:
        return "no volume"
    scaled = camera.width / mask.shape[1]
    pixel = mask_pixel(mask)
    centre = None if pixel is None else ((pixel[0] + 0.5) * scaled - 0.5,
                                         (pixel[1] + 0.5) * scaled - 0.5)  # fmt: skip
    return Box(
        f"{index}-{name}", name, camera.to_camera((low + high) / 2), high - low, camera.gravity,
        cloud, detection.colour, False, centre, centre is not None,
    )  # fmt: skip


def _own_part(
    mask: npt.NDArray[np.bool_], index: int, others: Sequence[Detection]
) -> npt.NDArray[np.bool_]:
    """The mask without those of smaller things in front of it, one pixel eroded."""
    own = mask.copy()
    for k, other in enumerate(others):
        if k != index and other.mask.shape == mask.shape and other.mask.sum() < mask.sum():
            own &= ~other.mask
    eroded = cv2.erode(own.astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool)
    return eroded if eroded.any() else own


def _points(
    mask: npt.NDArray[np.bool_], depth_m: npt.NDArray[np.floating], camera: Camera
) -> Array:
    v, u = np.nonzero(mask & np.isfinite(depth_m))
    step = max(1, len(v) // _MOST_POINTS)
    v, u = v[::step], u[::step]
    x = (u + 0.5) * camera.width / mask.shape[1] - 0.5
    y = (v + 0.5) * camera.height / mask.shape[0] - 0.5
    rays = np.stack([x, y, np.ones(len(x))], -1) @ np.linalg.inv(camera.K).T
    points: Array = rays * depth_m[v, u].astype(np.float64)[:, None]
    return points


def cleaned(points: Array) -> Array:
    """Without statistical outliers (10 neighbours, 1.2 standard deviations), one point a voxel."""
    if len(points) <= NEIGHBOURS:
        return points
    squares = ((points[:, None] - points[None]) ** 2).sum(-1)
    near = np.sqrt(np.partition(squares, NEIGHBOURS, axis=1)[:, 1 : NEIGHBOURS + 1]).mean(1)
    kept = points[near <= near.mean() + OUTLIER_STD * near.std()]
    voxel = max(VOXEL_M, VOXEL_SHARE * float(kept.std(0).max()))
    _, first = np.unique(np.floor(kept / voxel).astype(np.int64), axis=0, return_index=True)
    thinned: Array = kept[np.sort(first)]
    return thinned


def largest_cluster(points: Array) -> Array:
    """The largest cluster by DBSCAN (0.2 m, 10 points); empty where there is none."""
    near = ((points[:, None] - points[None]) ** 2).sum(-1) <= CLUSTER_EPS_M**2
    core = near.sum(1) >= min(CLUSTER_LEAST, len(points))
    label = np.full(len(points), -1)
    for start in range(len(points)):
        if not core[start] or label[start] >= 0:
            continue
        group = np.zeros(len(points), bool)
        group[start] = True
        while True:
            grown = near[group & core].any(0) | group
            if (grown == group).all():
                break
            group = grown
        label[group & (label < 0)] = start
    if not (label >= 0).any():
        return points[:0]
    values, sizes = np.unique(label[label >= 0], return_counts=True)
    largest: Array = points[label == values[np.argmax(sizes)]]
    return largest
