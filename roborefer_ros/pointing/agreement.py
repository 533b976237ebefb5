# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Confidence from agreement: ask again with sampling, count how often a point comes back.

Self-consistency (arXiv 2203.11171) for points.  It works for models that tell no token
probabilities, and sees doubts that lie before the coordinates; it costs k further answers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

from roborefer_ros.errors import NoPointInAnswerError, PointOutsideImageError
from roborefer_ros.pointing.pointer import NormalisedPoint, PointerAnswer

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
        points: of the answer, normalised.
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


def with_agreement(
    answer: PointerAnswer,
    ask_again: Callable[[int], PointerAnswer],
    samples: int,
    aspect_ratio: float,
) -> PointerAnswer:
    """Replace the confidences of an answer by its agreement with further ones.

    Args:
        answer: the greedy answer; its points are kept.
        ask_again: answers with sampling; given the number of the sample, from 0.
        samples: how many further answers; 0 returns ``answer`` unchanged.
        aspect_ratio: width / height of the image.

    Raises:
        whatever ``ask_again`` raises, except for answers without a usable point.
    """
    if not samples:
        return answer
    drawn: list[Sequence[NormalisedPoint]] = []
    for index in range(samples):
        try:
            drawn.append(ask_again(index).points)
        except (NoPointInAnswerError, PointOutsideImageError):
            drawn.append(())
    return replace(answer, confidences=agreement(answer.points, drawn, aspect_ratio))
