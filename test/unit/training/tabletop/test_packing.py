# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Packed questions must be computed as if each were asked alone, with depth and without."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from roborefer_ros.training.tabletop.packed_decoder import packed_decoder  # noqa: E402
from roborefer_ros.training.tabletop.packing import IGNORE, PackedBatch, Segment, pack  # noqa: E402

PREFIX, CELLS = 5, 4


def segment(question: tuple[int, ...], answer: tuple[int, ...], **more: Any) -> Segment:
    return Segment(question, answer, (1.0,) * len(answer), **more)


def packed(*batch: list[Segment], slots: int = 1, length: int = 12) -> PackedBatch:
    return pack(batch, slots=slots, length=length, cells=CELLS, pad_id=0)


@pytest.fixture(scope="module")
def llm() -> Any:
    torch.manual_seed(0)
    config = transformers.Qwen2Config(
        vocab_size=50, hidden_size=32, intermediate_size=48, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=1, attn_implementation="eager",
    )  # fmt: skip
    return transformers.Qwen2Model(config).eval()


@pytest.mark.parametrize("hidden", [(), (2, 3)])
def test_packed_questions_equal_single_questions(llm: Any, hidden: tuple[int, ...]) -> None:
    """States and attention are the model's own; hidden rows might as well not be there."""
    segments = [segment((3, 4, 5), (6, 7)), segment((8, 9), (10, 11, 12)), segment((1,), (2,))]
    batch = packed(segments, segments[:1], slots=2, length=8)
    prefix = torch.randn(2, PREFIX, 32)
    seen = torch.ones(2, PREFIX, dtype=torch.bool)
    seen[:, list(hidden)] = False
    positions = seen.long().cumsum(-1) - 1
    causal = torch.ones(PREFIX, PREFIX, dtype=torch.bool).tril()
    itself = torch.eye(PREFIX, dtype=torch.bool)
    before = seen[:, None, None].expand(-1, 2, 8, -1)
    with torch.no_grad():
        states, (scores,) = packed_decoder(
            llm,
            prefix,
            llm.get_input_embeddings()(batch.input_ids),
            positions,
            batch.positions + positions[:, -1, None, None] + 1,
            ((causal & seen[:, None]) | itself)[:, None],
            torch.cat([before, batch.mask], -1).flatten(0, 1)[:, None],
            ((1, 2),),
        )
        kept = [n for n in range(PREFIX) if n not in hidden]
        places = {0: (0, 0), 1: (1, 0), 2: (0, 5)}  # slot and start of each segment
        places[1] = (1, 0) if len(segments[0]) + len(segments[1]) > 8 else (0, 5)
        for number, (slot, start) in places.items():
            one = segments[number]
            ids = torch.tensor([[*one.question, *one.answer]])
            alone = llm(
                inputs_embeds=torch.cat([prefix[:1, kept], llm.get_input_embeddings()(ids)], 1),
                output_attentions=True,
            )
            rows = slice(start, start + len(one))
            torch.testing.assert_close(
                states[0, slot, rows], alone.last_hidden_state[0, len(kept) :], atol=0.05, rtol=0.05
            )
            columns = [*kept, *range(PREFIX + start, PREFIX + start + len(one))]
            found = scores[0, slot, rows][:, columns]
            causal_rows = torch.ones(len(one), len(columns), dtype=torch.bool).tril(len(kept))
            attention = found.masked_fill(~causal_rows, float("-inf")).softmax(-1)
            torch.testing.assert_close(
                attention, alone.attentions[1][0, 2, len(kept) :], atol=0.01, rtol=0.05
            )


def test_labels_name_the_next_token_and_only_answers_are_supervised() -> None:
    batch = packed([segment((3, 4, 5), (6, 7)), segment((8,), (9,))], length=8)
    assert batch.labels.tolist() == [[[IGNORE, IGNORE, 6, 7, IGNORE, 9, IGNORE, IGNORE]]]
    assert batch.questions == 2


def test_padding_is_never_attended_by_questions() -> None:
    batch = packed([segment((3,), (6,))], [segment((3, 4, 5), (6, 7))])
    assert not batch.mask[0, 0, :2, 2:].any()
    assert batch.mask.any(-1).all(), "a row without any key would give NaN"


def test_weights_stand_where_their_tokens_are_predicted() -> None:
    one = Segment((3,), (6, 7), (0.5, 0.25))
    two = Segment((4,), (9,), (1.0,))
    batch = packed([one, two], length=6)
    assert batch.weights.tolist() == [[[0.5, 0.25, 0.0, 1.0, 0.0, 0.0]]]


def test_cells_stand_where_they_should_be_looked_at() -> None:
    one = segment((1, 2), (3, 4), answer_cells=((0, 3), (1, 2)), mention_cells=((0, 1), (0, 2)))
    batch = packed([segment((9,), (9,)), one], length=6)
    assert batch.answer_cells[0, 0].nonzero().tolist() == [[3, 3], [4, 2]]
    assert batch.mention_cells[0, 0].nonzero().tolist() == [[2, 1], [2, 2]]


def test_what_does_not_fit_is_left_out() -> None:
    long, short = segment((1,) * 5, (2,) * 4), segment((3,), (4,))
    batch = packed([long, long, short], slots=1, length=12)
    assert batch.questions == 2
    assert (batch.labels != IGNORE).sum() == 5
