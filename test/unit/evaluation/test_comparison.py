# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Before and after a fine-tuning: the paired difference, its interval, the page, the status."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from roborefer_ros.cli.compare import FELL, main
from roborefer_ros.pointing.prompts import POINT_SUFFIX

RIGHT, WRONG = "[(0.25, 0.25)]", "[(0.75, 0.75)]"


@pytest.fixture
def benchmark(tmp_path: Path) -> Path:
    """Ten questions on ten pictures; the right region is the upper left quarter."""
    folder = tmp_path / "bench" / "Location"
    for name in ("image", "mask"):
        (folder / name).mkdir(parents=True)
    table = []
    for number in range(10):
        rgb = np.full((20, 20, 3), 10 * number, np.uint8)
        mask = np.zeros((20, 20), np.uint8)
        mask[:10, :10] = 255
        cv2.imwrite(str(folder / "image" / f"{number}.png"), rgb)
        cv2.imwrite(str(folder / "mask" / f"{number}.png"), mask)
        table.append(
            {
                "id": number, "object": "mug", "prompt": "the <b>mug</b>", "suffix": POINT_SUFFIX,
                "rgb_path": f"image/{number}.png", "mask_path": f"mask/{number}.png",
                "category": "location", "step": 1,
            }
        )  # fmt: skip
    (folder / "question.json").write_text(json.dumps(table))
    return tmp_path / "bench"


def answers(folder: Path, texts: list[str]) -> str:
    """A folder of answers, as ``roborefer evaluate`` writes it."""
    folder.mkdir()
    lines = [
        json.dumps({"question_id": n, "text": text, "model_id": f"roborefer:{folder.name}"})
        for n, text in enumerate(texts)
    ]
    (folder / "Location.jsonl").write_text("\n".join(lines) + "\n")
    return str(folder)


def compared(tmp_path: Path, benchmark: Path, before: list[str], after: list[str]) -> int:
    """Status of the command."""
    old, new = answers(tmp_path / "old", before), answers(tmp_path / "new", after)
    return main([old, new, "--data", str(benchmark), "--out", str(tmp_path / "out")])


def test_a_fall_beyond_the_limit_ends_with_a_status_of_its_own(
    tmp_path: Path, benchmark: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert compared(tmp_path, benchmark, [RIGHT] * 10, [RIGHT] * 5 + [WRONG] * 5) == FELL
    told = capsys.readouterr().out
    assert "fell by 50.00 points" in told
    assert "more than the 2.00 points" in told
    page = (tmp_path / "out" / "report.html").read_text()
    assert "5 of 5" in page
    assert "the &lt;b&gt;mug" in page


def test_a_rise_and_no_change_pass(tmp_path: Path, benchmark: Path) -> None:
    assert compared(tmp_path, benchmark, [WRONG] * 5 + [RIGHT] * 5, [RIGHT] * 10) == 0


def test_the_interval_is_of_the_difference_question_by_question(
    tmp_path: Path, benchmark: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # Both are right at one half of the questions, the same ones: nothing is uncertain about it.
    half = [RIGHT] * 5 + [WRONG] * 5
    assert compared(tmp_path, benchmark, half, half) == 0
    assert "[+0.00, +0.00]" in capsys.readouterr().out


def test_a_change_that_may_be_chance_is_called_so(
    tmp_path: Path, benchmark: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before, after = [RIGHT] * 9 + [WRONG], [WRONG, WRONG, *[RIGHT] * 8]
    assert compared(tmp_path, benchmark, before, after) == FELL
    assert "may be chance" in capsys.readouterr().out


def test_different_questions_are_not_compared(
    tmp_path: Path, benchmark: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert compared(tmp_path, benchmark, [RIGHT] * 10, [RIGHT] * 7) != 0
    assert "in one of the two runs alone" in capsys.readouterr().err
