# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Free space on the real frames of ``test/data/rgbd``: a D435 and a Kinect."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.lifting import Sample, load
from benchmarks.lifting_placing import outcome, placing, table_plane
from roborefer_ros.lifting import LiftingOptions

FRAMES = Path(__file__).parents[2] / "data" / "rgbd"
D435, KINECT = "cleargrasp_d435_123", "tum_fr2_desk_1"


def outcome_at(name: str, u: float, v: float, known: bool = True) -> str:
    sample: Sample = load(FRAMES / name)
    plane = table_plane(sample.frame, sample.frame.depth.metres().astype(np.float64))
    assert plane is not None
    x, y, z = (float(c) for c in plane.normal)
    options = LiftingOptions(up=(x, y, z) if known else None)
    return outcome(sample.frame, (u, v), options)


def test_free_spots_of_real_tables_are_given_and_occupied_and_transparent_ones_are_not() -> None:
    folders = [FRAMES / D435, FRAMES / KINECT]
    figures = placing([load(folder) for folder in folders], folders, 40)
    assert figures["free"] == 80
    assert figures["free_given"] >= 0.95
    assert figures["occupied"] == 80
    assert figures["occupied_given"] <= 0.03
    assert figures["transparent"] == 40
    assert figures["transparent_given"] <= 0.1


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize(
    ("name", "u", "v"),
    [(D435, 100, 300), (D435, 250, 150), (D435, 60, 450), (KINECT, 315, 130), (KINECT, 270, 170)],
)
def test_walls_and_a_screen_are_refused(name: str, u: int, v: int, known: bool) -> None:
    assert outcome_at(name, u, v, known) == "refused"


@pytest.mark.parametrize(
    ("u", "v"), [(65, 290), (66, 318), (466, 330)], ids=["can", "its foot", "mug"]
)
def test_the_side_and_the_foot_of_things_are_refused(u: int, v: int) -> None:
    assert outcome_at(KINECT, u, v) == "refused"


@pytest.mark.parametrize(
    ("u", "v"),
    [(393, 338), (393, 368), (370, 338), (415, 335)],
    ids=["on", "below", "left", "right"],
)
def test_a_computer_mouse_and_what_is_beside_it_are_occupied(u: int, v: int) -> None:
    assert outcome_at(KINECT, u, v) in ("low", "refused")
    assert outcome_at(KINECT, 150, 350) == "clean"
