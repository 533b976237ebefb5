# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""What is done for one goal: camera frame, pipeline, transform, result."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from roborefer_ros.errors import (
    FrameMismatchError,
    ModelOutOfMemoryError,
    NodeInactiveError,
    RoboReferError,
    SizeMismatchError,
    TransformExtrapolationError,
    TransformUnavailableError,
)
from roborefer_ros.frame import Mode, ReferResult, RGBDFrame
from roborefer_ros.lifting import flag_workspace
from roborefer_ros.lifting.temporal import DepthHistory
from roborefer_ros.nodes.camera_input import DEPTH_INFO, CameraInput, CameraMessages
from roborefer_ros.nodes.conversions import (
    check_frame_ids,
    frame_from_messages,
    result_message,
    stamp_ns,
)
from roborefer_ros.nodes.parameters import NodeOptions
from roborefer_ros.nodes.refer_action import ReferGoal
from roborefer_ros.nodes.transforms import Transforms, move_point
from roborefer_ros.pipeline import ReferPipeline, check_instruction
from roborefer_ros.pointing.pointer import check_interrupts

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
        instruction: what was asked.
        target_T_camera: ``[4, 4]`` pose of the camera in that frame; None where it is the same.
    """

    frame: RGBDFrame
    camera: ReferResult
    target: ReferResult
    instruction: str
    target_T_camera: npt.NDArray[np.float64] | None = None


class ReferJob:
    """Answers goals while the node is active; one at a time, from one thread."""

    def __init__(
        self,
        camera: CameraInput,
        transforms: Transforms,
        pipeline: ReferPipeline,
        options: Callable[[], NodeOptions],
    ) -> None:
        self._camera = camera
        self._transforms = transforms
        self._pipeline: ReferPipeline | None = pipeline
        self._options = options

    def close(self) -> None:
        """Free the model."""
        pipeline, self._pipeline = self._pipeline, None
        if pipeline is not None:
            pipeline.close()

    def answer(self, goal: ReferGoal) -> Any:
        """The action result of a goal; ``goal.answer`` keeps what there is to draw.

        Raises:
            RoboReferError: one of its numbered subclasses.
        """
        pipeline, options, request = self._pipeline, self._options(), goal.request
        if pipeline is None:
            raise NodeInactiveError("the node was deactivated")
        # An empty instruction should fail at once, not after the camera.
        check_instruction(request.instruction, options.max_instruction_length)
        pipeline.max_instruction_length = options.max_instruction_length
        pipeline.lifting = options.lifting

        frame = self._frame(goal, options)
        if options.up_frame:
            up = self._up(frame, goal, options)
            options = replace(options, lifting=replace(options.lifting, up=up))
            pipeline.lifting = options.lifting
        try:
            found = pipeline.refer(
                frame,
                request.instruction,
                Mode(request.mode),
                max_points=int(request.max_points),
                deadline=goal.deadline,
                cancelled=goal.is_cancelled,
                on_text=goal.hear,
                on_stage=goal.enter,
            )
        except MemoryError as error:
            raise ModelOutOfMemoryError(f"out of memory while answering: {error}") from error

        goal.enter("transform")
        started_s = time.perf_counter()
        target = request.target_frame or options.target_frame or frame.frame_id
        pose = None
        if target != frame.frame_id:
            try:
                pose = self._lookup(target, frame, goal, options)
            except RoboReferError as error:
                error.answer = found.answer
                raise
        moved = _moved(found, pose, target)
        in_reach = tuple(flag_workspace(point, options.lifting) for point in moved.points)
        moved = replace(moved, points=in_reach)
        goal.timings_s["transform"] = time.perf_counter() - started_s
        check_interrupts(goal.deadline, goal.is_cancelled)
        goal.timings_s["total"] = time.monotonic() - goal.accepted_s
        goal.answer = Answer(frame, found, moved, request.instruction, pose)
        return result_message(moved, goal.timings_s)

    def _frame(self, goal: ReferGoal, options: NodeOptions) -> RGBDFrame:
        goal.enter("wait_frame")
        started_s = time.perf_counter()
        # "Newer than the goal" counts from its acceptance, also when it had to queue.
        messages = self._camera.wait_for_frame(
            goal.stamp_ns - round(options.frame_tolerance_s * 1e9),
            options.frame_timeout_s,
            goal.deadline,
            goal.is_cancelled,
        )
        received_s = time.perf_counter()
        goal.timings_s["wait_frame"] = received_s - started_s
        frame = self._converted(messages, goal, options)
        goal.timings_s["convert"] = time.perf_counter() - received_s
        if options.lifting.temporal_frames > 1:
            started_s = time.perf_counter()
            frame = self._steadied(frame, goal, options)
            goal.timings_s["wait_frame"] += time.perf_counter() - started_s
        return frame

    def _steadied(self, frame: RGBDFrame, goal: ReferGoal, options: NodeOptions) -> RGBDFrame:
        """The last of the next frames, with the median of their depth where they belong together.

        A history for each goal: no frame from before it, none from before a jump of time.
        """
        history = DepthHistory(options.lifting)
        # a camera in a hand is asked about in its own frame, too: then gravity's frame tells
        asked = goal.request.target_frame or options.target_frame
        target = options.up_frame if asked in ("", frame.frame_id) else asked
        for _ in range(options.lifting.temporal_frames - 1):
            history.push(frame, self._camera_pose(frame, target))
            messages = self._camera.wait_for_frame(
                frame.stamp_ns + 1, options.frame_timeout_s, goal.deadline, goal.is_cancelled
            )
            frame = self._converted(messages, goal, options)
        return history.push(frame, self._camera_pose(frame, target))

    def _camera_pose(self, frame: RGBDFrame, target: str) -> npt.NDArray[np.float64] | None:
        """Where the camera was in the target frame; None where nothing can tell."""
        if not target or target == frame.frame_id:
            return None
        try:
            return self._transforms.lookup(
                target, frame.frame_id, frame.stamp_ns, timeout_s=_POSE_WAIT_S
            )
        except (TransformUnavailableError, TransformExtrapolationError):
            return None

    def _converted(
        self, messages: CameraMessages, goal: ReferGoal, options: NodeOptions
    ) -> RGBDFrame:
        rgb, depth, info = messages.rgb, messages.depth, messages.info
        depth_frame = check_frame_ids(
            rgb.header.frame_id, depth.header.frame_id, info.header.frame_id
        )
        camera_T_depth = self._depth_pose(depth_frame, messages, goal, options)
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
            rectified=options.rgb_is_rectified,
        )

    def _depth_pose(
        self, depth_frame: str, messages: CameraMessages, goal: ReferGoal, options: NodeOptions
    ) -> npt.NDArray[np.float64] | None:
        """Pose of the depth camera in the colour camera; None where they are the same place."""
        if not depth_frame:
            return None
        rgb_frame = messages.rgb.header.frame_id
        try:
            pose = self._transforms.lookup(
                rgb_frame,
                depth_frame,
                stamp_ns(messages.depth.header.stamp),
                timeout_s=options.transform_timeout_s,
                deadline=goal.deadline,
                cancelled=goal.is_cancelled,
            )
        except (TransformUnavailableError, TransformExtrapolationError) as error:
            raise FrameMismatchError(
                f"RGB is in frame '{rgb_frame}' but depth in '{depth_frame}', and no transform "
                f"relates them: {error}"
            ) from error
        same_place = np.linalg.norm(pose[:3, 3]) < _SAME_PLACE_M
        same_direction = float(np.abs(pose[:3, :3] - np.eye(3)).max()) < _SAME_DIRECTION
        return None if same_place and same_direction else pose

    def _lookup(
        self, target: str, frame: RGBDFrame, goal: ReferGoal, options: NodeOptions
    ) -> npt.NDArray[np.float64]:
        """Pose of the camera in a frame, at the image's stamp."""
        return self._transforms.lookup(
            target,
            frame.frame_id,
            frame.stamp_ns,
            timeout_s=options.transform_timeout_s,
            deadline=goal.deadline,
            cancelled=goal.is_cancelled,
        )

    def _up(
        self, frame: RGBDFrame, goal: ReferGoal, options: NodeOptions
    ) -> tuple[float, float, float]:
        """The z axis of ``up_frame`` as the camera sees it."""
        x, y, z = self._lookup(options.up_frame, frame, goal, options)[2, :3]
        return (float(x), float(y), float(z))


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
    if own is None or own.header.frame_id != depth.header.frame_id:
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
