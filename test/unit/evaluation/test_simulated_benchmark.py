# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The simulated benchmark: its layout, its truth in 2D and 3D, and the commands around it."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import cv2
import invented
import numpy as np
import pytest

from roborefer_ros.cli import evaluate, score
from roborefer_ros.cli.score import reader_for
from roborefer_ros.evaluation import simulated
from roborefer_ros.evaluation.depth_sources import benchmark_depth
from roborefer_ros.evaluation.lifted import exact_depth_m, frame_of, lift_answers, summarize_3d
from roborefer_ros.evaluation.official_parsers import (
    parse_absolute_tuples,
    parse_gemini_json,
    parse_relative_tuples,
)
from roborefer_ros.evaluation.questions import (
    Benchmark,
    BenchmarkError,
    BenchmarkQuestion,
    fair_mask,
)
from roborefer_ros.evaluation.readers import open_benchmark
from roborefer_ros.evaluation.report import report_html
from roborefer_ros.evaluation.report_pictures import _BAR_COLOURS
from roborefer_ros.evaluation.results import score_files
from roborefer_ros.evaluation.scoring import AnswerReader, score_answer

pytest.importorskip("open3d")

SIZE = (320, 240)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("simulated") / "bench"
    simulated.make_benchmark(path, 6, size=SIZE, workers=1, show_progress=False)
    return path


@pytest.fixture(scope="module")
def benchmark(folder: Path) -> Benchmark:
    return open_benchmark(folder)


def true_text(question: BenchmarkQuestion) -> str:
    """The answer at the true 3D point, projected here with plain numbers."""
    x, y, z = question.extra["target_position_m"]
    k = question.extra["intrinsics"]
    u, v = k["fx"] * x / z + k["cx"], k["fy"] * y / z + k["cy"]
    return f"[({(u + 0.5) / k['width']:.4f}, {(v + 0.5) / k['height']:.4f})]"


def test_it_is_read_like_refspatial_bench(benchmark: Benchmark) -> None:
    assert benchmark.name == simulated.NAME
    assert benchmark.splits == ("Location", "Placement")
    assert len(benchmark.questions) > 20
    for question in benchmark.questions:
        assert question.rgb().shape == (SIZE[1], SIZE[0], 3)
        assert question.mask_values().shape == (SIZE[1], SIZE[0])
        assert question.step in (1, 2, 3)
        assert question.extra["kind"] in simulated.STEPS


def test_every_kind_of_question_has_its_step() -> None:
    from roborefer_ros.simulation.instructions import KINDS

    assert set(simulated.STEPS) == set(KINDS)


def test_the_3d_truth_lies_on_the_right_region(benchmark: Benchmark) -> None:
    reader = AnswerReader.of("RoboRefer")
    for question in benchmark.questions:
        assert score_answer(question, true_text(question), reader).official.value == 1.0


def test_exact_depth_and_noisy_depth_agree_as_a_d435_does(benchmark: Benchmark) -> None:
    question = benchmark.questions[0]
    noisy, exact = frame_of(question).depth.metres(), exact_depth_m(question)
    both = np.isfinite(noisy) & np.isfinite(exact)
    assert both.mean() > 0.7
    near = both & (exact < 1.5)
    assert 0.0005 < np.std((noisy - exact)[near]) < 0.02


def test_true_answers_are_right_in_space(benchmark: Benchmark) -> None:
    reader = AnswerReader.of("RoboRefer")
    answers = [score_answer(q, true_text(q), reader) for q in benchmark.questions]
    rows = {row.name: row for row in summarize_3d(lift_answers(answers))}
    assert rows["Location"].within[0.01] > 0.9
    assert rows["Location"].median_m < 0.004
    assert rows["all"].count == len(answers)
    assert rows["all"].lifted + sum(rows["all"].errors.values()) == len(answers)


def test_wrong_answers_are_wrong_in_space(benchmark: Benchmark) -> None:
    """A point beside the object is centimetres off, however well it is lifted."""
    reader = AnswerReader.of("RoboRefer")
    question = next(q for q in benchmark.questions if q.extra["kind"] == "named")
    mask = fair_mask(question.mask_values())
    distance = cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, 5)
    readable = np.isfinite(frame_of(question).depth.metres())
    v, u = np.argwhere((distance > 40) & (distance < 60) & readable)[0]
    text = f"[({(u + 0.5) / SIZE[0]:.4f}, {(v + 0.5) / SIZE[1]:.4f})]"
    (spatial,) = lift_answers([score_answer(question, text, reader)])
    assert not spatial.hit
    assert spatial.distance_m is not None
    assert spatial.distance_m > 0.05
    assert spatial.surface_error_m is not None
    assert spatial.surface_error_m < 0.02


