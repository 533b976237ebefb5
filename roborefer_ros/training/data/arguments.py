# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Command-line arguments that choose training data, and what they name."""

from __future__ import annotations

import argparse
import os
from dataclasses import replace
from pathlib import Path

from roborefer_ros.arguments import positive_int
from roborefer_ros.training.data.dataset import ReadOptions
from roborefer_ros.training.data.mixtures import Part, expand
from roborefer_ros.training.data.registry import Registry, open_registry, own_dataset
from roborefer_ros.training.data.rows import ThinkMode


def add_data_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments that choose data sets, the same for all verbs."""
    group = parser.add_argument_group("data")
    group.add_argument("--mixture", help="names joined by +, each name[*times][@subset][%%share]")
    add_source_arguments(group)
    group.add_argument("--type", choices=("refspatial", "llava"), default="refspatial")
    group.add_argument("--think", default="none", help="none, append or mixed:P")


def add_source_arguments(group: argparse._ArgumentGroup) -> None:
    """Arguments that say where data lies, for the verbs here and for training."""
    group.add_argument("--data", type=Path, metavar="JSON", help="own data in place of a mixture")
    group.add_argument("--images", type=Path, metavar="DIR", help="its pictures")
    group.add_argument(
        "--depth", "--depths", dest="depths", type=Path, metavar="DIR", help="its depth pictures"
    )
    group.add_argument(
        "--data-root", type=Path, default=Path("RefSpatial"), metavar="DIR",
        help="RefSpatial's folder, with 2D, 3D and Simulator (default: %(default)s)",
    )  # fmt: skip
    group.add_argument(
        "--registry", type=Path, action="append", default=[], metavar="YAML",
        help="own data sets and mixtures; may be given several times",
    )  # fmt: skip
    group.add_argument("--index-dir", type=Path, metavar="DIR", help="where indexes are kept")
    group.add_argument("--slice-folder", type=Path, metavar="DIR", help="lists of name@subset")
    group.add_argument("--max-turns", type=positive_int, metavar="N", help="most pairs of a sample")


def registry_of(options: argparse.Namespace) -> Registry:
    """The registry that the arguments name."""
    return open_registry(options.data_root, options.registry)


def parts_of(
    options: argparse.Namespace, default: str = "", *, all_of_default: bool = False
) -> list[Part]:
    """The data sets that the arguments name.

    Args:
        options: Of ``add_data_arguments``.
        default: Mixture where neither a mixture nor own data is named; of its data sets those whose
            JSON is there.
        all_of_default: Whether those whose JSON is missing are named, too.

    Raises:
        ConfigurationError: both are named, or neither and there is no default.
    """
    from roborefer_ros.errors import ConfigurationError

    if options.data is not None:
        if options.mixture:
            raise ConfigurationError("--data and --mixture exclude each other; register the data")
        spec = own_dataset(options.data, options.images, options.depths, options.type)
        return [Part(spec)]
    if options.images or options.depths:
        raise ConfigurationError("--images and --depths belong to --data")
    if options.mixture:
        return expand(options.mixture, registry_of(options))
    if not default:
        raise ConfigurationError("which data? Name a --mixture, or --data with --images")
    parts = expand(default, registry_of(options))
    present = [part for part in parts if part.spec.data.is_file()]
    if not present:
        raise ConfigurationError(
            f"{options.data_root} has none of RefSpatial's JSON files, such as 2D/choice_qa.json; "
            "name its folder with --data-root, or other data with --mixture or --data"
        )
    return parts if all_of_default else present


def read_options(options: argparse.Namespace) -> ReadOptions:
    """How samples are made, from the arguments."""
    folder = options.slice_folder
    if folder is None and os.environ.get("VILA_SLICE_FOLDER"):
        folder = Path(os.environ["VILA_SLICE_FOLDER"])
    return replace(
        ReadOptions(),
        think=ThinkMode.parse(options.think),
        max_turns=options.max_turns,
        slice_folder=folder,
        index_dir=options.index_dir,
    )
