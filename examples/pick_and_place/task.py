# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Pick up what one sentence names and put it where another says.

    python examples/pick_and_place/task.py "pick up the red mug" "the free spot left of the bowl"

How a manipulation stack uses roborefer_ros: ask, look at confidence, flags and covariance, ask
again from another view, plan, check the answer's age, move, look whether something is in the hand;
whatever goes wrong ends with its number and a still arm.
"""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from typing import Any

import numpy as np
import rclpy
from rclpy.time import Time
from rclpy.utilities import remove_ros_args
from robot import Robot, arguments

from roborefer_ros import errors
from roborefer_ros.arm.grasping import Grasp, clear_grasps, plan_grasps, thing_and_others
from roborefer_ros.arm.plans import Step, plan_pick, plan_place
from roborefer_ros.client import ReferPointClient
from roborefer_ros.lifting.orientation import rotation_matrix
from roborefer_ros.types import Mode, PointFlag

#: another view may help where the thing was not seen, or not well; nothing else is asked twice
ANOTHER_VIEW = (
    errors.NoPointInAnswerError, errors.NothingFoundError, errors.LowModelConfidenceError,
    errors.PointOutsideRegionError, errors.NoDepthAtPointError, errors.NoValidDepthError,
    errors.DepthAmbiguousError, errors.GrazingSurfaceError, errors.NotFreeSpaceError,
    errors.LowConfidenceError,
)  # fmt: skip
#: flags of a point that no gripper should go to without another look
DOUBTS = {
    Mode.OBJECT: PointFlag.IN_AIR | PointFlag.SPARSE,
    Mode.FREE_SPACE: PointFlag.IN_AIR | PointFlag.NOT_FLAT | PointFlag.COLOUR_CHANGE
    | PointFlag.UNSEEN | PointFlag.UP_UNKNOWN,
}  # fmt: skip
#: a hand that is closed further holds nothing, metres
EMPTY_M = 0.003


class EmptyHandError(Exception):
    """The hand closed on nothing, as often as was tried."""


class Task:
    """Asks and plans."""

    def __init__(self, options: argparse.Namespace, stop: threading.Event) -> None:
        self.options = options
        self.robot = Robot(options, stop)
        self.client = ReferPointClient(options.action, node=self.robot.node)

    def run(self, what: str, where: str) -> None:
        """Pick and place; raises the numbered error that ended it, with the arm at rest."""
        self.robot.connect()
        self.place(where, self.pick(what))
        self.robot.say("placed" if not self.options.plan_only else "planned; nothing moved")

    def pick(self, what: str) -> Grasp:
        """Get it into the hand; again from another view where the hand stays empty."""
        for first_view in range(self.options.tries):
            result = self.ask(what, Mode.OBJECT, first_view)
            grasp, steps = plan_pick(
                self.robot.arm, self.robot.q(), self.grasps(result), self.offset_m(result)
            )
            self.act(result, steps)
            if self.options.plan_only or self.robot.opening_m() > EMPTY_M:
                return grasp
            self.robot.say("the hand is empty: it has moved, or slipped away")
        raise EmptyHandError(f"the hand is empty after {self.options.tries} tries")

    def place(self, where: str, grasp: Grasp) -> None:
        """Put what is in the hand on a free spot that has room for it."""
        room_m = float(np.clip(grasp.radius_m, 0.03, 0.06))
        self.robot.set_parameter(self.robot.refer_node, "lifting.footprint_radius_m", room_m)
        result = self.ask(where, Mode.FREE_SPACE)
        spot = result.points[0].place_pose.pose.position
        steps = plan_place(
            self.robot.arm, self.robot.q(), grasp, np.array([spot.x, spot.y, spot.z]),
            self.offset_m(result),
        )  # fmt: skip
        self.act(result, steps)

    def ask(self, words: str, mode: Mode, first_view: int = 0) -> Any:
        """An answer to act on; from several views, until one is good enough."""
        failure: errors.RoboReferError | None = None
        for number in range(self.options.views):
            self.robot.look_from((first_view + number) % self.options.views)
            self.robot.check()
            goal = self.client.send(
                words, mode=mode, target_frame=self.options.world_frame, timeout_s=60.0
            )
            try:
                self.robot.wait_until(goal.done, 120.0, "no answer")
                result = goal.result()
                self.doubt(result.points[0], mode)
            except ANOTHER_VIEW as error:
                self.robot.say(f"view {number}: {words!r}: error {error.code}: {error}")
                failure = failure or error
                continue
            except BaseException:
                goal.cancel()
                raise
            confidence = result.points[0].confidence
            self.robot.say(f"view {number}: {words!r}: confidence {confidence:.2f}")
            return result
        assert failure is not None
        raise failure

    def doubt(self, point: Any, mode: Mode) -> None:
        """Raise where a point is not to be acted on."""
        sigma_m = float(np.sqrt(np.array(point.covariance).reshape(6, 6).diagonal()[:3].max()))
        flags = PointFlag(point.flags)
        if flags & PointFlag.OUT_OF_WORKSPACE:
            raise errors.OutOfWorkspaceError("the point lies outside the workspace")
        if point.confidence < self.options.confidence or flags & DOUBTS[mode] or sigma_m > 0.02:
            raise errors.LowConfidenceError(
                f"confidence {point.confidence:.2f} (wanted {self.options.confidence:g}), "
                f"flags {flags!r}, {1e3 * sigma_m:.0f} mm of standard deviation"
            )

    def grasps(self, result: Any) -> list[Grasp]:
        """Ways to hold the thing: around its readings, else the answer's candidates from above."""
        camera = self.robot.pose(self.options.camera_frame)[:3, 3]
        p = result.points[0].pose.pose.position
        segment = self.robot.cloud("target_segment", result.image_stamp)
        around = self.robot.cloud("target_cloud", result.image_stamp)
        thing, others = thing_and_others(segment, around, (p.x, p.y, p.z))
        try:
            return clear_grasps(plan_grasps(thing, camera), others)
        except errors.NoDepthAtPointError:
            found = [self.from_above(one.pose.pose) for one in result.candidates]
            if not any(found):
                raise
            return [grasp for grasp in found if grasp is not None]

    @staticmethod
    def from_above(pose: Any) -> Grasp | None:
        """A candidate as a grasp; None where it does not come from above."""
        p, q = pose.position, pose.orientation
        turn = rotation_matrix([q.x, q.y, q.z, q.w])  # x approaches, y closes
        if turn[2, 0] > -0.95:
            return None
        tip = np.array([p.x, p.y, max(p.z - 0.02, 0.01)])
        closing = turn[:2, 1] / np.linalg.norm(turn[:2, 1])
        return Grasp(tip, closing, float("nan"), tip[:2], 0.04, False)

    @staticmethod
    def offset_m(result: Any) -> float:
        """Distance of the pre-grasp or pre-place pose, as the node is set."""
        a, b = result.points[0].pose.pose.position, result.points[0].pre_pose.pose.position
        return float(np.linalg.norm([a.x - b.x, a.y - b.y, a.z - b.z])) or 0.10

    def act(self, result: Any, steps: list[Step]) -> None:
        """Move, unless what the camera saw is too old: it may have moved since."""
        age_s = self.robot.now_s() - 1e-9 * Time.from_msg(result.image_stamp).nanoseconds
        if age_s > self.options.max_age:
            raise errors.DeadlineExceededError(
                f"the pose is {age_s:.1f} s old; at most {self.options.max_age:g} s are acted on"
            )
        if not self.options.plan_only:
            self.robot.move(steps)


def main() -> int:
    """Run the task; the exit status is 1 where it ended with a number."""
    options = arguments(__doc__).parse_args(remove_ros_args(sys.argv)[1:])
    rclpy.init(args=sys.argv)
    stop, task = threading.Event(), None
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    try:
        task = Task(options, stop)
        task.run(options.what, options.where)
    except (errors.RoboReferError, EmptyHandError) as error:
        print(f"error {getattr(error, 'code', '')}: {error}", file=sys.stderr)
        return 1
    finally:
        if task is not None:
            task.client.close()
            task.robot.close()
        rclpy.try_shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
