# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The example task against a simulated arm: what goes wrong ends with its number and a still arm.

What points is the truth (``TruePointer``) or the points in the instruction (``echo``): the tests
are about the graph, not about what a network understands. The task is a process of its own.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip("mujoco", reason="the extra [arm] is not installed")
pytest.importorskip("mink", reason="the extra [arm] is not installed")

from geometry_msgs.msg import TransformStamped
from rclpy.executors import MultiThreadedExecutor
from rclpy.parameter import Parameter
from refer_graph import ScriptedPointer, wait_until
from std_msgs.msg import Header

from roborefer_ros.arm.camera import CAMERA_FRAME, camera_pose, frame_of, view_of
from roborefer_ros.camera_presets import load_preset
from roborefer_ros.demo.processes import Processes
from roborefer_ros.errors import NothingFoundError
from roborefer_ros.nodes.arm_node import BASE_FRAME, WORLD_FRAME, ArmNode
from roborefer_ros.nodes.refer_node import EXECUTOR_THREADS, ReferNode
from roborefer_ros.nodes.replay_camera_node import ReplayCameraNode
from roborefer_ros.nodes.sim_camera_node import camera_transform
from roborefer_ros.pipeline import ReferPipeline
from roborefer_ros.pointing.prediction import Prediction
from roborefer_ros.ros_compat import tf2_ros
from roborefer_ros.simulation.geometry import answer_pixel, project
from roborefer_ros.simulation.rendering import FIRST_OBJECT

ROOT = Path(__file__).parents[2]
TASK = str(ROOT / "examples" / "pick_and_place" / "task.py")
SCENE = 5
#: things of the scene
BOTTLE, BALL = 3, 4
#: a spot of the table with nothing around it
SPOT = (0.44, -0.16)
SEEN_PX = 40

pytestmark = pytest.mark.timeout(600)


class TruePointer(ScriptedPointer):
    """Points at the thing whose number is in the instruction where the camera sees it."""

    def __init__(self, arm: ArmNode) -> None:
        super().__init__()
        self.arm = arm

    def point(
        self, rgb: Any, relative_depth: Any, instruction: str, *rest: Any, **more: Any
    ) -> Any:
        """Answer, or find nothing."""
        view = self.arm._seen[2]
        height, width = view.instance.shape
        if instruction.startswith("thing"):
            mask = view.instance == FIRST_OBJECT + int(instruction.split()[1])
            if mask.sum() < SEEN_PX:
                raise NothingFoundError(f"{instruction!r} is not in the picture")
            u, v = answer_pixel(mask)
        else:
            u, v = project(view, np.array([*SPOT, 0.0]))[0]
        return Prediction(instruction, (((u + 0.5) / width, (v + 0.5) / height),))


