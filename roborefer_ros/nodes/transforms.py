# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Points into another frame, at the moment the image was taken."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
from geometry_msgs.msg import TransformStamped
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.time import Time

from roborefer_ros.cancellation import Cancellation
from roborefer_ros.errors import (
    InvalidTransformError,
    RoboReferError,
    TransformExtrapolationError,
    TransformUnavailableError,
)
from roborefer_ros.lifting.orientation import quaternion_xyzw, rotation_matrix
from roborefer_ros.nodes.dedicated_node import SpinThread, create_side_node
from roborefer_ros.ros_compat import tf2_ros
from roborefer_ros.ros_compat.transform_tree import invalid_pose
from roborefer_ros.types import ReferredPoint

Array = npt.NDArray[np.float64]

_POLL_S = 0.005


def frame_name(name: str) -> str:
    """Name of a coordinate frame as tf2 knows it: without blanks around and leading slashes."""
    return name.strip().lstrip("/")


class _CheckedBuffer:
    """Hands the listener's transforms on to the buffer, except those that are none.

    tf2 drops transforms with NaN or a quaternion that is not of length 1, and says so in its log
    only. Whoever asks for such a frame should be told the numbers rather than that the frame does
    not exist, so they are remembered here, for tf2 and for the fallback alike.
    """

    def __init__(self, buffer: tf2_ros.Buffer, log: Any) -> None:
        self._buffer, self._log = buffer, log
        self._lock = threading.Lock()
        self._parents: dict[str, str] = {}
        self._refused: dict[str, str] = {}

    def set_transform(self, transform: TransformStamped, authority: str) -> None:
        """Take a transform that holds at its stamp."""
        if self._accepts(transform):
            self._buffer.set_transform(transform, authority)

    def set_transform_static(self, transform: TransformStamped, authority: str) -> None:
        """Take a transform that holds at all times."""
        if self._accepts(transform):
            self._buffer.set_transform_static(transform, authority)

    def _accepts(self, transform: TransformStamped) -> bool:
        child, parent = frame_name(transform.child_frame_id), frame_name(transform.header.frame_id)
        t, r = transform.transform.translation, transform.transform.rotation
        why = invalid_pose(np.array([t.x, t.y, t.z]), np.array([r.x, r.y, r.z, r.w]))
        stamp = transform.header.stamp
        if not why and stamp.sec < 0:
            why = f"its stamp of {stamp.sec} s is negative"
        with self._lock:
            self._parents[child] = parent
            if not why:
                self._refused.pop(child, None)
                return True
            self._refused[child] = f"the transform from '{child}' to '{parent}' is invalid: {why}"
        self._log.warning(
            f"ignored on /tf or /tf_static: {self._refused[child]}", throttle_duration_sec=10.0
        )
        return False

    def refusal_between(self, target: str, source: str) -> str:
        """Why a transform on the way between two frames was refused last; empty where none was."""
        with self._lock:
            up_source, up_target = self._ancestors(source), self._ancestors(target)
            shared = next((frame for frame in up_source if frame in up_target), None)
            if shared is None:
                return ""
            way = up_source[: up_source.index(shared)] + up_target[: up_target.index(shared)]
            return "; ".join(self._refused[frame] for frame in way if frame in self._refused)

    def _ancestors(self, frame: str) -> list[str]:
        """The frame and those above it, as far as was heard."""
        chain = [frame]
        while (parent := self._parents.get(chain[-1])) is not None and parent not in chain:
            chain.append(parent)
        return chain


