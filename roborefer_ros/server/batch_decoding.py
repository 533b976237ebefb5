# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Greedy decoding of several prompts together.

Prompts of different lengths are padded on the left and masked; each keeps the positions 0, 1,
... that it has alone, so that its answer is that of ``models.roborefer.decoding.generate`` up to
the rounding of the matrix products.  A row that ends, fails or is cancelled leaves the batch.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from transformers import DynamicCache, Qwen2ForCausalLM

from roborefer_ros.errors import RoboReferError


@dataclass(eq=False)
class Row:
    """One prompt of a batch, and what became of it.

    Attributes:
        embeds: ``[N, hidden]`` of the spliced prompt.
        max_new_tokens: the answer is cut off there.
        check: called before every step; the numbered error it raises ends this row only.
        on_token: receives all ids so far after each token.
        on_end: called once, when the row is complete or has failed.
        ids, logprobs: of the new tokens, without the stop token.
        cut_off: it reached ``max_new_tokens``.
        error: what ``check`` raised.
        prefill_s: duration of reading the prompts, seconds.
    """

    embeds: torch.Tensor
    max_new_tokens: int
    check: Callable[[], None]
    on_token: Callable[[Sequence[int]], None]
    on_end: Callable[[Row], None]
    ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    cut_off: bool = False
    error: RoboReferError | None = None
    prefill_s: float = 0.0


@torch.inference_mode()
def decode_batch(llm: Qwen2ForCausalLM, rows: Sequence[Row], *, stop_id: int) -> None:
    """Continue all prompts with their most likely tokens; the outcomes are in the rows."""
    started = time.perf_counter()
    alive = [row for row in rows if _wanted(row)]
    if not alive:
        return
    cache = DynamicCache(config=llm.config)
    embeds, mask = left_padded([row.embeds for row in alive])
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    logits = _step(llm, embeds, mask, positions, cache)
    prefill_s = time.perf_counter() - started
    for row in alive:
        row.prefill_s = prefill_s
    next_position = positions[:, -1:] + 1
    while True:
        logprobs, best = torch.log_softmax(logits.float(), dim=-1).max(dim=-1)
        kept = [
            index
            for index, (row, token, logprob) in enumerate(
                zip(alive, best.tolist(), logprobs.tolist(), strict=True)
            )
            if not _ends(row, token, logprob, stop_id)
        ]
        if not kept:
            return
        if len(kept) < len(alive):
            alive = [alive[index] for index in kept]
            index = torch.tensor(kept, device=mask.device)
            cache.batch_select_indices(index)
            mask, best, next_position = mask[index], best[index], next_position[index]
        mask = torch.cat([mask, mask.new_ones(len(alive), 1)], dim=-1)
        embeds = llm.get_input_embeddings()(best[:, None])
        logits = _step(llm, embeds, mask, next_position, cache)
        next_position = next_position + 1


def left_padded(prompts: Sequence[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """``[B, longest, hidden]`` and its mask ``[B, longest]``; 0 marks padding."""
    longest = max(len(prompt) for prompt in prompts)
    embeds = prompts[0].new_zeros(len(prompts), longest, prompts[0].shape[-1])
    mask = torch.zeros(len(prompts), longest, dtype=torch.long, device=embeds.device)
    for row, prompt in enumerate(prompts):
        embeds[row, longest - len(prompt) :] = prompt
        mask[row, longest - len(prompt) :] = 1
    return embeds, mask


def _ends(row: Row, token: int, logprob: float, stop_id: int) -> bool:
    """Take a token into the row; whether that was its last."""
    if token != stop_id:
        row.ids.append(token)
        row.logprobs.append(logprob)
        row.on_token(row.ids)
        if len(row.ids) < row.max_new_tokens:
            return not _wanted(row)
        row.cut_off = True
    row.on_end(row)
    return True


def _wanted(row: Row) -> bool:
    try:
        row.check()
    except RoboReferError as error:
        row.error = error
        row.on_end(row)
        return False
    return True


def _step(
    llm: Qwen2ForCausalLM,
    embeds: torch.Tensor,
    mask: torch.Tensor,
    positions: torch.Tensor,
    cache: DynamicCache,
) -> torch.Tensor:
    """Logits of the last position, ``[B, vocabulary]``."""
    hidden = llm.model(
        inputs_embeds=embeds,
        # Without padding attention is simply causal, which has the faster kernels.
        attention_mask=mask if len(mask) > 1 else None,
        position_ids=positions,
        past_key_values=cache,
        use_cache=True,
    )
    logits: torch.Tensor = llm.lm_head(hidden.last_hidden_state[:, -1])
    return logits
