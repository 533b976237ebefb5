# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Whether a footprint looks like the support around it.

Depth does not show what is lower than its noise, and often not what is transparent: rays go
through to the support.  Colour may: the support around the footprint says which colours belong
to it (wood, a chequered cloth), and a compact part of the footprint with others is something on
it.  Frequencies are compared, not colours alone, so that a thing that reaches beyond the
footprint is still told from a pattern, and so are steps of brightness, which the rims and
highlights of glass make.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from roborefer_ros.lifting.patch import Patch, patch_colours
from roborefer_ros.types import RGBDFrame

Array = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

#: cells of the support around that make a model of its colours
_LEAST_CELLS = 150
#: bins to each side of the middle, their least width (CIE L*a*b* units), and in standard
#: deviations of the grain
_BINS, _LEAST_WIDTH, _GRAIN_WIDTH = 6, 5.0, 3.0
#: brightness (L*) below and above which nothing on a support shows
_DARK, _OVEREXPOSED = 3.0, 98.0
#: a colour is of something else where it is this many times as frequent in the footprint
_MORE_FREQUENT = 3.0
#: a step of colour is one of more than this, and than this many times the quantile of those around
_LEAST_STEP, _STEP_QUANTILE, _STEP_FACTOR = 4.0, 0.95, 1.3
#: weight of a step of brightness against one of colour
_OF_BRIGHTNESS = 0.6
#: a foreign part that covers this share of the footprint, with less than this share of steps in
#: its inside, is a sheet of something: paper, a mat
_SHEET_SHARE, _SHEET_STEPS = 0.25, 0.02


@dataclass(frozen=True)
class Appearance:
    """What colour tells of a footprint.

    Attributes:
        foreign_ratio: share of the footprint that its largest compact part covers with colours
            that are not the support's.
        foreign: ``[n, n]`` the cells of that part.
        step_ratio: share of the footprint with steps of colour that are rare around it, as the
            rims of things are and light that falls differently is not.
        is_plain: the foreign part is wide and has no steps inside.
        is_told: whether enough of the support around is seen, neither black nor overexposed.
    """

    foreign_ratio: float
    foreign: Mask
    step_ratio: float
    is_plain: bool
    is_told: bool


