# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The main job on one page: a frame and an instruction become points in space.

frame -> relative depth -> pointer -> 2D points -> lifting -> ReferResult
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from roborefer_ros.answer_policy import AnswerPolicy, check_2d, check_confidence, check_up
from roborefer_ros.cancellation import Cancellation
from roborefer_ros.errors import (
    DepthNetworkRequiredError,
    InstructionTooLongError,
    InvalidInstructionError,
    RoboReferError,
)
from roborefer_ros.lifting import LiftingOptions, is_aligned, lift_point, register_depth
from roborefer_ros.pointing.bundled import is_bundled
from roborefer_ros.pointing.calibration import JUST_BELOW, UNCALIBRATED, Calibration
from roborefer_ros.pointing.depth_input import relative_depth_from_metric
from roborefer_ros.pointing.mode import InstructionReading, read_instruction
from roborefer_ros.pointing.pointer import Pointer
from roborefer_ros.pointing.prediction import Prediction
from roborefer_ros.pointing.reasoning import moved_steps
from roborefer_ros.pointing.region import Crop
from roborefer_ros.types import (
    Mode,
    Pixel,
    PointFlag,
    ReferredPoint,
    ReferResult,
    RejectedPoint,
    ResultWarning,
    RGBDFrame,
    Think,
)

#: RGB ``[H, W, 3]`` uint8 -> relative inverse depth ``[H, W]`` uint8
DepthEstimator = Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.uint8]]

#: names of the stages that ``on_stage`` reports, in order
STAGES = ("depth", "infer", "lift")

DEFAULT_MAX_INSTRUCTION_LENGTH = 2000


def check_instruction(text: str, max_length: int = DEFAULT_MAX_INSTRUCTION_LENGTH) -> str:
    """Return the instruction without surrounding blanks and control characters.

    Raises:
        InvalidInstructionError: nothing is left.
        InstructionTooLongError: more than ``max_length`` characters.
    """
    if len(text) > max_length:
        raise InstructionTooLongError(
            f"the instruction has {len(text)} characters, at most {max_length} are allowed "
            "(parameter max_instruction_length); say it shorter"
        )
    cleaned = "".join(c if c.isprintable() else " " for c in text).strip()
    if not cleaned:
        raise InvalidInstructionError(
            'the instruction is empty; say what to find, e.g. "the red mug left of the box"'
        )
    return cleaned


def pixel_from_normalised(
    point: tuple[float, float], width: int, height: int
) -> tuple[Pixel, PointFlag]:
    """Map a normalised point to a pixel: ``u = x * width - 0.5``, kept inside the image.

    A coordinate of exactly 1.0 lies on the image's far edge, outside the last pixel; it is
    moved there and flagged, since models do write 1.0.
    """
    x, y = point
    flag = PointFlag.CLAMPED if x >= 1.0 or y >= 1.0 else PointFlag.NONE
    u = min(max(x * width - 0.5, 0.0), width - 1.0)
    v = min(max(y * height - 0.5, 0.0), height - 1.0)
    return (u, v), flag


def warnings_of(reading: InstructionReading, is_demo: bool) -> ResultWarning:
    """What the asker should know besides the points.

    Args:
        reading: What was asked for.
        is_demo: Whether the bundled network answered.
    """
    warnings = ResultWarning.TWO_STEPS if reading.two_steps else ResultWarning.NONE
    return warnings | ResultWarning.DEMO_MODEL if is_demo else warnings


