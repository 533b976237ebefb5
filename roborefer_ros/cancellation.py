# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""When an answer is no longer wanted: its deadline and its caller's wish, as one value."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from roborefer_ros.errors import CanceledError, DeadlineExceededError


def _never() -> bool:
    return False


@dataclass(frozen=True)
class Cancellation:
    """Deadline and cancel flag of one request, handed down to everything that works on it.

    Attributes:
        deadline: ``time.monotonic()`` value after which the work ends; None sets no limit.
        cancelled: Function that tells whether the caller has withdrawn; called from any thread.
        message: Text of the error when the caller has withdrawn.
    """

    deadline: float | None = None
    cancelled: Callable[[], bool] = _never
    message: str = "the goal was cancelled"

    def check(self) -> None:
        """Return while the work is wanted.

        Raises:
            CanceledError: The caller has withdrawn.
            DeadlineExceededError: The deadline has passed.
        """
        if self.cancelled():
            raise CanceledError(self.message)
        if self.deadline is not None and (late_s := time.monotonic() - self.deadline) > 0.0:
            raise DeadlineExceededError(
                f"the deadline passed {late_s:.2f} s ago; allow a longer timeout, or a smaller "
                "model"
            )
