# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""What is learned from a conversation, and how samples are joined to batches."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks import parity, parity_cases
from roborefer_ros.models.roborefer.checkpoint import load_roborefer
from roborefer_ros.models.roborefer.labels import (
    IGNORE,
    TrainingItem,
    collate,
    mask_labels,
    splice_batch,
    supervised_loss,
    training_item,
)
from roborefer_ros.models.roborefer.modeling import RoboRefer
from roborefer_ros.models.roborefer.processing import RoboReferProcessor

GOLDEN = Path(__file__).resolve().parents[2] / "data" / "golden"

Opened = tuple[RoboRefer, RoboReferProcessor]

RGB = parity_cases.read_picture(
    GOLDEN / "inputs/rgb3.png"
)  # 100x100: one tile in 2B mode, 14 in 8B
DEPTH = parity_cases.read_picture(GOLDEN / "inputs/dep1.png")  # 13 tiles in 2B mode


@pytest.fixture(scope="module")
def two_b() -> Opened:
    return load_roborefer(GOLDEN / "tiny-2b-style")


@pytest.fixture(scope="module")
def eight_b() -> Opened:
    return load_roborefer(GOLDEN / "tiny-8b-style")


def conversation(*values: str) -> list[dict[str, str]]:
    return [{"from": ("human", "gpt")[i % 2], "value": value} for i, value in enumerate(values)]


def learned(processor: RoboReferProcessor, labels: Any) -> str:
    ids = [int(i) for i in labels if i != IGNORE]
    return str(processor.tokenizer.decode(ids))


def text(processor: RoboReferProcessor, item: TrainingItem) -> str:
    whole = str(processor.tokenizer.decode(item.input_ids.tolist()))
    return whole.split("<|im_start|>user\n", 1)[1].split("<|im_end|>", 1)[0]


def test_training_golden(two_b: Opened) -> None:
    opened = parity_cases.Opened("tiny2b", *two_b, parity_cases.FLOAT32)
    checks = parity.check_case(GOLDEN, opened, GOLDEN / "arrays/tiny2b__train_rgbd.npz")
    assert {c.stage for c in checks} >= {"item2_labels", "spliced_labels", "spliced_sum", "loss"}
    assert not [c for c in checks if not c.passed]


# --- labels ----------------------------------------------------------------------------


def test_every_answer_of_a_conversation_is_learned(two_b: Opened) -> None:
    processor = two_b[1]
    ids, labels = mask_labels(processor, conversation("where?", "[(0.1, 0.2)]", "why?", "it is"))
    assert learned(processor, labels) == "[(0.1, 0.2)]<|im_end|>it is<|im_end|>"
    assert all(label in (IGNORE, token) for token, label in zip(ids, labels, strict=True))


def test_first_newline_of_an_answer_changes_places(two_b: Opened) -> None:
    processor = two_b[1]
    ids, labels = mask_labels(processor, conversation("where?", "a\nb\nc"))
    newlines = [i for i, token in enumerate(ids) if token == 198][-3:]
    assert [labels[i] for i in newlines] == [IGNORE, 198, 198]


def test_system_turn(two_b: Opened) -> None:
    turns = [{"from": "system", "value": "Be brief."}, *conversation("where?", "there")]
    ids, labels = mask_labels(two_b[1], turns)
    assert two_b[1].tokenizer.decode(ids).startswith("<|im_start|>system\nBe brief.<|im_end|>")
    assert learned(two_b[1], labels) == "there<|im_end|>"


@settings(max_examples=60, deadline=None)
@given(
    question=st.text(st.characters(codec="utf-8", exclude_categories=["C"]), max_size=30),
    answer=st.text(st.characters(codec="ascii", categories=["L", "N", "P"]), max_size=30),
)
def test_answers_without_newlines_are_learned_exactly(question: str, answer: str) -> None:
    processor = _processor()
    _, labels = mask_labels(processor, conversation(question, answer))
    assert learned(processor, labels) == f"{answer}<|im_end|>"


_CACHE: list[RoboReferProcessor] = []


def _processor() -> RoboReferProcessor:
    if not _CACHE:
        _CACHE.append(load_roborefer(GOLDEN / "tiny-2b-style")[1])
    return _CACHE[0]


def test_unknown_speaker(two_b: Opened) -> None:
    with pytest.raises(ValueError, match="'user'"):
        mask_labels(two_b[1], [{"from": "user", "value": "hello"}])


# --- items -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "depths", "expected"),
    [
        ("2b", 1, "<image>\n " + "<depth>\n" * 13 + "\nT"),
        ("2b", 0, "<image>\n\nT"),
        ("8b", 1, "<image> <depth>\nT"),
        ("8b", 0, "<image>\nT"),
    ],
)
def test_first_turn_shows_the_pictures(
    two_b: Opened, eight_b: Opened, mode: str, depths: int, expected: str
) -> None:
    processor = {"2b": two_b, "8b": eight_b}[mode][1]
    turns = conversation("a <depth> typed <image>\n", "b", "<image>c", "d")
    item = training_item(processor, turns, [RGB], [DEPTH] * depths)
    assert text(processor, item) == expected.replace("T", "a  typed")
    assert learned(processor, item.labels) == "b<|im_end|>d<|im_end|>"
    whole = processor.tokenizer.decode(item.input_ids.tolist())
    assert whole.count("<depth>") == expected.count("<depth>")
    assert turns[0]["value"] == "a <depth> typed <image>\n", "the data set must not be changed"


