# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Pointing with any model: an instruction becomes requests, completions become points."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from roborefer_ros.cancellation import Cancellation
from roborefer_ros.errors import NoPointInAnswerError, PointOutsideImageError, RoboReferError
from roborefer_ros.inference.model import Completion, Model, Outcome, Picture, Request, complete_all
from roborefer_ros.pointing.agreement import SAMPLING_TEMPERATURE, agreement
from roborefer_ros.pointing.families import Family, prediction_from_text
from roborefer_ros.pointing.prediction import NormalisedPoint, Prediction
from roborefer_ros.types import Think


class Pointer:
    """A model that points in the way of its family.

    Args:
        model: Model that completes prompts; owned from now on.
        family: What the model is asked and how its text is read, or a function that finds it out
            when it is first needed (a server may have to be asked for its model's name).
        samples: Number of further, sampled answers whose agreement becomes the confidence; they
            are rows of the same batch.

    Attributes:
        think: Whether the model is asked to reason where a request does not say it.
        learned_to_reason: What AUTO means: whether the checkpoint says that it was trained to.
    """

    think: Think = Think.AUTO
    learned_to_reason: bool = False

    def __init__(
        self,
        model: Model,
        family: Family | Callable[[Cancellation], Family],
        samples: int = 0,
    ) -> None:
        self.model = model
        self.samples = samples
        self._family = family

    @property
    def name(self) -> str:
        """Spec string that the model was opened from."""
        return self.model.name

    @property
    def uses_depth(self) -> bool:
        """Whether a depth picture changes the answer (else callers need not make one)."""
        return self.model.uses_depth

    def family(self, cancellation: Cancellation = Cancellation()) -> Family:  # noqa: B008 (frozen)
        """What the model is asked, and how its text is read.

        Args:
            cancellation: Bound of the wait for a server that has to be asked.

        Raises:
            RoboReferError: What asking the server raises.
        """
        if not isinstance(self._family, Family):
            self._family = self._family(cancellation)
        return self._family

    def prepared(self, request: Request) -> Request:
        """The request as models of this family need it; its prompt stays as it is written.

        Args:
            request: Pictures and a whole prompt.

        Raises:
            RoboReferError: What asking a server for its model raises.
        """
        family = self.family(request.cancellation)
        images = request.images
        if family.prepare is not None:
            images = tuple(Picture.of(family.prepare(image.pixels)) for image in images)
        keeps = family.keeps_special_tokens
        sampling = replace(request.sampling, skip_special_tokens=not keeps)
        return replace(request, images=images, sampling=sampling)

    def requests(self, request: Request, think: Think = Think.AUTO) -> list[Request]:
        """What the model is asked about an instruction.

        Args:
            request: Pictures, and the instruction as its prompt, without any request for a format.
            think: Whether reasoning is asked for; AUTO is as the pointer says.

        Returns:
            The greedy request, and as many sampled ones as ``samples`` says.

        Raises:
            RoboReferError: What asking a server for its model raises.
        """
        family = self.family(request.cancellation)
        prompt = family.prompt(request.prompt)
        if family.reasoning and self._thinks(think):
            prompt = f"{prompt} {family.reasoning}"
        first = replace(self.prepared(request), prompt=prompt)
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

    def prediction(
        self, outcomes: Sequence[Outcome], size: tuple[int, int], max_points: int = 0
    ) -> Prediction:
        """Read points from what the model said.

        Args:
            outcomes: Outcomes of ``requests``, in their order.
            size: ``(width, height)`` of the image that was asked about, pixels.
            max_points: Greatest number of points that are kept; 0 keeps all.

        Raises:
            NoPointInAnswerError, PointOutsideImageError: The greedy text holds no usable point.
            RoboReferError: What ended one of the requests.
        """
        for outcome in outcomes:
            if isinstance(outcome, RoboReferError):
                raise outcome
        completions = [outcome for outcome in outcomes if isinstance(outcome, Completion)]
        prediction = self._read(completions[0], size, max_points)
        if len(completions) == 1:
            return prediction
        drawn = [self._points(completion, size) for completion in completions[1:]]
        width, height = size
        return replace(prediction, confidences=agreement(prediction.points, drawn, width / height))

    def point(
        self,
        rgb: npt.NDArray[np.uint8],
        relative_depth: npt.NDArray[np.uint8] | None,
        instruction: str,
        *,
        max_points: int = 0,
        cancellation: Cancellation = Cancellation(),  # noqa: B008 (frozen)
        on_text: Callable[[str], None] | None = None,
        think: Think = Think.AUTO,
    ) -> Prediction:
        """Point at what the instruction names.

        Args:
            rgb: ``[H, W, 3]`` uint8.
            relative_depth: ``[H, W]`` uint8 relative inverse depth, near = bright; None = RGB only.
            instruction: Words of the user, without any request for a format.
            max_points: Greatest number of points that are kept; 0 keeps all.
            cancellation: Deadline and cancel flag; looked at between tokens at least.
            on_text: Receiver of the whole text so far, each time it grows.
            think: Whether reasoning is asked for; AUTO is as the pointer says.

        Raises:
            CanceledError, DeadlineExceededError, NoPointInAnswerError,
            PointOutsideImageError, ModelOutOfMemoryError, ModelFailedError,
            Backend*Error for remote models.
        """
        depths = () if relative_depth is None or not self.uses_depth else (relative_depth,)
        request = Request(
            prompt=instruction,
            images=(Picture.of(rgb),),
            depths=tuple(map(Picture.of, depths)),
            cancellation=cancellation,
            on_text=on_text,
        )
        outcomes = complete_all(self.model, self.requests(request, think))
        height, width = rgb.shape[:2]
        return self.prediction(outcomes, (width, height), max_points)

    def close(self) -> None:
        """Free the model's memory and connections; the pointer is unusable afterwards."""
        self.model.close()

    def _read(
        self, completion: Completion, size: tuple[int, int], max_points: int = 0
    ) -> Prediction:
        try:
            return prediction_from_text(self.family(), completion, size, max_points)
        except NoPointInAnswerError as error:
            if not completion.explanation:
                raise
            explained = type(error)(f"{error}: {completion.explanation}")
            explained.answer = error.answer
            raise explained from error

    def _points(self, completion: Completion, size: tuple[int, int]) -> Sequence[NormalisedPoint]:
        """Points of a sampled answer; one without a usable point agrees with nothing."""
        try:
            return self._read(completion, size).points
        except (NoPointInAnswerError, PointOutsideImageError):
            return ()
