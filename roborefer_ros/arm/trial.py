# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""One pick and one place from words, judged by what physics made of it.

The same steps as the task node's, in one process, so that a trial is the same in every run.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
import numpy.typing as npt

from roborefer_ros.arm.camera import frame_of, view_of
from roborefer_ros.arm.execution import ArmBlockedError, execute
from roborefer_ros.arm.grasping import WIDEST_M, Grasp, clear_grasps, plan_grasps
from roborefer_ros.arm.plans import plan_pick, plan_place
from roborefer_ros.arm.world import ArmWorld, tilt_rad
from roborefer_ros.errors import RoboReferError
from roborefer_ros.simulation.geometry import answer_pixel, project
from roborefer_ros.simulation.instructions import Question, make_questions
from roborefer_ros.simulation.rendering import FIRST_OBJECT, TABLE, RenderedView
from roborefer_ros.simulation.scenes import SceneObject, sample_scene
from roborefer_ros.types import Mode, RGBDFrame

Array = npt.NDArray[np.float64]

#: seed of the scenes, apart from those of training and of ``simulation.held_out``
TRIAL_SEED = 2_000_000
#: why a half of a trial fails
CAUSES = ("pointing", "lifting", "placing check", "grasp", "reach", "motion")
#: the camera's views that are tried, where an answer is refused or not confident
_VIEWS = (0, 1, 2)
#: the confidence from which an answer is acted on at once
_CONFIDENT = 0.5
#: a thing counts as placed within this of where it was to stand, metres
PLACED_WITHIN_M = 0.03
#: others may be nudged by so much, metres and radians
_NUDGED_M, _NUDGED_RAD = 0.02, 0.35
_UPRIGHT_RAD = 0.26
#: a thing that is held is at least so high, metres
_LIFTED_M = 0.10
#: room between what is placed and what stands around, metres
_ROOM_M = 0.015


@dataclass(frozen=True)
class Target:
    """Where a method says to act, in the world.

    Attributes:
        pixel: ``(u, v)`` of the image.
        position_m: ``[3]``.
        points: ``[N, 3]`` readings of the thing.
        others: ``[N, 3]`` readings of what is around.
        confidence: Of the point, [0, 1].
        rotation: ``[3, 3]`` of the approach pose, x axis along the approach.
        view: That the answer is of.
    """

    pixel: tuple[float, float]
    position_m: Array
    points: Array
    others: Array
    confidence: float
    rotation: Array
    view: RenderedView


class Method(Protocol):
    """A way from words and a frame to a target."""

    def locate(
        self, frame: RGBDFrame, view: RenderedView, question: Question, footprint_m: float
    ) -> Target:
        """Find what a question asks for.

        Raises:
            RoboReferError: there is no answer.
        """


