# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Pillow's bicubic resize of 8-bit pictures in torch, bit by bit, on any device.

One upload of the picture's bytes then replaces resizing on the CPU and the upload of all tiles in
16 bit.  Pillow works in integers: the weights of a pass are rounded to 22 fractional bits, each
output is their sum with the pixels, rounded and clipped to 8 bits, before the next pass.  The
same integers here give the same pixels (``src/libImaging/Resample.c`` tells the rules).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from roborefer_ros.models.roborefer.tiling import pixel_table

#: fractional bits of a weight: 8 bits are the pixel's, 2 are room for negative lobes
_BITS = 32 - 8 - 2

#: half width of the bicubic kernel, pixels, and its parameter
_SUPPORT, _A = 2.0, -0.5


def _bicubic(x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Keys' cubic convolution kernel with a = -0.5."""
    x = np.abs(x)
    near = ((_A + 2.0) * x - (_A + 3.0)) * x * x + 1.0
    far = (((x - 5.0) * x + 8.0) * x - 4.0) * _A
    return np.where(x < 1.0, near, np.where(x < 2.0, far, 0.0))


@functools.lru_cache(maxsize=64)
def pass_weights(size: int, target: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32]]:
    """Which pixels of a line make which of the resized line.

    Args:
        size: Pixels of the line.
        target: Pixels of the resized line.

    Returns:
        ``[taps, target]`` indices into the line, and weights times 2**22; weights beyond the
        kernel are 0.
    """
    scale = size / target
    stretch = max(scale, 1.0)
    support = _SUPPORT * stretch
    taps = math.ceil(support) * 2 + 1
    centres = (np.arange(target) + 0.5) * scale
    first = np.maximum((centres - support + 0.5).astype(np.int64), 0)  # C truncates
    last = np.minimum((centres + support + 0.5).astype(np.int64), size)
    places = np.arange(taps)[:, None] + first
    weights = _bicubic((places - centres + 0.5) * (1.0 / stretch))
    weights[places >= last] = 0.0
    # Pillow adds the weights one after the other.
    total = functools.reduce(np.add, weights)
    weights = np.where(total != 0.0, weights * (1.0 / np.where(total != 0.0, total, 1.0)), weights)
    fixed = np.trunc(weights * (1 << _BITS) + np.where(weights < 0.0, -0.5, 0.5)).astype(np.int32)
    return np.minimum(places, size - 1), fixed


def _resized_axis(pixels: torch.Tensor, target: int, axis: int) -> torch.Tensor:
    """One pass along an axis of uint8 pixels."""
    size = pixels.shape[axis]
    if size == target:
        return pixels
    places, weights = pass_weights(size, target)
    index = torch.from_numpy(places).to(pixels.device)
    factors = torch.from_numpy(weights).to(pixels.device)
    shape = [1] * pixels.ndim
    shape[axis] = target
    total: torch.Tensor | None = None
    for place, factor in zip(index, factors, strict=True):
        part = pixels.index_select(axis, place).to(torch.int32) * factor.reshape(shape)
        total = part if total is None else total.add_(part)
    assert total is not None
    total += 1 << (_BITS - 1)
    return (total >> _BITS).clamp_(0, 255).to(torch.uint8)


def resize_on_device(pixels: torch.Tensor, width: int, height: int) -> torch.Tensor:
    """Pillow's bicubic resize, the horizontal pass first.

    Args:
        pixels: ``[..., H, W]`` uint8 planes.
        width: New width, pixels.
        height: New height, pixels.

    Returns:
        ``[..., height, width]`` uint8.
    """
    return _resized_axis(_resized_axis(pixels, width, -1), height, -2)


def cut_on_device(pixels: torch.Tensor, columns: int, rows: int, tile: int) -> torch.Tensor:
    """Resize ``[C, H, W]`` to a grid and cut it row by row: ``[rows * columns, C, S, S]``."""
    whole = resize_on_device(pixels, columns * tile, rows * tile)
    grid = whole.reshape(-1, rows, tile, columns, tile).permute(1, 3, 0, 2, 4)
    return grid.reshape(rows * columns, -1, tile, tile)


def tile_on_device(
    picture: npt.NDArray[np.uint8],
    grids: Sequence[tuple[int, int]],
    tile: int,
    device: torch.device,
) -> torch.Tensor:
    """The pixel values of a picture's tiles, from one upload of its bytes.

    Args:
        picture: ``[H, W]`` or ``[H, W, 3]`` uint8.
        grids: ``(columns, rows)`` of each grid, in the order of its tiles.
        tile: Side of a tile, pixels.
        device: Where the tiles are made.

    Returns:
        ``[T, 3, S, S]`` float16 on the device, bit by bit those that are made on the CPU.
    """
    bytes_ = torch.from_numpy(np.ascontiguousarray(picture))
    if device.type == "cuda":
        bytes_ = bytes_.pin_memory()
    planes = bytes_.to(device, non_blocking=True)
    planes = planes[None] if planes.ndim == 2 else planes.permute(2, 0, 1).contiguous()
    tiles = torch.cat([cut_on_device(planes, columns, rows, tile) for columns, rows in grids])
    values = torch.from_numpy(pixel_table()).to(device)
    return values[tiles.to(torch.int32)].expand(-1, 3, -1, -1)
