# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Dense supervision of the towers during training; thrown away afterwards.

A network that starts from random weights learns what a mug looks like far sooner when
every patch is asked what it shows than from a few coordinates an image.  The heads read
the features that the projector reads, so nothing of them is needed at inference.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional


@dataclass(frozen=True)
class PatchLabels:
    """Targets of a batch: ``colour`` and ``shape`` ``[B, N]`` long, ``centre`` ``[B, N, 2]``."""

    colour: torch.Tensor
    shape: torch.Tensor
    centre: torch.Tensor


class PatchHeads(nn.Module):
    """Linear read-outs of colour, shape and object centre from patch features ``[B, N, C]``."""

    def __init__(self, width: int, colours: int, shapes: int) -> None:
        super().__init__()
        self.colour = nn.Linear(width, colours + 1)
        self.shape = nn.Linear(width, shapes + 1)
        self.centre = nn.Linear(width, 2)

    def loss(self, features: torch.Tensor, labels: PatchLabels) -> torch.Tensor:
        """Cross entropy of the classes plus L1 of the centres on object patches.

        Background patches are the great majority; they weigh a fifth.
        """
        features = features.float()
        on_object = labels.colour > 0
        weight = torch.where(on_object, 1.0, 0.2)
        total = torch.zeros((), device=features.device)
        for head, target in ((self.colour, labels.colour), (self.shape, labels.shape)):
            entropy = functional.cross_entropy(
                head(features).flatten(0, 1), target.flatten(), reduction="none"
            )
            total = total + (entropy * weight.flatten()).sum() / weight.sum()
        distance = (self.centre(features) - labels.centre).abs().sum(-1)
        objects = on_object.float()
        return total + 5.0 * (distance * objects).sum() / objects.sum().clamp(min=1.0)
