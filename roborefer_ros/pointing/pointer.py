# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The Pointer protocol: what every pointing model offers, whatever runs behind it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from roborefer_ros.cancellation import Cancellation
from roborefer_ros.types import Mode, ReasoningStep

NormalisedPoint = tuple[float, float]


def _never() -> bool:
    return False


def _ignore(_: str) -> None:
    return None


@dataclass(frozen=True)
class PointerAnswer:
    """What a pointing model said.

    Attributes:
        text: the raw answer, special tokens removed.
        points: ``(x, y)`` in [0, 1] in the order of the answer; never empty (a text
            without a point raises ``NoPointInAnswerError`` instead).
        confidences: one per point in [0, 1], or empty where the model tells none.
        token_logprobs: ``[T]`` natural log probability of each generated token, or None.
        timings_s: seconds per stage.
        reasoning: text the model marked as thought, kept apart from the answer.
        steps: the well-formed steps in it.
        model: spec of the model behind a server, where the server names it; else empty.
        depth_used: what a server says of the depth picture that its model saw, ``server`` (made
            there) or ``none``; empty where it was shown the caller's.
    """

    text: str
    points: tuple[NormalisedPoint, ...]
    confidences: tuple[float, ...] = ()
    token_logprobs: npt.NDArray[np.float32] | None = None
    timings_s: dict[str, float] = field(default_factory=dict)
    reasoning: str = ""
    steps: tuple[ReasoningStep, ...] = ()
    model: str = ""
    depth_used: str = ""


@runtime_checkable
class Pointer(Protocol):
    """A model that points.  One call at a time; calls may come from any one thread."""

    @property
    def name(self) -> str:
        """The spec string it was opened from."""

    @property
    def uses_depth(self) -> bool:
        """Whether ``relative_depth`` changes the answer (else callers may skip computing it)."""

    def point(
        self,
        rgb: npt.NDArray[np.uint8],
        relative_depth: npt.NDArray[np.uint8] | None,
        instruction: str,
        mode: Mode = Mode.AUTO,
        *,
        max_points: int = 0,
        deadline: float | None = None,
        cancelled: Callable[[], bool] = _never,
        on_text: Callable[[str], None] = _ignore,
    ) -> PointerAnswer:
        """Point at what the instruction names.

        Args:
            rgb: ``[H, W, 3]`` uint8.
            relative_depth: ``[H, W]`` uint8 relative inverse depth, near = bright; None = RGB only.
            instruction: the user's words, without any format request (the pointer adds its own).
            mode: a hint; most models ignore it.
            max_points: keep at most this many points; 0 keeps all.
            deadline: ``time.monotonic()`` value after which to stop.
            cancelled: polled at least between tokens; True stops the call.
            on_text: receives the whole answer text so far, each time it grows.

        Raises:
            CanceledError, DeadlineExceededError, NoPointInAnswerError,
            PointOutsideImageError, ModelOutOfMemoryError, ModelFailedError,
            Backend*Error for remote models.
        """

    def close(self) -> None:
        """Free the model's memory and connections; the pointer is unusable afterwards."""


def check_interrupts(deadline: float | None, cancelled: Callable[[], bool]) -> None:
    """Raise if the goal was cancelled or its deadline has passed.

    Raises:
        CanceledError, DeadlineExceededError
    """
    Cancellation(deadline, cancelled).check()
