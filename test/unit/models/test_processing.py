# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""From text and pictures to ids and tiles."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from roborefer_ros.models.roborefer.checkpoint import load_roborefer
from roborefer_ros.models.roborefer.modeling import RoboRefer, cut_blocks, mosaic, resample
from roborefer_ros.models.roborefer.processing import (
    PLACEHOLDERS,
    Depth,
    RoboReferProcessor,
    without_placeholders,
)
from roborefer_ros.models.roborefer.tiling import closest_grid, cut, resize

GOLDEN = Path(__file__).resolve().parents[2] / "data" / "golden"

Opened = tuple[RoboRefer, RoboReferProcessor]

WIDE = np.arange(40 * 80 * 3, dtype=np.uint32).reshape(40, 80, 3).astype(np.uint8)  # 2:1
SQUARE = WIDE[:, :40]


@pytest.fixture(scope="module")
def opened() -> dict[str, Opened]:
    return {mode: load_roborefer(GOLDEN / f"tiny-{mode}-style") for mode in ("2b", "8b")}


def content(processor: RoboReferProcessor, ids: torch.Tensor) -> str:
    text = str(processor.tokenizer.decode(ids.tolist()))
    head = "<|im_start|>system\nYou are a helpful assistant<|im_end|>\n<|im_start|>user\n"
    tail = "<|im_end|>\n<|im_start|>assistant\n"
    assert text.startswith(head)
    assert text.endswith(tail)
    return text[len(head) : -len(tail)]


# 80x40 is small for its 2:1 grid: one by two tiles and the whole image.
@pytest.mark.parametrize(
    ("mode", "parts", "expected"),
    [
        ("2b", [WIDE, Depth(SQUARE), "T"], "<image>\n" * 3 + " <depth>\n\nT"),
        ("2b", [WIDE, "T"], "<image>\n" * 3 + "T"),
        ("2b", [WIDE, SQUARE, "T"], "<image>\n" * 4 + "T"),
        (
            "2b",
            [SQUARE, WIDE, Depth(WIDE), Depth(SQUARE), "T"],
            "<image>\n " + "<depth>\n" * 3 + "\n" + "<image>\n" * 3 + " <depth>\n\nT",
        ),
        ("2b", [SQUARE, SQUARE, Depth(SQUARE), "T"], "<image>\n<image>\n<depth>\nT"),
        ("2b", ["T ", SQUARE, " U"], "T <image>\n U"),
        ("2b", ["T ", SQUARE, " U", Depth(SQUARE)], "<image>\n <depth>\n\nT  U"),
        ("2b", ["look at <image> and <depth>", SQUARE], "look at  and<image>"),
        ("8b", [WIDE, Depth(SQUARE), "T"], "<image> <depth>\nT"),
        ("8b", [WIDE, WIDE, Depth(WIDE), Depth(WIDE), "T"], "<image> <depth>\n" * 2 + "T"),
        ("8b", [WIDE, "T"], "<image>T"),
        ("8b", [WIDE, SQUARE, "T"], "<image><image>T"),
        ("8b", ["only <vila/video>text"], "only text"),
    ],
)
def test_prompt(opened: dict[str, Opened], mode: str, parts: list[object], expected: str) -> None:
    model, processor = opened[mode]
    inputs = processor.from_parts(parts)  # type: ignore[arg-type]
    assert content(processor, inputs.input_ids) == expected
    images, depths = [], []
    if inputs.image_pixel_values is not None:
        images = model.encode_images(inputs.image_pixel_values, inputs.image_block_sizes)
    if inputs.depth_pixel_values is not None:
        depths = model.encode_depths(inputs.depth_pixel_values, inputs.depth_block_sizes)
    embeds = model.splice(inputs.input_ids, images, depths, **processor.splice_ids)
    rows = sum(map(len, images + depths))
    assert len(embeds) == len(inputs.input_ids) + rows


@given(st.text("<>image/vlodpthA ", max_size=60) | st.lists(st.sampled_from(["<im", "age>", "<d"])))
def test_no_typed_placeholder_survives(text: str | list[str]) -> None:
    text = "".join(text)
    cleaned = without_placeholders(text)
    assert not any(placeholder in cleaned for placeholder in PLACEHOLDERS)
    if not any(placeholder in text for placeholder in PLACEHOLDERS):
        assert cleaned == text


