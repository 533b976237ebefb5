# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""What a pointing model said: its text, and the points in it."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from roborefer_ros.types import ReasoningStep

NormalisedPoint = tuple[float, float]


@dataclass(frozen=True)
class Prediction:
    """What a pointing model said.

    Attributes:
        text: Raw answer, special tokens removed.
        points: ``(x, y)`` in [0, 1] in the order of the answer; never empty (a text
            without a point raises ``NoPointInAnswerError`` instead).
        confidences: Confidence of each point in [0, 1]; empty where the model tells none.
        token_logprobs: ``[T]`` natural log probability of each generated token, or None.
        timings_s: Duration of each stage, seconds.
        reasoning: Text that the model marked as thought, kept apart from the answer.
        steps: Well-formed steps in it.
        model: Spec of the model behind a server, where the server names it; else empty.
        depth_used: What a server says of the depth picture that its model saw, ``server`` (made
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
