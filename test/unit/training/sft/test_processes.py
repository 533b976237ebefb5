# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Two processes learn what one learns."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from two_processes import asked, losses

from roborefer_ros.errors import ConfigurationError
from roborefer_ros.training.sft.engine import Processes, processes
from roborefer_ros.training.sft.recipe import SftRecipe

# starting processes takes long where others use the machine
pytestmark = pytest.mark.timeout(900)

ONE = Processes(0, 1, torch.device("cpu"))
TEXT = {"2b": [13.44607, 9.58454, 7.14059], "8b": [6.69911, 5.48393, 4.88935]}


@pytest.mark.parametrize("case", ["rgbd", "text", "rgb"])
@pytest.mark.parametrize("mode", ["2b", "8b"])
def test_two_processes_equal_one(two_processes: dict[str, Any], mode: str, case: str) -> None:
    one = losses(mode, case, ONE)
    assert one["parallel"] == "single"
    if case == "text":
        assert one["losses"] == pytest.approx(TEXT[mode], abs=1e-4)
    for parallel in ("ddp", "fsdp"):
        two = two_processes[f"{mode} {parallel} {case}"]
        assert two["parallel"] == parallel
        assert two["losses"] == pytest.approx(one["losses"], abs=1e-4)
        assert two["norms"] == pytest.approx(one["norms"], rel=1e-4)
        assert two["weights"] == pytest.approx(one["weights"], rel=1e-5)


@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_a_nan_on_one_process_skips_the_step_on_all(
    two_processes: dict[str, Any], parallel: str
) -> None:
    seen = two_processes[f"nan {parallel}"]
    assert seen["skipped"] == [True, True]
    assert seen["after"] == seen["before"]
    assert seen["next"] == pytest.approx(13.53693, abs=1e-4)


@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_answers_in_training_are_those_of_one_process_and_change_nothing(
    two_processes: dict[str, Any], parallel: str
) -> None:
    one, two = asked(ONE), two_processes[f"asked {parallel}"]
    assert [len(texts) for texts in two["texts"]] == [2, 5]
    assert two["texts"][0] == two["texts"][1][:2] == one["texts"][0]
    assert all(two["texts"][1])
    assert two["losses"] == pytest.approx([13.53693, 10.23257, 7.62151], abs=1e-4)
    assert one["losses"] == pytest.approx(two["losses"], abs=1e-4)


def test_bfloat16_answers_and_keeps_its_float32_masters() -> None:
    seen = asked(ONE, precision="bf16")
    plain = losses("2b", "rgbd", ONE, precision="bf16")
    assert seen["losses"] == plain["losses"]
    assert all(seen["texts"][0])


def test_a_global_batch_that_cannot_be_split_is_refused_with_the_way_out() -> None:
    recipe = SftRecipe(global_batch=384, device_batch=6)
    assert [recipe.accumulation(world) for world in (1, 8, 64)] == [64, 8, 1]
    with pytest.raises(ConfigurationError, match="not a multiple of 42"):
        recipe.accumulation(7)


def test_incomplete_variables_of_torchrun_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.delenv("RANK", raising=False)
    with pytest.raises(ConfigurationError, match="RANK.*torchrun"), processes("cpu"):
        pass
