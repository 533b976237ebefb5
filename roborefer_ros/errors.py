# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The numbered errors of the package.

Every way a request can fail has one number (the constants of
``roborefer_msgs/action/ReferPoint``) and one class here.  The message says what
happened, with the figures, and what the user can do.  Core code raises these;
``nodes/`` turns them into action results, the server into HTTP replies.

Ranges: 2500 unknown, 2501-2519 the request, 2520-2539 camera data,
2540-2559 the pointing model, 2560-2579 lifting to 3D, 2580-2599 transforms.
A number is never reused.
"""

from __future__ import annotations

from typing import ClassVar


class RoboReferError(Exception):
    """Base of all errors of this package; ``code`` is its number in action results."""

    code: ClassVar[int] = 2500

    #: the model's text, where it had answered before the failure
    answer: str = ""


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
    """The surface at the pixel lies outside the configured depth range or workspace."""

    code = 2563


class GrazingSurfaceError(RoboReferError):
    """The surface is seen at too flat an angle for its depth to be trusted."""

    code = 2564


class NotFreeSpaceError(RoboReferError):
    """The spot asked for as free space is occupied or not flat."""

    code = 2565


# --- transforms ------------------------------------------------------------------------


class TransformUnavailableError(RoboReferError):
    """No transform between the camera frame and the target frame."""

    code = 2580


class TransformExtrapolationError(RoboReferError):
    """The transform exists, but not at the stamp of the image."""

    code = 2581


def _collect() -> dict[int, type[RoboReferError]]:
    classes: dict[int, type[RoboReferError]] = {}
    for value in globals().values():
        if not (isinstance(value, type) and issubclass(value, RoboReferError)):
            continue
        if value is not RoboReferError:
            if value.code in classes:
                raise AssertionError(f"error number {value.code} is used twice")
            classes[value.code] = value
    return classes


#: number -> class, for tests, documentation and clients
ERRORS_BY_CODE: dict[int, type[RoboReferError]] = _collect()
