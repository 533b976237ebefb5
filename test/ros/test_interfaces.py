# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The guard around roborefer_msgs: a missing or half-present build is explained."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from roborefer_ros.nodes import interfaces

ROOT = Path(__file__).resolve().parents[2]
CODE = """
try:
    import roborefer_ros.nodes.interfaces
except ImportError as error:
    print(error)
"""


def import_without(variable: str, folder: Path) -> str:
    """What the import says when the overlay is missing from one search path."""
    environment = dict(os.environ)
    kept = [
        entry
        for entry in environment.get(variable, "").split(os.pathsep)
        if entry and "roborefer_msgs" not in entry
    ]
    environment[variable] = os.pathsep.join(kept)
    environment["PYTHONPATH"] = os.pathsep.join(
        filter(None, [str(ROOT), environment.get("PYTHONPATH", "")])
    )
    command = [sys.executable, "-c", CODE]
    result = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_built_messages_are_passed_on() -> None:
    assert interfaces.ReferPoint.Goal.MODE_FREE_SPACE == 2
    assert interfaces.ReferredPoint.FLAG_HOLE == 2
    assert interfaces.StageTiming().duration == 0.0


@pytest.mark.parametrize("variable", ["PYTHONPATH", "LD_LIBRARY_PATH"])
def test_missing_overlay_names_the_commands(variable: str, tmp_path: Path) -> None:
    """Without the Python part, and with it but without the libraries behind it."""
    said = import_without(variable, tmp_path)
    assert "roborefer_msgs cannot be used" in said
    assert "colcon build --base-paths src src/roborefer_ros/roborefer_msgs" in said
    assert "make msgs" in said


def test_source_folder_is_not_mistaken_for_the_build() -> None:
    """Started in the clone, `import roborefer_msgs` finds the sources and succeeds."""
    assert "make msgs" in import_without("PYTHONPATH", ROOT)
