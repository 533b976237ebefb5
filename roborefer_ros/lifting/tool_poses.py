# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Poses as planners want them: tool axis, pre-poses, place poses, ranked candidates.

Inside the package the x axis of a pose points along the approach.  Rotations about a body axis
leave the covariance alone: it is about the fixed axes of the frame.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from roborefer_ros.lifting.orientation import approach_rotation, quaternion_xyzw, rotation_matrix
from roborefer_ros.types import Mode, ReferredPoint

Array = npt.NDArray[np.float64]
ApproachAxis = Literal["x", "z"]

APPROACH_AXES: tuple[str, ...] = get_args(ApproachAxis)

#: Ry(+90 deg): z takes the place of x
_X_TO_Z = np.array([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [-1.0, 0.0, 0.0]])
#: what the second roll of a parallel jaw costs: the first is the one that was chosen
_ROLL_COST = 0.02
#: shares of tilt and incidence in the cost
_TILT_WEIGHT, _INCIDENCE_WEIGHT = 0.5, 0.5


@dataclass(frozen=True)
class ToolConvention:
    """How poses leave the package.

    Attributes:
        approach_axis: Axis of the tool that points along the approach.
        approach_offset_m: Distance of a pre-pose from its pose, metres.
    """

    approach_axis: ApproachAxis = "x"
    approach_offset_m: float = 0.10

    def rotation(self, rotation: Array) -> Array:
        """``[3, 3]`` of the tool, from one whose x axis points along the approach."""
        return rotation if self.approach_axis == "x" else rotation @ _X_TO_Z

    def before(self, position_m: Array, rotation: Array) -> Array:
        """``[3]`` moved back along the approach, from one whose x axis points along it."""
        moved: Array = position_m - self.approach_offset_m * rotation[:, 0]
        return moved


@dataclass(frozen=True)
class Candidate:
    """One way to reach a point.

    Attributes:
        position_m: ``[3]`` in the frame of the point.
        rotation: ``[3, 3]``, x axis along the approach.
        point: Number of the point in the answer, from 0.
        cost: From 0 (best).
    """

    position_m: Array
    rotation: Array
    point: int
    cost: float


@dataclass(frozen=True)
class ToolFrame:
    """The tool frame of a planner, seen from an approach pose (x along the approach, y closes).

    Attributes:
        rotation: ``[3, 3]`` of the tool in the approach pose.
        reach_m: Distance of the fingertips from the tool's origin, along the approach.
    """

    rotation: Array
    reach_m: float


def _about_z(angle_rad: float) -> Array:
    c, s = math.cos(angle_rad), math.sin(angle_rad)
    return np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])


#: fingertips of the Panda hand before its base (franka_description, hand_tcp)
_PANDA_REACH_M = 0.1034

#: planner -> its tool frame; docs/planners.md
PLANNERS: dict[str, ToolFrame] = {
    "graspnet": ToolFrame(np.eye(3), 0.02),
    "panda_hand": ToolFrame(_X_TO_Z, _PANDA_REACH_M),
    "panda_link8": ToolFrame(_X_TO_Z @ _about_z(math.radians(45.0)), _PANDA_REACH_M),
    "contact_graspnet": ToolFrame(_X_TO_Z @ _about_z(math.radians(90.0)), _PANDA_REACH_M),
}


def planner_pose(planner: str, position_m: Array, rotation: Array) -> tuple[Array, Array]:
    """Origin ``[3]`` and rotation ``[3, 3]`` of a planner's tool with its fingertips at a point.

    Args:
        planner: One of ``PLANNERS``.
        position_m: ``[3]`` the point.
        rotation: ``[3, 3]`` of its approach pose, x axis along the approach.

    Raises:
        KeyError: unknown planner.
    """
    if planner not in PLANNERS:
        raise KeyError(f"{planner!r} is not one of {', '.join(PLANNERS)}")
    tool = PLANNERS[planner]
    return position_m - tool.reach_m * rotation[:, 0], rotation @ tool.rotation


def place_rotation(rotation: Array) -> Array:
    """``[3, 3]`` of what is placed: z against the approach, along the support's normal."""
    placed: Array = rotation @ _X_TO_Z.T
    return placed


def candidates(
    points: tuple[ReferredPoint, ...], mode: Mode, up: npt.ArrayLike | None
) -> tuple[Candidate, ...]:
    """Approaches to all points, best first.

    Along the surface's normal, and, where up is known, straight down; each with two rolls of a
    parallel jaw, 90 degrees apart (half a turn is the same jaw).

        cost = (1 - confidence) + 0.5 * tilt / pi + 0.5 * incidence / (pi / 2) + roll

    ``tilt``: angle of the approach against straight down (0 where up is unknown); ``incidence``:
    angle of the approach against the inner normal; ``roll``: 0.02 for the second one.

    Args:
        points: Points of an answer, in one frame.
        mode: That of the answer.
        up: ``[3]`` direction against gravity in that frame; None where unknown.
    """
    found = [
        one for number, point in enumerate(points) for one in _of_point(point, number, mode, up)
    ]
    return tuple(sorted(found, key=lambda one: one.cost))


def _of_point(
    point: ReferredPoint, number: int, mode: Mode, up: npt.ArrayLike | None
) -> Iterator[Candidate]:
    own = rotation_matrix(point.orientation_xyzw)
    down = None if up is None else -np.asarray(up, dtype=np.float64) / np.linalg.norm(up)
    approaches = [own]
    if down is not None and _angle(own[:, 0], down) > math.radians(5.0):
        from_above = approach_rotation(-down)
        # something placed stands level: only the way down differs for things that are grasped
        approaches += [from_above] if mode == Mode.OBJECT else []
    for rotation in approaches:
        tilt = 0.0 if down is None else _angle(rotation[:, 0], down)
        incidence = _angle(rotation[:, 0], own[:, 0])
        cost = (
            (1.0 - point.confidence)
            + _TILT_WEIGHT * tilt / math.pi
            + _INCIDENCE_WEIGHT * incidence / (0.5 * math.pi)
        )
        yield Candidate(point.position_m, rotation, number, cost)
        yield Candidate(point.position_m, rotation @ _QUARTER_ROLL, number, cost + _ROLL_COST)


#: Rx(+90 deg)
_QUARTER_ROLL = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]])


def _angle(a: Array, b: Array) -> float:
    return math.acos(min(max(float(a @ b), -1.0), 1.0))


__all__ = [
    "APPROACH_AXES",
    "ApproachAxis",
    "Candidate",
    "ToolConvention",
    "candidates",
    "place_rotation",
    "quaternion_xyzw",
]
