# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The model that proposes answers, in a thread of its own: the page works while it loads."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from roborefer_ros.cancellation import Cancellation
from roborefer_ros.errors import (
    ConfigurationError,
    NoPointInAnswerError,
    PointOutsideImageError,
    QueueFullError,
    RoboReferError,
    ShuttingDownError,
)
from roborefer_ros.pointing.nothing import says_nothing
from roborefer_ros.pointing.pointer import Pointer
from roborefer_ros.pointing.prediction import NormalisedPoint
from roborefer_ros.training.data.pictures import Picture

#: questions that may wait; a page asks one at a time
_MOST_WAITING = 4


@dataclass(frozen=True)
class Proposal:
    """What the model said.

    Attributes:
        text: The raw answer.
        points: ``(x, y)`` in [0, 1].
        not_there: Whether it says that the thing is not in the picture.
        remark: Why there is no point, or nothing.
    """

    text: str
    points: tuple[NormalisedPoint, ...] = ()
    not_there: bool = False
    remark: str = ""


class Assistant:
    """Opens a model in the background and asks it, one question at a time.

    Args:
        name: Spec of the model, empty for none.
        opener: Opens it.
        timeout_s: Longest time for an answer, seconds.
    """

    def __init__(self, name: str, opener: Callable[[], Pointer], timeout_s: float = 120.0) -> None:
        self.name = name
        self._timeout_s = timeout_s
        self._stopping = threading.Event()
        self._waiting = threading.BoundedSemaphore(_MOST_WAITING)
        self._thread: ThreadPoolExecutor | None = None
        self._opened: Future[Pointer] | None = None
        if name:
            self._thread = ThreadPoolExecutor(1, "assistant")
            self._opened = self._thread.submit(opener)

    @property
    def state(self) -> str:
        """``none``, ``loading``, ``ready``, or why the model cannot be used."""
        if self._opened is None:
            return "none"
        if not self._opened.done():
            return "loading"
        error = None if self._opened.cancelled() else self._opened.exception()
        if error is None:
            return "ready"
        known = isinstance(error, RoboReferError | ImportError | OSError)
        return str(error) if known else f"an unexpected {type(error).__name__}"

    def submit(
        self, rgb: Picture, depth: npt.NDArray[np.uint8] | None, question: str
    ) -> Future[Proposal]:
        """Ask.

        Args:
            rgb: ``[H, W, 3]`` uint8.
            depth: ``[H, W]`` uint8 relative inverse depth, or None.
            question: Words without a request for a format.

        Raises:
            ConfigurationError: There is no model, or it could not be opened.
            QueueFullError: Too many questions wait.
        """
        state = self.state
        if self._thread is None or state not in ("loading", "ready"):
            raise ConfigurationError(
                "no model was named; start with --model" if state == "none" else state
            )
        if not self._waiting.acquire(blocking=False):
            raise QueueFullError(f"{_MOST_WAITING} questions wait for the model; ask again later")
        future = self._thread.submit(self._ask, rgb, depth, question)
        future.add_done_callback(lambda _: self._waiting.release())
        return future

    def _ask(self, rgb: Picture, depth: npt.NDArray[np.uint8] | None, question: str) -> Proposal:
        if self._stopping.is_set():
            raise ShuttingDownError("the page is being closed")
        assert self._opened is not None
        pointer = self._opened.result()  # opened before this by the same thread
        try:
            answer = pointer.point(
                rgb,
                depth if pointer.uses_depth else None,
                question,
                cancellation=Cancellation(
                    time.monotonic() + self._timeout_s, self._stopping.is_set
                ),
            )
        except (NoPointInAnswerError, PointOutsideImageError) as error:
            return Proposal(error.answer, not_there=says_nothing(error.answer), remark=str(error))
        return Proposal(answer.text, answer.points)

    def close(self) -> None:
        """End what runs, and free the model."""
        self._stopping.set()
        if self._thread is None or self._opened is None:
            return
        if self.state == "ready":
            self._thread.submit(self._opened.result().close)
        self._thread.shutdown(wait=True)
