# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The index: what it holds, when it is built anew, what it refuses, how little memory it takes."""

from __future__ import annotations

import json
import multiprocessing
import os
import pickle
import subprocess
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from lookalike import turns

from roborefer_ros.errors import ConfigurationError
from roborefer_ros.training.data import json_stream
from roborefer_ros.training.data.index import index_folder, open_index
from roborefer_ros.training.data.json_stream import json_rows
from roborefer_ros.training.data.rows import Rules

RULES = Rules(500)


def write(path: Path, rows: Any, **options: Any) -> Path:
    path.write_text(json.dumps(rows, **options), encoding="utf-8")
    return path


def some(count: int) -> list[dict[str, Any]]:
    return [
        {
            "id": i,
            "image": f"{i}.png",
            "conversations": turns(f"Is it {i}? \u00e9\U0001f600", "Yes."),
        }
        for i in range(count)
    ]


@pytest.mark.parametrize("options", [{}, {"indent": 2}, {"ensure_ascii": False}])
def test_rows_come_back_as_they_were(tmp_path: Path, options: dict[str, Any]) -> None:
    rows = some(50)
    index = open_index(write(tmp_path / "a.json", rows, **options), RULES)
    assert [index.raw(i) for i in range(len(index))] == rows
    assert index.meta.usable_pairs == index.meta.usable_rows == 50


def test_rows_larger_than_a_chunk_and_cut_anywhere_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = some(20)
    path = write(tmp_path / "a.json", rows, indent=1, ensure_ascii=False)
    for chunk in (1, 2, 3, 7, 61):
        monkeypatch.setattr(json_stream, "_CHUNK", chunk)
        assert [value for _, value in json_rows(path)] == rows


def test_json_lines_and_a_byte_order_mark_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("\ufeff" + "\n".join(map(json.dumps, some(5))) + "\n", encoding="utf-8")
    assert len(open_index(path, RULES)) == 5


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "not a JSON list"), (b"3", "not a JSON list"), (b"[", "ends within"),
        (b'[{"a": 1}', "ends within|no , or"), (b'[{"a": 1} {"a": 2}]', "no , or"),
        (b'[{"a": 1},]', "without a row"), (b'[{"a": }]', "not JSON at row 0"),
        (b"[{}] x", "text after"), (b'[{"a": "\xff"}]', "not UTF-8"),
        ("[{}]".encode("utf-16"), "UTF-16"), (b"[" * 100_000, "nested too deep"),
        (b"[" + b"9" * 10_000 + b"]", "thousands of digits"),
        (b"version https://git-lfs.github.com/spec/v1\noid x\nsize 3\n", "LFS pointer"),
    ],
)  # fmt: skip
def test_what_is_no_such_json_is_one_clear_error(text: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(text)
    with pytest.raises(ConfigurationError, match=message):
        open_index(path, RULES)
    assert not (tmp_path / "a.json.index").exists()


def test_a_row_without_end_is_refused_before_it_fills_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json_stream, "_CHUNK", 100)
    monkeypatch.setattr(json_stream, "ROW_LIMIT", 1000)
    path = write(tmp_path / "a.json", [{"a": "x" * 5000}])
    with pytest.raises(ConfigurationError, match="row 0.*more than 1000"):
        list(json_rows(path))


def test_building_takes_little_memory_however_large_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json_stream, "_CHUNK", 2**16)
    path = write(tmp_path / "a.json", some(60_000))
    assert path.stat().st_size > 8_000_000
    tracemalloc.start()
    try:
        open_index(path, RULES)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4_000_000  # 13 bytes a row, twice, and a few chunks; the rows are 60 MB in Python


def test_an_empty_list_is_an_index_without_rows(tmp_path: Path) -> None:
    assert len(open_index(write(tmp_path / "a.json", []), RULES)) == 0


def test_the_second_start_builds_nothing(tmp_path: Path) -> None:
    path = write(tmp_path / "a.json", some(5))
    folder = open_index(path, RULES).folder
    before = folder.stat().st_ino
    open_index(path, RULES)
    assert folder.stat().st_ino == before


def test_a_changed_source_is_noticed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write(tmp_path / "a.json", some(5))
    open_index(path, RULES)
    write(path, some(6))
    assert len(open_index(path, RULES)) == 6
    assert "has changed" in caplog.text


def test_a_source_with_the_same_size_and_time_but_another_end_is_noticed(tmp_path: Path) -> None:
    path = write(tmp_path / "a.json", some(5))
    state = path.stat()
    open_index(path, RULES)
    path.write_text(path.read_text().replace("Yes", "Not"))
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert open_index(path, RULES).raw(0)["conversations"][1]["value"] == "Not."


@pytest.mark.parametrize("damage", ["meta.json", "offsets.npy", "rows.bin", "pairs.npy"])
def test_a_damaged_index_is_built_anew(tmp_path: Path, damage: str) -> None:
    path = write(tmp_path / "a.json", some(5))
    folder = open_index(path, RULES).folder
    (folder / damage).write_bytes(b"x")
    assert len(open_index(path, RULES)) == 5


def test_other_rules_have_an_index_of_their_own(tmp_path: Path) -> None:
    path = write(tmp_path / "a.json", some(2))
    folders = {index_folder(path, rules) for rules in (RULES, Rules(), Rules(9), Rules(500, True))}
    assert len(folders) == 4


def test_indexes_can_be_kept_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    path = write(tmp_path / "data/a.json", some(5))
    index = open_index(path, RULES, tmp_path / "indexes")
    assert index.folder.parent == tmp_path / "indexes"
    assert [p.name for p in (tmp_path / "data").iterdir()] == ["a.json"]


def test_an_index_that_cannot_be_written_names_the_way_out(tmp_path: Path) -> None:
    path = write(tmp_path / "a.json", some(5))
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match="--index-dir"):
        open_index(path, RULES, tmp_path / "file" / "x")


def test_defects_are_counted_with_their_rows(tmp_path: Path) -> None:
    rows = some(4)
    rows[1]["conversations"] = turns("Is it?", "Yes.", "left over")
    rows[3] = {"id": 3}
    meta = open_index(write(tmp_path / "a.json", rows), RULES).meta
    assert meta.defects == {"odd-turns": 1, "malformed-row": 1}
    assert meta.examples == {"odd-turns": [1], "malformed-row": [3]}
    assert (meta.rows, meta.usable_rows, meta.usable_pairs) == (4, 3, 3)


def _first_id(index: Any) -> Any:
    return index.raw(0)["id"]


def test_an_index_travels_to_workers(tmp_path: Path) -> None:
    index = open_index(write(tmp_path / "a.json", some(5)), RULES)
    index.raw(1)
    assert pickle.loads(pickle.dumps(index)).raw(3)["id"] == 3
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        assert pool.map(_first_id, [index] * 4) == [0] * 4


def test_processes_that_start_together_build_once(tmp_path: Path) -> None:
    path = write(tmp_path / "a.json", some(2000))
    script = (
        "import logging,sys; logging.basicConfig(level=20)\n"
        "from pathlib import Path\n"
        "from roborefer_ros.training.data.index import open_index\n"
        "from roborefer_ros.training.data.rows import Rules\n"
        "print(len(open_index(Path(sys.argv[1]), Rules(500))))"
    )
    running = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(path)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for _ in range(3)
    ]  # fmt: skip
    results = [process.communicate(timeout=100) for process in running]
    assert [out.strip() for out, _ in results] == ["2000"] * 3
    assert sum("indexing" in errors for _, errors in results) == 1
