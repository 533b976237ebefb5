# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""No model: each prompt is its own completion.

For putting a robot into operation: an instruction that holds points is answered with just those,
so that camera, calibration, transforms and lifting can be checked before any weights are there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from roborefer_ros.inference.model import Completion, Outcome, Request


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
