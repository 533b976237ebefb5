# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Reading files that others made, and writing files that no interruption leaves half done.

Whatever is read is a regular file (opening a pipe would wait for ever, reading a device never end),
no larger than its caller allows, UTF-8 where it is text, and not nested deeper than JSON of its
kind ever is.  What is wrong becomes one numbered error whose message names the file.
"""

from __future__ import annotations

import ctypes
import json
import math
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from roborefer_ros.errors import ConfigurationError, RoboReferError

Refusal = type[RoboReferError]

MIB = 2**20

#: for text files that a person or a program of this kind writes
TEXT_LIMIT = 64 * MIB

#: for parameters and presets
YAML_LIMIT = MIB

#: lists and tables on one level of a YAML file
_MOST_VALUES = 100_000

#: Configurations and tables have a handful of levels.  (Python's own limit is about 1000, which
#: code that walks through the values would exceed.)
JSON_DEPTH = 64

_LONGEST_NAME, _LONGEST_PATH = 255, 4096

_KINDS = (
    (stat.S_ISDIR, "a directory"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)

_LFS = b"version https://git-lfs.github.com/spec/"

#: byte order marks of encodings that are not UTF-8, the longer ones first
_FOREIGN_MARKS = (
    (b"\xff\xfe\0\0", "UTF-32"),
    (b"\0\0\xfe\xff", "UTF-32"),
    (b"\xff\xfe", "UTF-16"),
    (b"\xfe\xff", "UTF-16"),
)

#: where the hub's cache keeps a repository: blobs/, and snapshots/<revision>/ with links to them
_HUB_REPOSITORY = re.compile(r"(models|datasets|spaces)--.+")


# --- reading ---------------------------------------------------------------------------


def open_regular(path: Path, refusal: Refusal = ConfigurationError) -> BinaryIO:
    """Open a regular file for reading, unbuffered; never waits for a writer.

    Args:
        path: Of the file; links are followed.
        refusal: Class of the error.

    Raises:
        RoboReferError: ``refusal``, where it is missing, not readable, or no regular file.
    """
    try:
        # Looked at before it is opened, since opening a device can have effects, and after it,
        # since the name may mean another file by then.
        _check_regular(os.stat(path).st_mode, path, refusal)
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    except FileNotFoundError as error:
        what = "is a link to a file that does not exist" if path.is_symlink() else "is missing"
        raise refusal(f"{path} {what}") from error
    except (OSError, ValueError) as error:
        raise refusal(f"{_shown(path)} cannot be read: {_reason(error)}") from error
    try:
        _check_regular(os.fstat(descriptor).st_mode, path, refusal)
        return os.fdopen(descriptor, "rb", buffering=0)
    except BaseException:
        os.close(descriptor)
        raise


def read_bytes(path: Path, limit: int = TEXT_LIMIT, refusal: Refusal = ConfigurationError) -> bytes:
    """The content of a regular file.

    Args:
        path: Of the file.
        limit: Largest size, bytes.
        refusal: Class of the error.

    Raises:
        RoboReferError: ``refusal``, as ``open_regular``; or it is larger than the limit, or a
            pointer of Git LFS in place of the file.
    """
    with open_regular(path, refusal) as file:
        size = os.fstat(file.fileno()).st_size
        if size > limit:
            raise refusal(f"{path} has {size} bytes, more than the {limit} that are read")
        parts: list[bytes] = []
        left = limit + 1
        try:
            while left > 0 and (part := file.read(min(left, 16 * MIB))):
                parts.append(part)
                left -= len(part)
        except OSError as error:
            raise refusal(f"{path} cannot be read: {_reason(error)}") from error
    data = b"".join(parts)
    if len(data) > limit:
        raise refusal(f"{path} grew beyond the {limit} bytes that are read")
    if is_lfs_pointer(data):
        raise refusal(lfs_message(path))
    return data


def read_text(path: Path, limit: int = TEXT_LIMIT, refusal: Refusal = ConfigurationError) -> str:
    """The text of a file in UTF-8, with or without a byte order mark.

    Args:
        path: Of the file.
        limit: Largest size, bytes.
        refusal: Class of the error.

    Raises:
        RoboReferError: ``refusal``, as ``read_bytes``; or it is in another encoding.
    """
    return decode_text(read_bytes(path, limit, refusal), path, refusal)


def decode_text(data: bytes, where: Path | str, refusal: Refusal = ConfigurationError) -> str:
    """UTF-8 with or without a byte order mark.

    Args:
        data: The bytes.
        where: Name of their file, for the message.
        refusal: Class of the error.

    Raises:
        RoboReferError: ``refusal``, for another encoding; it tells byte and offset.
    """
    for mark, name in _FOREIGN_MARKS:
        if data.startswith(mark):
            raise refusal(
                f"{where} is not UTF-8 (byte 0x{data[0]:02x} at offset 0): its byte order mark "
                f"says {name}; save it as UTF-8"
            )
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        # The decoder counts from behind the mark.
        at = error.start + (3 if data.startswith(b"\xef\xbb\xbf") else 0)
        raise refusal(
            f"{where} is not UTF-8 (byte 0x{data[at]:02x} at offset {at}); save it as UTF-8"
        ) from error
    if "\0" in text:
        raise refusal(
            f"{where} is not UTF-8 text (byte 0x00 at offset {data.index(0)}); save it as UTF-8"
        )
    return text


def read_json(
    path: Path,
    limit: int = TEXT_LIMIT,
    refusal: Refusal = ConfigurationError,
    depth: int = JSON_DEPTH,
) -> Any:
    """The value of a JSON file.

    Args:
        path: Of the file.
        limit: Largest size, bytes.
        refusal: Class of the error.
        depth: Most levels of objects and lists.

    Raises:
        RoboReferError: ``refusal``, as ``read_text`` and ``parse_json``.
    """
    return parse_json(read_text(path, limit, refusal), path, refusal, depth)


def parse_json(
    text: str, where: Path | str, refusal: Refusal = ConfigurationError, depth: int = JSON_DEPTH
) -> Any:
    """The value of a JSON text.

    Args:
        text: The JSON.
        where: Name of its file (and line), for the message.
        refusal: Class of the error.
        depth: Most levels of objects and lists.

    Raises:
        RoboReferError: ``refusal``; not JSON, nested too deep, or a number of thousands of digits.
    """
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise refusal(f"{where} is not JSON: {_reason(error)}") from error
    _check_depth(value, where, refusal, depth)
    return value


def _check_depth(
    value: Any, where: Path | str, refusal: Refusal, depth: int, most: float = math.inf
) -> None:
    level, deepest = [value], 0
    while level:
        level = [
            inner
            for outer in level
            if isinstance(outer, dict | list)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, dict | list)
        ]
        deepest += 1
        if deepest > depth:
            raise refusal(f"{where} is nested deeper than {depth} levels")
        if len(level) > most:
            raise refusal(f"{where} stands for more than {most} lists and tables")


def read_yaml(path: Path, limit: int = YAML_LIMIT, refusal: Refusal = ConfigurationError) -> Any:
    """The value of a YAML file of plain values.

    Args:
        path: Of the file.
        limit: Largest size, bytes.
        refusal: Class of the error.

    Raises:
        RoboReferError: ``refusal``, as ``read_text``; not YAML, nested too deep, or a few lines
            that stand for very many values (aliases of aliases).
    """
    import yaml

    text = read_text(path, limit, refusal)
    try:
        value = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        raise refusal(f"{path} is not YAML: {' '.join(str(error).split())[:300]}") from error
    _check_depth(value, path, refusal, JSON_DEPTH, _MOST_VALUES)
    return value


def is_lfs_pointer(data: bytes) -> bool:
    """Whether this is what Git leaves in place of a large file that was not fetched."""
    return data.startswith(_LFS) and len(data) < 1024


def lfs_message(path: Path) -> str:
    """What to do about a pointer."""
    return (
        f"{path} is a Git LFS pointer, not the file itself: run `git lfs install && git lfs pull` "
        "in its folder, or download the repository with `hf download`"
    )


# --- paths that a file names -----------------------------------------------------------


def path_inside(
    folder: Path, name: Any, refusal: Refusal = ConfigurationError, root: Path | None = None
) -> Path:
    """The path of an existing file that a table names, which must lie inside its folder.

    Links count as where they lead.  A folder in the hub's cache consists of links to the
    repository's ``blobs``; those are inside, as anything else in the repository's own folder is.

    Args:
        folder: What the name is relative to.
        name: As it stands in the table.
        refusal: Class of the error.
        root: Folder that links may lead to, too; a parent of ``folder``.

    Raises:
        RoboReferError: ``refusal``; no text, no usable path, outside, missing, or no regular file.
    """
    if not isinstance(name, str) or not name:
        raise refusal(f"{folder}: {_shown(name)} is not a path")
    parts = name.split("/")
    if not is_usable_path(name):
        raise refusal(f"{folder}: {_shown(name)} is not a usable path")
    if name.startswith("/") or ".." in parts:
        raise refusal(f"{folder}: the table names {name!r}, outside the folder")
    path = folder / name
    try:
        real = path.resolve(strict=True)
        allowed = (root or folder).resolve(strict=True)
    except FileNotFoundError as error:
        raise refusal(f"{path} is missing; was the download complete?") from error
    except (OSError, ValueError, RuntimeError) as error:  # RuntimeError: links in a circle
        raise refusal(f"{_shown(path)} cannot be read: {_reason(error)}") from error
    repository = _hub_repository(allowed)
    if not real.is_relative_to(repository or allowed):
        raise refusal(f"{folder}: the table names {name!r}, which leads to {real}, outside")
    if not real.is_file():
        raise refusal(f"{path} is not a regular file")
    return path


def is_usable_path(name: str) -> bool:
    """Whether an operating system takes this as a path, whatever is there."""
    return (
        bool(name)
        and "\0" not in name
        and len(name) <= _LONGEST_PATH
        and not any(map(_is_too_long, name.split("/")))
    )


def _hub_repository(folder: Path) -> Path | None:
    """The folder of a repository in the hub's cache that this (resolved) one is a snapshot of."""
    for parent in (folder, *folder.parents):
        if parent.name == "snapshots" and _HUB_REPOSITORY.fullmatch(parent.parent.name):
            return parent.parent if (parent.parent / "blobs").is_dir() else None
    return None