def test_no_point_is_not_lifted(benchmark: Benchmark) -> None:
    answers = [score_answer(benchmark.questions[0], "no", AnswerReader.of("RoboRefer"))]
    (spatial,) = lift_answers(answers)
    assert (spatial.distance_m, spatial.error_code, spatial.hit) == (None, None, False)
    assert summarize_3d([spatial])[0].within[0.05] == 0.0


def test_the_same_numbers_give_the_same_files(folder: Path, tmp_path: Path) -> None:
    simulated.make_benchmark(tmp_path / "again", 6, size=SIZE, workers=2, show_progress=False)
    names = sorted(p.relative_to(folder) for p in folder.rglob("*") if p.is_file())
    assert names == sorted(
        p.relative_to(tmp_path / "again") for p in (tmp_path / "again").rglob("*") if p.is_file()
    )
    for name in names:
        assert (folder / name).read_bytes() == (tmp_path / "again" / name).read_bytes(), name


def test_a_folder_that_holds_something_is_left_alone(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert simulated.main(["--benchmark", str(folder), "--scenes", "1"]) == 1
    assert "not empty" in capsys.readouterr().err


@pytest.mark.parametrize("key", ["intrinsics", "depth_path"])
def test_broken_truth(folder: Path, tmp_path: Path, key: str) -> None:
    copy = shutil.copytree(folder, tmp_path / "copy")
    table = json.loads((copy / "Location/question.json").read_text())
    table[0][key] = "image/../../../../etc/passwd"
    (copy / "Location/question.json").write_text(json.dumps(table))
    question = open_benchmark(copy).questions[0]
    with pytest.raises(BenchmarkError):
        frame_of(question)


# --- the commands ----------------------------------------------------------------------


def write_answers(folder: Path, benchmark: Benchmark) -> None:
    """True, doubled, missing and hostile answers in turn."""
    folder.mkdir()
    hostile = "<script>alert('x')</script> {{ 7 * 7 }} $\\frac$ & so on"
    for split in benchmark.splits:
        with (folder / f"{split}.jsonl").open("w") as file:
            for k, question in enumerate(benchmark.of_split(split)):
                texts = (true_text(question), "[(0.011, 0.011)]", hostile, None)
                record = {
                    "question_id": question.question_id,
                    "text": texts[k % 4],
                    "model_id": "<b>RoboRefer</b> & co",
                }
                file.write(json.dumps(record) + "\n")


class Page(HTMLParser):
    """Collects tags, what they refer to, and the text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(scope="module")
def report(folder: Path, benchmark: Benchmark, tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("jinja2")
    answers = tmp_path_factory.mktemp("answers") / "run"
    write_answers(answers, benchmark)
    path = answers / "page" / "report.html"
    assert score.main([str(answers), "--data", str(folder), "--report", str(path)]) == 0
    return path


def test_report_shows_scores_space_and_failures(report: Path, benchmark: Benchmark) -> None:
    page = Page(report.read_text(encoding="utf-8"))
    count = len(benchmark.questions)
    assert f"{count} of {count} questions answered" in page.text
    assert "Worst failures" in page.text
    assert "In space" in page.text
    pictures = [a["src"] for tag, a in page.tags if tag == "img"]
    assert len(pictures) > 6
    assert {str(src).partition(";")[0] for src in pictures} == {
        "data:image/svg+xml",
        "data:image/jpeg",
    }


def test_report_tells_the_distance_of_failures_and_how_it_was_asked(
    folder: Path, benchmark: Benchmark, tmp_path: Path
) -> None:
    pytest.importorskip("jinja2")
    out, question = tmp_path / "out", benchmark.of_split("Location")[0]
    out.mkdir()
    wrong = np.argwhere(~fair_mask(question.mask_values()) & np.isfinite(exact_depth_m(question)))
    v, u = wrong[len(wrong) // 2]
    text = "so " * 200 + f"[({(u + 0.5) / SIZE[0]:.4f}, {(v + 0.5) / SIZE[1]:.4f})]"
    record = {"question_id": question.question_id, "text": text, "model_id": "m"}
    (out / "Location.jsonl").write_text(json.dumps(record) + "\n")
    (out / "run.json").write_text('{"model_id": "m", "depth": "<none>", "benchmark": "b"}')
    reader = AnswerReader.of("RoboRefer")
    results = score_files(benchmark, [out / "Location.jsonl"], reader, "m")
    page = Page(report_html(results)).text
    assert results.spatial[0].distance_m is not None
    away = f"{1000 * results.spatial[0].distance_m:.1f} mm"
    assert f"official 0.00 %; {away} away in space" in page
    assert away in page.partition("This run")[0]  # among the figures at the top
    assert "Asked with depth <none>." in page
    assert text[-60:] in page
    assert text not in page


def test_report_tells_what_could_not_be_lifted(benchmark: Benchmark, tmp_path: Path) -> None:
    """A pixel without any depth around it: the failure's caption names the error."""
    pytest.importorskip("jinja2")
    reader = AnswerReader.of("RoboRefer")
    for question in benchmark.questions:
        v, u = np.argwhere(~np.isfinite(frame_of(question).depth.metres()))[0]
        text = f"[({(u + 0.5) / SIZE[0]:.4f}, {(v + 0.5) / SIZE[1]:.4f})]"
        answer = score_answer(question, text, reader)
        (spatial,) = lift_answers([answer])
        if spatial.error_code:
            break
    record = {"question_id": question.question_id, "text": text}
    (tmp_path / f"{question.split}.jsonl").write_text(json.dumps(record))
    results = score_files(benchmark, [tmp_path / f"{question.split}.jsonl"], reader, "m")
    page = Page(report_html(results)).text
    assert re.search(rf"official 0\.00 %; not lifted \({spatial.error_code} \w+Error\)", page)


def test_many_groups_are_drawn_by_one_scorer(report: Path, benchmark: Benchmark) -> None:
    """Fourteen kinds of questions times four scorers would be a fence, not a chart."""
    charts = [
        base64.b64decode(str(a["src"]).partition(",")[2]).decode()
        for tag, a in Page(report.read_text(encoding="utf-8")).tags
        if str(a.get("src", "")).startswith("data:image/svg")
    ]
    kinds = {q.extra["kind"] for q in benchmark.questions}
    assert len(kinds) > 8
    assert [_BAR_COLOURS[3] in chart for chart in charts] == [True, True, False]
    assert all(_BAR_COLOURS[0] in chart for chart in charts)


def test_published_results_stand_beside_a_run(tmp_path: Path) -> None:
    pytest.importorskip("jinja2")
    bench = open_benchmark(invented.refspatial(tmp_path / "b", {"Location": 2, "Unseen": 2}))
    for split in bench.splits:
        line = json.dumps({"question_id": 0, "text": "(0.600, 0.400)", "model_id": "RoboRefer-x"})
        (tmp_path / f"{split}.jsonl").write_text(line + "\n")
    files = [tmp_path / "Location.jsonl", tmp_path / "Unseen.jsonl"]
    results = score_files(bench, files, AnswerReader.of("RoboRefer"), "RoboRefer-x")
    text = " ".join(Page(report_html(results)).text.split())
    assert "Against published results" in text
    assert "RoboRefer-x100.00100.00this run" in text
    assert "RoboRefer-2B-SFT, released weights, RGB-D50.0042.86" in text


def test_a_reader_that_closes_the_pipe_is_no_error(
    folder: Path, benchmark: Benchmark, tmp_path: Path
) -> None:
    """``roborefer score ... | head -1``"""
    write_answers(tmp_path / "run", benchmark)
    command = [sys.executable, "-m", "roborefer_ros.cli.score", str(tmp_path / "run"),
               "--data", str(folder)]  # fmt: skip
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True,
                              timeout=100)  # fmt: skip
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (0, "")


