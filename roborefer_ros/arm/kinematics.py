# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Joint positions for poses of the fingertips, and trajectories through them (mink)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from roborefer_ros.arm.robot import TIP, Robot
from roborefer_ros.errors import DependencyMissingError, OutOfWorkspaceError

Array = npt.NDArray[np.float64]

#: accuracy of a solution, metres and radians
_POSITION_M, _ROTATION_RAD = 0.001, 0.01
_ITERATIONS = 80
#: of a joint that leaves where it was, and of one that leaves the plane of the arm
_POSTURE_COST, _PLANE_COST = 1e-4, 0.05
#: distance of the points of a straight path, metres
_SPACING_M = 0.02
#: time to full speed, and distance of a trajectory's points, seconds
_RAMP_S, _SAMPLE_S = 0.4, 0.02
#: of a joint between them, rad or metres
_LARGEST_STEP = 0.6


@dataclass(frozen=True)
class Trajectory:
    """``q`` ``[N, joints]`` at the times ``t_s`` ``[N]``, seconds from the start."""

    q: Array
    t_s: Array

    def at(self, t_s: float) -> Array:
        """Joint positions at a time, the last ones after the end."""
        return np.array([np.interp(t_s, self.t_s, column) for column in self.q.T])


class Kinematics:
    """Inverse kinematics of a robot alone.

    Args:
        robot: Robot of ``open_robot``; its spec is compiled as it is.
        world_T_base: ``[4, 4]`` pose of its base; poses are in that world.

    Raises:
        DependencyMissingError: mink is not installed.
    """

    def __init__(self, robot: Robot, world_T_base: Array) -> None:
        try:
            import mink
        except ImportError as error:
            raise DependencyMissingError(
                f"inverse kinematics needs mink ({error}): pip install 'roborefer_ros[arm]'"
            ) from None
        self._mink: Any = mink
        self.robot = robot
        self._base_T_world = np.linalg.inv(world_T_base)
        model = robot.spec.compile()
        self._configuration = mink.Configuration(model)
        self._index = np.array([model.joint(name).qposadr[0] for name in robot.joints])
        self._tip = mink.FrameTask(TIP, "site", position_cost=1.0, orientation_cost=0.3)
        cost = np.full(model.nv, _POSTURE_COST)
        self._free = mink.PostureTask(model, cost=cost)
        for name in robot.in_plane:
            cost[model.joint(name).dofadr[0]] = _PLANE_COST
        self._plane = mink.PostureTask(model, cost=cost)
        self._plane_index = [model.joint(name).qposadr[0] for name in robot.in_plane]
        self._limits = [mink.ConfigurationLimit(model)]
        self._site = model.site(TIP).id

    def tip(self, q: npt.ArrayLike) -> Array:
        """``[4, 4]`` pose of the fingertips in the world for joint positions."""
        self._set(q)
        pose = np.eye(4)
        data = self._configuration.data
        pose[:3, :3] = np.array(data.site_xmat[self._site]).reshape(3, 3)
        pose[:3, 3] = data.site_xpos[self._site]
        moved: Array = np.linalg.inv(self._base_T_world) @ pose
        return moved

    def solve(self, target: Array, start: npt.ArrayLike, in_plane: bool = False) -> Array:
        """Joint positions for a pose of the fingertips.

        Args:
            target: ``[4, 4]`` in the world, z along the approach, y where the jaw closes.
            start: Joint positions to start from.
            in_plane: With the elbow over the forearm (``Robot.in_plane``): between two such
                solutions the hand stays upright, whatever it carries.

        Raises:
            OutOfWorkspaceError: none found within the joints' limits.
        """
        posture = self._plane if in_plane else self._free
        self._set(start)
        wanted = np.array(self._configuration.q)
        if in_plane:
            wanted[self._plane_index] = 0.0
        posture.set_target(wanted)
        self._tip.set_target(self._mink.SE3.from_matrix(self._base_T_world @ target))
        for _ in range(_ITERATIONS):
            error = self._tip.compute_error(self._configuration)
            if (
                np.linalg.norm(error[:3]) < _POSITION_M
                and np.linalg.norm(error[3:]) < _ROTATION_RAD
            ):
                return np.array(self._configuration.q[self._index])
            velocity = self._mink.solve_ik(
                self._configuration, [self._tip, posture], 0.1, "daqp",
                damping=1e-4, limits=self._limits,
            )  # fmt: skip
            self._configuration.integrate_inplace(np.clip(velocity, -8.0, 8.0), 0.1)
        x, y, z = target[:3, 3]
        raise OutOfWorkspaceError(
            f"the {self.robot.name} does not reach ({x:.3f}, {y:.3f}, {z:.3f}) m in that "
            f"orientation: {1e3 * np.linalg.norm(error[:3]):.0f} mm and "
            f"{np.degrees(np.linalg.norm(error[3:])):.0f} degrees are left"
        )

    def starts(self, target: Array) -> list[Array]:
        """Joint positions to look for a solution from: the arm turned towards a pose, best first.

        The hand is turned as the pose is, for one that points down.
        """
        ready = np.array(self.robot.ready)
        if self.robot.name != "panda":
            return [ready]
        base = self._base_T_world @ target
        here = self._base_T_world @ self.tip(ready)
        ready[0] = np.arctan2(base[1, 3], base[0, 3])
        yaw = np.arctan2(base[1, 1], base[0, 1]) - np.arctan2(here[1, 1], here[0, 1])
        turn = float(np.mod(ready[0] - yaw + np.pi, 2 * np.pi) - np.pi)
        return [ready + [0, 0, 0, 0, 0, 0, part] for part in (turn, 0.0, 1.4, -1.4)]

    def line(
        self, start: npt.ArrayLike, targets: list[Array], in_plane: bool = False
    ) -> list[Array]:
        """Joint positions along straight lines of the fingertips, the start included.

        Args:
            start: Joint positions at its start.
            targets: ``[4, 4]`` poses to go through, one after the other.
            in_plane: See ``solve``.

        Raises:
            OutOfWorkspaceError: the arm does not reach a point of it without a jump.
        """
        q = np.asarray(start, dtype=np.float64)
        here, rows = self.tip(q), [q]
        for target in targets:
            turn = _angle(here[:3, :3], target[:3, :3])
            length = float(np.linalg.norm(target[:3, 3] - here[:3, 3]))
            count = max(1, int(np.ceil(max(length / _SPACING_M, turn / 0.2))))
            for part in np.linspace(0.0, 1.0, count + 1)[1:]:
                following = self.solve(_between(here, target, float(part)), q, in_plane)
                if np.max(np.abs(following - q)) > _LARGEST_STEP:
                    x, y, z = target[:3, 3]
                    raise OutOfWorkspaceError(
                        f"the {self.robot.name} cannot go straight to ({x:.3f}, {y:.3f}, {z:.3f}) m"
                    )
                if self._touches_itself():
                    raise OutOfWorkspaceError(
                        f"the {self.robot.name} would touch itself near "
                        f"({', '.join(f'{value:.3f}' for value in target[:3, 3])}) m"
                    )
                q = following
                rows.append(q)
            here = target
        return rows

    def timed(self, rows: list[Array], speed: float) -> Trajectory:
        """A smooth trajectory through joint positions that keeps the limits of speed.

        It starts and ends at rest; in between it follows a monotone cubic (PCHIP), which does not
        overshoot.
        """
        from scipy.interpolate import PchipInterpolator

        path = np.array(rows)
        tips = np.array([self.tip(q)[:3, 3] for q in path])
        steps = np.maximum(
            np.linalg.norm(np.diff(tips, axis=0), axis=1) / speed,
            np.max(np.abs(np.diff(path, axis=0)) / np.asarray(self.robot.speed), axis=1),
        )
        times = np.concatenate(([0.0], np.cumsum(np.maximum(steps, 1e-3))))
        end_s = float(times[-1])
        ramp_s = min(_RAMP_S, end_s)
        t_s = np.append(np.arange(0.0, end_s + ramp_s, _SAMPLE_S), end_s + ramp_s)
        return Trajectory(PchipInterpolator(times, path)(_eased(t_s, end_s, ramp_s)), t_s)

    def _touches_itself(self) -> bool:
        """Whether links touch in the configuration that was solved last."""
        from roborefer_ros.arm.robot import import_mujoco

        model, data = self._configuration.model, self._configuration.data
        import_mujoco().mj_collision(model, data)
        fingers = {"finger", "hand_"}
        for contact in data.contact[: data.ncon]:
            names = [model.body(int(model.geom_bodyid[geom])).name for geom in contact.geom]
            if not any(part in name for name in names for part in fingers):
                return True
        return False

    def _set(self, q: npt.ArrayLike) -> None:
        full = np.array(self._configuration.q)
        full[self._index] = q
        self._configuration.update(full)


def _eased(t_s: Array, end_s: float, ramp_s: float) -> Array:
    """Times along a path of ``end_s`` that gains and loses its speed within ``ramp_s`` each."""
    middle = np.clip(t_s, ramp_s, end_s)
    start = np.minimum(t_s, ramp_s)
    end = np.clip(t_s - end_s, 0.0, ramp_s)
    return 0.5 * start**2 / ramp_s + (middle - ramp_s) + end - 0.5 * end**2 / ramp_s


def _angle(a: Array, b: Array) -> float:
    return float(np.arccos(np.clip((np.trace(a.T @ b) - 1.0) / 2.0, -1.0, 1.0)))


def _between(a: Array, b: Array, part: float) -> Array:
    """Pose between two poses: straight, and turned about one axis."""
    import cv2

    pose = np.eye(4)
    turn, _ = cv2.Rodrigues(a[:3, :3].T @ b[:3, :3])
    pose[:3, :3] = a[:3, :3] @ cv2.Rodrigues(part * turn)[0]
    pose[:3, 3] = (1.0 - part) * a[:3, 3] + part * b[:3, 3]
    return pose
