# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Which questions are kept, so that no answer can be guessed from its frequency."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

#: no answer option of a kind of question has a larger share
MOST_SHARE = 0.58
#: kinds with fewer questions are left alone
LEAST_COUNT = 5


class Balance:
    """Counts all options first, then keeps an even spread of those that are too frequent.

    Args:
        counts: Kind of question -> option -> how often.
    """

    def __init__(self, counts: Mapping[str, Mapping[str, int]]) -> None:
        self._limits = {kind: limits(options) for kind, options in counts.items()}
        self._counts = counts
        self._seen: Counter[tuple[str, str]] = Counter()

    def keeps(self, kind: str, option: str) -> bool:
        """Whether the next question of a kind with this answer is kept; asked once for each."""
        if not option:
            return True
        total, limit = self._counts[kind][option], self._limits[kind][option]
        index = self._seen[kind, option]
        self._seen[kind, option] += 1
        return (index + 1) * limit // total > index * limit // total


def limits(options: Mapping[str, int]) -> dict[str, int]:
    """How many of each option are kept."""
    total = sum(options.values())
    if total < LEAST_COUNT:
        return dict(options)
    ratio = MOST_SHARE / (1 - MOST_SHARE)
    return {option: min(count, int(ratio * (total - count))) for option, count in options.items()}
