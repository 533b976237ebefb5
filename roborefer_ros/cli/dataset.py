# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""``roborefer dataset``: unpack, check, count, index and look at training data."""

from __future__ import annotations

import importlib
import io
import logging
import os
import sys
from collections.abc import Sequence

from roborefer_ros.arguments import ArgumentParser
from roborefer_ros.errors import RoboReferError

_ROOM = "roborefer_ros.training.data"

#: verb -> (module with add_arguments and run, what it does)
_VERBS = {
    "unpack": (f"{_ROOM}.unpack", "archives, cut or whole, into their folders"),
    "check": (f"{_ROOM}.check", "rows against pictures; every defect counted"),
    "stats": (f"{_ROOM}.statistics", "rows, pairs and forms of answers"),
    "preview": (f"{_ROOM}.preview", "samples with pictures and points on a page"),
    "list": (f"{_ROOM}.listing", "data sets and mixtures; with --mixture what it expands to"),
    "index": (f"{_ROOM}.listing", "build the memory-mapped indexes"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    parser = ArgumentParser(prog="roborefer dataset", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    arguments = list(sys.argv[1:] if argv is None else argv)
    chosen = next((a for a in arguments if not a.startswith("-")), "")
    for verb, (where, text) in _VERBS.items():
        sub = verbs.add_parser(verb, help=text, description=text)
        if verb == chosen:
            importlib.import_module(where).add_arguments(verb, sub)
    options = parser.parse_args(arguments)
    logging.basicConfig(format="%(message)s", level=logging.INFO, stream=sys.stderr)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # names and texts of others
            stream.reconfigure(errors="backslashreplace")
    try:
        module = importlib.import_module(_VERBS[options.verb][0])
        return int(module.run(options.verb, options))
    except RoboReferError as error:
        print(f"roborefer dataset {options.verb}: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
