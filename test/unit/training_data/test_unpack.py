# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Archives, cut or whole, become folders; what is unsafe or damaged ends in a clear error."""

from __future__ import annotations

import gzip
import io
import os
import resource
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import pytest
from lookalike import archive, make, pack, write_parts

from roborefer_ros.cli import main
from roborefer_ros.errors import ConfigurationError
from roborefer_ros.training.data.archives import find_archives
from roborefer_ros.training.data.unpack import Limits, Unpacked, unpack_archive

RANDOM = os.urandom(3000)
MEMBERS = {f"p{i}.png": RANDOM[:100] + bytes([i]) * i for i in range(20)}


def only(folder: Path, **options: object) -> Unpacked:
    (found,) = find_archives(folder)
    return unpack_archive(found, **options)  # type: ignore[arg-type]


def pictures(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.iterdir() if p.suffix == ".png"}


def test_the_lookalike_unpacks_with_one_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = make(tmp_path / "R", rows=4)
    packed = pack(root)
    assert main(["dataset", "unpack", str(root)]) == 0
    assert {name: (root / name).read_bytes() for name in packed} == packed
    assert "9 of 9 archives" in capsys.readouterr().out
    assert main(["dataset", "unpack", str(root), "--jobs", "2"]) == 0
    assert capsys.readouterr().out.count("unpacked before") == 9


@pytest.mark.parametrize("prefix", ["", "RefSpatial/2D/image/", "./", "a/"])
@pytest.mark.parametrize("parts", [1, 3])
def test_members_go_under_their_base_names(tmp_path: Path, prefix: str, parts: int) -> None:
    members = {prefix + name: data for name, data in MEMBERS.items()}
    write_parts(tmp_path, "image.tar.gz", archive(members), parts)
    assert only(tmp_path).written == 20
    assert pictures(tmp_path) == MEMBERS


def test_an_archive_without_compression_is_read(tmp_path: Path) -> None:
    write_parts(tmp_path, "image.tar", archive(MEMBERS, compressed=False), 3)
    assert only(tmp_path).written == 20


def test_the_parts_are_only_deleted_when_it_is_asked(tmp_path: Path) -> None:
    parts = write_parts(tmp_path, "image.tar.gz", archive(MEMBERS), 3)
    only(tmp_path)
    assert all(part.is_file() for part in parts)
    assert only(tmp_path, delete_parts=True).deleted > 0
    assert not any(part.exists() for part in parts)
    assert pictures(tmp_path) == MEMBERS
    assert main(["dataset", "unpack", str(tmp_path)]) == 0


def test_parts_stay_where_a_picture_is_not_what_they_hold(tmp_path: Path) -> None:
    parts = write_parts(tmp_path, "image.tar.gz", archive(MEMBERS), 3)
    only(tmp_path)
    (tmp_path / "p3.png").write_bytes(b"x" * len(MEMBERS["p3.png"]))
    with pytest.raises(ConfigurationError, match=r"p3.png has another content"):
        only(tmp_path, delete_parts=True)
    assert all(part.is_file() for part in parts)


def test_a_folder_elsewhere_keeps_the_tree(tmp_path: Path) -> None:
    (tmp_path / "R/2D/image").mkdir(parents=True)
    write_parts(tmp_path / "R/2D/image", "image.tar.gz", archive(MEMBERS), 2)
    command = ["dataset", "unpack", str(tmp_path / "R"), "--into", str(tmp_path / "S")]
    assert main(command) == 0
    assert pictures(tmp_path / "S/2D/image") == MEMBERS


# --- going on --------------------------------------------------------------------------


def test_what_is_there_is_kept_and_what_is_cut_off_is_written_again(tmp_path: Path) -> None:
    write_parts(tmp_path, "image.tar.gz", archive(MEMBERS), 3)
    for name in list(MEMBERS)[:7]:
        (tmp_path / name).write_bytes(MEMBERS[name])
    (tmp_path / "p9.png").write_bytes(b"cut")
    (tmp_path / "p8.png.partial").write_bytes(b"cut")
    result = only(tmp_path)
    assert (result.kept, result.written) == (7, 13)
    assert pictures(tmp_path) == MEMBERS
    assert not list(tmp_path.glob("*.partial"))


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_run_goes_on(tmp_path: Path, how: signal.Signals) -> None:
    members = {f"p{i}.png": os.urandom(5000) for i in range(4000)}
    write_parts(tmp_path, "image.tar.gz", archive(members), 3)
    command = [sys.executable, "-m", "roborefer_ros.cli", "dataset", "unpack", str(tmp_path)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("p*.png")) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(how)
    process.wait(60)
    result = only(tmp_path)
    assert result.kept > 0
    assert result.kept + result.written == 4000
    assert pictures(tmp_path) == members


