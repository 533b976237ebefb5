# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Whether neighbouring readings share their errors, told from the readings themselves.

A stereo or structured-light sensor matches windows and smooths, so errors of neighbours are
alike: averaging them helps little, steps are blurred over the window, and there are errors
wider than anything a window shows (waves, calibration).  Independent noise, as simulations add
it, has none of that.  The autocorrelation of what a fitted surface leaves over tells the two
apart: over 0.33 at 99 % of the points of real D435 frames, under 0.24 at 99 % of those with
independent noise.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

#: autocorrelation up to which errors count as independent, and from which on as shared
_INDEPENDENT, _SHARED = 0.2, 0.4

_DIAGONAL = np.diag_indices(6)

#: fewer pairs of neighbours tell nothing
_LEAST_PAIRS = 30


def neighbour_correlation(du: Array, dv: Array, residual: Array, lag_px: int) -> float:
    """Autocorrelation of residuals at a distance of ``lag_px``, along rows and columns.

    Where it looks high, the residuals of a curved surface are fitted with a paraboloid first,
    so that a round thing is not taken for a noisy one.

    Args:
        du: ``[h, w]`` horizontal offsets of the window's elements from the point, pixels.
        dv: ``[h, w]`` vertical offsets, pixels.
        residual: ``[h, w]`` readings over the fitted plane, NaN where they are not part of it.
        lag_px: distance at which elements of the window hold different readings.

    Returns:
        In [-1, 1]; 1 where there are too few readings to tell.
    """
    h, w = residual.shape
    # absent elements beyond the ends of rows let the whole window be shifted as one line
    padded = np.full((h, w + lag_px), np.nan)
    padded[:, :w] = residual
    line = padded.ravel()
    member = np.isfinite(line).nonzero()[0]
    there = np.zeros(line.size)
    there[member] = 1.0
    lags = (lag_px, lag_px * (w + lag_px))
    pairs = sum(int(there[lag:] @ there[:-lag]) for lag in lags if lag < line.size)
    if pairs < _LEAST_PAIRS:
        return 1.0
    r = line[member]
    rho = _autocorrelation(there, member, r, lags, pairs)
    if not _INDEPENDENT < rho < 1.0:
        return rho
    within = np.isfinite(residual)
    u, v = du[within], dv[within]
    design = np.array((np.ones_like(u), u, v, u * u, u * v, v * v))
    normal = design @ design.T
    normal[_DIAGONAL] *= 1.0 + 1e-9  # readings in a line leave it singular
    normal[_DIAGONAL] += 1e-9
    left = r - np.linalg.solve(normal, design @ r) @ design
    return _autocorrelation(there, member, left, lags, pairs)


def _autocorrelation(
    line: Array, member: npt.NDArray[np.intp], values: Array, lags: tuple[int, int], pairs: int
) -> float:
    """Autocorrelation of the values of a line's members; the line holds 0 elsewhere."""
    variance = float(values @ values) / len(values)
    if not variance > 1e-24:  # exact readings have no errors to share
        return 0.0
    line[member] = values
    products = sum(float(line[lag:] @ line[:-lag]) for lag in lags if lag < line.size)
    return max(-1.0, min(1.0, products / pairs / variance))


def shared_ratio(rho: float) -> float:
    """How far errors of neighbours count as shared: 0 independent, 1 a real sensor's."""
    return max(0.0, min(1.0, (rho - _INDEPENDENT) / (_SHARED - _INDEPENDENT)))


def readings_per_independent(rho: float) -> float:
    """Readings that are worth one independent reading.

    The variance of a mean over an area with the autocorrelation rho^(|i| + |j|), relative to
    independent readings: ((1 + rho) / (1 - rho))^2 for areas wider than the correlation.
    """
    r = min(0.9, rho * shared_ratio(rho))
    return ((1.0 + r) / (1.0 - r)) ** 2
