# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""How an image becomes the square tiles that the towers see."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

#: the float that the reference multiplies with; 1/255 itself differs in the last bit
_RESCALE = 0.00392156862745098

Tile = npt.NDArray[np.uint8]


def resize(image: Image.Image, width: int, height: int) -> Image.Image:
    """PIL's bicubic resize, horizontal pass first.

    Pillow 13 chooses the order of the passes itself and then differs by one unit in about a
    fifth of the pixels when one axis shrinks and the other grows; two calls fix the order.
    """
    return image.resize((width, image.height)).resize((width, height))


def closest_grid(width: int, height: int, minimum: int, maximum: int, tile: int) -> tuple[int, int]:
    """The ``(columns, rows)`` whose aspect ratio is nearest to the image's.

    Among equally near grids the larger wins only where the image has more than half of
    its pixels.
    """
    ratio = width / height
    candidates = sorted(
        (
            (columns, rows)
            for columns in range(1, maximum + 1)
            for rows in range(1, maximum + 1)
            if minimum <= columns * rows <= maximum
        ),
        key=lambda grid: grid[0] * grid[1],
    )
    best, best_difference = (1, 1), float("inf")
    for columns, rows in candidates:
        difference = abs(ratio - columns / rows)
        if difference < best_difference:
            best, best_difference = (columns, rows), difference
        elif difference == best_difference and width * height > 0.5 * tile * tile * columns * rows:
            best = (columns, rows)
    return best


def s2_grid(
    width: int, height: int, scales: Sequence[int], max_tiles: int, tile: int
) -> tuple[int, int]:
    """8B mode: ``(columns, rows)`` of the last scale, no fewer tiles than its square would have."""
    smallest = (scales[-1] // tile) ** 2
    return closest_grid(width, height, smallest, max(max_tiles, smallest), tile)


def cut(image: Image.Image, columns: int, rows: int, tile: int) -> list[Tile]:
    """Resize to the grid, whatever the aspect ratio, and cut row by row."""
    pixels = np.asarray(resize(image, columns * tile, rows * tile))
    return [
        pixels[r * tile : (r + 1) * tile, c * tile : (c + 1) * tile]
        for r in range(rows)
        for c in range(columns)
    ]


def dynamic_tiles(image: Image.Image, minimum: int, maximum: int, tile: int) -> list[Tile]:
    """2B mode: the grid's tiles and, if there are several, the whole image as the last one."""
    columns, rows = closest_grid(*image.size, minimum, maximum, tile)
    tiles = cut(image, columns, rows, tile)
    if len(tiles) > 1:
        tiles += cut(image, 1, 1, tile)
    return tiles


def dynamic_s2_tiles(
    image: Image.Image, scales: Sequence[int], max_tiles: int, tile: int
) -> tuple[list[Tile], tuple[int, int]]:
    """8B mode: square grids for all scales but the last, then one that follows the aspect ratio.

    Returns:
        The tiles and the last grid as ``(rows, columns)``.
    """
    tiles: list[Tile] = []
    for scale in scales[:-1]:
        side = scale // tile
        tiles += cut(image, side, side, tile)
    columns, rows = s2_grid(*image.size, scales, max_tiles, tile)
    tiles += cut(image, columns, rows, tile)
    return tiles, (rows, columns)


def pixel_values(tiles: Sequence[Tile], half: bool = True) -> torch.Tensor:
    """``[T, 3, S, S]`` in [-1, 1], with the rounding of the reference.

    Float16 at inference, whatever the type of the network; float32 (``half=False``) in training.
    """
    channels_first = np.stack([np.asarray(t).transpose(2, 0, 1) for t in tiles])
    return torch.from_numpy(pixel_table(half)[channels_first])


@functools.cache
def pixel_table(half: bool = True) -> npt.NDArray[np.floating]:
    """Value of each of the 256 grey levels: the rounding is the reference's, and done once.

    Args:
        half: Float16, as the reference has it at inference; else float32.
    """
    rescaled = (np.arange(256, dtype=np.float64) * _RESCALE).astype(np.float32)
    normalised: npt.NDArray[np.float32] = (rescaled - np.float32(0.5)) / np.float32(0.5)
    return normalised.astype(np.float16) if half else normalised
