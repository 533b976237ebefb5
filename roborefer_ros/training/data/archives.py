# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Archives of pictures as they lie on the hub: found, and their parts read as one stream."""

from __future__ import annotations

import io
import os
import re
import string
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from roborefer_ros.errors import ConfigurationError
from roborefer_ros.files import MIB, is_lfs_pointer, lfs_message, open_regular

_ARCHIVE = re.compile(r"(?P<name>[^/]+\.(?:tar\.gz|tgz|tar))(?:\.part_(?P<part>[a-z]{1,4}))?")


@dataclass(frozen=True)
class Archive:
    """One archive.

    Attributes:
        folder: Where it lies, and where its pictures go.
        name: Without the suffix of a part.
        parts: Its files in order.
    """

    folder: Path
    name: str
    parts: tuple[Path, ...]

    @property
    def size(self) -> int:
        """Bytes of all parts."""
        return sum(path.stat().st_size for path in self.parts)

    @property
    def compressed(self) -> bool:
        """Whether it is gzip."""
        return not self.name.endswith(".tar")

    def state(self) -> list[list[int | str]]:
        """Name, size and time of change of each part, to tell whether it is still the same."""
        states = [(path.name, path.stat()) for path in self.parts]
        return [[name, state.st_size, state.st_mtime_ns] for name, state in states]


def find_archives(root: Path) -> list[Archive]:
    """All archives below a folder, sorted by path.

    Raises:
        ConfigurationError: the folder is missing, or parts of an archive are.
    """
    if not root.is_dir():
        raise ConfigurationError(f"{root} is not a directory")
    groups: dict[tuple[Path, str], dict[str, Path]] = {}
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(f for f in folders if not f.startswith(".") and f != "__pycache__")
        for name in names:
            match = _ARCHIVE.fullmatch(name)
            if match:
                key = (Path(folder), match["name"])
                groups.setdefault(key, {})[match["part"] or ""] = Path(folder) / name
    return [_archive(folder, name, parts) for (folder, name), parts in sorted(groups.items())]


def _archive(folder: Path, name: str, parts: dict[str, Path]) -> Archive:
    whole = parts.pop("", None)
    if not parts:
        assert whole is not None
        return Archive(folder, name, (whole,))
    letters = sorted(parts, key=lambda part: (len(part), part))
    if len({len(part) for part in letters}) > 1:
        raise ConfigurationError(
            f"{folder}: the parts of {name} are named in two ways (part_{letters[0]}, "
            f"part_{letters[-1]}); remove those that do not belong to it"
        )
    expected = [_letters(number, len(letters[0])) for number in range(_number(letters[-1]) + 1)]
    missing = [part for part in expected if part not in parts]
    if missing:
        shown = ", ".join(f"{name}.part_{part}" for part in missing[:5])
        raise ConfigurationError(f"{folder}: missing parts: {shown}; download what is missing")
    # A merged copy beside the parts is theirs: it is not needed, and may be cut off.
    return Archive(folder, name, tuple(parts[part] for part in letters))


def _number(part: str) -> int:
    number = 0
    for letter in part:
        number = number * 26 + string.ascii_lowercase.index(letter)
    return number


def _letters(number: int, length: int) -> str:
    letters = ""
    for _ in range(length):
        number, rest = divmod(number, 26)
        letters = string.ascii_lowercase[rest] + letters
    return letters


class PartStream(io.RawIOBase):
    """Several files as one stream that is read forward.

    Args:
        parts: In order.

    Attributes:
        position: Bytes read.
        tail: The last 1024 of them.
    """

    def __init__(self, parts: Sequence[Path]) -> None:
        super().__init__()
        self._left = list(parts)
        self._file: io.RawIOBase | None = None
        self._path = parts[0]
        self.position, self.tail = 0, b""

    def readable(self) -> bool:
        """Always."""
        return True

    def readinto(self, buffer: object) -> int:
        """Bytes of the current part, or of the next one; 0 at the end of the last."""
        view = memoryview(buffer)  # type: ignore[arg-type]
        while True:
            if self._file is None:
                if not self._left:
                    return 0
                self._open(self._left.pop(0))
            assert self._file is not None
            try:
                count = self._file.readinto(view) or 0
            except OSError as error:
                raise ConfigurationError(
                    f"{self._path} cannot be read: {error.strerror}"
                ) from error
            if count:
                self.position += count
                self.tail = (self.tail + bytes(view[max(0, count - 1024) : count]))[-1024:]
                return count
            self._file.close()
            self._file = None

    def _open(self, path: Path) -> None:
        self._path = path
        file = open_regular(path)
        if os.fstat(file.fileno()).st_size < MIB:
            head = file.read(200)
            if is_lfs_pointer(head):
                file.close()
                raise ConfigurationError(lfs_message(path))
            file.seek(0)
        self._file = file  # type: ignore[assignment]

    def close(self) -> None:
        """Close the part that is open."""
        if self._file is not None:
            self._file.close()
            self._file = None
        super().close()
