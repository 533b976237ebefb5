# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""``roborefer dataset check`` and ``stats``: planted defects are counted, and decide the status."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lookalike import make, pack, turns
from PIL import Image

from roborefer_ros.cli import main

Rows = list[dict[str, Any]]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return make(tmp_path / "R", rows=6)


def edit(root: Path, name: str, change: Callable[[Rows], None]) -> None:
    rows = json.loads((root / name).read_text())
    change(rows)
    (root / name).write_text(json.dumps(rows))


def check(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[str, Any]]:
    capsys.readouterr()
    status = main(["dataset", "check", *arguments, "--json"])
    reports = json.loads(capsys.readouterr().out)
    return status, {report["name"]: report for report in reports}


def test_a_good_folder_has_no_defects(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for pictures in ("all", "decode"):
        status, reports = check(capsys, str(root), "--pictures", pictures)
        assert status == 0
        assert len(reports) == 8
        assert all(not report["defects"] for report in reports.values())
        assert reports["3D_multi_view_qa"]["pictures"] == 24
    depth = reports["2D_choice_qa"]["depth"]
    assert depth["formats"] == {"8 bit, 3 equal channels": 6}
    assert depth["row_correlation"] > 0.9
    assert "near is bright" in depth["text"]


def spoil_rows(rows: Rows) -> None:
    rows[0]["conversations"] = turns(
        "Point to it.", "no point", "Is it (A) a (B) b?", "[(0.1, 0.2)]"
    )
    rows[1]["conversations"].reverse()
    rows[2]["conversations"].append({"from": "human", "value": "left over"})
    rows[3]["conversations"] += turns("Point to " + "/".join(["red cup"] * 7), "[(0.5, 0.5)]")
    rows[4]["conversations"] += turns("Go fromt to left?", "x" * 900)


def test_defects_of_the_text_are_counted(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    edit(root, "2D/choice_qa.json", spoil_rows)
    status, reports = check(capsys, str(root), "--mixture", "2D_choice_qa")
    report = reports["2D_choice_qa"]
    assert status == 1
    assert report["defects"] == {
        "turn-order": 1, "odd-turns": 1, "runaway-name": 1, "long-pair": 1, "malformed-text": 1,
        "text-for-point": 1, "point-for-text": 1,
    }  # fmt: skip
    assert report["lost_rows"] == 1
    assert report["examples"]["turn-order"] == ["row 1"]


@pytest.mark.parametrize("pictures", ["all", "decode"])
def test_defects_of_the_pictures_are_counted(
    root: Path, capsys: pytest.CaptureFixture[str], pictures: str
) -> None:
    images = sorted((root / "2D/image").iterdir())
    images[0].unlink()
    images[1].write_bytes(b"")
    images[2].write_bytes(images[2].read_bytes()[:-30])
    Image.new("RGB", (48, 64)).save(root / "2D/depth" / f"{images[3].stem}.png")
    status, reports = check(capsys, str(root), "--mixture", "2D_choice_qa", "--pictures", pictures)
    assert status == 1
    report = reports["2D_choice_qa"]
    assert report["defects"] == {
        "missing-picture": 1, "empty-picture": 1, "broken-picture": 1, "depth-shape": 1
    }  # fmt: skip
    assert report["lost_rows"] == 3


def test_what_is_allowed_does_not_fail(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    next((root / "2D/image").iterdir()).unlink()
    name = ("--mixture", "2D_choice_qa")
    assert check(capsys, str(root), *name)[0] == 1
    assert check(capsys, str(root), *name, "--allow", "missing-picture")[0] == 0
    assert check(capsys, str(root), *name, "--allow", "all")[0] == 0
    assert check(capsys, str(root), *name, "--allow", "broken-picture")[0] == 1
    assert main(["dataset", "check", str(root), "--allow", "mising-picture"]) == 1
    assert "did you mean missing-picture" in capsys.readouterr().err


def test_the_twin_does_not_need_depth(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    edit(root, "2D/choice_qa.json", lambda rows: [row.pop("depth") for row in rows[:2]] and None)
    status, reports = check(capsys, str(root), "--mixture", "2D_choice_qa+2D_choice_qa_RGB")
    assert status == 1
    assert reports["2D_choice_qa"]["defects"] == {"depth-count": 2}
    assert reports["2D_choice_qa_RGB"]["defects"] == {}


def test_the_same_question_with_other_points_is_told(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def change(rows: Rows) -> None:
        rows[1]["image"] = rows[0]["image"]
        for number in (0, 1):
            rows[number]["conversations"] = turns("Point to the cup.", f"[(0.{number}, 0.5)]")

    edit(root, "3D/vacant_qa.json", change)
    status, reports = check(capsys, str(root), "--mixture", "3D_vacant_qa")
    assert status == 0
    assert reports["3D_vacant_qa"]["defects"] == {"conflicting-points": 1}
    assert reports["3D_vacant_qa"]["examples"]["conflicting-points"] == ["rows 0 and 1"]


def test_names_without_the_separator_are_found(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def change(rows: Rows) -> None:
        rows[0]["image"] = [name.replace("42898849_", "42898849") for name in rows[0]["image"]]

    edit(root, "3D/choice_qa.json", change)
    status, reports = check(capsys, str(root), "--mixture", "3D_choice_qa")
    assert status == 0
    assert reports["3D_choice_qa"]["defects"] == {"repaired-name": 1}


@pytest.mark.parametrize("kind", ["inverted", "metric", "one channel"])
def test_depth_of_another_kind_is_told(
    root: Path, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    for path in (root / "Simulator/depth").iterdir():
        with Image.open(path) as image:
            near = np.asarray(image)[..., 0]
        far = 255 - near
        pixels = {
            "inverted": np.repeat(far[..., None], 3, 2),
            "metric": far.astype(np.uint16) * 20 + 300,
            "one channel": near,
        }[kind]
        Image.fromarray(pixels).save(path)
    _, reports = check(capsys, str(root), "--mixture", "simulation_dataset")
    text = reports["simulation_dataset"]["depth"]["text"]
    assert ("far is bright" in text) is (kind != "one channel")
    assert ("not 8 bits with 3 equal channels" in text) is (kind != "inverted")
    converted = reports["simulation_dataset"]["defects"].get("depth-converted", 0)
    assert converted == (0 if kind == "inverted" else 3)


@pytest.mark.parametrize("below", ["2D", ".."])
def test_the_wrong_level_of_folder_is_told(
    root: Path, capsys: pytest.CaptureFixture[str], below: str
) -> None:
    assert main(["dataset", "check", str((root / below).resolve())]) == 1
    assert f"{root} looks like it" in capsys.readouterr().err


def test_archives_that_are_still_packed_are_told(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pack(root)
    assert main(["dataset", "check", str(root)]) == 1
    assert "still packed; roborefer dataset unpack" in capsys.readouterr().err
    assert main(["dataset", "unpack", str(root), "--jobs", "2", "--delete-parts"]) == 0
    assert not [path for path in root.rglob("*.tar.gz*") if not path.name.startswith(".")]
    assert main(["dataset", "check", str(root)]) == 0
    page = root.parent / "page.html"
    assert main(["dataset", "preview", "--data-root", str(root), "--out", str(page)]) == 0
    assert page.stat().st_size > 10_000


def test_a_missing_json_is_told_beside_the_others(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (root / "3D/vacant_qa.json").unlink()
    status, reports = check(capsys, str(root))
    assert status == 1
    assert "vacant_qa.json is missing" in reports["3D_vacant_qa"]["error"]
    assert reports["2D_choice_qa"]["rows"] == 6


def test_the_other_commands_take_what_is_there(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (root / "3D/vacant_qa.json").unlink()
    assert main(["dataset", "stats", "--data-root", str(root), "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)) == 7
    assert main(["dataset", "stats", "--data-root", str(root / "nothing")]) == 1
    assert "has none of RefSpatial's JSON files" in capsys.readouterr().err


def test_own_data_is_checked_by_its_paths(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copy(root / "2D/choice_qa.json", root / "own.json")
    own = ("--data", str(root / "own.json"), "--images", str(root / "2D/image"))
    status, reports = check(capsys, *own, "--depths", str(root / "2D/depth"))
    assert status == 0
    assert reports["own"]["pictures"] == 12


def test_statistics_count_rows_pairs_and_forms(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["dataset", "stats", "--data-root", str(root), "--mixture", "simulation_dataset"]
    assert main([*command, "--json"]) == 0
    (entry,) = json.loads(capsys.readouterr().out)
    assert (entry["rows"], entry["pairs"], entry["samples"]) == (6, 12, 6)
    assert entry["answer_forms"] == {"point": 12}
    assert set(entry["question_types"].values()) == {6}
    assert main(command) == 0
    assert "point 12" in capsys.readouterr().out


def test_what_a_mixture_amounts_to_is_listed(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = [
        "dataset",
        "list",
        "--data-root",
        str(root),
        "--mixture",
        "3D_vacant_qa*2+2D_choice_qa",
    ]
    assert main([*command, "--world", "2", "--batch", "2", "--json"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert [part["part"] for part in summary["parts"]] == ["2D_choice_qa", "3D_vacant_qa*2"]
    assert (summary["samples"], summary["steps"], summary["dropped"]) == (18, 4, 2)
    assert main(command) == 0
