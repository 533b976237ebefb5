# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The robots: a Franka Panda whose files come from robosuite's wheel, or a plain gripper.

The Panda's description (MIT, "Stanford Vision and Learning Lab and UT Robot Perception and
Learning Lab") is not part of this package.  ``python -m roborefer_ros.arm.robot`` takes it, with
its licence, out of the wheel: 40 files of 1178, none of the wheel's requirements.
"""

from __future__ import annotations

import math
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from roborefer_ros.errors import DependencyMissingError

#: the wheel that the Panda comes from, and what of it is needed
WHEEL = "robosuite==1.5.2"
_ASSETS = "robosuite/models/assets/"
_NEEDED = (
    f"{_ASSETS}robots/panda/robot.xml",
    f"{_ASSETS}robots/panda/meshes/",
    f"{_ASSETS}robots/panda/obj_meshes/",
    f"{_ASSETS}grippers/panda_gripper.xml",
    f"{_ASSETS}grippers/meshes/panda_gripper/",
)

ROBOTS = ("panda", "gripper")

#: name of the site between the fingertips: z approaches, y closes (panda_hand_tcp)
TIP = "hand_tip"
#: widest opening of both hands, metres
OPEN_M = 0.080
#: coefficient of sliding friction of rubber fingertips
PAD_FRICTION = 1.0

#: Panda: stiffness and damping of each joint's position controller, N m / rad, N m s / rad
_PANDA_GAINS = ((4500.0, 450.0),) * 2 + ((3500.0, 350.0),) * 2 + ((2000.0, 200.0),) * 3
#: N m (Franka's data sheet)
_PANDA_TORQUE = (87.0,) * 4 + (12.0,) * 3
#: folded, hand beside the base and away from the table
_PANDA_HOME = (2.4, -0.9, 0.0, -2.6, 0.0, 1.75, 0.785)
_PANDA_READY = (0.0, 0.1, 0.0, -2.2, 0.0, 2.3, 0.785)
#: middle of a pad in the tip's frame, and half its width and length, metres
_PAD_Z_M, _PAD_HALF_M = -0.0115, 0.0085
#: impedance of a pad's contacts (MuJoCo's solimp): softer ones creep under a load
_PAD_SOLIMP = [0.99, 0.999, 0.001, 0.5, 2.0]
#: time constant of a low pass before each joint's controller, seconds
_SMOOTHING_S = 0.03
#: force of the fingers, N: well below the 70 N of the real hand
GRIP_N = 30.0


@dataclass(frozen=True)
class Robot:
    """A robot to be put into a world.

    Attributes:
        name: One of ``ROBOTS``.
        spec: ``mujoco.MjSpec`` of it, its base at the origin, reaching along x.
        joints: Names of the arm's joints, in order.
        fingers: Names of the two finger joints; 0 is closed, ``OPEN_M / 2`` open.
        home: Position of each joint out of the camera's view, rad or metres.
        ready: Position of each joint with the hand over the middle of the table, from which
            solutions are looked for.
        speed: Largest speed of each joint, rad/s or m/s.
        in_plane: Joints that turn the elbow and the wrist out of the plane through the base; where
            they are 0 the hand's tilt is the sum of the others.
    """

    name: str
    spec: Any
    joints: tuple[str, ...]
    fingers: tuple[str, str]
    home: tuple[float, ...]
    ready: tuple[float, ...]
    speed: tuple[float, ...]
    in_plane: tuple[str, ...] = ()


def import_mujoco() -> Any:
    """The module.

    Raises:
        DependencyMissingError: it is not installed.
    """
    try:
        import mujoco
    except ImportError as error:
        raise DependencyMissingError(
            f"the simulated arm needs MuJoCo ({error}): pip install 'roborefer_ros[arm]'"
        ) from None
    return mujoco


def panda_folder() -> Path:
    """Where the Panda's files lie, or will."""
    return Path(sys.prefix) / "share" / "roborefer_ros" / "panda"


def have_panda() -> bool:
    """Whether the Panda's files are on this machine."""
    return (panda_folder() / _NEEDED[0]).is_file()


