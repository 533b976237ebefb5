# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Runs of two processes that several tests look at."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="session")
def two_rft_processes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What two processes did (see two_rft_processes.py)."""
    folder = tmp_path_factory.mktemp("two-rft")
    worker = Path(__file__).with_name("two_rft_processes.py")
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    done = subprocess.run(
        [*launcher, "--nproc-per-node=2", str(worker), str(folder)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=800,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:]
    result: dict[str, Any] = json.loads((folder / "result.json").read_text())
    return {**result, "folder": folder}