def compare_appearance(
    frame: RGBDFrame, wide: Patch, radius_m: float, tolerance_m: float
) -> Appearance:
    """Compare the colours of a footprint with those of the support around it.

    Args:
        frame: checked already.
        wide: the surroundings, with heights over the support.
        radius_m: Radius of the footprint, metres.
        tolerance_m: heights within this are the support's.
    """
    aside = wide.aside()
    inside = (aside <= radius_m) & wide.in_image
    with np.errstate(invalid="ignore"):
        off = np.abs(wide.heights) > tolerance_m
    # the rim of a thing shows its colour beside its readings
    off = cv2.dilate(off.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    around = (aside > radius_m + wide.cell_m) & wide.in_image & np.isfinite(wide.z_m) & ~off
    count = int(np.count_nonzero(inside))
    if np.count_nonzero(around) < _LEAST_CELLS or count == 0:
        return Appearance(0.0, np.zeros(inside.shape, bool), 0.0, False, False)
    colours = patch_colours(frame, wide)
    steps = _rare_steps(colours, around)
    reference = np.ascontiguousarray(colours[around].T)
    middle = np.partition(reference, reference.shape[1] // 2)[:, reference.shape[1] // 2]
    is_told = bool(_DARK < middle[0] < _OVEREXPOSED)
    colours[..., 0] -= _lighting(wide, colours[..., 0], around).astype(np.float32)
    foreign = _largest_part(_foreign(colours, middle, inside, around))
    ratio = np.count_nonzero(foreign) / count
    core = cv2.erode(foreign.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    is_plain = bool(
        ratio >= _SHEET_SHARE and core.any() and float(np.mean(steps[core])) < _SHEET_STEPS
    )
    step_ratio = np.count_nonzero(steps & inside) / count
    return Appearance(ratio, foreign, step_ratio, is_plain, is_told)


def _lighting(wide: Patch, brightness: npt.NDArray[np.float32], around: Mask) -> Array:
    """``[n, n]`` the linear change of brightness over the support around."""
    at = wide.grid[around]
    at = at - at.mean(axis=0)
    value = brightness[around].astype(np.float64)
    spread = at.T @ at + 1e-9 * np.eye(2)
    slope = np.linalg.solve(spread, at.T @ (value - value.mean()))
    change: Array = wide.grid @ slope
    return change


def _foreign(
    colours: npt.NDArray[np.float32],
    middle: npt.NDArray[np.float32],
    inside: Mask,
    around: Mask,
) -> Mask:
    """``[n, n]`` cells of the footprint whose colour is much rarer around it."""
    grain = np.abs(colours[::2, 1:] - colours[::2, :-1])[around[::2, 1:] & around[::2, :-1]].T
    grain = np.partition(np.ascontiguousarray(grain), grain.shape[1] // 2)[:, grain.shape[1] // 2]
    width = np.maximum(_LEAST_WIDTH, _GRAIN_WIDTH * 1.4826 / 2**0.5 * grain).astype(np.float32)
    bins = np.clip(np.rint((colours - middle) / width), -_BINS, _BINS).astype(np.intp) + _BINS
    side = 2 * _BINS + 1
    index = (bins[..., 0] * side + bins[..., 1]) * side + bins[..., 2]
    here = _blurred(np.bincount(index[inside], minlength=side**3), side)
    there = _blurred(np.bincount(index[around], minlength=side**3), side)
    here /= np.count_nonzero(inside)
    there = (there + 1.0) / np.count_nonzero(around)
    foreign: Mask = inside & (here > _MORE_FREQUENT * there)[index]
    return foreign


def _blurred(counts: npt.NDArray[np.intp], side: int) -> Array:
    """A histogram blurred along each axis, so that a colour at a bin's border is in both."""
    blurred = counts.astype(np.float64)
    for stride in (1, side, side * side):
        low, high = np.zeros_like(blurred), np.zeros_like(blurred)
        low[stride:], high[:-stride] = blurred[:-stride], blurred[stride:]
        blurred = 0.5 * blurred + 0.25 * (low + high)
    return blurred


def _largest_part(mask: Mask) -> Mask:
    """The largest connected part that is at least two cells wide."""
    wide = cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_OPEN, np.ones((2, 2), np.uint8))
    if not wide.any():
        return np.zeros(mask.shape, bool)
    _, labels, statistics, _ = cv2.connectedComponentsWithStats(wide, connectivity=8)
    largest: Mask = labels == 1 + int(np.argmax(statistics[1:, cv2.CC_STAT_AREA]))
    return largest


def _rare_steps(colours: npt.NDArray[np.float32], around: Mask) -> Mask:
    """``[n, n]`` cells with steps of colour to their neighbours that are rare around."""
    steps = np.zeros(around.shape, np.float32)
    across = np.abs(colours[1:-1, 2:] - colours[1:-1, :-2])
    along = np.abs(colours[2:, 1:-1] - colours[:-2, 1:-1])
    change = np.maximum(across, along)
    colour = np.maximum(change[..., 1], change[..., 2])
    # a shadow changes brightness alone, over a centimetre or more
    steps[1:-1, 1:-1] = np.maximum(_OF_BRIGHTNESS * change[..., 0], colour)
    inner = cv2.erode(around.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    reference = steps[inner]
    if not reference.size:
        return np.zeros(around.shape, bool)
    rank = min(reference.size - 1, int(_STEP_QUANTILE * reference.size))
    usual = float(np.partition(reference, rank)[rank])
    rare: Mask = steps > max(_LEAST_STEP, _STEP_FACTOR * usual)
    return rare
