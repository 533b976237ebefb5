# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""``roborefer evaluate``: ask a model a benchmark's questions, score the answers, report.

Interrupted runs go on where they stopped: run the same command again.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from roborefer_ros.arguments import (
    DTYPES,
    ArgumentParser,
    check_writable,
    device,
    exit_status,
    non_negative_int,
    positive_int,
)
from roborefer_ros.cli.score import check_data, reader_for, show, write_report
from roborefer_ros.errors import ConfigurationError, RoboReferError
from roborefer_ros.evaluation.depth_sources import (
    DepthSource,
    benchmark_depth,
    no_depth,
    predicted_depth,
)
from roborefer_ros.evaluation.instructions import PROMPTS
from roborefer_ros.evaluation.questions import Benchmark, BenchmarkError
from roborefer_ros.evaluation.readers import open_benchmark
from roborefer_ros.evaluation.results import answers_files, score_files
from roborefer_ros.evaluation.runner import RunReport, output_name, run
from roborefer_ros.evaluation.scoring import AnswerReader
from roborefer_ros.files import write_text
from roborefer_ros.inference.options import ModelOptions
from roborefer_ros.models.depth_network import open_depth_network
from roborefer_ros.pointing.factory import open_pointer

#: longest answer, tokens; a longer one is cut off
MAX_NEW_TOKENS = 512

#: schemes whose models load weights
_IN_PROCESS = ("roborefer", "transformers")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    arguments = _arguments(argv)
    out = arguments.out or Path("outputs") / output_name(arguments.model)
    try:
        check_data(arguments.data)
        check_writable("--out", out, folder=True)
    except ConfigurationError as error:
        print(f"roborefer evaluate: {error}", file=sys.stderr)
        return 2
    try:
        benchmark = _selected(open_benchmark(arguments.data), arguments.splits)
        reader = reader_for(arguments.family, arguments.model)
        report = _run(arguments, benchmark, reader, out)
        _tell(report, out)
        results = score_files(benchmark, _written(benchmark, out), reader, arguments.model)
        summary = {**results.as_json(), "questions_per_second": report.questions_per_second}
        write_text(out / "summary.json", json.dumps(summary, indent=2) + "\n")
        if not arguments.no_report:
            write_report(results, out / "report.html")
        show(results, "all", arguments.json)
    except (BenchmarkError, RoboReferError) as error:
        print(f"roborefer evaluate: {error}", file=sys.stderr)
        return exit_status(error)
    except OSError as error:  # a disk that is full, a place that only seems writable
        print(f"roborefer evaluate: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(
            "roborefer evaluate: interrupted; every answer so far is kept, the same command again "
            "goes on",
            file=sys.stderr,
        )
        return 130
    return 1 if report.failures else 0


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = ArgumentParser(prog="roborefer evaluate", description=__doc__)
    parser.add_argument("--model", required=True, help="spec, e.g. roborefer:demo")
    parser.add_argument("--data", required=True, help="folder of the benchmark, or hf:<data set>")
    parser.add_argument("--splits", nargs="+", default=[], help="default: all")
    parser.add_argument("--out", type=Path, help="folder; default: outputs/<model>")
    parser.add_argument(
        "--limit", type=non_negative_int, default=0, help="questions a split; 0: all"
    )
    parser.add_argument(
        "--batch", type=positive_int, default=1, help="questions at a time (roborefer:<checkpoint>)"
    )
    parser.add_argument(
        "--workers", type=positive_int, default=1, help="requests at a time (servers)"
    )
    parser.add_argument(
        "--max-new-tokens",
        type=positive_int,
        default=MAX_NEW_TOKENS,
        help="longer answers are cut off",
    )
    parser.add_argument(
        "--depth",
        choices=("auto", "model", "none"),
        default="auto",
        help="what a model with a depth branch sees. auto: the benchmark's own depth, where it has "
        "one; model: predicted from colour by Depth-Anything-V2, the reference's way; none: colour",
    )
    parser.add_argument(
        "--depth-network",
        default="auto",
        metavar="SPEC",
        help="network of --depth model: small, base, large, a hub id[@revision], a folder or .pth "
        "file; auto: large (the reference's) on a GPU, else small",
    )
    parser.add_argument(
        "--prompts",
        choices=tuple(PROMPTS),
        default="reference",
        help="words of the reference's runner for the model's family, or those of the node",
    )
    parser.add_argument("--family", default="", help="see roborefer score; default: by the spec")
    parser.add_argument("--device", type=device, default="auto", help="auto, cpu, cuda, cuda:<n>")
    parser.add_argument("--dtype", choices=DTYPES, default="auto")
    parser.add_argument("--no-report", action="store_true", help="no HTML page")
    parser.add_argument("--json", action="store_true", help="print JSON for programs")
    return parser.parse_args(argv)


