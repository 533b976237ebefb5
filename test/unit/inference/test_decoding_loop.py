# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The decoding loop: neither company, drafts, kept prompts nor fixed shapes change an answer.

The networks are random and small: this proves the loop, not an understanding of pictures.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import Qwen2Config, Qwen2ForCausalLM

from roborefer_ros.cancellation import Cancellation
from roborefer_ros.errors import CanceledError
from roborefer_ros.inference.decoding import Decoder, Row, generate
from roborefer_ros.inference.fixed_shapes import FixedShapes
from roborefer_ros.inference.kv_cache import KVCache
from roborefer_ros.models.roborefer.checkpoint import load_roborefer
from roborefer_ros.models.roborefer.drafts import AnswerTemplate
from roborefer_ros.training.tabletop.tokenizer import train_tokenizer

GOLDEN = Path(__file__).resolve().parents[2] / "data" / "golden"

STOP = 11
VOCABULARY = 12
TRACKED = (1, 2)


def random_llm(**more: Any) -> Qwen2ForCausalLM:
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
        **more,
    )
    return Qwen2ForCausalLM(config).double().eval()


@pytest.fixture(scope="module")
def llm() -> Qwen2ForCausalLM:
    return random_llm()


def prompt(length: int, seed: int = 0) -> torch.Tensor:
    random = torch.Generator().manual_seed(seed)
    return torch.randn(length, 32, generator=random, dtype=torch.float64)


def recomputed(llm: Qwen2ForCausalLM, embeds: torch.Tensor, stop: int, count: int) -> Row:
    """Greedy search without any cache: everything is read again for each token."""
    row = Row(embeds, count)
    embed = llm.get_input_embeddings()
    with torch.inference_mode():
        while len(row.ids) < count:
            rows = torch.cat([embeds, embed(torch.tensor(row.ids, dtype=torch.long))])
            logits = llm(inputs_embeds=rows[None], use_cache=False).logits[0, -1]
            every = torch.log_softmax(logits.float(), dim=-1)
            token = int(every.argmax())
            if token == stop:
                break
            row.ids.append(token)
            row.logprobs.append(float(every[token]))
            row.tracked.append(every[list(TRACKED)].exp().tolist())
    return row


def assert_equal(one: Row, other: Row) -> None:
    assert one.ids == other.ids
    torch.testing.assert_close(torch.tensor(one.logprobs), torch.tensor(other.logprobs))
    torch.testing.assert_close(torch.tensor(one.tracked), torch.tensor(other.tracked))


def noisy_draft(ids: Sequence[int], lengths: Sequence[int], noise: int) -> Callable[..., list[int]]:
    """Drafts that are right for a while, wrong at once, too long, or empty."""

    def draft(known: Sequence[int]) -> list[int]:
        length = lengths[len(known) % len(lengths)] if lengths else 0
        guess = [*ids, *ids][len(known) : len(known) + length]
        if guess and (noise >> len(known)) & 1:
            guess[-1] = (guess[-1] + 1) % VOCABULARY
        return guess

    return draft


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 30), st.lists(st.integers(0, 5), max_size=12), st.integers(0, 2**30))
def test_no_draft_changes_the_answer(
    llm: Qwen2ForCausalLM, seed: int, lengths: list[int], noise: int
) -> None:
    embeds = prompt(9, seed)
    plain = recomputed(llm, embeds, STOP, 14)
    seen: list[list[int]] = []
    drafted = generate(
        llm,
        embeds,
        stop_ids=[STOP],
        max_new_tokens=14,
        tracked_ids=TRACKED,
        draft=noisy_draft(plain.ids, lengths, noise),
        on_token=lambda ids: seen.append(list(ids)),
    )
    assert_equal(drafted, plain)
    assert drafted.passes <= len(plain.ids) + 1
    assert seen == [plain.ids[: i + 1] for i in range(len(plain.ids))]


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(1, 20), st.integers(0, 9), st.integers(1, 20), st.integers(0, 2**20)),
        min_size=1,
        max_size=5,
    ),
    st.lists(st.integers(0, 4), max_size=7),
    st.booleans(),
)
def test_company_changes_no_answer(
    llm: Qwen2ForCausalLM,
    rows: list[tuple[int, int, int, int]],
    lengths: list[int],
    fixed: bool,
) -> None:
    """Rows of all lengths, each with drafts of its own, leaving the batch at different times."""
    plain = [recomputed(llm, prompt(n, seed), STOP, limit) for n, seed, limit, _ in rows]
    shapes = FixedShapes(llm.config, tokens=3, rows=4) if fixed else None
    decoder = Decoder(llm, stop_ids=[STOP], tracked_ids=TRACKED, fixed=shapes)
    batch = [
        Row(prompt(n, seed), limit, draft=noisy_draft(own.ids, lengths, noise))
        for (n, seed, limit, noise), own in zip(rows, plain, strict=True)
    ]
    ended = list(decoder.run(batch))
    assert sorted(map(id, ended)) == sorted(map(id, batch)), "each row ends once"
    for row, own in zip(batch, plain, strict=True):
        assert_equal(row, own)
        assert row.finish_reason == ("length" if len(row.ids) == row.max_new_tokens else "stop")


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


