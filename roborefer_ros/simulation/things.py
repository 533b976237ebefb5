# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Things with a front, built of boxes: +x is where they face.

Their width is along y and their length along x.  As for ``meshes.object_mesh``, they stand on z = 0
and their ``radius`` is half their length; ``depth`` is half their width.
"""

from __future__ import annotations

from dataclasses import dataclass

from roborefer_ros.simulation.meshes import Mesh, box, lathe, merge, moved


@dataclass(frozen=True)
class Thing:
    """What a kind of thing measures.

    Attributes:
        half_length: Range of half the extent along its front axis, metres.
        half_width: Range of half its width, metres.
        height: Range, metres.
    """

    half_length: tuple[float, float]
    half_width: tuple[float, float]
    height: tuple[float, float]


THINGS: dict[str, Thing] = {
    "toy car": Thing((0.050, 0.070), (0.022, 0.032), (0.040, 0.060)),
    "chair": Thing((0.035, 0.050), (0.035, 0.050), (0.100, 0.150)),
    "screen": Thing((0.035, 0.050), (0.080, 0.120), (0.120, 0.170)),
    "shoe": Thing((0.100, 0.130), (0.035, 0.045), (0.070, 0.100)),
    "shelf": Thing((0.080, 0.110), (0.200, 0.300), (0.180, 0.260)),
}

#: height of a shelf's upper board, share of the shelf's height
SHELF_BOARDS = (0.0, 0.5, 1.0)
BOARD_M = 0.010


def thing_mesh(name: str, half_length: float, height: float, half_width: float) -> Mesh:
    """The mesh of a thing of ``THINGS``.

    Args:
        name: Which one.
        half_length: Half its extent along x, its front axis, metres.
        height: Metres.
        half_width: Half its extent along y, metres.
    """
    build = {
        "toy car": _car,
        "chair": _chair,
        "screen": _screen,
        "shoe": _shoe,
        "shelf": _shelf,
    }
    return build[name](half_length, half_width, height)


def _car(length: float, width: float, height: float) -> Mesh:
    """A body, a cabin behind the middle, and four wheels."""
    wheel = 0.22 * height
    body = moved(box(length, 0.9 * width, 0.45 * height), z=0.8 * wheel)
    cabin = moved(box(0.45 * length, 0.75 * width, 0.42 * height), -0.25 * length)
    cabin = moved(cabin, z=0.8 * wheel + 0.45 * height)
    wheels = [
        moved(box(wheel, 0.12 * width, 2 * wheel), x * 0.6 * length, y * 0.88 * width)
        for x in (-1, 1)
        for y in (-1, 1)
    ]
    return merge(body, cabin, *wheels)


def _chair(length: float, width: float, height: float) -> Mesh:
    """A seat on four legs; the back is behind, so it faces +x."""
    leg = 0.09 * length
    seat = moved(box(length, width, 0.06 * height), z=0.45 * height)
    back = moved(box(leg, width, 0.5 * height), -length + leg, 0.0, 0.5 * height)
    legs = [
        moved(box(leg, leg, 0.46 * height), x * (length - leg), y * (width - leg))
        for x in (-1, 1)
        for y in (-1, 1)
    ]
    return merge(seat, back, *legs)


def _screen(length: float, width: float, height: float) -> Mesh:
    """A panel at the front edge of its foot."""
    foot = box(length, 0.4 * width, 0.05 * height)
    stem = moved(box(0.12 * length, 0.08 * width, 0.4 * height), z=0.04 * height)
    panel = moved(box(0.10 * length, width, 0.68 * height), 0.3 * length, 0.0, 0.32 * height)
    return merge(foot, stem, panel)


def _shoe(length: float, width: float, height: float) -> Mesh:
    """A sole, a low front and a high heel with an opening."""
    sole = box(length, width, 0.18 * height)
    toe = moved(box(0.45 * length, 0.92 * width, 0.32 * height), 0.5 * length, 0.0, 0.15 * height)
    radius = min(0.85 * width, 0.5 * length)
    ring = lathe(
        [(radius, 0), (radius, 0.8 * height), (0.8 * radius, 0.8 * height), (0.8 * radius, 0)]
    )
    heel = moved(ring, -length + radius, 0.0, 0.18 * height)
    return merge(sole, toe, heel)


def _shelf(length: float, width: float, height: float) -> Mesh:
    """Three boards between two sides, open to the front and the back."""
    boards = [
        moved(box(length, width, BOARD_M), z=share * (height - BOARD_M)) for share in SHELF_BOARDS
    ]
    side = box(length, 0.5 * BOARD_M, height)
    sides = [moved(side, 0.0, y * (width - 0.5 * BOARD_M)) for y in (-1, 1)]
    return merge(*boards, *sides)
