# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The numbered errors of the package.

Every way a request can fail has one number (the constants of
``roborefer_msgs/action/ReferPoint``) and one class here.  The message says what
happened, with the figures, and what the user can do.  Core code raises these;
``nodes/`` turns them into action results, the server into HTTP replies.

Ranges: 2500 unknown, 2501-2519 the request, 2520-2539 camera data,
2540-2559 the pointing model, 2560-2579 lifting to 3D, 2580-2599 transforms,
2600-2619 configuration.
A number is never reused.
"""

from __future__ import annotations

from typing import ClassVar

#: number -> class, for tests, documentation and clients; filled as the classes are defined
ERRORS_BY_CODE: dict[int, type[RoboReferError]] = {}


class RoboReferError(Exception):
    """Base of all errors of this package; ``code`` is its number in action results."""

    code: ClassVar[int] = 2500

    #: the model's text, where it had answered before the failure
    answer: str = ""

    #: the mode that the goal was answered in (``frame.Mode``; 0 before it is known), and why
    mode: int = 0
    mode_reason: str = ""

    def __init_subclass__(cls, **kwargs: object) -> None:
        super().__init_subclass__(**kwargs)
        if "code" not in cls.__dict__:
            return  # a refinement that keeps the number of its parent
        if cls.code in ERRORS_BY_CODE:
            raise TypeError(f"error number {cls.code} is used twice")
        ERRORS_BY_CODE[cls.code] = cls


class UnknownError(RoboReferError):
    """An exception that no other class describes: a bug worth reporting."""

    code = 2500


# --- the request -----------------------------------------------------------------------


class InvalidInstructionError(RoboReferError):
    """The instruction is empty or holds nothing but blanks and control characters."""

    code = 2501


class InstructionTooLongError(RoboReferError):
    """The instruction is longer than the ``max_instruction_length`` parameter allows."""

    code = 2502


class InvalidGoalError(RoboReferError):
    """Another goal field is out of its range (mode, timeout, max_points)."""

    code = 2503


class NodeInactiveError(RoboReferError):
    """The lifecycle node is not in its active state."""

    code = 2504


class QueueFullError(RoboReferError):
    """The goal was rejected: ``max_queued_goals`` goals already wait."""

    code = 2505


class CanceledError(RoboReferError):
    """The client cancelled the goal, or its connection went away."""

    code = 2506


class DeadlineExceededError(RoboReferError):
    """The goal's ``timeout`` passed before the answer was complete."""

    code = 2507


class ShuttingDownError(RoboReferError):
    """The node was deactivated or shut down while the goal waited or ran."""

    code = 2508


class ServerLostError(RoboReferError):
    """The action server went away, or was replaced, before it answered (raised by clients)."""

    code = 2509


class NodeFaultError(RoboReferError):
    """A thread of the node ended unexpectedly; the node leaves its active state."""

    code = 2510


# --- camera data -----------------------------------------------------------------------


class NoCameraError(RoboReferError):
    """No message has arrived on at least one of the camera topics."""

    code = 2520


class CameraStalledError(RoboReferError):
    """The camera delivered frames earlier, but none since the goal arrived."""

    code = 2521


class FramesNotSynchronizedError(RoboReferError):
    """All topics deliver, but no RGB, depth and info stamps lie within the slop."""

    code = 2522


class UnsupportedEncodingError(RoboReferError):
    """The image encoding is none of those this package converts."""

    code = 2523


class InvalidImageError(RoboReferError):
    """Size, step and data length of an image contradict each other."""

    code = 2524


class SizeMismatchError(RoboReferError):
    """RGB, depth or CameraInfo sizes differ where they must agree."""

    code = 2525


class FrameMismatchError(RoboReferError):
    """RGB, depth or CameraInfo name different frames and no transform relates them."""

    code = 2526


class InvalidCameraInfoError(RoboReferError):
    """CameraInfo holds no usable intrinsics (zero or non-finite K or P)."""

    code = 2527


class UnsupportedDistortionError(RoboReferError):
    """The distortion model cannot be undone."""

    code = 2528


class CameraClockError(RoboReferError):
    """The camera's stamps contradict the node's clock, so no frame is known to be current."""

    code = 2529


