# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Drafts and kept prompts save passes and change no answer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import Qwen2Config, Qwen2ForCausalLM

from roborefer_ros.errors import CanceledError
from roborefer_ros.models.roborefer.checkpoint import load_roborefer
from roborefer_ros.models.roborefer.decoding import Generated, PromptCache, generate
from roborefer_ros.models.roborefer.drafts import AnswerTemplate
from roborefer_ros.training.tokenizer import train_tokenizer

GOLDEN = Path(__file__).resolve().parents[2] / "data" / "golden"

STOP = 11
VOCABULARY = 12


@pytest.fixture(scope="module")
def llm() -> Qwen2ForCausalLM:
    """Random, in double precision: only equal computations give equal tokens."""
    torch.manual_seed(3)
    config = Qwen2Config(
        vocab_size=VOCABULARY,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        initializer_range=0.4,
    )
    return Qwen2ForCausalLM(config).double().eval()


def prompt(length: int, seed: int = 0) -> torch.Tensor:
    random = torch.Generator().manual_seed(seed)
    return torch.randn(length, 32, generator=random, dtype=torch.float64)


def assert_equal(one: Generated, other: Generated) -> None:
    assert one.ids == other.ids
    torch.testing.assert_close(torch.tensor(one.logprobs), torch.tensor(other.logprobs))
    torch.testing.assert_close(one.prefill_logits, other.prefill_logits)
    torch.testing.assert_close(one.watched, other.watched)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 30), st.lists(st.integers(0, 5), max_size=12), st.integers(0, 2**30))
def test_no_draft_changes_the_answer(
    llm: Qwen2ForCausalLM, seed: int, lengths: list[int], noise: int
) -> None:
    """Drafts that are right for a while, wrong at once, too long, or empty."""
    plain = generate(llm, prompt(9, seed), stop_ids=[STOP], max_new_tokens=14, watched_ids=[1, 2])

    def draft(ids: Sequence[int]) -> list[int]:
        length = lengths[len(ids) % len(lengths)] if lengths else 0
        guess = [*plain.ids, *plain.ids][len(ids) : len(ids) + length]
        if guess and (noise >> len(ids)) & 1:
            guess[-1] = (guess[-1] + 1) % VOCABULARY
        return guess

    seen: list[list[int]] = []
    drafted = generate(
        llm,
        prompt(9, seed),
        stop_ids=[STOP],
        max_new_tokens=14,
        watched_ids=[1, 2],
        draft=draft,
        on_token=lambda ids: seen.append(list(ids)),
    )
    assert_equal(drafted, plain)
    assert drafted.passes <= plain.passes
    assert seen == [list(plain.ids[: i + 1]) for i in range(len(plain.ids))]


def test_a_right_draft_saves_passes(llm: Qwen2ForCausalLM) -> None:
    plain = generate(llm, prompt(9), stop_ids=[], max_new_tokens=12)
    drafted = generate(
        llm,
        prompt(9),
        stop_ids=[],
        max_new_tokens=12,
        draft=lambda ids: plain.ids[len(ids) : len(ids) + 3],
    )
    assert_equal(drafted, plain)
    assert (plain.passes, drafted.passes) == (12, 3)


def test_sampling_follows_the_distribution_with_and_without_draft(llm: Qwen2ForCausalLM) -> None:
    embeds = prompt(6)

    def sample(seed: int, guess: Sequence[int]) -> tuple[int, ...]:
        random = torch.Generator().manual_seed(seed)
        return generate(
            llm,
            embeds,
            stop_ids=[],
            max_new_tokens=2,
            temperature=1.0,
            random=random,
            draft=lambda ids: guess[len(ids) :],
        ).ids

    best = generate(llm, embeds, stop_ids=[], max_new_tokens=2).ids
    drawn = [sample(seed, ()) for seed in range(150)]
    assert drawn == [sample(seed, best) for seed in range(150)]
    first = torch.softmax(
        generate(llm, embeds, stop_ids=[], max_new_tokens=1).prefill_logits.float(), -1
    )
    share = torch.bincount(torch.tensor([ids[0] for ids in drawn]), minlength=VOCABULARY) / 150
    assert (share - first).abs().max() < 0.12  # three standard deviations of a share


