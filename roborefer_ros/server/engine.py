# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""What the server asks of a model, and how any Pointer gives it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from roborefer_ros.cancellation import Cancellation
from roborefer_ros.errors import (
    InvalidGoalError,
    ModelFailedError,
    NoPointInAnswerError,
    PointOutsideImageError,
    RoboReferError,
)
from roborefer_ros.inference import device
from roborefer_ros.inference.model import Outcome, Picture, Request, SamplingParams
from roborefer_ros.pointing.families import thoughts_of
from roborefer_ros.pointing.model_pointer import ModelPointer
from roborefer_ros.pointing.pointer import NormalisedPoint
from roborefer_ros.pointing.reasoning import read_steps
from roborefer_ros.types import Mode, ReasoningStep, Think


@dataclass(frozen=True, eq=False)
class Query:
    """One question to the model.

    Attributes:
        text: an instruction if ``is_instruction`` (the model adds its request for points),
            else what the user says, word by word.
        images: RGB pictures.
        depths: relative depth pictures, near = bright.
        mode, max_points: as in ``Pointer.point``.
        max_new_tokens: of the answer.
        temperature: 0 takes the most likely token, more samples.
        seed: of the samples; None draws one.
        think: Whether reasoning is asked for; AUTO is as the server was started.
        deadline: ``time.monotonic()`` value.
        cancel: set when nobody waits for the answer any longer.
        on_text: receives the answer as it grows, in the model's thread; None: nobody listens.
    """

    text: str
    images: tuple[Picture, ...] = ()
    depths: tuple[Picture, ...] = ()
    is_instruction: bool = False
    mode: Mode = Mode.AUTO
    max_points: int = 0
    max_new_tokens: int = 512
    temperature: float = 0.0
    seed: int | None = None
    think: Think = Think.AUTO
    deadline: float | None = None
    cancel: threading.Event = field(default_factory=threading.Event)
    on_text: Callable[[str], None] | None = None


@dataclass(frozen=True)
class EngineAnswer:
    """What the model said.

    Attributes:
        text: the answer.
        points, confidences: in it, as in ``PointerAnswer``; empty for texts.
        no_point: why an instruction was answered without a point, else None.
        timings_s: seconds per stage.
        tokens: generated; None where the model does not tell.
        prompt_tokens: rows of the prompt, those of the pictures included; None where the model
            does not tell.
        cut_off: the answer reached its greatest length.
        reasoning: What the model thought before its answer to an instruction.
        steps: Those in it.
    """

    text: str
    points: tuple[NormalisedPoint, ...] = ()
    confidences: tuple[float, ...] = ()
    no_point: RoboReferError | None = None
    timings_s: dict[str, float] = field(default_factory=dict)
    tokens: int | None = None
    prompt_tokens: int | None = None
    cut_off: bool = False
    reasoning: str = ""
    steps: tuple[ReasoningStep, ...] = ()


#: receives the index of a query and its outcome, as soon as that is known
Done = Callable[[int, "EngineAnswer | RoboReferError"], None]


class Engine(Protocol):
    """A model as the server uses it: from one thread, a batch at a time."""

    name: str
    #: whether depth pictures change the answer
    uses_depth: bool
    #: whether a query's temperature and seed are heeded
    can_sample: bool
    #: queries that are answered together; 1 = one after the other
    max_batch: int

    def answer(self, queries: Sequence[Query], done: Done) -> None:
        """Answer a batch; calls ``done`` once for each query and raises nothing of theirs."""

    def close(self) -> None:
        """Free the model."""


class ModelEngine:
    """A model behind ``complete``: batches, and texts that reach it as they were written.

    Args:
        pointer: Model with its family, for instructions; owned from now on.
    """

    def __init__(self, pointer: ModelPointer) -> None:
        self.pointer = pointer
        self.model = pointer.model
        self.name = self.model.name
        self.uses_depth = self.model.uses_depth
        self.can_sample = self.model.can_sample
        #: an instruction takes a row for each sample as well
        self.max_batch = max(1, self.model.max_batch // (1 + pointer.samples))

    def answer(self, queries: Sequence[Query], done: Done) -> None:
        """See ``Engine.answer``."""
        requests: list[Request] = []
        owners: list[int] = []
        outcomes: dict[int, list[Outcome | None]] = {}
        for index, query in enumerate(queries):
            if query.is_instruction and len(query.images) != 1:
                number = len(query.images)
                done(index, InvalidGoalError(f"an instruction is about one image, not {number}"))
                continue
            try:
                own = self.pointer.requests(
                    _request(query), verbatim=not query.is_instruction, think=query.think
                )
            except Exception as error:
                done(index, numbered(error))
                continue
            own = own if query.is_instruction else own[:1]
            outcomes[index] = [None] * len(own)
            owners += [index] * len(own)
            requests += own
        firsts = {index: owners.index(index) for index in outcomes}
        for place, outcome in self.model.complete(requests):
            index = owners[place]
            own_outcomes = outcomes[index]
            own_outcomes[place - firsts[index]] = outcome
            known = [outcome for outcome in own_outcomes if outcome is not None]
            if len(known) == len(own_outcomes):
                done(index, self._answer(queries[index], known))

    def close(self) -> None:
        """See ``Engine.close``."""
        self.pointer.close()

    def _answer(self, query: Query, outcomes: Sequence[Outcome]) -> EngineAnswer | RoboReferError:
        first = outcomes[0]
        if isinstance(first, RoboReferError):
            # Without the text of what the model raised, which could hold what the client sent.
            return numbered(first.__cause__) if isinstance(first.__cause__, Exception) else first
        answer = EngineAnswer(
            text=first.text.strip(),
            timings_s=first.timings_s,
            tokens=first.completion_tokens,
            prompt_tokens=first.prompt_tokens,
            cut_off=first.finish_reason == "length",
        )
        if not query.is_instruction:
            return answer
        thoughts = thoughts_of(first.text, first.reasoning)
        answer = replace(answer, reasoning=thoughts, steps=read_steps(thoughts))
        try:
            found = self.pointer.answer(outcomes, query.images[0], query.max_points)
        except (NoPointInAnswerError, PointOutsideImageError) as error:
            return replace(answer, no_point=error)
        except RoboReferError as error:  # of a sample
            return error
        return replace(answer, points=found.points, confidences=found.confidences)


def _request(query: Query) -> Request:
    return Request(
        prompt=query.text,
        images=query.images,
        depths=query.depths,
        sampling=SamplingParams(query.max_new_tokens, query.temperature, query.seed),
        cancellation=Cancellation(
            query.deadline, query.cancel.is_set, "the client went away while the model answered"
        ),
        on_text=query.on_text,
    )


def numbered(error: Exception) -> RoboReferError:
    """The numbered error for what a model raised; its text may hold what a client sent."""
    if isinstance(error, RoboReferError) or device.is_out_of_memory(error):
        return device.numbered(
            error,
            "the server goes on. Send smaller or fewer pictures, or start the server with a "
            "smaller --max-batch",
        )
    return ModelFailedError(f"the model failed ({type(error).__name__}); see the server's log")
