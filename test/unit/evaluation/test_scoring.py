# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Scores of whole runs: variants, groups, intervals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import invented
import numpy as np
import pytest

from roborefer_ros.evaluation.official import Outcome
from roborefer_ros.evaluation.questions import Benchmark, BenchmarkError
from roborefer_ros.evaluation.readers import open_benchmark
from roborefer_ros.evaluation.results import Results, score_files, text_table
from roborefer_ros.evaluation.scoring import AnswerReader, AnswerScores, in_polygon, score_answer
from roborefer_ros.evaluation.statistics import summarize

ROBOREFER = AnswerReader.of("RoboRefer")
HIT, MISS = "(0.600, 0.400)", "(0.100, 0.100)"


@pytest.fixture(scope="module")
def benchmark(tmp_path_factory: pytest.TempPathFactory) -> Benchmark:
    folder = tmp_path_factory.mktemp("scoring") / "bench"
    return open_benchmark(invented.refspatial(folder, {"Location": 12, "Placement": 6}, images=4))


def scores(benchmark: Benchmark, *texts: Any) -> list[AnswerScores]:
    questions = benchmark.of_split("Location")
    return [score_answer(questions[k], text, ROBOREFER) for k, text in enumerate(texts)]


@pytest.mark.parametrize(
    ("text", "official", "strict", "any_point", "predicted"),
    [
        (f"[{HIT}]", 1.0, 1, 1, 1),
        (f"[{MISS}]", 0.0, 0, 0, 1),
        (f"[{HIT}, {MISS}]", 0.5, 1, 1, 2),
        (f"[{MISS}, {HIT}]", 0.5, 0, 1, 2),
        (f"Step 1: the cup {MISS}\n[{HIT}]", 0.5, 1, 1, 1),
        (f"<think>{MISS}</think> [{HIT}]", 0.5, 1, 1, 1),
        (f"[{HIT}, (1.7, 0.2)]", 0.5, 1, 1, 2),
        ("[(1.0, 0.4)]", 0.0, 0, 0, 1),
        ("(40, 20)", 1.0, 0, 0, 0),
        ("[(0.55, 0.3, 0.7, 0.45)]", 1.0, 1, 1, 1),
        ("( 0.6, 0.4 )", 0.0, 1, 1, 1),
        ("no idea", 0.0, 0, 0, 0),
    ],
)
def test_variants(
    benchmark: Benchmark, text: str, official: float, strict: float, any_point: float,
    predicted: int,
) -> None:  # fmt: skip
    (score,) = scores(benchmark, text)
    assert score.official.value == pytest.approx(official)
    assert (score.strict, score.any_point, score.predicted) == (strict, any_point, predicted)
    assert score.unparsable == (predicted == 0)


def test_micro_f1_is_two_tp_over_points_plus_questions(benchmark: Benchmark) -> None:
    answers = scores(benchmark, f"[{HIT}, {HIT}, {MISS}]", f"[{MISS}]", "nothing", f"[{HIT}]")
    row = summarize("all", answers)
    true, false_positive, false_negative = 2, 3, 2
    expected = 2 * true / (2 * true + false_positive + false_negative)
    assert row.scores["micro-f1"].value == pytest.approx(expected)
    assert row.unparsable == pytest.approx(0.25)
    assert row.points_per_answer == pytest.approx(5 / 4)


def test_dropped_answers_leave_the_official_mean_only(benchmark: Benchmark) -> None:
    answers = scores(benchmark, f"[{HIT}]", None, "(0.9, 0.9, 0.1, 0.1)", f"[{MISS}]")
    assert [a.official.outcome for a in answers].count(Outcome.DROPPED) == 2
    row = summarize("all", answers)
    assert row.dropped == 2
    assert row.scores["official"].value == pytest.approx(1 / 2)
    assert row.scores["strict"].value == pytest.approx(1 / 4)


def test_all_dropped_is_nan_and_null(benchmark: Benchmark, tmp_path: Path) -> None:
    results = scored(benchmark, tmp_path, {"Location": [None, None]})
    assert np.isnan(results.groups["all"][0].scores["official"].value)
    content = json.loads(json.dumps(results.as_json(), allow_nan=False))
    assert content["groups"]["all"][0]["scores"]["official"]["value"] is None
    assert " - [-, -]" in text_table(results)


# --- intervals -------------------------------------------------------------------------


def test_the_interval_knows_that_questions_share_pictures(benchmark: Benchmark) -> None:
    """Twelve questions on four pictures, right or wrong together, are four observations."""
    texts = [f"[{HIT if k % 4 < 2 else MISS}]" for k in range(12)]
    clustered = summarize("all", scores(benchmark, *texts)).scores["strict"]
    rng = np.random.default_rng(0)
    values = np.array([1.0, 1.0, 0.0, 0.0])
    means = values[rng.integers(4, size=(20_000, 4))].mean(1)
    assert clustered.value == 0.5
    assert (clustered.low, clustered.high) == pytest.approx(np.percentile(means, (2.5, 97.5)))
    assert clustered.high - clustered.low > 0.7  # 12 independent ones would give about 0.55


def test_all_wrong_is_not_certain(benchmark: Benchmark) -> None:
    none = summarize("all", scores(benchmark, *[MISS] * 12)).scores["official"]
    every = summarize("all", scores(benchmark, *[HIT] * 12)).scores["official"]
    assert (none.value, none.low) == (0.0, 0.0)
    assert none.high == pytest.approx(0.6024, abs=1e-4)  # Clopper and Pearson for 0 of 4
    assert (every.value, every.high) == (1.0, 1.0)
    assert every.low == pytest.approx(1 - 0.6024, abs=1e-4)


