# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Runs stop, go on bit for bit, export, and are the same on two processes as on one.

The weights are random and the reward counts characters: this shows that the loop learns what it is
rewarded for, not that anything is understood.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from rft_golden import ONE, RUN, RUN_STOPS_AFTER, TINY, by_letters, golden_prompts
from run_folders import logged, weights

from roborefer_ros.errors import ConfigurationError
from roborefer_ros.inference.loading import learned_to_reason
from roborefer_ros.models.roborefer.checkpoint import load_roborefer
from roborefer_ros.training.rft.loop import RftRun, draw_seed
from roborefer_ros.training.rft.recipe import RftRecipe, load_recipe
from roborefer_ros.training.rft.rewards import Annotation, Rewards

pytestmark = pytest.mark.timeout(900)


def run(output: Path, stops_after: int = 0, **changes: Any) -> str:
    """A run in this process; returns how it ended."""
    judged = 0
    recipe = replace(RUN, **changes)

    def judge(text: str, known: Annotation) -> Rewards:
        nonlocal judged
        judged += 1
        if judged == stops_after * recipe.global_batch * recipe.group_size:
            os.kill(os.getpid(), signal.SIGTERM)
        return by_letters(text, known)

    prompts = golden_prompts(output.parent / "prompts")
    return RftRun(recipe, TINY, prompts, output, ONE, judge=judge).run()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of four steps without a break."""
    output = tmp_path_factory.mktemp("whole") / "run"
    assert run(output).startswith("finished after 4 steps")
    return output


def test_a_stopped_run_goes_on_bit_for_bit(whole: Path, tmp_path: Path) -> None:
    ended = run(tmp_path / "run", stops_after=RUN_STOPS_AFTER)
    assert ended.startswith("stopped by SIGTERM after 2 of 4 steps")
    assert not (tmp_path / "run/export").exists()
    assert run(tmp_path / "run").startswith("finished after 4")
    for name in ("loss", "reward", "kl", "entropy"):
        assert logged(tmp_path / "run", name) == logged(whole, name)
    ours, theirs = weights(tmp_path / "run/export"), weights(whole / "export")
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_two_processes_equal_one(
    two_rft_processes: dict[str, Any], whole: Path, tmp_path: Path
) -> None:
    for parallel in ("ddp", "fsdp"):
        two = two_rft_processes[parallel]
        assert two["parallel"] == parallel
        for name in ("reward", "loss", "kl", "entropy", "gradient_norm"):
            first = {int(step): value for step, value in two["log"][name].items()}
            assert first == pytest.approx(logged(whole, name), abs=1e-4, rel=1e-3)
    # Only the second process was told to end; one process goes on.
    assert re.match("stopped by .* after 2 of 4 steps", two_rft_processes["stopped"])
    shutil.copytree(two_rft_processes["folder"] / "stopped", tmp_path / "run")
    assert run(tmp_path / "run").startswith("finished after 4")
    assert logged(tmp_path / "run", "reward") == pytest.approx(logged(whole, "reward"), abs=1e-5)


def test_answers_of_sharded_weights_are_those_of_whole_ones(
    two_rft_processes: dict[str, Any],
) -> None:
    """Processes draw answers of different lengths without waiting for each other."""
    lengths = two_rft_processes["lengths"]
    assert lengths[0] != lengths[1]
    assert two_rft_processes["same"] == [True, True]


def test_the_export_answers_and_every_part_learned(whole: Path) -> None:
    before, after = weights(TINY), weights(whole / "export")
    changed = {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert changed == {
        "llm", "vision_tower", "mm_projector", "depth_tower", "depth_projector",
    }  # fmt: skip
    load_roborefer(whole / "export")
    assert not learned_to_reason(TINY)
    assert learned_to_reason(whole / "export")


def test_the_log_tells_terms_spread_and_examples(whole: Path) -> None:
    line = json.loads((whole / "log.jsonl").read_text().splitlines()[1])
    for name in ("reward", "point", "accuracy", "spread", "frac_zero_std", "length", "cut", "kl"):
        assert name in line
    assert line["cut"] == 1.0
    assert line["length"] == RUN.max_new_tokens
    example = json.loads((whole / "examples.jsonl").read_text().splitlines()[0])
    assert example["step"] == 1
    assert example["best"]["total"] >= example["worst"]["total"]
    assert example["key_steps"][0]["target"] == "the cup"


def test_what_is_rewarded_becomes_more_frequent(tmp_path: Path) -> None:
    changes = {"max_steps": 12, "group_size": 6, "learning_rate": 1e-3, "beta": 0.0}
    run(tmp_path / "run", temperature=2.0, **changes)
    rewards = list(logged(tmp_path / "run", "reward").values())
    assert sum(rewards[-3:]) > sum(rewards[:3])


def test_a_prompt_that_is_too_long_teaches_nothing_and_is_counted(tmp_path: Path) -> None:
    run(tmp_path / "run", max_steps=1, max_length=7)
    line = json.loads((tmp_path / "run/log.jsonl").read_text().splitlines()[1])
    assert line["lost_prompts"] == 2
    assert line["gradient_norm"] == 0.0


def test_groups_without_spread_leave_the_weights_as_they_are(tmp_path: Path) -> None:
    prompts = golden_prompts(tmp_path / "prompts")
    recipe = replace(RUN, beta=0.0, max_steps=2)
    RftRun(recipe, TINY, prompts, tmp_path / "run", ONE).run()  # random weights earn nothing
    assert set(logged(tmp_path / "run", "frac_zero_std").values()) == {1.0}
    assert set(logged(tmp_path / "run", "gradient_norm").values()) == {0.0}
    before, after = weights(TINY), weights(tmp_path / "run/export")
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_later_updates_on_the_same_answers_and_adapters(tmp_path: Path) -> None:
    changes = {"updates": 2, "lora_rank": 2, "parts": ("llm",), "max_steps": 2}
    assert run(tmp_path / "run", **changes).startswith("finished")
    assert logged(tmp_path / "run", "kl")[1] > 0.0  # the second update has moved away


def test_a_run_goes_on_with_the_values_that_it_began_with(tmp_path: Path) -> None:
    run(tmp_path / "run", max_steps=1)
    with pytest.raises(ConfigurationError, match="group_size 3, now it is 4"):
        run(tmp_path / "run", group_size=4)


def test_the_rate_falls_in_a_line_to_zero() -> None:
    recipe = RftRecipe()
    assert [recipe.rate_factor(step, 4) for step in range(5)] == [1.0, 0.75, 0.5, 0.25, 0.0]
    warm = RftRecipe(warmup=0.5)
    assert [warm.rate_factor(step, 4) for step in range(4)] == [0.0, 0.5, 1.0, 0.5]


def test_values_that_no_run_can_have_are_refused() -> None:
    for values in ({"group_size": "1"}, {"temperature": "0"}, {"suffix": "maybe"}, {"betta": "1"}):
        with pytest.raises(ConfigurationError):
            load_recipe(None, values)
    with pytest.raises(ConfigurationError, match="not a multiple of 3"):
        RftRecipe(global_batch=16).accumulation(3)


def test_seeds_of_answers_differ_by_step_prompt_and_place() -> None:
    seeds = {draw_seed(1, step, n, k) for step in range(9) for n in range(9) for k in range(9)}
    assert len(seeds) == 729
    assert all(0 <= seed < 2**63 for seed in seeds)
