# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""``roborefer simulate --out``: a larger set goes on from a smaller one; sets are not mixed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from roborefer_ros.cli import simulate as command
from roborefer_ros.simulation.dataset import main


def simulate(folder: Path, *options: str) -> int:
    size = ["--width", "64", "--height", "48", "--workers", "1"]
    return main(["--out", str(folder), *size, *options])


def ids(folder: Path) -> list[str]:
    return [entry["id"] for entry in json.loads((folder / "questions.json").read_text())]


def test_a_larger_set_has_the_scenes_of_the_smaller_one(tmp_path: Path) -> None:
    assert simulate(tmp_path, "--scenes", "1") == 0
    one = ids(tmp_path)
    assert simulate(tmp_path, "--scenes", "3") == 0
    assert len(ids(tmp_path)) == 3
    assert ids(tmp_path)[:1] == one


def test_scenes_of_other_settings_are_not_mixed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert simulate(tmp_path, "--scenes", "1") == 0
    before = (tmp_path / "questions.json").read_text()
    assert simulate(tmp_path, "--scenes", "1", "--seed", "1") == 1
    assert "choose another folder" in capsys.readouterr().err
    assert (tmp_path / "questions.json").read_text() == before


@pytest.mark.parametrize(
    "options", [["--scenes", "0"], ["--seed", "-1"], ["--workers", "0"], ["--questions", "no"]]
)
def test_amounts_that_make_no_sense_are_refused(tmp_path: Path, options: list[str]) -> None:
    with pytest.raises(SystemExit):
        simulate(tmp_path, *options)


def test_places_and_sizes_that_cannot_be_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    assert simulate(tmp_path / "file") == 1
    assert main(["--out", str(tmp_path / "small"), "--width", "2"]) == 1
    said = capsys.readouterr().err
    assert "file" in said
    assert "at least 32" in said


def test_a_missing_package_is_named_with_its_extra(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert command.main(["--out", "nowhere"]) == 1
    assert "open3d and tqdm: pip install 'roborefer_ros[sim]'" in capsys.readouterr().err
