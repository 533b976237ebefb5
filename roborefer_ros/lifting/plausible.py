# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Whether a whole depth image can be what its sensor measured, in the unit that is stated.

A depth unit that is wrong by a factor is no error that a driver reports: 0.2 mm taken for 1 mm
makes a room five times as large.  Two things give it away, whatever the scene shows:

* No sensor reads much below its nearest distance, so an image that mostly does is too small.
* The noise of triangulation (stereo, structured light) grows with the square of the depth.  A
  depth that is s times too small carries the noise of one that is 1/s times as far: its readings
  are 1/s times noisier than the sensor's model allows at the depth that they claim.

A unit that is too large has less noise than the model, as rendered depth has, too.  It is told by
the errors that all readings share, which grow like the noise (``estimate.py``): at 5 m no such
sensor is good for 20 mm.

The noise is that of 5x5 readings about their own plane in inverse depth.  On four real cameras it
is 0.3 to 0.65 times the model's, since neighbours share errors.  Independent noise, which only
simulations have, may be as high as whoever made it pleased and tells no unit.
"""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from roborefer_ros.errors import OutOfRangeError
from roborefer_ros.lifting.options import LiftingOptions
from roborefer_ros.types import DepthImage

Array = npt.NDArray[np.float64]

_LOG = logging.getLogger(__name__)

#: places along the image's sides at which 5x5 readings are looked at, and those that tell
_ROWS, _COLUMNS, _HALF, _LEAST_PLACES = 18, 24, 2, 30

#: share of the readings below ``z_min_m`` from which on the unit or ``z_min_m`` is wrong
_MOST_TOO_NEAR = 2.0 / 3.0

#: noise over the model's from which on the unit or the model is wrong
_MOST_NOISE = 1.25

#: correlation of neighbours from which on noise is a sensor's: 0.1 to 0.35 on real cameras, -0.1 of
#: independent noise (a plane takes a part of it away)
_LEAST_CORRELATION = 0.03

#: sensors whose noise tells the unit
_TRIANGULATING = ("stereo", "structured_light")


#: readings outside of this, in metres or millimetres, are no sensor's; their squares may overflow
_LEAST_READING, _GREATEST_READING = 1e-6, 1e9


@dataclass(frozen=True)
class DepthStatistics:
    """What a depth image shows all over.

    Attributes:
        middles: ``[N]`` readings at the places that have one, in units of the image.
        depths, noises: ``[M]`` readings and their noise, same units, at places that show a
            surface.
        correlation: Median correlation of neighbours there.
    """

    middles: Array
    depths: Array
    noises: Array
    correlation: float


def judge_depth(depth: DepthImage, options: LiftingOptions) -> bool:
    """Whether an image is plausible; those of the last one are remembered, for its many points.

    Args:
        depth: Image as the sensor gave it.
        options: Model of the noise, with the focal length of the camera that measured.

    Returns:
        False where the readings are noisier than the sensor's can be.

    Raises:
        OutOfRangeError: most readings are nearer than the sensor can measure.
    """
    global _last
    of, statistics, verdicts = _last
    if of() is not depth.raw:
        statistics, verdicts = statistics_of(depth.raw), {}
        _last = weakref.ref(depth.raw), statistics, verdicts
    key = (
        depth.unit_m,
        options.z_min_m,
        options.z_max_m,
        options.depth_noise_model,
        options.disparity_noise_px,
        options.baseline_m,
        options.depth_focal_px,
    )
    verdict = verdicts.get(key)
    if verdict is None:
        near = _too_near_ratio(statistics, depth.unit_m, options)
        noise = noise_over_model(statistics, depth.unit_m, depth.width, options)
        verdict = verdicts[key] = near, noise <= _MOST_NOISE
        if noise > _MOST_NOISE:
            _warn(key, noise)
    near, plausible = verdict
    if near > _MOST_TOO_NEAR:
        middle_m = float(np.median(statistics.middles)) * depth.unit_m
        raise OutOfRangeError(
            f"{near:.0%} of the depth image's readings are nearer than z_min "
            f"({options.z_min_m:g} m), half of them than {middle_m:.3f} m; is the depth unit of "
            f"{depth.unit_m:g} m right? If the camera can measure that near, lower z_min"
        )
    return plausible


def _warn(key: tuple[float | str, ...], noise: float) -> None:
    """Tell once about each camera and set of options."""
    if key in _warned or len(_warned) >= _MOST_WARNINGS:
        return
    _warned.add(key)
    _LOG.warning(
        "the depth image is %.1f times as noisy as the model %s allows at its depths (unit %g m), "
        "so no point gets a confidence of 0.5: is the depth unit too small, or are "
        "lifting.disparity_noise_px, lifting.baseline_m and lifting.depth_focal_px those of "
        "another camera?",
        noise,
        key[3],
        key[0],
    )


def _too_near_ratio(statistics: DepthStatistics, unit_m: float, options: LiftingOptions) -> float:
    """Share of the readings that are nearer than the sensor can measure; 0 of too few."""
    middles = statistics.middles
    if len(middles) < _LEAST_PLACES:
        return 0.0
    return int(np.count_nonzero(middles * unit_m < options.z_min_m)) / len(middles)


def noise_over_model(
    statistics: DepthStatistics, unit_m: float, width_px: int, options: LiftingOptions
) -> float:
    """Median noise of the readings over what the sensor's model says at their depth.

    Args:
        statistics: Of the image.
        unit_m: Metres per unit of its readings.
        width_px: Its width.
        options: Model of the noise, with the focal length of the camera that measured.

    Returns:
        0 where nothing can be told: too few readings, independent noise, or a sensor whose noise
        does not tell.
    """
    if options.depth_noise_model not in _TRIANGULATING:
        return 0.0
    if statistics.correlation < _LEAST_CORRELATION:
        return 0.0
    z_m = statistics.depths * unit_m
    told = (z_m >= options.z_min_m) & (z_m <= options.z_max_m)
    if np.count_nonzero(told) < _LEAST_PLACES:
        return 0.0
    sigma_m = options.sigma_z_m(z_m[told], width_px)
    return float(np.median(statistics.noises[told] * unit_m / sigma_m))


def statistics_of(raw: npt.NDArray[np.generic]) -> DepthStatistics:
    """Statistics of a depth image ``[H, W]``, in its own units."""
    h, w = raw.shape
    if h <= 2 * _HALF or w <= 2 * _HALF:
        return _NOTHING
    index = _places(h, w)
    readings = raw.reshape(-1)[index].astype(np.float64)
    middles = readings[:, readings.shape[1] // 2]
    middles = middles[(middles > 0.0) & (middles < np.inf)]
    # also false for NaN
    whole = ((readings > _LEAST_READING) & (readings < _GREATEST_READING)).all(axis=1)
    inverse = 1.0 / readings[whole]
    off = inverse @ _off_plane()
    if not len(inverse):
        return replace(_NOTHING, middles=middles)
    squares = np.einsum("ij,ij->i", off, off)
    degrees = (2 * _HALF + 1) ** 2 - 3
    depths = 1.0 / inverse.mean(axis=1)
    noises = np.sqrt(squares / degrees) * depths**2
    return DepthStatistics(middles, depths, noises, _correlation(off, squares))


def _correlation(off: Array, squares: Array) -> float:
    """Median over places ``[M, 25]`` of the correlation of neighbours; 0 where all are exact."""
    side = 2 * _HALF + 1
    grid = off.reshape(-1, side, side)
    along = np.einsum("ijk,ijk->i", grid[:, 1:], grid[:, :-1])
    across = np.einsum("ijk,ijk->i", grid[:, :, 1:], grid[:, :, :-1])
    pairs = 2 * side * (side - 1)
    some = squares > 1e-12 * np.max(squares, initial=0.0)
    if not some.any():
        return 0.0
    return float(np.median((along + across)[some] / pairs / (squares[some] / side**2)))


@lru_cache(maxsize=8)
def _places(h: int, w: int) -> npt.NDArray[np.intp]:
    """``[N, 25]`` indices of the readings at each place."""
    v = np.linspace(_HALF, h - _HALF - 1, min(_ROWS, h - 2 * _HALF)).astype(np.intp)
    u = np.linspace(_HALF, w - _HALF - 1, min(_COLUMNS, w - 2 * _HALF)).astype(np.intp)
    away = np.arange(-_HALF, _HALF + 1)
    around = (away[:, None] * w + away).ravel()
    index: npt.NDArray[np.intp] = (v[:, None] * w + u).ravel()[:, None] + around
    return index


@lru_cache(maxsize=1)
def _off_plane() -> Array:
    """``[25, 25]`` the part of 5x5 numbers that no plane explains."""
    away = np.arange(-_HALF, _HALF + 1, dtype=np.float64)
    dv, du = (grid.ravel() for grid in np.meshgrid(away, away, indexing="ij"))
    design = np.column_stack([np.ones(len(du)), du, dv])
    off: Array = np.eye(len(du)) - design @ np.linalg.pinv(design)
    return off


#: what was warned about; a stream of ever new options ends somewhere
_warned: set[tuple[float | str, ...]] = set()
_MOST_WARNINGS = 64

_NOTHING = DepthStatistics(np.empty(0), np.empty(0), np.empty(0), 0.0)

_Verdicts = dict[tuple[float | str, ...], tuple[float, bool]]

#: the image that was judged last, its statistics, and what they say under which options
_last: tuple[Callable[[], object], DepthStatistics, _Verdicts] = (
    lambda: None,
    _NOTHING,
    {},
)
