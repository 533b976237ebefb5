# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""``roborefer score``: score answers files, of this program or of the reference."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from roborefer_ros.arguments import ArgumentParser, check_readable, check_writable, exit_status
from roborefer_ros.errors import ConfigurationError, RoboReferError
from roborefer_ros.evaluation.answers_file import read_answers
from roborefer_ros.evaluation.questions import BenchmarkError
from roborefer_ros.evaluation.readers import open_benchmark
from roborefer_ros.evaluation.results import Results, answers_files, score_files, text_table
from roborefer_ros.evaluation.scoring import AnswerReader
from roborefer_ros.evaluation.statistics import SCORERS
from roborefer_ros.files import write_bytes

#: schemes of specs whose models answer as RoboRefer does
TUPLE_SCHEMES = ("roborefer", "roborefer-http", "echo")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    parser = ArgumentParser(prog="roborefer score", description=__doc__)
    parser.add_argument("answers", type=Path, help="folder of <split>.jsonl, or one such file")
    parser.add_argument("--data", required=True, help="folder of the benchmark, or hf:<data set>")
    parser.add_argument(
        "--scorer", choices=("all", *SCORERS), default="all", help="official: the published rule"
    )
    parser.add_argument(
        "--family",
        default="",
        help="how the answers are written: RoboRefer, RoboBrain, Qwen, Molmo, Gemini, "
        "qwen3-vl ...; default: by the model's name, else RoboRefer",
    )
    parser.add_argument("--report", type=Path, help="write an HTML page there")
    parser.add_argument("--json", action="store_true", help="print JSON for programs")
    arguments = parser.parse_args(argv)
    try:
        check_data(arguments.data)
        check_readable("answers", arguments.answers)
        if arguments.report:
            check_writable("--report", arguments.report)
    except ConfigurationError as error:
        print(f"roborefer score: {error}", file=sys.stderr)
        return 2
    try:
        benchmark = open_benchmark(arguments.data)
        files = answers_files(arguments.answers)
        model = model_of(files)
        reader = reader_for(arguments.family, model)
        results = score_files(benchmark, files, reader, model)
        if arguments.report:
            write_report(results, arguments.report)
        show(results, arguments.scorer, arguments.json)
    except (BenchmarkError, RoboReferError) as error:
        print(f"roborefer score: {error}", file=sys.stderr)
        return exit_status(error)
    except OSError as error:
        print(f"roborefer score: {error}", file=sys.stderr)
        return 2
    return 0


def check_data(data: str) -> None:
    """Refuse a ``--data`` that names no folder; a data set of the hub is looked for later.

    Raises:
        ConfigurationError
    """
    if not data.startswith("hf:"):
        check_readable("--data", Path(data), folder=True)


def show(results: Results, scorer: str, as_json: bool) -> None:
    """Print the results; a reader that closed the pipe has seen enough."""
    try:
        _print(results, scorer, as_json)
        sys.stdout.flush()
    except BrokenPipeError:
        # The interpreter flushes once more at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _print(results: Results, scorer: str, as_json: bool) -> None:
    if as_json:
        print(json.dumps(results.as_json()))
        return
    print(text_table(results, SCORERS if scorer == "all" else (scorer,)))
    if scorer in ("all", "official"):
        for row in results.groups["split"]:
            evaluated = row.count - row.dropped - row.crashes
            value = row.scores["official"].value
            print(f"{row.name}: accuracy {value:.4f}, evaluated {evaluated}, total {row.count}")


def write_report(results: Results, path: Path) -> None:
    """Write the HTML page.

    Raises:
        DependencyMissingError: jinja2 or matplotlib is not installed.
    """
    from roborefer_ros.evaluation.report import report_html

    path.parent.mkdir(parents=True, exist_ok=True)
    # An answer may hold half a surrogate pair.
    write_bytes(path, report_html(results).encode("utf-8", "replace"))
    print(f"report: {path}", file=sys.stderr)


def model_of(files: Sequence[Path]) -> str:
    """The model's name: ``model_id`` of the first line, else the folder's name."""
    for record in read_answers(files[0]):
        if record.get("model_id"):
            return str(record["model_id"])
    return files[0].resolve().parent.name


def reader_for(family: str, model: str) -> AnswerReader:
    """The reader of a family; without one by the model's name or spec, else RoboRefer's.

    Raises:
        BenchmarkError: no such family.
    """
    if family:
        return AnswerReader.of(family)
    # A folder's name says nothing about how this package's own models answer.
    if model.partition(":")[0] in TUPLE_SCHEMES:
        return AnswerReader.of("RoboRefer")
    if named := re.search(r"[?&]family=([^&]+)", model):
        return AnswerReader.of(named[1])
    if served := re.search(r"[?&]model=([^&]+)", model):
        model = served[1]
    try:
        return AnswerReader.of(model)
    except BenchmarkError:
        return AnswerReader.of("RoboRefer")
