# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Evaluations during a run: they tell what the network can do, and change nothing."""

from __future__ import annotations

import html.parser
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from own_rows import POINT, own_benchmark, own_rows
from sft_golden import GOLDEN

from roborefer_ros.cli.score import main as score
from roborefer_ros.cli.sft import main
from roborefer_ros.evaluation.scoring import AnswerReader, score_answer
from roborefer_ros.models.roborefer.checkpoint import load_roborefer
from roborefer_ros.training.data.dataset import MixtureDataset, ReadOptions
from roborefer_ros.training.data.held_out import held_out_samples, is_held_out, scene_of
from roborefer_ros.training.data.mixtures import Part
from roborefer_ros.training.data.registry import own_dataset
from roborefer_ros.training.sft.averaging import WeightAverage
from roborefer_ros.training.sft.questions import held_out_set

pytestmark = pytest.mark.timeout(900)

STEPS = 60
COMMAND = [
    *("--recipe", "tiny", "--model", str(GOLDEN / "tiny-2b-style"), "--device", "cpu"),
    *("--held-out", "0.3", "--max-steps", str(STEPS), "--global-batch", "2", "--epochs", "99"),
]


def log_of(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


def evaluations(run: Path) -> dict[int, dict[str, float]]:
    return {e["step"]: e["evaluation"] for e in log_of(run) if "evaluation" in e}


def losses(run: Path) -> list[float]:
    return [entry["loss"] for entry in log_of(run) if "loss" in entry]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("rows")
    return [*own_rows(folder), "--index-dir", str(folder / "index")]


@pytest.fixture(scope="module")
def evaluated(data: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that is evaluated before, in between and at its end."""
    folder = tmp_path_factory.mktemp("evaluated")
    benchmark = own_benchmark(folder / "bench")
    more = ["--benchmark", str(benchmark), "--eval-every", "30", "--eval-first", "true"]
    assert main([*COMMAND, *data, *more, "--output", str(folder / "run")]) == 0
    return folder / "run"


def test_accuracy_on_held_out_rows_and_benchmark_rises_while_the_answer_is_learned(
    evaluated: Path,
) -> None:
    found = evaluations(evaluated)
    assert list(found) == [0, 30, STEPS]
    assert found[0]["held_out/accuracy"] == found[0]["benchmark/accuracy"] == 0.0
    last = found[STEPS]
    assert last["held_out/accuracy"] > 0.5
    assert last["held_out/accuracy/point"] == 1.0
    assert 0.0 < last["benchmark/accuracy"] <= 0.75  # the last question's region is elsewhere
    assert last["held_out/error_px"] == pytest.approx(0.0, abs=1e-6)
    assert last["held_out/loss"] < 0.1 < found[0]["held_out/loss"]


def test_the_best_checkpoint_is_kept_and_answers(evaluated: Path) -> None:
    best = [e["step"] for e in log_of(evaluated) if e.get("is_best")]
    assert best[0] == 0
    assert len(best) > 1
    model, _ = load_roborefer(evaluated / "best", keep_unused=True)
    assert model.is_complete
    meta = json.loads((evaluated / f"state/step-{STEPS:06d}/meta.json").read_text())
    assert meta["best"][0] == best[-1]


def test_the_answers_are_those_of_the_evaluation_command(
    evaluated: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    answers = evaluated / f"evaluation/step-{STEPS:06d}/benchmark"
    assert score([str(answers), "--data", str(evaluated.parent / "bench"), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    value = told["groups"]["all"][0]["scores"]["strict"]["value"]
    assert value == evaluations(evaluated)[STEPS]["benchmark/accuracy"]


def test_an_evaluation_changes_no_bit_of_the_training(
    evaluated: Path, data: list[str], tmp_path: Path
) -> None:
    assert main([*COMMAND, *data, "--output", str(tmp_path / "run"), "--eval-samples", "1"]) == 0
    assert losses(tmp_path / "run") == losses(evaluated)
    # with adapters, whose dropout draws random numbers
    lora = ["--lora-rank", "2", "--max-steps", "8"]
    more = ["--eval-every", "3", "--workers", "1"]
    for name, own in (("lora", [*lora, "--workers", "1"]), ("lora-evaluated", [*lora, *more])):
        assert main([*COMMAND, *data, *own, "--output", str(tmp_path / name)]) == 0
    assert losses(tmp_path / "lora") == losses(tmp_path / "lora-evaluated")


def test_the_page_holds_curves_tables_and_answers_and_loads_nothing(evaluated: Path) -> None:
    page = (evaluated / "report.html").read_text()
    seen: list[tuple[str, dict[str, str | None]]] = []

    class Reader(html.parser.HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            seen.append((tag, dict(attrs)))

    Reader().feed(page)
    sources = [attributes["src"] or "" for tag, attributes in seen if tag == "img"]
    charts = [source for source in sources if source.startswith("data:image/svg+xml")]
    assert len(charts) >= 7
    assert len(sources) > len(charts)
    assert all(source.startswith("data:") for source in sources)
    assert not {tag for tag, _ in seen} & {"script", "link", "iframe", "object"}
    for text in ("before", f"step {STEPS}", "learning_rate: 0.001", "[(0.412, 0.655)"):
        assert text in page


def test_the_page_is_made_anew_and_of_a_run_that_goes_on(
    evaluated: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run").mkdir()
    half = (evaluated / "log.jsonl").read_text().splitlines()[:20]
    (tmp_path / "run/log.jsonl").write_text("\n".join(half) + '\n{"step": 1')
    assert main(["report", str(tmp_path / "run"), "--out", str(tmp_path / "p.html")]) == 0
    assert "data:image/svg+xml" in (tmp_path / "p.html").read_text()
    assert main(["report", str(tmp_path)]) == 2
    assert "it has no log.jsonl" in capsys.readouterr().err


def test_what_cannot_be_evaluated_names_the_value(
    data: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = ["--output", str(tmp_path / "run")]
    for more, said in (
        (["--held-out", "0", "--eval-every", "5"], "Set held_out, eval_mixture or benchmark"),
        (["--held-out", "0.00001"], "held_out 1e-05 holds none of the 12 samples out"),
        (["--held-out", "0.999999"], "holds all 12 samples out"),
        (["--benchmark", str(tmp_path / "nowhere")], "nowhere"),
        (["--report-to", "tensorbord"], "did you mean tensorboard"),
    ):
        assert main([*COMMAND, *data, *out, *more]) == 2, said
        assert said in capsys.readouterr().err


def test_pictures_are_held_out_by_what_they_show() -> None:
    assert scene_of("a/42898849_123_wide_image.png") == "42898849"
    assert scene_of("42898849124_wide_image.png") == "42898849"
    assert scene_of("42898849_125_image_with_bbox_3.png") == "42898849"
    assert scene_of("00ff00ff00ff00ff.jpg") == "00ff00ff00ff00ff"
    assert scene_of("scene_0012.jpg") == "scene_0012"


def test_no_held_out_picture_is_trained_on(tmp_path: Path) -> None:
    own_rows(tmp_path, 40)
    spec = own_dataset(tmp_path / "rows.json", tmp_path / "images", tmp_path / "depth")
    data = MixtureDataset([Part(spec)], ReadOptions(held_out=0.3))
    trained = {data[number].sample.row.images for number in range(len(data))}
    held_out = held_out_samples(data, 0.3, 100, 0)
    kept = {sample.row.images for sample in held_out}
    assert 4 <= len(kept) <= 20
    assert not kept & trained
    assert len(kept | trained) == 40
    # the same pictures whatever else there is, and whoever asks
    assert all(is_held_out(sample.row, 0.3) for sample in held_out)
    assert [s.row.id for s in held_out] == [s.row.id for s in held_out_samples(data, 0.3, 100, 0)]


def test_wandb_gets_the_curves_where_it_is_asked_for(
    data: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    more = ["--report-to", "wandb,tensorboard", "--max-steps", "2", "--output"]
    assert main([*COMMAND, *data, *more, str(tmp_path / "run")]) == 0
    (kept,) = (tmp_path / "run/wandb").glob("offline-run-*/run-*.wandb")
    content = kept.read_bytes()
    assert b"gradient_norm" in content
    assert b"held_out/accuracy" in content
    assert list((tmp_path / "run/tensorboard").glob("events.*"))


def test_the_average_of_the_weights_is_what_is_exported(data: list[str], tmp_path: Path) -> None:
    more = ["--average-decay", "0.5", "--max-steps", "3", "--output", str(tmp_path / "run")]
    assert main([*COMMAND, *data, *more]) == 0
    assert main([*COMMAND, *data, *more[2:-1], str(tmp_path / "plain")]) == 0
    assert losses(tmp_path / "run") == losses(tmp_path / "plain")
    averaged, plain = (
        load_roborefer(tmp_path / name / "export")[0].mm_projector.layers[2].weight
        for name in ("run", "plain")
    )
    assert not torch.equal(averaged, plain)


def test_an_average_weighs_every_step_and_leaves_the_weights() -> None:
    layer = torch.nn.Linear(2, 1, bias=False)
    average = WeightAverage(layer, 0.75)
    for value in (1.0, 5.0, 9.0):
        layer.weight.data.fill_(value)
        average.update()
    wanted = 0.75 * (0.75 * 1.0 + 0.25 * 5.0) + 0.25 * 9.0
    with average.in_place():
        assert layer.weight.tolist() == [[wanted, wanted]]
    assert layer.weight.tolist() == [[9.0, 9.0]]
    assert math.isclose(float(average.state()["count"]), 3.0)


def test_points_choices_and_what_is_not_there_are_asked_and_free_text_is_not(
    tmp_path: Path,
) -> None:
    own_rows(tmp_path, 1)
    answers = [POINT, "[]", "(B) no", "Yes, it is.", "About 2 meters."]
    turns = [
        {"from": speaker, "value": text}
        for number, answer in enumerate(answers)
        for speaker, text in (("human", f"Question {number}?"), ("gpt", answer))
    ]
    row = {"id": "0", "image": "scene_0.png", "depth": "scene_0.png", "conversations": turns}
    (tmp_path / "rows.json").write_text(json.dumps([row]))
    spec = own_dataset(tmp_path / "rows.json", tmp_path / "images", tmp_path / "depth")
    samples = held_out_samples(MixtureDataset([Part(spec)]), 1.0, 9, 0)
    asked = held_out_set(samples, 9)
    assert asked is not None
    questions = asked.benchmark.questions
    assert [q.extra["kind"] for q in questions] == ["point", "absent", "choice", "yes-no"]
    reader = AnswerReader.of("RoboRefer")
    right = [score_answer(q, a, reader).strict for q, a in zip(questions, answers, strict=False)]
    wrong = [score_answer(q, "[(0.9, 0.1)]", reader).strict for q in questions]
    assert right == [1.0] * 4
    assert wrong == [0.0] * 4
    depth = asked.depth(questions[0], questions[0].rgb())
    assert depth is not None
    assert depth.shape == (40, 60, 3)
