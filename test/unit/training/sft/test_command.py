# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The command line of ``roborefer sft``, its recipes, and how samples become batches."""

from __future__ import annotations

import re
import shutil
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from sft_golden import GOLDEN, golden_data

from roborefer_ros.cli.sft import main, parse_arguments, recipe_of
from roborefer_ros.errors import ConfigurationError
from roborefer_ros.models.roborefer.checkpoint import load_roborefer
from roborefer_ros.models.roborefer.labels import IGNORE
from roborefer_ros.training.data.dataset import LoadedSample, Sample
from roborefer_ros.training.data.registry import DatasetSpec
from roborefer_ros.training.data.rows import Pair, Row
from roborefer_ros.training.sft.batches import Collator, open_loader, with_geometry
from roborefer_ros.training.sft.recipe import SftRecipe, descriptions, load_recipe, recipe_names

INPUTS = str(GOLDEN / "inputs")
DATA = ["--data", f"{INPUTS}/train.json", "--images", INPUTS, "--depth", INPUTS]
TINY = ["--model", str(GOLDEN / "tiny-2b-style"), "--device", "cpu"]


def sample(count: int, *pictures: Any) -> LoadedSample:
    """A sample of some pairs, without files."""
    pairs = [Pair(f"Where is cup {n}?", "[(0.412, 0.655)]", n) for n in range(count)]
    row = Row("0", (), (), tuple(pairs))
    return LoadedSample(Sample("own", 0, row, DatasetSpec("own", Path("own.json"))), pictures, ())


def test_recipes_hold_the_values_of_scripts_and_paper() -> None:
    names = ("align-2b", "align-8b", "sft-2b", "sft-8b")
    assert {*names, *(f"{n}-paper" for n in names), "tiny"} <= set(recipe_names())
    found = {n: load_recipe(n) for n in recipe_names()}
    assert [found[n].learning_rate for n in names] == [1e-3, 2e-5, 2e-5, 2e-5]
    assert [found[f"{n}-paper"].learning_rate for n in names] == [1e-4, 1e-4, 5e-5, 5e-5]
    assert [found[n].global_batch for n in names] == [448, 256, 384, 256]
    assert [found[n].device_batch for n in names] == [7, 2, 6, 2]
    assert [found[f"{n}-paper"].device_batch for n in names] == [7, 3, 6, 2]
    assert found["align-2b"].learning_parts == ("depth_projector",)
    assert len(found["sft-8b"].learning_parts) == 5


def test_the_merged_recipe_gives_the_same_run(tmp_path: Path) -> None:
    changes = {"learning_rate": "3e-4", "parts": "llm,depth_projector", "packing": "true"}
    recipe = load_recipe("lora-2b-own", {**changes, "part_rates": "llm=0.5"})
    assert recipe.learning_rate == 3e-4
    assert recipe.packing is True
    assert recipe.parts == ("llm", "depth_projector")
    assert recipe.part_rates == {"llm": 0.5}
    (tmp_path / "r.yaml").write_text(recipe.to_yaml())
    assert load_recipe(str(tmp_path / "r.yaml")) == recipe


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("learnin_rate: 1", "unknown value 'learnin_rate'; did you mean learning_rate?"),
        ("learning_rate: fast", "learning_rate is 'fast', not a number"),
        ("epochs: 1.5", "epochs is 1.5, not a whole number"),
        ("stage: rft", "stage is 'rft', not one of align, sft"),
        ("packing: 1", "packing is 1, not true or false"),
        ("parts: [lm]", "unknown part 'lm'; did you mean llm"),
        ("learning_rate: .nan", "must be finite"),
        ("device_batch: 0", "device_batch is 0; it must be 1 or more"),
        ("- a", "must map names to values"),
        ("a: [", "is not YAML"),
        ("stage: align\nlora_rank: 8", "llm is not among the parts that learn"),
    ],
)
def test_a_wrong_recipe_names_what_is_wrong(tmp_path: Path, text: str, match: str) -> None:
    (tmp_path / "r.yaml").write_text(text)
    with pytest.raises(ConfigurationError, match=re.escape(match)):
        load_recipe(str(tmp_path / "r.yaml"))


def test_every_value_of_the_recipe_is_an_option() -> None:
    chosen = {entry.name: getattr(SftRecipe(), entry.name) for entry in fields(SftRecipe)}
    text = yaml.safe_load(SftRecipe().to_yaml())
    assert text.keys() == chosen.keys()
    options: list[str] = []
    for name in chosen:
        options += [f"--{name.replace('_', '-')}", "answers" if name == "objective" else "1"]
    assert parse_arguments([*TINY, "--output", "x", *options]).recipe_lora_alpha == "1"


@pytest.mark.parametrize("name", ["tiny", "tabletop"])
def test_every_value_of_a_recipe_says_what_it_is(name: str) -> None:
    kind = type(load_recipe(name))
    assert descriptions(kind).keys() == {entry.name for entry in fields(kind)}