def fetch_panda() -> Path:
    """Take the Panda out of robosuite's wheel, which pip downloads; returns the folder.

    Raises:
        DependencyMissingError: pip cannot get the wheel.
    """
    folder = panda_folder()
    with tempfile.TemporaryDirectory() as temporary:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", WHEEL]
        done = subprocess.run([*command, "-d", temporary], capture_output=True, text=True)
        wheels = list(Path(temporary).glob("*.whl"))
        if done.returncode or not wheels:
            reason = (done.stderr.strip().splitlines() or ["no wheel"])[-1]
            raise DependencyMissingError(
                f"the Panda's files ({WHEEL}) cannot be downloaded: {reason}; --robot gripper "
                "needs none"
            )
        with zipfile.ZipFile(wheels[0]) as wheel:
            for name in wheel.namelist():
                if name.startswith(_NEEDED) or name.endswith("licenses/LICENSE"):
                    wheel.extract(name, folder)
    return folder


def open_robot(name: str, side: float = 1.0) -> Robot:
    """Make a robot.

    Args:
        side: 1 or -1: the side, along its y axis, over which it turns home.
        name: One of ``ROBOTS``, or "auto": the Panda where its files are.

    Raises:
        DependencyMissingError: MuJoCo or the Panda's files are missing.
        ValueError: unknown name.
    """
    import_mujoco()
    if name == "auto":
        name = "panda" if have_panda() else "gripper"
    if name == "gripper":
        return _plain_gripper()
    if name != "panda":
        raise ValueError(f"robot {name!r} is not one of {', '.join(ROBOTS)}, auto")
    if not have_panda():
        raise DependencyMissingError(
            "the Panda's files are not here: python -m roborefer_ros.arm.robot fetches them "
            "(157 MB to download, 60 MB kept); --robot gripper needs none"
        )
    return _panda(side)


def _panda(side: float) -> Robot:
    mujoco = import_mujoco()
    assets = panda_folder() / _ASSETS
    spec = mujoco.MjSpec.from_file(str(assets / "robots/panda/robot.xml"))
    hand = mujoco.MjSpec.from_file(str(assets / "grippers/panda_gripper.xml"))
    for actuator in list(spec.actuators):
        spec.delete(actuator)
    for sensor in list(hand.sensors):
        hand.delete(sensor)
    for geom in hand.geoms:
        if geom.name.endswith("pad_collision"):
            geom.friction = [PAD_FRICTION, 0.005, 0.0001]
            geom.condim, geom.priority = 4, 1
            geom.solref, geom.solimp = [0.01, 1.0], _PAD_SOLIMP
            # the rubber reaches the finger's end, as on the real hand: what tapers is held there
            geom.pos[2], geom.size[0], geom.size[2] = _PAD_Z_M, _PAD_HALF_M, _PAD_HALF_M
        elif geom.name.startswith("finger"):
            geom.friction = [0.4, 0.005, 0.0001]
    for actuator in hand.actuators:
        _strengthen(actuator)
    hand.body("right_gripper").add_site(
        name=TIP.removeprefix("hand_"),
        pos=[0, 0, 0.1034],
        quat=[math.sqrt(0.5), 0, 0, math.sqrt(0.5)],
    )
    frame = spec.body("right_hand").add_frame()
    spec.attach(hand, prefix="hand_", suffix="", frame=frame)
    joints = tuple(f"joint{number}" for number in range(1, 8))
    for joint, (kp, kv), limit in zip(joints, _PANDA_GAINS, _PANDA_TORQUE, strict=True):
        _position_actuator(spec, joint, kp, kv, limit)
    for body in spec.bodies:
        body.gravcomp = 1.0  # the Panda's own controller does this
    return Robot(
        "panda", spec, joints, ("hand_finger_joint1", "hand_finger_joint2"),
        (side * _PANDA_HOME[0], *_PANDA_HOME[1:]), _PANDA_READY, (1.2,) * 7,
        ("joint3", "joint5"),
    )  # fmt: skip


