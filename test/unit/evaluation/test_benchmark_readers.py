# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Every published layout is read; broken and hostile folders are refused with a reason."""

from __future__ import annotations

import json
from pathlib import Path

import invented
import numpy as np
import pytest

from roborefer_ros.evaluation.questions import (
    BenchmarkError,
    fair_mask,
    official_mask,
    split_suffix,
)
from roborefer_ros.evaluation.readers import open_benchmark
from roborefer_ros.pointing.prompts import POINT_SUFFIX

SIZES = {"Location": 4, "Placement": 3, "Unseen": 2}


@pytest.mark.parametrize("layout", ["raw", "parquet"])
def test_refspatial(tmp_path: Path, layout: str) -> None:
    make = invented.refspatial if layout == "raw" else invented.refspatial_parquet
    benchmark = open_benchmark(make(tmp_path / "bench", SIZES))
    assert benchmark.name == "RefSpatial-Bench"
    assert {split: len(benchmark.of_split(split)) for split in benchmark.splits} == SIZES
    assert benchmark.splits == tuple(SIZES)
    second = benchmark.of_split("Placement")[1]
    assert (second.question_id, second.object_name, second.step) == (1, "thing 1", 2)
    assert second.prompt == "Please point out thing 1."
    assert second.suffix == POINT_SUFFIX
    assert second.category == "placement"
    np.testing.assert_array_equal(second.rgb(), invented.picture(101))
    assert official_mask(second.mask_values()).sum() == 16 * 12


def test_raw_and_parquet_give_the_same_clusters(tmp_path: Path) -> None:
    raw = open_benchmark(invented.refspatial(tmp_path / "raw", SIZES))
    parquet = open_benchmark(invented.refspatial_parquet(tmp_path / "parquet", SIZES))
    assert [q.cluster for q in raw.questions] == [q.cluster for q in parquet.questions]


def test_the_same_picture_under_two_names_is_one_cluster(tmp_path: Path) -> None:
    folder = invented.refspatial(tmp_path / "bench", {"Location": 4}, images=2)
    clusters = [q.cluster for q in open_benchmark(folder).questions]
    assert len(set(clusters)) == 2
    assert clusters[:2] == clusters[2:]


def test_expand_is_told_by_its_scenes(tmp_path: Path) -> None:
    folder = invented.refspatial(tmp_path / "bench", {"Location": 2}, expand=True)
    benchmark = open_benchmark(folder)
    assert benchmark.name == "RefSpatial-Expand-Bench"
    assert [q.scene for q in benchmark.questions] == ["indoor", "outdoor"]


def test_where2place(tmp_path: Path) -> None:
    benchmark = open_benchmark(invented.where2place(tmp_path / "w2p", 3))
    assert benchmark.name == "Where2Place"
    question = benchmark.questions[2]
    assert (question.prompt, question.suffix) == ("Find free space 2.", POINT_SUFFIX)
    values = question.mask_values()
    # JPEG surrounds the mask with a grey fringe, which the published rule counts.
    assert fair_mask(values).sum() == 16 * 12
    assert official_mask(values).sum() > 16 * 12


def test_where2place_in_the_runners_layout(tmp_path: Path) -> None:
    benchmark = open_benchmark(invented.refspatial(tmp_path / "data", {"Where2Place": 2}))
    assert (benchmark.name, benchmark.splits) == ("Where2Place", ("Where2Place",))


def test_where2place_parquet(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    rows = [
        {
            "question_id": "q0",
            "question": f"Find a spot. {POINT_SUFFIX}",
            "question_type": "point",
            "image": {"bytes": invented.png(invented.picture(0)), "path": "0.png"},
            "mask": {"bytes": invented.png(invented.mask()), "path": "0.png"},
        }
    ]
    (tmp_path / "data").mkdir()
    parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "data/test-0.parquet")
    benchmark = open_benchmark(tmp_path)
    assert benchmark.name == "Where2Place"
    assert benchmark.questions[0].question_id == "q0"


