# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""What is done for one goal: camera frame, pipeline, transform, result."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from roborefer_ros.answer_policy import AnswerPolicy, within_workspace
from roborefer_ros.errors import (
    FrameMismatchError,
    ModelOutOfMemoryError,
    RoboReferError,
    SizeMismatchError,
    TransformExtrapolationError,
    TransformUnavailableError,
)
from roborefer_ros.lifting import LiftingOptions
from roborefer_ros.lifting.temporal import DepthHistory
from roborefer_ros.lifting.tool_poses import ToolConvention
from roborefer_ros.nodes.camera_subscriber import CameraSubscriber
from roborefer_ros.nodes.camera_topics import DEPTH_INFO, CameraMessages
from roborefer_ros.nodes.compressed_images import decompressed
from roborefer_ros.nodes.conversions import (
    check_frame_ids,
    frame_from_messages,
    result_message,
    stamp_ns,
)
from roborefer_ros.nodes.imu_input import Gravity, ImuInput
from roborefer_ros.nodes.parameters import NodeOptions
from roborefer_ros.nodes.refer_goal import Outcome, ReferGoal
from roborefer_ros.nodes.transforms import (
    UPRIGHT_FRAMES,
    Transforms,
    body_frame_warning,
    frame_name,
    move_point,
)
from roborefer_ros.pipeline import ReferPipeline, check_instruction
from roborefer_ros.pointing.mode import InstructionReading, read_instruction
from roborefer_ros.pointing.region import Region
from roborefer_ros.types import Mode, ReferResult, RGBDFrame, Think

Direction = tuple[float, float, float]

#: transforms below these leave depth aligned with colour
_SAME_PLACE_M = 0.0005
_SAME_DIRECTION = 1e-3
#: intrinsics that differ by less are those of one camera
_SAME_FOCAL, _SAME_CENTRE_PX = 0.005, 2.0
#: longest wait for the camera's pose at each frame of a median, seconds
_POSE_WAIT_S = 0.1


@dataclass(frozen=True)
class Answer:
    """A finished goal, for whoever draws it.

    Attributes:
        frame: the observation.
        camera: the points in the camera's frame.
        target: the points in the requested frame.
        instruction: Instruction of the goal.
        options: the parameters that it was answered with; ``options.lifting`` holds the goal's up.
        target_T_camera: ``[4, 4]`` pose of the camera in that frame; None where it is the same.
    """

    frame: RGBDFrame
    camera: ReferResult
    target: ReferResult
    instruction: str
    options: NodeOptions
    target_T_camera: npt.NDArray[np.float64] | None = None


@dataclass(frozen=True)
class NodeParts:
    """What the goals of one activation share.

    Attributes:
        camera: Source of frames.
        transforms: Source of transforms.
        pipeline: Model and lifting.
        imu: Source of gravity, where the camera has one.
    """

    camera: CameraSubscriber
    transforms: Transforms
    pipeline: ReferPipeline
    imu: ImuInput | None = None


def policy_of(request: Any, options: NodeOptions) -> AnswerPolicy:
    """The rules of a goal: its own, else those of the parameters.

    Raises:
        InvalidGoalError: a field is out of its range.
    """
    return AnswerPolicy(
        max_points=int(request.max_points),
        min_confidence=request.min_confidence or options.min_confidence,
        min_model_confidence=request.min_model_confidence or options.min_model_confidence,
        accept_partial=bool(request.accept_partial),
        placing_without_up=options.placing_without_up,
        on_out_of_workspace=options.on_out_of_workspace,
        region=Region.from_numbers(request.region),
        crop_to_region=bool(request.crop_to_region),
    )


