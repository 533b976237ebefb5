# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""From a benchmark and answers files to tables: on the screen, as JSON, for the report."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from roborefer_ros.errors import ConfigurationError
from roborefer_ros.evaluation.answers_file import has_text, read_answers
from roborefer_ros.evaluation.lifted import LiftedSummary, SpatialScore, lift_answers, summarize_3d
from roborefer_ros.evaluation.questions import Benchmark, BenchmarkError
from roborefer_ros.evaluation.scoring import AnswerReader, AnswerScores, score_answer
from roborefer_ros.evaluation.statistics import (
    SCORERS,
    Estimate,
    GroupSummary,
    summarize,
    summarize_by,
)
from roborefer_ros.files import read_json


@dataclass(frozen=True)
class Results:
    """Everything that is known about a run.

    Attributes:
        model: its name.
        benchmark: the benchmark's name.
        answers: scored, in file order.
        total: questions of the splits that were answered.
        groups: title -> rows; "all" and "split" always, "step", "category", "scene" and
            "kind" where the benchmark tells them.
        spatial: 3D scores, one per answer, where the benchmark holds 3D ground truth.
        spatial_groups: their rows.
        warnings: sentences for people.
        settings: how the model was asked (depth, prompts ...), where the run wrote it down.
    """

    model: str
    benchmark: str
    answers: tuple[AnswerScores, ...]
    total: int
    groups: dict[str, list[GroupSummary]]
    spatial: tuple[SpatialScore, ...] = ()
    spatial_groups: list[LiftedSummary] = field(default_factory=list)
    warnings: tuple[str, ...] = ()
    settings: dict[str, str] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """For programs; NaN becomes None."""
        content = {
            "model": self.model,
            "benchmark": self.benchmark,
            "answered": len(self.answers),
            "total": self.total,
            "settings": self.settings,
            "groups": {title: [asdict(r) for r in rows] for title, rows in self.groups.items()},
            "spatial": [asdict(row) for row in self.spatial_groups],
            "warnings": list(self.warnings),
        }
        clean: dict[str, Any] = _without_nan(content)
        return clean


def score_files(
    benchmark: Benchmark, files: Sequence[Path], reader: AnswerReader, model: str
) -> Results:
    """Score answers files, each named after its split.

    Raises:
        BenchmarkError: a file fits no split, or answers a question that is not in it.
    """
    answers: list[AnswerScores] = []
    warnings: list[str] = []
    total = 0
    for file in files:
        split = split_of(benchmark, file)
        questions = {q.question_id: q for q in benchmark.of_split(split)}
        records = read_answers(file)
        total += len(questions)
        _check_keys(file, records)
        ids = [record["question_id"] for record in records]
        if len(set(ids)) < len(ids):
            warnings.append(
                f"{split}: {len(ids) - len(set(ids))} lines answer a question that has its answer "
                "already; the first counts"
            )
            records = list({r["question_id"]: r for r in reversed(records)}.values())[::-1]
        without = sum(not has_text(record) for record in records)
        if without:
            warnings.append(f'{split}: {without} lines hold no "text" and count as no answer')
        if len(set(ids)) < len(questions):
            warnings.append(f"{split}: {len(questions) - len(set(ids))} of {len(questions)} "
                            "questions have no answer")  # fmt: skip
        for record in records:
            if record["question_id"] not in questions:
                raise BenchmarkError(
                    f"{file} answers question {record['question_id']!r}, which {split} of "
                    f"{benchmark.source} does not have; is it the right data set?"
                )
            question = questions[record["question_id"]]
            answers.append(score_answer(question, record.get("text"), reader))
    if not answers:
        raise BenchmarkError("there are no answers to score")
    spatial = lift_answers(answers)
    groups = group_rows(answers)
    crashes = groups["all"][0].crashes
    if crashes:
        warnings.append(
            f"the published scorer ends with an exception at {crashes} answers; they are left "
            "out of its mean here"
        )
    return Results(
        model, benchmark.name, tuple(answers), total, groups, spatial,
        summarize_3d(spatial), tuple(warnings), run_settings(files[0].parent / "run.json"),
    )  # fmt: skip


def _check_keys(file: Path, records: Sequence[dict[str, Any]]) -> None:
    """Answers of other programs may stand under another key; they are not scored as misses.

    Raises:
        BenchmarkError: no line holds ``text``.
    """
    if records and not any(map(has_text, records)):
        keys = sorted({str(key)[:40] for record in records[:100] for key in record})[:20]
        raise BenchmarkError(
            f'no line of {file} holds its answer under "text" (keys found: {", ".join(keys)}); '
            "rename the key that holds the model's answer"
        )


def run_settings(path: Path) -> dict[str, str]:
    """What ``run.json`` tells of the way of asking; empty for answers of other programs."""
    try:
        content = read_json(path)
    except ConfigurationError:
        return {}
    if not isinstance(content, dict):
        return {}
    known = {"benchmark", "model_id", "data"}
    return {str(k): str(v) for k, v in content.items() if k not in known}


