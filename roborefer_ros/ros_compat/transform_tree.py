# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""A tree of coordinate frames over time: the part of the tf2 fallback that knows no ROS.

Rigid transforms are a translation ``[3]`` in metres and a unit quaternion ``[4]`` (x, y, z, w).
``Link.pose`` is the pose of the child in its parent: it takes points of the child into the parent.
"""

from __future__ import annotations

import bisect
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

Vector = npt.NDArray[np.float64]

#: how far the squared length of a quaternion may be from 1 (tf2 has the same limit)
_UNIT_TOLERANCE = 0.01
#: frames are no farther apart, metres; earth-centred coordinates stay below
_FARTHEST_M = 1e8


class TransformException(Exception):
    """Base of what a lookup can raise."""


class LookupException(TransformException):
    """A frame is not known."""


class ConnectivityException(TransformException):
    """Both frames are known, but in trees that nothing joins."""


class ExtrapolationException(TransformException):
    """The time lies outside what has been received for a frame on the way."""


class InvalidArgumentException(TransformException):
    """A frame name is empty or starts with a slash."""


@dataclass(frozen=True)
class Transform:
    """Takes points of one frame into another: ``rotate(rotation, p) + translation``."""

    translation: Vector
    rotation: Vector

    @staticmethod
    def identity() -> Transform:
        """The transform that changes nothing."""
        return Transform(np.zeros(3), np.array([0.0, 0.0, 0.0, 1.0]))

    def __matmul__(self, other: Transform) -> Transform:
        """First ``other``, then this one."""
        return Transform(
            self.translation + rotate(self.rotation, other.translation),
            multiply(self.rotation, other.rotation),
        )

    def inverse(self) -> Transform:
        """The transform that undoes this one."""
        conjugate = self.rotation * np.array([-1.0, -1.0, -1.0, 1.0])
        return Transform(-rotate(conjugate, self.translation), conjugate)


def invalid_pose(translation: Vector, rotation: Vector) -> str:
    """Why numbers are no rigid transform, with the numbers; empty where they are one.

    Args:
        translation: Translation ``[3]``, metres.
        rotation: Quaternion ``[4]`` (x, y, z, w).
    """
    if not np.isfinite(translation).all():
        return f"its translation {_numbers(translation)} holds NaN or infinity"
    if not np.isfinite(rotation).all():
        return f"its quaternion {_numbers(rotation)} holds NaN or infinity"
    if np.abs(translation).max() > _FARTHEST_M:
        return f"its translation {_numbers(translation)} m is absurdly large"
    with np.errstate(over="ignore"):  # the square of what is far too long is infinite
        squared = float(rotation @ rotation)
    if squared == 0.0:
        return "its quaternion is zero"
    if not abs(squared - 1.0) <= _UNIT_TOLERANCE:
        length = float(np.hypot.reduce(rotation))
        return f"its quaternion {_numbers(rotation)} has length {length:g}, not 1"
    return ""


def _numbers(values: Vector) -> str:
    return f"({', '.join(f'{value:g}' for value in values)})"


def multiply(a: Vector, b: Vector) -> Vector:
    """Hamilton product of two (x, y, z, w) quaternions: first ``b``, then ``a``."""
    vector = a[3] * b[:3] + b[3] * a[:3] + np.cross(a[:3], b[:3])
    return np.array([*vector, a[3] * b[3] - a[:3] @ b[:3]])


def rotate(q: Vector, v: Vector) -> Vector:
    """A vector, turned by a unit quaternion."""
    t = 2.0 * np.cross(q[:3], v)
    return np.asarray(v + q[3] * t + np.cross(q[:3], t))


def slerp(a: Vector, b: Vector, ratio: float) -> Vector:
    """Rotation at ``ratio`` in [0, 1] on the shorter way from ``a`` to ``b`` (Shoemake 1985)."""
    dot = float(a @ b)
    if dot < 0.0:  # the same rotation has two quaternions; take the nearer one
        b, dot = -b, -dot
    if dot > 0.9995:  # sin(angle) vanishes; the chord is exact enough
        q = a + ratio * (b - a)
    else:
        angle = np.arccos(dot)
        q = (np.sin((1.0 - ratio) * angle) * a + np.sin(ratio * angle) * b) / np.sin(angle)
    return np.asarray(q / np.linalg.norm(q))


@dataclass
class Link:
    """What is known about one frame: its parent and its pose there, at some times or always.

    ``times_ns`` is ascending and parallel to ``samples``; a static link has one sample.
    """

    is_static: bool
    times_ns: list[int] = field(default_factory=list)
    samples: list[tuple[str, Transform]] = field(default_factory=list)

    def insert(self, time_ns: int, parent: str, pose: Transform, cache_ns: int) -> bool:
        """Add a sample and forget what is older than the cache; False when it is itself too old."""
        if self.is_static:
            self.times_ns, self.samples = [time_ns], [(parent, pose)]
            return True
        if self.times_ns and time_ns < self.times_ns[-1] - cache_ns:
            return False
        index = bisect.bisect_left(self.times_ns, time_ns)
        if index < len(self.times_ns) and self.times_ns[index] == time_ns:
            self.samples[index] = (parent, pose)
        else:
            self.times_ns.insert(index, time_ns)
            self.samples.insert(index, (parent, pose))
        outdated = bisect.bisect_left(self.times_ns, self.times_ns[-1] - cache_ns)
        del self.times_ns[:outdated], self.samples[:outdated]
        return True

    def at(self, time_ns: int) -> tuple[str, Transform]:
        """Parent and pose at a time; 0 is the latest. Raises ExtrapolationException."""
        if self.is_static or time_ns == 0:
            return self.samples[-1]
        first, last = self.times_ns[0], self.times_ns[-1]
        if not first <= time_ns <= last:
            side = "past" if time_ns < first else "future"
            raise ExtrapolationException(
                f"Lookup would require extrapolation into the {side}.  "
                f"Requested time {time_ns * 1e-9:.6f} but the "
                f"{'earliest' if side == 'past' else 'latest'} data is at time "
                f"{(first if side == 'past' else last) * 1e-9:.6f}"
            )
        after = bisect.bisect_left(self.times_ns, time_ns)
        if self.times_ns[after] == time_ns:
            return self.samples[after]
        (parent, a), (parent_after, b) = self.samples[after - 1], self.samples[after]
        if parent != parent_after:  # moved to another parent in between: nothing to interpolate
            return parent, a
        ratio = (time_ns - self.times_ns[after - 1]) / (
            self.times_ns[after] - self.times_ns[after - 1]
        )
        translation = a.translation + ratio * (b.translation - a.translation)
        return parent, Transform(translation, slerp(a.rotation, b.rotation, ratio))


class TransformTree:
    """All frames that were heard of. Not thread-safe: the caller holds a lock."""

    def __init__(self, cache_ns: int) -> None:
        self.cache_ns = cache_ns
        self._links: dict[str, Link] = {}
        self._frames: set[str] = set()

    def clear(self) -> None:
        """Forget what moves; static transforms are sent once only and are kept."""
        for child in [name for name, link in self._links.items() if not link.is_static]:
            del self._links[child]

    def insert(
        self, child: str, parent: str, time_ns: int, pose: Transform, *, is_static: bool
    ) -> str:
        """Add the pose of ``child`` in ``parent``; returns why it was refused, or ``""``."""
        child, parent = child.removeprefix("/"), parent.removeprefix("/")
        if not child or not parent:
            return "a frame name is empty"
        if child == parent:
            return f"frame {child!r} is its own parent"
        invalid = invalid_pose(pose.translation, pose.rotation)
        if invalid:
            return f"the transform of {child!r} is invalid: {invalid}"
        length = float(np.linalg.norm(pose.rotation))
        pose = Transform(pose.translation, pose.rotation / length)
        link = self._links.get(child)
        if link is None or link.is_static != is_static:
            link = self._links[child] = Link(is_static)
        self._frames |= {child, parent}
        if not link.insert(time_ns, parent, pose, self.cache_ns):
            return (
                f"the transform of {child!r} is older than the cache ({self.cache_ns * 1e-9:g} s)"
            )
        return ""

    def lookup(self, target: str, source: str, time_ns: int) -> tuple[int, Transform]:
        """The transform from ``source`` into ``target``, and its time; 0 is the latest common time.

        Raises:
            InvalidArgumentException, LookupException, ConnectivityException, ExtrapolationException
        """
        for name in (target, source):
            self._check(name)
        if time_ns == 0:
            time_ns = self._latest_common_time(target, source)
        up_source, error_source = self._climb(source, time_ns)
        up_target, error_target = self._climb(target, time_ns)
        shared = next((frame for frame in up_source if frame in up_target), None)
        if shared is not None:
            return time_ns, up_target[shared].inverse() @ up_source[shared]
        error = error_source or error_target
        if error is not None:
            raise ExtrapolationException(
                f"{error}, when looking up transform from frame [{source}] to frame [{target}]"
            )
        raise _not_connected(target, source)

    def _check(self, name: str) -> None:
        if not name:
            raise InvalidArgumentException("frame_id cannot be empty")
        if name.startswith("/"):
            raise InvalidArgumentException(f'frame_id "{name}" cannot start with a "/"')
        if name not in self._frames:
            raise LookupException(f'"{name}" passed to lookupTransform: frame does not exist')

    def _climb(
        self, frame: str, time_ns: int
    ) -> tuple[dict[str, Transform], ExtrapolationException | None]:
        """Transforms from ``frame`` into each ancestor, as far as the data of that time goes."""
        chain = {frame: Transform.identity()}
        while (link := self._links.get(frame)) is not None:
            try:
                parent, pose = link.at(time_ns)
            except ExtrapolationException as error:
                return chain, error
            if parent in chain:
                raise ConnectivityException(f"the frames {sorted(chain)} form a loop")
            chain[parent] = pose @ chain[frame]
            frame = parent
        return chain, None

    def _latest_common_time(self, target: str, source: str) -> int:
        """The newest time at which every link between the frames has data; 0 if none moves."""
        up_source, _ = self._climb(source, 0)
        up_target, _ = self._climb(target, 0)
        shared = next((frame for frame in up_source if frame in up_target), None)
        if shared is None:
            raise _not_connected(target, source)
        below = [*_until(up_source, shared), *_until(up_target, shared)]
        if not below and shared in self._links:  # a frame to itself: its own newest time
            below = [shared]
        moving = [self._links[f].times_ns[-1] for f in below if not self._links[f].is_static]
        return min(moving, default=0)


def _until(chain: dict[str, Transform], stop: str) -> list[str]:
    names = list(chain)
    return names[: names.index(stop)]


def _not_connected(target: str, source: str) -> ConnectivityException:
    return ConnectivityException(
        f"Could not find a connection between '{target}' and '{source}' because they are not part "
        "of the same tree. Tf has two or more unconnected trees."
    )
