# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Telling a metric depth network, whose weights fit a relative one's layers, by what it answers.

The authors' metric files (``metric_depth/`` in their repository) hold the same names and shapes as
the relative ones.  Only what follows the last layer differs: a ReLU for relative inverse depth, so
that the nearest things have the largest outputs; a sigmoid times the largest depth (20 or 80 m) for
metric depth, so that the nearest have the lowest, and below half of the largest depth all are
negative.  Three drawn pictures, whose geometry is known, show which it is.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch

#: rows and columns of a picture; multiples of a patch
_ROWS, _COLUMNS = 140, 182

#: half sizes of the rooms, metres: to the side, floor, ceiling, far wall
_ROOMS = ((1.5, 1.0, 1.5, 14.0), (40.0, 1.2, 40.0, 40.0), (1.0, 3.0, 3.0, 10.0))

#: the last one's view is turned, so that its left wall is near and its right far
_TURNS_RAD = (0.0, 0.0, 0.7)

_NEAR, _FAR = 0.25, 0.75


def drawn_rooms() -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float64]]:
    """Three rooms with chequered walls.

    Returns:
        RGB ``[3, H, W, 3]`` uint8, and the depth along the optical axis ``[3, H, W]``, metres.
    """
    v, u = np.mgrid[:_ROWS, :_COLUMNS]
    x, y = (u + 0.5) / _COLUMNS - 0.5, ((v + 0.5) - _ROWS / 2) / _COLUMNS
    rays = np.stack([x / 0.7, y / 0.7, np.ones_like(x)], -1)
    pictures, depths = [], []
    for (side, floor, ceiling, end), turn in zip(_ROOMS, _TURNS_RAD, strict=True):
        cos, sin = np.cos(turn), np.sin(turn)
        seen = rays @ np.array([[cos, 0, sin], [0, 1, 0], [-sin, 0, cos]])
        with np.errstate(divide="ignore"):
            reach = np.stack(
                [
                    side / np.abs(seen[..., 0]),
                    np.where(seen[..., 1] > 0, floor, ceiling) / np.abs(seen[..., 1]),
                    np.where(seen[..., 2] > 0, end, 2.0) / np.abs(seen[..., 2]),
                ]
            )
        face, depth = reach.argmin(0), reach.min(0)
        points = seen * depth[..., None]
        squares = np.floor(points * 2.0 + 1e-6).astype(int).sum(-1) % 2
        colour = np.array([[150, 140, 120], [120, 100, 80], [170, 175, 180]])[face]
        pictures.append((colour * np.where(squares, 1.0, 0.6)[..., None]).astype(np.uint8))
        depths.append(depth)
    return np.stack(pictures), np.stack(depths)


@torch.inference_mode()
def looks_metric(network: Any, pixels: torch.Tensor, depths: npt.NDArray[np.float64]) -> bool:
    """Whether the outputs are those of a metric network; False where that cannot be told.

    In each picture nearly all of the nearest quarter must be below zero, which makes a relative
    network blind there, and the farthest quarter above it in the mean.

    Args:
        network: transformers' ``DepthAnythingForDepthEstimation``.
        pixels: Normalised rooms ``[3, 3, H, W]``, on the network's device and in its type.
        depths: As ``drawn_rooms``.
    """
    last: list[torch.Tensor] = []
    hook = network.head.conv3.register_forward_hook(lambda _, __, out: last.append(out))
    try:
        network(pixels)
    finally:
        hook.remove()
    outputs = last[0][:, 0].float().cpu().numpy()
    for output, depth in zip(outputs, depths, strict=True):
        if output.shape != depth.shape:
            return False
        near = output[depth <= np.quantile(depth, _NEAR)]
        far = output[depth >= np.quantile(depth, _FAR)]
        if (near >= 0).mean() > 0.05 or not far.mean() > near.mean() + near.std():
            return False
    return True
