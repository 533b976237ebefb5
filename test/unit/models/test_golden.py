# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The network computes what the reference computes: the functions of ``benchmarks.parity``."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest

from benchmarks import parity, parity_cases

GOLDEN = Path(__file__).resolve().parents[2] / "data" / "golden"

CASES = [(name, file) for name, files in parity.cases(GOLDEN).items() for file in files]


def failures(checks: list[parity.Check]) -> list[parity.Check]:
    return [check for check in checks if not check.passed]


@pytest.fixture(scope="module")
def opened() -> dict[str, parity_cases.Opened]:
    result = {}
    for name in parity.cases(GOLDEN):
        folder = parity.checkpoint_folder(GOLDEN, name)
        model, processor = parity.load_roborefer(folder, "cpu", "float32")
        result[name] = parity_cases.Opened(name, model, processor, parity_cases.FLOAT32)
    return result


def inference_cases() -> list[tuple[str, Path]]:
    return [(name, file) for name, file in CASES if "__train" not in file.name]


@pytest.mark.parametrize(("name", "file"), inference_cases(), ids=lambda x: getattr(x, "stem", x))
def test_inference_in_float32(
    opened: dict[str, parity_cases.Opened], name: str, file: Path
) -> None:
    checks = parity.check_case(GOLDEN, opened[name], file)
    stages = {check.stage for check in checks}
    assert {"ids", "spliced", "prefill_logits", "step_logits", "greedy_ids"} <= stages
    assert not failures(checks)


@pytest.mark.parametrize(
    "dropped", [["pixel_values"], ["pixel_values", "tower_out"], ["pixel_values", "embeds"]]
)
def test_cases_that_leave_out_what_is_large(
    opened: dict[str, parity_cases.Opened], tmp_path: Path, dropped: list[str]
) -> None:
    """They are judged by what they store, to the same end."""
    name, file = "tiny2b", GOLDEN / "arrays/tiny2b__rgbd_1img.npz"
    arrays = {
        key: value
        for key, value in np.load(file).items()
        if not any(part in key for part in dropped) or key == "inputs_embeds"
    }
    smaller = tmp_path / file.name
    np.savez(smaller, **arrays)
    whole = parity.check_case(GOLDEN, opened[name], file)
    checks = parity.check_case(GOLDEN, opened[name], smaller)
    assert not failures(checks)
    assert len(checks) == len(whole) - 2 * len(dropped)
    arrays["inputs_embeds"] = arrays["inputs_embeds"] + 1
    np.savez(smaller, **arrays)
    assert {c.stage for c in failures(parity.check_case(GOLDEN, opened[name], smaller))} == {
        "spliced"
    }


def test_stored_pictures_of_a_prompt_without_any_are_told(
    opened: dict[str, parity_cases.Opened], tmp_path: Path
) -> None:
    arrays = dict(np.load(GOLDEN / "arrays/tiny2b__text_only.npz"))
    arrays["image_tower_out"] = np.zeros((1, 2, 2), np.float32)
    file = tmp_path / "tiny2b__text_only.npz"
    np.savez(file, **arrays)
    checks = parity.check_case(GOLDEN, opened["tiny2b"], file)
    assert [c.stage for c in failures(checks)] == ["image_pixels"]


def test_every_array_file_has_a_test() -> None:
    assert len(inference_cases()) == 4
    assert len(CASES) == 5


def test_tables() -> None:
    checks = [parity.Check(*row) for row in parity.check_tables(GOLDEN)]
    assert {c.stage for c in checks} == {
        "tile_grids",
        "depth_anything_sizes",
        "prompt_normalisation",
        "label_cases",
        "eval_parsers",
    }
    assert not failures(checks)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_small_types_stay_near_float32(dtype: str) -> None:
    kind = parity.torch_dtype(dtype, parity.torch.device("cpu"))
    for name, file in inference_cases():
        if file.stem in ("tiny2b__rgb_only", "tiny8b__rgb_only"):
            folder = parity.checkpoint_folder(GOLDEN, name)
            model, processor = parity.load_roborefer(folder, "cpu", dtype)
            opened = parity_cases.Opened(name, model, processor, parity_cases.TOLERANCES[kind])
            assert not failures(parity.check_case(GOLDEN, opened, file))


# --- the command itself ----------------------------------------------------------------


@pytest.fixture
def small_folder(tmp_path: Path) -> Path:
    """One text-only case of one checkpoint."""
    shutil.copytree(GOLDEN / "tiny-2b-style", tmp_path / "tiny-2b-style")
    shutil.copytree(GOLDEN / "inputs", tmp_path / "inputs")
    (tmp_path / "arrays").mkdir()
    shutil.copy(GOLDEN / "arrays/tiny2b__text_only.npz", tmp_path / "arrays")
    shutil.copy(GOLDEN / "meta.json", tmp_path)
    return tmp_path


def test_command_passes_and_prints_json(
    small_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert parity.main([str(small_folder), "--json"]) == 0
    reply = json.loads(capsys.readouterr().out)
    assert reply["passed"]
    assert reply["dtype"] == "float32"
    rows = {row["stage"]: row for row in reply["checks"]}
    assert rows["prefill_logits"]["max_difference"] <= rows["prefill_logits"]["tolerance"] == 1e-4


def test_command_fails_over_tolerance(
    small_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = small_folder / "arrays/tiny2b__text_only.npz"
    arrays = dict(np.load(file))
    arrays["prefill_logits"][3, 7] += 2e-4
    np.savez(file, **arrays)
    assert parity.main([str(small_folder)]) == 1
    line = next(s for s in capsys.readouterr().out.splitlines() if "prefill_logits" in s)
    assert line.endswith("OVER")


def test_command_fails_on_a_broken_checkpoint(
    small_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (small_folder / "tiny-2b-style/mm_projector/model.safetensors").unlink()
    assert parity.main([str(small_folder), "--json"]) == 1
    check = json.loads(capsys.readouterr().out)["checks"][0]
    assert (check["stage"], check["max_difference"]) == ("load", None)
    assert "mm_projector" in check["note"]


def test_command_fails_on_a_case_without_its_description(
    small_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (small_folder / "meta.json").write_text('{"tiny2b": {}}')
    assert parity.main([str(small_folder), "--json"]) == 1
    assert "text_only" in json.loads(capsys.readouterr().out)["checks"][0]["note"]


def test_command_refuses_a_folder_without_cases(tmp_path: Path) -> None:
    assert parity.main([str(tmp_path)]) == 2


def test_difference_of_shapes_and_nan() -> None:
    assert parity_cases.difference([1, 2], [1, 2, 3]) == math.inf
    assert not parity.Check("", "", parity_cases.difference([math.nan], [0.0]), 1.0).passed


def test_not_a_number_in_a_later_tile_is_seen(
    small_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (small_folder / "arrays/tiny2b__text_only.npz").unlink()
    name = "arrays/tiny2b__rgbd_1img.npz"
    arrays = dict(np.load(GOLDEN / name))
    last = max(int(k.rpartition("_")[2]) for k in arrays if k.startswith("image_embeds_"))
    assert last > 0
    arrays[f"image_embeds_{last}"] *= np.nan
    np.savez(small_folder / name, **arrays)
    shutil.copytree(GOLDEN / "inputs", small_folder / "inputs", dirs_exist_ok=True)
    assert parity.main([str(small_folder)]) == 1
    lines = [s for s in capsys.readouterr().out.splitlines() if s.endswith("OVER")]
    assert len(lines) == 1
    assert "image_embeds" in lines[0]
