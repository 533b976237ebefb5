# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Fast DDS's files in shared memory: those that dead processes left behind.

Every participant maps a segment (``fastdds_<id>``, with a lock file ``..._el``), listens on ports
(``fastdds_port<number>``) guarded by named semaphores (``sem.fastdds_port<number>_mutex``), and
may share data directly (``fast_datasharing_...``).  A process that is killed leaves all of them.
Segments cost memory; a port file of 0 bytes, left by a process that died while it made it, hangs
every participant that opens it afterwards, for ever and without a message.
"""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from roborefer_ros.doctor.check import Check

SHARED_MEMORY = Path("/dev/shm")
PROCESSES = Path("/proc")
#: one camera image of 4K and some: below this, large images do not fit into the segment
WANTED_BYTES = 256 * 1024 * 1024
_PREFIXES = ("fastdds_", "fastrtps_", "fast_datasharing_", "sem.fastdds_", "sem.fastrtps_")
#: more names than this are told by their number
_NAMED = 3


@dataclass(frozen=True)
class Leftovers:
    """Files of Fast DDS that no process holds.

    Attributes:
        empty_ports: Port files of 0 bytes; a participant that opens one hangs.
        unheld: Other files.
        unheld_bytes: Memory that ``unheld`` occupies, bytes.
        hidden_processes: Whether processes of other users could not be looked at: then files of
            other users are left out.
    """

    empty_ports: tuple[Path, ...] = ()
    unheld: tuple[Path, ...] = ()
    unheld_bytes: int = 0
    hidden_processes: bool = False

    @property
    def paths(self) -> tuple[Path, ...]:
        """All of them."""
        return self.empty_ports + self.unheld


def check_capacity(folder: Path = SHARED_MEMORY) -> Check:
    """Room in /dev/shm; containers often have 64 MB, of which one participant takes all."""
    name = "shared memory"
    if not folder.is_dir():
        return Check(name, "warn", f"this system has no {folder}")
    usage = shutil.disk_usage(folder)
    detail = f"{folder} has {usage.free / 2**20:.0f} of {usage.total / 2**20:.0f} MiB free"
    if usage.free < WANTED_BYTES:
        return Check(name, "warn", detail, "docker run --shm-size=1g, or --ipc=host")
    return Check(name, "ok", detail)


def check_leftovers(folder: Path = SHARED_MEMORY, processes: Path = PROCESSES) -> Check:
    """Files that dead participants left, with the line that removes them."""
    name = "Fast DDS files"
    found = find_leftovers(folder, processes)
    if not found.paths:
        return Check(name, "ok", f"none without an owner in {folder}")
    parts = []
    if found.empty_ports:
        parts.append(
            f"{_names(found.empty_ports)}: 0 bytes; every ROS 2 process that opens it hangs at "
            "its start"
        )
    if found.unheld:
        parts.append(
            f"{_names(found.unheld)}: held by no process, {found.unheld_bytes / 2**20:.0f} MiB"
        )
    remedy = "rm -f " + " ".join(shlex.quote(str(path)) for path in found.paths)
    if len(found.paths) > _NAMED:
        remedy = "roborefer doctor --remove-stale   (removes exactly these)"
    return Check(name, "broken" if found.empty_ports else "warn", "; ".join(parts), remedy)


def find_leftovers(folder: Path = SHARED_MEMORY, processes: Path = PROCESSES) -> Leftovers:
    """Look for files of Fast DDS in shared memory that no process maps or has open.

    Args:
        folder: Directory of the POSIX shared memory.
        processes: Mount point of procfs.
    """
    candidates = [path for path in _entries(folder) if path.name.startswith(_PREFIXES)]
    if not candidates:
        return Leftovers()
    held, hidden = _held_names(folder, processes)
    empty, unheld, size = [], [], 0
    for path in candidates:
        try:
            status = path.lstat()
        except FileNotFoundError:  # its owner ended meanwhile
            continue
        if hidden and status.st_uid != os.geteuid():
            continue  # its owner may be one of the processes that cannot be seen
        if path.name in held or _belongs_to_held(path.name, held):
            continue
        if status.st_size == 0 and _is_port(path.name):
            empty.append(path)
        else:
            unheld.append(path)
            size += status.st_blocks * 512
    return Leftovers(tuple(empty), tuple(unheld), size, hidden)


def remove_leftovers(folder: Path = SHARED_MEMORY, processes: Path = PROCESSES) -> list[Path]:
    """Remove what ``find_leftovers`` finds at this moment; returns the removed files."""
    removed = []
    for path in find_leftovers(folder, processes).paths:
        try:
            path.unlink()
        except OSError:
            continue
        removed.append(path)
    return removed


def _is_port(name: str) -> bool:
    return "_port" in name and not name.startswith("sem.") and not name.endswith("_el")


def _belongs_to_held(name: str, held: set[str]) -> bool:
    """Whether a lock file or semaphore belongs to a segment or port that is in use."""
    base = name.removeprefix("sem.")
    for suffix in ("_el", "_sl", "_mutex"):
        base = base.removesuffix(suffix)
    return base in held


def _held_names(folder: Path, processes: Path) -> tuple[set[str], bool]:
    """Names of the files in ``folder`` that a process maps or has open."""
    held: set[str] = set()
    hidden = False
    for process in _entries(processes):
        if not process.name.isdigit():
            continue
        try:
            held.update(_mapped(process, folder))
            held.update(_opened(process, folder))
        except PermissionError:
            hidden = True
        except OSError:  # it ended meanwhile
            continue
    return held, hidden


def _mapped(process: Path, folder: Path) -> Iterator[str]:
    with (process / "maps").open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            at = line.find(f"{folder}/")
            if at >= 0:
                yield line[at:].strip().removesuffix(" (deleted)").rpartition("/")[2]


def _opened(process: Path, folder: Path) -> Iterator[str]:
    for descriptor in (process / "fd").iterdir():
        try:
            target = Path(os.readlink(descriptor))
        except FileNotFoundError:
            continue
        if target.parent == folder:
            yield target.name


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []


def _names(paths: tuple[Path, ...]) -> str:
    named = ", ".join(path.name for path in paths[:_NAMED])
    return named if len(paths) <= _NAMED else f"{named} and {len(paths) - _NAMED} more"
