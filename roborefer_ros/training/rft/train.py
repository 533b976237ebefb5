# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""``roborefer rft``: train by rewards, in one process or under torchrun."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch

from roborefer_ros.arguments import ArgumentParser, not_negative
from roborefer_ros.errors import ConfigurationError
from roborefer_ros.models.roborefer.checkpoint import resolve_folder
from roborefer_ros.models.roborefer.configuration import RoboReferConfig
from roborefer_ros.suggestions import nearest
from roborefer_ros.training.rft.prompts import PromptFile, read_prompts
from roborefer_ros.training.rft.recipe import RftRecipe, load_recipe
from roborefer_ros.training.sft.engine import processes

_SHORT = {"--group": "group_size", "--steps": "max_steps"}


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

        prompts = open_prompts(options.data, options.model, recipe)
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
    parser.add_argument("--threads", type=not_negative, default=0, help="CPU threads (0: torch's)")
    group = parser.add_argument_group("values of the recipe")
    for entry in fields(RftRecipe):
        names = ["--" + entry.name.replace("_", "-")]
        names += [short for short, name in _SHORT.items() if name == entry.name]
        group.add_argument(*names, dest=f"recipe_{entry.name}", metavar="VALUE")
    options, unknown = parser.parse_known_args(arguments)
    if unknown:
        known = [name for action in parser._actions for name in action.option_strings]
        named = unknown[0].partition("=")[0]
        hint = nearest(named, known, 1) if named.startswith("-") else ""
        raise ConfigurationError(f"unknown argument {named}{hint}")
    return options


def recipe_of(options: argparse.Namespace) -> RftRecipe:
    """The recipe with the changes of the command line.

    Raises:
        ConfigurationError: a value is not usable.
    """
    changes: dict[str, Any] = {
        entry.name: value
        for entry in fields(RftRecipe)
        if (value := getattr(options, f"recipe_{entry.name}")) is not None
    }
    return load_recipe(options.recipe, changes)


def open_prompts(path: Path, model: str, recipe: RftRecipe) -> PromptFile:
    """The prompts, with depth where the checkpoint has a branch for it.

    Raises:
        ConfigurationError: see ``read_prompts``.
        CheckpointInvalidError, CheckpointNotFoundError: no usable checkpoint.
    """
    config = RoboReferConfig.from_folder(resolve_folder(model))
    return read_prompts(path, require_steps=recipe.require_steps, depth=config.has_depth)
