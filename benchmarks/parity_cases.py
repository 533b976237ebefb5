# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""What the checks of ``parity`` share: an opened checkpoint, arrays, their difference."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from roborefer_ros.models.roborefer.modeling import RoboRefer
from roborefer_ros.models.roborefer.processing import RoboReferProcessor

Arrays = dict[str, npt.NDArray[Any]]

#: stage, difference, tolerance
Rows = Iterator[tuple[str, float, float]]

#: stage -> tolerance in float32.  Pixels and ids are exact in every type.
FLOAT32 = {"tower": 1e-5, "embeds": 1e-5, "spliced": 1e-5, "logits": 1e-4, "loss": 1e-4}
#: the goldens are float32; what the small types may differ from them at the goldens' scale
FLOAT16 = {"tower": 4e-2, "embeds": 4e-2, "spliced": 4e-2, "logits": 0.1, "loss": 0.1}
BFLOAT16 = {stage: 8 * tolerance for stage, tolerance in FLOAT16.items()}  # 3 bits less
TOLERANCES = {torch.float32: FLOAT32, torch.float16: FLOAT16, torch.bfloat16: BFLOAT16}


@dataclass(frozen=True)
class Opened:
    """A checkpoint with the ids of the tokens that matter."""

    name: str
    model: RoboRefer
    processor: RoboReferProcessor
    tolerances: dict[str, float]


def read_picture(path: Path) -> npt.NDArray[np.uint8]:
    """A PNG as uint8 ``[H, W, 3]``; EXIF orientation is not applied, as in the reference."""
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def difference(ours: Any, theirs: Any) -> float:
    """Largest absolute difference; infinite where the shapes differ."""
    a, b = (np.asarray(_plain(x), dtype=np.float64) for x in (ours, theirs))
    if a.shape != b.shape:
        return math.inf
    return float(np.abs(a - b).max()) if a.size else 0.0


def _plain(values: Any) -> Any:
    return values.detach().double().cpu().numpy() if isinstance(values, torch.Tensor) else values
