# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Checkpoint folders that the tests may change."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

GOLDEN = Path(__file__).resolve().parents[2] / "data" / "golden"


@pytest.fixture
def copy_of(tmp_path: Path) -> Callable[[str], Path]:
    """A writable copy of a golden checkpoint, by the mode: ``2b`` or ``8b``."""

    def copy(mode: str) -> Path:
        target = tmp_path / f"copy-{mode}"
        shutil.copytree(GOLDEN / f"tiny-{mode}-style", target)
        return target

    return copy


@pytest.fixture
def edit() -> Callable[..., None]:
    """Set (or, with None, remove) keys of a JSON file."""

    def edit_file(path: Path, **values: Any) -> None:
        content = json.loads(path.read_text())
        content.update(values)
        kept = {key: value for key, value in content.items() if value is not None}
        path.write_text(json.dumps(kept))

    return edit_file
