# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The request for points is one token, however a client writes it, and means the same."""

from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from safetensors.torch import load_file  # noqa: E402
from transformers import AutoTokenizer  # noqa: E402

import roborefer_ros  # noqa: E402
from roborefer_ros.pointing.prompts import POINT_SUFFIX  # noqa: E402
from roborefer_ros.training.tabletop.tokenizer import share_request, train_tokenizer  # noqa: E402

#: of the bundled network's language model
LLM = Path(roborefer_ros.__file__).parent / "demo_checkpoint/llm"
#: use_api.py has two blanks before "where" and none after the question
TWO_BLANKS = POINT_SUFFIX.replace("], where", "],  where")
WRITTEN = [f"Locate it.{blank}{text}" for blank in ("", " ") for text in (POINT_SUFFIX, TWO_BLANKS)]


def test_the_bundled_network_reads_every_spelling_alike() -> None:
    tokenizer = AutoTokenizer.from_pretrained(LLM, trust_remote_code=False)
    embeddings = load_file(LLM / "model.safetensors")["model.embed_tokens.weight"]
    rows = [embeddings[tokenizer.encode(text)] for text in WRITTEN]
    assert len(rows[0]) < len(tokenizer.encode("Locate it.")) + 2
    assert all(torch.equal(row, rows[0]) for row in rows)


def test_a_new_tokenizer_has_them_and_shares_the_trained_row() -> None:
    tokenizer = train_tokenizer(["Locate it.", "[(0.123, 0.456)]"] * 20, 300)
    embeddings = torch.rand(len(tokenizer), 4, requires_grad=True)
    share_request(embeddings, tokenizer)
    ids = [tokenizer.encode(text) for text in WRITTEN]
    assert len({row[-1] for row in ids}) == 2
    assert all(torch.equal(embeddings[row], embeddings[ids[0]]) for row in ids)
