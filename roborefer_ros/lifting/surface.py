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
from roborefer_ros.lifting.correlation import neighbour_correlation
from roborefer_ros.lifting.depth_image import DepthWindow, supported
from roborefer_ros.lifting.flat_patch import WidePatch
from roborefer_ros.lifting.options import REFERENCE_WIDTH_PX, LiftingOptions
from roborefer_ros.lifting.plane_fit import PlaneFit, fit_plane, median
from roborefer_ros.lifting.shadow import FarSide

Array = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

#: 16 unit vectors (u, v)
_ANGLES = np.arange(16) * (2.0 * np.pi / 16)
_DIRECTIONS: Array = np.concatenate((np.cos(_ANGLES), np.sin(_ANGLES)))

#: radii (at 1280 px) at which the growth stops to count
_GROWTH_RADII_PX = (2.0, 3.0, 5.0, 8.0, 14.0, 20.0, 25.0)

#: farthest that a point in a pixel's square can be from its centre, and from the centres
#: of the 3x3 around it
_OWN_PIXEL_PX = 0.7072
SQUARE_3X3_PX = 2.1214

#: readings that a first plane is fitted to
_FIRST_FIT = 150

#: readings within this (or 4 sigma) of a plane belong to it, metres
_ON_PLANE_M = 0.006


@dataclass(frozen=True)
class Surface:
    """What was found at a pixel.

    Attributes:
        plane: fit at the pixel.
        inliers: ``[h, w]`` readings of the window that the plane was fitted to.
        valid_ratio: valid readings / pixels within the radius that was grown to.
        nearest_px: distance from the pixel to the nearest valid reading.
        other_ratio: share of the readings around the pixel on another surface.
        rivalry: weight of the best rival cluster of the seed / weight of the seed, [0, 1].
        own_reading: whether the pixel itself has a reading of this surface.
        rim_ratio: where it has none, the share of the hole's rim on another surface.
        correlation: of the errors of neighbouring readings, see ``correlation.py``.
        in_shadow: the pixel lies in the shadow of a near surface and was put on the far one.
        rim_seen: share of the directions from the pixel in which a reading closes its hole.
        waves: height of the errors that neighbouring readings share, 1/m; 0 where unknown.
    """

    plane: PlaneFit
    inliers: Mask
    valid_ratio: float
    nearest_px: float
    other_ratio: float
    rivalry: float
    own_reading: bool
    rim_ratio: float
    correlation: float
    in_shadow: bool = False
    waves: float = 0.0
    rim_seen: float = 1.0


def find_surface(
    window: DepthWindow,
    pixel: Pixel,
    options: LiftingOptions,
    width_px: int,
    *,
    front: bool,
    far_side: FarSide | None = None,
    wide: WidePatch | None = None,
) -> Surface | None:
    """Find the surface at ``pixel``.

    Args:
        window: readings around the pixel.
        pixel: (u, v) in the window's image.
        width_px: of that image, scales the radii.
        front: prefer the nearer of two equally plausible surfaces.
        far_side: the surface to take, where the pixel lies in a shadow that leaves no doubt.
        wide: readings that the normal's patch may grow over.

    Returns:
        None if the window holds no usable reading.
    """
    scale = width_px / REFERENCE_WIDTH_PX
    distance = window.distances_px(pixel)
    usable_anywhere = supported(window.z_m, options, width_px)
    reach = options.search_radius_px * scale + 1.0
    if far_side is not None:
        reach = max(reach, far_side.distance_px + options.normal_radius_px * scale)
    usable = usable_anywhere & (distance <= reach)
    if not usable.any():
        usable = np.isfinite(window.z_m)
        if not usable.any():
            return None
    if far_side is None:
        seed, rivalry = _seed(window.z_m, usable, distance, options, width_px, front)
    else:
        seed, rivalry = far_side.z_m, 0.0
    z = window.z_m
    sigma = options.sigma_z_m(seed, width_px)
    near_seed = usable & (np.abs(z - seed) <= max(options.inlier_tolerance_m, 4.0 * sigma))
    # the slope comes from the middle of what is seen of the surface, also where that is far
    from_seed = distance if far_side is None else window.distances_px(far_side.pixel)
    patch_radius, patch = _grow(near_seed, from_seed, options.normal_radius_px, options, scale)
    offsets = _Offsets(window, pixel)
    plane, patch = _fit_twice(offsets, z, usable & (from_seed <= patch_radius), patch, sigma)
    waves = 0.0
    if wide is not None and far_side is None:
        plane, waves = wide.widened(plane, sigma)
    radius, near = _grow(patch, from_seed, 0.0, options, scale)
    plane = _refine_offset(plane, offsets, z, near)

    own_reading = bool(near_seed[distance <= _OWN_PIXEL_PX].any())
    valid = np.isfinite(z)
    nearest = float(distance[valid].min())
    rim_ratio, rim_seen = 0.0, 1.0
    if not own_reading:
        rim_ratio, rim_seen = _rim(plane, offsets, z, usable_anywhere, options, sigma)
    return Surface(
        plane=plane,
        inliers=patch,
        valid_ratio=float(valid[distance <= max(radius, _OWN_PIXEL_PX)].mean()),
        nearest_px=nearest if nearest > _OWN_PIXEL_PX else 0.0,
        other_ratio=_other_ratio(plane, offsets, z, distance, nearest, options, scale, sigma),
        rivalry=rivalry,
        own_reading=own_reading,
        rim_ratio=rim_ratio,
        rim_seen=rim_seen,
        correlation=_correlation(plane, offsets, z, patch, window.spacing_px),
        in_shadow=far_side is not None,
        waves=waves,
    )