def test_a_sliding_window_is_heeded() -> None:
    """Half of the layers see few tokens; drafts and company work there as well."""
    window: dict[str, Any] = {
        "use_sliding_window": True,
        "sliding_window": 4,
        "max_window_layers": 1,
    }
    llm = random_llm(**window)
    plain = [recomputed(llm, prompt(n, n), STOP, 12) for n in (3, 9, 14)]
    without = random_llm()
    assert [recomputed(without, prompt(n, n), STOP, 12).ids for n in (3, 9, 14)] != [
        row.ids for row in plain
    ]
    decoder = Decoder(llm, stop_ids=[STOP], tracked_ids=TRACKED)
    batch = [Row(p.embeds, 12, draft=noisy_draft(p.ids, [2, 0, 3], 5)) for p in plain]
    list(decoder.run(batch))
    for row, own in zip(batch, plain, strict=True):
        assert_equal(row, own)
        assert_equal(
            generate(llm, own.embeds, stop_ids=[STOP], max_new_tokens=12, tracked_ids=TRACKED), own
        )


def test_an_answer_outgrows_what_was_allocated(llm: Qwen2ForCausalLM) -> None:
    """The cache is made for the usual answer and grows for a longer one."""
    plain = recomputed(llm, prompt(60), -1, 150)
    rows = [Row(prompt(60), 150), Row(prompt(5, 1), 150)]
    cache = Decoder(llm, stop_ids=[]).cache_for(rows)
    before = cache.slots
    list(Decoder(llm, stop_ids=[], tracked_ids=TRACKED).run(rows, cache))
    assert_equal(rows[0], plain)
    assert cache.slots > before


def test_sampling_follows_the_distribution_with_and_without_draft(llm: Qwen2ForCausalLM) -> None:
    embeds = prompt(6)

    def sample(seed: int, guess: Sequence[int]) -> list[int]:
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
    logits = llm(inputs_embeds=embeds[None], use_cache=False).logits[0, -1]
    first = torch.softmax(logits.float(), -1)
    share = torch.bincount(torch.tensor([ids[0] for ids in drawn]), minlength=VOCABULARY) / 150
    assert (share - first).abs().max() < 0.12  # three standard deviations of a share


def test_a_cancelled_row_ends_alone(llm: Qwen2ForCausalLM) -> None:
    calls: list[int] = []

    def cancelled() -> bool:
        calls.append(1)
        return len(calls) > 3

    rows = [
        Row(prompt(5), 9),
        Row(prompt(9, 1), 9, Cancellation(None, cancelled)),
        Row(prompt(7), 9),
    ]
    list(Decoder(llm, stop_ids=[], tracked_ids=TRACKED).run(rows))
    assert isinstance(rows[1].error, CanceledError)
    assert len(rows[1].ids) == 3
    assert_equal(rows[0], recomputed(llm, prompt(5), -1, 9))
    assert_equal(rows[2], recomputed(llm, prompt(7), -1, 9))
    with pytest.raises(CanceledError):
        generate(
            *(llm, prompt(5)),
            stop_ids=[],
            max_new_tokens=9,
            cancellation=Cancellation(None, lambda: True),
        )


