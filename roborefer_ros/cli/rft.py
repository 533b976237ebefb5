# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""``roborefer rft``: reinforcement fine-tuning, and what belongs to it.

Without a verb it trains; ``data`` makes prompts, ``filter`` keeps those that teach something,
``score`` scores completions.
"""

from __future__ import annotations

import argparse
import importlib
import logging
import os
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

import torch

from roborefer_ros.arguments import ArgumentParser, exit_status, non_negative_int
from roborefer_ros.errors import RoboReferError
from roborefer_ros.training.rft.prompts import open_prompts
from roborefer_ros.training.rft.recipe import RftRecipe, load_recipe
from roborefer_ros.training.sft.engine import processes
from roborefer_ros.training.sft.recipe_options import (
    add_recipe_options,
    parse_known_options,
    recipe_changes,
)

_ROOM = "roborefer_ros.training.rft"

#: verb -> (module, function that runs it)
_VERBS = {
    "train": ("roborefer_ros.cli.rft", "train"),
    "data": (f"{_ROOM}.make_prompts", "make_prompts"),
    "filter": (f"{_ROOM}.filtering", "filter_command"),
    "score": (f"{_ROOM}.scoring", "score_command"),
}

_SHORT = {"--group": "group_size", "--steps": "max_steps"}


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
    except torch.OutOfMemoryError as error:
        print(
            f"{who}: the GPU's memory is full ({str(error).splitlines()[0]}); lower "
            "--device-batch (completions at a time), --group-size, --max-new-tokens or "
            "--max-tiles, use more GPUs with --parallel fsdp, or --lora-rank 64",
            file=sys.stderr,
        )
    return 1


def train(arguments: Sequence[str]) -> int:
    """Run the command; returns its exit status.

    Raises:
        RoboReferError: an argument is not usable, or the run failed.
        OSError: a state or the export cannot be written.
    """
    options = parse_arguments(arguments)
    if options.threads:
        torch.set_num_threads(options.threads)
    recipe = recipe_of(options)
    with processes(options.device) as group:
        from roborefer_ros.training.rft.loop import RftRun

        prompts = open_prompts(options.data, options.model, require_steps=recipe.require_steps)
        run = RftRun(recipe, options.model, prompts, options.output, group, options.resume)
        ended = "finished before; nothing to do" if run.is_finished else run.run()
        if group.is_first:
            print(ended, file=sys.stderr)
    return 0


def parse_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line: model, prompts, folder, and every value of the recipe.

    Raises:
        ConfigurationError: an unknown option; the message names the nearest.
    """
    parser = ArgumentParser(
        prog="roborefer rft",
        description="Reinforcement fine-tuning (GRPO) of a checkpoint that SFT made, in one "
        "process or under torchrun. The same command again goes on from the last state.",
        epilog="roborefer rft data|filter|score make prompts, keep those that teach something, "
        "and score completions; each has its own --help.",
        allow_abbrev=False,
    )
    parser.add_argument("--model", required=True, help="checkpoint of SFT: folder or hub id")
    parser.add_argument("--data", type=Path, required=True, help="prompts.jsonl of `rft data`")
    parser.add_argument("--output", type=Path, required=True, help="states, log, export")
    parser.add_argument("--recipe", help="YAML file of values; the paper's without it")
    parser.add_argument("--resume", default="auto", help="auto, none, or the folder of a state")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument(
        "--threads", type=non_negative_int, default=0, help="CPU threads (0: torch's)"
    )
    add_recipe_options(parser, RftRecipe, _SHORT)
    return parse_known_options(parser, arguments)


def recipe_of(options: argparse.Namespace) -> RftRecipe:
    """The recipe with the changes of the command line.

    Raises:
        ConfigurationError: a value is not usable.
    """
    return load_recipe(options.recipe, recipe_changes(options))


if __name__ == "__main__":
    sys.exit(main())
