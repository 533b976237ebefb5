# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Holes cut into the depth at borders: on which surface a pixel without a reading is put.

What was cut out is the truth, so this measures the choice of the surface, not the sensor.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from roborefer_ros.errors import RoboReferError
from roborefer_ros.lifting import LiftingOptions, lift_point
from roborefer_ros.types import DepthImage

Array = npt.NDArray[np.float64]

#: radius of a hole in an image 640 pixels wide
_HOLE_PX = 3
_RANGE_M = (0.3, 3.0)
#: a step of this height, or this share of the depth, is a border, metres
_STEP_M, _STEP_RATIO = 0.03, 0.03
#: another surface is farther off than this, or this share of the depth, metres
_OTHER_M, _OTHER_RATIO = 0.020, 0.02
#: share of the readings around that must be there, so that the border is seen
_DENSE = 0.9


def border_pixels(z_m: Array, radius_px: int) -> npt.NDArray[np.intp]:
    """``[N, 2]`` pixels (u, v) with a reading whose hole would reach a border."""
    small = np.ones((3, 3), np.uint8)
    far = cv2.dilate(np.nan_to_num(z_m, nan=-1.0), small)
    near = cv2.erode(np.nan_to_num(z_m, nan=99.0), small)
    read = np.isfinite(z_m)
    step = read & (far - near > np.maximum(_STEP_M, _STEP_RATIO * np.nan_to_num(z_m)))
    step &= (near < 90.0) & (far > 0.0)
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius_px + 1, 2 * radius_px + 1))
    band = cv2.dilate(step.astype(np.uint8), disc) > 0
    side = 2 * radius_px + 5
    dense = cv2.blur(read.astype(np.float32), (side, side)) > _DENSE
    beside = cv2.dilate(step.astype(np.uint8), small) > 0
    v, u = np.nonzero(band & dense & read & ~beside)
    return np.column_stack((u, v))


def borders(samples: list[Any], count: int = 250) -> dict[str, float]:
    """Coverage and share of wrong surfaces of every frame, by its name."""
    figures: dict[str, float] = {}
    for sample in samples:
        frame = sample.frame
        z_m = frame.depth.metres().astype(np.float64)
        z_m[sample.left_out | (z_m < _RANGE_M[0]) | (z_m > _RANGE_M[1])] = np.nan
        radius_px = round(_HOLE_PX * max(frame.width, frame.height) / 640)
        pixels = border_pixels(z_m, radius_px)
        chosen = np.random.default_rng(0).permutation(len(pixels))[:count]
        if len(chosen) < count // 5:
            continue  # too few borders that are seen on both sides
        wrong, sure = [], []
        for u, v in pixels[chosen].tolist():
            raw = frame.depth.raw.copy()
            cv2.circle(raw, (u, v), radius_px, 0, -1)
            cut = replace(frame, depth=DepthImage(raw, frame.depth.unit_m))
            try:
                lifted = lift_point(cut, (float(u), float(v)), LiftingOptions())
            except RoboReferError:
                continue
            truth = float(z_m[v, u])
            off = abs(float(lifted.position_m[2]) - truth)
            wrong.append(off > max(_OTHER_M, _OTHER_RATIO * truth))
            sure.append(lifted.confidence >= LiftingOptions().confident_above)
        figures[f"{sample.name}_coverage"] = len(wrong) / len(chosen)
        figures[f"{sample.name}_wrong"] = float(np.mean(wrong)) if wrong else 0.0
        confident = np.array(wrong)[np.array(sure, bool)] if wrong else np.zeros(0)
        figures[f"{sample.name}_wrong_confident"] = (
            float(confident.mean()) if confident.size else 0.0
        )
    return figures
