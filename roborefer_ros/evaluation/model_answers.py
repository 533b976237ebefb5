# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Putting a benchmark's questions to a model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice

from roborefer_ros.errors import ModelFailedError, RoboReferError
from roborefer_ros.evaluation.depth_sources import DepthSource
from roborefer_ros.evaluation.questions import BenchmarkQuestion
from roborefer_ros.inference.model import Completion, Picture, Request
from roborefer_ros.pointing.pointer import Pointer

#: question -> the whole text that the model is asked
TextOf = Callable[[BenchmarkQuestion], str]

#: the model's raw text, or why there is none
Answered = str | RoboReferError

#: batches that are put to the model in one call: a server's next request need not wait for the
#: slowest of a batch, and only the pictures of these questions are in memory
_BATCHES = 4


def model_answers(
    pointer: Pointer,
    questions: Sequence[BenchmarkQuestion],
    depth: DepthSource,
    text_of: TextOf,
) -> Iterator[tuple[BenchmarkQuestion, Answered]]:
    """Every question with the model's raw text, also where that holds no point.

    Args:
        pointer: Model that is asked, with its family.
        questions: What is asked, in this order.
        depth: Source of the depth pictures for a model that uses them.
        text_of: Maker of the whole text that the model is asked.

    Yields:
        Each question, in order, with the text or the error in its place, as soon as it is known.
    """
    remaining = iter(questions)
    while batch := list(islice(remaining, _BATCHES * pointer.model.max_batch)):
        requests: list[Request] = []
        places: list[int] = []
        known: dict[int, Answered] = {}
        for place, question in enumerate(batch):
            try:
                requests.append(_request(pointer, question, depth, text_of(question)))
                places.append(place)
            except RoboReferError as error:
                known[place] = error
        place = 0
        for index, outcome in pointer.model.complete(requests):
            said = outcome.text.strip() if isinstance(outcome, Completion) else outcome
            known[places[index]] = said
            while place in known:
                yield batch[place], known.pop(place)
                place += 1
        for left in range(place, len(batch)):
            yield batch[left], known.get(left, ModelFailedError("the model gave no answer"))


def _request(
    pointer: Pointer, question: BenchmarkQuestion, depth: DepthSource, text: str
) -> Request:
    rgb = question.rgb()
    relative = depth(question, rgb) if pointer.uses_depth else None
    depths = () if relative is None else (Picture.of(relative),)
    return pointer.prepared(Request(text, (Picture.of(rgb),), depths))