def _selected(benchmark: Benchmark, splits: Sequence[str]) -> Benchmark:
    if not splits:
        return benchmark
    known = {split.lower(): split for split in benchmark.splits}
    wrong = [split for split in splits if split.lower() not in known]
    if wrong:
        raise BenchmarkError(f"there is no split {wrong[0]!r}; known are {', '.join(known)}")
    chosen = {known[split.lower()] for split in splits}
    return replace(benchmark, questions=tuple(q for q in benchmark.questions if q.split in chosen))


def _run(
    arguments: argparse.Namespace, benchmark: Benchmark, reader: AnswerReader, out: Path
) -> RunReport:
    depth, depth_name = _depth_source(arguments)
    pointer = open_pointer(
        model_options(
            arguments.model,
            batch=arguments.batch,
            workers=arguments.workers,
            device=arguments.device,
            dtype=arguments.dtype,
            max_new_tokens=arguments.max_new_tokens,
        )
    )
    try:
        return run(
            pointer,
            benchmark,
            out,
            model_id=arguments.model,
            family=reader.family,
            depth=depth,
            instruct=PROMPTS[arguments.prompts],
            settings={
                "depth": depth_name,
                "tokens": str(_tokens(arguments)),
                "prompts": arguments.prompts,
            },
            limit=arguments.limit,
            show_progress=not arguments.json,
        )
    finally:
        pointer.close()


def model_options(
    spec: str,
    *,
    batch: int = 1,
    workers: int = 1,
    device: str = "auto",
    dtype: str = "auto",
    max_new_tokens: int = MAX_NEW_TOKENS,
) -> ModelOptions:
    """What the model of a run is opened with.

    Args:
        spec: Model, see ``open_pointer``.
        batch: Number of questions that a RoboRefer checkpoint in this process answers together.
        workers: Number of requests at a time, for models behind a server.
        device: See ``ModelOptions``.
        dtype: See ``ModelOptions``.
        max_new_tokens: Greatest length of an answer, tokens.

    Raises:
        BenchmarkError: Batches of another kind of model, or workers for one of this process.
    """
    if batch > 1 and not spec.startswith("roborefer:"):
        raise BenchmarkError(f"--batch is for roborefer:<checkpoint>; for {spec!r} use --workers")
    if batch > 1 and workers > 1:
        raise BenchmarkError("--batch and --workers exclude each other")
    if workers > 1 and spec.partition(":")[0] in _IN_PROCESS:
        raise BenchmarkError(
            f"--workers is for models behind a server; {spec!r} runs in this process, where each "
            "worker would load the checkpoint once more: use --batch"
        )
    return ModelOptions(
        spec,
        device=device,
        dtype=dtype,
        max_new_tokens=max_new_tokens,
        max_batch=max(batch, workers),
        cache_bytes=(256 * 2**20, 512 * 2**20),
    )


def _tokens(arguments: argparse.Namespace) -> int | str:
    """The longest answer as it was asked for: ``roborefer-http:`` cannot ask.

    Raises:
        BenchmarkError: another length than the default for a server that cannot be told.
    """
    if not arguments.model.startswith("roborefer-http:"):
        return int(arguments.max_new_tokens)
    if arguments.max_new_tokens != MAX_NEW_TOKENS:
        raise BenchmarkError(
            "--max-new-tokens: the contract of roborefer-http has no field for it; set it where "
            "the server is started"
        )
    return "the server's"


def _depth_source(arguments: argparse.Namespace) -> tuple[DepthSource, str]:
    """Where the model's depth pictures come from, and its name for ``run.json``.

    Raises:
        RoboReferError: what ``open_depth_network`` raises.
    """
    if arguments.depth != "model":
        return (no_depth if arguments.depth == "none" else benchmark_depth), arguments.depth
    network = open_depth_network(
        arguments.depth_network, arguments.device, tell=lambda line: print(line, file=sys.stderr)
    )
    return predicted_depth(network), f"model: {network.label}"


def _written(benchmark: Benchmark, out: Path) -> list[Path]:
    """Files of the chosen splits that hold something."""
    names = {split.lower() for split in benchmark.splits}
    return [f for f in answers_files(out) if f.stem.lower() in names and f.stat().st_size]


def _tell(report: RunReport, out: Path) -> None:
    told = f"{report.asked} asked in {report.duration_s:.1f} s"
    told += f" ({report.questions_per_second:.2f}/s), {report.kept} kept: {out}"
    print(told, file=sys.stderr)
    for failure in report.failures[:10]:
        print(f"no answer: {failure}", file=sys.stderr)
    if report.failures:
        print(
            f"{len(report.failures)} questions have no answer; run the same command again to ask "
            "only those",
            file=sys.stderr,
        )
