# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""A run of two processes that several tests look at."""

from __future__ import annotations

import json
from typing import Any

import pytest
from sft_golden import WORKER, start_processes


@pytest.fixture(scope="session")
def two_processes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What two processes computed (see two_processes.py)."""
    folder = tmp_path_factory.mktemp("two")
    process = start_processes(2, str(WORKER), str(folder))
    output, _ = process.communicate(timeout=600)
    assert process.returncode == 0, output[-4000:]
    result: dict[str, Any] = json.loads((folder / "result.json").read_text())
    return {**result, "folder": folder}
