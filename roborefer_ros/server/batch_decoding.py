# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Decoding of several prompts together, each greedy or sampled.

Prompts of different lengths are padded on the left and masked; each keeps the positions 0, 1,
... that it has alone, so that its answer is that of ``models.roborefer.decoding.generate`` up to
the rounding of the matrix products.  A row that ends, fails or is cancelled leaves the batch.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import DynamicCache, Qwen2ForCausalLM

from roborefer_ros.errors import RoboReferError
from roborefer_ros.models.roborefer.decoding import Draft, cache_argument
from roborefer_ros.server.reuse import Prefix


@dataclass(eq=False)
class Row:
    """One prompt of a batch, and what became of it.

    Attributes:
        embeds: ``[N, hidden]`` of the spliced prompt, without what ``prefix`` holds.
        max_new_tokens: the answer is cut off there.
        check: called before every step; the numbered error it raises ends this row only.
        on_token: receives all ids so far after each token.
        on_end: called once, when the row is complete or has failed.
        temperature: 0 takes the most likely token, more samples.
        random: for sampling; on the CPU.
        draft: guesses the next tokens from those so far; None guesses nothing.
        prefix: the beginning of the prompt, if it has been read before.
        ids, logprobs: of the new tokens, without the stop token.
        watched: for each of them the probabilities of the watched tokens in its place.
        cut_off: it reached ``max_new_tokens``.
        error: what ``check`` raised.
        prefill_s: duration of reading the prompts, seconds.
    """

    embeds: torch.Tensor
    max_new_tokens: int
    check: Callable[[], None]
    on_token: Callable[[Sequence[int]], None]
    on_end: Callable[[Row], None]
    temperature: float = 0.0
    random: torch.Generator | None = None
    draft: Draft | None = None
    prefix: Prefix | None = None
    ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    watched: list[list[float]] = field(default_factory=list)
    cut_off: bool = False
    error: RoboReferError | None = None
    prefill_s: float = 0.0


