# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The surface at a pixel: seed, growth, robust plane in inverse depth.

A plane in space is linear in 1/z over the image, so planes are fitted to inverse depth,
where the noise of a stereo sensor is the same at every distance.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from roborefer_ros.lifting.correlation import neighbour_correlation
from roborefer_ros.lifting.depth_image import DepthWindow, supported
from roborefer_ros.lifting.flat_patch import WidePatch
from roborefer_ros.lifting.options import REFERENCE_WIDTH_PX, LiftingOptions
from roborefer_ros.lifting.plane_fit import PlaneFit, fit_plane, median, rows_of
from roborefer_ros.lifting.shadow import FarSide
from roborefer_ros.types import Pixel

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


#: planes are cut where they come farther than this, 1/m
_LEAST_INVERSE = 1e-3


@dataclass(frozen=True)
class Surface:
    """What was found at a pixel.

    Attributes:
        plane: fit at the pixel.
        valid_ratio: valid readings / pixels within the radius that was grown to.
        nearest_px: distance from the pixel to the nearest valid reading.
        other_ratio: share of the readings around the pixel on another surface.
        rivalry: weight of the best rival cluster of the seed / weight of the seed, [0, 1].
        rim_ratio: where the pixel has no reading of this surface, the share of its hole's rim on
            another.
        correlation: Correlation of the errors of neighbouring readings, see ``correlation.py``.
        in_shadow: the pixel lies in the shadow of a near surface and was put on the far one.
        by_colour: its colour, not its depth, told which of two surfaces it is on.
        rim_seen: share of the directions from the pixel in which a reading closes its hole.
        waves: height of the errors that neighbouring readings share, 1/m; 0 where unknown.
    """

    plane: PlaneFit
    valid_ratio: float
    nearest_px: float
    other_ratio: float
    rivalry: float
    rim_ratio: float
    correlation: float
    in_shadow: bool = False
    by_colour: bool = False
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
        options: Radii, steps and the noise model.
        width_px: Width of that image, pixels; scales the radii.
        front: prefer the nearer of two equally plausible surfaces.
        far_side: the surface to take, where the pixel lies in a shadow that leaves no doubt.
        wide: readings that the normal's patch may grow over.

    Returns:
        None if the window holds no usable reading.
    """
    scale = width_px / REFERENCE_WIDTH_PX
    usable_anywhere = supported(window.z_m, options, width_px)
    readings = _Readings(window, pixel)
    z, distance = readings.z, readings.distance
    reach = options.search_radius_px * scale + 1.0
    if far_side is not None:
        reach = max(reach, far_side.distance_px + options.normal_radius_px * scale)
    usable = usable_anywhere.ravel() & (distance <= reach)
    valid = np.isfinite(z)
    if not usable.any():
        usable = valid
        if not usable.any():
            return None
    if far_side is None:
        seed, rivalry = _seed(z, usable, distance, options, width_px, front)
    else:
        seed, rivalry = far_side.z_m, 0.0
    sigma = options.sigma_z_m(seed, width_px)
    near_seed = usable & (np.abs(z - seed) <= max(options.inlier_tolerance_m, 4.0 * sigma))
    # the slope comes from the middle of what is seen of the surface, also where that is far
    from_seed = distance if far_side is None else window.distances_px(far_side.pixel).ravel()
    patch_radius, patch = _grow(near_seed, from_seed, options.normal_radius_px, options, scale)
    plane, patch = _fit_twice(readings, usable & (from_seed <= patch_radius), patch, sigma, wide)
    waves = 0.0
    if wide is not None and far_side is None:
        plane, waves = wide.widened(plane, sigma)
        if not waves:
            plane = _fit_patch(readings, patch, sigma)
    radius, near = _grow(patch, from_seed, 0.0, options, scale)
    plane = _refine_offset(plane, readings, near)

    middle = readings.middle
    nearest = float(distance[middle] if valid[middle] else distance[valid].min())
    rim_ratio, rim_seen = 0.0, 1.0
    if not (near_seed[middle] or (near_seed & (distance <= _OWN_PIXEL_PX)).any()):
        rim_ratio, rim_seen = _rim(plane, readings, usable_anywhere, options, sigma)
    within = distance <= max(radius, _OWN_PIXEL_PX)
    return Surface(
        plane=plane,
        valid_ratio=int(np.count_nonzero(valid & within)) / int(np.count_nonzero(within)),
        nearest_px=nearest if nearest > _OWN_PIXEL_PX else 0.0,
        other_ratio=_other_ratio(plane, readings, nearest, options, scale, sigma),
        rivalry=rivalry,
        rim_ratio=rim_ratio,
        rim_seen=rim_seen,
        correlation=_correlation(plane, readings, patch, window.spacing_px),
        in_shadow=far_side is not None,
        waves=waves,
    )


class _Readings:
    """A window's elements as lines ``[N]``: their depth, inverse depth, offsets, distance."""

    def __init__(self, window: DepthWindow, pixel: Pixel) -> None:
        self.shape = h, w = window.z_m.shape
        self.z: Array = window.z_m.ravel()
        self.q: Array = 1.0 / self.z
        #: of the first element from the pixel
        self.first = window.u0 - pixel[0], window.v0 - pixel[1]
        du = np.arange(w, dtype=np.float64) + self.first[0]
        dv = np.arange(h, dtype=np.float64) + self.first[1]
        #: ``[2, N]`` offsets of the elements' centres
        self.centres: Array = np.empty((2, h * w))
        grid = self.centres.reshape(2, h, w)
        grid[0], grid[1] = du, dv[:, None]
        self.distance: Array = np.sqrt(np.einsum("ij,ij->j", self.centres, self.centres))
        #: index of the element nearest to the pixel
        self.middle = min(max(round(-self.first[1]), 0), h - 1) * w
        self.middle += min(max(round(-self.first[0]), 0), w - 1)
        self.offsets = self.centres
        if window.landed_at is not None:
            self.offsets = (window.landed_at.reshape(-1, 2) - np.array(pixel)).T

    def rows(self, index: npt.NDArray[np.intp]) -> Array:
        """``[4, n]`` of some elements, see ``rows_of``."""
        du, dv = self.offsets[:, index]
        return rows_of(du, dv, self.q[index])

    def off_plane(self, plane: PlaneFit) -> Array:
        """``[N]`` inverse depths over the plane, 1/m."""
        off: Array = self.q - np.array(plane.gradient) @ self.centres
        off -= plane.q
        return off

    def depths_off(self, plane: PlaneFit, index: npt.NDArray[np.intp]) -> Array:
        """``[n]`` distances along z of some elements from the plane, metres."""
        a, b = plane.gradient
        u, v = self.centres[:, index]
        off: Array = np.abs(
            self.z[index] - 1.0 / np.maximum(plane.q + a * u + b * v, _LEAST_INVERSE)
        )
        return off


