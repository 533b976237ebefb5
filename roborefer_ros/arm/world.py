# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""A tabletop in physics: a scene's objects, a robot at the table's side, a camera.

World frame: as in ``simulation.scenes``: x forward, y left, z up, the table's top at z = 0; called
``base_link``.  The robot stands at the side that the camera stands on, so that the camera does not
look at it; its base frame is called ``arm_base``.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from roborefer_ros.arm.kinematics import Kinematics
from roborefer_ros.arm.robot import OPEN_M, TIP, import_mujoco, open_robot
from roborefer_ros.arm.shapes import FRICTION, add_object
from roborefer_ros.simulation.scenes import SceneObject, TabletopScene

Array = npt.NDArray[np.float64]

#: of physics, seconds
STEP_S = 0.002
#: of physics: walls of vessels are many boxes, and a hand in one makes hundreds of contacts
_MEMORY_BYTES = 64 << 20
#: place of the robot's base on the table's middle line, and from it, metres
BASE_X_M, BASE_Y_M = 0.60, 0.53


class ArmWorld:
    """Physics of a scene with a robot.

    Args:
        scene: Things on the table.
        robot: Name of the robot, see ``open_robot``.

    Attributes:
        arm: Its kinematics.
        world_T_base: ``[4, 4]`` pose of its base.
    """

    def __init__(self, scene: TabletopScene, robot: str) -> None:
        self.mujoco = import_mujoco()
        self.scene = scene
        side = 1.0 if scene.world_T_camera[1, 3] >= 0.0 else -1.0
        self.robot = open_robot(robot, side)
        self.world_T_base = np.eye(4)
        self.world_T_base[:2, :2] = np.array([[0.0, side], [-side, 0.0]])
        self.world_T_base[:3, 3] = BASE_X_M, side * BASE_Y_M, 0.0
        self.arm = Kinematics(open_robot(robot, side), self.world_T_base)
        self.model = self._compile()
        self.data = self.mujoco.MjData(self.model)
        self._joints = [self.model.joint(name) for name in self.robot.joints]
        self._qpos = np.array([joint.qposadr[0] for joint in self._joints])
        self._arm_ctrl = np.array([self._actuator(name) for name in self.robot.joints])
        self._finger_qpos = [self.model.joint(name).qposadr[0] for name in self.robot.fingers]
        self._finger_ctrl = [self._actuator(name) for name in self.robot.fingers]
        self.data.qpos[self._qpos] = self.robot.home
        self.data.ctrl[self._arm_ctrl] = self.robot.home
        self.data.act[self.model.actuator_actadr[self._arm_ctrl]] = self.robot.home
        self.data.qpos[self._finger_qpos] = (OPEN_M / 2, -OPEN_M / 2)
        self.grip(OPEN_M)
        self.mujoco.mj_forward(self.model, self.data)
        self.run(0.4)  # until things lie still

    def _compile(self) -> Any:
        mujoco = self.mujoco
        spec = mujoco.MjSpec()
        spec.memory = _MEMORY_BYTES
        spec.option.timestep = STEP_S
        spec.option.cone = mujoco.mjtCone.mjCONE_ELLIPTIC
        spec.option.impratio = 100.0  # else what is held creeps out of the fingers
        spec.option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
        spec.compiler.degree = False
        spec.visual.headlight.ambient = [0.35] * 3
        spec.visual.headlight.diffuse = [0.35] * 3
        spec.visual.headlight.specular = [0.05] * 3
        spec.visual.global_.offwidth, spec.visual.global_.offheight = 1280, 960
        spec.worldbody.add_light(
            pos=list(np.array([0.6, 0.0, 0.0]) + 3.0 * self.scene.light),
            dir=list(-self.scene.light), castshadow=True, diffuse=[0.6] * 3, specular=[0.1] * 3,
        )  # fmt: skip
        table_x, table_y, half_x, half_y = self.scene.table
        spec.worldbody.add_geom(
            name="table", type=mujoco.mjtGeom.mjGEOM_BOX, pos=[table_x, table_y, -0.02],
            size=[half_x, half_y, 0.02], rgba=[*self.scene.table_rgb, 1],
            friction=list(FRICTION), condim=4,
        )  # fmt: skip
        for number, item in enumerate(self.scene.objects):
            add_object(spec, object_name(number), item)
        frame = spec.worldbody.add_frame(
            pos=self.world_T_base[:3, 3], quat=_quat_wxyz(self.world_T_base[:3, :3])
        )
        spec.attach(self.robot.spec, prefix="arm/", suffix="", frame=frame)
        self.robot = replace(
            self.robot,
            joints=tuple(f"arm/{name}" for name in self.robot.joints),
            fingers=(f"arm/{self.robot.fingers[0]}", f"arm/{self.robot.fingers[1]}"),
        )
        return spec.compile()

    def _actuator(self, joint: str) -> int:
        number = self.model.joint(joint).id
        return int(np.nonzero(self.model.actuator_trnid[:, 0] == number)[0][0])

    # --- the robot ---------------------------------------------------------------------

    @property
    def time_s(self) -> float:
        """Since the start, seconds."""
        return float(self.data.time)

    @property
    def q(self) -> Array:
        """Position of the arm's joints, rad or metres."""
        return np.array(self.data.qpos[self._qpos])

    @property
    def opening_m(self) -> float:
        """Distance of the fingers, metres."""
        return float(self.data.qpos[self._finger_qpos[0]] - self.data.qpos[self._finger_qpos[1]])

    def tip(self) -> tuple[Array, Array]:
        """Position ``[3]`` and rotation ``[3, 3]`` of the fingertips in the world."""
        site = self.data.site(f"arm/{TIP}")
        return np.array(site.xpos), np.array(site.xmat).reshape(3, 3)

    def command(self, q: npt.ArrayLike) -> None:
        """Set the arm's target."""
        self.data.ctrl[self._arm_ctrl] = q

    def grip(self, opening_m: float) -> None:
        """Set the fingers' target distance; 0 closes with the whole force."""
        half = min(opening_m, OPEN_M) / 2 if opening_m > 0.0 else -OPEN_M / 2
        self.data.ctrl[self._finger_ctrl] = (half, -half)

    def run(self, seconds: float) -> None:
        """Let time pass."""
        self.mujoco.mj_step(self.model, self.data, nstep=max(1, round(seconds / STEP_S)))

    def holds(self, number: int) -> bool:
        """Whether both fingers touch an object."""
        touching = set()
        body = self.model.body(object_name(number)).id
        for contact in self.data.contact[: self.data.ncon]:
            bodies = [int(self.model.geom_bodyid[geom]) for geom in contact.geom]
            if body in bodies:
                other = bodies[0] if bodies[1] == body else bodies[1]
                name = self.model.body(other).name
                touching.add("1" if "left" in name or "1" in name else "2")
        return len(touching) == 2

    # --- the things --------------------------------------------------------------------

    def pose(self, number: int) -> Array:
        """``[4, 4]`` pose of an object's foot in the world."""
        body = self.data.body(object_name(number))
        pose = np.eye(4)
        pose[:3, :3], pose[:3, 3] = np.array(body.xmat).reshape(3, 3), body.xpos
        return pose

    def poses(self) -> list[Array]:
        """Of all objects."""
        return [self.pose(number) for number in range(len(self.scene.objects))]

    def put(self, number: int, x: float, y: float, yaw: float = 0.0) -> None:
        """Stand an object elsewhere, as a hand would that nobody sees."""
        joint = self.data.joint(object_name(number))
        joint.qpos[:] = [x, y, 0.0005, math.cos(yaw / 2), 0, 0, math.sin(yaw / 2)]
        joint.qvel[:] = 0.0
        self.mujoco.mj_forward(self.model, self.data)

    def scene_now(self, without: int | None = None) -> TabletopScene:
        """The scene with its objects where they stand now, seen from above.

        Args:
            without: Number of an object to leave out, as one that is held.
        """
        objects = [
            _moved(item, self.pose(number))
            for number, item in enumerate(self.scene.objects)
            if number != without
        ]
        return replace(self.scene, objects=tuple(objects))


def object_name(number: int) -> str:
    """Name of an object's body."""
    return f"object{number}"


def tilt_rad(pose: Array) -> float:
    """Angle of an object's axis against up."""
    return math.acos(min(max(float(pose[2, 2]), -1.0), 1.0))


def _moved(item: SceneObject, pose: Array) -> SceneObject:
    yaw = math.atan2(pose[1, 0], pose[0, 0])
    return replace(item, x=float(pose[0, 3]), y=float(pose[1, 3]), yaw=yaw)


def _quat_wxyz(rotation: Array) -> Array:
    quat = np.zeros(4)
    import_mujoco().mju_mat2Quat(quat, rotation.ravel())
    return quat
