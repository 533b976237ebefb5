# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The pointer without a model."""

from __future__ import annotations

import numpy as np
import pytest

from roborefer_ros.errors import NoPointInAnswerError
from roborefer_ros.pointing.factory import open_pointer

RGB = np.zeros((4, 6, 3), np.uint8)


def test_the_instruction_is_the_answer() -> None:
    answer = open_pointer("echo").point(RGB, None, "[(0.25, 0.5), (0.75, 0.5)]", max_points=1)
    assert answer.points == ((0.25, 0.5),)


def test_words_are_told_from_a_model_that_does_not_point() -> None:
    """Who forgot that no model runs is not sent to look at a checkpoint."""
    with pytest.raises(NoPointInAnswerError, match="'the mug'.*'echo'"):
        open_pointer("echo").point(RGB, None, "the mug")
