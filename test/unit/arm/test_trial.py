# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Physics: things stand, the arm reaches, and a trial with true points ends as physics says."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("mujoco", reason="the extra [arm] is not installed")
pytest.importorskip("mink", reason="the extra [arm] is not installed")

from roborefer_ros.arm.camera import view_of
from roborefer_ros.arm.grasping import Grasp
from roborefer_ros.arm.methods import Ours
from roborefer_ros.arm.plans import plan_pick, plan_place
from roborefer_ros.arm.robot import have_panda, open_robot
from roborefer_ros.arm.trial import TrialScene, run_trial
from roborefer_ros.arm.world import ArmWorld, tilt_rad
from roborefer_ros.errors import DependencyMissingError, OutOfWorkspaceError
from roborefer_ros.simulation.rendering import FIRST_OBJECT
from roborefer_ros.simulation.scenes import sample_scene

ROBOTS = ["gripper", *(["panda"] if have_panda() else [])]


@pytest.mark.parametrize("robot", ROBOTS)
def test_things_stand_still_where_the_scene_has_them(robot: str) -> None:
    scene = sample_scene(np.random.default_rng(3))
    world = ArmWorld(scene, robot)
    world.run(1.0)
    for item, pose in zip(scene.objects, world.poses(), strict=True):
        assert np.hypot(pose[0, 3] - item.x, pose[1, 3] - item.y) < 0.002
        assert abs(pose[2, 3]) < 0.001
        assert tilt_rad(pose) < 0.02


@pytest.mark.parametrize("robot", ROBOTS)
def test_inverse_kinematics_ends_where_physics_puts_the_fingertips(robot: str) -> None:
    world = ArmWorld(sample_scene(np.random.default_rng(3)), robot)
    target = np.eye(4)
    target[:3, :3] = np.diag([1.0, -1.0, -1.0])
    target[:3, 3] = 0.6, 0.1 * np.sign(world.world_T_base[1, 3]), 0.4
    q = world.arm.solve(target, world.arm.starts(target)[0])
    world.command(q)
    world.run(3.0)
    position, rotation = world.tip()
    assert position == pytest.approx(target[:3, 3], abs=0.003)
    assert rotation == pytest.approx(target[:3, :3], abs=0.03)


@pytest.mark.parametrize("robot", ROBOTS)
def test_a_pose_out_of_reach_is_refused_with_how_much_is_left(robot: str) -> None:
    world = ArmWorld(sample_scene(np.random.default_rng(3)), robot)
    target = np.eye(4)
    target[:3, :3] = np.diag([1.0, -1.0, -1.0])
    target[:3, 3] = 2.5, 0.0, 0.2
    with pytest.raises(OutOfWorkspaceError, match=r"does not reach .* mm and .* degrees are left"):
        world.arm.solve(target, world.robot.home)


def test_a_trajectory_keeps_the_limits_of_the_joints_and_rests_at_its_ends() -> None:
    world = ArmWorld(sample_scene(np.random.default_rng(3)), "gripper")
    home = np.array(world.robot.home)
    path = world.arm.timed([home, home + [0.3, 0.2, -0.1, 1.0], home + [0.6, 0.0, -0.2, 0.0]], 9.0)
    speed = np.abs(np.diff(path.q, axis=0)) / np.diff(path.t_s)[:, None]
    # a monotone cubic is at most 1.5 times as fast as the chords on both sides
    assert np.all(speed.max(axis=0) <= 1.5 * np.array(world.robot.speed) + 1e-9)
    assert np.all(speed[0] < 0.1)
    assert np.all(speed[-1] < 0.1)
    assert path.q[-1] == pytest.approx(home + [0.6, 0.0, -0.2, 0.0])


def test_the_camera_sees_the_things_where_physics_has_them_and_not_the_one_left_out() -> None:
    world = ArmWorld(sample_scene(np.random.default_rng(3)), "gripper")
    world.put(0, 0.55, 0.02)
    view = view_of(world)
    seen = view.points_world()[view.instance == FIRST_OBJECT]
    assert np.median(seen[:, :2], axis=0) == pytest.approx([0.55, 0.02], abs=0.04)
    assert not np.any(view_of(world, without=0).instance == FIRST_OBJECT)


@pytest.mark.parametrize("robot", ROBOTS)
def test_what_is_carried_stays_upright_and_high(robot: str) -> None:
    world = ArmWorld(sample_scene(np.random.default_rng(3)), robot)
    for x, y in ((0.5, 0.1), (0.7, -0.1), (0.8, 0.2)):
        grasp = Grasp(
            np.array([x, y, 0.05]), np.array([1.0, 0.0]), 0.04, np.array([x, y]), 0.03, False
        )
        _, steps = plan_pick(world.arm, world.q, [grasp])
        poses = [world.arm.tip(q) for q in steps[-1].trajectory.q[::5]]
        assert min(-pose[2, 2] for pose in poses) > np.cos(np.radians(6.0))
        heights = [pose[2, 3] for pose in poses]
        top = int(np.argmax(np.array(heights) > 0.25))
        assert min(heights[top:]) > 0.25  # over everything, once it is


@pytest.mark.parametrize("robot", ROBOTS)
@pytest.mark.parametrize("closing", [(0.0, 1.0), (0.0, -1.0), (1.0, 0.0), (-0.6, 0.8)])
def test_what_is_held_by_its_rim_is_set_down_with_its_middle_on_the_spot(
    robot: str, closing: tuple[float, float]
) -> None:
    world = ArmWorld(sample_scene(np.random.default_rng(3)), robot)
    direction, middle = np.array(closing), np.array([0.65, 0.05])
    tip = np.array([*(middle + 0.04 * direction), 0.08])
    grasp, picking = plan_pick(
        world.arm, world.q, [Grasp(tip, direction, 0.01, middle, 0.04, True)]
    )
    held = np.linalg.inv(world.arm.tip(picking[1].trajectory.q[-1])) @ [*middle, 0.0, 1.0]
    spot = np.array([0.55, -0.10, 0.0])
    placing = plan_place(world.arm, picking[-1].trajectory.q[-1], grasp, spot)
    set_down = world.arm.tip(placing[1].trajectory.q[-1]) @ held
    assert set_down[:2] == pytest.approx(spot[:2], abs=0.003)


@pytest.mark.parametrize("robot", ROBOTS)
def test_with_the_true_point_a_thing_is_picked_and_placed(robot: str) -> None:
    outcomes = run_trial(TrialScene(3, robot), Ours())
    assert [(o.half, o.cause) for o in outcomes] == [("pick", ""), ("place", "")]


def test_a_trial_is_the_same_every_time() -> None:
    first, second = (run_trial(TrialScene(4, "gripper"), Ours()) for _ in range(2))
    assert [(o.half, o.cause, o.confidence) for o in first] == [
        (o.half, o.cause, o.confidence) for o in second
    ]
    assert first[0].seconds["motion"] == second[0].seconds["motion"]


def test_without_mujoco_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "mujoco", None)
    with pytest.raises(DependencyMissingError, match=r"pip install 'roborefer_ros\[arm\]'"):
        open_robot("gripper")


def test_without_its_files_the_panda_is_refused_with_the_command_that_fetches_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: pytest.TempPathFactory
) -> None:
    import sys

    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    with pytest.raises(DependencyMissingError, match=r"python -m roborefer_ros.arm.robot"):
        open_robot("panda")
    assert open_robot("auto").name == "gripper"
