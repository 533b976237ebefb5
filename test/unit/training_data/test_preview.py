# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The preview: one page with pictures, depth, questions and points, and no more than that."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from lookalike import make, picture, turns
from PIL import Image

from roborefer_ros.cli import main
from roborefer_ros.training.data.preview import points_of

GOLDEN = Path(__file__).resolve().parents[2] / "data/golden"
HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>"


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def tags(path: Path) -> list[tuple[str, dict[str, str | None]]]:
    parser = Tags()
    parser.feed(path.read_text())
    return parser.found


def test_the_page_shows_every_data_set(tmp_path: Path) -> None:
    root = make(tmp_path / "R", rows=3)
    out = tmp_path / "out/page.html"
    command = ["dataset", "preview", "--data-root", str(root), "--samples", "2", "--out", str(out)]
    assert main(command) == 0
    found = tags(out)
    assert sum(tag == "article" for tag, _ in found) == 16
    assert sum(tag == "img" for tag, _ in found) == 7 * 2 * 2 + 2 * 4
    assert any(tag == "circle" for tag, _ in found)
    assert "Step 1: [Position]" in out.read_text()


def test_the_page_loads_and_runs_nothing(tmp_path: Path) -> None:
    picture(tmp_path / "a.png", 1)
    row = {
        "id": HOSTILE,
        "image": "a.png",
        "conversations": turns(HOSTILE, HOSTILE + "[(0.5, 0.5)]"),
    }
    (tmp_path / "own.json").write_text(json.dumps([row]))
    out = tmp_path / "page.html"
    own = ["--data", str(tmp_path / "own.json"), "--images", str(tmp_path), "--out", str(out)]
    assert main(["dataset", "preview", *own]) == 0
    for tag, attributes in tags(out):
        assert tag not in ("script", "link", "iframe", "object")
        assert not any(name.startswith("on") for name in attributes)
        assert (attributes.get("src") or "data:image/jpeg").startswith("data:image/jpeg")
    assert "&lt;script&gt;" in out.read_text()


def test_a_png_is_written_too(tmp_path: Path) -> None:
    root = make(tmp_path / "R", rows=3)
    out = tmp_path / "page.png"
    command = ["dataset", "preview", "--data-root", str(root), "--mixture", "simulation_dataset"]
    assert main([*command, "--out", str(out)]) == 0
    with Image.open(out) as image:
        assert image.width >= 900
        assert image.height > 3 * 54


def test_other_endings_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = make(tmp_path / "R", rows=3)
    assert main(["dataset", "preview", "--data-root", str(root), "--out", "x.pdf"]) == 1
    assert "must end in .html or .png" in capsys.readouterr().err


def test_what_the_network_is_given_is_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = make(tmp_path / "R", rows=3)
    command = ["dataset", "preview", "--data-root", str(root), "--mixture", "3D_vacant_qa"]
    assert main([*command, "--decode", str(GOLDEN / "tiny-2b-style"), "--batch", "2"]) == 0
    text = capsys.readouterr().out
    assert text.count("--- 3D_vacant_qa, row") == 2
    assert re.search(r"learned: '\[\(0\.\d+, 0\.\d+\)\]<\|im_end\|>", text)
    assert re.search(r"picture tiles \[\d+, 3, 112, 112\], depth tiles \[\d+, 3, 112, 112\]", text)


@pytest.mark.parametrize(
    ("answer", "points"),
    [
        ("[(0.1, 0.25), (1, .5)]", [(0.1, 0.25), (1.0, 0.5)]), ("no", []), ("[(3.0, 0.5)]", []),
        ("<think>\n[(0.9, 0.9)]</think>\n<answer>[(0.1, 0.2)]</answer>", [(0.1, 0.2)]),
    ],
)  # fmt: skip
def test_points_are_read_from_the_final_answer(
    answer: str, points: list[tuple[float, float]]
) -> None:
    assert points_of(answer) == points
