# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The benchmarks of the networks run, and count right."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from benchmarks import model_stages
from benchmarks.model_synthetic import configuration
from roborefer_ros.models.depth_anything import DepthAnything
from roborefer_ros.models.roborefer.checkpoint import load_roborefer
from roborefer_ros.models.roborefer.modeling import RoboRefer

DATA = Path(__file__).resolve().parents[2] / "data"


def test_true_sizes() -> None:
    """SigLIP has 413.3 M weights; 26 of its layers take 0.938 TFLOP a tile of 448 pixels."""
    with torch.device("meta"):
        model = RoboRefer(configuration("2b"))
    tower = sum(p.numel() for p in model.vision_tower.parameters())
    assert tower == pytest.approx(413.3e6, rel=1e-3)
    assert model_stages.tower_flops(model) == pytest.approx(0.938e12, rel=3e-3)
    body = sum(p.numel() for p in model.llm.model.layers.parameters())
    assert body == pytest.approx(1.310e9, rel=1e-3)
    with torch.device("meta"):
        large = RoboRefer(configuration("8b"))
    assert sum(p.numel() for p in large.llm.parameters()) == pytest.approx(7.6e9, rel=0.01)
    # The one file whose size is published: NVILA-8B's projector input.
    assert large.mm_projector.layers[1].weight.shape == (13824,)


@pytest.mark.parametrize("mode", ["2b", "8b"])
def test_stages(mode: str) -> None:
    model, processor = load_roborefer(DATA / f"golden/tiny-{mode}-style")
    depth = DepthAnything(DATA / "depth_anything/tiny.pth", device="cpu")
    machine = model_stages.measure_machine(torch.device("cpu"), torch.float32)
    rows = list(model_stages.stages((60, 40), model, processor, depth, repeats=1))
    assert [row.stage for row in rows] == [
        "depth network",
        "preprocess",
        "towers",
        "prefill",
        "one more token",
        "one with a draft",
        "whole answer",
        "with drafts",
    ]
    assert all(row.median_ms > 0 for row in rows)
    assert rows[0].work == "784x518 px"
    assert rows[2].work == ("14 tiles" if mode == "2b" else "34 tiles")
    assert "towers" in model_stages.report(rows, machine)
    stages = json.loads(model_stages.as_json(rows, machine))["stages"]
    assert stages[2]["floor_ms"] > stages[2]["gpu_floors_ms"]["Orin"] > 0


def test_floors_of_the_2b_model() -> None:
    """13 + 13 tiles of a 640x480 picture with depth: 34.2 TFLOP, 0.64 ms a token on an H200."""
    with torch.device("meta"):
        model = RoboRefer(configuration("2b"))
    flops = 26 * model_stages.tower_flops(model) + model_stages.prefill_flops(model, 3292)
    assert flops == pytest.approx(34.2e12, rel=0.02)
    token = model_stages.Stage("", "", "", 1.0, weights=1.310e9 + 0.233e9)
    expected = {"H200": 0.64, "4090": 3.06, "Orin": 15.1}
    for name, ms in expected.items():
        assert token.floor_ms(model_stages.GPUS[name]) == pytest.approx(ms, rel=0.01)


def test_the_text_of_the_prompt_is_as_long_as_with_a_real_tokenizer() -> None:
    _, processor = load_roborefer(DATA / "golden/tiny-2b-style")
    short = len(processor.prompt_ids(model_stages.roborefer_prompt("")))
    instruction = model_stages.instruction_of(processor, short + 40)
    assert len(processor.prompt_ids(model_stages.roborefer_prompt(instruction))) >= short + 40
