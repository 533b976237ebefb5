# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""``roborefer rft``: reinforcement fine-tuning, and what belongs to it.

Without a verb it trains; ``data`` makes prompts, ``filter`` keeps those that teach something,
``score`` scores completions.
"""

from __future__ import annotations

import importlib
import logging
import os
import sys
import warnings
from collections.abc import Sequence

from roborefer_ros.arguments import exit_status
from roborefer_ros.errors import RoboReferError

_ROOM = "roborefer_ros.training.rft"

#: verb -> (module, function that runs it)
_VERBS = {
    "train": (f"{_ROOM}.train", "train"),
    "data": (f"{_ROOM}.make_prompts", "make_prompts"),
    "filter": (f"{_ROOM}.filtering", "filter_command"),
    "score": (f"{_ROOM}.scoring", "score_command"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    logging.basicConfig(format="%(message)s", level=logging.WARNING, stream=sys.stderr)
    warnings.filterwarnings("ignore", module="torch.*")
    verb = arguments.pop(0) if arguments and arguments[0] in _VERBS else "train"
    rank = os.environ.get("RANK", "0")
    who = "roborefer rft" + ("" if verb == "train" else f" {verb}")
    who += "" if rank == "0" else f" (process {rank})"
    module, function = _VERBS[verb]
    try:
        return int(getattr(importlib.import_module(module), function)(arguments))
    except RoboReferError as error:
        print(f"{who}: {error}", file=sys.stderr)
        return exit_status(error)
    except OSError as error:
        print(f"{who}: {error}", file=sys.stderr)
    except RuntimeError as error:
        if type(error).__name__ != "OutOfMemoryError":
            raise
        print(
            f"{who}: the GPU's memory is full ({str(error).splitlines()[0]}); lower "
            "--device-batch (completions at a time), --group-size, --max-new-tokens or "
            "--max-tiles, use more GPUs with --parallel fsdp, or --lora-rank 64",
            file=sys.stderr,
        )
    return 1


if __name__ == "__main__":
    sys.exit(main())
