# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Which depth picture the model gets by default: what it was trained with."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

pytest.importorskip("rclpy")
pytest.importorskip("torch")

from roborefer_ros.errors import RoboReferError
from roborefer_ros.lifting import LiftingOptions
from roborefer_ros.nodes.model_loading import open_pipeline

GOLDEN = Path(__file__).resolve().parents[1] / "data" / "golden"


def options(model, depth_source="auto", depth_network="auto"):
    return SimpleNamespace(
        model=model,
        depth_source=depth_source,
        depth_network=depth_network,
        require_depth=False,
        device="cpu",
        dtype="float32",
        max_new_tokens=4,
        max_instruction_length=100,
        warm_up=False,
        think="auto",
        lifting=LiftingOptions(),
    )


def test_the_bundled_network_gets_the_sensors_depth():
    pipeline = open_pipeline(options("roborefer:demo"))
    assert pipeline.depth_estimator is None
    assert pipeline.pointer.uses_depth
    pipeline.pointer.close()


def test_other_checkpoints_get_the_references_depth(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(RoboReferError, match="depth_source to 'sensor'"):
        open_pipeline(options(f"roborefer:{GOLDEN / 'tiny-2b-style'}"))


def test_none_gives_rgb_only():
    pipeline = open_pipeline(options(f"roborefer:{GOLDEN / 'tiny-2b-style'}", "none"))
    assert pipeline.depth_estimator is None
    assert not pipeline.pointer.uses_depth
    pipeline.pointer.close()


def test_a_model_that_takes_no_depth_needs_no_depth_network():
    pipeline = open_pipeline(options("echo"))
    assert pipeline.depth_estimator is None


def test_the_named_depth_network_is_opened_and_told(capfd):
    """Random weights: which network it is, not what it sees."""
    tiny = GOLDEN.parent / "depth_anything" / "tiny.pth"
    model = f"roborefer:{GOLDEN / 'tiny-2b-style'}"
    pipeline = open_pipeline(options(model, depth_network=f"{tiny}?input_size=70"))
    assert pipeline.depth_estimator.label == f"{tiny}?input_size=70"
    assert f"depth network: {tiny}?input_size=70" in "".join(capfd.readouterr())
    pipeline.pointer.close()