@torch.inference_mode()
def decode_batch(
    llm: Qwen2ForCausalLM,
    rows: Sequence[Row],
    *,
    stop_ids: Sequence[int],
    watched_ids: Sequence[int] = (),
) -> None:
    """Continue all prompts; the outcomes are in the rows.

    Args:
        llm: the language model.
        rows: the prompts.
        stop_ids: tokens that end an answer.
        watched_ids: tokens whose probabilities are noted at every position.
    """
    started = time.perf_counter()
    alive = [row for row in rows if _wanted(row)]
    if not alive:
        return
    embeds, mask = left_padded([row.embeds for row in alive])
    cache, before = _joined(llm, [row.prefix for row in alive], mask)
    mask = torch.cat([before, mask], dim=-1)
    positions = _positions(mask)[:, before.shape[1] :]
    logits = _step(llm, embeds, mask, positions, cache)
    prefill_s = time.perf_counter() - started
    for row in alive:
        row.prefill_s = prefill_s
    next_position = positions[:, -1:] + 1
    while True:
        if len(alive) == 1 and alive[0].draft is not None and not llm.config.use_sliding_window:
            row = alive[0]
            _finish_alone(llm, row, logits, mask, next_position, cache, stop_ids, watched_ids)
            return
        every = torch.log_softmax(logits.float(), dim=-1)
        best = _chosen(every, alive)
        logprobs = every.gather(-1, best[:, None])[:, 0]
        watched = every[:, list(watched_ids)].exp()
        said = zip(best.tolist(), logprobs.tolist(), watched.tolist(), strict=True)
        kept = [
            index
            for index, (row, (token, logprob, chances)) in enumerate(zip(alive, said, strict=True))
            if not _ends(row, token, logprob, chances, stop_ids)
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


@torch.inference_mode()
def read_prefixes(
    llm: Qwen2ForCausalLM, prompts: Sequence[torch.Tensor], ids: Sequence[tuple[int, ...]]
) -> list[Prefix]:
    """Read the beginnings of prompts, ``[N, hidden]`` each, together.

    Keys and values of causal attention depend on what comes before alone, so they serve every
    prompt that begins so.
    """
    embeds, mask = left_padded(prompts)
    cache = DynamicCache(config=llm.config)
    _forward(llm, embeds, mask, _positions(mask), cache)
    layers: list[Any] = list(cache.layers)

    def last_rows(tensor: torch.Tensor, row: int) -> torch.Tensor:
        # A copy: a view would keep the whole batch in memory.
        return tensor[row, :, -len(prompts[row]) :].clone()

    return [
        Prefix(own, tuple((last_rows(at.keys, row), last_rows(at.values, row)) for at in layers))
        for row, own in enumerate(ids)
    ]


def _joined(
    llm: Qwen2ForCausalLM, prefixes: Sequence[Prefix | None], mask: torch.Tensor
) -> tuple[DynamicCache, torch.Tensor]:
    """A cache that begins with the prefixes, padded on the left, and its mask."""
    cache = DynamicCache(config=llm.config)
    longest = max(prefix.length if prefix else 0 for prefix in prefixes)
    before = mask.new_zeros(len(prefixes), longest)
    some = next((prefix for prefix in prefixes if prefix), None)
    if some is None:
        return cache, before
    for number, (keys, values) in enumerate(some.layers):
        shape = (len(prefixes), keys.shape[0], longest, keys.shape[2])
        joined = keys.new_zeros(shape), values.new_zeros(shape)
        for row, prefix in enumerate(prefixes):
            if prefix is not None:
                joined[0][row, :, longest - prefix.length :] = prefix.layers[number][0]
                joined[1][row, :, longest - prefix.length :] = prefix.layers[number][1]
        cache.update(*joined, number)
    for row, prefix in enumerate(prefixes):
        if prefix is not None:
            before[row, longest - prefix.length :] = 1
    return cache, before


def _positions(mask: torch.Tensor) -> torch.Tensor:
    """Each row counts its own tokens from 0."""
    return (mask.cumsum(-1) - 1).clamp(min=0)


def left_padded(prompts: Sequence[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """``[B, longest, hidden]`` and its mask ``[B, longest]``; 0 marks padding."""
    longest = max(len(prompt) for prompt in prompts)
    embeds = prompts[0].new_zeros(len(prompts), longest, prompts[0].shape[-1])
    mask = torch.zeros(len(prompts), longest, dtype=torch.long, device=embeds.device)
    for row, prompt in enumerate(prompts):
        embeds[row, longest - len(prompt) :] = prompt
        mask[row, longest - len(prompt) :] = 1
    return embeds, mask


def _finish_alone(
    llm: Qwen2ForCausalLM,
    row: Row,
    logits: torch.Tensor,
    mask: torch.Tensor,
    position: torch.Tensor,
    cache: DynamicCache,
    stop_ids: Sequence[int],
    watched_ids: Sequence[int],
) -> None:
    """The last row of a batch may guess ahead, as ``models.roborefer.decoding`` does.

    Args:
        llm, stop_ids, watched_ids: as in ``decode_batch``.
        row: what is left.
        logits: ``[1, vocabulary]`` of its next token.
        mask: ``[1, L]`` of the rows in the cache.
        position: ``[1, 1]`` of its next token.
        cache: keys and values of the ``L`` rows.
    """
    assert row.draft is not None
    guess: list[int] = []
    while True:
        every = torch.log_softmax(logits.float(), dim=-1)
        for right, logprobs in enumerate(every):
            token = int(_chosen(logprobs[None], [row])[0])
            chances = logprobs[list(watched_ids)].exp().tolist()
            if _ends(row, token, float(logprobs[token]), chances, stop_ids):
                return
            if right == len(guess) or token != guess[right]:
                break
        if right < len(guess):
            cache.crop(right - len(guess))  # a positive number is refused since transformers 5.23
        position = position + right
        guess = list(row.draft(row.ids))
        tokens = torch.tensor([[row.ids[-1], *guess]], device=mask.device)
        known = mask.new_ones(1, cache.get_seq_length() - mask.shape[1] + tokens.shape[1])
        mask = torch.cat([mask, known], dim=-1)
        steps = position + torch.arange(tokens.shape[1], device=mask.device)
        hidden = _forward(llm, llm.get_input_embeddings()(tokens), mask, steps, cache)
        logits = llm.lm_head(hidden[0])
        mask = mask[:, : mask.shape[1] - len(guess)]  # of the guesses none is known to be right
        position = position + 1


def _chosen(logprobs: torch.Tensor, rows: Sequence[Row]) -> torch.Tensor:
    """The next token of each row, ``[B]``."""
    best = logprobs.argmax(dim=-1)
    for index, row in enumerate(rows):
        if row.temperature > 0.0:
            chances = torch.softmax(logprobs[index] / row.temperature, dim=-1).cpu()
            best[index] = torch.multinomial(chances, 1, generator=row.random)[0]
    return best


def _ends(
    row: Row, token: int, logprob: float, watched: list[float], stop_ids: Sequence[int]
) -> bool:
    """Take a token into the row; whether that was its last."""
    if token not in stop_ids:
        row.ids.append(token)
        row.logprobs.append(logprob)
        row.watched.append(watched)
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
    hidden = _forward(llm, embeds, mask, positions, cache)
    logits: torch.Tensor = llm.lm_head(hidden[:, -1])
    return logits


def _forward(
    llm: Qwen2ForCausalLM,
    embeds: torch.Tensor,
    mask: torch.Tensor,
    positions: torch.Tensor,
    cache: DynamicCache,
) -> torch.Tensor:
    output = llm.model(
        inputs_embeds=embeds,
        attention_mask=mask,
        position_ids=positions,
        use_cache=True,
        **cache_argument(llm.model, cache),
    )
    hidden: torch.Tensor = output.last_hidden_state
    return hidden
