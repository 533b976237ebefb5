# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Real server processes: ``roborefer serve`` as a user starts it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from serving import TINY, TOKEN, Served, Start, base64_png  # type: ignore[import-not-found]

for package in ("fastapi", "uvicorn", "prometheus_client", "torch"):
    pytest.importorskip(package)


@pytest.fixture(scope="session")
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    """Start servers that end with the session."""
    running: list[Served] = []
    folders: list[Path] = []

    def run(*arguments: str, token: str = "", within_s: float = 180.0) -> Served:
        folder = tmp_path_factory.mktemp("serve")
        log = folder / "log"
        # Ray makes sockets below it, whose paths the system limits to 107 bytes.
        short = Path(tempfile.mkdtemp(prefix="serve"))
        folders.append(short)
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "TMPDIR": str(short)}
        environment.pop("ROBOREFER_API_KEY", None)
        if token:
            environment["ROBOREFER_API_KEY"] = token
        (folder / "cwd").mkdir()
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "roborefer_ros.cli", "serve", "--port", "0", *arguments],
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment,
                cwd=folder / "cwd",
            )
        served = Served(process, "", log, folder)
        running.append(served)
        served.url = _url(served, within_s)
        return served

    yield run
    for served in running:
        if served.process.poll() is None:
            served.process.kill()
        served.process.wait(10)
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


def _url(served: Served, within_s: float) -> str:
    end = time.monotonic() + within_s
    while time.monotonic() < end:
        found = re.search(r"running on (http://\S+)", served.log.read_text(errors="replace"))
        if found:
            return found[1]
        if served.process.poll() is not None:
            break
        time.sleep(0.05)
    raise AssertionError(f"the server did not start:\n{served.log.read_text(errors='replace')}")


@pytest.fixture(scope="session")
def tiny(start: Start) -> Served:
    """A real, tiny RoboRefer network whose answers last as long as they may."""
    return start(
        *("--model", TINY, "--max-new-tokens", "12000", "--max-queue", "8", "--max-batch", "2"),
        *("--max-megapixels", "1", "--max-body-mib", "4", "--timeout-s", "110"),
    )


@pytest.fixture(scope="session")
def echo(start: Start) -> Served:
    """The pointer without a model, behind a token."""
    return start("--model", "echo:", "--max-megapixels", "1", "--max-body-mib", "2", token=TOKEN)


@pytest.fixture(scope="session")
def rgb() -> np.ndarray:
    """A picture."""
    return np.random.default_rng(5).integers(0, 256, (48, 64, 3), np.uint8)


@pytest.fixture(scope="session")
def image(rgb: np.ndarray) -> str:
    """The same, as base64."""
    return base64_png(rgb)