@dataclass(frozen=True)
class ReferPipeline:
    """Answers instructions with points in the camera's optical frame; keeps nothing of a goal.

    Attributes:
        pointer: Model that points.
        depth_estimator: Maker of the model's depth picture from RGB (the reference's way);
            None converts the sensor's depth instead.
        depth_name: Name of that estimator, for results.
        require_depth: Whether an answer is refused that a server gave from RGB alone although it
            was to make the depth picture.
        calibration: Confidence of a point from the model's and the geometry's.
        is_demo: Whether the model is the bundled network, which knows simulated scenes only.
    """

    pointer: Pointer
    depth_estimator: DepthEstimator | None = None
    depth_name: str = "depth network"
    calibration: Calibration = UNCALIBRATED
    is_demo: bool = False
    require_depth: bool = False

    def refer(
        self,
        frame: RGBDFrame,
        instruction: str,
        mode: Mode = Mode.AUTO,
        *,
        reading: InstructionReading | None = None,
        lifting: LiftingOptions = LiftingOptions(),  # noqa: B008 (frozen)
        policy: AnswerPolicy = AnswerPolicy(),  # noqa: B008 (frozen)
        cancellation: Cancellation = Cancellation(),  # noqa: B008 (frozen)
        on_text: Callable[[str], None] | None = None,
        on_stage: Callable[[str], None] = lambda _: None,
        think: Think = Think.AUTO,
    ) -> ReferResult:
        """Answer one instruction on one frame.

        Args:
            frame: Observation.
            instruction: What to find, in words, as ``check_instruction`` returns it.
            mode: Object or free space, or let the words decide (``pointing.mode``).
            reading: What the words ask for, where they have been read already; wins over ``mode``.
            lifting: Thresholds of the lifting to 3D, with the direction of gravity where known.
            policy: Rules that the points must meet.
            cancellation: Deadline and cancel flag; looked at between stages and between tokens.
            on_text: Receives the model's text as it grows.
            on_stage: Receives each stage's name (see ``STAGES``) as it begins.
            think: Whether the model is asked to reason; AUTO is as it was opened.

        Returns:
            The points in ``frame.frame_id`` and those that were rejected, with the reasons;
            ``ReferResult.failure`` tells whether that is an answer.

        Raises:
            RoboReferError: one of its numbered subclasses, where there is no point at all.
                All carry the mode.
        """
        reading = reading or read_instruction(instruction, mode)
        try:
            return self._refer(
                frame,
                instruction,
                reading,
                lifting,
                policy,
                cancellation=cancellation,
                on_text=on_text,
                on_stage=on_stage,
                think=think,
            )
        except RoboReferError as error:
            error.mode, error.mode_reason = reading.mode, reading.reason
            raise

    def _refer(
        self,
        frame: RGBDFrame,
        instruction: str,
        reading: InstructionReading,
        lifting: LiftingOptions,
        policy: AnswerPolicy,
        *,
        cancellation: Cancellation,
        on_text: Callable[[str], None] | None,
        on_stage: Callable[[str], None],
        think: Think,
    ) -> ReferResult:
        """See ``refer``; the mode is known."""

        def enter(stage: str) -> float:
            cancellation.check()
            on_stage(stage)
            return time.perf_counter()

        check_up(reading.mode, lifting, policy)
        timings: dict[str, float] = {}
        crop = policy.crop(frame.width, frame.height)
        rows, columns = crop.slices if crop else (slice(None), slice(None))
        rgb = np.ascontiguousarray(frame.rgb[rows, columns])

        started = enter("depth")
        relative_depth, depth_used = self._relative_depth(frame, rgb, (rows, columns), lifting)
        timings["depth"] = time.perf_counter() - started

        enter("infer")
        answer = self.pointer.point(
            rgb,
            relative_depth,
            instruction,
            max_points=policy.max_points,
            cancellation=cancellation,
            on_text=on_text,
            think=think,
        )
        timings.update(answer.timings_s)
        self._check_depth(answer)
        if crop is not None:
            answer = _over_the_whole(answer, crop)

        started = enter("lift")
        is_demo = self.is_demo or is_bundled(answer.model)
        points, rejected = lift_answer(
            frame,
            answer,
            reading,
            lifting=lifting,
            policy=policy,
            calibration=self.calibration,
            is_demo=is_demo,
        )
        timings["lift"] = time.perf_counter() - started
        return ReferResult(
            points,
            answer.text,
            frame.frame_id,
            frame.stamp_ns,
            timings,
            mode=reading.mode,
            mode_reason=reading.reason,
            warnings=warnings_of(reading, is_demo),
            rejected=rejected,
            depth_used=answer.depth_used or depth_used,
            reasoning=answer.reasoning,
            steps=answer.steps,
        )

    def close(self) -> None:
        """Free the model."""
        self.pointer.close()

    def _check_depth(self, answer: Prediction) -> None:
        """Refuse what a server answered from RGB alone although depth was asked for.

        Raises:
            DepthNetworkRequiredError: that is the case, and ``require_depth`` is set.
        """
        if self.require_depth and answer.depth_used == "none":
            error = DepthNetworkRequiredError(
                f"the server behind {self.pointer.name} has no depth network and answered from RGB "
                "alone; start it with --depth-network, send it the picture (depth=given in the "
                "model's spec), or set require_depth to false"
            )
            error.answer = answer.text
            raise error

    def _relative_depth(
        self,
        frame: RGBDFrame,
        rgb: npt.NDArray[np.uint8],
        window: tuple[slice, slice],
        lifting: LiftingOptions,
    ) -> tuple[npt.NDArray[np.uint8] | None, str]:
        """The picture that the model sees of the depth, and where it came from."""
        if not self.pointer.uses_depth:
            return None, "none"
        if self.depth_estimator is not None:
            return self.depth_estimator(rgb), self.depth_name
        if is_aligned(frame):
            return relative_depth_from_metric(frame.depth.metres(*window)), "sensor"
        # The model sees colour and depth as one picture: both must show the same pixel grid.
        return relative_depth_from_metric(register_depth(frame, lifting)[window]), "sensor"


