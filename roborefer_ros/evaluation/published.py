# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Results that others published, in percent, with their sources.

RoboRefer's released checkpoints are not those of the paper: they were retrained with another
data ratio (the author in Zhoues/RoboRefer issue 24), so the rows measured on the released
weights are what a port should be held against.
"""

from __future__ import annotations

from dataclasses import dataclass

_PAPER = "arXiv 2506.04308 v4, table 2"
_EXPAND = "arXiv 2506.04308 v4, table 14"
_ISSUE = "Zhoues/RoboRefer issue 24, official scripts"
_ROBOTRACER = "arXiv 2512.13660, table 3"
_ROBOBRAIN = "arXiv 2507.02029, table 2"


@dataclass(frozen=True)
class PublishedRow:
    """One model on one benchmark.

    Attributes:
        model: Name that its authors use.
        scores: split -> percent.
        source: paper and table, or thread.
    """

    model: str
    scores: dict[str, float]
    source: str


def _refspatial(
    model: str, location: float, placement: float, unseen: float | None, source: str
) -> PublishedRow:
    scores = {"Location": location, "Placement": placement}
    return PublishedRow(model, scores | ({} if unseen is None else {"Unseen": unseen}), source)


def _where2place(model: str, percent: float, source: str) -> PublishedRow:
    return PublishedRow(model, {"Where2Place": percent}, source)


def _robospatial(model: str, percent: float, source: str) -> PublishedRow:
    return PublishedRow(model, {"Context": percent}, source)


#: benchmark -> rows
PUBLISHED: dict[str, tuple[PublishedRow, ...]] = {
    "RefSpatial-Bench": (
        _refspatial("RoboRefer-2B-SFT, released weights, RGB-D", 50.00, 51.00, 42.86, _ISSUE),
        _refspatial("RoboRefer-2B-SFT, released weights, RGB", 51.00, 49.00, 38.96, _ISSUE),
        _refspatial("RoboRefer-2B-SFT", 47.00, 48.00, 33.77, _PAPER),
        _refspatial("RoboRefer-8B-SFT", 52.00, 53.00, 37.66, _PAPER),
        _refspatial("RoboRefer-2B-RFT (not released)", 52.00, 54.00, 41.56, _PAPER),
        _refspatial("Gemini-2.5-Pro", 46.96, 24.21, 27.14, _PAPER),
        _refspatial("Molmo-72B", 45.77, 14.74, 21.24, _PAPER),
        _refspatial("Molmo-7B", 21.91, 12.85, 12.23, _PAPER),
        _refspatial("RoboPoint-13B", 22.87, 9.27, 8.40, _PAPER),
        _refspatial("SpaceLLaVA-13B", 5.82, 4.31, 4.02, _PAPER),
        _refspatial("RoboTracer-2B-SFT", 49.00, 45.00, None, _ROBOTRACER),
        _refspatial("RoboTracer-8B-SFT", 55.00, 53.00, None, _ROBOTRACER),
        _refspatial("Qwen3-VL-8B", 51.00, 42.00, None, _ROBOTRACER),
        _refspatial("RoboBrain 2.0 7B", 36.00, 29.00, None, _ROBOBRAIN),
        _refspatial("RoboBrain 2.0 32B", 54.00, 54.00, None, _ROBOBRAIN),
    ),
    "RefSpatial-Expand-Bench": (
        _refspatial("RoboRefer-2B-SFT", 50.21, 48.50, None, _EXPAND),
        _refspatial("RoboRefer-8B-SFT", 61.00, 60.00, None, _EXPAND),
    ),
    "Where2Place": (
        _where2place("RoboRefer-2B-SFT", 66.0, _PAPER),
        _where2place("RoboRefer-8B-SFT", 70.0, _PAPER),
        _where2place("RoboRefer-2B-RFT (not released)", 71.0, _PAPER),
        _where2place("Gemini-2.5-Pro", 61.9, _PAPER),
        _where2place("Molmo-72B", 63.8, _PAPER),
        _where2place("RoboPoint-13B", 46.8, _PAPER),
        _where2place("RoboTracer-8B-SFT", 69.0, _ROBOTRACER),
        _where2place("RoboBrain 2.0 32B", 73.59, _ROBOBRAIN),
    ),
    "RoboSpatial-Home": (
        _robospatial("RoboRefer-2B-SFT", 66.4, _PAPER),
        _robospatial("RoboRefer-8B-SFT", 70.8, _PAPER),
        _robospatial("RoboRefer-2B-RFT (not released)", 71.3, _PAPER),
        _robospatial("Gemini-2.5-Pro", 40.2, _PAPER),
        _robospatial("Molmo-72B", 40.9, _PAPER),
        _robospatial("RoboPoint-13B", 41.3, _PAPER),
        _robospatial("RoboTracer-8B-SFT", 66.4, _ROBOTRACER),
    ),
}
