# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Every value of a recipe as an option of the command line."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from roborefer_ros.errors import ConfigurationError
from roborefer_ros.suggestions import nearest
from roborefer_ros.training.sft.recipe import TrainingRecipe, descriptions

_PREFIX = "recipe_"


def add_recipe_options(
    parser: argparse.ArgumentParser,
    kind: type[TrainingRecipe],
    aliases: Mapping[str, str] | None = None,
) -> None:
    """Add ``--learning-rate`` for ``learning_rate`` and so on, as texts.

    Args:
        parser: Parser of the command.
        kind: Class of the recipe.
        aliases: Further names of options and the values that they stand for.
    """
    group = parser.add_argument_group("values of the recipe")
    told = descriptions(kind)
    for entry in fields(kind):
        names = ["--" + entry.name.replace("_", "-")]
        names += [alias for alias, name in (aliases or {}).items() if name == entry.name]
        group.add_argument(
            *names, dest=_PREFIX + entry.name, metavar="VALUE", help=told.get(entry.name)
        )


def parse_known_options(
    parser: argparse.ArgumentParser, arguments: Sequence[str]
) -> argparse.Namespace:
    """Parse a whole command line.

    Raises:
        ConfigurationError: an unknown option; the message names the nearest.
    """
    options, unknown = parser.parse_known_args(arguments)
    if unknown:
        known = [name for action in parser._actions for name in action.option_strings]
        named = unknown[0].partition("=")[0]
        hint = nearest(named, known, 1) if named.startswith("-") else ""
        raise ConfigurationError(f"unknown argument {named}{hint}")
    return options


def recipe_changes(options: argparse.Namespace) -> dict[str, Any]:
    """The values that the command line gives, by their names in the recipe."""
    return {
        key.removeprefix(_PREFIX): value
        for key, value in vars(options).items()
        if key.startswith(_PREFIX) and value is not None
    }
