# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""``roborefer sft``: depth alignment and supervised fine-tuning.

One process, or the same command under torchrun on as many as there are.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

import torch

from roborefer_ros.arguments import ArgumentParser, exit_status, non_negative_int, positive_int
from roborefer_ros.errors import ConfigurationError, RoboReferError
from roborefer_ros.models.roborefer.checkpoint import resolve_folder
from roborefer_ros.models.roborefer.configuration import RoboReferConfig
from roborefer_ros.training.data.arguments import add_source_arguments
from roborefer_ros.training.sft.engine import processes
from roborefer_ros.training.sft.recipe import (
    OBJECTIVES,
    SftRecipe,
    imported,
    load_recipe,
    recipe_class,
    recipe_names,
    recipe_values,
)
from roborefer_ros.training.sft.recipe_options import (
    add_recipe_options,
    parse_known_options,
    recipe_changes,
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    logging.basicConfig(format="%(message)s", level=logging.WARNING, stream=sys.stderr)
    warnings.filterwarnings("ignore", module="torch.*")
    rank = os.environ.get("RANK", "0")
    who = "roborefer sft" + ("" if rank == "0" else f" (process {rank})")
    try:
        if arguments[:1] == ["init-depth"]:
            return _init_depth(arguments[1:])
        if arguments[:1] == ["report"]:
            return _report(arguments[1:])
        return _train(arguments)
    except torch.OutOfMemoryError as error:
        print(
            f"{who}: the GPU's memory is full ({str(error).splitlines()[0]}); lower --device-batch "
            "(--global-batch stays), --max-tiles or --max-length, set --gradient-checkpointing "
            "true, use more GPUs with --parallel fsdp, or --lora-rank 64",
            file=sys.stderr,
        )
    except RoboReferError as error:
        print(f"{who}: {error}", file=sys.stderr)
        return exit_status(error)
    except OSError as error:
        print(f"{who}: {error}", file=sys.stderr)
    return 1


def _train(arguments: Sequence[str]) -> int:
    options = parse_arguments(arguments)
    if options.threads:
        torch.set_num_threads(options.threads)
    recipe = recipe_of(options)
    if options.ray is not None:
        from roborefer_ros.training.sft.ray_cluster import read_cluster, start

        if options.output is None:
            raise ConfigurationError("--ray needs --output, on a disk that all machines share")
        return start(read_cluster(options.ray), _without_ray(arguments), options.output)
    with processes(options.device) as group:
        from roborefer_ros.training.sft.loop import Run

        data = imported(OBJECTIVES[recipe.objective][1])(options, recipe, group)
        if (options.overfit or options.dry_run) and recipe.objective != "answers":
            raise ConfigurationError(
                f"--overfit and --dry-run are for objective answers, not {recipe.objective}; a "
                "short run with --max-steps tells the same"
            )
        if options.overfit:
            from roborefer_ros.training.sft.overfit import overfit

            return overfit(recipe, options.model, data, options.overfit, group)
        if options.dry_run:
            from roborefer_ros.training.sft.estimate import dry_run

            dry_run(recipe, options.model, data, group)
            return 0
        run = Run(recipe, options.model, data, options.output, group, options.resume)
        ended = "finished before; nothing to do" if run.is_finished else run.run()
        if group.is_first:
            print(ended, file=sys.stderr)
    return 0


def parse_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line: what is done, the data, and every value of the recipe.

    Raises:
        ConfigurationError: an unknown option; the message names the nearest.
    """
    parser = ArgumentParser(
        prog="roborefer sft",
        description="Depth alignment and supervised fine-tuning, in one process or under torchrun. "
        "The same command again goes on from the last state.",
        epilog="roborefer sft init-depth --from FOLDER --output FOLDER makes the base of the "
        "alignment from an NVILA checkpoint; roborefer sft report FOLDER writes the page about a "
        "run anew, also while it goes on.",
        allow_abbrev=False,
    )
    parser.add_argument("--model", default="", help="checkpoint to start from: folder or hub id")
    parser.add_argument("--output", type=Path, help="folder of the run: states, log, export")
    parser.add_argument(
        "--recipe",
        help=f"YAML file, or one of {', '.join(recipe_names())}; default by stage and model",
    )
    parser.add_argument("--resume", default="auto", help="auto, none, or the folder of a state")
    parser.add_argument(
        "--ray", type=Path, metavar="YAML", help="run on a Ray cluster: workers, gpus, address"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument(
        "--threads", type=non_negative_int, default=0, help="CPU threads (0: torch's)"
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="a step on long rows: memory and time, nothing kept"
    )
    parser.add_argument(
        "--overfit",
        type=positive_int,
        metavar="N",
        help="learn the first N samples by heart, as a check",
    )
    add_source_arguments(parser.add_argument_group("data (or --mixture)"))
    add_recipe_options(parser, _recipe_class(arguments))
    options = parse_known_options(parser, arguments)
    if options.output is None and not (options.dry_run or options.overfit):
        raise ConfigurationError("name the folder of the run: --output FOLDER")
    return options


def _without_ray(arguments: Sequence[str]) -> list[str]:
    """The command that each worker runs."""
    kept = list(arguments)
    for number, text in enumerate(arguments):
        if text == "--ray":
            return kept[:number] + kept[number + 2 :]
        if text.startswith("--ray="):
            return kept[:number] + kept[number + 1 :]
    return kept


def _recipe_class(arguments: Sequence[str]) -> type[SftRecipe]:
    """The class of the recipe that the arguments name, whose values are options."""
    parser = ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--recipe")
    parser.add_argument("--objective")
    named, _ = parser.parse_known_args(arguments)
    values = recipe_values(named.recipe) if named.recipe else {}
    return recipe_class(named.objective or str(values.get("objective", "answers")))


def recipe_of(options: argparse.Namespace) -> SftRecipe:
    """The recipe with the changes of the command line.

    Raises:
        ConfigurationError: neither a stage nor a recipe is named, or a value is not usable.
    """
    changes = recipe_changes(options)
    name = options.recipe
    if name is None:
        stage = changes.get("stage")
        if stage not in ("align", "sft"):
            raise ConfigurationError("say what to train: --stage align, --stage sft or a --recipe")
        if not options.model:
            raise ConfigurationError("which checkpoint is trained? Name it with --model")
        config = RoboReferConfig.from_folder(resolve_folder(options.model))
        name = f"{stage}-{'8b' if config.image_aspect_ratio == 'dynamic_s2' else '2b'}"
    return load_recipe(name, changes)


def _init_depth(arguments: Sequence[str]) -> int:
    parser = ArgumentParser(
        prog="roborefer sft init-depth",
        description="The base of the depth alignment from an NVILA checkpoint: depth tower and "
        "depth projector are copies of the RGB ones.",
    )
    parser.add_argument("--from", dest="source", required=True, help="NVILA: folder or hub id")
    parser.add_argument("--output", type=Path, required=True, help="folder of the new checkpoint")
    options = parser.parse_args(arguments)
    from roborefer_ros.training.sft.depth_base import init_depth

    init_depth(options.source, options.output)
    print(f"wrote {options.output}; next: roborefer sft --stage align --model {options.output}")
    return 0


def _report(arguments: Sequence[str]) -> int:
    parser = ArgumentParser(prog="roborefer sft report", description="A page about a run.")
    parser.add_argument("run", type=Path, help="folder of the run (its --output)")
    parser.add_argument("--out", type=Path, help="HTML file (default: report.html in the folder)")
    options = parser.parse_args(arguments)
    from roborefer_ros.training.sft.report import write_report

    print(f"wrote {write_report(options.run, options.out)}")
    return 0