def test_nested_placeholders_are_removed() -> None:
    assert without_placeholders("a <im<image>age> b ") == "a  b"
    assert without_placeholders(" kept as it is ") == " kept as it is "


def test_several_images_are_encoded_as_each_alone(opened: dict[str, Opened]) -> None:
    for model, processor in opened.values():
        both = processor("T", [WIDE, SQUARE])
        rows = model.encode_images(both.image_pixel_values, both.image_block_sizes)
        alone = []
        for picture in (WIDE, SQUARE):
            one = processor("T", [picture])
            alone += model.encode_images(one.image_pixel_values, one.image_block_sizes)
        assert len(rows) == len(alone)
        for a, b in zip(rows, alone, strict=True):
            assert torch.allclose(a, b, atol=1e-6)


def test_grey_pictures_are_replicated_and_others_refused(opened: dict[str, Opened]) -> None:
    processor = opened["2b"][1]
    grey = SQUARE[..., 0]
    a = processor("T", [SQUARE], [grey]).depth_pixel_values
    b = processor("T", [SQUARE], [np.stack([grey] * 3, -1)]).depth_pixel_values
    assert a is not None
    assert b is not None
    assert torch.equal(a, b)
    for bad in (grey.astype(np.uint16), SQUARE[..., :2], np.zeros((4, 4, 4), np.uint8)):
        with pytest.raises(ValueError, match="uint8"):
            processor("T", [bad])


# --- tiles -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "grid"),
    [((640, 480), (4, 3)), ((480, 640), (3, 4)), ((1280, 720), (4, 2)), ((960, 540), (2, 1))]
    + [((800, 800), (2, 2)), ((448, 448), (1, 1)), ((672, 448), (3, 2)), ((100, 5000), (1, 12))],
)
def test_grid(size: tuple[int, int], grid: tuple[int, int]) -> None:
    assert closest_grid(*size, 1, 12, 448) == grid


def test_tiles_are_cut_row_by_row() -> None:
    image = Image.fromarray(np.arange(6, dtype=np.uint8).reshape(2, 3).repeat(4, 0).repeat(4, 1))
    tiles = cut(image, 3, 2, 4)
    assert [int(t.mean()) for t in tiles] == [0, 1, 2, 3, 4, 5]


def test_resize_has_one_result_whatever_the_pillow() -> None:
    """Against a plain bicubic convolution, width first, as all Pillows before 13 compute it."""
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 256, (50, 31), dtype=np.uint8)
    got = np.asarray(resize(Image.fromarray(picture), 44, 23)).astype(int)
    wide = np.clip(np.floor(_bicubic(31, 44) @ picture.T + 0.5), 0, 255).T
    expected = np.clip(np.floor(_bicubic(50, 23) @ wide + 0.5), 0, 255)
    # Pillow's weights have 22 bits: a value half way may fall on the other side.
    assert (got != expected).mean() < 0.005
    assert np.abs(got - expected).max() <= 1


def _bicubic(old: int, new: int) -> np.ndarray:
    """Weights of an antialiased bicubic resize (a = -0.5), ``[new, old]``."""
    scale = max(old / new, 1.0)
    centre = (np.arange(new) + 0.5) * old / new
    x = np.abs((np.arange(old)[None] + 0.5 - centre[:, None]) / scale)
    near, far = (1.5 * x - 2.5) * x * x + 1, ((-0.5 * x + 2.5) * x - 4) * x + 2
    weights = np.where(x < 1, near, np.where(x < 2, far, 0.0))
    return weights / weights.sum(1, keepdims=True)


def test_blocks_and_mosaic_are_inverse_and_in_raster_order() -> None:
    image = torch.arange(2 * 3 * 16.0).reshape(8, 12, 1)
    blocks = cut_blocks(image, 4)
    assert blocks.shape == (6, 16, 1)
    assert blocks[1, 0, 0] == 4
    assert blocks[3, 0, 0] == 48
    assert blocks[0, 4, 0] == 12
    assert torch.equal(mosaic(blocks, 2, 3, 4), image)


def test_resampling_averages_areas() -> None:
    """8 to 12 rows: each new row covers one or two old ones (adaptive average pooling)."""
    image = torch.randn(8, 8, 2, dtype=torch.float64)
    got = resample(image, (12, 8))
    for row in range(12):
        first, last = row * 8 // 12, -(-(row + 1) * 8 // 12)
        assert torch.allclose(got[row], image[first:last].mean(0), atol=1e-6)
    assert got.dtype == torch.float64
