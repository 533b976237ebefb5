# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""From the command line and the recipe to samples, held-out samples and questions."""

from __future__ import annotations

import argparse
import os
from dataclasses import replace
from pathlib import Path

from roborefer_ros.errors import ConfigurationError
from roborefer_ros.training.data.check import check_layout
from roborefer_ros.training.data.dataset import MixtureDataset, ReadOptions, Sample
from roborefer_ros.training.data.held_out import HeldOut, held_out_samples
from roborefer_ros.training.data.mixtures import Part, expand, mixture_digest
from roborefer_ros.training.data.registry import open_registry, own_dataset
from roborefer_ros.training.data.rows import ThinkMode
from roborefer_ros.training.sft.engine import Processes
from roborefer_ros.training.sft.objective import Data
from roborefer_ros.training.sft.questions import QuestionSet, benchmark_set, held_out_set
from roborefer_ros.training.sft.recipe import SftRecipe


def open_answers_data(options: argparse.Namespace, recipe: SftRecipe, group: Processes) -> Data:
    """Rows of a mixture or of own data; indexes are built by the first process, others wait.

    Args:
        options: Of the command line, with those of ``data.arguments.add_source_arguments``.
        recipe: Of the run.
        group: The processes.

    Raises:
        ConfigurationError: no data is named, or it is not usable.
    """
    parts = _parts(options, recipe)
    _check_present(parts, options.data_root)
    reading = _reading(options, recipe)
    samples = _opened(parts, reading, group)
    held_out = _held_out(options, recipe, samples, group)
    names = {
        "mixture": recipe.mixture,
        "data": str(options.data or options.data_root),
        "samples": str(len(samples)),
        "held_out_samples": str(len(held_out)),
    }
    return Data(
        samples,
        tuple(samples.lengths),
        mixture_digest(parts),
        held_out=HeldOut(held_out),
        questions=_questions(recipe, held_out),
        names=names,
    )


def _parts(options: argparse.Namespace, recipe: SftRecipe) -> list[Part]:
    if options.data is not None:
        if options.recipe_mixture:
            raise ConfigurationError("--data and --mixture exclude each other; register the data")
        return [Part(own_dataset(options.data, options.images, options.depths))]
    if options.images or options.depths:
        raise ConfigurationError("--images and --depth belong to --data")
    if not recipe.mixture:
        raise ConfigurationError("which data? Name a --mixture, or --data with --images")
    return expand(recipe.mixture, open_registry(options.data_root, options.registry))


def _check_present(parts: list[Part], root: Path) -> None:
    """Name everything that is missing at once, before indexes are built.

    Raises:
        ConfigurationError: a wrong level of folder, packed archives, or missing files.
    """
    if any(part.spec.data.is_relative_to(root) for part in parts):
        try:
            check_layout(root)
        except ConfigurationError as error:
            raise ConfigurationError(f"--data-root: {error}") from error
    missing = sorted({str(part.spec.data) for part in parts if not part.spec.data.is_file()})
    if missing:
        raise ConfigurationError(
            f"{', '.join(missing)} missing: download it, or leave its data sets out of the mixture "
            f"({', '.join(part.text for part in parts if str(part.spec.data) in missing)})"
        )
    for part in parts:
        for folder in (part.spec.image, part.spec.depth):
            if folder is not None and not folder.is_dir():
                raise ConfigurationError(
                    f"{part.text}: {folder} is not a directory; name the folder of the pictures"
                )


def _reading(options: argparse.Namespace, recipe: SftRecipe) -> ReadOptions:
    slices = options.slice_folder or os.environ.get("VILA_SLICE_FOLDER")
    return ReadOptions(
        think=ThinkMode.parse(recipe.think),
        max_turns=options.max_turns,
        seed=recipe.seed,
        slice_folder=Path(slices) if slices else None,
        index_dir=options.index_dir,
        held_out=recipe.held_out,
    )


def _opened(parts: list[Part], reading: ReadOptions, group: Processes) -> MixtureDataset:
    samples = MixtureDataset(parts, reading) if group.is_first else None
    group.wait()
    return samples or MixtureDataset(parts, reading)


def _held_out(
    options: argparse.Namespace, recipe: SftRecipe, samples: MixtureDataset, group: Processes
) -> list[Sample]:
    """Samples that are evaluated: of other data sets, or of the scenes that are left out."""
    if recipe.eval_mixture:
        parts = expand(recipe.eval_mixture, open_registry(options.data_root, options.registry))
        reading = replace(_reading(options, recipe), held_out=0.0)
        other = _opened(parts, reading, group)
        return held_out_samples(other, 1.0, recipe.eval_samples, recipe.seed)
    if not recipe.held_out:
        return []
    found = held_out_samples(samples, recipe.held_out, recipe.eval_samples, recipe.seed)
    if not found:
        raise ConfigurationError(
            f"held_out {recipe.held_out:g} holds none of the {len(samples)} samples out; raise "
            "it, or name other data with eval_mixture"
        )
    return found


def _questions(recipe: SftRecipe, held_out: list[Sample]) -> tuple[QuestionSet, ...]:
    sets = []
    if recipe.benchmark:
        sets.append(benchmark_set(recipe.benchmark, recipe.eval_samples, recipe.seed))
    if held_out:
        asked = held_out_set(held_out, recipe.eval_samples)
        if asked is not None:
            sets.append(asked)
    return tuple(sets)
