# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Depth pictures are made once for each frame, by one thread at a time."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from roborefer_ros.errors import ModelFailedError
from roborefer_ros.inference.model import Picture
from roborefer_ros.server.depth_pictures import DepthPictures


def frame(value: int) -> Picture:
    return Picture.of(np.full((4, 5, 3), value, np.uint8))


def test_once_for_each_frame_and_one_at_a_time() -> None:
    calls: list[int] = []
    inside = threading.Semaphore(1)

    def estimate(rgb: np.ndarray) -> np.ndarray:
        assert inside.acquire(blocking=False), "two threads in the network"
        time.sleep(0.005)
        calls.append(int(rgb[0, 0, 0]))
        inside.release()
        return rgb[..., 0] + 1

    depths = DepthPictures(estimate, capacity=2)
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda v: depths.of(frame(v)).pixels[0, 0], [1, 2, 1, 2, 1, 2]))
    assert made == [2, 3, 2, 3, 2, 3]
    assert sorted(calls) == [1, 2]
    depths.of(frame(1))
    depths.of(frame(3))  # 2 was used longest ago
    depths.of(frame(1))
    depths.of(frame(2))
    assert calls[2:] == [3, 2]


def test_failures_have_numbers() -> None:
    def broken(_: np.ndarray) -> np.ndarray:
        raise ValueError("secret")

    with pytest.raises(ModelFailedError):
        DepthPictures(broken).of(frame(1))
