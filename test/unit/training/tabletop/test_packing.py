# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Packed questions must be computed exactly as if each were asked alone."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from roborefer_ros.training.tabletop.packing import IGNORE, Segment, pack  # noqa: E402

PREFIX = 5


@pytest.fixture(scope="module")
def llm():
    torch.manual_seed(0)
    config = transformers.Qwen2Config(
        vocab_size=50,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
    )
    return transformers.Qwen2ForCausalLM(config).eval()


def test_packed_questions_equal_single_questions(llm):
    segments = [Segment((3, 4, 5), (6, 7)), Segment((8, 9), (10, 11, 12)), Segment((1,), (2,))]
    packed = pack([segments, segments[:1]], PREFIX, pad_id=0)
    prefix = torch.randn(2, PREFIX, 32)
    embed = llm.get_input_embeddings()
    with torch.no_grad():
        logits = llm(
            inputs_embeds=torch.cat([prefix, embed(packed.input_ids)], 1),
            attention_mask=packed.mask,
            position_ids=packed.position_ids,
        ).logits[:, PREFIX:]
        start = 0
        for segment in segments:
            ids = torch.tensor([[*segment.question, *segment.answer]])
            alone = llm(inputs_embeds=torch.cat([prefix[:1], embed(ids)], 1)).logits[0, PREFIX:]
            end = start + ids.shape[1]
            torch.testing.assert_close(logits[0, start:end], alone, atol=1e-5, rtol=1e-5)
            start = end


def test_labels_name_the_next_token_and_only_answers_are_supervised():
    packed = pack([[Segment((3, 4, 5), (6, 7)), Segment((8,), (9,))]], PREFIX, pad_id=0)
    assert packed.labels.tolist() == [[IGNORE, IGNORE, 6, 7, IGNORE, 9, IGNORE]]


def test_padding_is_never_attended_by_questions():
    packed = pack([[Segment((3,), (6,))], [Segment((3, 4, 5), (6, 7))]], PREFIX, pad_id=0)
    real, total = PREFIX + 2, packed.mask.shape[-1]
    assert not packed.mask[0, 0, :real, real:total].any()
    assert packed.mask.any(-1).all(), "a row without any key would give NaN"


def test_weights_follow_the_length_of_the_answer():
    weights = {2: (0.5, 0.25)}
    packed = pack([[Segment((3,), (6, 7)), Segment((4,), (9,))]], PREFIX, 0, weights)
    assert packed.weights.tolist() == [[0.5, 0.25, 0.0, 1.0, 0.0]]


def test_grounding_ends_with_the_first_digit():
    segment = Segment((1, 2), (3, 4, 5, 6, 7, 8), cell=9)
    packed = pack([[segment]], 3, pad_id=0)
    assert packed.cells[0].tolist() == [IGNORE, 9, 9, 9, 9, IGNORE, IGNORE, IGNORE]
