# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Robust planes in inverse depth."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

#: Huber's constant: 95 % efficient on Gaussian noise
_HUBER_K = 1.345

_RIDGE = np.diag([0.0, 1e-3, 1e-3])


@dataclass(frozen=True)
class PlaneFit:
    """``1/z = q + a (u - u_pixel) + b (v - v_pixel)``.

    Attributes:
        q: inverse depth at the pixel, 1/m.
        gradient: (a, b), 1/m per pixel.
        covariance: ``[3, 3]`` of (q, a, b) for readings with a unit standard deviation in
            1/z; multiply with their variance.
        rms: weighted RMS residual, 1/m.
        count: readings that the slope was fitted to.
        near: those of them that gave the depth.
        sampled: readings that ``covariance`` is of, where they are not ``count``.
    """

    q: float
    gradient: tuple[float, float]
    covariance: Array
    rms: float
    count: int
    near: int
    sampled: int = 0


def fit_plane(du: Array, dv: Array, q: Array, sigma_q: float, iterations: int = 3) -> PlaneFit:
    """Robust plane in inverse depth (IRLS with Huber's weights).

    Args:
        du, dv: ``[N]`` pixel offsets from the point.
        q: ``[N]`` inverse depths, 1/m.
        sigma_q: standard deviation of one reading in 1/m, the scale of the weights.
    """
    # A ridge far below any real slope keeps collinear readings solvable.
    design = np.empty((len(du), 3))
    design[:, 0], design[:, 1], design[:, 2] = 1.0, du, dv
    weighted = design
    weights = np.ones_like(q)
    for _ in range(iterations):
        inverse = inverse_symmetric(design.T @ weighted + _RIDGE)
        solution = inverse @ (weighted.T @ q)
        residual = np.abs(q - design @ solution)
        limit = _HUBER_K * max(sigma_q, 1.4826 * median(residual))
        if residual.max() <= limit:  # nothing left to weigh down
            break
        weights = np.minimum(1.0, limit / np.maximum(residual, 1e-12))
        weighted = design * weights[:, None]
    rms = math.sqrt(float(weights @ residual**2) / float(weights.sum()))
    a, b = float(solution[1]), float(solution[2])
    return PlaneFit(float(solution[0]), (a, b), inverse, rms, len(q), len(q))


def inverse_symmetric(m: Array) -> Array:
    """Inverse of a symmetric ``[3, 3]``; numpy's takes four times as long for so small a one."""
    (a, b, c), (_, d, e), (_, _, f) = m.tolist()
    u, v, w = d * f - e * e, c * e - b * f, b * e - c * d
    x, y, z = a * f - c * c, b * c - a * e, a * d - b * b
    inverse: Array = np.array([[u, v, w], [v, x, y], [w, y, z]]) / (a * u + b * v + c * w)
    return inverse


def median(values: Array) -> float:
    """Upper median, without the checks that make ``np.median`` five times slower."""
    middle = len(values) // 2
    return float(np.partition(values, middle)[middle])
