# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The page, in a real headless Chromium."""

from __future__ import annotations

import base64
import os
import shutil
import struct
import zlib
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
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy
    assert "http://" not in reply.text
    assert "https://" not in reply.text


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


@pytest.fixture
def page(echo: Served, browser: Any) -> Iterator[Any]:
    """The page, opened; what goes wrong in it fails the test."""
    opened = browser.new_page(viewport={"width": 1280, "height": 900})
    problems: list[str] = []
    opened.on("pageerror", lambda error: problems.append(str(error)))
    opened.on("console", lambda m: problems.append(m.text) if m.type == "error" else None)
    opened.goto(f"{echo.url}/ui")
    yield opened
    opened.close()
    assert [problem for problem in problems if "401" not in problem] == []


def drop(page: Any, *files: Path) -> None:
    """As if the files were dragged from a folder into the page."""
    contents = [(path.name, base64.b64encode(path.read_bytes()).decode()) for path in files]
    page.evaluate(
        """(files) => {
            const data = new DataTransfer();
            for (const [name, text] of files) {
                const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
                data.items.add(new File([bytes], name, { type: "image/png" }));
            }
            for (const kind of ["dragenter", "dragover", "drop"])
                document.getElementById("drop").dispatchEvent(
                    new DragEvent(kind, { dataTransfer: data, bubbles: true, cancelable: true }));
        }""",
        contents,
    )


def pixels(page: Any, canvas: str) -> np.ndarray:
    """``[H, W, 4]`` of a canvas."""
    url = page.evaluate(f"document.getElementById('{canvas}').toDataURL()")
    data = np.frombuffer(base64.b64decode(url.partition(",")[2]), np.uint8)
    return np.asarray(cv2.cvtColor(cv2.imdecode(data, cv2.IMREAD_UNCHANGED), cv2.COLOR_BGRA2RGBA))