class _Offsets:
    """Pixel offsets of a window's elements from the point."""

    def __init__(self, window: DepthWindow, pixel: Pixel) -> None:
        h, w = window.z_m.shape
        self.du: Array = np.arange(w, dtype=np.float64) + (window.u0 - pixel[0])
        self.dv: Array = np.arange(h, dtype=np.float64) + (window.v0 - pixel[1])
        self._landed = None if window.landed_at is None else window.landed_at - np.array(pixel)

    def of(self, mask: Mask) -> tuple[Array, Array]:
        """``[N]`` offsets (du, dv) of the mask's elements, in row-major order."""
        v, u = np.nonzero(mask)
        if self._landed is not None:
            exact = self._landed[v, u]
            return exact[:, 0], exact[:, 1]
        return self.du[u], self.dv[v]

    def grid(self, part: tuple[slice, slice]) -> tuple[Array, Array]:
        """``[h, w]`` offsets (du, dv) of a part of the window."""
        if self._landed is not None:
            exact = self._landed[part]
            return exact[..., 0], exact[..., 1]
        du, dv = np.broadcast_arrays(self.du[None, part[1]], self.dv[part[0], None])
        return du, dv

    def plane(self, plane: PlaneFit) -> Array:
        """``[h, w]`` inverse depth of the plane."""
        a, b = plane.gradient
        image: Array = plane.q + a * self.du[None, :] + b * self.dv[:, None]
        return image


