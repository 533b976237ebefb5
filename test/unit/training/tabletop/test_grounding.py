# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The grounding loss is the real attention's: compared with what the model itself reports."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from roborefer_ros.training.tabletop.grounding import AttentionGrounding  # noqa: E402
from roborefer_ros.training.tabletop.packing import IGNORE, Segment, pack  # noqa: E402

PREFIX, IMAGE_START = 6, 2


@pytest.mark.parametrize("key_value_heads", [1, 2, 4])
def test_it_is_the_models_own_attention(key_value_heads):
    torch.manual_seed(0)
    config = transformers.Qwen2Config(
        vocab_size=50,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=key_value_heads,
        attn_implementation="eager",
    )
    llm = transformers.Qwen2ForCausalLM(config).eval()
    segments = [Segment((3, 4, 5), (6, 7), cell=1), Segment((8, 9), (10, 11, 12), cell=3)]
    packed = pack([segments, segments[:1]], PREFIX, pad_id=0)
    grounding = AttentionGrounding([llm.model.layers[1], llm.model.layers[2]])
    floor = torch.finfo(torch.float32).min
    embeds = torch.cat(
        [torch.randn(2, PREFIX, 32), llm.get_input_embeddings()(packed.input_ids)], 1
    )
    with torch.no_grad(), grounding.recording():
        attentions = llm.model(
            inputs_embeds=embeds,
            # eager attention adds its mask
            attention_mask=torch.where(packed.mask, 0.0, floor),
            position_ids=packed.position_ids,
            output_attentions=True,
        ).attentions
    loss = grounding.loss(packed.mask, packed.cells, PREFIX, IMAGE_START)
    expected = []
    for layer in (1, 2):
        for row, cells in enumerate(packed.cells):
            for at, cell in enumerate(cells):
                if cell == IGNORE:
                    continue
                seen = packed.mask[row, 0, PREFIX + at]
                logs = torch.log(attentions[layer][row, 0, PREFIX + at])
                # Attention is the scores' softmax: their spread is that of its logarithm.
                spread = logs[seen].max() - logs[seen].mean()
                expected.append(1e-3 * spread**2 - logs[IMAGE_START + int(cell)])
    assert len(expected) == 2 * 7
    torch.testing.assert_close(loss, torch.stack(expected).mean())


def test_nothing_is_recorded_outside():
    config = transformers.Qwen2Config(
        vocab_size=20, hidden_size=16, intermediate_size=16, num_hidden_layers=1,
        num_attention_heads=2, num_key_value_heads=1,
    )  # fmt: skip
    llm = transformers.Qwen2ForCausalLM(config)
    grounding = AttentionGrounding(llm.model.layers)
    with grounding.recording():
        llm(input_ids=torch.tensor([[1, 2]]))
    assert len(grounding._inputs) == 1
    llm(input_ids=torch.tensor([[1, 2, 3]]))
    assert grounding._inputs[0][0].shape[1] == 2
