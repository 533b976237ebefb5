# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""What dead Fast DDS participants leave in shared memory is found, and nothing that is in use."""

from __future__ import annotations

import mmap
import os
import shlex
import subprocess
from collections import namedtuple
from collections.abc import Iterator
from pathlib import Path

import pytest

from roborefer_ros.cli import doctor
from roborefer_ros.doctor import report, shared_memory


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A directory that stands for /dev/shm; the processes are the real ones."""
    for name in (
        "fastdds_0123456789abcdef",
        "fastdds_0123456789abcdef_el",
        "fastdds_port7410",
        "sem.fastdds_port7410_mutex",
        "fastrtps_fedcba9876543210",
        "fast_datasharing_01.0f_0.0.1.3",
    ):
        (tmp_path / name).write_bytes(b"x" * 4096)
    (tmp_path / "somebody_elses").write_bytes(b"")
    return tmp_path


@pytest.fixture
def held(folder: Path) -> Iterator[Path]:
    """A segment that this process maps, as a participant does."""
    path = folder / "fastdds_00112233445566aa"
    path.write_bytes(b"x" * 4096)
    path.with_name(path.name + "_el").touch()
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 4096):
        yield path


def test_files_without_an_owner_are_found_and_those_in_use_left(folder: Path, held: Path) -> None:
    found = shared_memory.find_leftovers(folder)
    names = {path.name for path in found.unheld}
    assert names == {
        "fastdds_0123456789abcdef",
        "fastdds_0123456789abcdef_el",
        "fastdds_port7410",
        "sem.fastdds_port7410_mutex",
        "fastrtps_fedcba9876543210",
        "fast_datasharing_01.0f_0.0.1.3",
    }
    assert found.empty_ports == ()
    check = shared_memory.check_leftovers(folder)
    assert check.status == "warn"
    assert "held by no process" in check.detail


def test_an_empty_port_is_a_failure_with_the_line_that_removes_it(tmp_path: Path) -> None:
    port = tmp_path / "fastdds_port7411"
    port.touch()
    check = shared_memory.check_leftovers(tmp_path)
    assert check.is_failure
    assert "fastdds_port7411: 0 bytes" in check.detail
    subprocess.run(shlex.split(check.remedy), check=True)
    assert not port.exists()
    assert shared_memory.check_leftovers(tmp_path).status == "ok"


def test_an_open_port_of_no_bytes_is_being_made_and_left_alone(tmp_path: Path) -> None:
    with (tmp_path / "fastdds_port7412").open("wb"):
        assert shared_memory.find_leftovers(tmp_path).paths == ()


def test_removing_takes_what_was_found_and_nothing_else(folder: Path, held: Path) -> None:
    removed = shared_memory.remove_leftovers(folder)
    assert len(removed) == 6
    assert {path.name for path in folder.iterdir()} == {
        "somebody_elses",
        held.name,
        f"{held.name}_el",
    }


def test_many_names_become_a_number(tmp_path: Path) -> None:
    for index in range(30):
        (tmp_path / f"fastdds_{index:016x}").write_bytes(b"x")
    check = shared_memory.check_leftovers(tmp_path)
    assert "and 27 more" in check.detail
    assert "--remove-stale" in check.remedy


def test_files_of_others_are_not_judged_where_their_processes_cannot_be_seen(
    folder: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(process: Path, _folder: Path) -> Iterator[str]:
        raise PermissionError(process)

    monkeypatch.setattr(shared_memory, "_opened", refuse)
    processes = tmp_path_factory.mktemp("proc")
    (processes / "1").mkdir()
    (processes / "1" / "maps").touch()
    assert len(shared_memory.find_leftovers(folder, processes).paths) == 6
    monkeypatch.setattr(os, "geteuid", lambda: 12345678)
    found = shared_memory.find_leftovers(folder, processes)
    assert found.hidden_processes
    assert found.paths == ()


def test_a_system_without_shared_memory_is_told(tmp_path: Path) -> None:
    assert shared_memory.check_leftovers(tmp_path / "none").status == "ok"
    assert "has no" in shared_memory.check_capacity(tmp_path / "none").detail


def test_small_shared_memory_is_warned_about(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(
        shared_memory.shutil, "disk_usage", lambda _path: usage(64 << 20, 0, 64 << 20)
    )
    check = shared_memory.check_capacity(tmp_path)
    assert check.status == "warn"
    assert "--shm-size" in check.remedy


def test_the_command_removes_before_it_looks(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(shared_memory.remove_leftovers, "__defaults__", (folder, Path("/proc")))
    monkeypatch.setattr(
        report, "CHECKS", (lambda: shared_memory.check_leftovers(folder, Path("/proc")),)
    )
    assert doctor.main(["--remove-stale"]) == 0
    printed = capsys.readouterr()
    assert f"removed {folder / 'fastdds_port7410'}" in printed.err
    assert "none without an owner" in printed.out
