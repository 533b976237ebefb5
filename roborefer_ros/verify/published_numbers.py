# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""A benchmark run beside published results and those that others reproduced."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from roborefer_ros.evaluation.published import PUBLISHED, PublishedRow

#: points of a percent that are not told apart whatever the interval: rounding, another library
_LEAST_POINTS = 1.0


@dataclass(frozen=True)
class SplitResult:
    """One split of a benchmark.

    Attributes:
        split: Its name.
        percent: Share of right answers here.
        low: Lower end of the 95 % interval, percent.
        high: Upper end of the 95 % interval, percent.
        count: Number of answers.
        published: ``(model and source, percent)`` of each published row of the checkpoint's size.
    """

    split: str
    percent: float
    low: float
    high: float
    count: int
    published: tuple[tuple[str, float], ...]

    @property
    def agrees(self) -> bool:
        """Whether a published number lies within the interval; True where none is known."""
        if not self.published:
            return True
        low = min(self.low, self.percent - _LEAST_POINTS)
        high = max(self.high, self.percent + _LEAST_POINTS)
        return any(low <= percent <= high for _, percent in self.published)


def compare(summary: dict[str, Any], size: str) -> list[SplitResult]:
    """The splits of a run.

    Args:
        summary: Content of the ``summary.json`` of ``roborefer evaluate``.
        size: "2B" or "8B"; other sizes have no published numbers.
    """
    rows = PUBLISHED.get(summary["benchmark"], ())
    own = [row for row in rows if row.model.startswith(f"RoboRefer-{size}-SFT")]
    results = []
    for group in summary["groups"]["split"]:
        score = group["scores"]["official"]
        if score["value"] is None:
            continue
        results.append(
            SplitResult(
                split=group["name"],
                percent=100.0 * score["value"],
                low=100.0 * _or(score["low"], score["value"]),
                high=100.0 * _or(score["high"], score["value"]),
                count=group["count"],
                published=tuple(_of_split(own, group["name"])),
            )
        )
    return results


def _of_split(rows: list[PublishedRow], split: str) -> list[tuple[str, float]]:
    return [
        (f"{row.model} ({row.source})", row.scores[split]) for row in rows if split in row.scores
    ]


def _or(value: float | None, other: float) -> float:
    return other if value is None else value
