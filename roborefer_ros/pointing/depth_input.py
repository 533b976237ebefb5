# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The depth picture a pointing model sees, made from a depth camera.

RoboRefer's depth encoder was trained on relative inverse depth: 8 bit, near = bright,
scaled per image (arXiv 2506.04308; normally Depth-Anything-V2's output).  Metric depth
must be brought into that form before it is shown to the model; raw millimetres, or a
picture where far is bright, are off its training distribution.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from roborefer_ros.errors import NoValidDepthError

#: inverse depth is clipped to these percentiles, so that a few flying pixels do not set the scale
_PERCENTILES = (1.0, 99.0)

#: percentiles are taken over about this many readings; more change nothing visible
_SAMPLE = 50_000


def relative_depth_from_metric(depth_m: npt.NDArray[np.floating]) -> npt.NDArray[np.uint8]:
    """Turn metric depth into the relative inverse depth picture of the model.

    Holes take the value of the nearest reading, since 0 would claim "very far".

    Args:
        depth_m: ``[H, W]`` metres, NaN where invalid.

    Returns:
        ``[H, W]`` uint8, near = bright.  A flat scene gives an all-zero picture.

    Raises:
        NoValidDepthError: no reading is valid.
    """
    valid = np.isfinite(depth_m) & (depth_m > 0)
    if not valid.any():
        raise NoValidDepthError(
            f"none of the {depth_m.size} depth readings is valid; check the depth topic, "
            "the camera's minimum distance and its emitter"
        )
    inverse = np.zeros(depth_m.shape, np.float32)
    np.divide(1.0, depth_m, out=inverse, where=valid)
    readings = inverse[valid]
    low, high = np.percentile(readings[:: max(1, readings.size // _SAMPLE)], _PERCENTILES)
    scale = 255.0 / (high - low) if high > low else 0.0
    picture = np.clip((inverse - low) * scale, 0.0, 255.0).astype(np.uint8)
    return picture if valid.all() else _fill_holes(picture, valid)


def _fill_holes(
    picture: npt.NDArray[np.uint8], valid: npt.NDArray[np.bool_]
) -> npt.NDArray[np.uint8]:
    """Give every invalid pixel the value of its nearest valid one."""
    holes = (~valid).astype(np.uint8)
    _, labels = cv2.distanceTransformWithLabels(
        holes, cv2.DIST_L2, 3, labelType=cv2.DIST_LABEL_PIXEL
    )
    # Each valid pixel has a label of its own, so label -> value is a plain table.
    table = np.zeros(int(labels.max()) + 1, np.uint8)
    table[labels[valid]] = picture[valid]
    filled: npt.NDArray[np.uint8] = table[labels]
    return filled
