# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Runs: they stop, go on, survive kills, and export what they learned."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from run_folders import logged, weights
from sft_golden import GOLDEN, RUN, RUN_STOPS_AFTER, golden_data, golden_items

from roborefer_ros.cli.sft import main
from roborefer_ros.errors import CheckpointInvalidError, ConfigurationError
from roborefer_ros.inference.model import Completion, Picture, Request, complete_all
from roborefer_ros.models.roborefer.checkpoint import load_roborefer
from roborefer_ros.models.roborefer.labels import collate
from roborefer_ros.pointing.factory import open_pointer
from roborefer_ros.training.sft.engine import Processes
from roborefer_ros.training.sft.export import export
from roborefer_ros.training.sft.loop import Run, open_engine
from roborefer_ros.training.sft.state import find_state

pytestmark = pytest.mark.timeout(900)

ONE = Processes(0, 1, torch.device("cpu"))
TINY = GOLDEN / "tiny-2b-style"


def run(output: Path, signal_after: int = 0, **changes: Any) -> str:
    """A run of the golden samples in this process; returns how it ended."""
    data = golden_data(output.parent / "index", signal_after=signal_after)
    return Run(replace(RUN, **changes), TINY, data, output, ONE).run()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of four steps without a break."""
    output = tmp_path_factory.mktemp("whole") / "run"
    assert run(output).startswith("finished after 4 steps")
    return output


def test_a_stopped_run_goes_on_bit_for_bit(whole: Path, tmp_path: Path) -> None:
    ended = run(tmp_path / "run", signal_after=2 * RUN_STOPS_AFTER)
    assert ended.startswith("stopped by SIGTERM after 2 of 4 steps")
    assert not (tmp_path / "run/export").exists()
    assert run(tmp_path / "run").startswith("finished after 4")
    assert logged(tmp_path / "run") == logged(whole)
    ours, theirs = weights(tmp_path / "run/export"), weights(whole / "export")
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_one_process_goes_on_where_two_stopped(
    two_processes: dict[str, Any], whole: Path, tmp_path: Path
) -> None:
    # Only the second process was told to end.
    assert re.match("stopped by .* after 2 of 4 steps", two_processes["run"])
    shutil.copytree(two_processes["folder"] / "run", tmp_path / "run")
    assert run(tmp_path / "run").startswith("finished after 4")
    assert logged(tmp_path / "run") == pytest.approx(logged(whole), abs=1e-5)


def test_a_run_changes_the_parts_that_learn_and_no_bit_of_the_others(
    whole: Path, tmp_path: Path
) -> None:
    before, after = weights(TINY), weights(whole / "export")
    assert before.keys() == after.keys()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert {name.split(".")[0] for name in changed} == {
        "llm", "vision_tower", "mm_projector", "depth_tower", "depth_projector",
    }  # fmt: skip
    unused = [name for name in before if "encoder.layers.3." in name or "post_layernorm" in name]
    assert len(unused) == 36
    assert not changed & set(unused)

    run(tmp_path / "align", stage="align", precision="bf16")
    aligned = weights(tmp_path / "align/export")
    changed = {name for name in before if not torch.equal(before[name], aligned[name])}
    assert {name.split(".")[0] for name in changed} == {"depth_projector"}


def test_the_export_answers_as_the_network_that_was_trained(tmp_path: Path) -> None:
    engine, processor = open_engine(RUN, TINY, ONE)
    engine.model.mm_projector.layers[2].weight.data += 0.5
    export(engine.model, processor.tokenizer, tmp_path / "e", ONE, torch.float32)
    model, again = load_roborefer(tmp_path / "e", keep_unused=True)
    batch = collate(golden_items(processor), processor.tokenizer.pad_token_id, 16384)
    opened, _ = open_engine(RUN, tmp_path / "e", ONE)
    with torch.no_grad():
        assert float(opened.module(batch).total) == float(engine.module(batch).total)
    assert again.tokenizer.get_vocab() == processor.tokenizer.get_vocab()
    assert model.is_complete
    names = sorted(path.relative_to(TINY) for path in TINY.glob("*/*.safetensors"))
    assert names == sorted(p.relative_to(tmp_path / "e") for p in (tmp_path / "e").glob("*/*.saf*"))


def test_the_export_has_the_published_tree_and_answers(whole: Path) -> None:
    exported, golden = (
        {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}
        for folder in (whole / "export", TINY)
    )
    # tokenizer_config.json holds the added tokens
    assert golden - exported <= {"llm/added_tokens.json"}
    assert exported - golden <= {"llm/chat_template.jinja"}
    pointer = open_pointer(f"roborefer:{whole / 'export'}", device="cpu", max_new_tokens=6)
    grey = Picture.of(np.full((40, 60, 3), 100, np.uint8))
    (outcome,) = complete_all(pointer.model, [Request("Where is the cup?", (grey,), (grey,))])
    assert isinstance(outcome, Completion)
    assert 0 < len(outcome.token_logprobs) <= 6


def test_an_export_that_cannot_be_written_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, processor = open_engine(RUN, TINY, ONE)
    export(engine.model, processor.tokenizer, tmp_path / "e", ONE)
    before = weights(tmp_path / "e")

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("roborefer_ros.models.roborefer.checkpoint.save_file", full)
    with pytest.raises(OSError, match="No space left"):
        export(engine.model, processor.tokenizer, tmp_path / "e", ONE)
    assert weights(tmp_path / "e").keys() == before.keys()
    assert [path.name for path in tmp_path.iterdir()] == ["e"]


def test_a_killed_run_leaves_a_state_to_go_on_from(tmp_path: Path) -> None:
    pictures = str(GOLDEN / "inputs")
    command = [
        *("--recipe", "tiny", "--model", str(TINY), "--output", str(tmp_path / "run")),
        *("--data", f"{pictures}/train.json", "--images", pictures, "--depth", pictures),
        *("--index-dir", str(tmp_path / "index"), "--device", "cpu", "--tail", "keep"),
        *("--global-batch", "1", "--device-batch", "1", "--save-every", "1"),
    ]
    state = tmp_path / "run/state"
    with subprocess.Popen(
        [sys.executable, "-m", "roborefer_ros.cli", "sft", *command, "--max-steps", "100000"],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE,
    ) as process:
        deadline = time.monotonic() + 300
        # In the midst of writing a state, when there is one already.
        while not (find_state(state, "auto") and list(state.glob("*.tmp"))):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.001)
        process.send_signal(signal.SIGKILL)
    found = find_state(state, "auto")
    assert found is not None
    step = int(found.name.removeprefix("step-"))
    assert main([*command, "--max-steps", "100000", "--max-minutes", "0.0001"]) == 0
    assert not list(state.glob("*.tmp"))
    text = (tmp_path / "run/log.jsonl").read_text()
    assert f"step {step} of 100000" in text


def test_a_damaged_state_is_named(whole: Path, tmp_path: Path) -> None:
    shutil.copytree(whole, tmp_path / "run")
    (tmp_path / "run/finished.json").unlink()
    for shard in (tmp_path / "run/state/step-000004").glob("*.distcp"):
        shard.write_bytes(shard.read_bytes()[:1000])
    with pytest.raises(CheckpointInvalidError, match="step-000004 is damaged"):
        run(tmp_path / "run")


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"stage": "align"}, "was made with stage 'sft', now it is 'align'"),
        ({"global_batch": 1}, "was made with global_batch 2, now it is 1"),
        ({"seed": 1}, "was made with seed 42, now it is 1"),
    ],
)
def test_another_recipe_does_not_go_on(
    whole: Path, tmp_path: Path, changes: dict[str, Any], match: str
) -> None:
    shutil.copytree(whole, tmp_path / "run")
    with pytest.raises(ConfigurationError, match=match):
        run(tmp_path / "run", **changes)


def test_a_finished_run_does_nothing(whole: Path) -> None:
    again = Run(RUN, TINY, golden_data(whole.parent / "index"), whole, ONE)
    assert again.is_finished
    (whole / "export/config.json").rename(whole / "hidden")
    assert not again.is_finished
    (whole / "hidden").rename(whole / "export/config.json")


def test_too_few_samples_for_a_global_batch_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="3 samples do not fill one global batch of 8"):
        run(tmp_path / "run", global_batch=8, tail="drop")
