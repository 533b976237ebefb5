# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""A pointer without a model: the instruction itself holds the points.

For putting a robot into operation: camera, calibration, transforms and lifting can be checked
with known pixels before any weights are there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from roborefer_ros.errors import NoPointInAnswerError
from roborefer_ros.inference.model import Completion, Outcome, Request
from roborefer_ros.pointing.answers import TupleMatch, parse_tuples, shortened
from roborefer_ros.pointing.families import Family
from roborefer_ros.pointing.formats import ImageSize
from roborefer_ros.pointing.model_pointer import ModelPointer


class EchoModel:
    """Completes each prompt with itself."""

    name = "echo"
    uses_depth = False
    can_sample = False
    max_batch = 1

    def complete(self, requests: Sequence[Request]) -> Iterator[tuple[int, Outcome]]:
        """See ``Model.complete``."""
        for index, request in enumerate(requests):
            if request.on_text is not None:
                request.on_text(request.prompt)
            yield index, Completion(request.prompt)

    def close(self) -> None:
        """Nothing to free."""


class EchoPointer(ModelPointer):
    """Answers ``"[(0.412, 0.655)]"`` with just that point, normalised to [0, 1]."""

    def __init__(self) -> None:
        super().__init__(EchoModel(), Family("echo", lambda instruction: instruction, _parse))


def _parse(text: str, _size: ImageSize) -> tuple[TupleMatch, ...]:
    try:
        return parse_tuples(text)
    except NoPointInAnswerError as error:
        raise NoPointInAnswerError(
            f"{shortened(text)!r} holds no point, and model 'echo' understands nothing "
            'else; write "[(0.5, 0.5)]", or choose a model'
        ) from error
