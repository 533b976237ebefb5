# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Attention that looks where things are: a training signal, not part of the network.

Pointing at "the mug left of the red box" means to look up two places of the image by their
content.  From the digits of the answer alone a small network takes long to find that out.  The
simulation knows the places, so that one attention head in each of a few layers is asked to attend
to the rows that show what a name in the question means, and another one, in later layers, to the
place of the answer before its first digit is written.
"""

from __future__ import annotations

import torch

#: weight of the squared spread of the scores.  Without it they grow until attention is sure and
#: wrong, which ends a long run at a high learning rate.
_SPREAD_WEIGHT = 1e-3


def grounding_loss(
    scores: torch.Tensor, mask: torch.Tensor, cells: torch.Tensor, rows: torch.Tensor
) -> torch.Tensor:
    """Mean of ``-log(attention to the right rows)``, and a small penalty on spread scores.

    Args:
        scores: ``[..., K]`` attention scores of one head before the mask.
        mask: ``[..., K]`` bool, True = may attend.
        cells: ``[..., C]`` bool, the cells to look at; rows without any are left out.
        rows: ``[2, C]`` key that shows each cell in the image and in the depth picture.
    """
    wanted = cells.any(-1)
    if not bool(wanted.any()):
        return scores.sum() * 0.0
    scores = scores[wanted].float().masked_fill(~mask[wanted], float("-inf"))
    right = torch.cat([scores[:, rows[0]], scores[:, rows[1]]], -1)
    right = right.masked_fill(~cells[wanted].repeat(1, 2), float("-inf"))
    entropy = scores.logsumexp(-1) - right.logsumexp(-1)
    may = scores.isfinite()
    mean = scores.masked_fill(~may, 0.0).sum(-1) / may.sum(-1)
    spread = scores.amax(-1) - mean
    return (entropy + _SPREAD_WEIGHT * spread.square()).mean()