def group_rows(answers: Sequence[AnswerScores]) -> dict[str, list[GroupSummary]]:
    """All tables of a run."""
    tables = {
        "all": [summarize("all", answers)],
        "split": summarize_by(answers, lambda a: a.question.split),
        "step": summarize_by(answers, lambda a: a.question.step),
        "split and step": summarize_by(
            answers,
            lambda a: a.question.step and f"{a.question.split}, step {a.question.step}",
        ),
        "category": summarize_by(answers, lambda a: a.question.category),
        "scene": summarize_by(
            answers, lambda a: a.question.scene and f"{a.question.split}, {a.question.scene}"
        ),
        "kind": summarize_by(answers, lambda a: a.question.extra.get("kind")),
    }
    # RefSpatial's categories repeat its splits.
    if [row.count for row in tables["category"]] == [row.count for row in tables["split"]]:
        del tables["category"]
    return {title: rows for title, rows in tables.items() if rows}


def answers_files(path: Path) -> list[Path]:
    """The answers files of a folder, or the one file.

    Raises:
        BenchmarkError: there is none.
    """
    try:
        files = [path] if path.is_file() else sorted(path.glob("*.jsonl"))
        wrong = [file for file in files if not file.is_file()]
    except (OSError, ValueError) as error:
        raise BenchmarkError(f"{str(path)[:80]!r} is not a usable path: {error}"[:300]) from error
    if wrong:
        raise BenchmarkError(f"{wrong[0]} is not a regular file")
    if not files:
        raise BenchmarkError(f"{path} holds no answers (*.jsonl)")
    return files


def split_of(benchmark: Benchmark, file: Path) -> str:
    """The split that a file answers, by its name.

    Raises:
        BenchmarkError: none.
    """
    for split in benchmark.splits:
        if split.lower() == file.stem.lower():
            return split
    if len(benchmark.splits) == 1:
        return benchmark.splits[0]
    raise BenchmarkError(
        f"{file.name} is named after no split of {benchmark.source}; rename it to one of "
        + ", ".join(f"{split}.jsonl" for split in benchmark.splits)
    )


def text_table(results: Results, scorers: Sequence[str] = SCORERS) -> str:
    """The tables for a terminal, in percent with 95 % intervals."""
    heads = ["", "answers", "images", *scorers, "left out", "no point", "points/answer"]
    parts = [f"{results.model} on {results.benchmark}: {len(results.answers)} of {results.total}"]
    for title, rows in results.groups.items():
        lines = [[title if title != "all" else "", *heads[1:]]]
        lines += [score_cells(row, scorers) for row in rows]
        parts.append(_aligned(lines))
    if results.spatial_groups:
        parts.append(_aligned(spatial_cells(results.spatial_groups)))
    parts += [f"note: {warning}" for warning in results.warnings]
    return "\n\n".join(parts)


def score_cells(row: GroupSummary, scorers: Iterable[str] = SCORERS) -> list[str]:
    """A row of a table: name, answers, images, scores, left out, no point, points."""
    scores = [row.scores[name] for name in scorers]
    return [
        row.name, str(row.count), str(row.images),
        *(_with_interval(score, row.images) for score in scores),
        str(row.dropped + row.crashes), f"{percent(row.unparsable)} %",
        f"{row.points_per_answer:.2f}",
    ]  # fmt: skip


def spatial_cells(rows: Iterable[LiftedSummary]) -> list[list[str]]:
    """The 3D table, heads first."""
    lines = [
        ["3D", "answers", "lifted", "within 10 mm", "within 20 mm", "within 50 mm",
         "median [mm]", "90 % [mm]", "lifting error median [mm]"]
    ]  # fmt: skip
    for row in rows:
        shares = [f"{percent(row.within[limit])} %" for limit in (0.01, 0.02, 0.05)]
        distances = (row.median_m, row.p90_m, row.surface_error_m)
        lines.append(
            [row.name, str(row.count), str(row.lifted), *shares,
             *(f"{1000 * value:.1f}" if math.isfinite(value) else "-" for value in distances)]
        )  # fmt: skip
    return lines


def percent(value: float) -> str:
    """Two decimals; a dash where nothing was counted."""
    return f"{100 * value:.2f}" if math.isfinite(value) else "-"


def _with_interval(score: Estimate, images: int) -> str:
    if images < 2:  # resampling one picture gives the same picture
        return percent(score.value)
    return f"{percent(score.value)} [{percent(score.low)}, {percent(score.high)}]"


def _aligned(lines: Sequence[Sequence[str]]) -> str:
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def _without_nan(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {str(key): _without_nan(item) for key, item in value.items()}
    return [_without_nan(item) for item in value] if isinstance(value, list) else value
