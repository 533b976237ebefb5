# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""What comes with a model: whether it is the bundled network, and its calibration."""

from __future__ import annotations

from pathlib import Path

from roborefer_ros.models.bundled import BUNDLED_FOLDER, DEMO
from roborefer_ros.pointing.calibration import (
    FILE_NAME,
    UNCALIBRATED,
    Calibration,
    read_calibration,
)

#: spec of the network that comes with the package
BUNDLED = f"roborefer:{DEMO}"


def is_bundled(spec: str) -> bool:
    """Whether a model is the bundled network, by its name or by its folder."""
    folder = _checkpoint_folder(spec)
    return folder is not None and folder.resolve() == BUNDLED_FOLDER.resolve()


def calibration_of(spec: str) -> Calibration:
    """The calibration that comes with a model; ``UNCALIBRATED`` where none does.

    Raises:
        CheckpointInvalidError: its file is not usable.
    """
    folder = _checkpoint_folder(spec)
    return UNCALIBRATED if folder is None else read_calibration(folder)


def calibration_path(spec: str) -> Path | None:
    """Where the calibration of a model lies or would lie; None where it has no local folder."""
    folder = _checkpoint_folder(spec)
    return None if folder is None else folder / FILE_NAME


def _checkpoint_folder(spec: str) -> Path | None:
    """The local folder of a ``roborefer:`` model."""
    scheme, _, source = spec.partition(":")
    place = source.partition("?")[0]
    if scheme != "roborefer" or not place:
        return None
    return BUNDLED_FOLDER if place == DEMO else Path(place).expanduser()