class Cell:
    """A simulated arm and the node, in this process, and the task in another."""

    def __init__(self, ros: Any) -> None:
        self.ros = ros
        self.arm = ros.create_node(
            "camera",
            ArmNode,
            parameter_overrides=[
                Parameter("scene", value=SCENE),
                Parameter("robot", value="gripper"),
            ],
        )
        self.executor = ros.spin(self.arm)
        self.node: ReferNode | None = None

    def start_node(self) -> None:
        """The RoboRefer node with the truth as its model."""
        preset = load_preset("simulation")
        values = {
            "auto_activate": False,
            "use_sim_time": True,
            "target_frame": WORLD_FRAME,
            **preset.parameters,
        }
        remaps = [w for pair in preset.remappings.items() for w in ("-r", ":=".join(pair))]
        self.node = self.ros.create_node(
            "roborefer",
            ReferNode,
            open_model=lambda _: ReferPipeline(TruePointer(self.arm)),
            parameter_overrides=[Parameter(name, value=value) for name, value in values.items()],
            cli_args=["--ros-args", *remaps],
        )
        executor = MultiThreadedExecutor(EXECUTOR_THREADS, context=self.ros.context)
        self.ros.spin(self.node, executor=executor)
        self.node.trigger_configure()
        self.node.trigger_activate()
        wait_until(lambda: self.arm._seen is not None, 60.0)

    def close(self) -> None:
        """End the node; the fixture does the rest."""
        if self.node is not None:
            self.node.close()

    def between_ticks(self, change: Callable[[], None]) -> None:
        """Change the world while no physics runs."""
        done = self.executor.create_task(change)
        wait_until(done.done, 60.0)
        done.result()

    def task(self, *words: str) -> subprocess.Popen[str]:
        """Start the task."""
        # a slow machine plans slowly: only the test of it judges the age of a pose
        command = [sys.executable, TASK, "--robot", "gripper", "--max-age", "3600", *words]
        return subprocess.Popen(
            [*command, "--ros-args", "-p", "use_sim_time:=true"],
            cwd=ROOT,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    @staticmethod
    def output(task: subprocess.Popen[str], until: str = "") -> str:
        """What the task says, until a line holds a text, or to its end."""
        assert task.stdout is not None
        if not until:
            return task.communicate(timeout=500)[0]
        lines = []
        for line in task.stdout:
            lines.append(line)
            if until in line:
                return "".join(lines)
        raise AssertionError("".join(lines))


@pytest.fixture
def cell(ros: Any) -> Iterator[Cell]:
    one = Cell(ros)
    yield one
    one.close()


def ends_with(task: subprocess.Popen[str], number: int) -> str:
    """The output of a task that ended with an error number before the arm moved."""
    output = Cell.output(task)
    assert task.returncode == 1, output
    assert f"error {number}: " in output.splitlines()[-1], output
    assert "approach" not in output
    return output


def test_a_thing_that_moves_before_the_hand_closes_is_asked_for_again_and_placed(
    cell: Cell,
) -> None:
    cell.start_node()
    task = cell.task(f"thing {BOTTLE}", "the spot")
    before = cell.output(task, until="approach")
    cell.between_ticks(lambda: cell.arm.world.put(BOTTLE, 0.66, 0.0))
    output = before + cell.output(task)
    assert task.returncode == 0, output
    assert output.count("the hand is empty") == 1, output
    pose = cell.arm.world.pose(BOTTLE)
    assert pose[:2, 3] == pytest.approx(SPOT, abs=0.03)
    assert pose[2, 2] > 0.98


def test_a_camera_that_stopped_ends_the_task_with_2521(cell: Cell) -> None:
    cell.start_node()
    cell.arm.set_parameters([Parameter("camera_on", value=False)])
    ends_with(cell.task(f"thing {BOTTLE}", "the spot", "--views", "1"), 2521)


def test_what_no_view_shows_ends_the_task_with_2555(cell: Cell) -> None:
    cell.start_node()
    cell.between_ticks(lambda: cell.arm.world.put(BALL, -2.0, 2.0))
    output = ends_with(cell.task(f"thing {BALL}", "the spot"), 2555)
    assert [f"view {number}: " in output for number in range(3)] == [True] * 3


def test_what_is_hidden_in_one_view_is_asked_for_from_the_next(cell: Cell) -> None:
    cell.start_node()
    bottle = cell.arm.world.pose(BOTTLE)[:2, 3]
    ray = bottle - cell.arm.world.scene.world_T_camera[:2, 3]
    behind = bottle + 0.085 * ray / np.linalg.norm(ray)
    cell.between_ticks(lambda: cell.arm.world.put(BALL, *behind))
    task = cell.task(f"thing {BALL}", "the spot", "--plan-only", "--confidence", "0")
    output = cell.output(task)
    assert "view 0: 'thing 4': error 2555" in output, output
    assert "view 1: 'thing 4': confidence" in output, output


def test_what_the_arm_does_not_reach_ends_the_task_with_2567(cell: Cell) -> None:
    cell.start_node()
    side = float(np.sign(cell.arm.world.world_T_base[1, 3]))
    cell.between_ticks(lambda: cell.arm.world.put(BOTTLE, 1.00, -0.50 * side))
    output = ends_with(cell.task(f"thing {BOTTLE}", "the spot"), 2567)
    assert "does not reach" in output


def test_a_pose_that_is_too_old_is_refused_with_its_age_before_the_arm_moves(cell: Cell) -> None:
    cell.start_node()
    output = ends_with(cell.task(f"thing {BOTTLE}", "the spot", "--max-age", "0.001"), 2507)
    assert "the pose is" in output


def test_a_task_that_is_cancelled_in_motion_ends_with_2506_and_the_arm_stays(cell: Cell) -> None:
    cell.start_node()
    task = cell.task(f"thing {BOTTLE}", "the spot")
    cell.output(task, until="approach")
    task.send_signal(signal.SIGTERM)
    output = cell.output(task)
    assert task.returncode == 1, output
    assert "error 2506: " in output
    assert "grasp" not in output
    world = cell.arm.world
    end_s = world.time_s + 1.0  # until it has come to rest
    wait_until(lambda: world.time_s > end_s, 120.0)
    rest, end_s = world.q, world.time_s + 0.5
    wait_until(lambda: world.time_s > end_s, 120.0)
    assert world.q == pytest.approx(rest, abs=0.002)


def test_a_node_that_is_killed_ends_the_task_with_2509_and_one_that_comes_back_serves_the_next(
    cell: Cell, tmp_path: Path
) -> None:
    preset = load_preset("simulation")
    values = {"model": "echo", "target_frame": WORLD_FRAME, "use_sim_time": True}
    values["frame_timeout_s"] = 60.0

    def start(processes: Processes) -> None:
        processes.start(
            "roborefer",
            "roborefer_ros.nodes.refer_node",
            preset.remappings,
            {**values, **preset.parameters},
        )
        wait_until(lambda: "active: " in processes.last_words("roborefer"), 300.0)

    wait_until(lambda: cell.arm._seen is not None, 60.0)
    height, width = cell.arm._seen[2].instance.shape
    u, v = answer_pixel(cell.arm._seen[2].instance == FIRST_OBJECT + BOTTLE)
    words = f"[({(u + 0.5) / width:.4f}, {(v + 0.5) / height:.4f})]"
    with Processes(tmp_path) as processes:
        start(processes)
        # without a camera the goal is under way until the node is killed
        cell.arm.set_parameters([Parameter("camera_on", value=False)])
        task = cell.task(words, "[(0.5, 0.5)]", "--views", "1")
        wait_until(lambda: "goal " in processes.last_words("roborefer"), 300.0)
        processes.kill("roborefer")
        ends_with(task, 2509)
        start(processes)
        cell.arm.set_parameters([Parameter("camera_on", value=True)])
        again = cell.task(words, "[(0.5, 0.5)]", "--views", "1", "--max-age", "0.001")
        ends_with(again, 2507)  # it was answered


def test_the_same_task_plans_on_recorded_frames(ros: Any, tmp_path: Path) -> None:
    from roborefer_ros.arm.trial import TRIAL_SEED
    from roborefer_ros.arm.world import ArmWorld
    from roborefer_ros.simulation.scenes import sample_scene

    rng = np.random.default_rng((TRIAL_SEED, SCENE, 0, 0))
    world = ArmWorld(sample_scene(rng), "gripper")
    view = view_of(world)
    frame = frame_of(view, rng)
    k = view.intrinsics
    cv2.imwrite(str(tmp_path / "rgb.png"), view.rgb[..., ::-1])
    cv2.imwrite(str(tmp_path / "depth.png"), np.asarray(frame.depth.raw))
    numbers = {name: getattr(k, name) for name in ("width", "height", "fx", "fy", "cx", "cy")}
    (tmp_path / "camera.json").write_text(json.dumps({**numbers, "depth_scale": 0.001}))
    replay = ros.create_node(
        "camera", ReplayCameraNode, parameter_overrides=[Parameter("folder", value=str(tmp_path))]
    )
    static = tf2_ros.StaticTransformBroadcaster(replay)
    header = Header(frame_id=WORLD_FRAME)
    base = TransformStamped(header=header, child_frame_id=BASE_FRAME)
    base.transform.translation.x = float(world.world_T_base[0, 3])
    base.transform.translation.y = float(world.world_T_base[1, 3])
    base.transform.rotation.w = 1.0
    assert np.allclose(camera_pose(world, 0), view.world_T_camera)
    static.sendTransform([camera_transform(view, header, CAMERA_FRAME), base])
    ros.spin(replay)
    preset = load_preset("simulation")
    remaps = [w for pair in preset.remappings.items() for w in ("-r", ":=".join(pair))]
    values = {"model": "echo", "auto_activate": False, "target_frame": WORLD_FRAME}
    node = ros.create_node(
        "roborefer",
        ReferNode,
        parameter_overrides=[Parameter(name, value=value) for name, value in values.items()],
        cli_args=["--ros-args", *remaps],
    )
    ros.spin(node, executor=MultiThreadedExecutor(EXECUTOR_THREADS, context=ros.context))
    node.trigger_configure()
    node.trigger_activate()
    height, width = view.instance.shape
    pixels = [answer_pixel(view.instance == FIRST_OBJECT + BOTTLE)]
    pixels.append(tuple(project(view, np.array([*SPOT, 0.0]))[0]))
    words = [f"[({(u + 0.5) / width:.4f}, {(v + 0.5) / height:.4f})]" for u, v in pixels]
    command = [sys.executable, TASK, *words, "--robot", "gripper", "--max-age", "3600"]
    done = subprocess.run(
        [*command, "--plan-only", "--joint-states", "", "--camera", "", "--views", "1"],
        cwd=ROOT, text=True, capture_output=True, timeout=500, check=False,
    )  # fmt: skip
    node.close()
    assert done.returncode == 0, done.stdout + done.stderr
    assert "planned; nothing moved" in done.stdout + done.stderr
