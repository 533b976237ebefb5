# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Depth of another camera is brought to colour's pixels before the model sees it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest

from roborefer_ros.errors import NoValidDepthError
from roborefer_ros.inference.model import Completion, Outcome, Request
from roborefer_ros.pipeline import ReferPipeline
from roborefer_ros.pointing.families import FAMILIES
from roborefer_ros.pointing.pointer import Pointer
from roborefer_ros.types import CameraIntrinsics, DepthImage, Mode, RGBDFrame

COLOUR = CameraIntrinsics(320, 240, 300.0, 300.0, 159.5, 119.5)
DEPTH = CameraIntrinsics(212, 120, 100.0, 100.0, 105.5, 59.5)
NEAR_M, FAR_M, EDGE_M = 0.8, 1.6, 0.10


class Watcher:
    """A model that keeps the depth picture which it is shown."""

    name, uses_depth, can_sample, max_batch = "watcher", True, False, 1

    def __init__(self) -> None:
        self.picture: Any = None

    def complete(self, requests: Sequence[Request]) -> Iterator[tuple[int, Outcome]]:
        for index, request in enumerate(requests):
            self.picture = request.depths[0].pixels
            yield index, Completion("[(0.3, 0.5)]")

    def close(self) -> None:
        pass


def frame(shift_m: float, *, seen: bool = True) -> RGBDFrame:
    """A near wall left of ``x = EDGE_M`` of the colour camera and a far one right of it, seen by a
    depth camera ``shift_m`` to its right."""
    pose = np.eye(4)
    pose[0, 3] = shift_m
    x = (np.arange(DEPTH.width) - DEPTH.cx) / DEPTH.fx
    row = np.where(x * NEAR_M + shift_m < EDGE_M, NEAR_M, FAR_M)
    depth = np.broadcast_to(row, (DEPTH.height, DEPTH.width)) * seen
    return RGBDFrame(
        rgb=np.zeros((COLOUR.height, COLOUR.width, 3), np.uint8),
        depth=DepthImage(np.ascontiguousarray(depth, np.float32), 1.0),
        intrinsics=COLOUR,
        frame_id="colour",
        depth_intrinsics=DEPTH,
        camera_T_depth=pose,
    )


@pytest.mark.parametrize("shift_m", [0.0, 0.06, -0.06])
def test_near_and_far_meet_where_colour_sees_them_meet(shift_m: float) -> None:
    model = Watcher()
    ReferPipeline(Pointer(model, FAMILIES["tuples"])).refer(frame(shift_m), "the wall", Mode.OBJECT)
    assert model.picture.shape == (COLOUR.height, COLOUR.width)
    edge_px = COLOUR.fx * EDGE_M / NEAR_M + COLOUR.cx
    # what only colour sees beside the edge is filled from its neighbours: up to this many pixels
    unseen_px = abs(shift_m) * COLOUR.fx * (1 / NEAR_M - 1 / FAR_M) + 4
    rows = slice(40, 200)
    assert (model.picture[rows, 5 : int(edge_px - unseen_px)] > 200).all()
    assert (model.picture[rows, int(edge_px + unseen_px) : 315] < 50).all()


def test_a_depth_camera_that_shows_nothing_is_told() -> None:
    with pytest.raises(NoValidDepthError):
        ReferPipeline(Watcher()).refer(frame(0.05, seen=False), "the wall", Mode.OBJECT)
