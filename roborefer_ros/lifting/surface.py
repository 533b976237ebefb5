# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The surface at a pixel: seed, growth, robust plane in inverse depth.

A plane in space is linear in 1/z over the image, so planes are fitted to inverse depth,
where the noise of a stereo sensor is the same at every distance.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from roborefer_ros.frame import Pixel
from roborefer_ros.lifting.depth_image import DepthWindow, supported
from roborefer_ros.lifting.options import REFERENCE_WIDTH_PX, LiftingOptions

Array = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

#: Huber's constant: 95 % efficient on Gaussian noise
_HUBER_K = 1.345

#: radii (at 1280 px) at which the growth stops to count
_GROWTH_RADII_PX = (2.0, 3.0, 5.0, 8.0, 12.0, 18.0, 25.0)


@dataclass(frozen=True)
class PlaneFit:
    """``1/z = q + a (u - u_pixel) + b (v - v_pixel)``.

    Attributes:
        q: inverse depth at the pixel, 1/m.
        gradient: (a, b), 1/m per pixel.
        covariance: ``[3, 3]`` of (q, a, b) for readings with a unit standard deviation in
            1/z; multiply with their variance.
        rms: weighted RMS residual, 1/m.
        count: readings that were used.
    """

    q: float
    gradient: tuple[float, float]
    covariance: Array
    rms: float
    count: int


@dataclass(frozen=True)
class Surface:
    """What was found at a pixel.

    Attributes:
        plane: fit at the pixel.
        inliers: ``[h, w]`` readings of the window that the plane was fitted to.
        valid_ratio: valid readings / pixels within the radius that was grown to.
        nearest_px: distance from the pixel to the nearest valid reading.
        other_ratio: share of the readings within the edge radius on another surface.
        rivalry: weight of the best rival cluster of the seed / weight of the seed, [0, 1].
        own_reading: whether the pixel itself has a reading of this surface.
    """

    plane: PlaneFit
    inliers: Mask
    valid_ratio: float
    nearest_px: float
    other_ratio: float
    rivalry: float
    own_reading: bool


def fit_plane(du: Array, dv: Array, q: Array, sigma_q: float, iterations: int = 4) -> PlaneFit:
    """Robust plane in inverse depth (IRLS with Huber's weights).

    Args:
        du, dv: ``[N]`` pixel offsets from the point.
        q: ``[N]`` inverse depths, 1/m.
        sigma_q: standard deviation of one reading in 1/m, the scale of the weights.
    """
    # A ridge far below any real slope keeps collinear readings solvable.
    design = np.column_stack((np.ones_like(du), du, dv))
    ridge = np.diag([0.0, 1e-3, 1e-3])
    weights = np.ones_like(q)
    scale = sigma_q
    solution = np.array([float(np.median(q)), 0.0, 0.0])
    inverse = np.eye(3)
    for _ in range(iterations):
        weighted = design * weights[:, None]
        inverse = np.linalg.inv(design.T @ weighted + ridge)
        solution = inverse @ (weighted.T @ q)
        residual = np.abs(q - design @ solution)
        scale = max(sigma_q, 1.4826 * float(np.median(residual)))
        weights = np.minimum(1.0, _HUBER_K * scale / np.maximum(residual, 1e-12))
    rms = float(np.sqrt(np.sum(weights * residual**2) / np.sum(weights)))
    return PlaneFit(
        float(solution[0]), (float(solution[1]), float(solution[2])), inverse, rms, len(q)
    )


