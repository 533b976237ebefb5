# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""A pointer without a model: the instruction itself holds the points.

For putting a robot into operation: camera, calibration, transforms and lifting can be checked
with known pixels before any weights are there.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from roborefer_ros.errors import NoPointInAnswerError
from roborefer_ros.frame import Mode
from roborefer_ros.pointing.answers import parse_tuples, shortened
from roborefer_ros.pointing.pointer import PointerAnswer


class EchoPointer:
    """Answers ``"[(0.412, 0.655)]"`` with just that point, normalised to [0, 1]."""

    name = "echo"
    uses_depth = False

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
        verbatim: bool = False,
    ) -> PointerAnswer:
        """See ``Pointer.point``."""
        on_text(instruction)
        try:
            points = tuple(match.point for match in parse_tuples(instruction))
        except NoPointInAnswerError as error:
            raise NoPointInAnswerError(
                f"{shortened(instruction)!r} holds no point, and model 'echo' understands nothing "
                'else; write "[(0.5, 0.5)]", or choose a model'
            ) from error
        return PointerAnswer(text=instruction, points=points[: max_points or None])

    def close(self) -> None:
        """Nothing to free."""