# --- what a GPU needs --------------------------------------------------------------------

#: what makes a host wait for its device
READS = ("item", "tolist", "cpu", "numpy", "__bool__", "__int__", "__float__", "__index__")


@pytest.mark.parametrize("fixed", [False, True])
@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_the_host_reads_once_a_pass(
    llm: Qwen2ForCausalLM, monkeypatch: pytest.MonkeyPatch, fixed: bool, temperature: float
) -> None:
    """Counted on a CPU, by the calls that would wait for a GPU; boolean indexing included."""
    guess = generate(llm, prompt(9), stop_ids=[], max_new_tokens=12).ids
    rows = [
        Row(
            prompt(n, n),
            12,
            draft=lambda ids: guess[len(ids) : len(ids) + 2],
            temperature=temperature,
            random=torch.Generator().manual_seed(n),
        )
        for n in (9, 4)
    ]
    shapes = FixedShapes(llm.config, tokens=3, rows=2) if fixed else None
    decoder = Decoder(llm, stop_ids=[STOP], tracked_ids=TRACKED, fixed=shapes)
    reads: list[str] = []
    passes: list[int] = []
    for name in READS:
        original = getattr(torch.Tensor, name)

        def counted(self: Any, *args: Any, _name: str = name, _call: Any = original) -> Any:
            reads.append(_name)
            return _call(self, *args)

        monkeypatch.setattr(torch.Tensor, name, counted)
    for name in ("nonzero", "masked_select"):
        monkeypatch.setattr(torch.Tensor, name, lambda *_: pytest.fail("waits for the device"))
    hook = llm.model.register_forward_pre_hook(lambda *_: passes.append(1))
    try:
        list(decoder.run(rows))
    finally:
        hook.remove()
    assert passes
    assert reads == ["tolist"] * len(passes)


def test_fixed_shapes_stay_the_same(llm: Qwen2ForCausalLM) -> None:
    """Prompts and answers of any length run in one shape and in one memory: one CUDA graph."""
    shapes = FixedShapes(llm.config, tokens=4, rows=3)
    seen: set[tuple[Any, ...]] = set()

    def watch(_: Any, __: Any, kwargs: dict[str, Any]) -> None:
        embeds = kwargs["inputs_embeds"]
        cache = kwargs.get("cache", kwargs.get("past_key_values"))
        if kwargs["attention_mask"]["full_attention"] is not None:  # not the prompt
            mask = kwargs["attention_mask"]["full_attention"]
            seen.add((embeds.shape, mask.shape, cache.layers[0][0].data_ptr()))

    hook = llm.model.register_forward_pre_hook(watch, with_kwargs=True)
    decoder = Decoder(llm, stop_ids=[STOP], tracked_ids=TRACKED, fixed=shapes)
    done: list[Row] = []
    try:
        for lengths in ((9,), (4, 30), (7, 2, 5), (100,)):
            rows = [Row(prompt(n, n), 20) for n in lengths]
            list(decoder.run(rows))
            done += rows
    finally:
        hook.remove()
    assert len(seen) == shapes.shapes == 1
    for row in done:
        assert_equal(row, recomputed(llm, row.embeds, STOP, 20))


def test_no_token_copies_the_cache(llm: Qwen2ForCausalLM) -> None:
    """A growing cache would copy all keys and values for each token."""
    memory: set[int] = set()

    def watch(_: Any, __: Any, kwargs: dict[str, Any]) -> None:
        cache: KVCache = kwargs.get("cache", kwargs.get("past_key_values"))
        memory.update(t.data_ptr() for layer in cache.layers for t in layer)

    hook = llm.model.register_forward_pre_hook(watch, with_kwargs=True)
    try:
        generate(llm, prompt(40), stop_ids=[], max_new_tokens=50)
    finally:
        hook.remove()
    assert len(memory) == 2 * llm.config.num_hidden_layers


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
    assert first
    assert ids[: len(first)] == first
    assert tokenizer.decode(first) == "[(0."
