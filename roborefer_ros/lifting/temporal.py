# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The median of the last depth frames of a camera at rest.

Noise of a stereo sensor changes from frame to frame; the median of k frames has about
sqrt(pi / (2 k)) of its standard deviation.  A median across different views or different
clocks is worthless, so frames are only held while they can belong together, and a pixel
whose newest reading contradicts the median shows something new: the newest reading wins.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from roborefer_ros.lifting.options import LiftingOptions
from roborefer_ros.types import DepthImage, RGBDFrame

Array = npt.NDArray[np.float64]

#: standard deviation of the median of k normal samples over that of one; k = 1 to 7
#: (David and Nagaraja, "Order Statistics", 3rd ed., 2003: variances 1, 0.5, 0.4487, 0.2982,
#: 0.2868, 0.2147, 0.2104; even k mean the two middle ones)
_NOISE_OF_MEDIAN = (1.0, 0.7071, 0.6699, 0.5461, 0.5356, 0.4634, 0.4587)

#: a camera that moved less has not moved
STILL_M = 0.002
STILL_RAD = 0.002


@dataclass(frozen=True)
class MedianDepth(DepthImage):
    """Depth that reads as the median over several frames, computed only where it is read.

    Attributes:
        earlier: raw images of the same size, type and unit as ``raw``, which is the newest.
        tolerance: a newest reading that differs from the median by more than
            ``max(floor_m, tolerance * z^2)`` is kept as it is, 1/m.
        floor_m: see there.
    """

    earlier: tuple[npt.NDArray[np.generic], ...] = ()
    tolerance: float = 0.0
    floor_m: float = 0.010

    @property
    def noise_ratio(self) -> float:
        """Standard deviation of a reading over that of a reading of one frame."""
        k = len(self.earlier) + 1
        if k <= len(_NOISE_OF_MEDIAN):
            return _NOISE_OF_MEDIAN[k - 1]
        return math.sqrt(math.pi / (2.0 * k))

    def metres(
        self, rows: slice = slice(None), columns: slice = slice(None)
    ) -> npt.NDArray[np.float32]:
        """A window of the median in metres, NaN where fewer than half of the frames read.

        Where they do and only the newest frame has no reading, its hole is filled; where
        only the newest frame has a reading, that is taken.
        """
        newest = super().metres(rows, columns)
        if not self.earlier:
            return newest
        stack = np.stack(
            [newest, *(DepthImage(raw, self.unit_m).metres(rows, columns) for raw in self.earlier)]
        )
        median, count = _median_of_valid(stack)
        median[2 * count < len(stack)] = np.nan
        limit = np.maximum(np.float32(self.floor_m), np.float32(self.tolerance) * newest * newest)
        # comparisons with NaN are False, so this also keeps readings that have no median
        keep_newest = np.isfinite(newest) & ~(np.abs(newest - median) <= limit)
        median[keep_newest] = newest[keep_newest]
        return median


def _median_of_valid(
    stack: npt.NDArray[np.float32],
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.intp]]:
    """Median over the first axis without NaN, and how many there were (np.nanmedian is slow)."""
    count = np.isfinite(stack).sum(axis=0)
    ordered = np.sort(stack, axis=0)  # NaN goes last
    low = np.maximum(count - 1, 0) // 2
    high = np.maximum(count, 1) // 2
    low_value = np.take_along_axis(ordered, low[None], axis=0)[0]
    high_value = np.take_along_axis(ordered, high[None], axis=0)[0]
    median: npt.NDArray[np.float32] = (low_value + high_value) * np.float32(0.5)
    return median, count


@dataclass(frozen=True)
class _Held:
    frame: RGBDFrame
    fixed_T_camera: Array | None


class DepthHistory:
    """Holds the last frames of one camera and gives the newest with the median of their depth.

    Not thread-safe: use it from one thread.
    """

    def __init__(self, options: LiftingOptions = LiftingOptions()) -> None:  # noqa: B008 (frozen)
        self._options = options
        self._held: deque[_Held] = deque(maxlen=max(1, options.temporal_frames))

    def __len__(self) -> int:
        return len(self._held)

    def clear(self) -> None:
        """Forget all frames: call it when time went backwards."""
        self._held.clear()

    def push(self, frame: RGBDFrame, fixed_T_camera: Array | None = None) -> RGBDFrame:
        """Add the newest frame.

        Frames that cannot belong together with it are forgotten: of another camera, size,
        type or intrinsics, older than ``temporal_window_s`` (a pause or a clock that jumped
        ahead), or seen from elsewhere.  A stamp before the last one (a clock that jumped
        back) forgets all; the same stamp replaces the last frame.

        Args:
            frame: the observation.
            fixed_T_camera: ``[4, 4]`` pose of the camera in a frame that does not move with
                it, at the frame's stamp; None promises that the camera stands still.

        Returns:
            ``frame`` with ``MedianDepth``; ``frame`` itself while there is nothing to add.
        """
        if self._held and frame.stamp_ns < self._held[-1].frame.stamp_ns:
            self.clear()
        if self._held and frame.stamp_ns == self._held[-1].frame.stamp_ns:
            self._held.pop()
        newest = _Held(frame, fixed_T_camera)
        together = [held for held in self._held if self._belongs(held, newest)]
        self._held.clear()
        self._held.extend([*together, newest])
        if len(self._held) == 1:
            return frame
        earlier = tuple(held.frame.depth.raw for held in list(self._held)[:-1])
        sigma_at_1m = self._options.bound_to(frame).sigma_z_m(1.0, frame.width)
        # 6 sigma of the difference of one reading and a median: models of noise are rough
        tolerance = 6.0 * math.sqrt(1.5) * sigma_at_1m
        depth = MedianDepth(frame.depth.raw, frame.depth.unit_m, earlier, tolerance)
        return replace(frame, depth=depth)

    def _belongs(self, held: _Held, newest: _Held) -> bool:
        old, new = held.frame, newest.frame
        return (
            new.stamp_ns - old.stamp_ns <= self._options.temporal_window_s * 1e9
            and old.frame_id == new.frame_id
            and old.intrinsics == new.intrinsics
            and old.depth_intrinsics == new.depth_intrinsics
            and old.depth.raw.shape == new.depth.raw.shape
            and old.depth.raw.dtype == new.depth.raw.dtype
            and old.depth.unit_m == new.depth.unit_m
            and _same_place(old.camera_T_depth, new.camera_T_depth)
            and _same_place(held.fixed_T_camera, newest.fixed_T_camera)
        )


def _same_place(a: Array | None, b: Array | None) -> bool:
    """Whether two poses differ by no more than a camera at rest does."""
    if a is None or b is None:
        return a is b
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        return False
    cosine = (float(np.sum(a[:3, :3] * b[:3, :3])) - 1.0) / 2.0
    turn_rad = math.acos(max(-1.0, min(1.0, cosine)))
    return float(np.linalg.norm(a[:3, 3] - b[:3, 3])) <= STILL_M and turn_rad <= STILL_RAD
