# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Types and checks of command-line arguments that argparse lacks."""

from __future__ import annotations

import argparse
import math
import os
import tempfile
from pathlib import Path

from roborefer_ros.errors import ConfigurationError
from roborefer_ros.files import is_usable_path


def positive(text: str) -> int:
    """An integer from 1 on."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a positive number")
    return value


def not_negative(text: str) -> int:
    """An integer from 0 on."""
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"{text} is not a number from 0 on")
    return value


def amount(text: str) -> float:
    """A finite number from 0 on."""
    value = float(text)
    if not 0.0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is not a number from 0 on")
    return value


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
