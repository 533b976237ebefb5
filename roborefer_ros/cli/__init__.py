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
VERBS: dict[str, tuple[str, str]] = {
    "demo": ("roborefer_ros.cli.demo", "simulated camera, node and client: a table and a picture"),
    "refer": ("roborefer_ros.cli.refer", "ask a running node"),
    "serve": ("roborefer_ros.cli.serve", "answer over HTTP, for many robots"),
    "query": ("roborefer_ros.cli.query", "ask a server about an image file"),
    "doctor": ("roborefer_ros.cli.doctor", "what is installed, what is missing and what to do"),
    "simulate": ("roborefer_ros.cli.simulate", "make simulated scenes: training data, benchmark"),
    "datagen": ("roborefer_ros.cli.datagen", "make training data with reasoning steps"),
    "evaluate": ("roborefer_ros.cli.evaluate", "ask a model a benchmark's questions"),
    "score": ("roborefer_ros.cli.score", "score the answers to a benchmark"),
    "verify": (
        "roborefer_ros.cli.verify",
        "whether a checkpoint computes and answers as published",
    ),
    "compare": ("roborefer_ros.cli.compare", "a benchmark before and after a fine-tuning"),
    "dataset": ("roborefer_ros.cli.dataset", "unpack, check and look at training data"),
    "label": ("roborefer_ros.cli.label", "label your own pictures on a local page"),
    "sft": ("roborefer_ros.cli.sft", "align depth, or fine-tune RoboRefer on RGB-D data"),
    "rft": ("roborefer_ros.cli.rft", "learn by rewards for points and reasoning steps (GRPO)"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a verb; returns its exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    parser = ArgumentParser(
        prog="roborefer",
        description="From an instruction and an RGB-D camera to a pose.",
        epilog="verbs:\n"
        + "\n".join(f"  {verb:<10} {text}" for verb, (_, text) in VERBS.items())
        + "\n\nroborefer VERB --help tells more.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=roborefer_ros.__version__)
    parser.add_argument("verb", choices=VERBS, metavar="VERB", help="see below")
    if not arguments:
        parser.print_help()
        return 2
    verb = parser.parse_args(arguments[:1]).verb
    try:
        module = importlib.import_module(VERBS[verb][0])
        return int(module.main(arguments[1:]))
    except ImportError as error:
        # The packages' own messages name the line that installs what is missing.
        print(f"roborefer {verb}: {error}\nroborefer doctor tells what to install", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