def _fit_twice(
    readings: _Readings, within: Mask, first: Mask, sigma: float, wide: WidePatch | None
) -> tuple[PlaneFit, Mask]:
    """Fit the readings at the seed's depth, then all that lie on that plane.

    The first selection cuts a tilted plane off at constant depths, which flattens it.  Where a
    wider patch will tell the slope, the second fit is left to that.
    """
    index = first.nonzero()[0]
    # good enough to tell what lies on it, from a part of the readings
    stride = max(1, len(index) // _FIRST_FIT)
    rows = readings.rows(index[::stride])
    seed_q = median(rows[3])
    sigma_q = sigma * seed_q**2
    plane = fit_plane(rows, sigma_q, iterations=2)
    tolerance = max(_ON_PLANE_M, 4.0 * sigma) * seed_q**2
    second = within & (np.abs(readings.off_plane(plane)) <= tolerance)
    if np.count_nonzero(second) <= len(index) // 2:
        return (plane if stride == 1 else fit_plane(readings.rows(index), sigma_q)), first
    if wide is not None:
        return plane, second
    return _fit_patch(readings, second, sigma), second


def _fit_patch(readings: _Readings, patch: Mask, sigma: float) -> PlaneFit:
    """Fit a patch; what was far off is out already, so little is left to weigh down."""
    rows = readings.rows(patch.nonzero()[0])
    return fit_plane(rows, sigma * median(rows[3]) ** 2, iterations=2)


def _refine_offset(plane: PlaneFit, readings: _Readings, near: Mask) -> PlaneFit:
    """Keep the slope of the wide patch, take the depth from the nearest readings alone.

    Curved surfaces and slow errors of the sensor make near readings the better witnesses;
    a score of them is enough against noise.
    """
    rows = readings.rows(near.nonzero()[0])
    n = rows.shape[1]
    a, b = plane.gradient
    q = rows[3] - a * rows[1] - b * rows[2]
    _, u, v, total = (rows.sum(axis=1) / n).tolist()
    offset = total - a * u - b * v
    covariance = plane.covariance.copy()
    (suu, suv), (_, svv) = plane.covariance[1:, 1:].tolist()
    covariance[0, 0] = 1.0 / n + u * u * suu + 2.0 * u * v * suv + v * v * svv
    q -= offset
    rms = math.sqrt(float(q @ q) / n)
    return PlaneFit(offset, plane.gradient, covariance, rms, plane.count, n, plane.sampled)


def _other_ratio(
    plane: PlaneFit,
    readings: _Readings,
    nearest: float,
    options: LiftingOptions,
    scale: float,
    sigma: float,
) -> float:
    """Share of the readings around the pixel that lie a step off the plane.

    Looks as far as the edge radius beyond the nearest reading, so that a hole between two
    surfaces shows both.
    """
    around = (readings.distance <= options.edge_radius_px * scale + 0.5 + nearest).nonzero()[0]
    off = readings.depths_off(plane, around)
    off = off[np.isfinite(off)]
    if not off.size:
        return 0.0
    return int(np.count_nonzero(off > max(options.step_m, 5.0 * sigma))) / off.size


def _correlation(plane: PlaneFit, readings: _Readings, patch: Mask, spacing_px: int) -> float:
    """Correlation of the errors of neighbouring readings of the patch."""
    du, dv = readings.offsets
    off = readings.q - np.array(plane.gradient) @ readings.offsets
    off -= plane.q
    residual = np.where(patch, off, np.nan)
    shape = readings.shape
    return neighbour_correlation(
        du.reshape(shape), dv.reshape(shape), residual.reshape(shape), spacing_px
    )


def _seed(
    z: Array, usable: Mask, distance: Array, options: LiftingOptions, width_px: int, front: bool
) -> tuple[float, float]:
    """Depth of the seed cluster, and how strong its best rival is in [0, 1]."""
    # the 3x3 around a pixel anywhere in its square
    close = (distance <= SQUARE_3X3_PX).nonzero()[0]
    close = close[usable[close]]
    own = z[close[distance[close] <= _OWN_PIXEL_PX]]
    if own.size:
        centre = float(own[0])
        tolerance = max(options.seed_tolerance_m, 4.0 * options.sigma_z_m(centre, width_px))
        agreeing = sorted(d for d in z[close].tolist() if abs(d - centre) <= tolerance)
        if len(agreeing) >= 4:
            return agreeing[len(agreeing) // 2], 0.0
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
    readings: _Readings,
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
    h, w = readings.shape
    u = np.rint(du - readings.first[0]).astype(np.intp)
    v = np.rint(dv - readings.first[1]).astype(np.intp)
    inside = (u >= 0) & (u < w) & (v >= 0) & (v < h)
    u, v = np.clip(u, 0, w - 1), np.clip(v, 0, h - 1)
    seen = inside & usable[v, u]
    first = np.argmax(seen, axis=1)
    hit = np.nonzero(seen.any(axis=1))[0]
    if not hit.size:
        return 0.0, 0.0
    off = readings.depths_off(plane, (v * w + u)[hit, first[hit]])
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