def _over_the_whole(answer: Prediction, crop: Crop) -> Prediction:
    """What a model said of a part of the image, over the whole image."""
    points = tuple(crop.to_whole(point) for point in answer.points)
    return replace(answer, points=points, steps=moved_steps(answer.steps, crop.to_whole))


def lift_answer(
    frame: RGBDFrame,
    answer: Prediction,
    reading: InstructionReading,
    *,
    lifting: LiftingOptions,
    policy: AnswerPolicy,
    calibration: Calibration = UNCALIBRATED,
    is_demo: bool = False,
) -> tuple[tuple[ReferredPoint, ...], tuple[RejectedPoint, ...]]:
    """Lift each 2D point of a model's answer; those that cannot be, or break a rule, are rejected.

    Args:
        frame: Observation.
        answer: The model's points over the whole image.
        reading: What was asked for.
        lifting: Thresholds of the lifting to 3D, with the direction of gravity where known.
        policy: Rules that the points must meet.
        calibration: That of the model.
        is_demo: Whether the bundled network answered.
    """
    lifted: list[ReferredPoint] = []
    rejected: list[RejectedPoint] = []
    kept = answer.points[: policy.max_points] if policy.max_points else answer.points
    for index, normalised in enumerate(kept):
        pixel, flag = pixel_from_normalised(normalised, frame.width, frame.height)
        flag |= PointFlag.DEMO_MODEL if is_demo else PointFlag.NONE
        trust = answer.confidences[index] if answer.confidences else None
        try:
            check_2d(normalised, trust, policy)
            point = lift_point(frame, pixel, lifting, reading.mode)
            referred = point.to_referred(pixel, normalised, frame.frame_id)
            referred = replace(referred, flags=referred.flags | flag, index=index)
            referred = _trusted(referred, trust, reading.mode, lifting, calibration)
            check_confidence(referred, policy)
        except RoboReferError as error:
            error.answer = answer.text
            error.mode, error.mode_reason = reading.mode, reading.reason
            rejected.append(RejectedPoint(pixel, normalised, error, trust, index))
            continue
        lifted.append(referred)
    return tuple(lifted), tuple(rejected)


def _trusted(
    point: ReferredPoint,
    trust: float | None,
    mode: Mode,
    lifting: LiftingOptions,
    calibration: Calibration,
) -> ReferredPoint:
    """The point with its three confidences and what follows from how it was found."""
    flags, geometry = point.flags, point.confidence
    if mode == Mode.FREE_SPACE and lifting.up is None:
        flags |= PointFlag.UP_UNKNOWN
        geometry = min(geometry, JUST_BELOW)
    both = calibration.confidence(trust, geometry, mode)
    if flags & PointFlag.UP_UNKNOWN:
        both = min(both, JUST_BELOW)
    return replace(
        point,
        flags=flags,
        confidence=both,
        model_confidence=trust,
        geometry_confidence=geometry,
    )