def find_surface(
    window: DepthWindow, pixel: Pixel, options: LiftingOptions, width_px: int, *, front: bool
) -> Surface | None:
    """Find the surface at ``pixel``.

    Args:
        window: readings around the pixel.
        pixel: (u, v) in the window's image.
        width_px: of that image, scales the radii.
        front: prefer the nearer of two equally plausible surfaces.

    Returns:
        None if the window holds no usable reading.
    """
    scale = width_px / REFERENCE_WIDTH_PX
    distance = window.distances_px(pixel)
    usable = supported(window.z_m, options, width_px) & (
        distance <= options.search_radius_px * scale + 1.0
    )
    if not usable.any():
        usable = np.isfinite(window.z_m)
        if not usable.any():
            return None
    seed, rivalry = _seed(window.z_m, usable, distance, options, width_px, front)
    z = window.z_m
    sigma = options.sigma_z_m(seed, width_px)
    near_seed = usable & (np.abs(z - seed) <= max(options.inlier_tolerance_m, 4.0 * sigma))
    radius, grown = _grow(near_seed, distance, options, scale)

    v, u = np.nonzero(grown)
    du, dv = u + window.u0 - pixel[0], v + window.v0 - pixel[1]
    sigma_q = sigma / seed**2
    plane = fit_plane(du, dv, 1.0 / z[grown], sigma_q)

    edge = np.isfinite(z) & (distance <= options.edge_radius_px * scale + 0.5)
    other = edge & (np.abs(z - seed) > max(options.step_m, 5.0 * sigma))
    valid = np.isfinite(z)
    within = distance <= radius
    nearest = float(distance[valid].min())
    return Surface(
        plane=plane,
        inliers=grown,
        valid_ratio=float(valid[within].mean()),
        nearest_px=nearest if nearest > 0.7072 else 0.0,
        other_ratio=float(other.sum() / max(1, edge.sum())),
        rivalry=rivalry,
        own_reading=bool(near_seed[distance <= 0.7072].any()),
    )


def _seed(
    z: Array, usable: Mask, distance: Array, options: LiftingOptions, width_px: int, front: bool
) -> tuple[float, float]:
    """Depth of the seed cluster, and how strong its best rival is in [0, 1]."""
    close = usable & (distance <= 2.13)  # the 3x3 around a pixel anywhere in its square
    own = z[usable & (distance <= 0.7072)]
    if own.size:
        centre = float(own[0])
        tolerance = max(options.seed_tolerance_m, 4.0 * options.sigma_z_m(centre, width_px))
        agreeing = z[close & (np.abs(z - centre) <= tolerance)]
        if agreeing.size >= 4:
            return float(np.median(agreeing)), 0.0
    depths, distances = z[usable], distance[usable]
    if depths.size > 24:
        nearest = np.argpartition(distances, 24)[:24]
        depths, distances = depths[nearest], distances[nearest]
    order = np.argsort(depths)
    depths, distances = depths[order], distances[order]
    middle = float(np.median(depths))
    gap = max(options.seed_tolerance_m, 4.0 * options.sigma_z_m(middle, width_px))
    cuts = np.nonzero(np.diff(depths) > gap)[0] + 1
    clusters = np.split(np.arange(depths.size), cuts)
    weights = np.array([float(np.sum(1.0 / (1.0 + distances[c]))) for c in clusters])
    best = int(np.argmax(weights))
    plausible = np.nonzero(weights >= 0.7 * weights[best])[0]
    if len(plausible) > 1:
        best = int(plausible[0] if front else plausible[-1])
    rest = np.delete(weights, best)
    rivalry = float(min(1.0, rest.max() / weights[best])) if rest.size else 0.0
    return float(np.median(depths[clusters[best]])), rivalry


def _grow(
    candidates: Mask, distance: Array, options: LiftingOptions, scale: float
) -> tuple[float, Mask]:
    """Grow until the candidates suffice for a normal; give the radius and the readings."""
    radius, grown = 0.0, candidates
    for reference_radius in _GROWTH_RADII_PX:
        radius = max(reference_radius * scale, 2.13)
        if reference_radius < options.normal_radius_px:
            continue
        grown = candidates & (distance <= radius)
        if np.count_nonzero(grown) >= options.min_inliers:
            break
    if not grown.any():
        grown = candidates
    return radius, grown
