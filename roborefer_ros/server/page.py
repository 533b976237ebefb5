# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The page at ``/ui``: one file, no other host, nothing stored.

It asks ``/v1/point`` like any other client, so limits, queue and token are those of the API.  A
page toolkit (Gradio, NiceGUI) would keep uploads in temporary files or in a session on the
server, and brings its own routes around the gate; this needs neither.
"""

from __future__ import annotations

import base64
import hashlib
import importlib.resources
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from importlib.abc import Traversable

_FILE = importlib.resources.files("roborefer_ros.server") / "ui.html"


def page(file: Traversable = _FILE) -> tuple[str, dict[str, str]]:
    """The page and the headers that let it run its own script and style, and nothing else.

    Args:
        file: One HTML file with one script and one style in it.
    """
    text = file.read_text(encoding="utf-8")
    policy = "; ".join(
        [
            "default-src 'none'",
            f"script-src {_hash_of(text, 'script')}",
            f"style-src {_hash_of(text, 'style')}",
            "connect-src 'self'",
            "img-src blob: data:",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        ]
    )
    return text, {"Content-Security-Policy": policy, "Referrer-Policy": "no-referrer"}


def _hash_of(text: str, tag: str) -> str:
    found = re.search(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
    assert found is not None
    digest = hashlib.sha256(found[1].encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"
