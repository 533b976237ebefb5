# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Attention that looks where the answer is: a training signal, not part of the network.

Pointing at "the red mug" means to look up one place of the image by its content.  From the digits
of the answer alone a small network takes long to find that out.  The simulation knows the place,
so one attention head in each of a few layers is asked to attend to the image row that shows it
before the answer's first digit is written.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from transformers.models.qwen2.modeling_qwen2 import apply_rotary_pos_emb

from roborefer_ros.training.tabletop.packing import IGNORE

#: the head that is asked; which one makes no difference
_HEAD = 0

#: weight of the squared spread of the scores.  Without it they grow until attention is sure and
#: wrong, which ends a long run at a high learning rate.
_SPREAD_WEIGHT = 1e-3


class AttentionGrounding:
    """Recomputes the attention of one head from what flows through its layer.

    Args:
        layers: decoder layers of a ``Qwen2Model`` to supervise.
    """

    def __init__(self, layers: Sequence[nn.Module]) -> None:
        self._attentions: list[Any] = [layer.self_attn for layer in layers]
        self._inputs: list[tuple[torch.Tensor, tuple[torch.Tensor, torch.Tensor]]] = []

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Remember what the layers receive while the model runs inside."""
        self._inputs.clear()

        def remember(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            hidden = kwargs["hidden_states"] if "hidden_states" in kwargs else args[0]
            self._inputs.append((hidden, kwargs["position_embeddings"]))

        handles = [
            attention.register_forward_pre_hook(remember, with_kwargs=True)
            for attention in self._attentions
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def loss(
        self, mask: torch.Tensor, cells: torch.Tensor, prefix_length: int, image_start: int
    ) -> torch.Tensor:
        """Mean of ``-log(attention to the right image row)`` where an answer is still open.

        A small penalty keeps the scores together (``_SPREAD_WEIGHT``).

        Args:
            mask: ``[B, 1, T, T]`` bool, True = may attend.
            cells: ``[B, L]`` number of the image row that shows the answer, at the positions
                that predict an answer's tokens; IGNORE elsewhere.
            prefix_length: T - L.
            image_start: position of the image's first row.
        """
        wanted = cells != IGNORE
        target = (cells.clamp(min=0) + image_start)[..., None]
        total = torch.zeros((), device=cells.device)
        for attention, (hidden, rotary) in zip(self._attentions, self._inputs, strict=True):
            scores = _scores(attention, hidden, rotary, prefix_length)
            scores = scores.masked_fill(~mask[:, 0, prefix_length:], float("-inf"))
            entropy = scores.logsumexp(-1) - scores.gather(-1, target)[..., 0]
            spread = scores.amax(-1) - _mean_of_finite(scores)
            total = total + (entropy + _SPREAD_WEIGHT * spread.square())[wanted].mean()
        return total / len(self._attentions)


def _mean_of_finite(scores: torch.Tensor) -> torch.Tensor:
    """Mean over the keys that may be attended to."""
    may = scores.isfinite()
    total: torch.Tensor = scores.masked_fill(~may, 0.0).sum(-1) / may.sum(-1)
    return total


def _scores(
    attention: Any,
    hidden: torch.Tensor,
    rotary: tuple[torch.Tensor, torch.Tensor],
    prefix_length: int,
) -> torch.Tensor:
    """Attention scores ``[B, L, T]`` of the head, before the mask."""
    width, first = attention.head_dim, _HEAD * attention.head_dim
    key_first = _HEAD // attention.num_key_value_groups * width

    def part(linear: nn.Linear, start: int) -> torch.Tensor:
        bias = None if linear.bias is None else linear.bias[start : start + width]
        return functional.linear(hidden, linear.weight[start : start + width], bias)[:, None]

    query, key = apply_rotary_pos_emb(
        part(attention.q_proj, first), part(attention.k_proj, key_first), *rotary
    )
    scores: torch.Tensor = query[:, 0, prefix_length:].float() @ key[:, 0].float().transpose(1, 2)
    return scores * attention.scaling
