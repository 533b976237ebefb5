# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""What the set-up does to files that other environments share."""

from __future__ import annotations

import json
import os
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
NUMPY = "lib/python3.11/site-packages/numpy/_core/include"


@pytest.mark.parametrize("written", ["/opt/python/cp311-cp311", "/home/me/gone/.venv"])
def test_paths_of_wheels_are_adapted_and_the_cache_stays_as_it_is(
    tmp_path: Path, written: str
) -> None:
    """uv links files of its cache into environments; one may hold a path of a deleted one."""
    text = f'INTERFACE_INCLUDE_DIRECTORIES "/usr/include;{written}/{NUMPY}"\n'
    cached = tmp_path / "cache.cmake"
    cached.write_text(text)
    prefix = tmp_path / "venv"
    (prefix / "share/some_msgs/cmake").mkdir(parents=True)
    linked = prefix / "share/some_msgs/cmake/export.cmake"
    os.link(cached, linked)
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\necho '{json.dumps([str(prefix), '/include', '/numpy'])}'\n")
    python.chmod(0o755)

    functions = runpy.run_path(str(ROOT / "scripts/setup_environment.py"))
    functions["adapt_wheel_paths"](python)

    assert linked.read_text() == 'INTERFACE_INCLUDE_DIRECTORIES "/usr/include;/numpy"\n'
    assert cached.read_text() == text
    assert [path.name for path in linked.parent.iterdir()] == ["export.cmake"]
