# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Asking a model all questions of a benchmark, able to go on where it was interrupted."""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from roborefer_ros.errors import RoboReferError
from roborefer_ros.evaluation.answers_file import AnswersFile, answer_record
from roborefer_ros.evaluation.depth_sources import DepthSource, no_depth
from roborefer_ros.evaluation.instructions import Instruction, reference_instruction
from roborefer_ros.evaluation.model_answers import Answered, model_answers
from roborefer_ros.evaluation.questions import (
    Benchmark,
    BenchmarkError,
    BenchmarkQuestion,
)
from roborefer_ros.files import read_json, write_text
from roborefer_ros.pointing.families import Family
from roborefer_ros.pointing.pointer import Pointer

#: this many failures in a row end the run: the server is gone, the GPU is full
MAX_FAILURES_IN_A_ROW = 5


@dataclass
class RunReport:
    """How a run went.

    Attributes:
        asked: questions asked in this run.
        kept: answers that were there already.
        failures: ``split/id: error`` of questions left without an answer; the next run
            asks them again.
        duration_s: Duration of this run, seconds.
    """

    asked: int = 0
    kept: int = 0
    failures: list[str] = field(default_factory=list)
    duration_s: float = 0.0

    @property
    def questions_per_second(self) -> float:
        """Throughput of this run."""
        return self.asked / self.duration_s if self.duration_s > 0 else 0.0


def run(
    pointer: Pointer,
    benchmark: Benchmark,
    folder: Path,
    *,
    model_id: str,
    family: Family,
    depth: DepthSource = no_depth,
    instruct: Instruction = reference_instruction,
    settings: Mapping[str, str] | None = None,
    limit: int = 0,
    show_progress: bool = True,
) -> RunReport:
    """Ask every question that has no answer yet.

    Args:
        pointer: Model that is asked, with its family.
        benchmark: Questions to ask.
        folder: ``<split>.jsonl`` are written there, and ``run.json``.
        model_id: stands in every line.
        family: Family of the model; decides with ``instruct`` what it is asked.
        depth: Source of the model's depth picture.
        instruct: how questions become texts.
        settings: Whatever else decides the answers; a folder keeps to one choice.
        limit: Greatest number of questions per split; 0 asks all.
        show_progress: draw a bar on stderr.

    Raises:
        BenchmarkError: the folder holds answers of another model or benchmark, or is in use.
        RoboReferError: the last of ``MAX_FAILURES_IN_A_ROW`` failures.
    """
    from tqdm import tqdm

    check_folder(folder, benchmark, {"model_id": model_id, **(settings or {})})
    report = RunReport()
    chosen = _chosen(benchmark, limit)
    started = time.perf_counter()
    with ExitStack() as stack:
        files = {
            split: stack.enter_context(AnswersFile(folder / f"{split}.jsonl"))
            for split in dict.fromkeys(q.split for q in chosen)
        }
        open_questions = [q for q in chosen if q.question_id not in files[q.split].answered]
        report.kept = len(chosen) - len(open_questions)
        bar = stack.enter_context(
            tqdm(
                total=len(chosen), initial=report.kept, unit="question", file=sys.stderr,
                disable=not show_progress, dynamic_ncols=True,
            )
        )  # fmt: skip
        answers = model_answers(
            pointer, open_questions, depth, lambda question: instruct(question, family)
        )
        for question, text in _unbroken(answers, report):
            bar.update()
            if text is not None:
                record = answer_record(question, instruct(question, family), text, model_id)
                files[question.split].append(record)
    report.duration_s = time.perf_counter() - started
    return report


def _unbroken(
    outcomes: Iterable[tuple[BenchmarkQuestion, Answered]], report: RunReport
) -> Iterator[tuple[BenchmarkQuestion, str | None]]:
    """Count questions and failures (None); too many failures in a row are raised."""
    in_a_row = 0
    for question, outcome in outcomes:
        report.asked += 1
        if not isinstance(outcome, RoboReferError):
            in_a_row = 0
            yield question, outcome
            continue
        report.failures.append(f"{question.split}/{question.question_id}: {outcome}")
        in_a_row += 1
        if in_a_row >= MAX_FAILURES_IN_A_ROW:
            raise outcome
        yield question, None


def output_name(model: str) -> str:
    """A folder's name out of a model's spec."""
    return re.sub(r"[^A-Za-z0-9._-]+", "_", model).strip("_.") or "model"


def _chosen(benchmark: Benchmark, limit: int) -> list[BenchmarkQuestion]:
    chosen: list[BenchmarkQuestion] = []
    for split in benchmark.splits:
        questions = benchmark.of_split(split)
        chosen += questions[:limit] if limit else questions
    return chosen


def check_folder(folder: Path, benchmark: Benchmark, settings: Mapping[str, str]) -> None:
    """Write ``run.json``, or compare with the one that is there.

    Raises:
        BenchmarkError: the folder belongs to another run.
    """
    path = folder / "run.json"
    this = {"benchmark": benchmark.name, **settings}
    if path.exists():
        try:
            other = dict(read_json(path, refusal=BenchmarkError))
        except (ValueError, TypeError) as error:
            raise BenchmarkError(f"{path} is broken ({error}); choose another --out") from error
        for key, value in this.items():
            if other.get(key) != value:
                raise BenchmarkError(
                    f"{folder} holds answers of {key} {other.get(key)!r}, not {value!r}; choose "
                    "another --out, or delete it"
                )
        return
    folder.mkdir(parents=True, exist_ok=True)
    content = json.dumps({**this, "data": str(benchmark.source)}, indent=2)
    write_text(path, content + "\n")
