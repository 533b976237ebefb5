# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""``roborefer``: one command with a few verbs; each imports what it needs, when it is used."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence

import roborefer_ros
from roborefer_ros.arguments import ArgumentParser

#: verb -> (module whose main(argv) runs it, what it does)
_VERBS: dict[str, tuple[str, str]] = {
    "demo": ("roborefer_ros.demo.run", "simulated camera, node and client: a table and a picture"),
    "refer": ("roborefer_ros.cli_refer", "ask a running node"),
    "serve": ("roborefer_ros.server.main", "answer over HTTP, for many robots"),
    "query": ("roborefer_ros.server.query", "ask a server about an image file"),
    "doctor": ("roborefer_ros.doctor.report", "what is installed, what is missing and what to do"),
    "simulate": ("roborefer_ros.cli_simulate", "make simulated scenes: training data, benchmark"),
    "datagen": ("roborefer_ros.datagen.main", "make training data with reasoning steps"),
    "evaluate": ("roborefer_ros.evaluation.evaluate", "ask a model a benchmark's questions"),
    "score": ("roborefer_ros.evaluation.score", "score the answers to a benchmark"),
    "dataset": ("roborefer_ros.training.data.command", "unpack, check and look at training data"),
    "sft": ("roborefer_ros.training.sft.main", "align depth, or fine-tune RoboRefer on RGB-D data"),
    "train": ("roborefer_ros.training.train", "train a network on a data set"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a verb; returns its exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    parser = ArgumentParser(
        prog="roborefer",
        description="From an instruction and an RGB-D camera to a pose.",
        epilog="verbs:\n"
        + "\n".join(f"  {verb:<10} {text}" for verb, (_, text) in _VERBS.items())
        + "\n\nroborefer VERB --help tells more.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=roborefer_ros.__version__)
    parser.add_argument("verb", choices=_VERBS, metavar="VERB", help="see below")
    if not arguments:
        parser.print_help()
        return 2
    verb = parser.parse_args(arguments[:1]).verb
    try:
        module = importlib.import_module(_VERBS[verb][0])
        return int(module.main(arguments[1:]))
    except ImportError as error:
        # The packages' own messages name the line that installs what is missing.
        print(f"roborefer {verb}: {error}\nroborefer doctor tells what to install", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
