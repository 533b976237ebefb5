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
    """Targets of a batch: ``colour`` and ``shape`` ``[B, N]`` long, ``centre`` ``[B, N, 2]``.

    ``ground`` ``[B, N, 2]`` is the place on the table in metres, NaN where it is not known.
    """

    colour: torch.Tensor
    shape: torch.Tensor
    centre: torch.Tensor
    ground: torch.Tensor

    def of_blocks(self, block: int) -> PatchLabels:
        """The labels of blocks of patches: those of one patch of theirs that shows an object."""
        grid = round(self.colour.shape[1] ** 0.5)
        side = grid // block

        def blocks(values: torch.Tensor) -> torch.Tensor:
            cut = values.reshape(len(values), side, block, side, block, -1).transpose(2, 3)
            return cut.reshape(len(values), side * side, block * block, -1)

        best = blocks(self.colour)[..., 0].gt(0).long().argmax(-1)[..., None, None]

        def picked(values: torch.Tensor) -> torch.Tensor:
            cut = blocks(values)
            return cut.gather(2, best.expand(-1, -1, 1, cut.shape[-1]))[:, :, 0]

        return PatchLabels(
            picked(self.colour)[..., 0],
            picked(self.shape)[..., 0],
            picked(self.centre),
            picked(self.ground),
        )


class PatchHeads(nn.Module):
    """Linear read-outs of colour, shape and object centre from patch features ``[B, N, C]``."""

    def __init__(self, width: int, colours: int, shapes: int) -> None:
        super().__init__()
        self.colour = nn.Linear(width, colours + 1)
        self.shape = nn.Linear(width, shapes + 1)
        self.centre = nn.Linear(width, 2)
        self.ground = nn.Linear(width, 2)

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
        total = total + 5.0 * (distance * objects).sum() / objects.sum().clamp(min=1.0)
        known = objects * labels.ground.isfinite().all(-1)
        off = (self.ground(features) - labels.ground.nan_to_num()).abs().sum(-1)
        return total + 5.0 * (off * known).sum() / known.sum().clamp(min=1.0)
