# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Greedy decoding that can be watched and stopped between tokens.

Plain greedy search with a key-value cache.  Nothing of ``generation_config.json`` is used:
the stored one samples and penalises repetitions, the reference does neither.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from transformers import DynamicCache, Qwen2ForCausalLM


@dataclass(frozen=True)
class Generated:
    """New tokens, without the stop token, and the log probability of each."""

    ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    prefill_logits: torch.Tensor  #: ``[vocabulary]`` of the last prompt position


@torch.inference_mode()
def generate(
    llm: Qwen2ForCausalLM,
    inputs_embeds: torch.Tensor,
    *,
    stop_ids: Sequence[int],
    max_new_tokens: int,
    check: Callable[[], None] = lambda: None,
    on_token: Callable[[list[int]], None] = lambda _: None,
    on_prefill: Callable[[], None] = lambda: None,
) -> Generated:
    """Continue a prompt with the most likely token until a stop token.

    Args:
        llm: the language model.
        inputs_embeds: ``[N, hidden]`` of the spliced prompt.
        stop_ids: tokens that end the answer.
        max_new_tokens: at most so many.
        check: called before every step; an exception it raises ends the decoding.
        on_token: receives all ids so far after each token.
        on_prefill: called when the prompt has been read.
    """
    check()
    cache = DynamicCache(config=llm.config)
    logits = _step(llm, inputs_embeds[None], cache)
    on_prefill()
    prefill_logits = logits
    ids: list[int] = []
    logprobs: list[float] = []
    while True:
        distribution = torch.log_softmax(logits.float(), dim=-1)
        best = int(distribution.argmax())
        if best in stop_ids:
            break
        ids.append(best)
        logprobs.append(float(distribution[best]))
        on_token(ids)
        if len(ids) >= max_new_tokens:
            break
        check()
        token = torch.tensor([[best]], device=inputs_embeds.device)
        logits = _step(llm, llm.get_input_embeddings()(token), cache)
    return Generated(tuple(ids), tuple(logprobs), prefill_logits)


def _step(llm: Qwen2ForCausalLM, embeds: torch.Tensor, cache: DynamicCache) -> torch.Tensor:
    """Logits of the last position; only that one goes through the vocabulary."""
    hidden = llm.model(inputs_embeds=embeds, past_key_values=cache, use_cache=True)
    logits: torch.Tensor = llm.lm_head(hidden.last_hidden_state[:, -1])[0]
    return logits
