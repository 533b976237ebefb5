# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""What the engine needs of a source of scenes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from roborefer_ros.datagen.scene import Scene


class SceneSkippedError(Exception):
    """A scene that cannot be used; the text is the reason under which it is counted."""


@dataclass(frozen=True, eq=False)
class Loaded:
    """A scene with its pictures.

    Attributes:
        scene: Boxes, camera and the depth by which answers are checked.
        rgb: ``[H, W, 3]`` uint8.
        depth_m: ``[h, w]`` metres for the depth picture, NaN in holes; None: no depth.
        counts: What of the scene was left out, by reason.
    """

    scene: Scene
    rgb: npt.NDArray[np.uint8]
    depth_m: npt.NDArray[np.floating] | None
    counts: Mapping[str, int] = field(default_factory=dict)


class Source(Protocol):
    """Scenes by name; small enough to be sent to other processes."""

    def names(self) -> Sequence[str]:
        """Every scene's name, in a fixed order."""

    def load(self, name: str) -> Loaded:
        """The scene of a name.

        Raises:
            SceneSkippedError: it is damaged or empty.
        """

    def second_view(self, name: str) -> Loaded | None:
        """Another view of the same things; None: there is none."""

    def settings(self) -> dict[str, Any]:
        """What decides the scenes, as plain values."""
