# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""What the figures of ``benchmarks.lifting`` are to be: for a D435 at 0.4 to 1.0 m."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

#: (goal, table, stratum or key, figure, whether it must not exceed, bound)
_OF_METHODS = (
    ("all pixels: coverage", "all", "coverage", False, 0.97),
    ("all pixels: median, mm", "all", "p50_mm", True, 2.0),
    ("all pixels: p95, mm", "all", "p95_mm", True, 10.0),
    ("all pixels: wrong surface", "all", "wrong", True, 0.01),
    ("near edges: wrong surface", "near edges", "wrong", True, 0.05),
    ("near edges: confident", "near edges", "confident", False, 0.60),
    ("near edges: wrong among confident", "near edges", "wrong_confident", True, 0.01),
    ("no reading: coverage", "no reading", "coverage", False, 0.90),
    ("no reading: p95, mm", "no reading", "p95_mm", True, 15.0),
)
_OF_TABLES = (
    ("planes: median error, sigma", "synthetic", "depth_error_p50_sigma", True, 0.5),
    ("planes: normal p95, deg", "synthetic", "normal_error_p95_deg", True, 3.0),
    ("ellipsoid holds, at least", "synthetic", "inside_95_percent_ellipsoid", False, 0.93),
    ("ellipsoid holds, at most", "synthetic", "inside_95_percent_ellipsoid", True, 0.97),
    ("one point at 1280x720, ms", "speed", "one_point_p50_ms", True, 0.5),
    ("one point over Open3D crop + RANSAC", "speed", "one_point_over_open3d", True, 3.0),
    ("free space, ms", "speed", "free_space_p50_ms", True, 3.0),
    ("fifty points, ms", "speed", "fifty_points_p50_ms", True, 15.0),
)
#: of "placing on real frames"; given is with a confidence that can be acted on
_OF_PLACES = (
    ("free on real tables: given", "free_given", False, 0.95),
    ("occupied: given", "occupied_given", True, 0.03),
    ("on and beside thin things: given", "thin_hand_given", True, 0.15),
    ("on transparent things: given", "transparent_given", True, 0.20),
    ("walls: given", "walls_given", True, 0.0),
    ("walls, up unknown: given", "walls_up_unknown_given", True, 0.0),
)
#: of each frame, by the end of the figure's name
_OF_FRAMES = (
    ("holes at borders", "_wrong", "wrong surface", True, 0.05),
    ("normals on real frames", "_p50_deg", "normal, median, deg", True, 3.5),
    ("normals on real frames", "_inside", "95 % tilt ellipse holds, at least", False, 0.90),
    ("normals on real frames", "_inside", "95 % tilt ellipse holds, at most", True, 0.98),
    ("wrong units", "_too_large", "confident with a unit 10 times too large", True, 0.05),
    ("wrong units", "_too_large_preset", "confident with a unit 10 times too large", True, 0.05),
    ("wrong units", "_too_small", "confident with a unit 5 times too small", True, 0.05),
    ("wrong units", "_too_small_preset", "confident with a unit 5 times too small", True, 0.05),
)
#: figures of frames that are not this package's, or not of a point on a surface
_NOT_JUDGED = ("_open3d", "_support")


class Goal(NamedTuple):
    """One line: what is measured, its bound, whether that is a maximum, the figure, reached?"""

    name: str
    bound: float
    is_maximum: bool
    measured: float
    reached: bool


def goals(report: dict[str, Any]) -> Iterator[Goal]:
    """Every goal that the report has a figure for."""
    for name, kind, figure, is_maximum, bound in _OF_METHODS:
        value = report["methods"].get(kind, {}).get("ours", {}).get(figure)
        if value is not None:
            yield _goal(name, bound, is_maximum, value)
    for name, table, figure, is_maximum, bound in _OF_TABLES:
        yield _goal(name, bound, is_maximum, report[table][figure])
    for table, end, name, is_maximum, bound in _OF_FRAMES:
        for key, value in report.get(table, {}).items():
            frame = key.removesuffix(end)
            if frame != key and not frame.endswith(_NOT_JUDGED):
                yield _goal(f"{frame}: {name}", bound, is_maximum, value)
    places = report.get("placing on real frames", {})
    for name, figure, is_maximum, bound in _OF_PLACES:
        if figure in places:
            yield _goal(name, bound, is_maximum, places[figure])


def _goal(name: str, bound: float, is_maximum: bool, value: float) -> Goal:
    reached = value <= bound if is_maximum else value >= bound
    return Goal(name, bound, is_maximum, value, reached)
