# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""What the depth pictures of a folder look like: an inverted or metric folder shows here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

#: correlation with the image row from which a direction is told
_CLEAR = 0.15


@dataclass(frozen=True)
class DepthReport:
    """Means over some pictures.

    Attributes:
        pictures: Number that was looked at.
        formats: Pillow's mode, with ``(channels differ)`` where they do -> pictures.
        zero, full: Share of pixels with the least (0) and the greatest value of the format.
        row_correlation: Of the value with the image row; above 0 the bottom, which is mostly
            nearer, is brighter.
    """

    pictures: int
    formats: dict[str, int]
    zero: float
    full: float
    row_correlation: float

    @property
    def text(self) -> str:
        """In one line, with a warning where the depth is not of RefSpatial's kind."""
        formats = ", ".join(f"{count} {name}" for name, count in sorted(self.formats.items()))
        text = (
            f"{self.pictures} pictures ({formats}); {self.zero:.1%} are 0, {self.full:.1%} full; "
            f"correlation with the row {self.row_correlation:+.2f}"
        )
        if any(not name.startswith("8 bit, 3 equal") for name in self.formats):
            text += "; WARNING: not 8 bits with 3 equal channels, so it is converted"
        if self.row_correlation < -_CLEAR:
            return text + "; WARNING: far is bright (metric, or inverted?): see depth_encoding"
        return text + (
            "; near is bright" if self.row_correlation > _CLEAR else "; direction unclear"
        )


def depth_report(paths: Sequence[Path]) -> DepthReport:
    """Look at some depth pictures.

    Args:
        paths: Of good pictures.
    """
    formats: Counter[str] = Counter()
    zero, full, correlations = [], [], []
    for path in paths:
        with Image.open(path) as image:
            values = np.asarray(image)
        formats[_format(values)] += 1
        grey = values[..., 0] if values.ndim == 3 else values
        top = np.iinfo(grey.dtype).max if grey.dtype.kind in "iu" else np.inf
        zero.append(float(np.mean(grey == 0)))
        full.append(float(np.mean(grey == min(top, 65535))))
        correlations.append(_correlation(grey.astype(np.float64)))
    return DepthReport(
        len(paths),
        dict(formats),
        float(np.mean(zero)),
        float(np.mean(full)),
        float(np.mean(correlations)),
    )


def _format(values: np.ndarray) -> str:
    bits = {"u1": "8 bit", "b1": "1 bit"}.get(values.dtype.str[1:], "16 bit or more")
    if values.ndim == 2:
        return f"{bits}, 1 channel"
    channels = values.shape[2]
    equal = bool((values[..., :3] == values[..., :1]).all())
    return f"{bits}, {channels} {'equal' if equal else 'different'} channels"


def _correlation(grey: np.ndarray) -> float:
    known = grey > 0
    rows = np.broadcast_to(np.arange(grey.shape[0])[:, None], grey.shape)
    if known.sum() < 2 or grey[known].std() == 0 or rows[known].std() == 0:
        return 0.0
    return float(np.corrcoef(grey[known], rows[known])[0, 1])
