# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The widest plane in a small cloud, by RANSAC.

Fischler and Bolles, "Random Sample Consensus", CACM 24(6), 1981.  Open3D has it too, but is
no requirement of the lifting; a few hundred points need no more than this.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

_TRIES = 120
#: points that the best plane is fitted to, and those of them that all are judged by
_SAMPLE, _JUDGES = 1500, 500


@dataclass(frozen=True)
class Plane:
    """``normal @ x == offset``; the normal points to the camera, metres."""

    normal: Array
    offset: float

    def heights_m(self, points_m: Array) -> Array:
        """``[..., 3]`` -> ``[...]`` signed distances, positive towards the camera."""
        heights: Array = points_m @ self.normal - self.offset
        return heights


def widest_plane(points_m: Array, tolerance_m: float, least_share: float) -> Plane | None:
    """The plane that most points lie on, in the optical frame; the same for the same points.

    Args:
        points_m: ``[N, 3]``.
        tolerance_m: points within this belong to a plane.
        least_share: Share of the points that it must hold, [0, 1].
    """
    if len(points_m) < 10:
        return None
    rng = np.random.default_rng(0)
    some = points_m[rng.permutation(len(points_m))[:_SAMPLE]]
    corners = some[rng.integers(0, len(some), size=(_TRIES, 3))]
    (ax, ay, az), (bx, by, bz) = (corners[:, 1:] - corners[:, :1]).transpose(1, 2, 0)
    normals = np.stack((ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx), axis=1)
    lengths = np.sqrt(np.einsum("ij,ij->i", normals, normals))
    good = lengths > 1e-9
    if not good.any():
        return None
    normals, corners = normals[good] / lengths[good, None], corners[good]
    offsets = np.einsum("ij,ij->i", normals, corners[:, 0])
    judges = some[:_JUDGES]
    off = normals @ judges.T
    off -= offsets[:, None]
    counts = np.count_nonzero(np.abs(off, out=off) <= tolerance_m, axis=1)
    best = int(np.argmax(counts))
    if counts[best] < least_share * len(judges):
        return None
    plane = Plane(normals[best], float(offsets[best]))
    for _ in range(2):
        members = some[np.abs(plane.heights_m(some)) <= tolerance_m]
        centre = members.mean(axis=0)
        members = members - centre
        normal = np.linalg.eigh(members.T @ members)[1][:, 0]
        plane = Plane(normal, float(normal @ centre))
    if plane.offset > 0.0:  # the camera, at the origin, is at height -offset
        plane = Plane(-plane.normal, -plane.offset)
    return plane