class GoalRunner:
    """Answers one goal with the parameters of the moment in which it began."""

    def __init__(self, goal: ReferGoal, parts: NodeParts, options: NodeOptions) -> None:
        self._goal, self._parts, self._options = goal, parts, options
        #: what is known so far, for the result of a goal that fails
        self._found = ReferResult((), "", "", 0, mode=Mode.AUTO)

    def run(self) -> Outcome:
        """The result of the goal, also of one that fails, and what there is to draw."""
        try:
            answer = self._answer()
            self._goal.timings_s["total"] = time.monotonic() - self._goal.accepted_s
            result = result_message(
                answer.target,
                self._goal.timings_s,
                tool=self._tool,
                up=_turned(answer.options.lifting.up, answer.target_T_camera),
            )
            return Outcome(result, answer)
        except Exception as error:
            numbered = self._goal.numbered(error)
            self._goal.timings_s["total"] = time.monotonic() - self._goal.accepted_s
            result = self._failure(numbered)
            return Outcome(result, bug=None if isinstance(error, RoboReferError) else error)

    def _failure(self, error: RoboReferError) -> Any:
        """The message of a goal that failed, with all that is known."""
        try:
            return result_message(self._found, self._goal.timings_s, error, tool=self._tool)
        except RoboReferError:  # points that must not leave the node
            found = replace(self._found, points=())
            return result_message(found, self._goal.timings_s, error)

    @property
    def _tool(self) -> ToolConvention:
        return ToolConvention(self._options.approach_axis, self._options.approach_offset_m)

    def _answer(self) -> Answer:
        """Find, lift and move the points.

        Raises:
            RoboReferError: one of its numbered subclasses.
        """
        goal, options, request = self._goal, self._options, self._goal.request
        # An empty instruction should fail at once, not after the camera.
        text = check_instruction(request.instruction, options.max_instruction_length)
        reading = read_instruction(text, Mode(request.mode))
        self._found = replace(self._found, mode=reading.mode, mode_reason=reading.reason)
        policy = policy_of(request, options)
        frame = self._frame()
        self._found = replace(self._found, frame_id=frame.frame_id, stamp_ns=frame.stamp_ns)
        up, policy = self._up(frame, policy)
        options = replace(options, lifting=replace(options.lifting, up=up))
        self._check_optical(frame)
        found = replace(
            self._refer(frame, text, reading, options.lifting, policy),
            up_source=self._found.up_source,
        )
        # Until they are in the requested frame there are no points to report.
        self._found = replace(found, points=())
        failed = found.failure(policy.accept_partial)
        if failed is not None and not found.points:
            raise failed

        goal.enter("transform")
        started_s = time.perf_counter()
        target = frame_name(request.target_frame or options.target_frame) or frame.frame_id
        pose = self._lookup(target, frame) if target != frame.frame_id else None
        moved = within_workspace(_moved(found, pose, target), options.lifting, policy)
        self._found = moved
        goal.timings_s["transform"] = time.perf_counter() - started_s
        failed = moved.failure(policy.accept_partial)
        if failed is not None:
            raise failed
        goal.cancellation.check()
        kept = {point.index for point in moved.points}
        camera = replace(found, points=tuple(p for p in found.points if p.index in kept))
        return Answer(frame, camera, moved, request.instruction, options, pose)

    def _refer(
        self,
        frame: RGBDFrame,
        text: str,
        reading: InstructionReading,
        lifting: LiftingOptions,
        policy: AnswerPolicy,
    ) -> ReferResult:
        goal = self._goal
        try:
            return self._parts.pipeline.refer(
                frame,
                text,
                reading=reading,
                lifting=lifting,
                policy=policy,
                cancellation=goal.cancellation,
                on_text=goal.on_text,
                on_stage=goal.enter,
                think=Think(goal.request.think),
            )
        except MemoryError as error:
            raise ModelOutOfMemoryError(f"out of memory while answering: {error}") from error

    def _up(self, frame: RGBDFrame, policy: AnswerPolicy) -> tuple[Direction | None, AnswerPolicy]:
        """Where up is as the camera sees it, and the policy with what was tried in vain.

        Raises:
            TransformUnavailableError, TransformExtrapolationError: the frame that should tell it
                is not connected to the camera's.
        """
        options = self._options
        upright = options.target_frame or self._goal.request.target_frame
        if not options.target_frame_is_upright or upright.endswith(("_optical_frame", "_optical")):
            upright = ""
        for frame_id, source in ((options.up_frame, "up_frame"), (upright, "target_frame")):
            if frame_id and frame_id != frame.frame_id:
                return self._known(self._z_axis(frame_id, source, frame), source), policy
        tried = ""
        if self._parts.imu is not None:
            found = self._gravity(self._parts.imu, frame)
            if not isinstance(found, str):
                return self._known(found, "imu"), policy
            tried = found
        if options.lifting.up is not None:
            return self._known(options.lifting.up, "lifting.up"), policy
        return None, replace(policy, why_no_up=tried)

    def _gravity(self, imu: ImuInput, frame: RGBDFrame) -> Direction | str:
        """Where up is by the accelerometer, or why it does not tell: goals about things go on."""
        gravity = imu.filter.estimate(frame.stamp_ns)
        if not isinstance(gravity, Gravity):
            return gravity
        try:
            pose = self._parts.transforms.lookup(
                frame_name(gravity.frame_id), frame.frame_id, frame.stamp_ns, timeout_s=_POSE_WAIT_S
            )
        except (TransformUnavailableError, TransformExtrapolationError) as error:
            return f"the accelerometer is in '{gravity.frame_id}': {error}"
        return _direction(pose[:3, :3].T @ gravity.up)

    def _known(self, up: Direction, source: str) -> Direction:
        self._found = replace(self._found, up_source=source)
        return up

    def _z_axis(self, frame_id: str, source: str, frame: RGBDFrame) -> Direction:
        try:
            return _direction(self._lookup(frame_id, frame)[2, :3])
        except (TransformUnavailableError, TransformExtrapolationError) as error:
            raise type(error)(
                f"where up is should come from {source} '{frame_id}': {error}"
            ) from error

    def _frame(self) -> RGBDFrame:
        goal, options = self._goal, self._options
        goal.enter("wait_frame")
        started_s = time.perf_counter()
        # "Newer than the goal" counts from its acceptance, also when it had to queue.
        messages = self._parts.camera.wait_for_frame(
            goal.stamp_ns - round(options.frame_tolerance_s * 1e9),
            options.frame_timeout_s,
            goal.cancellation,
            max_offset_s=options.max_clock_offset_s,
        )
        received_s = time.perf_counter()
        goal.timings_s["wait_frame"] = received_s - started_s
        frame = self._converted(messages)
        goal.timings_s["convert"] = time.perf_counter() - received_s
        if options.lifting.temporal_frames > 1:
            started_s = time.perf_counter()
            frame = self._steadied(frame)
            goal.timings_s["wait_frame"] += time.perf_counter() - started_s
        return frame

    def _steadied(self, frame: RGBDFrame) -> RGBDFrame:
        """The last of the next frames, with the median of their depth where they belong together.

        A history for each goal: no frame from before it, none from before a jump of time.
        """
        goal, options = self._goal, self._options
        history = DepthHistory(options.lifting)
        # a camera in a hand is asked about in its own frame, too: then gravity's frame tells
        asked = frame_name(goal.request.target_frame or options.target_frame)
        target = options.up_frame if asked in ("", frame.frame_id) else asked
        for _ in range(options.lifting.temporal_frames - 1):
            history.push(frame, self._camera_pose(frame, target))
            messages = self._parts.camera.wait_for_frame(
                goal.stamp_ns - round(options.frame_tolerance_s * 1e9),
                options.frame_timeout_s,
                goal.cancellation,
                after_stamp_ns=frame.stamp_ns,
                max_offset_s=options.max_clock_offset_s,
            )
            frame = self._converted(messages)
        return history.push(frame, self._camera_pose(frame, target))

    def _camera_pose(self, frame: RGBDFrame, target: str) -> npt.NDArray[np.float64] | None:
        """Where the camera was in the target frame; None where nothing can tell."""
        if not target or target == frame.frame_id:
            return None
        try:
            return self._parts.transforms.lookup(
                target, frame.frame_id, frame.stamp_ns, timeout_s=_POSE_WAIT_S
            )
        except (TransformUnavailableError, TransformExtrapolationError):
            return None

    def _converted(self, messages: CameraMessages) -> RGBDFrame:
        names, info = messages.topics, messages.info
        rgb = decompressed(messages.rgb, names.rgb)
        depth = decompressed(messages.depth, names.depth, depth=True)
        messages = replace(messages, rgb=rgb, depth=depth)
        depth_frame = check_frame_ids(
            rgb.header.frame_id, depth.header.frame_id, info.header.frame_id, messages.topics
        )
        camera_T_depth = self._depth_pose(depth_frame, messages)
        same_size = (rgb.width, rgb.height) == (depth.width, depth.height)
        depth_info = None
        if camera_T_depth is not None or not same_size:
            depth_info = messages.depth_info
            if depth_info is None:
                raise _no_depth_info(messages)
        elif _has_own_intrinsics(messages):
            depth_info = messages.depth_info
        return frame_from_messages(
            rgb,
            depth,
            info,
            depth_info=depth_info,
            camera_T_depth=camera_T_depth,
            rectified=self._options.rgb_is_rectified,
            topics=messages.topics,
        )

    def _check_optical(self, frame: RGBDFrame) -> None:
        """Warn of images in a body frame, as far as a frame with a known up tells."""
        if "optical" in frame.frame_id.lower():
            return
        for upright in (frame_name(self._options.up_frame), *UPRIGHT_FRAMES):
            if not upright or upright == frame.frame_id:
                continue
            try:
                pose = self._parts.transforms.lookup(
                    upright, frame.frame_id, frame.stamp_ns, timeout_s=0.0
                )
            except RoboReferError:  # this frame does not tell; whoever needs it will say why
                continue
            warning = body_frame_warning(frame.frame_id, upright, pose)
            if warning:
                self._parts.camera.warn("frame", warning)
            return

    def _depth_pose(
        self, depth_frame: str, messages: CameraMessages
    ) -> npt.NDArray[np.float64] | None:
        """Pose of the depth camera in the colour camera; None where they are the same place."""
        if not depth_frame:
            return None
        rgb_frame = frame_name(messages.rgb.header.frame_id)
        try:
            pose = self._parts.transforms.lookup(
                rgb_frame,
                depth_frame,
                stamp_ns(messages.depth.header.stamp),
                timeout_s=self._options.transform_timeout_s,
                cancellation=self._goal.cancellation,
            )
        except (TransformUnavailableError, TransformExtrapolationError) as error:
            raise FrameMismatchError(
                f"RGB is in frame '{rgb_frame}' but depth in '{depth_frame}', and no transform "
                f"relates them: {error}"
            ) from error
        same_place = np.linalg.norm(pose[:3, 3]) < _SAME_PLACE_M
        same_direction = float(np.abs(pose[:3, :3] - np.eye(3)).max()) < _SAME_DIRECTION
        return None if same_place and same_direction else pose

    def _lookup(self, target: str, frame: RGBDFrame) -> npt.NDArray[np.float64]:
        """Pose of the camera in a frame, at the image's stamp."""
        return self._parts.transforms.lookup(
            target,
            frame.frame_id,
            frame.stamp_ns,
            timeout_s=self._options.transform_timeout_s,
            cancellation=self._goal.cancellation,
        )


