# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The seam between tasks and models: ``Request -> Model.complete(requests) -> Completion``.

A model completes prompts about pictures and knows nothing of points; what is asked and how the
text is read is the task's (``pointing``, the server's chat, an evaluation).  Another backend,
such as vLLM or SGLang in process, is one class with ``complete``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from roborefer_ros.cancellation import Cancellation
from roborefer_ros.errors import InvalidGoalError, ModelFailedError, RoboReferError
from roborefer_ros.inference.device import numbered


@dataclass(frozen=True, eq=False)
class Picture:
    """Pixels and what tells them apart.

    Attributes:
        pixels: ``[H, W, 3]`` (RGB) or ``[H, W]`` uint8, contiguous.
        digest: Hash of shape and pixels; equal pictures have equal digests.
    """

    pixels: npt.NDArray[np.uint8]
    digest: bytes

    @classmethod
    def of(cls, pixels: npt.NDArray[np.uint8]) -> Picture:
        """Wrap an array; the array must not change afterwards."""
        pixels = np.ascontiguousarray(pixels)
        digest = hashlib.blake2b(pixels.data, digest_size=16, key=repr(pixels.shape).encode())
        return cls(pixels, digest.digest())


@dataclass(frozen=True)
class SamplingParams:
    """How the tokens of a completion are chosen.

    Attributes:
        max_tokens: Greatest number of new tokens; None leaves the limit to the model.
        temperature: 0 takes the most likely token, a larger value samples.
        seed: Seed of the samples; None draws one.
        skip_special_tokens: Whether special tokens are left out of the text.
    """

    max_tokens: int | None = None
    temperature: float = 0.0
    seed: int | None = None
    skip_special_tokens: bool = True


@dataclass(frozen=True, eq=False)
class Request:
    """One prompt for a model.

    Attributes:
        prompt: Text that the model is asked, as written.
        images: RGB pictures, before the text.
        depths: Relative depth pictures, near = bright, after the images.
        sampling: How tokens are chosen.
        cancellation: When the answer is no longer wanted.
        on_text: Receives the whole text so far each time it grows, in the model's thread;
            None: nobody listens.
    """

    prompt: str
    images: tuple[Picture, ...] = ()
    depths: tuple[Picture, ...] = ()
    sampling: SamplingParams = field(default_factory=SamplingParams)
    cancellation: Cancellation = field(default_factory=Cancellation)
    on_text: Callable[[str], None] | None = None


@dataclass(frozen=True)
class Completion:
    """What a model said to one request.

    Attributes:
        text: Text of the answer.
        reasoning: Thoughts that the model told apart from the text.
        token_logprobs: Natural log probability of each new token; empty where it is not told.
        token_ends: Length of the text that ends with each new token, characters; as long as
            ``token_logprobs``, or empty.
        digit_probabilities: Probabilities of the digits 0 to 9 in each token's place,
            ``[tokens][10]``; empty where they are not told.
        finish_reason: "stop" or, where the greatest length was reached, "length".
        explanation: Why a complete answer may hold nothing or be cut off, as far as it is known:
            a refusal, a filter, its greatest length.
        prompt_tokens: Rows of the prompt, those of the pictures included; None if not told.
        completion_tokens: Number of new tokens; None if not told.
        timings_s: Seconds of each stage.
        image_size: ``(width, height)`` of the first image as the model saw it, pixels; None where
            the model answers in fractions of the image.
        model: Name of the model behind a server, where it tells it.
        depth_used: Depth that a model behind a server was shown, where it tells it.
    """

    text: str
    reasoning: str = ""
    token_logprobs: tuple[float, ...] = ()
    token_ends: tuple[int, ...] = ()
    digit_probabilities: tuple[tuple[float, ...], ...] = ()
    finish_reason: str = "stop"
    explanation: str = ""
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    timings_s: dict[str, float] = field(default_factory=dict)
    image_size: tuple[int, int] | None = None
    model: str = ""
    depth_used: str = ""


Outcome = Completion | RoboReferError


class Model(Protocol):
    """A vision-language model.  One call of ``complete`` at a time, from any one thread."""

    #: the spec string it was opened from
    name: str
    #: whether depth pictures change the answer
    uses_depth: bool
    #: whether a request's temperature and seed are heeded
    can_sample: bool
    #: requests that are answered together; 1 = one after the other
    max_batch: int

    def complete(self, requests: Sequence[Request]) -> Iterator[tuple[int, Outcome]]:
        """Answer requests, each as soon as its answer is complete.

        Args:
            requests: Prompts, any number; at most ``max_batch`` are answered together.

        Yields:
            Index of a request and its completion, or the numbered error that ended it; one pair
            for each request, in any order.  Errors of one request leave the others alone.
        """

    def close(self) -> None:
        """Free the model's memory and connections; it is unusable afterwards."""


def side_by_side(
    requests: Sequence[Request],
    complete: Callable[[Request], Completion],
    name: str,
    workers: int = 1,
) -> Iterator[tuple[int, Outcome]]:
    """``Model.complete`` of a model that answers each request, about one RGB image, by itself.

    Args:
        requests: Prompts.
        complete: Answers one of them; what it raises is the outcome of this request alone.
        name: Name of the model, for messages.
        workers: Number of requests that are answered at the same time; with 1 they are answered
            in the calling thread, one after the other.
    """

    def outcome_of(request: Request) -> Outcome:
        try:
            request.cancellation.check()
            if len(request.images) != 1 or len(request.depths) > 1:
                raise InvalidGoalError(
                    f"{name} answers questions about one image with at most one depth picture, "
                    f"not about {len(request.images)} with {len(request.depths)}"
                )
            return complete(request)
        except Exception as error:
            return numbered(error, "close other programs, or use a smaller model")

    if workers == 1 or len(requests) == 1:
        for index, request in enumerate(requests):
            yield index, outcome_of(request)
        return
    with ThreadPoolExecutor(workers, "roborefer-request") as pool:
        futures = {pool.submit(outcome_of, r): index for index, r in enumerate(requests)}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        finally:  # whoever asks may want no more
            for future in futures:
                future.cancel()


class CacheStats(Protocol):
    """What a cache tells of itself.

    Attributes:
        hits: Number of look-ups that found their value.
        misses: Number of look-ups that did not.
        size_bytes: Memory of its values, bytes.
    """

    hits: int
    misses: int
    size_bytes: int


@runtime_checkable
class KeepsPictures(Protocol):
    """A model that keeps encoded pictures between requests."""

    @property
    def vision(self) -> CacheStats:
        """The cache of encoded pictures."""


def complete_all(model: Model, requests: Sequence[Request]) -> list[Outcome]:
    """Outcomes in the order of the requests."""
    outcomes: list[Outcome] = [ModelFailedError("the model gave no answer")] * len(requests)
    for index, outcome in model.complete(requests):
        outcomes[index] = outcome
    return outcomes
