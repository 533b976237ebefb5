# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""``roborefer verify``: wrong checkpoints are told apart, wrong computations and answers are seen.

No published weights are at hand: checkpoints are miniatures of random weights, answers scripted.
"""

from __future__ import annotations

import filecmp
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from roborefer_ros.cli.verify import main
from roborefer_ros.errors import CheckpointInvalidError, ModelFailedError
from roborefer_ros.inference.model import Completion, Outcome, Request
from roborefer_ros.pointing.prompts import POINT_SUFFIX
from roborefer_ros.verify import golden_case
from roborefer_ros.verify.example_pictures import ask_examples, first_point
from roborefer_ros.verify.golden_case import GoldenCheck, check_device
from roborefer_ros.verify.identity import Identity, identify
from roborefer_ros.verify.published_numbers import compare
from roborefer_ros.verify.verdict import Verdict

DATA = Path(__file__).resolve().parents[2] / "data"
GOLDEN = DATA / "golden"
DEPTH = f"{DATA}/depth_anything/tiny.pth?input_size=56"


@pytest.fixture
def copy_of(tmp_path: Path) -> Callable[[str], Path]:
    """A writable copy of a golden checkpoint, by the mode: ``2b`` or ``8b``."""
    return lambda mode: Path(
        shutil.copytree(GOLDEN / f"tiny-{mode}-style", tmp_path / f"copy-{mode}")
    )


def edit(path: Path, **values: Any) -> None:
    content = json.loads(path.read_text())
    content.update(values)
    path.write_text(json.dumps(content))


def copy_part(folder: Path, source: str, target: str) -> None:
    shutil.copy(folder / source / "model.safetensors", folder / target / "model.safetensors")


# --- what a checkpoint is ----------------------------------------------------------------


@pytest.mark.parametrize(("mode", "aspect"), [("2b", "dynamic"), ("8b", "dynamic_s2")])
def test_a_fine_tuned_checkpoint_with_depth(mode: str, aspect: str) -> None:
    found = identify(GOLDEN / f"tiny-{mode}-style")
    assert (found.mode, found.stage, found.problems) == (aspect, "SFT", ())
    assert found.is_sft
    assert found.stored == ("BF16",)
    assert found.weights > 300_000


@pytest.mark.parametrize("mode", ["2b", "8b"])
def test_a_base_whose_depth_branch_is_a_copy(copy_of: Callable[[str], Path], mode: str) -> None:
    folder = copy_of(mode)
    copy_part(folder, "vision_tower", "depth_tower")
    copy_part(folder, "mm_projector", "depth_projector")
    found = identify(folder)
    assert found.stage == "base"
    assert not found.is_sft
    assert "learned nothing about depth or pointing" in found.describe()


def test_depth_alignment_alone(copy_of: Callable[[str], Path]) -> None:
    folder = copy_of("2b")
    copy_part(folder, "vision_tower", "depth_tower")
    assert identify(folder).stage == "depth alignment"


def test_a_copy_in_another_type_is_a_copy(copy_of: Callable[[str], Path]) -> None:
    folder = copy_of("2b")
    for source, target in (("vision_tower", "depth_tower"), ("mm_projector", "depth_projector")):
        weights = load_file(folder / source / "model.safetensors")
        other = {name: value.float() for name, value in weights.items()}
        save_file(other, folder / target / "model.safetensors", metadata={"format": "pt"})
    assert identify(folder).stage == "base"


@pytest.mark.parametrize("how", ["flag", "parts"])
def test_rgb_where_depth_is_expected(copy_of: Callable[[str], Path], how: str) -> None:
    folder = copy_of("2b")
    if how == "flag":
        edit(folder / "config.json", enable_depth=False)
    else:
        content = json.loads((folder / "config.json").read_text())
        for key in ("depth_tower_cfg", "depth_projector_cfg", "enable_depth", "use_depth_tower"):
            content.pop(key, None)
        (folder / "config.json").write_text(json.dumps(content))
    assert identify(folder).stage == "RGB only"


@pytest.mark.parametrize(
    ("has", "says"), [("2b", "8b"), ("8b", "2b")], ids=["8B config", "2B config"]
)
def test_the_top_configuration_of_the_other_size(
    copy_of: Callable[[str], Path], has: str, says: str
) -> None:
    folder = copy_of(has)
    shutil.copy(GOLDEN / f"tiny-{says}-style/config.json", folder / "config.json")
    (problem, *_) = identify(folder).problems
    assert "the top config.json belongs to the other size" in problem
    assert f"the {has.upper()} model's" in problem


def test_the_language_model_of_the_other_size(copy_of: Callable[[str], Path]) -> None:
    """What an 8B configuration beside 2B weights looks like: its width is named."""
    folder = copy_of("2b")
    edit(folder / "llm/config.json", hidden_size=3584, num_attention_heads=28)
    problems = identify(folder).problems
    assert "describes the 8B model (hidden size 3584)" in problems[0]
    assert "hidden size 64" in problems[0]
    assert any("mm_projector makes rows for hidden size 64" in p for p in problems)


def test_layers_that_are_missing(copy_of: Callable[[str], Path]) -> None:
    folder = copy_of("2b")
    edit(folder / "llm/config.json", num_hidden_layers=28)
    assert "llm/ holds 3 layers, its config.json asks for 28" in identify(folder).problems[0]


def test_a_broken_file_is_an_error(copy_of: Callable[[str], Path]) -> None:
    folder = copy_of("2b")
    (folder / "mm_projector/model.safetensors").write_bytes(b"no weights")
    with pytest.raises(CheckpointInvalidError):
        identify(folder)


# --- whether it computes right -----------------------------------------------------------


def test_the_packaged_case_is_the_golden_one() -> None:
    own = golden_case.FOLDER
    files = [p.relative_to(own / "checkpoint") for p in (own / "checkpoint").rglob("*.*")]
    names = [str(name) for name in files]
    same, other, errors = filecmp.cmpfiles(
        GOLDEN / "tiny-2b-style", own / "checkpoint", names, shallow=False
    )
    assert (sorted(same), other, errors) == (sorted(names), [], [])
    for name in ("rgb1.png", "dep1.png"):
        assert (own / name).read_bytes() == (GOLDEN / "inputs" / name).read_bytes()
    arrays, whole = np.load(own / "case.npz"), np.load(GOLDEN / "arrays/tiny2b__rgbd_1img.npz")
    assert (arrays["step_logits"] == whole["step_logits"]).all()
    assert (arrays["output_ids"] == whole["output_ids"]).all()
    assert (arrays["last_logits"] == whole["prefill_logits"][-1]).all()
    parts = json.loads((GOLDEN / "meta.json").read_text())["tiny2b"]["rgbd_1img"]["prompt_parts"]
    assert json.loads((own / "prompt.json").read_text()) == parts[-1]


def test_this_machine_computes_the_golden_case() -> None:
    checks = check_device("cpu")
    assert [c.dtype for c in checks] == ["float32", "float16", "bfloat16"]
    assert [c.describe() for c in checks if not c.passed] == []


@pytest.mark.gpu
def test_the_gpu_computes_the_golden_case() -> None:
    assert [c.describe() for c in check_device("cuda") if not c.passed] == []


def test_another_computation_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Path(shutil.copytree(golden_case.FOLDER, tmp_path / "golden"))
    path = folder / "checkpoint/depth_projector/model.safetensors"
    weights = load_file(path)
    name = max(weights, key=lambda key: weights[key].numel())
    weights[name] = (1.1 * weights[name].float()).to(torch.bfloat16)
    save_file(weights, path, metadata={"format": "pt"})
    monkeypatch.setattr(golden_case, "FOLDER", folder)
    exact = check_device("cpu")[0]
    assert not exact.passed
    assert exact.difference > 1e-3


# --- what it answers ---------------------------------------------------------------------


class Scripted:
    """A model that answers the example pictures from a table: instruction -> text."""

    name, uses_depth, can_sample, max_batch = "scripted", True, False, 1

    def __init__(self, answers: dict[str, str]) -> None:
        self.answers = answers
        self.seen: list[Request] = []

    def complete(self, requests: Sequence[Request]) -> Iterator[tuple[int, Outcome]]:
        for index, request in enumerate(requests):
            self.seen.append(request)
            instruction = request.prompt.removesuffix(f" {POINT_SUFFIX}")
            if instruction in self.answers:
                yield index, Completion(self.answers[instruction])
            else:
                yield index, ModelFailedError("the model failed")

    def close(self) -> None:
        pass


def published_answers(shift: float = 0.0) -> dict[str, str]:
    entries = json.loads((golden_case.FOLDER.parent / "examples/examples.json").read_text())
    return {
        e["instruction"]: f"[({e['point'][0] + shift:.3f}, {e['point'][1]:.3f})]" for e in entries
    }


def test_published_points_are_near_and_others_are_not() -> None:
    model = Scripted(published_answers(0.02))
    shown: list[tuple[int, ...]] = []

    def depth(rgb: Any) -> Any:
        shown.append(rgb.shape)
        return rgb[..., 0].copy()

    results = ask_examples(model, depth)
    assert [r.is_near for r in results] == [True] * 4
    assert results[0].distance == pytest.approx(0.02, abs=1e-6)
    assert shown == [(332, 486, 3), (900, 1600, 3)]  # once a picture
    assert all(len(r.images) == len(r.depths) == 1 for r in model.seen)
    assert not any(r.is_near for r in ask_examples(Scripted(published_answers(0.1))))


def test_answers_without_points_and_errors_are_told() -> None:
    answers = published_answers()
    first, second, *_ = answers
    answers[first] = "I see an apple | and <b>a cup</b>\n" * 9
    del answers[second]
    results = ask_examples(Scripted(answers))
    assert [r.point is None for r in results] == [True, True, False, False]
    assert results[1].answer.startswith("error 2543")
    text = Verdict("m", "machine", examples=results, depth="RGB alone").text()
    assert "2 of 4 example pictures are answered elsewhere than published, 2 without" in text
    (row,) = (line for line in text.splitlines() if "I see an apple" in line)
    assert row.count("|") == 6  # the answer ends no cell


@pytest.mark.parametrize(
    ("answer", "point"),
    [
        ("[(0.4, 0.5)]", (0.4, 0.5)),
        ("[(1.4, 0.5), (0.2, 0.3)]", (0.2, 0.3)),
        ("The mug is on the table.", None),
        ("", None),
    ],
)
def test_the_first_point_inside_the_image_counts(
    answer: str, point: tuple[float, float] | None
) -> None:
    assert first_point(answer) == point


# --- the verdict -------------------------------------------------------------------------


def sft() -> Identity:
    return Identity(Path("x"), "2B", "dynamic", "SFT", ("BF16",), 10)


def summary(location: float, low: float, high: float) -> dict[str, Any]:
    score = {"value": location, "low": low, "high": high}
    row = {"name": "Location", "count": 100, "scores": {"official": score}}
    return {"benchmark": "RefSpatial-Bench", "groups": {"split": [row]}}


def test_a_right_checkpoint_is_accepted() -> None:
    verdict = Verdict(
        *("Zhoues/RoboRefer-2B-SFT", "machine"),
        identity=sft(),
        golden=[GoldenCheck("float32", 1e-5, 1e-4, True, True)],
        examples=ask_examples(Scripted(published_answers())),
        depth="depth by large",
        benchmark="RefSpatial-Bench",
        splits=compare(summary(0.49, 0.39, 0.59), "2B"),
    )
    assert verdict.is_accepted
    text = verdict.text()
    assert text.endswith("**Verdict: accepted.**")
    assert "| Location | 49.0 | 39.0 to 59.0 | 100 | 50.0 RoboRefer-2B-SFT, released" in text


def test_numbers_far_from_the_published_ones_are_told() -> None:
    (split,) = compare(summary(0.22, 0.14, 0.31), "2B")
    assert not split.agrees
    verdict = Verdict("m", "machine", sft(), benchmark="RefSpatial-Bench", splits=[split])
    assert "RefSpatial-Bench Location: 22.0 %, published 50.0 or 51.0 or 47.0" in verdict.text()
    assert compare(summary(0.22, 0.14, 0.31), "no published size")[0].agrees


def test_each_reason_is_named() -> None:
    wrong = Identity(Path("x"), "2B", "dynamic", "base", ("BF16",), 10)
    check = GoldenCheck("float32", 0.3, 1e-4, True, False)
    reasons = Verdict("m", "machine", wrong, [check], failures=["error 2541: x"]).reasons
    assert reasons[0] == "error 2541: x"
    assert "not RoboRefer's SFT weights (base)" in reasons
    assert any("float32: logits within 3.0e-01" in reason for reason in reasons)


# --- the command -------------------------------------------------------------------------


def test_the_command_reports_a_checkpoint_that_cannot_point(
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = str(GOLDEN / "tiny-2b-style")
    arguments = [folder, "--device", "cpu", "--depth-network", DEPTH]
    assert main(arguments) == 1
    text = capsys.readouterr().out
    assert "computes what the reference computes: yes" in text
    assert f"depth by {DEPTH}" in text
    assert "**Verdict: not accepted.** 4 of 4 example pictures" in text
    assert main([*arguments, "--json"]) == 1
    content = json.loads(capsys.readouterr().out)
    assert content["checkpoint"]["stage"] == "SFT"
    assert [c["passed"] for c in content["golden"]] == [True] * 3
    assert len(content["examples"]) == 4
    assert not content["accepted"]


def test_the_command_says_which_files_do_not_belong_together(
    copy_of: Callable[[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = copy_of("2b")
    edit(folder / "llm/config.json", hidden_size=3584, num_attention_heads=28)
    assert main([str(folder), "--device", "cpu"]) == 1
    text = capsys.readouterr().out
    assert "describes the 8B model (hidden size 3584)" in text
    assert "example pictures" not in text  # nothing could be asked


def test_the_command_compares_a_benchmark(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import sys

    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "evaluation"))
    try:
        from invented import refspatial
    finally:
        sys.path.pop(0)
    data = refspatial(tmp_path / "RefSpatial-Bench", {"Location": 3, "Placement": 2})
    arguments = [str(GOLDEN / "tiny-2b-style"), "--device", "cpu", "--depth-network", "none"]
    assert main([*arguments, "--data", str(data), "--out", str(tmp_path / "out"), "--json"]) == 1
    content = json.loads(capsys.readouterr().out)
    assert content["benchmark"] == "RefSpatial-Bench"
    assert {s["split"]: s["count"] for s in content["splits"]} == {"Location": 3, "Placement": 2}
    assert content["depth"] == "RGB alone"


@pytest.mark.parametrize(
    "arguments",
    [
        ["/nowhere/at/all"],
        [str(GOLDEN / "tiny-2b-style"), "--data", "/nowhere"],
        [str(GOLDEN / "tiny-2b-style"), "--depth-network", "gigantic"],
    ],
)
def test_arguments_that_are_not_usable_are_one_line(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*arguments, "--device", "cpu"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert len([line for line in err.splitlines() if line.startswith("roborefer verify:")]) == 1