# --- files -----------------------------------------------------------------------------


def scored(benchmark: Benchmark, folder: Path, texts: dict[str, list[Any]]) -> Results:
    files = []
    for split, answers in texts.items():
        files.append(folder / f"{split}.jsonl")
        lines = [json.dumps({"question_id": k, "text": t}) for k, t in enumerate(answers)]
        files[-1].write_text("\n".join(lines) + "\n")
    return score_files(benchmark, files, ROBOREFER, "RoboRefer-test")


def test_groups(benchmark: Benchmark, tmp_path: Path) -> None:
    texts = {"Location": [f"[{HIT}]"] * 6 + [f"[{MISS}]"] * 6, "Placement": [f"[{HIT}]"] * 6}
    results = scored(benchmark, tmp_path, texts)
    assert {row.name: row.scores["official"].value for row in results.groups["split"]} == {
        "Location": 0.5,
        "Placement": 1.0,
    }
    assert [row.name for row in results.groups["step"]] == ["1", "2", "3"]
    assert sum(row.count for row in results.groups["split and step"]) == 18
    assert "category" not in results.groups  # it would repeat the splits
    assert results.groups["all"][0].images == 8


def test_missing_and_double_answers_are_told(benchmark: Benchmark, tmp_path: Path) -> None:
    results = scored(benchmark, tmp_path, {"Placement": [f"[{HIT}]"] * 4})
    assert any("2 of 6 questions have no answer" in w for w in results.warnings)
    line = json.dumps({"question_id": 0, "text": "x"})
    (tmp_path / "Placement.jsonl").write_text(f"{line}\n{line}\n")
    results = score_files(benchmark, [tmp_path / "Placement.jsonl"], ROBOREFER, "m")
    assert any("1 lines answer a question that has its answer" in w for w in results.warnings)
    assert len(results.answers) == 1


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("Placement", '{"question_id": 99, "text": "x"}', "answers question 99"),
        ("Elsewhere", '{"question_id": 1, "text": "x"}', "named after no split"),
        ("Placement", '{"question_id": 1, "te', "line 1 is not JSON"),
        ("Placement", "[1, 2]", "line 1 is no object"),
        ("Placement", "[" * 50_000, "line 1 is not JSON"),
        ("Placement", '{"text": "x"}', "line 1 is no object"),
        ("Placement", "", "no answers"),
    ],
)
def test_unusable_answers(
    benchmark: Benchmark, tmp_path: Path, name: str, content: str, message: str
) -> None:
    file = tmp_path / f"{name}.jsonl"
    file.write_text(content)
    with pytest.raises(BenchmarkError, match=message):
        score_files(benchmark, [file], ROBOREFER, "m")


# --- other families and benchmarks -----------------------------------------------------


@pytest.mark.parametrize(
    ("family", "text", "official", "strict"),
    [
        ("Molmo", '<points x1="60" y1="40">cup</points>', 1.0, 1),
        ("Molmo", '<point x="60" y="40">cup</point>', 0.0, 1),
        ("Gemini", '```json\n[{"point": [400, 600]}]\n```', 1.0, 1),
        ("Gemini", '[{"point": [400, 600]}]', 0.0, 1),
        ("Qwen3-VL-8B", '[{"point_2d": [600, 400]}]', 0.0, 1),
    ],
)
def test_families(
    benchmark: Benchmark, family: str, text: str, official: float, strict: float
) -> None:
    question = benchmark.questions[0]
    score = score_answer(question, text, AnswerReader.of(family))
    assert (score.official.value, score.strict) == (official, strict)


def test_unknown_family() -> None:
    with pytest.raises(BenchmarkError, match="no model family 'Nonesuch'"):
        AnswerReader.of("Nonesuch")


def test_robospatial_rules(tmp_path: Path) -> None:
    questions = open_benchmark(invented.robospatial(tmp_path / "home")).questions
    context, yes, no = questions[0], questions[2], questions[3]

    def official(question: Any, text: Any) -> float | None:
        return score_answer(question, text, ROBOREFER).official.value

    assert official(context, f"[{HIT}]") == 1.0
    assert official(context, f"[{MISS}, {HIT}]") == 0.0  # the first point counts
    assert official(context, "[0.6, 0.4]") == 1.0
    assert official(context, "nothing") == 0.0
    assert official(context, None) == 0.0
    assert official(yes, " Yes, it fits.") == 1.0
    assert official(yes, "no") == 0.0
    assert official(no, "No.") == 1.0
    assert official(no, None) == 0.0


@pytest.mark.parametrize(
    ("x", "y", "inside"),
    [(0.5, 0.5, True), (0.05, 0.5, False), (0.5, 0.9, False), (0.3, 0.3, True), (0.5, 0.25, False)],
)
def test_point_in_a_notched_polygon(x: float, y: float, inside: bool) -> None:
    polygon = [(0.1, 0.1), (0.5, 0.4), (0.9, 0.1), (0.9, 0.8), (0.1, 0.8)]
    assert in_polygon(x, y, np.array(polygon)) is inside
    assert in_polygon(x, y, np.array([*polygon, polygon[0]])) is inside


def test_answers_under_another_key_are_not_scored_as_misses(
    benchmark: Benchmark, tmp_path: Path
) -> None:
    file = tmp_path / "Placement.jsonl"
    file.write_text(json.dumps({"question_id": 0, "output": f"[{HIT}]"}) + "\n")
    with pytest.raises(BenchmarkError, match="keys found: output, question_id"):
        score_files(benchmark, [file], ROBOREFER, "m")
