# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The page of errors is what the classes say."""

from __future__ import annotations

from pathlib import Path

from roborefer_ros.error_table import REMEDIES, markdown
from roborefer_ros.errors import ERRORS_BY_CODE

ROOT = Path(__file__).resolve().parents[2]


def test_the_page_is_up_to_date() -> None:
    """``python -m roborefer_ros.error_table > docs/errors.md`` writes it."""
    assert (ROOT / "docs" / "errors.md").read_text(encoding="utf-8") == markdown()


def test_every_error_has_a_meaning_and_a_remedy() -> None:
    assert set(REMEDIES) == set(ERRORS_BY_CODE)
    for code, kind in ERRORS_BY_CODE.items():
        assert kind.__doc__, code
        assert REMEDIES[code].endswith("."), code


def test_the_page_is_linked() -> None:
    for path in ("README.md", "docs/server.md", "roborefer_ros/server/schemas.py"):
        assert "errors.md" in (ROOT / path).read_text(encoding="utf-8"), path
