# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The command lines of the package: a parser that says a mistake in one line, types, checks."""

from __future__ import annotations

import argparse
import math
import os
import re
import tempfile
from pathlib import Path
from typing import NoReturn

from roborefer_ros.errors import ConfigurationError, InvalidPointerSpecError
from roborefer_ros.files import is_usable_path

#: exit status of a command that was called wrongly
USAGE_ERROR = 2


#: what ``--dtype`` can be
DTYPES = ("auto", "float32", "float16", "bfloat16")

_DEVICE = re.compile(r"auto|cpu|cuda(:[0-9]{1,3})?")


def exit_status(error: Exception) -> int:
    """Of a command that fails: 2 where an argument is not usable as given, else 1.

    Refinements of ``ConfigurationError`` are about what lies in a file or folder: 1.
    """
    is_usage = type(error) in (ConfigurationError, InvalidPointerSpecError)
    return USAGE_ERROR if is_usage else 1


class ArgumentParser(argparse.ArgumentParser):
    """Argparse's parser that tells a mistake in one line, without the usage before it."""

    def error(self, message: str) -> NoReturn:
        """End the program with status 2 and one line on stderr."""
        line = " ".join(message.split())
        self.exit(USAGE_ERROR, f"{self.prog}: {line}; {self.prog} --help shows the options\n")


def add_point_rules(parser: argparse.ArgumentParser) -> None:
    """Arguments that say which points of an answer are wanted, for all that ask a model."""
    parser.add_argument(
        "--accept-partial",
        action="store_true",
        help="take later points where the model's first one was rejected",
    )
    parser.add_argument(
        "--region",
        type=fraction,
        nargs="+",
        default=[],
        metavar="SHARE",
        help="x_min y_min x_max y_max, or x y of each corner, over the image's edges [0, 1]",
    )
    parser.add_argument(
        "--crop-to-region",
        action="store_true",
        help="show the model the region's bounding rectangle only",
    )


#: values of ``--think``
THINK = ("auto", "on", "off")


def add_think(parser: argparse.ArgumentParser) -> None:
    """``--think``, for all that ask a node or a server."""
    parser.add_argument(
        "--think",
        choices=THINK,
        default="auto",
        help="ask the model for reasoning steps, which takes longer; auto: as node or server say",
    )


def positive_int(text: str) -> int:
    """An integer from 1 on."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a positive number")
    return value


def non_negative_int(text: str) -> int:
    """An integer from 0 on."""
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"{text} is not a number from 0 on")
    return value


def non_negative_float(text: str) -> float:
    """A finite number from 0 on."""
    value = float(text)
    if not 0.0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is not a number from 0 on")
    return value


def fraction(text: str) -> float:
    """A number from 0 to 1."""
    value = float(text)
    if not 0.0 <= value <= 1.0:
        raise argparse.ArgumentTypeError(f"{text} is not a number from 0 to 1")
    return value


def positive_float(text: str) -> float:
    """A finite number above 0."""
    value = float(text)
    if not 0.0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is not a number above 0")
    return value


def finite_float(text: str) -> float:
    """A finite number."""
    value = float(text)
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"{text} is not a finite number")
    return value


def device(text: str) -> str:
    """The device of a model."""
    if not _DEVICE.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not one of auto, cpu, cuda, cuda:<n>")
    return text


def check_readable(option: str, path: Path, folder: bool = False) -> None:
    """Refuse a path that cannot be read, before anything is loaded.

    Args:
        option: Name of the argument, for the message.
        path: As it was given.
        folder: Whether it must be a folder; else a file will do.

    Raises:
        ConfigurationError: no usable name, missing, a file in place of a folder, or not readable.
    """
    _check_name(option, path)
    try:
        there, is_folder = path.exists(), path.is_dir()
    except OSError as error:
        raise ConfigurationError(f"{option}: {path} cannot be read: {error.strerror}") from error
    if not there:
        raise ConfigurationError(f"{option}: there is no {'folder' if folder else 'file'} {path}")
    if folder and not is_folder:
        raise ConfigurationError(f"{option}: {path} is not a folder")
    if not os.access(path, os.R_OK | (os.X_OK if is_folder else 0)):
        raise ConfigurationError(f"{option}: {path} cannot be read: permission denied")


def check_writable(option: str, path: Path, folder: bool = False) -> None:
    """Refuse a path that cannot be written, before anything is computed.

    Args:
        option: Name of the argument, for the message.
        path: As it was given; it need not exist, nor its parents.
        folder: Whether files will be put into it; else it will be a file.

    Raises:
        ConfigurationError: no usable name, a folder in place of a file or the reverse, or not
            writable.
    """
    _check_name(option, path)
    try:
        if path.exists() and path.is_dir() != folder:
            kind = "a folder, not a file" if path.is_dir() else "a file, not a folder"
            raise ConfigurationError(f"{option}: {path} is {kind}")
        place = path if folder else path.parent
        while not place.exists() and place != place.parent:
            place = place.parent
        if not place.is_dir():
            raise ConfigurationError(f"{option}: {path} cannot be made: {place} is not a folder")
        # Tried, since rights alone do not tell: file systems are read-only, full, or no real ones.
        tempfile.TemporaryFile(dir=place).close()
    except OSError as error:
        raise ConfigurationError(
            f"{option}: {path} cannot be written: {error.strerror or error}"
        ) from error


def _check_name(option: str, path: Path) -> None:
    if not is_usable_path(str(path)):
        text = str(path)
        shown = repr(text) if len(text) <= 120 else f"{text[:80]!r}... ({len(text)} characters)"
        raise ConfigurationError(f"{option}: {shown} is not a usable path")