def _plain_gripper() -> Robot:
    """Two boxes that close, on slides along x, y, z and a turntable, hanging over the table."""
    mujoco = import_mujoco()
    spec = mujoco.MjSpec()
    spec.compiler.degree = False
    body = spec.worldbody
    slide, box = mujoco.mjtJoint.mjJNT_SLIDE, mujoco.mjtGeom.mjGEOM_BOX
    ranges = ((-0.35, 0.95), (-0.75, 0.75), (-0.85, 0.05))
    for number, axis in enumerate(("x", "y", "z")):
        body = body.add_body(name=f"stage_{axis}", pos=[0, 0, 0.9 if number == 0 else 0])
        direction = [0.0, 0.0, 0.0]
        direction[number] = 1.0
        body.add_joint(name=f"stage_{axis}", type=slide, axis=direction, range=ranges[number])
        _inertia(body, 1.0)
    hand = body.add_body(name="hand", quat=[0, 1, 0, 0])
    hand.add_joint(
        name="turn",
        type=mujoco.mjtJoint.mjJNT_HINGE,
        axis=[0, 0, 1],
        armature=0.1,
        range=[-1.5 * math.pi, 1.5 * math.pi],
    )
    hand.add_geom(name="palm", type=box, size=[0.03, 0.10, 0.03], rgba=[0.9, 0.9, 0.9, 1])
    for number, side in ((1, 1.0), (2, -1.0)):
        finger = hand.add_body(name=f"finger{number}", pos=[0, 0, 0.03])
        # the joints' signs are those of the Panda's
        finger.add_joint(
            name=f"finger_joint{number}", type=slide, axis=[0, 1, 0], damping=100, armature=1.0,
            range=[0, OPEN_M / 2] if side > 0 else [-OPEN_M / 2, 0],
        )  # fmt: skip
        finger.add_geom(
            name=f"finger{number}_pad_collision", type=box, size=[0.010, 0.005, 0.009],
            pos=[0, side * 0.005, 0.0644], friction=[PAD_FRICTION, 0.005, 0.0001], condim=4,
            solref=[0.01, 0.5], rgba=[0.3, 0.3, 0.3, 1],
        )  # fmt: skip
        finger.add_geom(
            name=f"finger{number}", type=box, size=[0.010, 0.0035, 0.0277],
            pos=[0, side * 0.0085, 0.0277], rgba=[0.5, 0.5, 0.5, 1],
        )  # fmt: skip
        _strengthen(_position_actuator(spec, f"finger_joint{number}", 1000.0, 0.0, GRIP_N))
    hand.add_site(name=TIP, pos=[0, 0, 0.1034])
    joints = ("stage_x", "stage_y", "stage_z", "turn")
    for joint, (kp, kv) in zip(joints, ((8000.0, 800.0),) * 3 + ((300.0, 30.0),), strict=True):
        _position_actuator(spec, joint, kp, kv, 400.0)
    for part in spec.bodies:
        part.gravcomp = 1.0
    home = (-0.3, 0.0, 0.0, 0.0)
    return Robot(
        "gripper", spec, joints, ("finger_joint1", "finger_joint2"), home,
        (0.5, 0.0, -0.5, 0.0), (0.6,) * 3 + (1.5,),
    )  # fmt: skip


def _position_actuator(spec: Any, joint: str, kp: float, kv: float, limit: float) -> Any:
    mujoco = import_mujoco()
    return spec.add_actuator(
        name=joint,
        target=joint,
        trntype=mujoco.mjtTrn.mjTRN_JOINT,
        gaintype=mujoco.mjtGain.mjGAIN_FIXED,
        biastype=mujoco.mjtBias.mjBIAS_AFFINE,
        gainprm=[kp] + [0.0] * 9,
        biasprm=[0.0, -kp, -kv] + [0.0] * 7,
        forcerange=[-limit, limit],
        forcelimited=True,
        # targets come in steps; passed on as such they would shake what is held out of the hand
        dyntype=mujoco.mjtDyn.mjDYN_FILTEREXACT,
        dynprm=[_SMOOTHING_S] + [0.0] * 9,
    )


def _strengthen(actuator: Any) -> None:
    """Let a finger be commanded past its stop, so that it presses with its whole force."""
    actuator.ctrlrange = [-OPEN_M / 2, OPEN_M / 2]
    actuator.forcerange = [-GRIP_N, GRIP_N]


def _inertia(body: Any, mass: float) -> None:
    body.mass = mass
    body.inertia = [0.01, 0.01, 0.01]
    body.ipos = [0, 0, 0]
    body.explicitinertial = True


def main() -> int:
    """Fetch the Panda; returns the exit status."""
    try:
        print(fetch_panda() if not have_panda() else panda_folder())
    except DependencyMissingError as error:
        print(f"error {error.code}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
