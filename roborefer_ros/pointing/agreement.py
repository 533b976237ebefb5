# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Confidence from agreement: ask again with sampling, count how often a point comes back.

Self-consistency (arXiv 2203.11171) for points.  It works for models that tell no token
probabilities, and sees doubts that lie before the coordinates; it costs k further answers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from roborefer_ros.pointing.prediction import NormalisedPoint

#: points this close count as the same, as a share of the image's diagonal
SAME_PLACE = 0.05

#: of the further answers; 0 would repeat the first one
SAMPLING_TEMPERATURE = 0.7


def agreement(
    points: Sequence[NormalisedPoint],
    samples: Sequence[Sequence[NormalisedPoint]],
    aspect_ratio: float,
    radius: float = SAME_PLACE,
) -> tuple[float, ...]:
    """For each point the share of samples that hold a point at the same place.

    With k samples, of which n agree, the estimate is (n + 1) / (k + 2) (Laplace's rule of
    succession), so that a handful of samples claims neither certainty nor impossibility.

    Args:
        points: Normalised points of the answer.
        samples: points of each further answer; an empty one disagrees.
        aspect_ratio: width / height of the image.
        radius: share of the image's diagonal within which two points are the same place.
    """
    limit = radius * math.hypot(aspect_ratio, 1.0)

    def near(a: NormalisedPoint, b: NormalisedPoint) -> bool:
        return math.hypot((a[0] - b[0]) * aspect_ratio, a[1] - b[1]) <= limit

    return tuple(
        (sum(any(near(p, q) for q in sample) for sample in samples) + 1) / (len(samples) + 2)
        for p in points
    )
