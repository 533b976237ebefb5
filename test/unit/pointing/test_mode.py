# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Whether words ask for a thing or for a free spot, and who hears of it."""

from __future__ import annotations

import numpy as np
import pytest

from roborefer_ros.errors import NoDepthAtPointError, RoboReferError
from roborefer_ros.frame import CameraIntrinsics, DepthImage, Mode, PointFlag, RGBDFrame
from roborefer_ros.pipeline import ReferPipeline
from roborefer_ros.pointing.echo import EchoPointer
from roborefer_ros.pointing.mode import read_instruction, resolve_mode


def _table(valid: bool = True) -> RGBDFrame:
    """A wall at 1 m, or nothing."""
    depth = DepthImage(np.full((48, 64), 1000 if valid else 0, np.uint16), 0.001)
    camera = CameraIntrinsics(64, 48, 60.0, 60.0, 31.5, 23.5)
    return RGBDFrame(np.zeros((48, 64, 3), np.uint8), depth, camera, "camera")


def test_a_mode_that_was_asked_for_stands() -> None:
    reading = read_instruction("put it next to the plate", Mode.OBJECT)
    assert reading.mode == Mode.OBJECT
    assert "asked for" in reading.reason


def test_the_function_returns_mode_and_reason() -> None:
    mode, reason = resolve_mode("the free space between the mug and the plate")
    assert mode == Mode.FREE_SPACE
    assert "free space" in reason


@pytest.mark.parametrize(
    ("words", "mode"), [("put it down at", Mode.FREE_SPACE), ("the mug at", Mode.OBJECT)]
)
def test_the_pipeline_lifts_as_the_words_say(words: str, mode: Mode) -> None:
    """The mode of the words is the mode of the lifting, and of the result."""
    result = ReferPipeline(EchoPointer()).refer(_table(), f"{words} [(0.5, 0.5)]")
    assert result.mode == mode
    assert result.mode_reason
    is_support = PointFlag.SUPPORT_PLANE in result.points[0].flags
    assert is_support == (mode == Mode.FREE_SPACE)


def test_a_failure_tells_the_mode() -> None:
    result = ReferPipeline(EchoPointer()).refer(_table(valid=False), "the mug at [(0.5, 0.5)]")
    failed = result.failure()
    assert failed is not None and failed.mode == Mode.OBJECT
    assert failed.mode_reason
    with pytest.raises(RoboReferError) as caught:
        ReferPipeline(EchoPointer()).refer(_table(), "put it on the mug")
    assert caught.value.mode == Mode.FREE_SPACE
    assert NoDepthAtPointError.mode == 0
