# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The language model's forward pass over a shared prefix and many short slots behind it.

The same numbers as ``Qwen2Model`` gives for prefix and slot in one sequence, several times faster
on a CPU: the prefix is computed once for all slots, no slot looks at another one, keys and values
are not repeated for every head, and the whole is one graph for ``torch.compile``.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional

#: queries of the prefix and of the slots, keys of the prefix and of the slots, one head of each
Recorded = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


def packed_decoder(
    model: Any,
    prefix: torch.Tensor,
    slots: torch.Tensor,
    prefix_positions: torch.Tensor,
    slot_positions: torch.Tensor,
    prefix_mask: torch.Tensor,
    slot_mask: torch.Tensor,
    heads: tuple[tuple[int, int], ...],
) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """Run the layers of a ``Qwen2Model``.

    Args:
        model: A ``Qwen2Model`` whose heads share one key and value head.
        prefix: ``[B, P, H]``.
        slots: ``[B, S, L, H]``, S slots behind each prefix.
        prefix_positions: ``[B, P]``.
        slot_positions: ``[B, S, L]``.
        prefix_mask: ``[B, 1, P, P]`` bool, True = may attend.
        slot_mask: ``[B S, 1, L, P + L]`` likewise; the first P keys are the prefix's.
        heads: ``(layer, head)`` whose attention is wanted.

    Returns:
        Final hidden states of the slots ``[B, S, L, H]``, and of each wanted head the scores of
        the slots' rows ``[B, S, L, P + L]``, unmasked.
    """
    count, start, width = prefix.shape
    number, length = slots.shape[1], slots.shape[2]
    size = model.layers[0].self_attn.head_dim
    dtype = torch.bfloat16
    positions = torch.cat([prefix_positions.flatten(), slot_positions.flatten()])
    angles = positions[:, None].float() * model.rotary_emb.inv_freq
    angles = torch.cat((angles, angles), -1)[:, None]
    cos, sin = angles.cos().to(dtype), angles.sin().to(dtype)
    x = torch.cat([prefix.reshape(-1, width), slots.reshape(-1, width)]).float()
    border = count * start
    recorded = []
    for index, layer in enumerate(model.layers):
        attention = layer.self_attn
        queries = attention.q_proj.weight.shape[0] // size
        h = _norm(x, layer.input_layernorm).to(dtype)
        projections = (attention.q_proj, attention.k_proj, attention.v_proj)
        weight = torch.cat([p.weight for p in projections]).to(dtype)
        bias = torch.cat([p.bias for p in projections]).to(dtype)
        joined = functional.linear(h, weight, bias).view(-1, queries + 2, size)
        turned = joined[:, : queries + 1]
        half = size // 2
        swapped = torch.cat((-turned[..., half:], turned[..., :half]), -1)
        turned = turned * cos + swapped * sin
        q, k, v = turned[:, :queries], turned[:, queries], joined[:, queries + 1]
        # The prefix.
        pq = q[:border].view(count, start, queries, size).transpose(1, 2)
        pk = k[:border].view(count, 1, start, size)
        pv = v[:border].view(count, 1, start, size)
        po = _attend(pq, pk, pv, prefix_mask, attention.scaling)
        # The slots behind it.
        sq = q[border:].view(count * number, length, queries, size).transpose(1, 2)
        sk = k[border:].view(count * number, 1, length, size)
        sv = v[border:].view(count * number, 1, length, size)
        wide = (-1, number, -1, -1)
        keys = torch.cat([pk.expand(*wide).reshape(-1, 1, start, size), sk], 2)
        values = torch.cat([pv.expand(*wide).reshape(-1, 1, start, size), sv], 2)
        so = _attend(sq, keys, values, slot_mask, attention.scaling)
        out = torch.cat(
            [
                po.transpose(1, 2).reshape(-1, queries * size),
                so.transpose(1, 2).reshape(-1, queries * size),
            ]
        )
        for at, head in heads:
            if at == index:
                scores = (sq[:, head] @ keys[:, 0].transpose(1, 2)).float() * attention.scaling
                recorded.append(scores.view(count, number, length, start + length))
        x = x + functional.linear(out, attention.o_proj.weight.to(dtype))
        h = _norm(x, layer.post_attention_layernorm).to(dtype)
        mlp = layer.mlp
        both = torch.cat((mlp.gate_proj.weight, mlp.up_proj.weight)).to(dtype)
        gate, up = functional.linear(h, both).chunk(2, -1)
        x = x + functional.linear(functional.silu(gate) * up, mlp.down_proj.weight.to(dtype))
    final = _norm(x[border:], model.norm)
    return final.view(count, number, length, width), recorded


def _norm(x: torch.Tensor, norm: Any) -> torch.Tensor:
    scale = torch.rsqrt(x.square().mean(-1, keepdim=True) + norm.variance_epsilon)
    return x * scale * norm.weight


def _attend(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: torch.Tensor, scaling: float
) -> torch.Tensor:
    heads = q.shape[1]
    return functional.scaled_dot_product_attention(
        q,
        k.expand(-1, heads, -1, -1),
        v.expand(-1, heads, -1, -1),
        attn_mask=mask,
        scale=scaling,
    )
