# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""A source by its name."""

from __future__ import annotations

from pathlib import Path

from roborefer_ros.datagen.source import Source
from roborefer_ros.errors import ConfigurationError

_SIMULATED_SCENES = 1000
_LEAST_SIDE_PX = 64


def open_source(
    name: str, data: Path | None, scenes: int, seed: int, size: tuple[int, int], stride: int
) -> Source:
    """The source of a name.

    Args:
        name: "simulation", "boxes" or "ca1m".
        data: Folder of the latter two.
        scenes: Greatest number of scenes; 0 for all.
        seed: Of the data set.
        size: Width and height of simulated pictures, pixels.
        stride: Frames from one scene of a capture to the next.

    Raises:
        ConfigurationError: the folder is missing or not wanted.
    """
    if name == "simulation":
        if data is not None:
            raise ConfigurationError("--source simulation reads no --data")
        if min(size) < _LEAST_SIDE_PX:
            raise ConfigurationError(
                f"{size[0]}x{size[1]} pixels show no scene; at least {_LEAST_SIDE_PX} a side"
            )
        from roborefer_ros.datagen.sources.simulation import SimulationSource

        return SimulationSource(seed, scenes or _SIMULATED_SCENES, size)
    if data is None:
        raise ConfigurationError(f"--source {name} needs --data FOLDER")
    if name == "boxes":
        from roborefer_ros.datagen.sources.folder import FolderSource

        return FolderSource(data, scenes)
    from roborefer_ros.datagen.sources.ca1m import Ca1mSource

    return Ca1mSource(data, scenes, stride, seed)
