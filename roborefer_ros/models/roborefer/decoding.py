# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Decoding that can be watched and stopped between tokens.

Plain greedy search with a key-value cache (or sampling, where it is asked for).  Nothing of
``generation_config.json`` is used: the stored one samples and penalises repetitions, the
reference does neither.

A draft may guess the next tokens; they are read together and kept as far as they are what
the network says itself, so that they save time and change nothing (the verification step of
speculative decoding, arXiv 2211.17192, with a draft that costs nothing).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import DynamicCache, Qwen2ForCausalLM

#: the ids so far -> a guess of the next ones, perhaps none
Draft = Callable[[Sequence[int]], Sequence[int]]


@dataclass(frozen=True)
class Generated:
    """New tokens, without the stop token.

    Attributes:
        ids: of the tokens.
        logprobs: natural log probability of each.
        prefill_logits: ``[vocabulary]`` of the last prompt position.
        watched: ``[T, W]`` float32, probabilities of the watched tokens at each position.
        passes: how often the network was run for all this.
    """

    ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    prefill_logits: torch.Tensor
    watched: torch.Tensor
    passes: int


class PromptCache:
    """What the language model has read last: another prompt that begins alike goes on from there.

    Keys and values of causal attention depend on what comes before alone.  Two prompts
    about the same pictures share all rows up to the words.  Holds ``2 * layers * KV heads *
    head width`` numbers per row: 94 MB for 3292 rows of the 2B model in 16 bit.
    """

    def __init__(self) -> None:
        self._embeds: torch.Tensor | None = None
        self._cache: DynamicCache | None = None

    def take(self, embeds: torch.Tensor) -> tuple[DynamicCache | None, int]:
        """Hand the cache over, cut to the rows that ``embeds`` (``[N, hidden]``) begins with.

        At least one row is left to be read, since its logits are needed.  The cache is given
        away: what fails on the way to ``keep`` leaves none behind.
        """
        known, cache = self._embeds, self._cache
        self.clear()
        if known is None or cache is None:
            return None, 0
        shared = min(len(known), len(embeds) - 1)
        same = (known[:shared] == embeds[:shared]).all(dim=-1)
        rows = int(same.long().cumprod(0).sum())
        if not rows:
            return None, 0
        _shorten(cache, rows)
        return cache, rows

    def keep(self, embeds: torch.Tensor, cache: DynamicCache) -> None:
        """Remember a prompt; what was decoded after it is cut off."""
        _shorten(cache, len(embeds))
        self._embeds, self._cache = embeds, cache

    def clear(self) -> None:
        """Forget it, and free the memory."""
        self._embeds = self._cache = None


@dataclass
class _Answer:
    """The tokens so far, and the rules by which more are added."""

    stop_ids: Sequence[int]
    limit: int
    on_token: Callable[[list[int]], None]
    watched_ids: Sequence[int]
    temperature: float
    random: torch.Generator | None
    ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    watched: list[torch.Tensor] = field(default_factory=list)
    ended: bool = False

    def add(self, logits: torch.Tensor, guess: Sequence[int]) -> int:
        """Take tokens from ``[G + 1, vocabulary]`` as long as the G guesses agree with them.

        Returns:
            How many guesses were right: one token fewer than were taken.
        """
        for right, row in enumerate(torch.log_softmax(logits.float(), dim=-1)):
            token = self._choose(row)
            if token in self.stop_ids:
                self.ended = True
                return right
            self.ids.append(token)
            self.logprobs.append(float(row[token]))
            self.watched.append(row[list(self.watched_ids)].exp().cpu())
            self.on_token(self.ids)
            self.ended = len(self.ids) >= self.limit
            if self.ended or right == len(guess) or token != guess[right]:
                return right
        raise AssertionError("the last row has no guess after it")

    def _choose(self, logprobs: torch.Tensor) -> int:
        if self.temperature <= 0.0:
            return int(logprobs.argmax())
        probabilities = torch.softmax(logprobs / self.temperature, dim=-1).cpu()
        return int(torch.multinomial(probabilities, 1, generator=self.random))


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
    draft: Draft = lambda _: (),
    watched_ids: Sequence[int] = (),
    prompts: PromptCache | None = None,
    temperature: float = 0.0,
    random: torch.Generator | None = None,
) -> Generated:
    """Continue a prompt until a stop token.

    Args:
        llm: the language model.
        inputs_embeds: ``[N, hidden]`` of the spliced prompt.
        stop_ids: tokens that end the answer.
        max_new_tokens: at most so many.
        check: called before every step; an exception it raises ends the decoding.
        on_token: receives all ids so far after each token.
        on_prefill: called when the prompt has been read.
        draft: guesses what comes next; the answer is the same whatever it guesses, up to the
            rounding of products of other shapes.
        watched_ids: tokens whose probabilities are noted at every position.
        prompts: where the prompt's keys and values are taken from and left.
        temperature: 0 takes the most likely token, more samples.
        random: for sampling; on the CPU.
    """
    check()
    if llm.config.use_sliding_window:  # its cache cannot be cut back
        draft, prompts = (lambda _: ()), None
    answer = _Answer(stop_ids, max_new_tokens, on_token, watched_ids, temperature, random)
    cache, known = prompts.take(inputs_embeds) if prompts else (None, 0)
    cache = cache if cache is not None else DynamicCache(config=llm.config)
    guess = list(draft(()))
    logits = _read(llm, inputs_embeds[known:], guess, cache)
    on_prefill()
    prefill_logits, passes = logits[0], 1
    while True:
        right = answer.add(logits, guess)
        if answer.ended:
            break
        check()
        _shorten(cache, cache.get_seq_length() - (len(guess) - right))
        guess = list(draft(answer.ids))
        logits = _read(llm, inputs_embeds[:0], [answer.ids[-1], *guess], cache, len(guess) + 1)
        passes += 1
    if prompts is not None:
        prompts.keep(inputs_embeds, cache)
    noted = torch.stack(answer.watched) if answer.watched else torch.zeros(0, len(watched_ids))
    return Generated(tuple(answer.ids), tuple(answer.logprobs), prefill_logits, noted, passes)


def _read(
    llm: Qwen2ForCausalLM,
    embeds: torch.Tensor,
    ids: Sequence[int],
    cache: DynamicCache,
    count: int | None = None,
) -> torch.Tensor:
    """Read embeddings and then ids.

    Returns:
        ``[count, vocabulary]`` logits of the last positions, by default those from the last of
        the embeddings on; only they go through the vocabulary.
    """
    tokens = torch.tensor(list(ids), dtype=torch.long, device=embeds.device)
    rows = torch.cat([embeds, llm.get_input_embeddings()(tokens)])[None]
    hidden = llm.model(inputs_embeds=rows, use_cache=True, **cache_argument(llm.model, cache))
    last = hidden.last_hidden_state[0, -(count if count is not None else len(tokens) + 1) :]
    logits: torch.Tensor = llm.lm_head(last)
    return logits


def cache_argument(model: Any, cache: DynamicCache) -> dict[str, DynamicCache]:
    """The cache under the name that this transformers knows: 5.24 renamed ``past_key_values``."""
    names = inspect.signature(model.forward).parameters
    return {"cache" if "cache" in names else "past_key_values": cache}


def _shorten(cache: DynamicCache, length: int) -> None:
    surplus = cache.get_seq_length() - length
    if surplus > 0:
        cache.crop(-surplus)  # a positive number, the length to keep, is refused since 5.23
