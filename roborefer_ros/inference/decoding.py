# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The decoding loop: one prompt or many, greedy or sampled, with drafts that are verified.

Nothing of ``generation_config.json`` is used: the stored one samples and penalises repetitions,
the reference does neither.

Each row keeps the positions 0, 1, ... that it has alone, and sees its own slots only, so that
its answer is the same in any company, up to the rounding of matrix products of other shapes.  A
row that ends, fails or is cancelled leaves the batch.

A draft may guess the next tokens; they are read together and kept as far as they are what the
network says itself, so that they save time and change nothing (the verification step of
speculative decoding, arXiv 2211.17192, with a draft that costs nothing).

Each pass ends in one packed tensor that the host reads once: tokens, their log probabilities
and the probabilities of the tracked tokens.
"""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import Qwen2ForCausalLM

from roborefer_ros.cancellation import Cancellation
from roborefer_ros.errors import RoboReferError
from roborefer_ros.inference.fixed_shapes import FixedShapes
from roborefer_ros.inference.kv_cache import BLOCK, KVCache

#: the ids so far -> a guess of the next ones, perhaps none
Draft = Callable[[Sequence[int]], Sequence[int]]


def _no_draft(_: Sequence[int]) -> Sequence[int]:
    return ()


@dataclass(eq=False)
class Row:
    """One prompt of a batch, and what became of it.

    Attributes:
        embeds: ``[N, hidden]`` of the whole spliced prompt.
        max_new_tokens: Greatest number of new tokens.
        cancellation: Looked at before every pass and after every token; ends this row only.
        on_token: Receives all ids so far after each token.
        temperature: 0 takes the most likely token, more samples.
        random: Source of the samples, on the CPU.
        draft: Guesses the next tokens from those so far.
        known: Slots of the prompt that the cache already holds.
        ids: New tokens, without the stop token.
        logprobs: Natural log probability of each new token.
        tracked: Probabilities of the tracked tokens in the place of each new token.
        finish_reason: "stop" or "length", once the row is complete.
        stop_id: Token that ended the answer; None where its greatest length did.
        stop_logprob: Natural log probability of that token.
        error: What ``cancellation`` raised.
        prefill_s: Duration of reading the prompts, seconds.
        passes: Number of times the network was run for this row.
        length: Slots of the cache that hold the prompt and its verified tokens.
    """

    embeds: torch.Tensor
    max_new_tokens: int
    cancellation: Cancellation = field(default_factory=Cancellation)
    on_token: Callable[[Sequence[int]], None] = lambda _: None
    temperature: float = 0.0
    random: torch.Generator | None = None
    draft: Draft = _no_draft
    known: int = 0
    ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    tracked: list[list[float]] = field(default_factory=list)
    finish_reason: str = ""
    stop_id: int | None = None
    stop_logprob: float = 0.0
    error: RoboReferError | None = None
    prefill_s: float = 0.0
    passes: int = 0
    length: int = 0
    _draws: torch.Tensor | None = None

    @property
    def has_ended(self) -> bool:
        """Whether no more tokens are wanted."""
        return bool(self.finish_reason) or self.error is not None

    def is_wanted(self) -> bool:
        """Whether to go on; notes the error if not."""
        try:
            self.cancellation.check()
        except RoboReferError as error:
            self.error = error
            return False
        return True

    def draws(self, count: int) -> torch.Tensor:
        """``[count]`` numbers in [0, 1) for the next tokens: one a place, however often tried."""
        if self.temperature <= 0.0:
            return torch.zeros(count, dtype=torch.float64)
        if self._draws is None:
            size = self.max_new_tokens
            self._draws = torch.rand(size, generator=self.random, dtype=torch.float64)
        own = self._draws[len(self.ids) : len(self.ids) + count]
        return torch.nn.functional.pad(own, (0, count - len(own)))

    def accept(self, packed: Sequence[list[float]], guess: Sequence[int], stops: set[int]) -> None:
        """Take tokens as long as the guesses agree with them.

        Args:
            packed: For each guess and one more place: token, log probability, tracked ones.
            guess: Tokens that were read before their verification.
            stops: Tokens that end the answer.
        """
        self.passes += 1
        for right in range(len(guess) + 1):
            token, logprob, *tracked = packed[right]
            if int(token) in stops:
                self.finish_reason = "stop"
                self.stop_id, self.stop_logprob = int(token), logprob
                return
            self.ids.append(int(token))
            self.logprobs.append(logprob)
            self.tracked.append(tracked)
            self.on_token(self.ids)
            if len(self.ids) >= self.max_new_tokens:
                self.finish_reason = "length"
            if self.has_ended or not self.is_wanted():
                return
            if right == len(guess) or int(token) != guess[right]:
                return
            self.length += 1


class Decoder:
    """Continues prompts with a language model.

    Args:
        llm: Language model.
        stop_ids: Tokens that end an answer.
        tracked_ids: Tokens whose probabilities are noted at every place.
        fixed: Runs of the network in fixed shapes, as a CUDA graph needs them; None follows the
            lengths at hand.
    """

    def __init__(
        self,
        llm: Qwen2ForCausalLM,
        *,
        stop_ids: Sequence[int],
        tracked_ids: Sequence[int] = (),
        fixed: FixedShapes | None = None,
    ) -> None:
        self._llm = llm
        self._stops = set(stop_ids)
        self._tracked = torch.tensor(list(tracked_ids), dtype=torch.long, device=llm.device)
        self._fixed = fixed
        self._window = llm.config.sliding_window if llm.config.use_sliding_window else None
        # 5.24 renamed past_key_values
        names = inspect.signature(llm.model.forward).parameters
        self._cache_name = "cache" if "cache" in names else "past_key_values"

    @torch.inference_mode()
    def run(
        self,
        rows: Sequence[Row],
        cache: KVCache | None = None,
        on_prefill: Callable[[Sequence[Row], KVCache], None] = lambda *_: None,
    ) -> Iterator[Row]:
        """Continue prompts until each has ended.

        Args:
            rows: Prompts; the outcome of each is in it.
            cache: Keys and values that hold the first ``known`` slots of each row, in the order
                of the rows; None where nothing is known.
            on_prefill: Called once the prompts have been read, with the rows that are still
                wanted and their keys and values.

        Yields:
            Each row as soon as it has ended.
        """
        started = time.perf_counter()
        alive = list(rows)
        cache = cache or self.cache_for(alive)
        yield from self._remove(alive, [row for row in alive if not row.is_wanted()], cache)
        if not alive:
            return
        guesses = [list(row.draft(())) for row in alive]
        packed = self._read_prompts(alive, guesses, cache)
        for row in alive:
            row.prefill_s = time.perf_counter() - started
        on_prefill(alive, cache)
        while True:
            for row, guess, own in zip(alive, guesses, packed, strict=True):
                row.accept(own, guess, self._stops)
            yield from self._remove(alive, [row for row in alive if row.has_ended], cache)
            if not alive:
                return
            guesses = [list(row.draft(row.ids)) for row in alive]
            packed = self._read_tokens(alive, guesses, cache)

    @torch.inference_mode()
    def read(self, prompts: Sequence[torch.Tensor]) -> KVCache:
        """Keys and values of prompts, ``[N, hidden]`` each, without an answer."""
        lengths = [len(prompt) for prompt in prompts]
        cache = KVCache(self._llm.config, len(prompts), max(lengths), prompts[0])
        self._hidden(_right_padded(prompts), [0] * len(prompts), cache)
        return cache

    def cache_for(self, rows: Sequence[Row]) -> KVCache:
        """Empty keys and values that fit prompts and the usual answer."""
        longest = max(len(row.embeds) for row in rows)
        tokens = min(max(row.max_new_tokens for row in rows), BLOCK)
        if self._fixed is not None:
            return self._fixed.cache_for(len(rows), longest + tokens, rows[0].embeds)
        return KVCache(self._llm.config, len(rows), longest + tokens, rows[0].embeds)

    @staticmethod
    def _remove(alive: list[Row], ended: Sequence[Row], cache: KVCache) -> Iterator[Row]:
        """Take rows out of the batch: the last ones move into their places."""
        for row in ended:
            place = alive.index(row)
            last = alive.pop()
            if last is not row:
                alive[place] = last
                cache.copy_row(cache, len(alive), place, max(last.length, last.known))
            yield row

    # --- passes ------------------------------------------------------------------------------

    def _read_prompts(
        self, rows: Sequence[Row], guesses: Sequence[Sequence[int]], cache: KVCache
    ) -> list[list[list[float]]]:
        """Read what is not known of the prompts, and the first guesses."""
        embed = self._llm.get_input_embeddings()
        device = rows[0].embeds.device
        chunks = []
        for row, guess in zip(rows, guesses, strict=True):
            new = row.embeds[row.known :]
            if guess:
                new = torch.cat([new, embed(torch.tensor(guess, device=device))])
            chunks.append(new)
            row.length = len(row.embeds)
        starts, padded = [row.known for row in rows], _right_padded(chunks)
        hidden = None
        if self._fixed is not None and all(starts):  # the pictures are known: words alone
            hidden = self._fixed.run_rows(self._rows_pass, padded, starts, cache)
        if hidden is None:
            hidden = self._hidden(padded, starts, cache)
        count = 1 + max(map(len, guesses))
        first = [row.length - row.known - 1 for row in rows]
        places = torch.tensor(first, device=device)[:, None] + torch.arange(count, device=device)
        places = places.clamp(max=hidden.shape[1] - 1)
        hidden = hidden.gather(1, places[..., None].expand(-1, -1, hidden.shape[-1]))
        return self._chosen(hidden, rows)

    def _read_tokens(
        self, rows: Sequence[Row], guesses: Sequence[Sequence[int]], cache: KVCache
    ) -> list[list[list[float]]]:
        """Read the last token of each row and the guesses after it."""
        count = 1 + max(map(len, guesses))
        starts = [row.length for row in rows]
        tokens = [
            ([row.ids[-1], *guess] + [0] * count)[:count]  # what is padded is never looked at
            for row, guess in zip(rows, guesses, strict=True)
        ]
        cache.reserve(max(starts) + count)
        if self._fixed is not None:
            hidden = self._fixed.run(self._tokens_pass, tokens, starts, cache)[:, :count]
        else:
            ids = torch.tensor(tokens, device=rows[0].embeds.device)
            hidden = self._hidden(self._llm.get_input_embeddings()(ids), starts, cache)
        for row in rows:
            row.length += 1
        return self._chosen(hidden, rows)

    def _hidden(self, embeds: torch.Tensor, starts: Sequence[int], cache: KVCache) -> torch.Tensor:
        """Run the network on ``[B, Q, hidden]`` from the given positions on; likewise back."""
        count, device = embeds.shape[1], embeds.device
        cache.reserve(max(starts) + count)
        view = max(starts) + count
        same = len(set(starts)) == 1
        steps = torch.arange(count, device=device)
        positions = torch.tensor(list(starts), device=device)[:, None] + steps
        cache.begin(positions, view, starts[0] if same else None)
        # Without a mask, many queries are causal from slot 0 on, and one query sees everything.
        plain = same and (count == 1 or view == count)
        mask = None if plain and self._window is None else self._mask(positions, view, embeds)
        return self._forward(embeds, positions, mask, cache)

    def _tokens_pass(
        self, tokens: torch.Tensor, positions: torch.Tensor, cache: KVCache
    ) -> torch.Tensor:
        """Run the network on ``[B, Q]`` tokens over all slots of the cache: shapes never change."""
        return self._rows_pass(self._llm.get_input_embeddings()(tokens), positions, cache)

    def _rows_pass(
        self, embeds: torch.Tensor, positions: torch.Tensor, cache: KVCache
    ) -> torch.Tensor:
        """Likewise on ``[B, Q, hidden]`` rows."""
        cache.begin(positions, cache.slots, None)
        return self._forward(embeds, positions, self._mask(positions, cache.slots, embeds), cache)

    def _mask(
        self, positions: torch.Tensor, view: int, like: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        """Which slots each token sees, for each kind of layer: ``[B, 1, Q, view]``."""
        slots = torch.arange(view, device=positions.device)
        at = positions[:, None, :, None]
        seen = slots <= at
        masks = {"full_attention": seen}
        if self._window is not None:
            masks["sliding_attention"] = seen & (slots > at - self._window)
        if self._llm.config._attn_implementation == "sdpa":
            return masks
        lowest = torch.finfo(like.dtype).min
        return {name: like.new_zeros(()).masked_fill(~mask, lowest) for name, mask in masks.items()}

    def _forward(
        self,
        embeds: torch.Tensor,
        positions: torch.Tensor,
        mask: Mapping[str, torch.Tensor | None] | None,
        cache: KVCache,
    ) -> torch.Tensor:
        output = self._llm.model(
            inputs_embeds=embeds,
            attention_mask=mask or {"full_attention": None, "sliding_attention": None},
            position_ids=positions,
            use_cache=True,
            **{self._cache_name: cache},
        )
        hidden: torch.Tensor = output.last_hidden_state
        return hidden

    def _chosen(self, hidden: torch.Tensor, rows: Sequence[Row]) -> list[list[list[float]]]:
        """Choose a token at each place of ``[B, C, hidden]``; the only read by the host."""
        every = torch.log_softmax(self._llm.lm_head(hidden).float(), dim=-1)
        best = every.argmax(dim=-1)
        if any(row.temperature > 0.0 for row in rows):
            best = torch.where(*self._sampled(every, rows), best)
        told = [best[..., None].float(), every.gather(-1, best[..., None])]
        if len(self._tracked):
            told.append(every.index_select(-1, self._tracked).exp())
        packed: list[list[list[float]]] = torch.cat(told, dim=-1).tolist()
        return packed

    @staticmethod
    def _sampled(every: torch.Tensor, rows: Sequence[Row]) -> tuple[torch.Tensor, torch.Tensor]:
        """Which rows sample, and the tokens they draw by the inverse of the distribution."""
        warmth = torch.tensor([row.temperature for row in rows], device=every.device)[:, None]
        draws = torch.stack([row.draws(every.shape[1]) for row in rows]).to(every.device)
        chances = torch.softmax(every / warmth.clamp(min=1e-6)[..., None], dim=-1)
        below = chances.double().cumsum(dim=-1)
        wanted = (draws * below[..., -1])[..., None]
        token = torch.searchsorted(below, wanted, right=True)[..., 0]
        return warmth > 0.0, token.clamp(max=every.shape[-1] - 1)


def generate(
    llm: Qwen2ForCausalLM,
    embeds: torch.Tensor,
    *,
    stop_ids: Sequence[int],
    max_new_tokens: int,
    tracked_ids: Sequence[int] = (),
    fixed: FixedShapes | None = None,
    **row_fields: Any,
) -> Row:
    """Continue one prompt, ``[N, hidden]``.

    Args:
        llm: Language model.
        embeds: Spliced prompt.
        stop_ids: Tokens that end the answer.
        max_new_tokens: Greatest number of new tokens.
        tracked_ids: Tokens whose probabilities are noted at every place.
        fixed: As in ``Decoder``.
        **row_fields: Further fields of ``Row``.

    Raises:
        RoboReferError: What the row's cancellation raises.
    """
    decoder = Decoder(llm, stop_ids=stop_ids, tracked_ids=tracked_ids, fixed=fixed)
    (row,) = decoder.run([Row(embeds, max_new_tokens, **row_fields)])
    if row.error is not None:
        raise row.error
    return row


def _right_padded(chunks: Sequence[torch.Tensor]) -> torch.Tensor:
    """``[B, longest, hidden]``; what is padded comes after the row and is overwritten later."""
    if len(chunks) == 1:
        return chunks[0][None]
    return torch.nn.utils.rnn.pad_sequence(list(chunks), batch_first=True)