class Transforms:
    """Listens to /tf and answers for any moment of the last ten seconds, until ``close``."""

    def __init__(self, node: Node) -> None:
        """Listen in a thread of its own; ``node`` gives names, remappings, clock and log."""
        listener = create_side_node(node, "transforms", ("/tf", "/tf_static"))
        # With the node the buffer follows its clock and clears itself when simulated time jumps.
        self._buffer = tf2_ros.Buffer(cache_time=Duration(seconds=10), node=listener)
        self._checked = _CheckedBuffer(self._buffer, listener.get_logger())
        front: Any = self._checked  # offers of the buffer what a listener calls
        self._listener = tf2_ros.TransformListener(front, listener, spin_thread=False)
        self._thread = SpinThread(listener)
        self._broadcaster: tf2_ros.TransformBroadcaster | None = None
        self._node = node

    def clear(self) -> None:
        """Forget what moves, after time went backwards."""
        self._buffer.clear()

    def close(self) -> None:
        """Stop listening."""
        self._thread.close()

    def lookup(
        self,
        target: str,
        source: str,
        stamp_ns: int,
        *,
        timeout_s: float,
        cancellation: Cancellation = Cancellation(),  # noqa: B008 (frozen)
    ) -> Array:
        """``target_T_source`` ``[4, 4]`` at a stamp; waits for it in the calling thread.

        Args:
            target: Frame to transform into; leading slashes are ignored.
            source: Frame to transform from; leading slashes are ignored.
            stamp_ns: Moment, nanoseconds of the ROS clock; 0 is the latest.
            timeout_s: Longest wait, seconds.
            cancellation: Deadline and cancel flag; looked at while waiting.

        Raises:
            TransformUnavailableError: The frames are not connected.
            TransformExtrapolationError: They are, but not at that stamp.
            InvalidTransformError: What connects them is no rigid transform of finite numbers.
            CanceledError, DeadlineExceededError
        """
        target, source = frame_name(target), frame_name(source)
        stamp = Time(nanoseconds=stamp_ns, clock_type=self._node.get_clock().clock_type)
        give_up_s = time.monotonic() + timeout_s
        while True:
            try:
                return matrix_of(self._buffer.lookup_transform(target, source, stamp))
            except tf2_ros.TransformException as error:
                failure = error
            cancellation.check()
            if time.monotonic() >= give_up_s:
                raise self._explain(failure, target, source, stamp_ns, timeout_s) from failure
            time.sleep(_POLL_S)

    def _explain(
        self, failure: Exception, target: str, source: str, stamp_ns: int, timeout_s: float
    ) -> RoboReferError:
        what = f"no transform from '{source}' to '{target}'"
        refused = self._checked.refusal_between(target, source)
        if refused:
            return InvalidTransformError(
                f"{what}: {refused}; correct the node that publishes it (a unit quaternion and "
                "finite metres)"
            )
        try:
            latest = self._buffer.lookup_transform(target, source, Time())
        except tf2_ros.TransformException:
            return TransformUnavailableError(
                f"{what} within {timeout_s:g} s (transform_timeout_s): {failure}; publish it "
                "(robot_state_publisher, static_transform_publisher) or ask for another "
                "target_frame"
            )
        latest_ns = Time.from_msg(latest.header.stamp).nanoseconds
        off_s = (stamp_ns - latest_ns) * 1e-9
        side = "newer" if off_s > 0 else "older"
        return TransformExtrapolationError(
            f"{what} at the image's stamp {stamp_ns * 1e-9:.3f} within {timeout_s:g} s "
            "(transform_timeout_s): the image is "
            f"{abs(off_s):.3f} s {side} than the latest transform ({failure}); check that the "
            "clocks of camera and robot agree, and the rate of the transform"
        )

    def broadcast(self, target: TransformStamped) -> None:
        """Send a transform on /tf."""
        if self._broadcaster is None:
            self._broadcaster = tf2_ros.TransformBroadcaster(self._node)
        self._broadcaster.sendTransform(target)


def matrix_of(transform: TransformStamped) -> Array:
    """``[4, 4]`` of a transform message.

    Raises:
        InvalidTransformError: It is no rigid transform of finite numbers.
    """
    t, r = transform.transform.translation, transform.transform.rotation
    why = invalid_pose(np.array([t.x, t.y, t.z]), np.array([r.x, r.y, r.z, r.w]))
    if why:
        raise InvalidTransformError(
            f"the transform from '{transform.child_frame_id}' to '{transform.header.frame_id}' is "
            f"invalid: {why}; correct the nodes that publish the transforms between them"
        )
    matrix = np.eye(4)
    matrix[:3, :3] = rotation_matrix(np.array([r.x, r.y, r.z, r.w]))
    matrix[:3, 3] = t.x, t.y, t.z
    return matrix


#: frames whose z axis points up (REP-105, and the usual name of a simulated world)
UPRIGHT_FRAMES = ("base_link", "base_footprint", "odom", "map", "world")


def body_frame_warning(frame: str, upright: str, upright_T_camera: Array) -> str:
    """Why images seem to be in a body frame (x forward, z up) instead of an optical one.

    An optical frame has z along the view and y down (REP-103). One whose z axis points up while y
    lies level is a body frame, unless the camera looks at the ceiling.

    Args:
        frame: Frame that the images name.
        upright: Frame whose z axis points up.
        upright_T_camera: ``[4, 4]`` pose of ``frame`` in ``upright``.

    Returns:
        The warning; empty where the name says optical or the axes look so.
    """
    _, y_up, z_up = upright_T_camera[2, :3]
    if "optical" in frame.lower() or z_up < 0.5 or abs(y_up) > 0.5:
        return ""
    forward = ", ".join(f"{value:.2f}" for value in upright_T_camera[:3, 0])
    return (
        f"images are in frame '{frame}', whose z axis points up in '{upright}' (by {z_up:.2f}) and "
        f"whose x axis along ({forward}): that is a body frame, but images must be in an optical "
        "frame (z along the view, y down, REP-103), or poses are turned by 90 deg; have the camera "
        "driver name its optical frame"
    )


def move_point(point: ReferredPoint, target_T_source: Array, target: str) -> ReferredPoint:
    """The same point in another frame: position, orientation and covariance.

    Both 3x3 blocks of the covariance are about fixed axes, so both turn with the frame:
    C' = J C J^T with J = diag(R, R).
    """
    rotation = target_T_source[:3, :3]
    turn = np.zeros((6, 6))
    turn[:3, :3] = turn[3:, 3:] = rotation
    return replace(
        point,
        position_m=rotation @ point.position_m + target_T_source[:3, 3],
        orientation_xyzw=quaternion_xyzw(
            rotation @ rotation_matrix(np.asarray(point.orientation_xyzw))
        ),
        covariance=turn @ point.covariance @ turn.T,
        frame_id=target,
    )
