# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Adapters: they alone learn in the language model, and are merged into the export."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from sft_golden import GOLDEN, RUN, golden_items

from roborefer_ros.models.roborefer.labels import collate
from roborefer_ros.training.sft.engine import Processes
from roborefer_ros.training.sft.export import export
from roborefer_ros.training.sft.loop import open_engine
from roborefer_ros.training.sft.stages import build_optimizer

ONE = Processes(0, 1, torch.device("cpu"))
LORA = replace(RUN, lora_rank=4, parts=("llm", "depth_projector"))


def test_adapters_learn_and_the_export_answers_without_them(tmp_path: Path) -> None:
    engine, processor = open_engine(LORA, GOLDEN / "tiny-8b-style", ONE)
    learning = {name for name, p in engine.model.named_parameters() if p.requires_grad}
    assert any("q_proj.lora_A" in name for name in learning)
    assert all("lora_" in name or name.startswith("depth_projector") for name in learning)

    batch = collate(golden_items(processor), processor.tokenizer.pad_token_id, 16384)
    optimizer = build_optimizer(engine.model, LORA)
    losses = [engine.step([batch], optimizer).loss for _ in range(4)]
    assert losses[3] < losses[1] < losses[0]

    export(engine.model, processor.tokenizer, tmp_path / "e", ONE, torch.float32)
    merged, _ = open_engine(RUN, tmp_path / "e", ONE)
    engine.model.eval()  # without dropout
    with torch.no_grad():
        ours, theirs = engine.module(batch).total, merged.module(batch).total
    assert float(theirs) == pytest.approx(float(ours), rel=1e-5)
    assert float(theirs) != pytest.approx(losses[0] * 46, rel=1e-2)