def test_robospatial_home(tmp_path: Path) -> None:
    benchmark = open_benchmark(invented.robospatial(tmp_path / "home"))
    assert benchmark.name == "RoboSpatial-Home"
    assert benchmark.splits == ("Context", "Configuration", "Compatibility")
    context, word = benchmark.questions[0], benchmark.questions[2]
    assert context.wants_point
    assert len(context.polygon) == 4
    assert (word.wants_point, word.expected) == (False, "yes")


def test_robospatial_parquet(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    image = {"bytes": invented.png(invented.picture(0)), "path": "a.png"}
    for split, answer in (("context", "[(0, 0), (1, 0), (1, 1)]"), ("configuration", "No")):
        rows = [{"category": split, "question": "Is it so?", "answer": answer, "img": image,
                 "mask": None}]  # fmt: skip
        parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / f"{split}-0.parquet")
    benchmark = open_benchmark(tmp_path)
    assert benchmark.name == "RoboSpatial-Home"
    assert {q.split: q.expected for q in benchmark.questions} == {
        "Context": "",
        "Configuration": "no",
    }


def test_from_the_hubs_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A data set that was downloaded before is found without a network."""
    constants = pytest.importorskip("huggingface_hub.constants")
    cache = tmp_path / "hub" / "datasets--BAAI--RefSpatial-Bench"
    invented.refspatial_parquet(cache / "snapshots" / ("0" * 40), {"Location": 2})
    (cache / "refs").mkdir()
    (cache / "refs/main").write_text("0" * 40)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub._snapshot_download.constants.HF_HUB_CACHE",
                        str(tmp_path / "hub"))  # fmt: skip
    assert len(open_benchmark("hf:BAAI/RefSpatial-Bench").questions) == 2
    with pytest.raises(BenchmarkError, match=r"nobody/nothing.*hub"):
        open_benchmark("hf:nobody/nothing")


# --- broken folders --------------------------------------------------------------------


def edited(folder: Path, **changes: object) -> Path:
    """An invented benchmark whose first question is changed; None removes a key."""
    invented.refspatial(folder, {"Location": 2})
    path = folder / "Location/question.json"
    table = json.loads(path.read_text())
    table[0].update(changes)
    table[0] = {key: value for key, value in table[0].items() if value is not None}
    path.write_text(json.dumps(table))
    return folder


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rgb_path": "../../../../etc/passwd"}, "outside the folder"),
        ({"mask_path": "/etc/passwd"}, "outside the folder"),
        ({"rgb_path": "image/99.png"}, "99.png is missing"),
        ({"mask_path": 5}, "not a path"),
        ({"prompt": None}, "has no 'prompt'"),
        ({"id": 1}, "two questions 1"),
        ({"id": [7]}, r"has \[7\] as its 'id'"),
        ({"prompt": 5}, "has 5 as its 'prompt'"),
        ({"step": "two"}, "Location/0: the step is no number"),
        ({"step": [2]}, "Location/0: the step is no number"),
    ],
)
def test_broken_tables(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    with pytest.raises(BenchmarkError, match=message):
        open_benchmark(edited(tmp_path / "bench", **changes))


@pytest.mark.parametrize("text", ["", "{}", "[1]", "[" * 100_000, "not json"])
def test_tables_that_are_no_lists(tmp_path: Path, text: str) -> None:
    (tmp_path / "Location").mkdir()
    (tmp_path / "Location/question.json").write_text(text)
    with pytest.raises(BenchmarkError, match=r"question\.json"):
        open_benchmark(tmp_path)


def test_no_benchmark_at_all(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkError, match="no benchmark"):
        open_benchmark(tmp_path)
    with pytest.raises(BenchmarkError, match="no folder"):
        open_benchmark(tmp_path / "missing")
    (tmp_path / "x.parquet").write_bytes(b"PAR1 but not really")
    with pytest.raises(BenchmarkError, match=r"x\.parquet cannot be read"):
        open_benchmark(tmp_path)


def test_pictures_that_are_none(tmp_path: Path) -> None:
    folder = invented.refspatial(tmp_path / "bench", {"Location": 2})
    (folder / "Location/image/0.png").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    (folder / "Location/image/1.png").write_bytes(b"\x89PNG cut off")
    first, second = open_benchmark(folder).questions
    with pytest.raises(BenchmarkError, match="git lfs pull"):
        first.rgb()
    with pytest.raises(BenchmarkError, match="not a readable picture"):
        second.rgb()


def test_parquet_without_pictures(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    rows = [{"id": 0, "prompt": "Find it.", "image": {"bytes": None, "path": "0.png"}}]
    table = pytest.importorskip("pyarrow").Table.from_pylist(rows)
    parquet.write_table(table, tmp_path / "location.parquet")
    with pytest.raises(BenchmarkError, match=r"location\.parquet: a picture is not embedded"):
        open_benchmark(tmp_path)


def test_where2place_questions_may_hold_any_separator(tmp_path: Path) -> None:
    folder = invented.where2place(tmp_path / "w2p", 1)
    row = {"question_id": 0, "image": "00.jpg", "text": "Between\u2028two\x85lines."}
    (folder / "point_questions.jsonl").write_text(json.dumps(row, ensure_ascii=False) + "\n")
    assert open_benchmark(folder).questions[0].prompt == "Between\u2028two\x85lines."


@pytest.mark.parametrize("answer", ["maybe", "[(0, 0), (1, 1)]", "__import__('os')", "(" * 9999])
def test_robospatial_answers_that_are_none(tmp_path: Path, answer: str) -> None:
    folder = invented.robospatial(tmp_path / "home")
    table = json.loads((folder / "annotations.json").read_text())
    table[0]["answer"] = answer
    (folder / "annotations.json").write_text(json.dumps(table))
    with pytest.raises(BenchmarkError):
        open_benchmark(folder)


def test_split_suffix() -> None:
    assert split_suffix(f"Find it. {POINT_SUFFIX}") == ("Find it.", POINT_SUFFIX)
    assert split_suffix(f"Find it.{POINT_SUFFIX}") == ("Find it.", POINT_SUFFIX)
    assert split_suffix("Is it so?") == ("Is it so?", "")


def _row(number: int, picture: bytes) -> dict[str, object]:
    image = {"bytes": picture, "path": None}
    return {"id": number, "prompt": "the mug", "suffix": "", "image": image, "mask": image}


def test_the_hubs_conversion_to_parquet_names_its_splits_by_folders(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    for folder in ("default/location", "default/partial-unseen"):
        (tmp_path / folder).mkdir(parents=True)
        table = pyarrow.Table.from_pylist([_row(0, b"x")])
        parquet.write_table(table, tmp_path / folder / "0000.parquet")
    assert open_benchmark(tmp_path).splits == ("Location", "Unseen")


def test_parquet_that_unpacks_to_far_more_is_refused_unread(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    table = pyarrow.table({"id": [0], "prompt": ["a"], "image": [b"\0" * 250_000_000]})
    file = tmp_path / "location.parquet"
    with parquet.ParquetWriter(file, table.schema, compression="zstd") as writer:
        for _ in range(9):
            writer.write_table(table)
    assert file.stat().st_size < 10_000_000
    with pytest.raises(BenchmarkError, match="unpacks to"):
        open_benchmark(tmp_path)


def test_pictures_that_rows_repeat_are_kept_once(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    rows = [_row(number, b"p" * 1000) for number in range(50)]
    parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "location.parquet")
    pictures = {id(q.image) for q in open_benchmark(tmp_path).questions}
    assert len(pictures) == 1


@pytest.mark.parametrize("encoding", ["gbk", "utf-16", "utf-8-sig"])
def test_tables_in_other_encodings(tmp_path: Path, encoding: str) -> None:
    split = tmp_path / "set" / "Location"
    split.mkdir(parents=True)
    text = '[{"id": 0, "prompt": "\u676f"}]'
    (split / "question.json").write_bytes(text.encode(encoding))
    message = "is not a path" if encoding == "utf-8-sig" else r"question\.json is not UTF-8.*offset"
    with pytest.raises(BenchmarkError, match=message):
        open_benchmark(tmp_path / "set")
