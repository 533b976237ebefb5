# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""A moving average of the weights that learn, also where they are sharded.

``torch.optim.swa_utils.AveragedModel`` copies the whole module, which sharded ones do not allow.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import nn


class WeightAverage:
    """The exponential moving average of a module's weights.

    Args:
        module: Its weights that learn are averaged, whole or shards.
        decay: Weight of the average against the weights of a step.

    Attributes:
        values: Name -> average, like the weights.
        count: ``[1]`` updates so far; the first one takes the weights as they are.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self._decay = decay
        self._weights = {n: p for n, p in module.named_parameters() if p.requires_grad}
        self.values = {n: p.detach().clone() for n, p in self._weights.items()}
        self.count = torch.zeros(1)

    @torch.no_grad()
    def update(self) -> None:
        """Take the weights as they are now into the average."""
        share = 1.0 - self._decay if self.count.item() else 1.0
        for name, weight in self._weights.items():
            self.values[name].lerp_(weight.detach(), share)
        self.count += 1

    @contextlib.contextmanager
    def in_place(self) -> Iterator[None]:
        """Let the module have the average for its weights."""
        if not self.count.item():
            yield
            return
        kept = {name: weight.detach().clone() for name, weight in self._weights.items()}
        self._set(self.values)
        try:
            yield
        finally:
            self._set(kept)

    @torch.no_grad()
    def _set(self, values: dict[str, torch.Tensor]) -> None:
        for name, weight in self._weights.items():
            weight.copy_(values[name])

    def state(self) -> dict[str, torch.Tensor]:
        """What a state of the run holds; loading writes into these tensors."""
        return {**self.values, "count": self.count}
