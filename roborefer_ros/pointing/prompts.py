# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""What each model family is asked."""

from __future__ import annotations

#: the request for points that RoboRefer was trained and is benchmarked with; keep verbatim
POINT_SUFFIX = (
    "Your answer should be formatted as a list of tuples, i.e. [(x1, y1)], where each tuple "
    "contains the x and y coordinates of a point satisfying the conditions above. The "
    "coordinates should be between 0 and 1, indicating the normalized pixel locations of the "
    "points in the image."
)


def roborefer_prompt(instruction: str) -> str:
    """The instruction, one space, the suffix (RefSpatial-Bench's form)."""
    return f"{instruction} {POINT_SUFFIX}"
