# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Ways to put many questions to a model: one pointer, several at a time, or batches.

PointerAsker   any Pointer; several of them (remote models) work at the same time
ModelAsker     a model behind ``complete``: batches, each picture encoded once,
               and questions that are answered by a word
"""

from __future__ import annotations

import queue
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import Protocol

import numpy as np
import numpy.typing as npt

from roborefer_ros.errors import (
    NoPointInAnswerError,
    PointOutsideImageError,
    RoboReferError,
)
from roborefer_ros.evaluation.lifted import frame_of, has_truth
from roborefer_ros.evaluation.questions import BenchmarkQuestion
from roborefer_ros.frame import Mode
from roborefer_ros.inference.model import (
    Model,
    Picture,
    Request,
    SamplingParams,
    complete_all,
)
from roborefer_ros.pipeline import DepthEstimator
from roborefer_ros.pointing.depth_input import relative_depth_from_metric
from roborefer_ros.pointing.pointer import Pointer

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


class Asker(Protocol):
    """Puts questions to a model."""

    #: whether it can ask for a word as well as for a point
    gives_words: bool

    def answers(
        self, questions: Sequence[BenchmarkQuestion], depth: DepthSource, text_of: TextOf
    ) -> Iterator[tuple[BenchmarkQuestion, Outcome]]:
        """Every question with its outcome, in order."""

    def close(self) -> None:
        """Free the model."""


class PointerAsker:
    """One or several pointers of the same model, each asked one question at a time.

    Args:
        pointers: at least one; owned from now on.
        verbatim: they were opened with ``verbatim=True`` and are asked the whole text, so that
            they can be asked for a word as well; else they add their own request for points to
            the question's prompt.
    """

    def __init__(self, pointers: Sequence[Pointer], verbatim: bool = False) -> None:
        self._pointers = pointers
        self.gives_words = verbatim

    def answers(
        self, questions: Sequence[BenchmarkQuestion], depth: DepthSource, text_of: TextOf
    ) -> Iterator[tuple[BenchmarkQuestion, Outcome]]:
        """See ``Asker.answers``."""
        if len(self._pointers) == 1:
            for question in questions:
                yield question, self._ask(self._pointers[0], question, depth, text_of)
        else:
            yield from self._together(questions, depth, text_of)

    def close(self) -> None:
        """See ``Asker.close``."""
        for pointer in self._pointers:
            pointer.close()

    def _together(
        self, questions: Sequence[BenchmarkQuestion], depth: DepthSource, text_of: TextOf
    ) -> Iterator[tuple[BenchmarkQuestion, Outcome]]:
        free: queue.SimpleQueue[Pointer] = queue.SimpleQueue()
        for pointer in self._pointers:
            free.put(pointer)

        def ask(question: BenchmarkQuestion) -> Outcome:
            pointer = free.get()
            try:
                return self._ask(pointer, question, depth, text_of)
            finally:
                free.put(pointer)

        # A window instead of all at once: pictures are read only shortly before they are
        # asked, and an interruption loses at most the requests under way.
        waiting: list[tuple[BenchmarkQuestion, Future[Outcome]]] = []
        with ThreadPoolExecutor(len(self._pointers)) as pool:
            try:
                for question in questions:
                    waiting.append((question, pool.submit(ask, question)))
                    if len(waiting) >= 2 * len(self._pointers):
                        first, future = waiting.pop(0)
                        yield first, future.result()
                while waiting:
                    first, future = waiting.pop(0)
                    yield first, future.result()
            finally:
                for _, future in waiting:
                    future.cancel()

    def _ask(
        self, pointer: Pointer, question: BenchmarkQuestion, depth: DepthSource, text_of: TextOf
    ) -> Outcome:
        """The model's raw text, also where it holds no point; an error where there is none."""
        rgb = question.rgb()
        relative = depth(question, rgb) if pointer.uses_depth else None
        text = text_of(question) if self.gives_words else question.prompt
        try:
            return pointer.point(rgb, relative, text, Mode.AUTO).text
        except (NoPointInAnswerError, PointOutsideImageError) as error:
            return error.answer
        except RoboReferError as error:
            return error


class ModelAsker:
    """A model behind ``complete``: batches, each picture encoded once, whole texts.

    Args:
        model: Model to ask; owned from now on.
        max_new_tokens: Greatest length of an answer, tokens.
        batch: Number of questions that are put together.
    """

    gives_words = True

    def __init__(
        self, model: Model, max_new_tokens: int = MAX_NEW_TOKENS, batch: int | None = None
    ) -> None:
        self._model = model
        self._batch = batch or model.max_batch
        self._sampling = SamplingParams(max_tokens=max_new_tokens)

    def answers(
        self, questions: Sequence[BenchmarkQuestion], depth: DepthSource, text_of: TextOf
    ) -> Iterator[tuple[BenchmarkQuestion, Outcome]]:
        """See ``Asker.answers``."""
        remaining = iter(questions)
        while batch := list(islice(remaining, self._batch)):
            requests = [self._request(question, depth, text_of) for question in batch]
            for question, outcome in zip(batch, complete_all(self._model, requests), strict=True):
                if isinstance(outcome, RoboReferError):
                    yield question, outcome
                else:
                    yield question, outcome.text.strip()

    def close(self) -> None:
        """See ``Asker.close``."""
        self._model.close()

    def _request(self, question: BenchmarkQuestion, depth: DepthSource, text_of: TextOf) -> Request:
        rgb = question.rgb()
        relative = depth(question, rgb) if self._model.uses_depth else None
        depths = () if relative is None else (Picture.of(relative),)
        return Request(text_of(question), (Picture.of(rgb),), depths, self._sampling)