def test_without_a_recipe_stage_and_checkpoint_choose_it() -> None:
    model = str(GOLDEN / "tiny-8b-style")
    options = parse_arguments(["--model", model, "--output", "x", "--stage", "align"])
    assert recipe_of(options) == load_recipe("align-8b")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--recipe", "tine"], "unknown recipe 'tine'; did you mean tiny?"),
        (["--recipe", "tiny", "--learnin-rate", "1"], "did you mean --learning-rate?"),
        ([], "--stage align, --stage sft or a --recipe"),
        (["--recipe", "tiny", "--data", "x.json", "--mixture", "a"], "exclude each other"),
        (["--recipe", "tiny"], "which data?"),
        (["--recipe", "tiny", "--mixture", "2D_choice"], "2D_choice_qa"),
        (["--recipe", "tiny", *DATA, "--overfit", "9"], "the data has 3 samples"),
        (
            ["--recipe", "tiny", *DATA, "--tail", "keep", "--resume", "nowhere"],
            "nowhere is not a state of a run",
        ),
    ],
)
def test_mistakes_are_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    more = ["--output", str(tmp_path / "o"), "--index-dir", str(tmp_path / "index")]
    assert main([*TINY, *more, *arguments]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.startswith("roborefer sft: ")
    assert error.count("\n") == 1


def test_two_samples_are_learned_by_heart_and_answered(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = [*DATA, "--index-dir", str(tmp_path), "--overfit", "2"]
    assert main([*TINY, "--recipe", "tiny", *more]) == 0
    said = capsys.readouterr().err
    assert "known by heart" in said
    assert "'[(0.412, 0.655)]' = '[(0.412, 0.655)]'" in said
    assert "!=" not in said


def test_dry_run_tells_memory_and_time_and_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = ["--index-dir", str(tmp_path / "index"), "--output", str(tmp_path / "o"), "--dry-run"]
    batch = ["--global-batch", "2", "--device-batch", "1"]
    assert main([*TINY, "--recipe", "tiny", *DATA, *more, *batch]) == 0
    said = capsys.readouterr().err
    assert "1 rows x 1 x 2 = 2 rows a step" in said
    assert "(arithmetic)" in said
    assert "(measured)" in said
    assert "253 positions" in said
    assert not (tmp_path / "o").exists()


def test_long_samples_lose_whole_pairs_and_longer_ones_count_nothing() -> None:
    _, processor = load_roborefer(GOLDEN / "tiny-2b-style")
    picture = np.zeros((60, 130, 3), np.uint8)
    whole = sample(4, picture)
    length = Collator(processor, 16384)([whole]).positions
    for limit in range(length, 0, -7):
        batch = Collator(processor, limit)([whole, sample(1)])
        learned = (batch.tensors.labels[0] != IGNORE).sum()
        answers = batch.tensors.labels[0].eq(processor.stop_ids[0]).sum()
        assert answers == (0 if batch.lost_rows else 4 - batch.cut_pairs)
        assert bool(learned) != bool(batch.lost_rows)
        assert batch.tensors.input_ids.shape[1] <= limit or batch.lost_rows
        media = batch.tensors.input_ids.eq(processor.splice_ids["image_token_id"]).sum()
        tiles = batch.tensors.image_pixel_values
        assert media == (0 if tiles is None else len(tiles))
        if batch.lost_rows:
            break
    else:
        raise AssertionError("no limit was too short")


def test_workers_change_no_batch(tmp_path: Path) -> None:
    _, processor = load_roborefer(GOLDEN / "tiny-2b-style")
    data, order = golden_data(tmp_path), [[0, 2], [1], [2, 1]]
    collator = Collator(processor, 16384)
    plain = list(open_loader(data.samples, order, collator, 0))
    for one, other in zip(plain, open_loader(data.samples, order, collator, 2), strict=True):
        assert one.tensors.input_ids.equal(other.tensors.input_ids)
        assert one.tensors.image_pixel_values.equal(other.tensors.image_pixel_values)


def test_tiles_can_be_limited_in_2b_mode_only() -> None:
    _, small = load_roborefer(GOLDEN / "tiny-2b-style")
    _, large = load_roborefer(GOLDEN / "tiny-8b-style")
    assert with_geometry(small.config, "resize", 0).max_tiles == 1
    assert with_geometry(small.config, "dynamic", 4).max_tiles == 4
    assert with_geometry(large.config, "dynamic", 0) is large.config
    with pytest.raises(ConfigurationError, match="8B kind has fixed scales"):
        with_geometry(large.config, "resize", 0)
    assert replace(small.config, max_tiles=4) == with_geometry(small.config, "dynamic", 4)


def test_defective_pictures_are_told_and_too_many_end_the_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pictures = tmp_path / "pictures"
    shutil.copytree(GOLDEN / "inputs", pictures)
    whole = (pictures / "rgb3.png").read_bytes()
    (pictures / "rgb3.png").write_bytes(whole[: len(whole) // 2])
    more = ["--images", str(pictures), "--depth", str(pictures), "--output", str(tmp_path / "o")]
    data = ["--data", str(pictures / "train.json"), "--index-dir", str(tmp_path / "index")]
    batch = ["--global-batch", "1", "--device-batch", "1", "--max-steps", "9"]
    assert main([*TINY, "--recipe", "tiny", *data, *more, *batch]) == 2
    said = capsys.readouterr().err
    assert "skipped train: " in said
    assert "rgb3.png" in said
    assert "samples of train were skipped, more than 0.1%" in said.splitlines()[-1]
