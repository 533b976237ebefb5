# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Tiles made with torch are, bit by bit, those that Pillow and NumPy make."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from roborefer_ros.models.roborefer.checkpoint import load_roborefer
from roborefer_ros.models.roborefer.device_resize import resize_on_device
from roborefer_ros.models.roborefer.tiling import pixel_table, pixel_values, resize

GOLDEN = Path(__file__).resolve().parents[2] / "data" / "golden"

CPU = torch.device("cpu")

SIDE = st.integers(1, 200)


@settings(max_examples=80, deadline=None)
@given(SIDE, SIDE, SIDE, SIDE, st.integers(0, 2**31), st.booleans())
def test_resizing_is_pillows(
    width: int, height: int, new_width: int, new_height: int, seed: int, hard: bool
) -> None:
    """Black and white edges overshoot, which is where rounding and clipping show."""
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    if hard:
        pixels = np.where(pixels > 127, 255, 0).astype(np.uint8)
    wanted = np.asarray(resize(Image.fromarray(pixels), new_width, new_height))
    planes = torch.from_numpy(pixels).permute(2, 0, 1)
    made = resize_on_device(planes, new_width, new_height).permute(1, 2, 0).numpy()
    assert (made == wanted).all()


@pytest.mark.parametrize("mode", ["2b", "8b"])
@pytest.mark.parametrize("size", [(60, 40), (176, 132), (33, 211), (640, 480)])
@pytest.mark.parametrize("channels", [1, 3])
def test_tiles_of_a_device_are_those_of_the_cpu(
    mode: str, size: tuple[int, int], channels: int
) -> None:
    _, processor = load_roborefer(GOLDEN / f"tiny-{mode}-style")
    picture: Any = np.random.default_rng(1).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    picture = picture if channels == 3 else picture[..., 0]  # not contiguous
    wanted, made = processor.tile([picture]), processor.tile_on(picture, CPU)
    assert made.counts == wanted.counts
    assert made.block_sizes == wanted.block_sizes
    assert made.pixel_values is not None
    assert made.pixel_values.dtype == torch.float16
    assert torch.equal(made.pixel_values, wanted.pixel_values)


@pytest.mark.gpu
@pytest.mark.parametrize("mode", ["2b", "8b"])
def test_tiles_of_a_gpu_are_those_of_the_cpu(mode: str) -> None:
    _, processor = load_roborefer(GOLDEN / f"tiny-{mode}-style")
    picture = np.random.default_rng(1).integers(0, 256, (480, 640, 3), dtype=np.uint8)
    made = processor.tile_on(picture, torch.device("cuda")).pixel_values
    assert made is not None
    assert torch.equal(made.cpu(), processor.tile([picture]).pixel_values)


@pytest.mark.parametrize("picture", [np.zeros((4, 4, 2), np.uint8), np.zeros((4, 4, 3))])
def test_pictures_of_another_kind_are_refused(picture: Any) -> None:
    _, processor = load_roborefer(GOLDEN / "tiny-2b-style")
    with pytest.raises(ValueError, match="uint8"):
        processor.tile_on(picture, CPU)


@pytest.mark.parametrize("half", [True, False])
def test_the_table_of_pixel_values_rounds_as_the_reference(half: bool) -> None:
    """The reference's image processor computes each pixel: float64, float32, then float16."""
    tile = np.arange(768, dtype=np.int64).reshape(16, 16, 3).astype(np.uint8)
    rescaled = (tile.astype(np.float64) * 0.00392156862745098).astype(np.float32)
    wanted = ((rescaled - np.float32(0.5)) / np.float32(0.5)).transpose(2, 0, 1)
    made = pixel_values([tile], half)[0].numpy()
    assert made.dtype == (np.float16 if half else np.float32)
    assert (made == wanted.astype(made.dtype)).all()
    assert len(pixel_table(half)) == 256
