# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Messages to the package's values and back.

``image_conversion`` reads images, ``camera_info`` intrinsics; here they become frames, and answers
become messages.
"""

from __future__ import annotations

import array
import math
import sys
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from builtin_interfaces.msg import Time as TimeMsg
from geometry_msgs.msg import Pose, PoseStamped
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header

from roborefer_ros.errors import (
    FrameMismatchError,
    RoboReferError,
    SizeMismatchError,
    UnknownError,
)
from roborefer_ros.lifting.orientation import rotation_matrix
from roborefer_ros.lifting.tool_poses import (
    Candidate,
    ToolConvention,
    candidates,
    place_rotation,
    quaternion_xyzw,
)
from roborefer_ros.nodes import interfaces
from roborefer_ros.nodes.camera_info import intrinsics_from_message
from roborefer_ros.nodes.camera_topics import DEPTH_INFO, TopicNames
from roborefer_ros.nodes.image_conversion import depth_from_message, rgb_from_message
from roborefer_ros.nodes.transforms import frame_name
from roborefer_ros.pointing.answers import MAX_ANSWER_CHARACTERS, split_reasoning
from roborefer_ros.pointing.reasoning import read_steps
from roborefer_ros.types import (
    Mode,
    ReasoningStep,
    ReferredPoint,
    ReferResult,
    RejectedPoint,
    RGBDFrame,
)


def stamp_ns(stamp: TimeMsg) -> int:
    """Nanoseconds of a stamp."""
    return int(stamp.sec) * 1_000_000_000 + int(stamp.nanosec)


def stamp_message(ns: int) -> TimeMsg:
    """The stamp message of nanoseconds."""
    return TimeMsg(sec=ns // 1_000_000_000, nanosec=ns % 1_000_000_000)


# --- images ----------------------------------------------------------------------------


def image_message(pixels: npt.NDArray[Any], encoding: str, frame_id: str, stamp: TimeMsg) -> Image:
    """An image message with a copy of the pixels ``[H, W]`` or ``[H, W, C]``."""
    pixels = np.ascontiguousarray(pixels)
    msg = Image(header=Header(stamp=stamp, frame_id=frame_id), encoding=encoding)
    msg.height, msg.width = pixels.shape[:2]
    msg.step = pixels.strides[0]
    msg.is_bigendian = int(sys.byteorder == "big")
    # array.array passes the setter's check at once; bytes and ndarray are looked at one by one.
    msg.data = array.array("B", pixels.tobytes())
    return msg


# --- frames ----------------------------------------------------------------------------


def frame_from_messages(
    rgb: Image,
    depth: Image,
    info: CameraInfo,
    *,
    depth_info: CameraInfo | None = None,
    camera_T_depth: npt.NDArray[np.float64] | None = None,
    rectified: bool = False,
    topics: TopicNames = TopicNames(),  # noqa: B008 (immutable)
) -> RGBDFrame:
    """One observation from the messages of one moment.

    Args:
        rgb: Colour image.
        depth: Depth image.
        info: Camera info of the RGB image.
        depth_info: Camera info of the depth image, where it is not aligned with RGB.
        camera_T_depth: ``[4, 4]`` pose of the depth camera in the RGB camera's frame, where they
            are not the same place.
        rectified: Whether the RGB image is rectified.
        topics: Where the messages came from, for messages to the user.

    Raises:
        UnsupportedEncodingError, InvalidImageError, InvalidCameraInfoError,
        UnsupportedDistortionError, SizeMismatchError
    """
    intrinsics = intrinsics_from_message(info, rectified=rectified, topic=topics.info)
    depth_intrinsics = None
    if depth_info is not None:
        depth_intrinsics = intrinsics_from_message(depth_info, topic=topics.depth_info)
    colour = rgb_from_message(rgb, topics.rgb)
    depth_image = depth_from_message(depth, topics.depth)
    height, width = colour.shape[:2]
    if (intrinsics.width, intrinsics.height) != (width, height):
        raise SizeMismatchError(
            f"'{topics.rgb}' is {width}x{height} but '{topics.info}' describes "
            f"{intrinsics.width}x{intrinsics.height}{_applied(info)}; {_size_remedy(info, colour)}"
        )
    described = depth_intrinsics or intrinsics
    if (depth_image.width, depth_image.height) != (described.width, described.height):
        source = topics.info if depth_intrinsics is None else topics.depth_info
        raise SizeMismatchError(
            f"'{topics.depth}' is {depth_image.width}x{depth_image.height} but "
            f"{described.width}x{described.height} was expected by '{source}' (RGB is "
            f"{width}x{height}); use the depth topic that is aligned to the colour camera "
            f"(align_depth, depth_image_proc register), or remap {DEPTH_INFO} to the depth camera's"
        )
    return RGBDFrame(
        rgb=colour,
        depth=depth_image,
        intrinsics=intrinsics,
        frame_id=frame_name(rgb.header.frame_id),
        stamp_ns=stamp_ns(rgb.header.stamp),
        depth_intrinsics=depth_intrinsics,
        camera_T_depth=camera_T_depth,
    )


def _applied(info: CameraInfo) -> str:
    """What made the size of the image out of that of the sensor, in words."""
    roi, steps = info.roi, []
    if roi.width or roi.height:
        steps.append(f"region of interest {roi.width}x{roi.height}")
    if max(info.binning_x, info.binning_y) > 1:
        steps.append(f"binning {info.binning_x}x{info.binning_y}")
    return f" ({info.width}x{info.height} with {' and '.join(steps)})" if steps else ""


def _size_remedy(info: CameraInfo, colour: npt.NDArray[np.uint8]) -> str:
    if (info.height, info.width) == colour.shape[:2]:
        return (
            "the image has the full size of the camera info: the driver seems to have applied "
            "binning and region of interest already; set them to 0"
        )
    if (info.width, info.height) == colour.shape[:2]:
        return "width and height are swapped: use the camera info of the turned image"
    return "check that both come from the same camera stream"


def check_frame_ids(
    rgb: str,
    depth: str,
    info: str,
    topics: TopicNames = TopicNames(),  # noqa: B008 (immutable)
) -> str:
    """Compare the frames that three messages name; leading slashes do not matter.

    Returns:
        The depth camera's frame where it differs from the RGB camera's, so that a transform must
        relate them; empty where all agree.

    Raises:
        FrameMismatchError: RGB names no frame, or the camera info another one.
    """
    rgb, depth, info = frame_name(rgb), frame_name(depth), frame_name(info)
    if not rgb:
        raise FrameMismatchError(
            f"'{topics.rgb}' names no frame (header.frame_id is empty); set the frame in the "
            "camera driver"
        )
    if info and info != rgb:
        raise FrameMismatchError(
            f"'{topics.rgb}' is in frame '{rgb}' but '{topics.info}' in '{info}'; remap rgb/image "
            "and rgb/camera_info to the topics of one camera"
        )
    return depth if depth and depth != rgb else ""


# --- results ---------------------------------------------------------------------------


def pose_from_point(
    point: ReferredPoint,
    tool: ToolConvention = ToolConvention(),  # noqa: B008 (frozen)
) -> Pose:
    """Position and approach orientation, in a convention of tools."""
    rotation = tool.rotation(rotation_matrix(point.orientation_xyzw))
    return _stamped(np.asarray(point.position_m), rotation, Header()).pose


def _stamped(
    position_m: npt.NDArray[np.float64], rotation: npt.NDArray[np.float64], header: Header
) -> PoseStamped:
    msg = PoseStamped(header=header)
    p, q = msg.pose.position, msg.pose.orientation
    p.x, p.y, p.z = (float(v) for v in position_m)
    q.x, q.y, q.z, q.w = (float(v) for v in quaternion_xyzw(rotation))
    return msg


def point_message(
    point: ReferredPoint,
    stamp: TimeMsg,
    mode: Mode = Mode.OBJECT,
    tool: ToolConvention = ToolConvention(),  # noqa: B008 (frozen)
) -> interfaces.ReferredPoint:
    """One answer point.

    Raises:
        UnknownError: it holds a number that is not finite.
    """
    msg = interfaces.ReferredPoint()
    msg.u, msg.v = (float(v) for v in point.pixel)
    msg.x_normalised, msg.y_normalised = (float(v) for v in point.normalised)
    header = Header(stamp=stamp, frame_id=point.frame_id)
    check_finite(point)
    position, rotation = np.asarray(point.position_m), rotation_matrix(point.orientation_xyzw)
    turned = tool.rotation(rotation)
    msg.pose = _stamped(position, turned, header)
    msg.pre_pose = _stamped(tool.before(position, rotation), turned, header)
    if mode == Mode.FREE_SPACE:
        msg.place_pose = _stamped(position, place_rotation(rotation), header)
    msg.covariance = np.ascontiguousarray(point.covariance, dtype=np.float64).reshape(36)
    msg.valid_depth_ratio = float(point.valid_depth_ratio)
    msg.nearest_reading_px = float(point.nearest_reading_px)
    msg.confidence = float(point.confidence)
    msg.geometry_confidence = float(point.geometry_confidence)
    msg.flags = int(point.flags)
    msg.support_tilt = math.nan if point.tilt_rad is None else float(point.tilt_rad)
    msg.support_flatness = math.nan if point.flatness_m is None else float(point.flatness_m)
    msg.model_confidence = -1.0 if point.model_confidence is None else float(point.model_confidence)
    return msg


def check_finite(point: ReferredPoint) -> None:
    """Nothing that is not finite may reach a planner.

    Raises:
        UnknownError: position, orientation, covariance or confidence hold such a number.
    """
    parts = {
        "position": point.position_m,
        "orientation": point.orientation_xyzw,
        "covariance": point.covariance,
        "confidence": (point.confidence, point.geometry_confidence),
    }
    for name, values in parts.items():
        numbers = np.asarray(values, dtype=np.float64)
        if not np.isfinite(numbers).all() or (name == "orientation" and not numbers.any()):
            raise UnknownError(
                f"the {name} of the point at pixel ({point.pixel[0]:.0f}, {point.pixel[1]:.0f}) "
                f"is not finite: {numbers.tolist()}; please report it with the image"
            )


def candidate_message(
    candidate: Candidate, frame_id: str, stamp: TimeMsg, tool: ToolConvention
) -> interfaces.PoseCandidate:
    """One way to reach a point."""
    header, turned = Header(stamp=stamp, frame_id=frame_id), tool.rotation(candidate.rotation)
    before = tool.before(candidate.position_m, candidate.rotation)
    return interfaces.PoseCandidate(
        pose=_stamped(candidate.position_m, turned, header),
        pre_pose=_stamped(before, turned, header),
        point_index=candidate.point,
        cost=candidate.cost,
    )


def rejected_message(point: RejectedPoint) -> interfaces.RejectedPoint:
    """One point that did not become a pose."""
    msg = interfaces.RejectedPoint()
    msg.u, msg.v = (float(v) for v in point.pixel)
    msg.x_normalised, msg.y_normalised = (float(v) for v in point.normalised)
    msg.model_confidence = -1.0 if point.model_confidence is None else float(point.model_confidence)
    msg.error_code, msg.error_msg = point.error.code, str(point.error)
    return msg


def result_message(
    result: ReferResult,
    timings_s: Mapping[str, float],
    error: RoboReferError | None = None,
    *,
    tool: ToolConvention = ToolConvention(),  # noqa: B008 (frozen)
    up: npt.ArrayLike | None = None,
) -> interfaces.ReferPoint.Result:
    """The action result of an answer, or of a goal that failed.

    Args:
        result: What was found, all of it or as much as there was before the failure.
        timings_s: Seconds per stage, beside the result's own.
        error: Reason of a failure; None on success.
        tool: Convention of the poses.
        up: ``[3]`` direction against gravity in the frame of the points; None where unknown.

    Raises:
        UnknownError: a number that is not finite would leave the node.
    """
    stamp = stamp_message(result.stamp_ns)
    msg = interfaces.ReferPoint.Result()
    msg.points = [point_message(point, stamp, result.mode, tool) for point in result.points]
    msg.candidates = [
        candidate_message(one, result.points[one.point].frame_id, stamp, tool)
        for one in candidates(result.points, result.mode, up)
    ]
    msg.rejected_points = [rejected_message(point) for point in result.rejected]
    msg.answer = result.answer
    msg.reasoning = result.reasoning
    msg.steps = step_messages(result.steps)
    msg.mode = int(result.mode)
    msg.mode_reason = result.mode_reason
    msg.warnings = int(result.warnings)
    msg.depth_used, msg.up_source = result.depth_used, result.up_source
    msg.image_stamp = stamp
    msg.timings = timing_messages({**result.timings_s, **timings_s})
    if error is None:
        msg.pose = msg.points[0].pose
    else:
        msg.error_code, msg.error_msg = error.code, str(error)
        msg.answer = result.answer or error.answer
        if not result.reasoning:
            msg.reasoning = split_reasoning(msg.answer[:MAX_ANSWER_CHARACTERS])[0]
            msg.steps = step_messages(read_steps(msg.reasoning))
    return msg


def step_messages(steps: Iterable[ReasoningStep]) -> list[interfaces.ReasoningStep]:
    """Well-formed steps of a reasoning as messages."""
    kinds = {
        "Position": interfaces.ReasoningStep.POSITION,
        "Orientation": interfaces.ReasoningStep.ORIENTATION,
        "Size": interfaces.ReasoningStep.SIZE,
    }
    return [
        interfaces.ReasoningStep(type=kinds[s.kind], target=s.target, value=list(s.value))
        for s in steps
        if s.is_well_formed
    ]


def timing_messages(timings_s: Mapping[str, float]) -> list[interfaces.StageTiming]:
    """Seconds per stage as messages."""
    return [interfaces.StageTiming(stage=name, duration=float(s)) for name, s in timings_s.items()]