def test_two_pairs(two_b: Opened, eight_b: Opened) -> None:
    turns = conversation("T", "b")
    item = training_item(two_b[1], turns, [RGB, RGB], [RGB, RGB])
    assert text(two_b[1], item) == "<image>\n <depth>\n\n<image>\n <depth>\n\nT"
    item = training_item(eight_b[1], turns, [RGB, RGB], [RGB, DEPTH])
    assert text(eight_b[1], item) == "<image> <depth>\n<image> <depth>\nT"
    assert item.depths.block_sizes == [(3, 3), (3, 4)]


def test_pictures_that_do_not_pair_up(two_b: Opened) -> None:
    with pytest.raises(ValueError, match="2 images but 1 depth"):
        training_item(two_b[1], conversation("a", "b"), [RGB, RGB], [RGB])
    with pytest.raises(ValueError, match="no human turn"):
        training_item(two_b[1], [{"from": "gpt", "value": "hello"}], [RGB])


# --- batches ---------------------------------------------------------------------------


def test_batch_of_different_modalities(eight_b: Opened) -> None:
    model, processor = eight_b
    turns = conversation("T", "b")
    items = [
        training_item(processor, turns),
        training_item(processor, turns, [RGB], [DEPTH]),
        training_item(processor, turns, [RGB]),
    ]
    batch = collate(items, processor.tokenizer.pad_token_id, 16384)
    assert batch.image_block_sizes == [(3, 3), (3, 3)]
    assert batch.depth_block_sizes == [(3, 4)]
    assert batch.attention_mask.sum(1).tolist() == [len(item.input_ids) for item in items]
    spliced = splice_batch(model, processor, batch)
    rows = [0, 9 * 16 + 12 * 16, 9 * 16]  # 16 rows a block of 8x8 patches; a newline row each
    assert spliced.attention_mask.sum(1).tolist() == [
        len(item.input_ids) + more for item, more in zip(items, rows, strict=True)
    ]
    assert (spliced.labels != IGNORE).sum(1).tolist() == [
        int((item.labels != IGNORE).sum()) for item in items
    ]
    assert not spliced.inputs_embeds[~spliced.attention_mask].any()
    # Alone or in a batch, a sample is the same.
    alone = splice_batch(model, processor, collate(items[1:2], 455, 16384))
    length = alone.labels.shape[1]
    assert torch.equal(alone.labels[0], spliced.labels[1, :length])
    assert torch.allclose(alone.inputs_embeds[0], spliced.inputs_embeds[1, :length], atol=1e-6)


def test_cutting_comes_before_splicing(two_b: Opened) -> None:
    model, processor = two_b
    item = training_item(processor, conversation("T", "b"), [RGB], [DEPTH])
    batch = collate([item], processor.tokenizer.pad_token_id, 20)
    assert batch.input_ids.shape == batch.labels.shape == (1, 20)
    with pytest.raises(ValueError, match="left over"):
        splice_batch(model, processor, batch)


def test_spliced_sequence_is_cut_as_well(two_b: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    model, processor = two_b
    item = training_item(processor, conversation("T", "b"), [RGB], [DEPTH])
    monkeypatch.setattr(processor.tokenizer, "model_max_length", 100)
    spliced = splice_batch(model, processor, collate([item], 455, 100))
    assert spliced.inputs_embeds.shape[1] == spliced.labels.shape[1] == 100
    monkeypatch.setattr(processor.tokenizer, "model_max_length", int(1e30))
    assert splice_batch(model, processor, collate([item], 455, int(1e30))).labels.shape[1] > 100


def test_gradients_reach_every_trainable_part() -> None:
    model, processor = load_roborefer(GOLDEN / "tiny-2b-style")
    model.requires_grad_(True)
    item = training_item(processor, conversation("T", "b"), [RGB], [RGB])
    spliced = splice_batch(model, processor, collate([item], 455, 16384))
    logits = model.llm(inputs_embeds=spliced.inputs_embeds, use_cache=False).logits
    supervised_loss(logits, spliced.labels).backward()
    for name, part in model.named_children():
        grads = [p.grad for p in part.parameters() if p.grad is not None]
        assert grads, name
        assert any(bool(g.any()) for g in grads), name


def test_loss_is_the_mean_over_learned_tokens() -> None:
    rng = np.random.default_rng(0)
    logits = torch.from_numpy(rng.normal(size=(2, 4, 5)))
    labels = torch.tensor([[1, IGNORE, 3, 4], [IGNORE, 2, IGNORE, IGNORE]])
    p = torch.softmax(logits.float(), -1)
    wanted = -(p[0, 1, 3].log() + p[0, 2, 4].log() + p[1, 0, 2].log()) / 3
    assert supervised_loss(logits, labels) == pytest.approx(float(wanted))
