# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""What the tests of the server share: a running server, a picture for its routes."""

from __future__ import annotations

import base64
import re
import signal
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import httpx
import numpy as np

GOLDEN = Path(__file__).resolve().parents[1] / "data" / "golden"
TINY = f"roborefer:{GOLDEN / 'tiny-2b-style'}"
TOKEN = "0123456789abcdef-test"


@dataclass
class Served:
    """A running server."""

    process: subprocess.Popen[bytes]
    url: str
    log: Path
    folder: Path

    def client(self, **options: object) -> httpx.Client:
        """A client with one connection pool."""
        return httpx.Client(base_url=self.url, timeout=30.0, **options)  # type: ignore[arg-type]

    def metric(self, name: str, headers: dict[str, str] | None = None) -> float:
        """One line of /metrics, by name and labels."""
        text = httpx.get(f"{self.url}/metrics", headers=headers).text
        found = re.search(rf"^{re.escape(name)} (\S+)$", text, re.MULTILINE)
        return float(found[1]) if found else 0.0

    def stop(self) -> int:
        """End it as an operator would; returns the exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(90)


Start = Callable[..., Served]


def base64_png(pixels: np.ndarray) -> str:
    """An image as the routes want it; RGB or grey."""
    stored = pixels[..., ::-1] if pixels.ndim == 3 else pixels
    done, data = cv2.imencode(".png", np.ascontiguousarray(stored))
    assert done
    return base64.b64encode(data.tobytes()).decode()
