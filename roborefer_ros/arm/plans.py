# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Picking and placing as steps: trajectories and openings of the hand, one after the other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from roborefer_ros.arm.grasping import Grasp
from roborefer_ros.arm.kinematics import Kinematics, Trajectory
from roborefer_ros.arm.robot import OPEN_M
from roborefer_ros.errors import OutOfWorkspaceError

Array = npt.NDArray[np.float64]

#: m/s of the fingertips: through the air, and next to things
_FAST, _SLOW = 0.40, 0.08
#: and with a thing in the hand
_CARRY = 0.30
#: what stands on the table is lower than this, metres
_TALLEST_M = 0.26
#: what is placed is let go so far above its support, metres
_DROP_M = 0.002


@dataclass(frozen=True)
class Step:
    """One thing to do.

    Attributes:
        stage: "approach", "grasp", "lift", "carry", "lower", "release" or "retreat".
        trajectory: Of the arm; None where only the hand moves.
        opening_m: Of the hand; None where only the arm moves.
    """

    stage: str
    trajectory: Trajectory | None = None
    opening_m: float | None = None

    @property
    def end(self) -> Array | None:
        """Joint positions at the end."""
        return None if self.trajectory is None else self.trajectory.q[-1]


def plan_pick(
    arm: Kinematics, q: npt.ArrayLike, grasps: Sequence[Grasp], pre_offset_m: float = 0.10
) -> tuple[Grasp, list[Step]]:
    """The first grasp that the arm reaches, and the steps to it and back home with the thing.

    Args:
        arm: What moves.
        q: Joint positions now.
        grasps: Where to close, the best first.
        pre_offset_m: Height of the pre-grasp pose over the grasp, metres.

    Returns:
        The grasp as the hand is turned in it, and the steps.

    Raises:
        OutOfWorkspaceError: the arm reaches none.
    """
    failure: OutOfWorkspaceError | None = None
    for grasp in grasps:
        try:
            rows = _down_to(arm, [grasp.pose(0.0, turned) for turned in (False, True)])
        except OutOfWorkspaceError as error:
            failure = failure or error
            continue
        if arm.tip(rows[0])[:2, 1] @ grasp.closing < 0.0:
            grasp = replace(grasp, closing=-grasp.closing)  # turned: what is held is, too
        return grasp, _steps(arm, q, rows, pre_offset_m, ("grasp", "lift"), 0.0)
    raise failure or OutOfWorkspaceError("there is no grasp to reach")


def plan_place(
    arm: Kinematics, q: npt.ArrayLike, grasp: Grasp, place_m: Array, pre_offset_m: float = 0.10
) -> list[Step]:
    """Steps from joint positions ``q``, with a thing in the hand, to a place and back home.

    How the thing is turned about the vertical does not matter: any turn that the arm reaches.

    Args:
        arm: What moves.
        q: Joint positions now.
        grasp: How the thing is held; its support's height is taken as 0.
        place_m: ``[3]`` where the middle of the thing shall stand.
        pre_offset_m: Height of the pre-place pose, metres.

    Raises:
        OutOfWorkspaceError: the arm does not reach a pose of it.
    """
    tip_from_middle = np.array([*(grasp.tip_m[:2] - grasp.centre_m), grasp.tip_m[2] + _DROP_M])
    poses = []
    for yaw in (0.0, 0.5, -0.5, 1.0, -1.0, 1.5, -1.5, 2.1, -2.1, 2.6, -2.6, np.pi):
        c, s = np.cos(yaw), np.sin(yaw)
        about_z = np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])
        pose = grasp.pose()
        pose[:3, :3] = about_z @ pose[:3, :3]
        pose[:3, 3] = place_m + about_z @ tip_from_middle
        poses.append(pose)
    return _steps(arm, q, _down_to(arm, poses), pre_offset_m, ("lower", "release"), OPEN_M)


def _down_to(arm: Kinematics, poses: list[Array]) -> list[Array]:
    """Joint positions from the first pose that the arm reaches straight up to over it.

    Raises:
        OutOfWorkspaceError: it reaches none; of the first pose.
    """
    failure: OutOfWorkspaceError | None = None
    for in_plane in (True, False):
        for pose in poses:
            over = pose.copy()
            over[2, 3] += _TALLEST_M
            for start in arm.starts(pose)[: 1 if in_plane else None]:
                try:
                    return arm.line(arm.solve(pose, start, in_plane), [over], in_plane)
                except OutOfWorkspaceError as error:
                    failure = failure or error
    assert failure is not None
    raise failure


def _steps(
    arm: Kinematics,
    q: npt.ArrayLike,
    rows: list[Array],
    pre_offset_m: float,
    stages: tuple[str, str],
    opening_m: float,
) -> list[Step]:
    """Over, down, open or close, up again, home; ``rows`` lead from the place up."""
    heights = np.array([arm.tip(row)[2, 3] for row in rows])
    pre = int(np.argmin(np.abs(heights - heights[0] - pre_offset_m)))
    near = max(1, int(np.argmin(np.abs(heights - heights[0] - 0.05))))
    here, home = np.asarray(q, dtype=np.float64), np.asarray(arm.robot.home)
    parts = np.linspace(0.0, 1.0, 12)[:-1]
    there = [here + part * (rows[-1] - here) for part in parts] + rows[:pre:-1] + [rows[pre]]
    back = [rows[-1] + part * (home - rows[-1]) for part in [*parts, 1.0]]
    closing = opening_m == 0.0
    into, out = (_FAST, _CARRY) if closing else (_CARRY, _FAST)
    return [
        Step(
            "approach" if closing else "carry", arm.timed(there, into), OPEN_M if closing else None
        ),
        Step(stages[0], arm.timed(rows[pre::-1], _SLOW)),
        Step("grasp" if closing else "release", opening_m=opening_m),
        Step("lift" if closing else "retreat", arm.timed(rows[: near + 1], _SLOW)),
        Step("carry" if closing else "retreat", arm.timed(rows[near:] + back[1:], out)),
    ]


def samples(step: Step, period_s: float) -> Iterator[Array]:
    """Joint positions of a step at a period, its end included."""
    if step.trajectory is None:
        return
    end_s = float(step.trajectory.t_s[-1])
    for t_s in np.arange(period_s, end_s + period_s, period_s):
        yield step.trajectory.at(min(float(t_s), end_s))
