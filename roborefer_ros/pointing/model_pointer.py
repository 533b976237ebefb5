# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Pointing with any model: an instruction becomes prompts, completions become points."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from roborefer_ros.cancellation import Cancellation
from roborefer_ros.errors import NoPointInAnswerError, PointOutsideImageError, RoboReferError
from roborefer_ros.inference.model import (
    Completion,
    Model,
    Outcome,
    Picture,
    Request,
    SamplingParams,
    complete_all,
)
from roborefer_ros.pointing.agreement import SAMPLING_TEMPERATURE, agreement
from roborefer_ros.pointing.families import Family, answer_from_text
from roborefer_ros.pointing.pointer import NormalisedPoint, PointerAnswer
from roborefer_ros.types import Mode, Think


class ModelPointer:
    """A model that points in the way of its family.

    Args:
        model: Completes prompts; owned from now on.
        family: What the model is asked, and how its text is read.
        samples: Number of further, sampled answers whose agreement becomes the confidence; they
            are rows of the same batch.

    Attributes:
        think: Whether the model is asked to reason where a request does not say it.
        learned_to_reason: What AUTO means: whether the checkpoint says that it was trained to.
    """

    think: Think = Think.AUTO
    learned_to_reason: bool = False

    def __init__(self, model: Model, family: Family, samples: int = 0) -> None:
        self.model = model
        self.family = family
        self.samples = samples

    @property
    def name(self) -> str:
        """The spec string it was opened from."""
        return self.model.name

    @property
    def uses_depth(self) -> bool:
        """Whether a depth picture changes the answer."""
        return self.model.uses_depth

    def requests(
        self, request: Request, verbatim: bool = False, think: Think = Think.AUTO
    ) -> list[Request]:
        """What the model is asked.

        Args:
            request: Pictures, and the instruction as its prompt.
            verbatim: Whether the instruction is a whole text, which is asked as it is.
            think: Whether reasoning is asked for; AUTO is as the pointer says.

        Returns:
            The greedy request, and as many sampled ones as ``samples`` says.
        """
        first = request
        if not verbatim:
            text = self.family.prompt(request.prompt)
            if self.family.reasoning and self._thinks(think):
                text = f"{text} {self.family.reasoning}"
            first = replace(request, prompt=text)
        further = [
            replace(
                first,
                sampling=replace(first.sampling, temperature=SAMPLING_TEMPERATURE, seed=seed),
                on_text=None,
            )
            for seed in range(self.samples)
        ]
        return [first, *further]

    def _thinks(self, think: Think) -> bool:
        wanted = think or self.think
        return self.learned_to_reason if wanted == Think.AUTO else wanted == Think.ON

    def answer(
        self, outcomes: Sequence[Outcome], picture: Picture, max_points: int = 0
    ) -> PointerAnswer:
        """Read points from what the model said.

        Args:
            outcomes: Of ``requests``, in their order.
            picture: Image that the request was about.
            max_points: Greatest number of points that are kept; 0 keeps all.

        Raises:
            NoPointInAnswerError, PointOutsideImageError: The greedy text holds no usable point.
            RoboReferError: What ended one of the requests.
        """
        for outcome in outcomes:
            if isinstance(outcome, RoboReferError):
                raise outcome
        completions = [outcome for outcome in outcomes if isinstance(outcome, Completion)]
        height, width = picture.pixels.shape[:2]
        answer = self._read(completions[0], (width, height), max_points)
        if len(completions) == 1:
            return answer
        drawn = [self._points(completion, (width, height)) for completion in completions[1:]]
        return replace(answer, confidences=agreement(answer.points, drawn, width / height))

    def point(
        self,
        rgb: npt.NDArray[np.uint8],
        relative_depth: npt.NDArray[np.uint8] | None,
        instruction: str,
        mode: Mode = Mode.AUTO,
        *,
        max_points: int = 0,
        deadline: float | None = None,
        cancelled: Callable[[], bool] = lambda: False,
        on_text: Callable[[str], None] = lambda _: None,
        think: Think = Think.AUTO,
    ) -> PointerAnswer:
        """See ``Pointer.point``; ``think`` as in ``requests``."""
        picture = Picture.of(rgb)
        depths = () if relative_depth is None or not self.uses_depth else (relative_depth,)
        request = Request(
            prompt=instruction,
            images=(picture,),
            depths=tuple(map(Picture.of, depths)),
            sampling=SamplingParams(),
            cancellation=Cancellation(deadline, cancelled),
            on_text=on_text,
        )
        outcomes = complete_all(self.model, self.requests(request, think=think))
        return self.answer(outcomes, picture, max_points)

    def close(self) -> None:
        """Free the model."""
        self.model.close()

    def _read(
        self, completion: Completion, size: tuple[int, int], max_points: int = 0
    ) -> PointerAnswer:
        try:
            answer = answer_from_text(
                self.family,
                completion.text,
                completion.image_size or size,
                max_points=max_points,
                token_ends=completion.token_ends,
                logprobs=completion.token_logprobs,
                digit_probabilities=completion.digit_probabilities,
                timings_s=completion.timings_s,
                reasoning=completion.reasoning,
            )
        except NoPointInAnswerError as error:
            if not completion.explanation:
                raise
            explained = type(error)(f"{error}: {completion.explanation}")
            explained.answer = error.answer
            raise explained from error
        return replace(answer, model=completion.model, depth_used=completion.depth_used)

    def _points(self, completion: Completion, size: tuple[int, int]) -> Sequence[NormalisedPoint]:
        """Points of a sampled answer; one without a usable point agrees with nothing."""
        try:
            return self._read(completion, size).points
        except (NoPointInAnswerError, PointOutsideImageError):
            return ()
