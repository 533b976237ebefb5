# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""``benchmarks.gpu``: the same code on a CPU with networks of toy size, and its bookkeeping."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import gpu, gpu_floors
from benchmarks.gpu_answers import ReplayedDraft
from benchmarks.gpu_page import page
from benchmarks.gpu_steps import read_rows
from benchmarks.model_stages import Machine
from benchmarks.model_synthetic import configuration


@pytest.mark.timeout(900)
def test_all_steps_run_on_a_cpu(tmp_path: Path) -> None:
    budget = ["--budget-s", "800"]
    assert gpu.main(["--device", "cpu", "--tiny", "--out", str(tmp_path), *budget]) == 0
    report = json.loads((tmp_path / "gpu.json").read_text())
    assert {s["step"]: s["status"] for s in report["steps"]} == dict.fromkeys(gpu._LIMITS_S, "ok")
    kinds = {row["kind"] for row in report["rows"]}
    assert kinds == {
        *("built", "machine", "parity", "tests", "opened"),
        *("answers", "stage", "batch", "server"),
    }
    parity = [row for row in report["rows"] if row["kind"] == "parity"]
    assert {row["dtype"] for row in parity} == {"float32", "bfloat16", "float16"}
    assert all(row["checks"] > 30 and not row["over"] for row in parity)
    answers = [row for row in report["rows"] if row["kind"] == "answers"]
    assert {(row["network"], row["input"]) for row in answers} == {
        (network, kind) for network in ("2b", "8b") for kind in ("RGB", "RGB-D")
    }
    for row in answers:
        assert row["passes"] == 7  # as a real answer with its template
        assert row["new_ms"] > 0
        assert row["reference_ms"] > 0
    (tests,) = (row for row in report["rows"] if row["kind"] == "tests")
    assert tests["counts"]["skipped"] >= 10
    text = (tmp_path / "gpu.md").read_text()
    assert text == page(report)
    for head in ("Parity", "End to end", "Stages", "Batches", "Server"):
        assert f"## {head}" in text


def test_a_step_that_fails_is_told_and_costs_no_other(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("no directory")
    out = tmp_path / "out"
    only = ["--only", "build-2b", "model-2b"]
    status = gpu.main(
        ["--device", "cpu", "--tiny", "--out", str(out), "--work", str(blocked), *only]
    )
    assert status == 1
    steps = {s["step"]: s for s in json.loads((out / "gpu.json").read_text())["steps"]}
    assert steps["build-2b"]["status"] == "failed"
    assert "NotADirectoryError" in steps["build-2b"]["error"]
    assert steps["model-2b"]["status"] == "skipped"
    assert "build-2b did not succeed" in (out / "gpu.md").read_text()


def test_without_time_nothing_is_started(tmp_path: Path) -> None:
    assert gpu.main(["--device", "cpu", "--tiny", "--out", str(tmp_path), "--budget-s", "1"]) == 0
    report = json.loads((tmp_path / "gpu.json").read_text())
    assert {s["status"] for s in report["steps"]} == {"skipped"}
    assert report["rows"] == []


def test_lines_that_are_no_measurements_are_passed_over() -> None:
    lines = ["loading ...", '{"kind": "built"}', "{broken", "[1]", '{"other": 1}']
    assert list(read_rows(iter(lines))) == [{"kind": "built"}]


def test_the_draft_is_right_where_a_real_answer_has_brackets() -> None:
    draft = ReplayedDraft()
    draft.record()
    answer = list(range(15))
    for length in range(15):
        assert draft(answer[:length]) == []
    draft.start()
    assert draft([]) == [0, 1, 2]
    assert draft(answer[:4]) == []  # a digit follows
    assert draft(answer[:6]) == [6, 7, 8, 9]
    assert draft([9, *answer[1:6]]) == []  # another answer
    assert draft(answer[:13]) == [13]
    assert draft.passes == 5


def test_floors_are_those_of_the_data_sheets() -> None:
    """2B, 13 + 13 tiles: 38 ms with the template's drafts on an H200, 4 ms for the same frame."""
    import torch

    from roborefer_ros.models.roborefer.modeling import RoboRefer

    with torch.device("meta"):
        network = RoboRefer(configuration("2b"))
    h200 = gpu_floors.PEAKS["H200"]
    assert gpu_floors.new_frame_ms(network, 26, 3292, h200) == pytest.approx(38.0, rel=0.03)
    assert gpu_floors.same_frame_ms(network, h200) == pytest.approx(4.2, rel=0.1)
    assert gpu_floors.token_by_token_ms(network, h200) == pytest.approx(14 * 0.64, rel=0.02)
    measured = Machine(1.0, 1.0)
    assert gpu_floors.machine_of("NVIDIA H100 PCIe", measured).flops_per_s == 756e12
    assert gpu_floors.machine_of("something new", measured) is measured