def test_two_runs_at_once_are_kept_apart(tmp_path: Path) -> None:
    import fcntl

    write_parts(tmp_path, "image.tar.gz", archive(MEMBERS), 1)
    with (tmp_path / ".unpack.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(ConfigurationError, match="another process"):
            only(tmp_path)


# --- what is refused -------------------------------------------------------------------


@pytest.mark.parametrize("gone", ["a", "b"])
def test_a_missing_part_is_named(tmp_path: Path, gone: str) -> None:
    write_parts(tmp_path, "image.tar.gz", archive(MEMBERS), 3)
    (tmp_path / f"image.tar.gz.part_{gone}").unlink()
    with pytest.raises(ConfigurationError, match=f"missing parts: image.tar.gz.part_{gone}"):
        only(tmp_path)


@pytest.mark.parametrize("compressed", [True, False])
def test_a_missing_last_part_shows_at_the_end(tmp_path: Path, compressed: bool) -> None:
    name = "image.tar.gz" if compressed else "image.tar"
    write_parts(tmp_path, name, archive(MEMBERS, compressed=compressed), 3)[2].unlink()
    with pytest.raises(ConfigurationError, match="ends (early|within)|damaged"):
        only(tmp_path, delete_parts=True)
    assert (tmp_path / f"{name}.part_a").is_file()


@pytest.mark.parametrize("at", [5, 200, -5])
def test_a_damaged_part_is_noticed(tmp_path: Path, at: int) -> None:
    data = bytearray(archive(MEMBERS))
    data[at] ^= 0xFF
    write_parts(tmp_path, "image.tar.gz", bytes(data), 1)
    if at == 5:  # the time in gzip's header matters to nobody
        assert only(tmp_path).written == 20
        return
    with pytest.raises(ConfigurationError, match="damaged|ends early"):
        only(tmp_path)


def test_a_damaged_header_is_not_taken_for_the_end(tmp_path: Path) -> None:
    data = bytearray(archive(MEMBERS, compressed=False))
    data[1024 * 4] ^= 0xFF
    write_parts(tmp_path, "image.tar.gz", gzip.compress(bytes(data)), 1)
    with pytest.raises(ConfigurationError, match="damaged"):
        only(tmp_path)


@pytest.mark.parametrize(
    "name",
    ["../evil.png", "a/../../evil.png", "/etc/evil.png", "..", "a\\..\\evil.png", ".hidden"]
    + ["image.tar.gz.part_b", "x.partial", "x" * 300],
)
def test_a_member_that_leads_elsewhere_ends_the_archive(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    write_parts(folder, "image.tar.gz", archive({"good.png": b"1", name: b"evil"}), 1)
    with pytest.raises(ConfigurationError, match="leads out|not the name|too long"):
        only(folder)
    assert not (tmp_path / "evil.png").exists()


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE]
)
def test_links_and_devices_end_the_archive(tmp_path: Path, kind: bytes) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        info = tarfile.TarInfo("a.png")
        info.type, info.linkname = kind, "/etc/passwd"
        tar.addfile(info)
    write_parts(tmp_path, "image.tar.gz", buffer.getvalue(), 1)
    with pytest.raises(ConfigurationError, match="a link, a device"):
        only(tmp_path)
    assert not (tmp_path / "a.png").exists()


def test_a_name_that_occurs_twice_ends_the_archive(tmp_path: Path) -> None:
    write_parts(tmp_path, "image.tar.gz", archive({"a/x.png": b"1", "b/x.png": b"2"}), 1)
    with pytest.raises(ConfigurationError, match=r"'x.png' occurs twice"):
        only(tmp_path)


def test_a_link_in_the_way_is_replaced_not_followed(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "other").write_bytes(b"untouched")
    for name in ("p1.png", "p1.png.partial"):
        (tmp_path / "in" / name).symlink_to(tmp_path / "other")
    write_parts(tmp_path / "in", "image.tar.gz", archive(MEMBERS), 1)
    only(tmp_path / "in")
    assert (tmp_path / "other").read_bytes() == b"untouched"
    assert not (tmp_path / "in/p1.png").is_symlink()


def test_archives_that_fill_disk_or_memory_are_refused(tmp_path: Path) -> None:
    write_parts(tmp_path, "image.tar.gz", archive({"a.png": bytes(5_000_000)}), 1)
    with pytest.raises(ConfigurationError, match="5000000 bytes, more than 1000000"):
        only(tmp_path, limits=Limits(member=1_000_000))
    with pytest.raises(ConfigurationError, match="--max-bytes"):
        only(tmp_path, limits=Limits(total=1_000_000))
    info = tarfile.TarInfo("././@LongLink")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 2**32
    (tmp_path / "image.tar.gz").write_bytes(gzip.compress(info.tobuf() + bytes(5000)))
    with pytest.raises(ConfigurationError, match="a header of 4294967296 bytes"):
        only(tmp_path)


def test_a_full_disk_says_how_to_go_on(tmp_path: Path) -> None:
    members = {f"p{i}.png": bytes([i]) * (100_000 if i == 5 else 10) for i in range(9)}
    write_parts(tmp_path, "image.tar.gz", archive(members), 1)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, before[1]))  # a quota of this process
    try:
        with pytest.raises(ConfigurationError, match="full after 5 new pictures.*goes on"):
            only(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert only(tmp_path).kept == 5


@pytest.mark.parametrize(
    "content", [b"", b"no archive at all", b"version https://git-lfs.github.com/spec/v1\n"]
)
def test_what_is_no_archive_is_told(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "image.tar.gz").write_bytes(content)
    with pytest.raises(ConfigurationError, match="damaged|ends early|LFS|nothing in it"):
        only(tmp_path)


def test_parts_named_in_two_ways_are_refused(tmp_path: Path) -> None:
    for part in ("a", "aa"):
        (tmp_path / f"x.tar.gz.part_{part}").write_bytes(b"x")
    with pytest.raises(ConfigurationError, match="named in two ways"):
        find_archives(tmp_path)


def test_one_bad_archive_does_not_stop_the_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for folder, data in (("a", b"bad"), ("b", archive(MEMBERS))):
        (tmp_path / folder).mkdir()
        write_parts(tmp_path / folder, "image.tar.gz", data, 1)
    assert main(["dataset", "unpack", str(tmp_path)]) == 1
    told = capsys.readouterr()
    assert "1 of 2 archives" in told.out
    assert "a/image.tar.gz is damaged" in told.err
    assert pictures(tmp_path / "b") == MEMBERS
