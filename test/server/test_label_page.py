# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""``roborefer label``: who may ask, what may be asked, and the page in a real Chromium."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import httpx
import numpy as np
import pytest
from test_page import CHROMIUM  # type: ignore[import-not-found]


@dataclass
class Labelling:
    """A running ``roborefer label``."""

    process: subprocess.Popen[str]
    url: str
    token: str
    folder: Path

    def client(self, **headers: str) -> httpx.Client:
        """With the token."""
        more = {"Authorization": f"Bearer {self.token}", **headers}
        return httpx.Client(base_url=self.url, headers=more, timeout=60.0)


@pytest.fixture
def labelling(tmp_path: Path) -> Iterator[Labelling]:
    """Two pictures, and the echo as the model."""
    for name in ("a.png", "b.png"):
        cv2.imwrite(str(tmp_path / name), np.full((60, 80, 3), 150, np.uint8))
    command = [sys.executable, "-m", "roborefer_ros.cli", "label", str(tmp_path), "--port", "0"]
    process = subprocess.Popen([*command, "--model", "echo"], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    found = None
    for line in process.stdout:
        found = re.search(r"(http://\S+)/#token=(\S+)", line)
        if found:
            break
    assert found is not None
    yield Labelling(process, found[1], found[2], tmp_path)
    process.send_signal(signal.SIGINT)
    try:
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.stdout.close()


def test_nobody_without_the_token_learns_or_writes_anything(labelling: Labelling) -> None:
    bare = httpx.Client(base_url=labelling.url, timeout=60.0)
    paths = ("/api/folder", "/api/state", "/api/picture?name=a.png", "/api/labels?name=a.png")
    assert [bare.get(path).status_code for path in paths] == [401] * 4
    assert bare.put("/api/labels", json={}).status_code == 401
    assert bare.post("/api/ask", json={}).status_code == 401
    page = bare.get("/")
    assert page.status_code == 200
    assert str(labelling.folder) not in page.text
    assert "unsafe" not in page.headers["Content-Security-Policy"]
    with labelling.client(Host="evil.example") as foreign:
        assert foreign.get("/api/folder").status_code == 400
    assert not (labelling.folder / "labels.json").exists()


def test_only_pictures_of_the_folder_are_shown_and_only_labels_are_written(
    labelling: Labelling,
) -> None:
    with labelling.client() as client:
        for name in ("../a.png", "/etc/passwd", "labels.json", "c.png"):
            assert client.get("/api/picture", params={"name": name}).status_code == 404
        good = {"question": "the mug", "points": [[0.5, 0.25]], "source": "hand"}
        body: dict[str, Any] = {"picture": "a.png", "revision": "new", "labels": [good]}
        for wrong in (
            {**body, "picture": "../x.png"},
            {**body, "labels": [{**good, "points": [[1.5, 0.0]]}]},
            {**body, "labels": [{**good, "points": [["nan", 0.0]]}]},
            {**body, "labels": [{**good, "question": "<image>"}]},
            {**body, "labels": [good] * 101},
            {**body, "extra": 1},
        ):
            assert client.put("/api/labels", json=wrong).status_code in (404, 422)
        assert client.put("/api/labels", content=b"x" * 600_000).status_code == 413
        assert not (labelling.folder / "labels.json").exists()
        assert client.put("/api/labels", json=body).status_code == 200
        assert client.put("/api/labels", json=body).status_code == 409
    rows = json.loads((labelling.folder / "labels.json").read_text())
    assert rows[0]["conversations"][1]["value"] == "[(0.500, 0.250)]"


def test_a_person_labels_with_mouse_and_keyboard(labelling: Labelling) -> None:
    sync_api = pytest.importorskip("playwright.sync_api")
    if CHROMIUM is None:
        pytest.skip("there is no Chromium; on Debian: apt-get install chromium")
    expect = sync_api.expect
    expect.set_options(timeout=60_000)
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"]
        )
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.set_default_timeout(60_000)
        problems: list[str] = []
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.goto(f"{labelling.url}/#token={labelling.token}")
        status = page.locator("#status")
        expect(status).to_contain_text("a.png")
        assert "token" not in page.url
        # The model's answer is accepted as it is.
        page.keyboard.press("/")
        page.keyboard.type("[(0.25, 0.5)]")
        page.keyboard.press("Enter")
        expect(page.locator("#keep")).to_have_text("Accept")
        page.keyboard.press("Enter")
        expect(status).to_contain_text("saved")
        # Another question: two clicks.
        page.fill("#question", "the mugs")
        box = page.locator("#view").bounding_box()
        assert box is not None
        for share in (0.25, 0.75):
            page.mouse.click(box["x"] + share * box["width"], box["y"] + 0.5 * box["height"])
        page.keyboard.press("Enter")
        expect(status).to_have_text("saved: the mugs")
        # The next picture, by keyboard alone: the cross starts in the middle.
        page.keyboard.press("n")
        expect(status).to_contain_text("b.png")
        page.keyboard.press("/")
        page.keyboard.type("the bowl")
        page.keyboard.press("Escape")
        page.keyboard.press("Shift+ArrowRight")
        page.keyboard.press("Space")
        page.keyboard.press("Enter")
        expect(status).to_have_text("saved: the bowl")
        page.keyboard.press("/")
        page.keyboard.type("the elephant")
        page.keyboard.press("Escape")
        page.keyboard.press("x")
        expect(status).to_have_text("saved: the elephant")
        # Loaded again, it is all there, and can be taken back.
        page.reload()
        expect(page.locator("#count")).to_have_text("2 of 2 pictures")
        page.keyboard.press("n")
        expect(page.locator("#list li")).to_have_count(2)
        page.locator("#list button", has_text="delete").nth(0).click()
        expect(status).to_have_text("deleted")
        browser.close()
    assert problems == []
    a, b = json.loads((labelling.folder / "labels.json").read_text())
    said = [turn["value"] for turn in a["conversations"] if turn["from"] == "gpt"]
    assert a["label_sources"] == ["model", "hand"]
    assert said[0] == "[(0.250, 0.500)]"
    assert said[1] == "[(0.250, 0.500), (0.750, 0.500)]"
    said = [turn["value"] for turn in b["conversations"] if turn["from"] == "gpt"]
    assert said == ["[]"]
