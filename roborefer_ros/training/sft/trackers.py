# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Where the curves of a run go beside its own log: TensorBoard, Weights & Biases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from roborefer_ros.errors import ConfigurationError


class Tracker(Protocol):
    """Takes numbers of steps."""

    def add(self, step: int, values: Mapping[str, float]) -> None:
        """Note numbers of a step."""

    def close(self) -> None:
        """Write what is not written yet."""


class TensorBoard:
    """Event files below the run's folder.

    Args:
        folder: Of the run.

    Raises:
        ImportError: TensorBoard is not installed.
    """

    def __init__(self, folder: Path) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(folder / "tensorboard"))

    def add(self, step: int, values: Mapping[str, float]) -> None:
        """See ``Tracker.add``."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        """See ``Tracker.close``."""
        self._writer.close()


class WandB:
    """A run of Weights & Biases; ``WANDB_MODE=offline`` keeps it below the run's folder.

    Args:
        folder: Of the run; its name is that of the run there, and the same folder goes on.
        config: Values that the run was started with.

    Raises:
        ConfigurationError: wandb is not installed, or cannot start.
    """

    def __init__(self, folder: Path, config: Mapping[str, Any]) -> None:
        try:
            import wandb
        except ImportError as error:
            raise ConfigurationError(
                "report_to holds wandb, which is not installed: pip install wandb, or leave it out"
            ) from error
        try:
            self._run = wandb.init(
                project="roborefer", name=folder.resolve().name, dir=str(folder),
                config=dict(config),
            )  # fmt: skip
        except Exception as error:  # of its own kinds: no key, no network
            raise ConfigurationError(
                f"report_to holds wandb, which cannot start ({error}): run `wandb login`, set "
                "WANDB_MODE=offline, or leave it out"
            ) from error

    def add(self, step: int, values: Mapping[str, float]) -> None:
        """See ``Tracker.add``."""
        self._run.log(dict(values), step=step)

    def close(self) -> None:
        """See ``Tracker.close``."""
        self._run.finish()


def open_trackers(names: Sequence[str], folder: Path, config: Mapping[str, Any]) -> list[Tracker]:
    """The trackers of a recipe's ``report_to``; TensorBoard only where it is installed.

    Args:
        names: ``tensorboard``, ``wandb``.
        folder: Of the run.
        config: Values that the run was started with.

    Raises:
        ConfigurationError: see ``WandB``.
    """
    found: list[Tracker] = []
    for name in names:
        if name == "wandb":
            found.append(WandB(folder, config))
        else:
            try:
                found.append(TensorBoard(folder))
            except ImportError:
                continue
    return found
