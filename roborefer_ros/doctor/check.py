# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""One line of the report of ``roborefer doctor``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Status = Literal["ok", "warn", "missing", "broken"]

#: how a status is printed
MARKS: dict[Status, str] = {"ok": "ok  ", "warn": "warn", "missing": "MISS", "broken": "FAIL"}


@dataclass(frozen=True)
class Check:
    """One line of the report.

    Attributes:
        name: Thing that was looked at.
        status: ``missing`` and ``broken`` mean that something cannot work, ``warn`` that it works
            less well or only in part.
        detail: Finding.
        remedy: Command or step that mends it; empty where nothing needs to be done.
    """

    name: str
    status: Status
    detail: str
    remedy: str = ""

    @property
    def is_failure(self) -> bool:
        """Whether something cannot work."""
        return self.status in ("missing", "broken")
