# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The comparison with the reference's loop runs, and both sides say the same."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import inference_ratios
from benchmarks.model_synthetic import write_synthetic
from benchmarks.reference_loop import ReferenceLoop, open_the_references_way
from roborefer_ros.inference.model import (
    Completion,
    Picture,
    Request,
    SamplingParams,
    complete_all,
)
from roborefer_ros.inference.roborefer import RoboReferModel
from roborefer_ros.models.roborefer.checkpoint import load_roborefer

GOLDEN = Path(__file__).resolve().parents[2] / "data" / "golden"


@pytest.mark.parametrize("mode", ["2b", "8b"])
@pytest.mark.parametrize("with_depth", [False, True])
def test_the_references_loop_says_what_this_package_says(mode: str, with_depth: bool) -> None:
    """It is a fair opponent: the same weights, the same answer."""
    folder = GOLDEN / f"tiny-{mode}-style"
    loop = ReferenceLoop(*open_the_references_way(folder))
    rgb = np.random.default_rng(4).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    depths = [np.ascontiguousarray(rgb[..., 1])] if with_depth else []
    answer = loop.answer("Point to the mug.", [rgb], depths, tokens=12, forced=False)
    model = RoboReferModel("tiny", *load_roborefer(folder))
    shown = tuple(Picture.of(depth) for depth in depths)
    (said,) = complete_all(
        model, [Request("Point to the mug.", (Picture.of(rgb),), shown, SamplingParams(12))]
    )
    assert isinstance(said, Completion)
    assert loop.processor.tokenizer.decode(answer.ids, skip_special_tokens=True) == said.text
    assert set(answer.stages_s) == {"preprocess", "towers", "prefill", "decode"}


def test_the_loop_runs_all_layers() -> None:
    with pytest.raises(ValueError, match="keep_unused=True"):
        ReferenceLoop(*load_roborefer(GOLDEN / "tiny-2b-style"))


@pytest.mark.parametrize("which", ["reference", "here"])
def test_both_processes_answer(which: str) -> None:
    inference_ratios.first_answer(which, str(GOLDEN / "tiny-2b-style"), "64", "48")


@pytest.mark.timeout(600)
def test_all_ratios_are_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--size", "tiny-2b", "--image", "64x48", "--repeats", "1", "--json"]
    arguments += ["--no-processes"]
    assert inference_ratios.main(arguments) == 0
    ratios = json.loads(capsys.readouterr().out)["ratios"]
    assert list(ratios) == [
        *("preprocess", "towers", "prefill", "decode"),
        *("new frame", "the same frame again", "5 questions on a frame"),
        *("16 clients, own frames", "16 clients, one frame"),
    ]
    assert all(ratio > 0 for ratio in ratios.values())


def test_synthetic_checkpoints_open_both_ways(tmp_path: Path) -> None:
    import torch

    write_synthetic(tmp_path, "tiny-2b", torch.float32)
    theirs, _ = open_the_references_way(tmp_path)
    ours, _ = load_roborefer(tmp_path, keep_unused=True)
    wanted = dict(ours.named_parameters())
    for name, value in theirs.named_parameters():
        assert torch.equal(value, wanted[name]), name