def near(image: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    """Where a picture has a colour, ``[H, W]`` bool."""
    close = np.abs(image[..., :3].astype(int) - colour).max(-1) < 12
    return np.asarray(close & (image[..., 3] > 200))


def test_asks_before_it_has_all(page: Any, files: tuple[Path, Path]) -> None:
    page.fill("#instruction", "the mug")
    page.click("#go")
    assert "Drop an image first" in page.inner_text("#status")
    page.set_input_files("#file", str(files[0]))
    page.wait_for_selector("#status:has-text('320 x 240')")
    page.click("#go")
    page.wait_for_selector("#status.bad")
    assert "token" in page.inner_text("#status")
    page.fill("#token", TOKEN)
    page.click("#go")  # the pointer without a model repeats the words, which hold no point
    page.wait_for_selector("#status.bad:has-text('no point')")
    assert not page.is_visible("#points")


def test_drop_ask_see(page: Any, files: tuple[Path, Path]) -> None:
    drop(page, *files)
    page.wait_for_selector("#status:has-text('320 x 240')")
    assert page.evaluate("document.getElementById('depth').files[0].name") == "depth.png"
    page.fill("#token", TOKEN)
    page.fill("#fx", "300")
    page.fill("#instruction", "[(0.7, 0.52), (0.2, 0.8)]")
    page.click("#go")
    page.wait_for_selector("#points tbody tr")
    rows = page.locator("#points tbody tr").all_inner_texts()
    assert len(rows) == 2
    assert "223.5, 124.3" in rows[0]
    assert "0.192, 0.014, 0.900" in rows[0]
    assert "1.200" in rows[1]
    # The mark is where the answer is: its colour in the canvas beside the point.
    marked = near(pixels(page, "view"), (0xD5, 0x5E, 0))
    rows, columns = np.nonzero(marked)
    assert abs(np.median(columns) - 224) < 8
    assert abs(np.median(rows) - 124) < 8
    page.wait_for_selector("#cloud", state="visible")
    if folder := os.environ.get("ROBOREFER_SCREENSHOTS"):
        page.screenshot(path=str(Path(folder) / "ui.png"), full_page=True)
    assert page.screenshot()[:4] == b"\x89PNG"


def test_scene_in_space_is_the_depth_pictures(page: Any, files: tuple[Path, Path]) -> None:
    """Seen from before the target, the cloud is the picture."""
    drop(page, *files)
    page.fill("#token", TOKEN)
    page.fill("#fx", "300")
    page.fill("#instruction", "[(0.7, 0.52)]")
    page.wait_for_selector("#status:has-text('320 x 240')")
    page.click("#go")
    page.wait_for_selector("#cloud", state="visible")
    turned = pixels(page, "cloud")
    page.evaluate("Object.assign(eye, { yaw: 0, pitch: 0, near: 1 }); show()")
    ahead = pixels(page, "cloud")
    rows, columns = np.nonzero(near(ahead, (200, 40, 40)))
    # The mug: 51 x 71 pixels at 300 per metre, 0.9 m away, seen with 0.95 x 716 per metre.
    scale = 0.95 * 716 / 300
    assert abs(np.ptp(columns) - 51 * scale) < 9
    assert abs(np.ptp(rows) - 71 * scale) < 9
    # The eye is before the target, which is a pixel and a half beside the middle of the mug.
    assert abs(columns.mean() - 480) < 9
    assert abs(rows.mean() - 358) < 9
    assert np.count_nonzero(near(turned, (200, 40, 40)) != near(ahead, (200, 40, 40))) > 500
    page.evaluate("Object.assign(eye, { pitch: -1.5 }); show()")
    rows = np.nonzero(near(pixels(page, "cloud"), (200, 40, 40)))[0]
    assert np.ptp(rows) < 30, "from the side a flat mug is a line"
    page.focus("#cloud")
    page.keyboard.press("ArrowRight")
    page.wait_for_function("eye.yaw > 0.05")


def png_of_every_filter(readings: np.ndarray) -> bytes:
    """A 16-bit grey PNG whose rows use the filters 0 to 4 in turn (ISO 15948, section 9)."""
    height, width = readings.shape
    raw = readings.astype(">u2").view(np.uint8).reshape(height, 2 * width).astype(int)
    above = np.vstack([np.zeros(2 * width, int), raw[:-1]])
    left, corner = (np.hstack([np.zeros((height, 2), int), rows[:, :-2]]) for rows in (raw, above))
    guess = left + above - corner
    distances = np.stack([np.abs(guess - other) for other in (left, above, corner)])
    paeth = np.choose(distances.argmin(0), [left, above, corner])  # the first of the nearest
    guesses = [np.zeros_like(raw), left, above, (left + above) // 2, paeth]
    rows = b"".join(
        bytes([y % 5]) + (raw[y] - guesses[y % 5][y]).astype(np.uint8).tobytes()
        for y in range(height)
    )
    packed, parts = zlib.compress(rows), b""
    header = struct.pack(">IIBBBBB", width, height, 16, 0, 0, 0, 0)
    data = [(b"IDAT", packed[:100]), (b"IDAT", packed[100:])]
    for kind, content in [(b"IHDR", header), *data, (b"IEND", b"")]:
        crc = zlib.crc32(kind + content)
        parts += struct.pack(">I", len(content)) + kind + content + struct.pack(">I", crc)
    return b"\x89PNG\r\n\x1a\n" + parts


def test_page_reads_sixteen_bits_whatever_the_filter(page: Any, tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    depth = (np.add.outer(np.arange(20) * 301, np.arange(24) * 97) % 65536).astype(np.uint16)
    depth += rng.integers(0, 400, depth.shape, np.uint16)
    file = tmp_path / "depth.png"
    file.write_bytes(png_of_every_filter(depth))
    assert np.array_equal(cv2.imread(str(file), cv2.IMREAD_UNCHANGED), depth)
    page.set_input_files("#depth", str(file))
    read = page.evaluate(
        """async () => {
            const { width, height, at } = await readings(document.getElementById("depth").files[0]);
            return Array.from({ length: width * height }, (_, n) => at.getUint16(2 * n)); }"""
    )
    assert np.array_equal(np.reshape(read, depth.shape), depth)


@pytest.mark.parametrize("width", [360, 900])
def test_narrow_screens_need_no_sideways_scrolling(page: Any, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 740})
    assert page.evaluate("document.documentElement.scrollWidth") <= width
