# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""``roborefer dataset unpack``: archives of pictures, cut or whole, into their folders.

Parts are read as one stream, so nothing is merged and only the unpacked size is needed.  Each
picture goes under its base name into the folder of its archive, under another name until it is
complete.  Pictures that are there already are kept, so an interrupted run goes on.  Links,
devices, paths that lead elsewhere and names that occur twice end the archive with an error.
"""

from __future__ import annotations

import argparse
import ctypes
import errno
import fcntl
import gzip
import io
import json
import os
import re
import signal
import sys
import tarfile
import time
import zlib
from collections.abc import Iterator
from concurrent.futures import as_completed
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from roborefer_ros.arguments import positive_int
from roborefer_ros.errors import ConfigurationError, RoboReferError
from roborefer_ros.files import MIB, read_json, sync, write_text
from roborefer_ros.training.data.archives import Archive, PartStream, find_archives
from roborefer_ros.worker_processes import process_pool

GIB = 1024 * MIB

#: Bytes of one member; pictures have a few megabytes.
MEMBER_LIMIT = GIB

#: Pictures hardly compress: an archive that grows this much is made to fill a disk.
RATIO_LIMIT = 100

#: bytes of a header's extension (long names)
_HEADER_LIMIT = MIB

_PARTIAL = ".partial"
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_EXTENSIONS = (
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)
_RESERVED = re.compile(r".*\.(?:partial|tar|tgz|tar\.gz|gz|json)(?:\.part_[a-z]+)?", re.IGNORECASE)


@dataclass(frozen=True)
class Limits:
    """What an archive may amount to.

    Attributes:
        member: Largest member, bytes.
        total: Most bytes that are written of an archive; None for the disk's room.
    """

    member: int = MEMBER_LIMIT
    total: int | None = None


@dataclass
class Unpacked:
    """What became of an archive.

    Attributes:
        archive: Its path without the suffix of a part.
        members, written, kept: Pictures in it, written now, and there before.
        bytes: Of all pictures.
        was_done: Whether an earlier run had unpacked it.
        deleted: Bytes of parts that were deleted.
    """

    archive: str
    members: int = 0
    written: int = 0
    kept: int = 0
    bytes: int = 0
    was_done: bool = False
    deleted: int = 0


_Task = tuple[list[Archive], Path, int | None, bool]


@dataclass
class _Pass:
    """The state of one pass through an archive."""

    target: Path
    limits: Limits
    compare: bool
    result: Unpacked
    seen: set[str] = field(default_factory=set)
    new_bytes: int = 0


class _Info(tarfile.TarInfo):
    """A member whose header cannot be made to fill the memory."""

    @classmethod
    def frombuf(cls, buf: Any, encoding: str, errors: str) -> _Info:
        try:
            info = super().frombuf(buf, encoding, errors)
        except (tarfile.InvalidHeaderError, tarfile.TruncatedHeaderError) as error:  # type: ignore[attr-defined]
            # Behind the first member tarfile would take them for the end.
            raise ConfigurationError(f"a header in it is damaged: {error}") from error
        if info.type in _EXTENSIONS and not 0 <= info.size <= _HEADER_LIMIT:
            raise ConfigurationError(f"a header of {info.size} bytes is not one of pictures")
        return info


def unpack_archive(
    archive: Archive,
    target: Path | None = None,
    limits: Limits = Limits(),
    *,
    delete_parts: bool = False,
    seen: set[str] | None = None,
) -> Unpacked:
    """Unpack an archive.

    Args:
        archive: It and its parts.
        target: Folder of the pictures; the archive's own without it.
        limits: What it may amount to.
        delete_parts: Whether its files are deleted once every picture is there; pictures of an
            earlier run are compared byte by byte before.
        seen: Names in the folder that other archives have given; grows.

    Raises:
        ConfigurationError: a part is missing or damaged, a member is unsafe or twice there, or
            the disk is full; the message names the archive.
    """
    target = target or archive.folder
    result = Unpacked(str(archive.folder / archive.name))
    try:
        target.mkdir(parents=True, exist_ok=True)
        with _locked(target):
            marker = target / f".{archive.name}.unpacked.json"
            done = _read_marker(marker, archive)
            if done is not None and not delete_parts:
                return Unpacked(**{**done, "was_done": True, "written": 0, "kept": done["members"]})
            names = set() if seen is None else seen
            state = _Pass(target, limits, delete_parts, result, names)
            _one_pass(archive, state)
            _remove_leftovers(target)
            table = {"parts": archive.state(), "result": vars(result)}
            write_text(marker, json.dumps(table))
            if delete_parts:
                result.deleted = _delete(archive, target)
    except OSError as error:
        raise ConfigurationError(
            f"{result.archive}: {_os_reason(error, target, result)}"
        ) from error
    return result


def _one_pass(archive: Archive, state: _Pass) -> None:
    where = state.result.archive
    stream = PartStream(archive.parts)
    packed = archive.size
    raw: IO[bytes] = io.BufferedReader(stream, MIB)
    try:
        source: Any = gzip.GzipFile(fileobj=raw) if archive.compressed else raw
        with tarfile.open(fileobj=source, mode="r|", bufsize=MIB, tarinfo=_Info) as tar:
            while (member := tar.next()) is not None:
                _member(tar, member, state)
                tar.members.clear()  # type: ignore[attr-defined]  # a million fill the memory
                state.result.bytes += member.size
                if state.result.bytes > RATIO_LIMIT * packed + GIB:
                    raise ConfigurationError(
                        f"{RATIO_LIMIT} times larger than packed: not an archive of pictures"
                    )
        while source.read(MIB):  # to the checksum at the end
            pass
        if not archive.compressed and stream.tail.strip(b"\0"):
            raise ConfigurationError("it ends within a member: is its last part missing?")
        if not state.result.members:
            raise ConfigurationError("there is nothing in it")
    except ConfigurationError as error:
        raise ConfigurationError(f"{where}: {error}") from error
    except EOFError as error:
        last = archive.parts[-1].name
        raise ConfigurationError(
            f"{where} ends early, after {last}: is a later part missing, or was a download "
            "interrupted?"
        ) from error
    except (tarfile.TarError, gzip.BadGzipFile, zlib.error, RecursionError, ValueError) as error:
        raise ConfigurationError(
            f"{where} is damaged (near byte {stream.position} of {packed}): {str(error)[:200]}; "
            "download its parts again"
        ) from error
    finally:
        stream.close()


def _member(tar: tarfile.TarFile, member: tarfile.TarInfo, state: _Pass) -> None:
    name = _safe_name(member)
    if member.isdir() or name.startswith("._"):  # what macOS adds
        return
    if not member.isreg():
        raise ConfigurationError(f"{member.name[:200]!r} is a link, a device or of another kind")
    if name in state.seen:
        raise ConfigurationError(f"{name!r} occurs twice")
    state.seen.add(name)
    if member.size > state.limits.member or member.size < 0:
        limit = state.limits.member
        raise ConfigurationError(f"{name!r} has {member.size} bytes, more than {limit}")
    data = tar.extractfile(member)
    if data is None:
        raise ConfigurationError(f"{name!r} cannot be read")
    path = state.target / name
    state.result.members += 1
    if _is_there(path, member.size):
        if not state.compare or _same(path, data):
            state.result.kept += 1
            return
        raise ConfigurationError(
            f"{path} has another content than the archive: remove it, and unpack again"
        )
    state.new_bytes += member.size
    if state.limits.total is not None and state.new_bytes > state.limits.total:
        raise ConfigurationError(f"more than the {state.limits.total} bytes of --max-bytes")
    _write(path, data, member.size)
    state.result.written += 1


def _safe_name(member: tarfile.TarInfo) -> str:
    """The base name of a member."""
    parts = member.name.replace("\\", "/").split("/")
    if member.name.startswith(("/", "\\")) or ".." in parts or "\0" in member.name:
        raise ConfigurationError(f"{member.name[:200]!r} leads out of the folder")
    name = next((part for part in reversed(parts) if part not in ("", ".")), "")
    if member.isdir() or name.startswith("._"):
        return name
    if not name or name.startswith(".") or _RESERVED.fullmatch(name):
        raise ConfigurationError(f"{member.name[:200]!r} is not the name of a picture")
    if len(os.fsencode(name)) + len(_PARTIAL) > 255:
        raise ConfigurationError(f"{name[:100]!r}... is too long a name")
    return name


def _is_there(path: Path, size: int) -> bool:
    try:
        return not path.is_symlink() and path.is_file() and path.stat().st_size == size
    except OSError:
        return False


def _same(path: Path, data: IO[bytes]) -> bool:
    with path.open("rb") as file:
        while True:
            one, two = file.read(MIB), data.read(MIB)
            if one != two:
                return False
            if not one:
                return True


def _write(path: Path, data: IO[bytes], size: int) -> None:
    partial = path.with_name(path.name + _PARTIAL)
    partial.unlink(missing_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(partial, flags, 0o666), "wb") as file:
        left = size
        while left:
            chunk = data.read(min(left, MIB))
            if not chunk:
                raise EOFError
            file.write(chunk)
            left -= len(chunk)
    if path.is_dir() and not path.is_symlink():
        raise ConfigurationError(f"{path} is a directory")
    partial.replace(path)


@contextmanager
def _locked(target: Path) -> Iterator[None]:
    """One run a folder."""
    lock = os.open(target / ".unpack.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConfigurationError(f"{target} is being unpacked by another process") from error
        yield
    finally:
        os.close(lock)


def _read_marker(marker: Path, archive: Archive) -> dict[str, Any] | None:
    """What an earlier run wrote about the same parts."""
    if not marker.is_file():
        return None
    try:
        table = read_json(marker)
        if table["parts"] == archive.state():
            return vars(Unpacked(**table["result"]))
    except (ConfigurationError, KeyError, TypeError):
        pass
    return None


def _remove_leftovers(target: Path) -> None:
    for entry in os.scandir(target):
        if entry.name.endswith(_PARTIAL):
            Path(entry.path).unlink(missing_ok=True)


def _delete(archive: Archive, target: Path) -> int:
    """Delete the parts, after what was written has reached the disk."""
    sync(target)
    os.sync()
    freed = archive.size
    for path in archive.parts:
        path.unlink()
    return freed


def _os_reason(error: OSError, target: Path, result: Unpacked) -> str:
    if error.errno in _FULL:
        return (
            f"the disk of {target} is full after {result.written} new pictures; make room and give "
            "the same command again: it goes on from there"
        )
    return f"{error.filename or target}: {error.strerror or error}"


# --- the command -----------------------------------------------------------------------


def add_arguments(_verb: str, parser: argparse.ArgumentParser) -> None:
    """Arguments of ``unpack``."""
    parser.add_argument("root", type=Path, help="RefSpatial's folder, or any part of it")
    parser.add_argument("--into", type=Path, metavar="DIR", help="the same folders elsewhere")
    parser.add_argument("--only", metavar="TEXT", help="archives with this text in their path")
    parser.add_argument("--jobs", type=positive_int, default=1, help="folders at a time")
    parser.add_argument("--max-bytes", type=positive_int, metavar="N", help="of one archive")
    group = parser.add_mutually_exclusive_group()
    group.add_argument(
        "--delete-parts", action="store_true",
        help="delete an archive's files once all its pictures are there and compared",
    )  # fmt: skip
    group.add_argument("--keep", action="store_true", help="keep the archives (the default)")


def run(_verb: str, options: argparse.Namespace) -> int:
    """Run ``unpack``; 1 where an archive could not be unpacked."""
    archives = find_archives(options.root)
    if options.only:
        archives = [a for a in archives if options.only in str(a.folder / a.name)]
    if not archives:
        if not options.only and any(options.root.rglob(".*.unpacked.json")):
            print(f"{options.root}: unpacked before; the archives were deleted")
            return 0
        which = f" with {options.only!r} in their path" if options.only else ""
        raise ConfigurationError(f"{options.root} has no archives{which} (.tar.gz, .tar.gz.part_a)")
    folders: dict[Path, list[Archive]] = {}
    for archive in archives:
        folders.setdefault(archive.folder, []).append(archive)
    failed = 0
    started = time.monotonic()
    tasks = [
        (own, _target(options, folder), options.max_bytes, options.delete_parts)
        for folder, own in folders.items()
    ]
    for outcome in _outcomes(tasks, min(options.jobs, len(folders))):
        failed += isinstance(outcome, str)
        text = outcome if isinstance(outcome, str) else _told(outcome)
        print(text, file=sys.stderr if isinstance(outcome, str) else sys.stdout, flush=True)
    seconds = time.monotonic() - started
    print(f"{len(archives) - failed} of {len(archives)} archives, {seconds:.0f} s")
    return 1 if failed else 0


def _target(options: argparse.Namespace, folder: Path) -> Path:
    into: Path | None = options.into
    return folder if into is None else into / folder.relative_to(options.root)


def _outcomes(tasks: list[_Task], jobs: int) -> Iterator[Unpacked | str]:
    """Results as they come, from this process or from several."""
    if jobs == 1:
        for task in tasks:
            yield from _folder(*task)
        return
    with process_pool(jobs, _end_with_parent) as pool:
        for future in as_completed([pool.submit(_folder, *task) for task in tasks]):
            yield from future.result()


def _end_with_parent() -> None:
    """Linux: a killed command leaves no process behind that still writes and holds the lock."""
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    if prctl is not None:
        prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def _folder(
    archives: list[Archive], target: Path, total: int | None, delete_parts: bool
) -> list[Unpacked | str]:
    """Unpack the archives of one folder; an error is its text."""
    outcomes: list[Unpacked | str] = []
    seen: set[str] = set()
    for archive in archives:
        try:
            limits = Limits(total=total)
            outcomes.append(
                unpack_archive(archive, target, limits, delete_parts=delete_parts, seen=seen)
            )
        except RoboReferError as error:
            outcomes.append(f"roborefer dataset unpack: {error}")
    return outcomes


def _told(result: Unpacked) -> str:
    text = f"{result.archive}: {result.members} pictures, {result.bytes / 1e9:.2f} GB"
    if result.was_done:
        return f"{text}, unpacked before"
    text += f", {result.written} written, {result.kept} there before"
    return text + (f"; {result.deleted / 1e9:.2f} GB of archives deleted" if result.deleted else "")
