# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Putting many questions to a model, and the depth pictures that go with them."""

from __future__ import annotations

import queue
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice

import numpy as np
import numpy.typing as npt

from roborefer_ros.errors import (
    RoboReferError,
)
from roborefer_ros.evaluation.lifted import frame_of, has_truth
from roborefer_ros.evaluation.questions import BenchmarkQuestion
from roborefer_ros.inference.model import (
    Picture,
    Request,
    complete_all,
)
from roborefer_ros.pipeline import DepthEstimator
from roborefer_ros.pointing.depth_input import relative_depth_from_metric
from roborefer_ros.pointing.model_pointer import ModelPointer

#: question, its picture -> the relative depth picture for the model, or None
DepthSource = Callable[[BenchmarkQuestion, npt.NDArray[np.uint8]], npt.NDArray[np.uint8] | None]

#: question -> the whole text that the model is asked
TextOf = Callable[[BenchmarkQuestion], str]

#: the model's raw text, or why there is none
Outcome = str | RoboReferError

#: a longer answer is cut off
MAX_NEW_TOKENS = 512

#: predicted depth pictures that are kept; questions on one picture do not follow each other
_KEPT_DEPTHS = 256


def no_depth(_: BenchmarkQuestion, __: npt.NDArray[np.uint8]) -> None:
    """A ``DepthSource`` for colour alone."""
    return None


def benchmark_depth(
    question: BenchmarkQuestion, _: npt.NDArray[np.uint8]
) -> npt.NDArray[np.uint8] | None:
    """The benchmark's depth in the form that the model was trained on; None without one."""
    if not has_truth(question):
        return None
    return relative_depth_from_metric(frame_of(question).depth.metres())


def predicted_depth(estimator: DepthEstimator) -> DepthSource:
    """Depth predicted from colour, the reference's way; once per picture."""
    kept: OrderedDict[str, npt.NDArray[np.uint8]] = OrderedDict()

    def source(question: BenchmarkQuestion, rgb: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        if question.cluster not in kept:
            kept[question.cluster] = estimator(rgb)
            if len(kept) > _KEPT_DEPTHS:
                kept.popitem(last=False)
        return kept[question.cluster]

    return source


class Asker:
    """Puts questions to a model: as batches, or to several connections at the same time.

    Args:
        pointers: One model, or several connections to it that work side by side; owned from now
            on.
        batch: Number of questions that are put together; what the model takes by default.
    """

    def __init__(
        self,
        pointers: Sequence[ModelPointer],
        batch: int | None = None,
    ) -> None:
        self._pointers = pointers
        self._batch = batch or pointers[0].model.max_batch

    def answers(
        self, questions: Sequence[BenchmarkQuestion], depth: DepthSource, text_of: TextOf
    ) -> Iterator[tuple[BenchmarkQuestion, Outcome]]:
        """Every question with its outcome, in order."""
        free: queue.SimpleQueue[ModelPointer] = queue.SimpleQueue()
        for pointer in self._pointers:
            free.put(pointer)

        def ask(batch: Sequence[BenchmarkQuestion]) -> list[Outcome]:
            pointer = free.get()
            try:
                return self._ask(pointer, batch, depth, text_of)
            finally:
                free.put(pointer)

        remaining = iter(questions)
        batches = iter(lambda: list(islice(remaining, self._batch)), [])
        if len(self._pointers) == 1:
            for batch in batches:
                yield from zip(batch, ask(batch), strict=True)
        else:
            yield from self._together(batches, ask)

    def close(self) -> None:
        """Free the models."""
        for pointer in self._pointers:
            pointer.close()

    def _together(
        self,
        batches: Iterator[list[BenchmarkQuestion]],
        ask: Callable[[Sequence[BenchmarkQuestion]], list[Outcome]],
    ) -> Iterator[tuple[BenchmarkQuestion, Outcome]]:
        # A window instead of all at once: pictures are read only shortly before they are
        # asked, and an interruption loses at most the requests under way.
        waiting: list[tuple[list[BenchmarkQuestion], Future[list[Outcome]]]] = []
        with ThreadPoolExecutor(len(self._pointers)) as pool:
            try:
                for batch in batches:
                    waiting.append((batch, pool.submit(ask, batch)))
                    if len(waiting) >= 2 * len(self._pointers):
                        first, future = waiting.pop(0)
                        yield from zip(first, future.result(), strict=True)
                while waiting:
                    first, future = waiting.pop(0)
                    yield from zip(first, future.result(), strict=True)
            finally:
                for _, future in waiting:
                    future.cancel()

    def _ask(
        self,
        pointer: ModelPointer,
        batch: Sequence[BenchmarkQuestion],
        depth: DepthSource,
        text_of: TextOf,
    ) -> list[Outcome]:
        """The model's raw texts, also where they hold no point; errors where there are none."""
        outcomes: list[Outcome] = []
        requests, places = [], []
        for place, question in enumerate(batch):
            rgb = question.rgb()
            relative = depth(question, rgb) if pointer.uses_depth else None
            depths = () if relative is None else (Picture.of(relative),)
            request = Request(text_of(question), (Picture.of(rgb),), depths)
            outcomes.append("")
            try:
                requests.append(pointer.requests(request, verbatim=True)[0])
                places.append(place)
            except RoboReferError as error:
                outcomes[place] = error
        for place, outcome in zip(places, complete_all(pointer.model, requests), strict=True):
            outcomes[place] = (
                outcome if isinstance(outcome, RoboReferError) else outcome.text.strip()
            )
        return outcomes
