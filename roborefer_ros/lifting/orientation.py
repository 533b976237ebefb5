# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Approach orientations from surface normals.

The x axis of an approach pose points along the approach, into the surface (-normal).
The roll about it is chosen by the smallest rotation that takes the camera's viewing
direction to the approach, starting from x forward, y left, z up of the image (REP-103).
That choice has its only jump where the approach comes back towards the camera, and no
visible surface asks for that, so the roll is continuous over all surfaces one can see:
a wall gives z up, a table seen from its side gives z pointing away from the camera.
With a hint ``up`` the z axis leans to it instead, except where the approach is within
15 degrees of that direction (top-down grasps), where the roll would be arbitrary.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

#: x forward, y left, z up, as columns in the optical frame (x right, y down, z forward)
_BODY_IN_OPTICAL = np.array([[0.0, -1.0, 0.0], [0.0, 0.0, -1.0], [1.0, 0.0, 0.0]])

_MIN_SINE_TO_UP = math.sin(math.radians(15.0))


def approach_rotation(normal: Array, up: npt.ArrayLike | None = None) -> Array:
    """Rotation matrix ``[3, 3]`` of the approach pose in the optical frame.

    Args:
        normal: ``[3]`` unit surface normal, towards the camera.
        up: ``[3]`` direction that the z axis shall lean to, of any length; None for the image's.
    """
    x: Array = -normal / np.linalg.norm(normal)
    if up is not None:
        hint = np.asarray(up, dtype=np.float64) / np.linalg.norm(up)
        z = hint - x * float(x @ hint)
        if np.linalg.norm(z) > _MIN_SINE_TO_UP:
            z /= np.linalg.norm(z)
            return np.column_stack((x, np.cross(z, x), z))
    rotation: Array = _smallest_rotation(np.array([0.0, 0.0, 1.0]), x) @ _BODY_IN_OPTICAL
    return rotation


def _smallest_rotation(a: Array, b: Array) -> Array:
    """The rotation about a x b that takes unit vector a to unit vector b (Rodrigues)."""
    c = float(a @ b)
    if c < -1.0 + 1e-9:  # half a turn: any axis square to a will do
        return np.diag([1.0, -1.0, -1.0])
    # [a x b]x without np.cross, which costs more than the rest
    k = np.outer(b, a) - np.outer(a, b)
    rotation: Array = np.eye(3) + k + k @ k / (1.0 + c)
    return rotation


def quaternion_xyzw(rotation: Array) -> Array:
    """Unit quaternion ``[4]`` (x, y, z, w), w >= 0, of a rotation matrix (Shepperd)."""
    m = rotation
    t = np.array([m[0, 0], m[1, 1], m[2, 2], np.trace(m)])
    k = int(np.argmax(t))
    if k == 3:
        q = np.array([m[2, 1] - m[1, 2], m[0, 2] - m[2, 0], m[1, 0] - m[0, 1], 1.0 + t[3]])
    else:
        i, j, l_ = k, (k + 1) % 3, (k + 2) % 3
        q = np.empty(4)
        q[i] = 1.0 + m[i, i] - m[j, j] - m[l_, l_]
        q[j] = m[j, i] + m[i, j]
        q[l_] = m[l_, i] + m[i, l_]
        q[3] = m[l_, j] - m[j, l_]
    q /= np.linalg.norm(q)
    return -q if q[3] < 0 else q


def rotation_covariance(normal: Array, sigma_tilt_rad: float) -> Array:
    """Covariance ``[3, 3]`` of the rotation, rad^2: the tilt is measured, the roll is not.

    The roll about the approach is a choice; its variance is that of a uniform angle, pi^2/3.
    """
    n = normal / np.linalg.norm(normal)
    along = np.outer(n, n)
    return sigma_tilt_rad**2 * (np.eye(3) - along) + (math.pi**2 / 3.0) * along
