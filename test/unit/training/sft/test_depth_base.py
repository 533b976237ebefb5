# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The base of the alignment from a checkpoint without depth."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from sft_golden import GOLDEN

from roborefer_ros.cli.sft import main
from roborefer_ros.errors import ConfigurationError
from roborefer_ros.models.roborefer.checkpoint import load_roborefer


def without_depth(target: Path) -> Path:
    """A golden checkpoint as NVILA's are."""
    shutil.copytree(GOLDEN / "tiny-2b-style", target)
    config = json.loads((target / "config.json").read_text())
    for key in ("depth_tower_cfg", "depth_projector_cfg", "enable_depth", "use_depth_tower"):
        config.pop(key, None)
    (target / "config.json").write_text(json.dumps(config))
    shutil.rmtree(target / "depth_tower")
    shutil.rmtree(target / "depth_projector")
    return target


def test_init_depth_copies_the_rgb_branch(tmp_path: Path) -> None:
    source = without_depth(tmp_path / "nvila")
    assert main(["init-depth", "--from", str(source), "--output", str(tmp_path / "base")]) == 0
    model, processor = load_roborefer(tmp_path / "base", keep_unused=True)
    assert model.depth_tower is not None
    assert model.depth_projector is not None
    for rgb, depth in (
        (model.vision_tower, model.depth_tower),
        (model.mm_projector, model.depth_projector),
    ):
        assert rgb.state_dict().keys() == depth.state_dict().keys()
        assert all(map(torch.equal, rgb.state_dict().values(), depth.state_dict().values()))
    assert model.config.has_depth
    assert processor.splice_ids["depth_token_id"] >= 0


def test_init_depth_refuses_a_checkpoint_that_has_depth(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, output = str(GOLDEN / "tiny-2b-style"), str(tmp_path / "base")
    assert main(["init-depth", "--from", source, "--output", output]) == 2
    said = capsys.readouterr().err
    assert "has a depth branch already" in said
    assert said.count("\n") == 1
    assert ConfigurationError.code == 2600