# --- prompts that begin alike ------------------------------------------------------------


@pytest.mark.parametrize("shared", [0, 5, 8, 9])
def test_a_kept_prompt_changes_no_answer(llm: Qwen2ForCausalLM, shared: int) -> None:
    first = prompt(9)
    second = torch.cat([first[:shared], prompt(7, seed=1)])
    kept = PromptCache()
    generate(llm, first, stop_ids=[], max_new_tokens=5, prompts=kept)
    rows = []
    hook = llm.model.register_forward_pre_hook(
        lambda module, args, kwargs: rows.append(kwargs["inputs_embeds"].shape[1]),
        with_kwargs=True,
    )
    again = generate(llm, second, stop_ids=[], max_new_tokens=5, prompts=kept)
    hook.remove()
    assert rows[0] == len(second) - shared
    assert_equal(again, generate(llm, second, stop_ids=[], max_new_tokens=5))


def test_the_same_prompt_again_and_a_shorter_one(llm: Qwen2ForCausalLM) -> None:
    kept, embeds = PromptCache(), prompt(9)
    for part in (embeds, embeds, embeds[:4], embeds):
        got = generate(llm, part, stop_ids=[], max_new_tokens=5, prompts=kept)
        assert_equal(got, generate(llm, part, stop_ids=[], max_new_tokens=5))


def test_a_cancelled_answer_leaves_nothing_behind(llm: Qwen2ForCausalLM) -> None:
    kept, embeds, calls = PromptCache(), prompt(9), []

    def check() -> None:
        calls.append(1)
        if len(calls) == 3:
            raise CanceledError("enough")

    generate(llm, embeds, stop_ids=[], max_new_tokens=3, prompts=kept)
    with pytest.raises(CanceledError):
        generate(llm, embeds, stop_ids=[], max_new_tokens=9, prompts=kept, check=check)
    assert kept.take(embeds) == (None, 0)
    got = generate(llm, embeds, stop_ids=[], max_new_tokens=5, prompts=kept)
    assert_equal(got, generate(llm, embeds, stop_ids=[], max_new_tokens=5))


# --- the template of RoboRefer's answers -------------------------------------------------


def test_template_follows_one_and_several_points() -> None:
    tokenizer = train_tokenizer(["[(0.1, 0.2)]"] * 200 + ["[(0.1, 0.2), (0.3, 0.4)]"] * 200, 400)
    draft = AnswerTemplate(tokenizer)

    def answered(text: str) -> int:
        """Passes that an answer takes which the network gives without hesitating."""
        ids = tokenizer.encode(text, add_special_tokens=False)
        passes, known = 0, 0
        while known <= len(ids):  # the last pass finds the end
            passes += 1
            for guess in draft(ids[:known]):
                if known < len(ids) and guess == ids[known]:
                    known += 1
                else:
                    break
            known += 1
        return passes

    assert answered("[(0.412, 0.655)]") == 7
    assert answered("[(0.000, 0.999)]") == 7
    two = answered("[(0.412, 0.655), (0.100, 0.200)]")
    assert two <= 14 < len(tokenizer.encode("[(0.412, 0.655), (0.100, 0.200)]")) + 1
    assert draft(tokenizer.encode("The mug", add_special_tokens=False)) == []
    assert draft(tokenizer.encode("[(1.0", add_special_tokens=False)) == []


@pytest.mark.parametrize("mode", ["2b", "8b"])
def test_template_of_the_golden_tokenizers(mode: str) -> None:
    _, processor = load_roborefer(GOLDEN / f"tiny-{mode}-style")
    tokenizer = processor.tokenizer
    ids = tokenizer.encode("[(0.412, 0.655)]", add_special_tokens=False)
    draft = AnswerTemplate(tokenizer)
    first = draft([])
    assert first and ids[: len(first)] == first
    assert tokenizer.decode(first) == "[(0."