def _is_too_long(part: str) -> bool:
    return len(os.fsencode(part) if part.isascii() else part.encode(errors="replace")) > (
        _LONGEST_NAME
    )


# --- writing ---------------------------------------------------------------------------


def write_text(path: Path, text: str) -> None:
    """Write a file so that an interruption leaves the old one or the new one.

    Raises:
        OSError: it cannot be written.
    """
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: Path, data: bytes) -> None:
    """See ``write_text``."""
    with replaced_file(path) as partial:
        partial.write_bytes(data)


@contextmanager
def replaced_file(path: Path) -> Iterator[Path]:
    """A place to write a file that takes the name ``path`` when the block ends without an error.

    Yields:
        Path beside it, which does not exist yet.
    """
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name[:100]}.", dir=path.parent)
    os.close(descriptor)
    partial = Path(name)
    try:
        yield partial
        partial.chmod(0o666 & ~_umask())
        _sync(partial)
        partial.replace(path)
        _sync(path.parent)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def replaced_folder(path: Path) -> Iterator[Path]:
    """A new folder that takes the name ``path`` whole when the block ends without an error.

    Whoever opens ``path`` finds the old content or the new, at any moment and after any crash.

    Yields:
        Empty folder beside it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{path.name[:100]}.", dir=path.parent))
    try:
        yield partial
        partial.chmod(0o777 & ~_umask())
        for file in partial.rglob("*"):
            _sync(file)
        _sync(partial)
        if path.is_dir() and not path.is_symlink():
            _exchange(partial, path)
        else:
            partial.replace(path)
        _sync(path.parent)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _exchange(new: Path, old: Path) -> None:
    """Swap the names of two folders in one step, where the file system can; else in two."""
    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    here, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    if renameat2 and not renameat2(here, os.fsencode(new), here, os.fsencode(old), exchange):
        return
    aside = old.with_name(f"{old.name}.previous")
    shutil.rmtree(aside, ignore_errors=True)
    old.rename(aside)
    new.rename(old)
    shutil.rmtree(aside, ignore_errors=True)


def restore_folder(path: Path) -> None:
    """Undo what a crash between the two steps of ``replaced_folder`` left; remove leftovers.

    Args:
        path: The name that was to be taken.
    """
    aside = path.with_name(f"{path.name}.previous")
    if aside.is_dir() and not path.exists():
        aside.rename(path)
    for partial in path.parent.glob(f".{path.name}.*"):
        if partial.is_dir():
            shutil.rmtree(partial, ignore_errors=True)
        else:
            partial.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Wait until a file or folder has reached the disk.

    Raises:
        OSError: It could not be written, or the file system cannot tell.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync(path: Path) -> None:
    with suppress(OSError):  # some network file systems cannot
        sync(path)


def _umask() -> int:
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


def _check_regular(mode: int, path: Path, refusal: Refusal) -> None:
    if not stat.S_ISREG(mode):
        kind = next((name for test, name in _KINDS if test(mode)), "something else")
        raise refusal(f"{path} is {kind}, not a regular file")


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]


def _shown(value: object) -> str:
    text = str(value) if isinstance(value, Path) else repr(value)
    text = text.replace("\0", "\\0")
    return text if len(text) <= 120 else f"{text[:80]}... ({len(text)} characters)"
