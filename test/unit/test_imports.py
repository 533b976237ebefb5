# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""What starts must not wait for torch; which parts know which."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

FILES = sorted(Path(__file__).resolve().parents[2].glob("roborefer_ros/inference/**/*.py"))

HELP = """
from roborefer_ros.cli import main
try:
    main(["--help"])
except SystemExit:
    pass
"""

HEAVY = ("torch", "transformers", "scipy.stats", "cv2", "matplotlib", "fastapi", "rclpy")


def loaded_after(code: str) -> set[str]:
    """Heavy modules that a fresh interpreter has loaded after the code."""
    tell = f"import sys; print(*(name for name in {HEAVY} if name in sys.modules))"
    command = [sys.executable, "-c", f"{code}\n{tell}"]
    run = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    return set(run.stdout.splitlines()[-1].split())


@pytest.mark.parametrize(
    "code",
    [
        "import roborefer_ros",
        "import roborefer_ros.inference.model",
        "import roborefer_ros.pointing.pointer",
        HELP,
    ],
)
def test_start_loads_no_heavy_package(code: str) -> None:
    assert loaded_after(code) == set()


def imported_by(file: Path) -> set[str]:
    """Modules of this package that a file imports, anywhere in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
        elif isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
    return {name for name in names if name.startswith("roborefer_ros.")}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_models_know_nothing_of_their_tasks(file: Path) -> None:
    """A model completes prompts: it knows no points, no server, no benchmark and no robot."""
    allowed = ("inference", "models", "errors", "cancellation", "files")
    foreign = {name for name in imported_by(file) if name.split(".")[1] not in allowed}
    assert not foreign