def test_report_loads_nothing_and_runs_nothing(report: Path) -> None:
    page = Page(report.read_text(encoding="utf-8"))
    assert "script" not in {tag for tag, _ in page.tags}
    for _, attributes in page.tags:
        assert not any(name.startswith("on") for name in attributes)
        for name in ("src", "href"):
            assert str(attributes.get(name, "data:")).startswith("data:")
    assert "<script>alert('x')</script> {{ 7 * 7 }}" in page.text
    assert "<b>RoboRefer</b> & co" in page.text


#: ``make test`` installs Debian's, see scripts/setup_environment.py
CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-headless-shell", "google-chrome"))), None
)


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium; on Debian: apt-get install chromium")
def test_report_in_a_browser(report: Path, tmp_path: Path) -> None:
    """A real browser draws it: the page is tall, and the failures' masks are green on it."""
    shot = tmp_path / "report.png"
    command = [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
               "--window-size=1240,4600", f"--user-data-dir={tmp_path / 'profile'}",
               f"--screenshot={shot}", report.as_uri()]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True, timeout=110)
    picture = cv2.imread(str(shot))
    assert picture is not None
    green = (np.abs(picture.astype(int) - (90, 200, 40)) < 12).all(-1)
    red = (np.abs(picture.astype(int) - (40, 40, 235)) < 12).all(-1)
    assert green.sum() > 500
    assert red.sum() > 100


