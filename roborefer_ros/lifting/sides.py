# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Which of two surfaces a pixel without a reading shows, told by its colour.

Depth at a border is lost on either side, and the readings around do not tell which.  Colour
often does: a pixel of a thing is like some of the thing's pixels near it, and like none of the
background.  Like some, not like their mean: things have labels, and backgrounds have patterns.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from roborefer_ros.lifting.depth_image import DepthWindow
from roborefer_ros.lifting.options import REFERENCE_WIDTH_PX, LiftingOptions, longer_side_px
from roborefer_ros.types import Pixel, RGBDFrame

Array = npt.NDArray[np.float64]
Colours = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

#: pixels of a side that a colour is compared with: those most like it
_MOST_ALIKE = 5
#: differences of colour below this are noise, CIE L*a*b* units
_COLOUR_NOISE = 3.0
#: difference of the distances in colour to both sides over their sum that decides
_DECIDES = 0.3
#: readings this much farther than the nearest one are looked at, at a width of 1280 pixels
_AROUND_PX = 12.0
#: readings that make a side
_LEAST_READINGS = 5
#: a gap in depth of this share of it, at least, parts two sides
_GAP_RATIO = 0.02


def lab(rgb: npt.NDArray[np.uint8]) -> Colours:
    """``[h, w, 3]`` CIE L*a*b* of a part of a colour image."""
    scaled = np.ascontiguousarray(rgb).astype(np.float32) / np.float32(255.0)
    return np.asarray(cv2.cvtColor(scaled, cv2.COLOR_RGB2LAB), dtype=np.float32)


def likeness(own: Colours, first: Colours, second: Colours) -> float:
    """In [-1, 1]: 1 where a colour ``[3]`` is the second pixels' ``[N, 3]``, -1 the first's."""
    distances = []
    for side in (first, second):
        off = np.sort(np.linalg.norm(side - own, axis=1))
        distances.append(float(off[:_MOST_ALIKE].mean()))
    to_first, to_second = distances
    return (to_first - to_second) / (to_first + to_second + _COLOUR_NOISE)


def colour_at(colours: Colours, row: int, column: int) -> Colours:
    """``[3]`` the median of the 3x3 around an element of ``[h, w, 3]``."""
    near = colours[max(0, row - 1) : row + 2, max(0, column - 1) : column + 2]
    return np.asarray(np.median(near.reshape(-1, 3), axis=0), dtype=np.float32)


def side_by_colour(
    frame: RGBDFrame,
    window: DepthWindow,
    pixel: Pixel,
    options: LiftingOptions,
    reach_px: float = 0.0,
) -> Mask | None:
    """``[h, w]`` the readings of the side that the pixel shows; None where colour does not tell.

    Args:
        frame: checked already.
        window: readings around the pixel, which has none itself.
        pixel: (u, v).
        options: step that parts two surfaces.
        reach_px: how far readings are looked at, at least.
    """
    z = window.z_m
    h, w = z.shape
    distance = window.distances_px(pixel)
    read = np.isfinite(z)
    if not read.any():
        return None
    scale = longer_side_px(frame) / REFERENCE_WIDTH_PX
    reach_px = max(reach_px, float(distance[read].min())) + _AROUND_PX * scale
    around = read & (distance <= reach_px)
    depths = np.sort(z[around])
    if len(depths) < 2 * _LEAST_READINGS:
        return None
    gaps = np.diff(depths)[_LEAST_READINGS - 1 : 1 - _LEAST_READINGS]
    if not gaps.size:
        return None
    widest = int(np.argmax(gaps))
    cut = float(depths[widest + _LEAST_READINGS - 1] + 0.5 * gaps[widest])
    if gaps[widest] < max(options.step_m, _GAP_RATIO * cut):
        return None
    colours = lab(frame.rgb[window.v0 : window.v0 + h, window.u0 : window.u0 + w])
    row = min(max(round(pixel[1]) - window.v0, 0), h - 1)
    column = min(max(round(pixel[0]) - window.u0, 0), w - 1)
    own = colour_at(colours, row, column)
    told = likeness(own, colours[around & (z < cut)], colours[around & (z > cut)])
    if abs(told) < _DECIDES:
        return None
    side: Mask = read & ((z > cut) if told > 0.0 else (z < cut))
    return side
