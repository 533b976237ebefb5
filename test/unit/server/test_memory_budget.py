# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Decoded pictures of all requests stay within a bound, and what is refused costs nothing."""

from __future__ import annotations

import io
import tracemalloc

import numpy as np
import pytest
from PIL import Image

from roborefer_ros.errors import CanceledError, InvalidImageError, QueueFullError
from roborefer_ros.server.memory_budget import MemoryBudget
from roborefer_ros.server.pictures import (
    decode_depth_float32,
    decode_depth_png,
    decode_grey,
    decode_rgb,
)


def flat_png(width: int, height: int, mode: str = "L") -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, (width, height)).save(buffer, "PNG")
    return buffer.getvalue()


def test_shares_are_taken_and_given_back() -> None:
    budget = MemoryBudget(100)
    with budget.share() as first, budget.share() as second:
        first.take(60)
        second.take(40)
        with pytest.raises(QueueFullError, match="ask again later"):
            second.take(1)
        with pytest.raises(InvalidImageError, match="fewer or smaller"):
            first.take(41)
        assert budget.used_bytes == 100
    assert budget.used_bytes == 0
    with budget.share() as third:
        third.take(100)
        raised = pytest.raises(RuntimeError)
        with raised, budget.share():
            raise RuntimeError
        assert budget.used_bytes == 100


def test_a_thread_that_decodes_on_after_the_end_takes_nothing() -> None:
    budget = MemoryBudget(100)
    with budget.share() as share:
        pass
    with pytest.raises(CanceledError):
        share.take(1)
    assert budget.used_bytes == 0


def test_files_ask_for_their_pixels_before_these_are_unpacked() -> None:
    """A file of 40 kB holds 40 megapixels; nothing of them may be in memory when it asks."""
    data = flat_png(8000, 5000)
    assert len(data) < 80_000

    def refuse(size_bytes: int) -> None:
        assert size_bytes == 14 * 8000 * 5000
        raise QueueFullError("no room")

    tracemalloc.start()
    with pytest.raises(QueueFullError):
        decode_rgb(data, 10**9, reserve=refuse)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1_000_000


def test_every_kind_of_picture_asks() -> None:
    asked: list[int] = []
    decode_rgb(flat_png(7, 5), 100, reserve=asked.append)
    decode_grey(flat_png(7, 5), 100, reserve=asked.append)
    decode_depth_png(flat_png(7, 5, "I;16"), 0.001, 100, asked.append)
    decode_depth_float32(np.ones((5, 7), "<f4").tobytes(), 7, 5, 100, asked.append)
    assert asked == [14 * 35, 14 * 35, 16 * 35, 140]