def test_score_prints_what_programs_read(
    folder: Path, benchmark: Benchmark, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_answers(tmp_path / "run", benchmark)
    assert score.main([str(tmp_path / "run"), "--data", str(folder), "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    location = content["groups"]["split"][0]
    asked = len(benchmark.of_split("Location"))
    dropped = len(range(3, asked, 4))
    assert location["dropped"] == dropped
    right = len(range(0, asked, 4))
    assert location["scores"]["official"]["value"] == pytest.approx(right / (asked - dropped))
    assert content["spatial"][0]["name"] == "all"
    arguments = [str(tmp_path / "run"), "--data", str(folder), "--scorer", "official"]
    assert score.main(arguments) == 0
    out = capsys.readouterr().out
    assert f"Location: accuracy {right / (asked - dropped):.4f}, evaluated {asked - dropped}" in out
    assert "strict" not in out


def test_evaluate_from_end_to_end(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    command = ["--model", "echo:", "--data", str(folder), "--out", str(out), "--splits",
               "placement", "--limit", "3"]  # fmt: skip
    assert evaluate.main(command) == 0
    assert "3 asked" in capsys.readouterr().err
    assert evaluate.main(command) == 0
    assert "0 asked" in capsys.readouterr().err
    assert {p.name for p in out.iterdir()} == {
        "Placement.jsonl",
        "run.json",
        "summary.json",
        "report.html",
    }
    summary = json.loads((out / "summary.json").read_text())
    assert (summary["answered"], summary["benchmark"]) == (3, simulated.NAME)
    assert re.search(r"<td>echo:</td>", (out / "report.html").read_text())


@pytest.mark.parametrize(
    ("change", "message", "status"),
    [
        ({"--data": "/nowhere"}, "no folder", 2),
        ({"--model": "nonesuch:x"}, "nonesuch", 2),
        ({"--splits": "elsewhere"}, "no split", 1),
        ({"--family": "nonesuch"}, "no model family", 1),
    ],
)
def test_evaluate_says_what_is_wrong(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], change: dict[str, str],
    message: str, status: int,
) -> None:  # fmt: skip
    options = {"--model": "echo:", "--data": str(folder), "--out": str(tmp_path / "out")} | change
    assert evaluate.main([part for pair in options.items() for part in pair]) == status
    assert message in capsys.readouterr().err


def test_the_models_depth_is_the_benchmarks(benchmark: Benchmark) -> None:
    question = benchmark.questions[0]
    picture: Any = benchmark_depth(question, question.rgb())
    assert picture.shape == (SIZE[1], SIZE[0])
    exact = exact_depth_m(question)
    near, far = exact < np.nanpercentile(exact, 20), exact > np.nanpercentile(exact, 80)
    assert picture[near].mean() > picture[far].mean() + 60  # near is bright


@pytest.mark.parametrize(
    ("spec", "family"),
    [
        ("roborefer:demo", "tuples"),
        ("roborefer-http://localhost:25547", "tuples"),
        ("openai://localhost:8000/v1?model=Qwen/Qwen3-VL-8B-Instruct", "qwen3-vl"),
        ("openai://localhost:8000/v1?model=x&family=gemini", "gemini"),
        ("transformers:/data/Molmo-7B-D", "molmo"),
        ("transformers:/data/unheard-of", "tuples"),
    ],
)
def test_family_of_a_spec(spec: str, family: str) -> None:
    assert reader_for("", spec).family.name == family


@pytest.mark.parametrize(
    ("name", "family", "parser"),
    [
        ("QwenVLMax", "qwen2.5-vl", parse_absolute_tuples),
        ("RoboBrain", "robobrain2.0", parse_absolute_tuples),
        ("GPT4O", "tuples", parse_relative_tuples),
        ("My-Claude", "tuples", parse_relative_tuples),
        ("Gemini25Pro", "gemini", parse_gemini_json),
        ("roborefer:/models/Qwen-trained", "tuples", parse_relative_tuples),
        ("unheard-of", "tuples", parse_relative_tuples),
    ],
)
def test_family_of_a_name(name: str, family: str, parser: object) -> None:
    """Names that only the published scorer knows are read as it reads them."""
    reader = reader_for("", name)
    assert (reader.family.name, reader.official) == (family, parser)
    if ":" not in name and name != "unheard-of":
        assert reader_for(name, "") == reader