def _fit_twice(
    offsets: _Offsets, z: Array, within: Mask, first: Mask, sigma: float
) -> tuple[PlaneFit, Mask]:
    """Fit the readings at the seed's depth, then all that lie on that plane.

    The first selection cuts a tilted plane off at constant depths, which flattens it.
    """
    q = 1.0 / z
    du, dv = offsets.of(first)
    seed_q = median(q[first])
    sigma_q = sigma * seed_q**2
    # good enough to tell what lies on it, from a part of the readings
    stride = max(1, len(du) // _FIRST_FIT)
    plane = fit_plane(du[::stride], dv[::stride], q[first][::stride], sigma_q, iterations=2)
    tolerance = max(_ON_PLANE_M, 4.0 * sigma) * seed_q**2
    second = within & (np.abs(q - offsets.plane(plane)) <= tolerance)
    if np.count_nonzero(second) <= np.count_nonzero(first) // 2:
        return (plane if stride == 1 else fit_plane(du, dv, q[first], sigma_q)), first
    # what was far off is out already, so little is left to weigh down
    return fit_plane(*offsets.of(second), q[second], sigma_q, iterations=2), second


def _refine_offset(plane: PlaneFit, offsets: _Offsets, z: Array, near: Mask) -> PlaneFit:
    """Keep the slope of the wide patch, take the depth from the nearest readings alone.

    Curved surfaces and slow errors of the sensor make near readings the better witnesses;
    a score of them is enough against noise.
    """
    du, dv = offsets.of(near)
    n = len(du)
    a, b = plane.gradient
    q = 1.0 / z[near] - a * du - b * dv
    offset = float(np.mean(q))
    lever = np.array([du.mean(), dv.mean()])
    covariance = plane.covariance.copy()
    covariance[0, 0] = 1.0 / n + float(lever @ plane.covariance[1:, 1:] @ lever)
    rms = float(np.sqrt(np.mean((q - offset) ** 2)))
    return PlaneFit(offset, plane.gradient, covariance, rms, plane.count, n, plane.sampled)


def _other_ratio(
    plane: PlaneFit,
    offsets: _Offsets,
    z: Array,
    distance: Array,
    nearest: float,
    options: LiftingOptions,
    scale: float,
    sigma: float,
) -> float:
    """Share of the readings around the pixel that lie a step off the plane.

    Looks as far as the edge radius beyond the nearest reading, so that a hole between two
    surfaces shows both.
    """
    around = np.isfinite(z) & (distance <= options.edge_radius_px * scale + 0.5 + nearest)
    off = np.abs(z[around] - 1.0 / np.maximum(offsets.plane(plane)[around], 1e-3))
    return float(np.mean(off > max(options.step_m, 5.0 * sigma))) if off.size else 0.0


def _correlation(
    plane: PlaneFit, offsets: _Offsets, z: Array, patch: Mask, spacing_px: int
) -> float:
    """Correlation of the errors of neighbouring readings of the patch."""
    rows, columns = np.nonzero(patch.any(axis=1))[0], np.nonzero(patch.any(axis=0))[0]
    part = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    du, dv = offsets.grid(part)
    a, b = plane.gradient
    residual = np.where(patch[part], 1.0 / z[part] - plane.q - a * du - b * dv, np.nan)
    return neighbour_correlation(du, dv, residual, spacing_px)


def _seed(
    z: Array, usable: Mask, distance: Array, options: LiftingOptions, width_px: int, front: bool
) -> tuple[float, float]:
    """Depth of the seed cluster, and how strong its best rival is in [0, 1]."""
    close = usable & (distance <= SQUARE_3X3_PX)  # the 3x3 around a pixel anywhere in its square
    own = z[usable & (distance <= _OWN_PIXEL_PX)]
    if own.size:
        centre = float(own[0])
        tolerance = max(options.seed_tolerance_m, 4.0 * options.sigma_z_m(centre, width_px))
        agreeing = z[close & (np.abs(z - centre) <= tolerance)]
        if agreeing.size >= 4:
            return median(agreeing), 0.0
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
    # the upper median is one of the readings, so that something always lies at the seed
    return median(depths[clusters[best]]), rivalry


def _rim(
    plane: PlaneFit,
    offsets: _Offsets,
    z: Array,
    usable: Mask,
    options: LiftingOptions,
    sigma: float,
) -> tuple[float, float]:
    """Share of a hole's rim that lies a step off the plane, and how much of the rim is seen.

    A hole within one surface is closed all around by it; one between two surfaces, such as
    the shadow that a near object casts for one of two stereo cameras, shows both.  Looks
    along 16 directions from the pixel for the first usable reading.
    """
    reach = int(options.search_radius_px * 2)
    du, dv = np.outer(_DIRECTIONS, np.arange(1, reach)).reshape(2, 16, -1)
    h, w = z.shape
    u = np.rint(du - offsets.du[0]).astype(np.intp)
    v = np.rint(dv - offsets.dv[0]).astype(np.intp)
    inside = (u >= 0) & (u < w) & (v >= 0) & (v < h)
    u, v = np.clip(u, 0, w - 1), np.clip(v, 0, h - 1)
    seen = inside & usable[v, u]
    first = np.argmax(seen, axis=1)
    hit = np.nonzero(seen.any(axis=1))[0]
    if not hit.size:
        return 0.0, 0.0
    u, v = u[hit, first[hit]], v[hit, first[hit]]
    off = np.abs(z[v, u] - 1.0 / np.maximum(offsets.plane(plane)[v, u], 1e-3))
    return float(np.mean(off > max(options.step_m, 5.0 * sigma))), hit.size / len(_ANGLES)


def _grow(
    candidates: Mask, distance: Array, least_px: float, options: LiftingOptions, scale: float
) -> tuple[float, Mask]:
    """Grow from ``least_px`` until the candidates suffice; the radius and the readings.

    Falls back to all candidates where they do not suffice within the largest radius.
    """
    radius = 0.0
    for reference_radius in _GROWTH_RADII_PX:
        if reference_radius < least_px:
            continue
        radius = max(reference_radius * scale, SQUARE_3X3_PX)
        grown = candidates & (distance <= radius)
        if np.count_nonzero(grown) >= options.min_inliers:
            return radius, grown
    return radius, candidates