@dataclass(frozen=True)
class Outcome:
    """How one half of a trial, a pick or a place, ended.

    Attributes:
        half: "pick" or "place".
        kind: Of the question.
        instruction: What was said.
        cause: "" on success; else one of ``CAUSES``.
        detail: What happened.
        confidence: Of the point; NaN where there was none.
        seconds: Per stage: "answer" (of this machine), "motion" (simulated).
    """

    half: str
    kind: str
    instruction: str
    cause: str
    detail: str = ""
    confidence: float = float("nan")
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether it succeeded."""
        return not self.cause


class TrialScene:
    """A world with a question that asks for a thing which the hand can hold.

    Args:
        number: Of the scene; the same number is the same scene, question and noise.
        robot: Of ``open_robot``.
    """

    def __init__(self, number: int, robot: str) -> None:
        self.number = number
        self.rng = np.random.default_rng((TRIAL_SEED, number, 1))
        for attempt in range(50):
            scene = sample_scene(np.random.default_rng((TRIAL_SEED, number, 0, attempt)))
            self.world = ArmWorld(scene, robot)
            self.arm = self.world.arm
            self.view = view_of(self.world)
            questions = make_questions(self.world.scene_now(), self.view, self.rng, 12)
            for question in questions:
                if question.mode == Mode.OBJECT and self._can_hold(question):
                    self.question = question
                    return
        raise RuntimeError(f"no question for scene {number}")

    def _can_hold(self, question: Question) -> bool:
        """Whether the thing fits the hand and stands where the arm reaches, in truth."""
        item = self.world.scene.objects[_number(question)]
        if not fits_hand(item):
            return False
        tip = np.array([item.x, item.y, 0.5 * item.height])
        sideways = np.array([1.0, 0.0])
        held = Grasp(tip, sideways, 0.05, tip[:2], item.radius, False)
        try:
            plan_pick(self.arm, self.world.q, [held, replace(held, closing=np.array([0.0, 1.0]))])
        except RoboReferError:
            return False
        return True


def fits_hand(item: SceneObject) -> bool:
    """Whether a jaw from above can hold a thing: it is narrow, or has a rim over its foot."""
    if item.shape in ("mug", "bowl", "bottle", "cone"):
        return True
    if item.shape == "plate":
        return False
    return 2.0 * (item.depth if item.shape == "box" else item.radius) <= WIDEST_M - 0.004


def run_trial(
    trial: TrialScene,
    method: Method,
    *,
    on_tick: Callable[[str], None] = lambda _: None,
    on_answer: Callable[[Question, Target], None] = lambda *_: None,
) -> list[Outcome]:
    """A pick and, where it succeeds and there is a free spot, a place.

    Args:
        trial: Fresh.
        method: What answers.
        on_tick: Called every 10 ms of simulated time with the stage.
        on_answer: Called with each question and its answer.
    """
    world, question = trial.world, trial.question
    number = _number(question)
    started_s = time.perf_counter()
    try:
        target, view, question = _ask(trial, method, trial.view, question, 0.05)
    except RoboReferError as error:
        return [_failed("pick", question, "lifting", f"error {error.code}: {error}")]
    seconds = {"answer": time.perf_counter() - started_s}
    on_answer(question, target)
    right = _inside(question, target.pixel)
    wrong_cause = "grasp" if right else "pointing"
    before, start_s = world.poses(), world.time_s
    try:
        ways = plan_grasps(target.points, view.world_T_camera[:3, 3])
        grasp, steps = plan_pick(trial.arm, world.q, clear_grasps(ways, target.others))
        execute(world, steps, on_tick)
    except RoboReferError as error:
        cause = "pointing" if not right else "reach" if "reach" in str(error) else "grasp"
        return [_failed("pick", question, cause, f"error {error.code}: {error}", target)]
    except ArmBlockedError as error:
        return [_failed("pick", question, "motion" if right else "pointing", str(error), target)]
    seconds["motion"] = world.time_s - start_s
    if not world.holds(number) or world.pose(number)[2, 3] < _LIFTED_M:
        return [_failed("pick", question, wrong_cause, "it is not in the hand", target)]
    fallen = _disturbed(world, before, number)
    if fallen:
        return [_failed("pick", question, "motion", f"knocked over: {fallen}", target)]
    picked = _done("pick", question, target, seconds)
    placed = _place(trial, method, number, grasp, on_tick, on_answer)
    return [picked] if placed is None else [picked, placed]


def _place(
    trial: TrialScene,
    method: Method,
    number: int,
    grasp: Grasp,
    on_tick: Callable[[str], None],
    on_answer: Callable[[Question, Target], None],
) -> Outcome | None:
    """Put it on a free spot; None where no spot can be spoken of."""
    world = trial.world
    view = view_of(world)
    question = _place_question(trial, view, number, grasp)
    if question is None:
        return None
    started_s = time.perf_counter()
    footprint_m = min(max(grasp.radius_m, 0.03), 0.06)
    try:
        target, view, question = _ask(trial, method, view, question, footprint_m)
    except RoboReferError as error:
        cause = "placing check" if error.code == 2565 else "lifting"
        return _failed("place", question, cause, f"error {error.code}: {error}")
    seconds = {"answer": time.perf_counter() - started_s}
    on_answer(question, target)
    right = _inside(question, target.pixel)
    before, start_s = world.poses(), world.time_s
    try:
        execute(world, plan_place(trial.arm, world.q, grasp, target.position_m), on_tick)
    except RoboReferError as error:
        cause = "reach" if right else "pointing"
        return _failed("place", question, cause, f"error {error.code}: {error}", target)
    except ArmBlockedError as error:
        return _failed("place", question, "motion" if right else "pointing", str(error), target)
    world.run(0.5)
    seconds["motion"] = world.time_s - start_s
    pose = world.pose(number)
    off_m = float(np.linalg.norm(pose[:2, 3] - target.position_m[:2]))
    fallen = _disturbed(world, before, number)
    is_ball = world.scene.objects[number].shape == "ball"
    reasons = []
    if off_m > PLACED_WITHIN_M:
        reasons.append(f"{1e3 * off_m:.0f} mm off")
    if not is_ball and tilt_rad(pose) > _UPRIGHT_RAD:
        reasons.append(f"tilted by {np.degrees(tilt_rad(pose)):.0f} degrees")
    if not is_ball and abs(pose[2, 3]) > 0.01:
        reasons.append("not on the table")
    if fallen:
        reasons.append(f"knocked over: {fallen}")
    if not right:
        reasons.insert(0, "another spot than asked for")
    if reasons:
        return _failed(
            "place", question, "motion" if right else "pointing", ", ".join(reasons), target
        )
    return _done("place", question, target, seconds)


def _place_question(
    trial: TrialScene, view: RenderedView, number: int, grasp: Grasp
) -> Question | None:
    """A free spot that has room for the thing and that the arm reaches as it holds it."""
    world = trial.world
    held = world.scene.objects[number]
    # the thing in the hand is not on the table; its instance stays that of the picture
    scene = world.scene_now()
    away = replace(scene.objects[number], x=-5.0, y=-5.0)
    objects = tuple(away if i == number else item for i, item in enumerate(scene.objects))
    scene = replace(scene, objects=objects)
    rng = np.random.default_rng((TRIAL_SEED, trial.number, 2))
    for question in make_questions(scene, view, rng, 30):
        if question.mode != Mode.FREE_SPACE:
            continue
        spot = view.points_world()[question.pixel[1], question.pixel[0]].astype(np.float64)
        gaps = [
            np.hypot(item.x - spot[0], item.y - spot[1]) - item.footprint_m
            for item in objects
            if item is not away
        ]
        if min(gaps, default=1.0) < held.footprint_m + _ROOM_M:
            continue
        try:
            plan_place(trial.arm, world.q, grasp, np.array([spot[0], spot[1], 0.0]))
        except RoboReferError:
            continue
        return question
    return None


def _ask(
    trial: TrialScene, method: Method, view: RenderedView, question: Question, footprint_m: float
) -> tuple[Target, RenderedView, Question]:
    """Ask until an answer is confident, from other views where it is not; else the best one.

    Raises:
        RoboReferError: no view has an answer; that of the first one.
    """
    best: tuple[Target, RenderedView, Question] | None = None
    failure: RoboReferError | None = None
    for number in _VIEWS:
        seen = view_of(trial.world, view=number) if number else view
        asked = _seen_from(question, view, seen) if number else question
        if asked is None:
            continue
        try:
            target = method.locate(frame_of(seen, trial.rng), seen, asked, footprint_m)
        except RoboReferError as error:
            failure = failure or error
            continue
        if best is None or target.confidence > best[0].confidence:
            best = target, seen, asked
        if target.confidence >= _CONFIDENT:
            break
    if best is None:
        assert failure is not None
        raise failure
    return best


def _seen_from(question: Question, view: RenderedView, other: RenderedView) -> Question | None:
    """The question with its right answers in another view; None where it does not show them."""
    height, width = other.instance.shape
    if question.target_instance is not None:
        mask = other.instance == question.target_instance
        if mask.sum() < 40:
            return None
        return replace(question, mask=mask, pixel=answer_pixel(mask))
    u, v = question.pixel
    spot = view.points_world()[v, u].astype(np.float64)
    right = view.points_world()[question.mask]
    radius_m = float(np.percentile(np.linalg.norm(right - spot, axis=1), 95))
    u, v = (int(value) for value in np.rint(project(other, spot)[0]))
    if not (0 <= u < width and 0 <= v < height) or other.instance[v, u] != TABLE:
        return None
    near = np.linalg.norm(other.points_world() - spot, axis=-1) <= radius_m
    return replace(question, mask=near & (other.instance == TABLE), pixel=(u, v))


def _number(question: Question) -> int:
    assert question.target_instance is not None
    return question.target_instance - FIRST_OBJECT


def _inside(question: Question, pixel: tuple[float, float]) -> bool:
    u, v = round(pixel[0]), round(pixel[1])
    height, width = question.mask.shape
    return bool(0 <= u < width and 0 <= v < height and question.mask[v, u])


def _disturbed(world: ArmWorld, before: list[Array], but: int) -> str:
    """The other things that were moved or knocked over, in words."""
    found = []
    for number, (old, new) in enumerate(zip(before, world.poses(), strict=True)):
        moved = float(np.linalg.norm(new[:3, 3] - old[:3, 3]))
        item = world.scene.objects[number]
        # a ball has no upright
        tilted = item.shape != "ball" and tilt_rad(new) - tilt_rad(old) > _NUDGED_RAD
        if number != but and (moved > _NUDGED_M or tilted):
            found.append(f"{item.colour} {item.shape} ({1e3 * moved:.0f} mm)")
    return ", ".join(found)


def _failed(
    half: str, question: Question, cause: str, detail: str, target: Target | None = None
) -> Outcome:
    confidence = float("nan") if target is None else target.confidence
    return Outcome(half, question.kind, question.instruction, cause, detail, confidence)


def _done(half: str, question: Question, target: Target, seconds: dict[str, float]) -> Outcome:
    return Outcome(
        half, question.kind, question.instruction, "", "", target.confidence, dict(seconds)
    )
