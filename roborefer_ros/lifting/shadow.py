# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Holes that a stereo camera must have: where its second imager sees a nearer thing.

Beside a near surface a strip of the far one is hidden from the second imager: on the left
where that is the right one, as in the D400 series (their colour camera, left of both, widens
the strip on the same side).  Its width on the row is the difference of disparities,
f B (1/z_near - 1/z_far), the half occlusion of the stereo literature.  What shows inside
such a strip is the far surface, although the near one is often closer to the pixel.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from roborefer_ros.lifting.depth_image import DepthWindow
from roborefer_ros.lifting.options import LiftingOptions
from roborefer_ros.lifting.sides import lab, likeness
from roborefer_ros.types import Pixel

Mask = npt.NDArray[np.bool_]

#: a strip may be this much wider than computed (matching windows eat into its far side)
_WIDER = 1.3
_MARGIN_PX = 6.0
#: a narrower hole is none of the step beside it
_NARROWER = 0.5


#: columns of colour on either side that the pixel's is compared with
_COLOUR_PX = 6
#: likeness to the far side that decides, and to the near one that forbids
_LIKE_FAR, _LIKE_NEAR = 0.4, 0.4


def _likeness_to_far(rows: npt.NDArray[np.uint8], u: int, near_end: int, far_end: int) -> float:
    """In [-1, 1]: 1 where the pixel has the colour of the far side, -1 that of the near one."""
    sides = []
    for end in (near_end, far_end):
        away = 1 if end > u else -1
        first, last = sorted((end, end + away * (_COLOUR_PX - 1)))
        sides.append(lab(rows[:, max(0, first) : last + 1]).reshape(-1, 3))
    own = lab(rows[:, max(0, u - 1) : u + 2]).reshape(-1, 3)
    return likeness(np.asarray(np.median(own, axis=0), dtype=np.float32), *sides)


@dataclass(frozen=True)
class FarSide:
    """The far end of a shadow on the pixel's row.

    Attributes:
        z_m: depth of the first reading beyond it.
        pixel: Pixel of that reading.
        distance_px: Distance from the pixel that was asked for.
    """

    z_m: float
    pixel: Pixel
    distance_px: float


def shadow_reach_px(focal_px: float, options: LiftingOptions) -> int:
    """The widest shadow that anything at the nearest depth can throw, pixels."""
    return math.ceil(_WIDER * focal_px * options.baseline_m / max(options.z_min_m, 0.3))


def find_far_side(
    window: DepthWindow,
    usable: Mask,
    pixel: Pixel,
    focal_px: float,
    options: LiftingOptions,
    colour_row: npt.NDArray[np.uint8] | None = None,
) -> FarSide | None:
    """The far surface, where the pixel lies in the shadow of a nearer one.

    Args:
        window: readings, at least ``shadow_reach_px`` to both sides.
        usable: ``[h, w]`` those that belong to a surface.
        pixel: without a usable reading of its own.
        focal_px: Focal length of the colour image, pixels.
        options: Which side a shadow takes, its reach, the noise model.
        colour_row: ``[3, W, 3]`` rows of the colour image around the pixel; decides where
            ``shadow_side`` is "auto" and has a veto elsewhere; None where there is no colour.

    Returns:
        None where the hole is not closed on both sides, or is too wide or shows no step.
    """
    row = min(max(round(pixel[1]) - window.v0, 0), usable.shape[0] - 1)
    columns = np.nonzero(usable[row])[0] + window.u0
    left, right = columns[columns < pixel[0]], columns[columns > pixel[0]]
    if not (left.size and right.size):
        return None
    ends = (int(left[-1]), int(right[0]))
    z = [float(window.z_m[row, end - window.u0]) for end in ends]
    near, far = (0, 1) if z[0] < z[1] else (1, 0)
    if options.shadow_side not in ("auto", "both", "left" if near == 1 else "right"):
        return None
    if z[far] - z[near] < max(options.step_m, 0.02 * z[far]):
        return None
    width_px = ends[1] - ends[0] - 1
    shadow_px = focal_px * options.baseline_m * (1.0 / z[near] - 1.0 / z[far])
    if width_px > _WIDER * shadow_px + _MARGIN_PX:
        return None
    if options.shadow_side == "auto" and width_px < _NARROWER * shadow_px - _MARGIN_PX / 2.0:
        return None  # a shadow is as wide as the step is deep
    likeness = 0.0
    if colour_row is not None:
        likeness = _likeness_to_far(colour_row, round(pixel[0]), ends[near], ends[far])
    if likeness < (_LIKE_FAR if options.shadow_side == "auto" else -_LIKE_NEAR):
        return None
    return FarSide(z[far], (ends[far], row + window.v0), abs(ends[far] - pixel[0]))
