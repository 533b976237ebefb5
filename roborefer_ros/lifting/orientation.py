# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Approach orientations from surface normals.

The x axis of an approach pose points along the approach, into the surface (-normal).
The roll about it is chosen by the smallest rotation that takes a reference direction to the
approach, starting from x forward, y left, z up (REP-103).  The reference is the camera's viewing
direction and the image's up; with a hint ``up`` it is the level direction that the camera looks
in, and that up.  The choice has its only jump where the approach comes back along the
reference, which no visible surface asks for as a rule, so the roll is continuous over all
surfaces one can see: a wall gives z up, a table gives z pointing away from the camera, and what
lies between gives what lies between.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

#: x forward, y left, z up, as columns in the optical frame (x right, y down, z forward)
_BODY_IN_OPTICAL = np.array([[0.0, -1.0, 0.0], [0.0, 0.0, -1.0], [1.0, 0.0, 0.0]])


_IDENTITY = np.eye(3)
#: square of the length of a + b under which the unit vectors a and b are nearly opposite
_NEARLY_OPPOSITE = 1e-4

#: variance of a uniform angle, that of a roll which is a choice
FREE_ROLL_RAD2 = math.pi**2 / 3.0


def approach_rotation(normal: Array, up: npt.ArrayLike | None = None) -> Array:
    """Rotation matrix ``[3, 3]`` of the approach pose in the optical frame.

    Args:
        normal: ``[3]`` unit surface normal, towards the camera.
        up: ``[3]`` direction that the z axis shall lean to, of any length; None for the image's.
    """
    x: Array = normal / -math.sqrt(float(normal @ normal))
    start = _BODY_IN_OPTICAL if up is None else _level_body(np.asarray(up, dtype=np.float64))
    rotation: Array = _smallest_rotation(start[:, 0], x) @ start
    return rotation


def _level_body(up: Array) -> Array:
    """``[3, 3]`` x level and away from the camera, z along ``up``, as columns in its frame.

    Where the camera looks straight down or up, away is where the image's top or bottom is.
    """
    z = up / np.linalg.norm(up)
    down = -float(z[2])  # of the viewing direction (0, 0, 1); the image's up is (0, -1, 0)
    away = np.array([0.0, -down, 1.0])
    away -= z * float(z @ away)
    length = float(np.linalg.norm(away))
    if length < 1e-9:
        return _BODY_IN_OPTICAL
    x = away / length
    y = np.array([z[1] * x[2] - z[2] * x[1], z[2] * x[0] - z[0] * x[2], z[0] * x[1] - z[1] * x[0]])
    return np.column_stack((x, y, z))


def _reflection(v: Array) -> Array:
    """Reflection ``[3, 3]`` in the plane square to ``v``, of any length."""
    reflection: Array = _IDENTITY - (2.0 / float(v @ v)) * v[:, None] * v
    return reflection


def _smallest_rotation(a: Array, b: Array) -> Array:
    """The rotation about a x b that takes unit vector a to unit vector b.

    Half a turn about a and half a turn about the middle between a and b make it.  Unlike Rodrigues'
    formula, which divides by 1 + a.b, this stays exact where b comes close to -a.  Closer still the
    middle is lost in rounding; there two reflections make it: one that swaps a and b, after one
    that keeps a.
    """
    middle = a + b
    square = float(middle @ middle)
    if square < _NEARLY_OPPOSITE:
        across = middle - a * float(a @ middle)
        if float(across @ across) < 1e-24:  # half a turn: any direction square to a will do
            axis = np.eye(3)[int(np.argmin(np.abs(a)))]
            across = np.cross(a, axis - a * float(a @ axis))
        difference = a - b
        reversed_: Array = _reflection(difference) @ _reflection(across)
        return reversed_
    about_a = 2.0 * a[:, None] * a - _IDENTITY
    about_middle = (2.0 / square) * middle[:, None] * middle - _IDENTITY
    rotation: Array = about_middle @ about_a
    return rotation


def quaternion_xyzw(rotation: Array) -> Array:
    """Unit quaternion ``[4]`` (x, y, z, w), w >= 0, of a rotation matrix (Shepperd)."""
    m = rotation.tolist()
    t = [m[0][0], m[1][1], m[2][2], m[0][0] + m[1][1] + m[2][2]]
    k = t.index(max(t))
    if k == 3:
        q = [m[2][1] - m[1][2], m[0][2] - m[2][0], m[1][0] - m[0][1], 1.0 + t[3]]
    else:
        i, j, l_ = k, (k + 1) % 3, (k + 2) % 3
        q = [0.0, 0.0, 0.0, m[l_][j] - m[j][l_]]
        q[i] = 1.0 + m[i][i] - m[j][j] - m[l_][l_]
        q[j] = m[j][i] + m[i][j]
        q[l_] = m[l_][i] + m[i][l_]
    length = math.copysign(math.sqrt(sum(value * value for value in q)), q[3])
    return np.array([value / length for value in q])


def rotation_matrix(xyzw: npt.ArrayLike) -> Array:
    """``[3, 3]`` of a quaternion, which is normalised first."""
    x, y, z, w = np.asarray(xyzw, dtype=np.float64) / np.linalg.norm(xyzw)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )


def rotation_covariance(normal: Array, sigma_tilt_rad: float) -> Array:
    """Covariance ``[3, 3]`` of the rotation, rad^2: the tilt is measured, the roll is not.

    The roll about the approach is a choice; its variance is that of a uniform angle, pi^2/3.
    """
    n = normal / np.linalg.norm(normal)
    along = np.outer(n, n)
    return sigma_tilt_rad**2 * (np.eye(3) - along) + FREE_ROLL_RAD2 * along
