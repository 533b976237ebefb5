# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The benchmarks of the networks run, and count right."""

from __future__ import annotations

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
    rows = list(model_stages.stages((60, 40), model, processor, depth, machine, repeats=1))
    assert [row.stage for row in rows] == [
        "depth network",
        "preprocess",
        "towers",
        "prefill",
        "one more token",
    ]
    assert all(row.median_ms > 0 for row in rows)
    assert rows[0].work == "784x518 px"
    assert rows[2].work == ("14 tiles" if mode == "2b" else "34 tiles")
    assert "towers" in model_stages.report(rows, machine)
