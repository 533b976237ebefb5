# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The bundled network's recipe, from simulated scenes to a checkpoint, by ``roborefer sft``."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from run_folders import weights
from tiny_tabletop import TINY, tiny_data, tiny_recipe

from roborefer_ros.cli.sft import main
from roborefer_ros.errors import ConfigurationError, RoboReferError
from roborefer_ros.pointing.factory import open_pointer
from roborefer_ros.training.sft.recipe import load_recipe
from roborefer_ros.training.tabletop.recipe import TabletopRecipe

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def command(data: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    recipe = tiny_recipe(tmp_path_factory.mktemp("recipe"))
    return ["--recipe", str(recipe), "--data", str(data), "--device", "cpu"]


def log_of(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


def steps(run: Path) -> list[dict[str, float]]:
    return [entry for entry in log_of(run) if "gradient_norm" in entry]


def test_a_run_goes_on_bit_for_bit_and_its_export_is_a_model(
    command: list[str], tmp_path: Path
) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    constant = ["--warmup", "0", "--cooldown", "0"]  # the rates do not depend on the end
    for out, last in ((whole, "6"), (parts, "3"), (parts, "6")):
        assert main([*command, *constant, "--max-steps", last, "--output", str(out)]) == 0
    assert [s["loss"] for s in steps(parts)] == [s["loss"] for s in steps(whole)]
    ours, theirs = weights(parts / "export"), weights(whole / "export")
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)

    assert (whole / "best/config.json").exists()  # the loss of validation images was taken
    pointer = open_pointer(f"roborefer:{whole / 'export'}", device="cpu", max_new_tokens=8)
    try:
        rgb, depth = np.zeros((60, 80, 3), np.uint8), np.zeros((60, 80), np.uint8)
        pointer.point(rgb, depth, "the red mug")
    except RoboReferError as error:
        assert error.code in (2544, 2545)  # it has learned next to nothing
    finally:
        pointer.close()


def test_it_learns_by_heart(command: list[str], tmp_path: Path) -> None:
    """On very few questions every loss falls; where to look comes last."""
    more = ["--max-steps", "60", "--cooldown", "0", "--output", str(tmp_path / "run")]
    assert main([*command, *more]) == 0
    seen = steps(tmp_path / "run")
    for name, share in (("answer", 0.75), ("patches", 0.75), ("grounding", 0.95)):
        values = [step[f"loss/{name}"] for step in seen]
        assert np.mean(values[-5:]) < share * np.mean(values[:5]), name
    first = seen[0]
    weighed = load_recipe(command[1])
    assert isinstance(weighed, TabletopRecipe)
    total = first["loss/answer"] + sum(
        weight * first[f"loss/{name}"] for name, weight in weighed.loss_weights.items()
    )
    assert first["loss"] == pytest.approx(total, rel=1e-4)


def test_validation_images_are_evaluated_and_never_trained_on(
    command: list[str], tmp_path: Path
) -> None:
    more = ["--max-steps", "4", "--eval-every", "2", "--eval-first", "true"]
    assert main([*command, *more, "--output", str(tmp_path / "run")]) == 0
    found = {e["step"]: e["evaluation"] for e in log_of(tmp_path / "run") if "evaluation" in e}
    assert list(found) == [0, 2, 4]
    assert all(np.isfinite(values["held_out/loss"]) for values in found.values())
    start = log_of(tmp_path / "run")[0]
    assert start["data"]["samples"] == "4"  # six images, of which two are kept


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"parallel": "fsdp"}, "objective tabletop knows 'ddp' only"),
        ({"lora_rank": 4}, "objective tabletop knows 0 only"),
        ({"visionwidth": 4}, "did you mean vision_width"),
        ({"mention_layers": "a"}, "mention_layers is 'a', not a list"),
        ({"projector": "mlp"}, "not one of mlp_downsample_3x3_fix"),
    ],
)
def test_values_that_do_not_fit_are_named(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        load_recipe("tabletop", changes)


def test_lists_of_numbers_are_options_too() -> None:
    assert load_recipe("tabletop", {"mention_layers": "0,2"}).mention_layers == (0, 2)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("data_text", "said"),
    [
        (None, "questions.json"),
        ("[]", "holds 0 images, at least 4 are needed"),
        ('[{"id": 1}]', "no list of conversations: KeyError"),
    ],
)
def test_data_that_cannot_be_trained_on_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], data_text: str | None, said: str
) -> None:
    if data_text is not None:
        (tmp_path / "questions.json").write_text(data_text)
    recipe = ["--recipe", str(tiny_recipe(tmp_path)), "--data", str(tmp_path)]
    assert main([*recipe, "--output", str(tmp_path / "run"), "--device", "cpu"]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert main(["--recipe", "tabletop", "--output", str(tmp_path / "run")]) == 2
    assert "Name a folder of `roborefer simulate`" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda run: [f.unlink() for f in (run / "tokenizer").iterdir()], "no tokenizer.json"),
        (lambda run: (run / "tokenizer/tokenizer.json").write_text("{"), "tokenizer"),
        (
            lambda run: [f.write_bytes(b"PK") for f in run.glob("state/*/*.distcp")],
            "is damaged or of another network",
        ),
    ],
)
def test_a_damaged_run_is_named(
    command: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    spoil: Callable[[Path], object],
    said: str,
) -> None:
    run = [*command, "--output", str(tmp_path / "run"), "--max-steps"]
    assert main([*run, "1"]) == 0
    spoil(tmp_path / "run")
    capsys.readouterr()
    assert main([*run, "2"]) != 0
    assert said in capsys.readouterr().err


def test_the_recipe_of_the_package_is_the_bundled_networks() -> None:
    recipe = load_recipe("tabletop")
    assert isinstance(recipe, TabletopRecipe)
    assert recipe == TabletopRecipe()
    assert TINY.keys() <= vars(recipe).keys()
