# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""``roborefer compare``: a benchmark before and after a fine-tuning; a fall ends with status 3."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path

from roborefer_ros.arguments import (
    DTYPES,
    ArgumentParser,
    check_writable,
    device,
    exit_status,
    non_negative_float,
    non_negative_int,
    positive_int,
)
from roborefer_ros.cli.score import check_data, model_of, reader_for
from roborefer_ros.errors import ConfigurationError, RoboReferError
from roborefer_ros.evaluation.comparison import (
    Comparison,
    compare,
    comparison_html,
    text_table,
    verdict,
)
from roborefer_ros.evaluation.questions import Benchmark
from roborefer_ros.evaluation.readers import open_benchmark
from roborefer_ros.evaluation.results import Results, answers_files, score_files
from roborefer_ros.files import write_bytes

#: status where the score fell by more than is accepted; 1 and 2 are errors
FELL = 3


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    arguments = _parser().parse_args(argv)
    try:
        check_data(arguments.data)
        check_writable("--out", arguments.out, folder=True)
        benchmark = open_benchmark(arguments.data)
        folders = []
        for name, model in (("before", arguments.before), ("after", arguments.after)):
            if Path(model).is_dir():
                folders.append(Path(model))
                continue
            folders.append(arguments.out / name)
            if status := _evaluate(arguments, model, folders[-1]):
                return status
        before, after = (_score(benchmark, folder) for folder in folders)
        return _tell(arguments, compare(before, after))
    except RoboReferError as error:
        print(f"roborefer compare: {error}", file=sys.stderr)
        return exit_status(error)
    except OSError as error:
        print(f"roborefer compare: {error}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = ArgumentParser(
        prog="roborefer compare",
        description="Two models on one benchmark, question by question. Status 0: the second is "
        f"not worse than accepted; {FELL}: it is; 1 and 2: errors.",
    )
    what = "model spec, e.g. roborefer:demo, or the folder of its answers (roborefer evaluate)"
    parser.add_argument("before", help=what)
    parser.add_argument("after", help="the same of the fine-tuned model")
    parser.add_argument("--data", required=True, help="folder of the benchmark, or hf:<data set>")
    parser.add_argument("--out", type=Path, required=True, help="folder: report.html, answers")
    parser.add_argument(
        "--most-fall",
        type=non_negative_float,
        default=2.0,
        metavar="POINTS",
        help="largest accepted fall of the share of right first points, percentage points "
        "(default: %(default)s)",
    )
    group = parser.add_argument_group("asking the models (see roborefer evaluate)")
    group.add_argument("--splits", nargs="+", default=[], help="default: all")
    group.add_argument("--limit", type=non_negative_int, default=0, help="questions a split")
    group.add_argument("--batch", type=positive_int, default=1)
    group.add_argument("--workers", type=positive_int, default=1)
    group.add_argument("--depth", choices=("auto", "model", "none"), default="auto")
    group.add_argument("--device", type=device, default="auto")
    group.add_argument("--dtype", choices=DTYPES, default="auto")
    return parser


def _evaluate(arguments: argparse.Namespace, model: str, out: Path) -> int:
    if ":" not in model and model != "echo":
        raise ConfigurationError(
            f"{model!r} is neither a folder nor a model such as roborefer:demo"
        )
    from roborefer_ros.cli.evaluate import main as evaluate

    command = ["--model", model, "--data", arguments.data, "--out", str(out)]
    for name in ("limit", "batch", "workers", "depth", "device", "dtype"):
        command += [f"--{name}", str(getattr(arguments, name))]
    if arguments.splits:
        command += ["--splits", *arguments.splits]
    with redirect_stdout(sys.stderr):  # stdout is for the comparison
        return evaluate(command)


def _score(benchmark: Benchmark, folder: Path) -> Results:
    files = [file for file in answers_files(folder) if file.stat().st_size]
    model = model_of(files or answers_files(folder))
    return score_files(benchmark, files, reader_for("", model), model)


def _tell(arguments: argparse.Namespace, comparison: Comparison) -> int:
    most_fall = arguments.most_fall / 100.0
    print(text_table(comparison))
    print(verdict(comparison, most_fall))
    arguments.out.mkdir(parents=True, exist_ok=True)
    path = arguments.out / "report.html"
    # An answer may hold half a surrogate pair.
    write_bytes(path, comparison_html(comparison, most_fall).encode("utf-8", "replace"))
    print(f"report: {path}", file=sys.stderr)
    return FELL if comparison.fall > most_fall else 0


if __name__ == "__main__":
    sys.exit(main())
