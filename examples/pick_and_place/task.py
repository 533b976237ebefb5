# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Pick up what one sentence names and put it where another says.

    python examples/pick_and_place/task.py "pick up the red mug" "the free spot left of the bowl"

How a manipulation stack uses roborefer_ros: ask, look at the confidence, ask again from another
view, plan, check the answer's age, move; whatever goes wrong ends with its number and a still arm.
"""

from __future__ import annotations

import argparse
import signal
import sys
from typing import Any

import numpy as np
import rclpy
from rclpy.time import Time
from robot import CAMERA_FRAME, WORLD_FRAME, Robot
from sensor_msgs.msg import PointCloud2

from roborefer_ros.arm.grasping import plan_grasps
from roborefer_ros.arm.plans import plan_pick, plan_place
from roborefer_ros.client import ReferPointClient
from roborefer_ros.errors import DeadlineExceededError, LowConfidenceError, RoboReferError
from roborefer_ros.types import Mode

#: an answer that is less sure is asked for again
CONFIDENT = 0.5


class Task:
    """Asks and plans; ``robot.cancel`` may be called from any thread."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.robot = Robot(options)
        self.client = ReferPointClient(options.action, node=self.robot.node)
        self._segment: PointCloud2 | None = None
        segment = options.action.rpartition("/")[0] + "/target_segment"
        self.robot.node.create_subscription(PointCloud2, segment, self._on_segment, 2)

    def run(self, what: str, where: str) -> None:
        """Pick and place; raises the numbered error that ended it, with the arm at rest."""
        result, readings = self.ask(what, Mode.OBJECT)
        grasps = plan_grasps(readings, self.robot.pose(CAMERA_FRAME)[:3, 3])
        grasp, steps = plan_pick(self.robot.arm, self.robot.q(), grasps, self._offset(result))
        self.refuse_old(result)
        self.robot.move(steps)
        self.robot.say(f"holding it by {1e3 * grasp.width_m:.0f} mm")
        result, _ = self.ask(where, Mode.FREE_SPACE)
        p = result.points[0].pose.pose.position
        steps = plan_place(self.robot.arm, self.robot.q(), grasp, np.array([p.x, p.y, p.z]))
        self.refuse_old(result)
        self.robot.move(steps)
        self.robot.say("placed")

    def ask(self, words: str, mode: Mode) -> tuple[Any, np.ndarray]:
        """A confident answer and the readings of its thing; from up to three views."""
        best: Any = None
        failure: RoboReferError | None = None
        for view in range(self.options.views):
            self.robot.look_from(view)
            self.robot.check()
            self._segment = None
            try:
                result = self.client.refer(
                    words, mode=mode, target_frame=WORLD_FRAME, timeout_s=60.0
                )
            except RoboReferError as error:
                failure = failure or error
                if not 2544 <= error.code < 2580:
                    raise  # the camera, the node or the words: another view does not help
                continue
            point = result.points[0]
            self.robot.say(f"{words!r}: confidence {point.confidence:.2f}, flags {point.flags:#x}")
            if point.confidence >= CONFIDENT:
                return result, self._readings(result) if mode == Mode.OBJECT else np.zeros((0, 3))
            best = result
        if best is None and failure is not None:
            raise failure
        raise LowConfidenceError(f"no view gave a point with a confidence of {CONFIDENT}")

    def refuse_old(self, result: Any) -> None:
        """Refuse to act on what the camera saw too long ago: it may have moved since."""
        age_s = (
            1e-9
            * (self.robot.node.get_clock().now() - Time.from_msg(result.image_stamp)).nanoseconds
        )
        if age_s > self.options.max_age:
            raise DeadlineExceededError(
                f"the pose is {age_s:.1f} s old; at most {self.options.max_age:g} s are acted on"
            )

    def close(self) -> None:
        """End the threads."""
        self.client.close()
        self.robot.close()

    def _offset(self, result: Any) -> float:
        """Distance of the pre-grasp pose, as the node is set."""
        a, b = result.points[0].pose.pose.position, result.points[0].pre_pose.pose.position
        return float(np.linalg.norm([a.x - b.x, a.y - b.y, a.z - b.z])) or 0.10

    def _readings(self, result: Any) -> np.ndarray:
        """``[N, 3]`` of the thing: the segment that belongs to the answer."""
        self.robot.wait_until(
            lambda: self._segment and self._segment.header.stamp == result.image_stamp, 5.0
        )
        cloud: Any = self._segment
        rows = np.frombuffer(bytes(cloud.data), np.uint8).reshape(-1, cloud.point_step)
        return rows[:, :12].copy().view("<f4").astype(np.float64)

    def _on_segment(self, message: PointCloud2) -> None:
        self._segment = message


def main() -> int:
    """Run the task; the exit status is 1 where it ended with a number."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("what", help="what to pick up, in words")
    parser.add_argument("where", help="where to put it, in words")
    parser.add_argument("--action", default="/roborefer/refer_point")
    parser.add_argument("--robot", default="auto", help="panda or gripper")
    parser.add_argument("--joint-command", default="/joint_command")
    parser.add_argument("--joint-states", default="/joint_states")
    parser.add_argument("--camera", default="/camera", help="simulated camera; '' for a real one")
    parser.add_argument("--views", type=int, default=3, help="from how many to ask")
    parser.add_argument("--max-age", type=float, default=10.0, help="of a pose, seconds")
    rclpy.init()
    task = None
    try:
        task = Task(parser.parse_args())
        signal.signal(signal.SIGTERM, lambda *_: task.robot.cancel())
        signal.signal(signal.SIGINT, lambda *_: task.robot.cancel())
        task.run(task.options.what, task.options.where)
    except RoboReferError as error:
        print(f"error {error.code}: {error}", file=sys.stderr)
        return 1
    finally:
        if task is not None:
            task.close()
        rclpy.try_shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
