# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""``roborefer verify``: is this checkpoint what it should be, and does it answer as published?

Reads what the files are, computes a golden case of the reference in three types on the device,
asks the reference's example pictures, and, given a benchmark, compares with published results.
The report can be pasted into an issue.  Exit status 1 where something is not as published.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from roborefer_ros.arguments import (
    DTYPES,
    USAGE_ERROR,
    ArgumentParser,
    device,
    exit_status,
    non_negative_int,
    positive_int,
)
from roborefer_ros.errors import CheckpointNotFoundError, ConfigurationError, RoboReferError

if TYPE_CHECKING:
    from roborefer_ros.verify.verdict import Verdict

#: exit status where a check says no
NOT_ACCEPTED = 1


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    arguments = _arguments(argv)
    source = arguments.model.removeprefix("roborefer:")
    try:
        if arguments.data:
            from roborefer_ros.cli.score import check_data

            check_data(arguments.data)
        verdict = _verified(arguments, source)
    except ConfigurationError as error:
        print(f"roborefer verify: {error}", file=sys.stderr)
        return exit_status(error)
    except KeyboardInterrupt:
        return 130
    print(json.dumps(_as_json(verdict), indent=2) if arguments.json else verdict.text())
    return 0 if verdict.is_accepted else NOT_ACCEPTED


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = ArgumentParser(prog="roborefer verify", description=__doc__)
    parser.add_argument("model", metavar="MODEL", help="folder or hub id of a checkpoint")
    parser.add_argument(
        "--data",
        help="RefSpatial-Bench or RefSpatial-Expand-Bench: a folder, or hf:<data set>",
    )
    parser.add_argument("--out", type=Path, help="folder of the benchmark's answers")
    parser.add_argument(
        "--limit", type=non_negative_int, default=0, help="questions a split; 0: all"
    )
    parser.add_argument("--batch", type=positive_int, default=8, help="questions at a time")
    parser.add_argument(
        "--depth-network",
        default="auto",
        metavar="SPEC",
        help="what predicts the depth that the model is shown, or 'none': small, base, large, a "
        "hub id[@revision], a folder or .pth file; auto: large (the reference's) on a GPU",
    )
    parser.add_argument("--device", type=device, default="auto", help="auto, cpu, cuda, cuda:<n>")
    parser.add_argument("--dtype", choices=DTYPES, default="auto")
    parser.add_argument("--json", action="store_true", help="print JSON for programs")
    return parser.parse_args(argv)


def _verified(arguments: argparse.Namespace, source: str) -> Verdict:
    from roborefer_ros.inference.device import resolve_device
    from roborefer_ros.verify.golden_case import check_device
    from roborefer_ros.verify.identity import identify
    from roborefer_ros.verify.verdict import Verdict

    place = resolve_device(arguments.device)
    verdict = Verdict(arguments.model, _machine(place, arguments.dtype))
    try:
        verdict.identity = identify(source)
    except CheckpointNotFoundError as error:
        raise ConfigurationError(str(error)) from error
    except RoboReferError as error:
        verdict.failures.append(f"error {error.code}: {error}")
    _step(verdict, lambda: verdict.golden.extend(check_device(place)))
    if verdict.identity is None or verdict.identity.problems:
        return verdict  # no network can be made of these files
    _step(verdict, lambda: _ask(arguments, source, place, verdict))
    if arguments.data and not verdict.failures:
        _step(verdict, lambda: _benchmark(arguments, source, verdict))
    return verdict


def _step(verdict: Verdict, call: Callable[[], None]) -> None:
    """Do a check; what ends it is part of the report."""
    try:
        call()
    except RoboReferError as error:
        if exit_status(error) == USAGE_ERROR:
            raise
        verdict.failures.append(f"error {error.code}: {error}")


def _ask(arguments: argparse.Namespace, source: str, place: str, verdict: Verdict) -> None:
    """The example pictures, with predicted depth where the model sees depth."""
    from roborefer_ros.models.depth_network import open_depth_network
    from roborefer_ros.pointing.factory import open_pointer
    from roborefer_ros.verify.example_pictures import ask_examples

    pointer = open_pointer(f"roborefer:{source}", device=place, dtype=arguments.dtype)
    network = None
    try:
        verdict.depth = "RGB alone"
        if pointer.uses_depth and arguments.depth_network != "none":
            try:
                network = open_depth_network(arguments.depth_network, place)
                verdict.depth = f"depth by {network.label}"
            except CheckpointNotFoundError as error:
                if arguments.depth_network != "auto":
                    raise ConfigurationError(str(error)) from error
                verdict.depth = "RGB alone, since no depth network is there"
                print(f"roborefer verify: {error}", file=sys.stderr)
        verdict.examples = ask_examples(pointer.model, network)
    finally:
        pointer.close()
        if network is not None:
            network.close()


def _benchmark(arguments: argparse.Namespace, source: str, verdict: Verdict) -> None:
    """Run ``roborefer evaluate``, which goes on where it was interrupted."""
    from roborefer_ros.cli import evaluate
    from roborefer_ros.evaluation.runner import output_name
    from roborefer_ros.verify.published_numbers import compare

    out = arguments.out or Path("outputs") / f"verify_{output_name(source)}"
    command = ["--model", f"roborefer:{source}", "--data", arguments.data, "--out", str(out)]
    command += ["--device", arguments.device, "--dtype", arguments.dtype, "--no-report", "--json"]
    command += ["--batch", str(arguments.batch), "--limit", str(arguments.limit)]
    if arguments.depth_network == "none" or "no depth network" in verdict.depth:
        command += ["--depth", "none"]
    elif "depth by" in verdict.depth:
        command += ["--depth", "model", "--depth-network", arguments.depth_network]
    with redirect_stdout(sys.stderr):
        status = evaluate.main(command)
    if status != 0:
        verdict.failures.append(f"the benchmark did not run to its end (status {status})")
        return
    summary = json.loads((out / "summary.json").read_text())
    verdict.benchmark = summary["benchmark"]
    assert verdict.identity is not None
    verdict.splits = compare(summary, verdict.identity.size)


def _machine(place: str, dtype: str) -> str:
    """Versions and device."""
    import torch
    import transformers

    import roborefer_ros

    name = torch.cuda.get_device_name(place) if place.startswith("cuda") else "CPU"
    return (
        f"roborefer_ros {roborefer_ros.__version__}, torch {torch.__version__}, transformers "
        f"{transformers.__version__}, {name}, dtype {dtype}"
    )


def _as_json(verdict: Verdict) -> dict[str, Any]:
    identity = verdict.identity
    return {
        "model": verdict.model,
        "machine": verdict.machine,
        "accepted": verdict.is_accepted,
        "reasons": verdict.reasons,
        "checkpoint": None if identity is None else {**asdict(identity), "folder": None},
        "golden": [{**asdict(c), "passed": c.passed} for c in verdict.golden],
        "depth": verdict.depth,
        "examples": [
            {**asdict(e), "distance": None if e.point is None else e.distance}
            for e in verdict.examples
        ],
        "benchmark": verdict.benchmark,
        "splits": [{**asdict(s), "agrees": s.agrees} for s in verdict.splits],
    }


if __name__ == "__main__":
    sys.exit(main())
