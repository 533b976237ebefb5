# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The page, in a real headless Chromium."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import httpx
import numpy as np
import pytest
from serving import TOKEN, Served  # type: ignore[import-not-found]

#: ``make test`` installs Debian's, see scripts/setup_environment.py
CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-headless-shell", "google-chrome"))), None
)


def test_page_lets_nothing_else_in(echo: Served) -> None:
    reply = httpx.get(f"{echo.url}/ui")
    assert reply.status_code == 200
    policy = reply.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'") and "unsafe" not in policy
    assert "http://" not in reply.text and "https://" not in reply.text


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium from the system; Playwright drives it."""
    sync_api = pytest.importorskip("playwright.sync_api")
    if CHROMIUM is None:
        pytest.skip("there is no Chromium; on Debian: apt-get install chromium")
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"]
        )
        yield chromium
        chromium.close()


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """A picture with a red mug and its depth: a table with the mug nearer."""
    rgb = np.full((240, 320, 3), (150, 175, 190), np.uint8)
    depth = np.full((240, 320), 1200, np.uint16)
    cv2.rectangle(rgb, (200, 90), (250, 160), (40, 40, 200), -1)
    depth[90:161, 200:251] = 900
    image, png = tmp_path / "scene.png", tmp_path / "depth.png"
    cv2.imwrite(str(image), rgb)
    cv2.imwrite(str(png), depth)
    return image, png


def test_drop_ask_see(echo: Served, browser: Any, files: tuple[Path, Path]) -> None:
    page = browser.new_page(viewport={"width": 1180, "height": 1000})
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda m: problems.append(m.text) if m.type == "error" else None)
    page.goto(f"{echo.url}/ui")
    page.fill("#instruction", "[(0.7, 0.52), (0.2, 0.8)]")
    page.click("#go")
    assert "Drop an image first" in page.inner_text("#status")

    page.set_input_files("#file", str(files[0]))
    page.wait_for_selector("#status:has-text('320 x 240')")
    page.click("#go")
    page.wait_for_selector("#status.bad")
    assert "token" in page.inner_text("#status")
    problems = [p for p in problems if "401" not in p]

    page.fill("#token", TOKEN)
    page.set_input_files("#depth", str(files[1]))
    page.fill("#fx", "300")
    page.click("#go")
    page.wait_for_selector("#points tbody tr")
    rows = page.locator("#points tbody tr").all_inner_texts()
    assert len(rows) == 2
    assert "223.5, 124.3" in rows[0] and "0.192, 0.014, 0.900" in rows[0]
    assert "1.200" in rows[1]
    assert page.is_visible("#space")
    # The mark is where the answer is: its colour in the canvas beside the point.
    view = "document.getElementById('view').getContext('2d')"
    colour = page.evaluate(f"[...{view}.getImageData(224 + 6, 124, 1, 1).data]")
    assert abs(colour[0] - 0xD5) < 12 and abs(colour[1] - 0x5E) < 12 and colour[2] < 20
    if folder := os.environ.get("ROBOREFER_SCREENSHOTS"):
        page.screenshot(path=str(Path(folder) / "ui.png"), full_page=True)
    assert page.screenshot()[:4] == b"\x89PNG"
    assert [p for p in problems if "401" not in p] == []
    page.close()