class WrongMessageTypeError(RoboReferError):
    """A camera topic carries messages of another type than the node needs."""

    code = 2530


# --- the pointing model ----------------------------------------------------------------


class CheckpointNotFoundError(RoboReferError):
    """There is no checkpoint at the given folder or hub id."""

    code = 2540


class CheckpointInvalidError(RoboReferError):
    """A checkpoint is there but broken: part missing, wrong shape, cut off, a pickle."""

    code = 2541


class ModelOutOfMemoryError(RoboReferError):
    """The device ran out of memory while loading or answering."""

    code = 2542


class ModelFailedError(RoboReferError):
    """The model raised while answering."""

    code = 2543


class NoPointInAnswerError(RoboReferError):
    """The model's text holds no point in the format of its family."""

    code = 2544


class PointOutsideImageError(RoboReferError):
    """Every point in the model's text lies outside the image."""

    code = 2545


class DependencyMissingError(RoboReferError):
    """An optional package is not installed; the message names the line that installs it."""

    code = 2546


class BackendUnreachableError(RoboReferError):
    """A remote backend refused the connection or could not be resolved."""

    code = 2547


class BackendTimeoutError(RoboReferError):
    """A remote backend did not answer in time."""

    code = 2548


class BackendRejectedError(RoboReferError):
    """A remote backend answered with an HTTP 4xx status."""

    code = 2549


class BackendFailedError(RoboReferError):
    """A remote backend answered with an HTTP 5xx status."""

    code = 2550


class BackendBadReplyError(RoboReferError):
    """A remote backend's reply is too large, not JSON, or lacks the expected fields."""

    code = 2551


class InvalidPointerSpecError(RoboReferError):
    """The pointer spec string is not of a known form."""

    code = 2552


class LowModelConfidenceError(RoboReferError):
    """The model's own confidence in its point is below ``min_model_confidence``."""

    code = 2553


class PointOutsideRegionError(RoboReferError):
    """Every point in the model's text lies outside the region of interest of the goal."""

    code = 2554


class NothingFoundError(NoPointInAnswerError):
    """The model answered that the image does not show what the instruction names."""

    code = 2555


class DepthNetworkRequiredError(RoboReferError):
    """The model needs a depth picture, and no depth network is there to make one."""

    code = 2556


# --- lifting to 3D ---------------------------------------------------------------------


class NoDepthAtPointError(RoboReferError):
    """No valid depth reading within the search radius of the pixel."""

    code = 2560


class NoValidDepthError(RoboReferError):
    """The whole depth image holds no valid reading."""

    code = 2561


class DepthAmbiguousError(RoboReferError):
    """Two surfaces compete at the pixel and the lifting will not guess."""

    code = 2562


class OutOfRangeError(RoboReferError):
    """The surface at the pixel lies outside the configured depth range."""

    code = 2563


class GrazingSurfaceError(RoboReferError):
    """The surface is seen at too flat an angle for its depth to be trusted."""

    code = 2564


class NotFreeSpaceError(RoboReferError):
    """The spot asked for as free space is occupied or not flat."""

    code = 2565


class UpUnknownError(RoboReferError):
    """A placing goal needs the direction of gravity, and nothing tells it."""

    code = 2566


class OutOfWorkspaceError(RoboReferError):
    """The point lies outside the configured workspace and ``on_out_of_workspace`` is refuse."""

    code = 2567


class LowConfidenceError(RoboReferError):
    """The overall confidence of the point is below ``min_confidence``."""

    code = 2568


# --- transforms ------------------------------------------------------------------------


class TransformUnavailableError(RoboReferError):
    """No transform between the camera frame and the target frame."""

    code = 2580


class TransformExtrapolationError(RoboReferError):
    """The transform exists, but not at the stamp of the image."""

    code = 2581


class InvalidTransformError(RoboReferError):
    """A transform holds numbers that are not finite, or a rotation that is none."""

    code = 2582


# --- configuration ---------------------------------------------------------------------


class ConfigurationError(RoboReferError, ValueError):
    """A parameter, command-line argument, file name or option is not usable as given."""

    code = 2600
