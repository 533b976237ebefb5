# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""A real server process for the remote models."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest


class ContractServer:
    """The server process of ``contract_server.py``."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        assert process.stdout is not None
        self.port = int(process.stdout.readline())

    def seen(self, path_part: str) -> list[dict[str, Any]]:
        """The requests whose path holds this part."""
        return [r for r in self._log()["requests"] if path_part in r["path"]]

    def closed(self, mode: str) -> int:
        """How many connections of this behaviour the client has closed."""
        return self._log()["closed"].count(mode)

    def _log(self) -> dict[str, Any]:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/seen", timeout=5) as reply:
            log: dict[str, Any] = json.load(reply)
            return log


@pytest.fixture(scope="session")
def server() -> Iterator[ContractServer]:
    script = Path(__file__).with_name("contract_server.py")
    process = subprocess.Popen(
        [sys.executable, str(script)], stdout=subprocess.PIPE, text=True, bufsize=1
    )
    try:
        yield ContractServer(process)
    finally:
        process.terminate()
        process.wait(10)


@pytest.fixture
def eventually() -> Callable[[Callable[[], bool]], bool]:
    """Whether something becomes true within two seconds."""

    def wait(condition: Callable[[], bool]) -> bool:
        end = time.monotonic() + 2.0
        while not condition():
            if time.monotonic() > end:
                return False
            time.sleep(0.02)
        return True

    return wait
