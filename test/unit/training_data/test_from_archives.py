# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The documented way as a whole: from split archives to a checkpoint that answers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from lookalike import make, pack

from roborefer_ros.cli.dataset import main as dataset
from roborefer_ros.cli.sft import main as sft
from roborefer_ros.models.roborefer.checkpoint import load_roborefer

TINY = Path(__file__).parents[2] / "data/golden/tiny-2b-style"


@pytest.mark.timeout(900)
def test_archives_become_a_trained_checkpoint_by_the_documented_commands(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = make(tmp_path / "RefSpatial", rows=4)
    pack(root, parts=3)
    data = ["--data-root", str(root)]
    assert dataset(["unpack", str(root), "--delete-parts"]) == 0
    assert not list(root.rglob("*.part_*"))
    assert dataset(["check", str(root)]) == 0
    assert dataset(["stats", *data]) == 0
    assert dataset(["list", *data, "--mixture", "refspatial", "--world", "2"]) == 0
    page = tmp_path / "preview.html"
    assert dataset(["preview", *data, "--samples", "1", "--out", str(page)]) == 0
    capsys.readouterr()

    tiny = ["--recipe", "tiny", "--device", "cpu", *data, "--max-steps", "4"]
    align = ["--stage", "align", "--mixture", "refspatial_rgbd", "--model", str(TINY)]
    assert sft([*tiny, *align, "--output", str(tmp_path / "align")]) == 0
    # both stages, the second from the export of the first
    learn = ["--mixture", "refspatial", "--model", str(tmp_path / "align/export")]
    held_out = ["--held-out", "0.2", "--eval-samples", "4"]
    assert sft([*tiny, *learn, *held_out, "--output", str(tmp_path / "sft")]) == 0
    told = [json.loads(line) for line in (tmp_path / "sft/log.jsonl").open()]
    losses = [entry["loss"] for entry in told if "loss" in entry]
    assert len(losses) == 4
    assert losses[-1] < losses[0]
    datasets = {name for e in told for name in e.get("dataset_losses", ())}
    assert len(datasets) > 4
    assert any(name.endswith("_RGB") for name in datasets)
    model, _ = load_roborefer(tmp_path / "sft/export", keep_unused=True)
    assert model.is_complete
    assert (tmp_path / "sft/report.html").exists()


def test_what_keeps_a_run_from_its_data_is_named_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = make(tmp_path / "RefSpatial", rows=1)
    tiny = ["--recipe", "tiny", "--device", "cpu", "--model", str(TINY), "--mixture", "refspatial"]
    out = ["--output", str(tmp_path / "run"), "--data-root"]
    assert sft([*tiny, *out, str(root / "2D")]) == 2
    assert f"{root} looks like it" in capsys.readouterr().err
    assert sft([*tiny, *out, str(tmp_path)]) == 2
    assert f"{root} looks like it" in capsys.readouterr().err
    (root / "3D/vacant_qa.json").unlink()
    assert sft([*tiny, *out, str(root)]) == 2
    error = capsys.readouterr().err
    assert "3D/vacant_qa.json missing" in error
    assert "(3D_vacant_qa, 3D_vacant_qa_RGB)" in error
    pack(root)
    assert sft([*tiny, *out, str(root)]) == 2
    assert "is still packed; roborefer dataset unpack" in capsys.readouterr().err
