# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The part of the image that a goal is about."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from roborefer_ros.errors import InvalidGoalError

Corner = tuple[float, float]

#: more corners than any outline needs
_MAX_CORNERS = 256


@dataclass(frozen=True)
class Region:
    """A polygon over the image's edges.

    Attributes:
        corners: ``(x, y)`` in [0, 1] in order, at least three.
    """

    corners: tuple[Corner, ...]

    @classmethod
    def from_numbers(cls, numbers: Sequence[float]) -> Region | None:
        """Read the ``region`` field of a goal.

        Args:
            numbers: Four (x_min, y_min, x_max, y_max), or six or more (x, y of each corner),
                normalised; none for the whole image.

        Raises:
            InvalidGoalError: another count, a number outside [0, 1], or an area of zero.
        """
        values = [float(number) for number in numbers]
        if not values:
            return None
        if len(values) % 2 or len(values) < 4 or len(values) > 2 * _MAX_CORNERS:
            raise InvalidGoalError(
                f"region has {len(values)} numbers; 4 are a rectangle (x_min, y_min, x_max, y_max),"
                f" 6 to {2 * _MAX_CORNERS} the corners x, y of a polygon"
            )
        wrong = [value for value in values if not 0.0 <= value <= 1.0]  # NaN is in no range
        if wrong:
            raise InvalidGoalError(
                f"region holds {wrong[0]}; it is normalised over the image's edges, [0, 1]"
            )
        if len(values) == 4:
            left, top, right, bottom = values
            if not (left < right and top < bottom):
                raise InvalidGoalError(
                    f"region {values} is empty; say x_min, y_min, x_max, y_max with minima below "
                    "maxima"
                )
            return cls(((left, top), (right, top), (right, bottom), (left, bottom)))
        corners = tuple(zip(values[::2], values[1::2], strict=True))
        if abs(_area(corners)) < 1e-9:
            raise InvalidGoalError("the polygon in region has no area; say its corners in order")
        return cls(corners)

    def contains(self, point: Corner) -> bool:
        """Whether a normalised point lies inside or on the border (even-odd rule)."""
        x, y = point
        inside = False
        for (x1, y1), (x2, y2) in zip(self.corners, _rotated(self.corners), strict=True):
            if _on_segment(x, y, x1, y1, x2, y2):
                return True
            if (y1 > y) != (y2 > y) and x < x1 + (y - y1) / (y2 - y1) * (x2 - x1):
                inside = not inside
        return inside

    def crop(self, width: int, height: int) -> Crop:
        """The smallest rectangle of whole pixels around the region."""
        xs, ys = zip(*self.corners, strict=True)
        left = min(math.floor(min(xs) * width), width - 1)
        top = min(math.floor(min(ys) * height), height - 1)
        right = max(math.ceil(max(xs) * width), left + 1)
        bottom = max(math.ceil(max(ys) * height), top + 1)
        return Crop(left, top, right, bottom, width, height)


@dataclass(frozen=True)
class Crop:
    """A rectangle of whole pixels in an image.

    Attributes:
        left, top: First column and row, pixels.
        right, bottom: Column and row behind the last ones, pixels.
        width, height: Size of the whole image, pixels.
    """

    left: int
    top: int
    right: int
    bottom: int
    width: int
    height: int

    @property
    def slices(self) -> tuple[slice, slice]:
        """Rows and columns of the rectangle."""
        return slice(self.top, self.bottom), slice(self.left, self.right)

    def to_whole(self, point: Corner) -> Corner:
        """A point normalised over the crop, normalised over the whole image.

        Both are shares of edges, so that pixel ``u`` of the crop is pixel ``left + u``.
        """
        x, y = point
        return (
            min((self.left + x * (self.right - self.left)) / self.width, 1.0),
            min((self.top + y * (self.bottom - self.top)) / self.height, 1.0),
        )


def _area(corners: Sequence[Corner]) -> float:
    """Signed area of a polygon (shoelace formula)."""
    pairs = zip(corners, _rotated(corners), strict=True)
    return 0.5 * sum(x1 * y2 - x2 * y1 for (x1, y1), (x2, y2) in pairs)


def _rotated(corners: Sequence[Corner]) -> tuple[Corner, ...]:
    return (*corners[1:], corners[0])


def _on_segment(x: float, y: float, x1: float, y1: float, x2: float, y2: float) -> bool:
    cross = (x2 - x1) * (y - y1) - (y2 - y1) * (x - x1)
    within = min(x1, x2) <= x <= max(x1, x2) and min(y1, y2) <= y <= max(y1, y2)
    return within and abs(cross) < 1e-12