def _direction(vector: npt.NDArray[np.float64]) -> Direction:
    x, y, z = (float(v) for v in vector)
    return (x, y, z)


def _turned(
    up: Direction | None, target_T_camera: npt.NDArray[np.float64] | None
) -> Direction | None:
    """A direction of the camera's frame in the frame of the answer."""
    if up is None or target_T_camera is None:
        return up
    return _direction(target_T_camera[:3, :3] @ np.asarray(up))


def _moved(
    found: ReferResult, target_T_camera: npt.NDArray[np.float64] | None, target: str
) -> ReferResult:
    if target_T_camera is None:
        return found
    points = tuple(move_point(point, target_T_camera, target) for point in found.points)
    return replace(found, points=points)


def _has_own_intrinsics(messages: CameraMessages) -> bool:
    """Whether depth of colour's frame and size comes by its own info from another lens.

    An info that names another frame or size describes another image than the one that came, such
    as that of the depth camera before its image was aligned: it is left alone.
    """
    depth, info, own = messages.depth, messages.info, messages.depth_info
    if own is None or frame_name(own.header.frame_id) != frame_name(depth.header.frame_id):
        return False
    if (own.width, own.height) != (info.width, info.height) or not own.k[0]:
        return False
    # rectified images have the left part of P for K
    matrices = (np.array(info.k), np.delete(np.array(info.p), [3, 7, 11]))
    return not any(np.allclose(own.k, k, rtol=_SAME_FOCAL, atol=_SAME_CENTRE_PX) for k in matrices)


def _no_depth_info(messages: CameraMessages) -> FrameMismatchError | SizeMismatchError:
    rgb, depth = messages.rgb, messages.depth
    remedy = (
        f"use the depth topic that is aligned to the colour camera, or remap {DEPTH_INFO} to the "
        "depth camera's "
        "info so that it can be registered"
    )
    if (rgb.width, rgb.height) != (depth.width, depth.height):
        return SizeMismatchError(
            f"RGB is {rgb.width}x{rgb.height} but depth is {depth.width}x{depth.height}; {remedy}"
        )
    return FrameMismatchError(
        f"RGB is in frame '{rgb.header.frame_id}' but depth in '{depth.header.frame_id}', which "
        f"is elsewhere; {remedy}"
    )
