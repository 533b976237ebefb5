# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Points into another frame, at the moment the image was taken."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import numpy.typing as npt
from geometry_msgs.msg import TransformStamped
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.time import Time

from roborefer_ros.errors import TransformExtrapolationError, TransformUnavailableError
from roborefer_ros.frame import ReferredPoint
from roborefer_ros.lifting.orientation import quaternion_xyzw
from roborefer_ros.nodes.side_node import SpinThread, create_side_node
from roborefer_ros.pointing.pointer import check_interrupts
from roborefer_ros.standalone import tf2_ros

Array = npt.NDArray[np.float64]

_POLL_S = 0.005


class Transforms:
    """Listens to /tf and answers for any moment of the last ten seconds, until ``close``."""

    def __init__(self, node: Node) -> None:
        """Listen in a thread of its own; ``node`` gives names, remappings, clock and log."""
        listener = create_side_node(node, "transforms", ("/tf", "/tf_static"))
        # With the node the buffer follows its clock and clears itself when simulated time jumps.
        self._buffer = tf2_ros.Buffer(cache_time=Duration(seconds=10), node=listener)
        self._listener = tf2_ros.TransformListener(self._buffer, listener, spin_thread=False)
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
        deadline: float | None = None,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> Array:
        """``target_T_source`` ``[4, 4]`` at a stamp; waits for it in the calling thread.

        Raises:
            TransformUnavailableError: the frames are not connected.
            TransformExtrapolationError: they are, but not at that stamp.
            CanceledError, DeadlineExceededError
        """
        stamp = Time(nanoseconds=stamp_ns, clock_type=self._node.get_clock().clock_type)
        give_up_s = time.monotonic() + timeout_s
        while True:
            try:
                return matrix_of(self._buffer.lookup_transform(target, source, stamp))
            except tf2_ros.TransformException as error:
                failure = error
            check_interrupts(deadline, cancelled)
            if time.monotonic() >= give_up_s:
                raise self._explain(failure, target, source, stamp_ns, timeout_s) from failure
            time.sleep(_POLL_S)

    def _explain(
        self, failure: Exception, target: str, source: str, stamp_ns: int, timeout_s: float
    ) -> TransformUnavailableError | TransformExtrapolationError:
        what = f"no transform from '{source}' to '{target}'"
        try:
            latest = self._buffer.lookup_transform(target, source, Time())
        except tf2_ros.TransformException:
            return TransformUnavailableError(
                f"{what} within {timeout_s:g} s (transform_timeout_s): {failure}; publish it "
                "(robot_state_publisher, "
                "static_transform_publisher) or ask for another target_frame"
            )
        latest_ns = Time.from_msg(latest.header.stamp).nanoseconds
        off_s = (stamp_ns - latest_ns) * 1e-9
        side = "newer" if off_s > 0 else "older"
        return TransformExtrapolationError(
            f"{what} at the image's stamp {stamp_ns * 1e-9:.3f} within {timeout_s:g} s "
            "(transform_timeout_s): the image "
            f"is {abs(off_s):.3f} s {side} than the latest transform ({failure}); check that the "
            "clocks of camera "
            "and robot agree, and the rate of the transform"
        )

    def broadcast(self, target: TransformStamped) -> None:
        """Send a transform on /tf."""
        if self._broadcaster is None:
            self._broadcaster = tf2_ros.TransformBroadcaster(self._node)
        self._broadcaster.sendTransform(target)


def matrix_of(transform: TransformStamped) -> Array:
    """``[4, 4]`` of a transform message."""
    t, r = transform.transform.translation, transform.transform.rotation
    matrix = np.eye(4)
    matrix[:3, :3] = rotation_matrix(np.array([r.x, r.y, r.z, r.w]))
    matrix[:3, 3] = t.x, t.y, t.z
    return matrix


def rotation_matrix(xyzw: Array) -> Array:
    """``[3, 3]`` of a quaternion, which is normalised first."""
    x, y, z, w = xyzw / np.linalg.norm(xyzw)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
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
