# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""A written tokenizer is the one that was read, for this package and for transformers 4.49."""

from __future__ import annotations

import json
from pathlib import Path

from tokenizers import Tokenizer, models

from roborefer_ros.models.roborefer.export import save_tokenizer
from roborefer_ros.models.roborefer.tokenizing import load_tokenizer

LLM = Path(__file__).parents[2] / "data/golden/tiny-2b-style/llm"
ROWS = 460


def test_a_written_tokenizer_reads_as_before(tmp_path: Path) -> None:
    before = load_tokenizer(LLM, ROWS)
    save_tokenizer(before, tmp_path)
    after = load_tokenizer(tmp_path, ROWS)
    talk = [{"role": "user", "content": "<image>\n <depth>\n\nWhere? [(0.1, 0.2)]"}]
    texts = [t.apply_chat_template(talk, tokenize=False) for t in (before, after)]
    assert texts[0] == texts[1]
    assert before.encode(texts[0]) == after.encode(texts[0])
    assert before.all_special_tokens == after.all_special_tokens


def test_the_files_have_what_transformers_4_49_looks_for(tmp_path: Path) -> None:
    # 4.49 itself, fast and slow, gave the same ids from these files (tried by hand).
    tokenizer = load_tokenizer(LLM, ROWS)
    save_tokenizer(tokenizer, tmp_path)
    written = json.loads((tmp_path / "tokenizer_config.json").read_text())
    golden = json.loads((LLM / "tokenizer_config.json").read_text())
    for key in ("chat_template", "added_tokens_decoder", "additional_special_tokens"):
        assert written[key] == golden[key], key
    # a list there ends 4.49 with an error
    assert isinstance(written.get("extra_special_tokens", {}), dict)
    words = models.BPE.from_file(str(tmp_path / "vocab.json"), str(tmp_path / "merges.txt"))
    assert Tokenizer(words).get_vocab_size() == tokenizer.backend_tokenizer.get_vocab_size(False)
