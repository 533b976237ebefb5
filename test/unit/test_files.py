# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Files of others are read within limits; files of ours are never half written."""

from __future__ import annotations

import codecs
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from roborefer_ros import files
from roborefer_ros.errors import ConfigurationError


def test_what_is_no_regular_file_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "zero").symlink_to("/dev/zero")
    (tmp_path / "nowhere").symlink_to(tmp_path / "gone")
    (tmp_path / "round").symlink_to(tmp_path / "round")
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(tmp_path / "socket"))
    for name, message in (
        ("pipe", "named pipe"),
        ("zero", "a device"),
        ("socket", "a socket"),
        ("", "a directory"),
        ("nowhere", "does not exist"),
        ("round", "symbolic links"),
        ("gone", "is missing"),
        ("a\0b", "cannot be read"),
        ("x" * 5000, "too long"),
    ):
        with pytest.raises(ConfigurationError, match=message) as caught:
            files.read_bytes(tmp_path / name)
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < 400
    server.close()


def test_size_is_bounded(tmp_path: Path) -> None:
    path = tmp_path / "big"
    path.touch()
    os.truncate(path, 2**40)
    with pytest.raises(ConfigurationError, match="1099511627776 bytes"):
        files.read_bytes(path)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("é".encode("latin-1"), r"byte 0xe9 at offset 0"),
        ('{"a": "杯子"}'.encode("gbk"), r"byte 0xb1 at offset 7"),
        (codecs.BOM_UTF8 + b"abc\xff", r"byte 0xff at offset 6"),
        ("ab".encode("utf-16"), r"byte 0xff at offset 0.*UTF-16"),
        ("ab".encode("utf-16-le"), r"byte 0x00 at offset 1"),
        ("ab".encode("utf-32"), r"byte 0xff at offset 0.*UTF-32"),
    ],
)
def test_other_encodings_are_named_with_byte_and_offset(
    tmp_path: Path, data: bytes, message: str
) -> None:
    (tmp_path / "t.json").write_bytes(data)
    with pytest.raises(ConfigurationError, match=rf"t\.json is not UTF-8.*{message}"):
        files.read_json(tmp_path / "t.json")


def test_utf8_is_read_with_and_without_a_mark(tmp_path: Path) -> None:
    for mark in (b"", codecs.BOM_UTF8):
        (tmp_path / "t.json").write_bytes(mark + '{"a": "杯子"}'.encode())
        assert files.read_json(tmp_path / "t.json") == {"a": "杯子"}


@pytest.mark.parametrize("text", ["{", "[" * 100_000, "[" * 70 + "]" * 70, "1" * 5000])
def test_json_is_bounded_in_depth_and_digits(text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"line 3"):
        files.parse_json(text, "table line 3")


def test_git_lfs_pointers_are_named(tmp_path: Path) -> None:
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:abc\nsize 1000\n"
    (tmp_path / "tokenizer.json").write_text(pointer)
    with pytest.raises(ConfigurationError, match=r"Git LFS pointer.*git lfs pull"):
        files.read_json(tmp_path / "tokenizer.json")


# --- paths in tables -------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    ["/etc/passwd", "../outside.png", "a/../../outside.png", "link", "linked/outside.png", "a\0b",
     "x" * 5000, "y/" * 3000, "", 3, None, ["a"], "pipe", "missing.png", "x" * 300, "round"],
)  # fmt: skip
def test_paths_that_leave_their_folder_are_refused(tmp_path: Path, name: Any) -> None:
    (tmp_path / "outside.png").write_text("x")
    folder = tmp_path / "set"
    folder.mkdir()
    (folder / "link").symlink_to("../outside.png")
    (folder / "linked").symlink_to("..")
    (folder / "round").symlink_to("round")
    os.mkfifo(folder / "pipe")
    with pytest.raises(ConfigurationError) as caught:
        files.path_inside(folder, name)
    assert len(str(caught.value)) < 600


def hub_cache(tmp_path: Path) -> tuple[Path, Path]:
    repository = tmp_path / "hub" / "datasets--me--set"
    snapshot = repository / "snapshots" / ("0123" * 10)
    (repository / "blobs").mkdir(parents=True)
    (snapshot / "image").mkdir(parents=True)
    return repository, snapshot


def test_links_of_the_hubs_cache_are_inside(tmp_path: Path) -> None:
    repository, snapshot = hub_cache(tmp_path)
    (repository / "blobs" / "abc").write_text("x")
    (snapshot / "image" / "0.png").symlink_to("../../../blobs/abc")
    assert files.path_inside(snapshot, "image/0.png").read_text() == "x"
    assert files.path_inside(snapshot / "image", "0.png").read_text() == "x"


def test_a_link_that_leaves_the_repository_is_refused_in_the_hubs_cache_too(
    tmp_path: Path,
) -> None:
    repository, snapshot = hub_cache(tmp_path)
    (tmp_path / "hub" / "secret").write_text("x")
    (snapshot / "image" / "0.png").symlink_to("../../../../secret")
    (repository / "blobs" / "abc").symlink_to("/etc/passwd")
    (snapshot / "image" / "1.png").symlink_to("../../../blobs/abc")
    for name in ("image/0.png", "image/1.png"):
        with pytest.raises(ConfigurationError, match="outside"):
            files.path_inside(snapshot, name)


# --- writing ---------------------------------------------------------------------------


def test_a_folder_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "checkpoint"
    for content in ("old", "new"):
        with files.replaced_folder(target) as partial:
            (partial / "sub").mkdir()
            (partial / "sub" / "file").write_text(content)
    assert (target / "sub" / "file").read_text() == "new"
    with pytest.raises(KeyError), files.replaced_folder(target) as partial:
        (partial / "file").write_text("half")
        raise KeyError
    assert (target / "sub" / "file").read_text() == "new"
    assert [p.name for p in tmp_path.iterdir()] == ["checkpoint"]


_WRITER = """
import sys; from pathlib import Path; from roborefer_ros.files import replaced_folder
for number in range(10**6):
    with replaced_folder(Path(sys.argv[1])) as partial:
        for name in "abcdefgh":
            (partial / name).write_text(str(number))
    if not number: print("first", flush=True)
"""


def test_a_writer_that_is_killed_leaves_no_mixture(tmp_path: Path) -> None:
    target = tmp_path / "checkpoint"
    for wait_s in (0.0, 0.003, 0.01, 0.02, 0.05):
        process = subprocess.Popen(
            [sys.executable, "-c", _WRITER, str(target)], stdout=subprocess.PIPE
        )
        assert process.stdout is not None
        assert process.stdout.readline()
        time.sleep(wait_s)
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        files.restore_folder(target)
        contents = {file.name: file.read_text() for file in target.iterdir()}
        assert sorted(contents) == list("abcdefgh")
        assert len(set(contents.values())) == 1
        assert [p.name for p in tmp_path.iterdir()] == ["checkpoint"]


def test_a_file_system_that_cannot_exchange_names_is_served_in_two_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files.ctypes, "CDLL", lambda *_, **__: object())
    target = tmp_path / "c"
    for content in ("old", "new"):
        with files.replaced_folder(target) as partial:
            (partial / "file").write_text(content)
    assert (target / "file").read_text() == "new"
    assert len(list(tmp_path.iterdir())) == 1
    target.rename(tmp_path / "c.previous")  # a crash between the two
    files.restore_folder(target)
    assert (target / "file").read_text() == "new"
