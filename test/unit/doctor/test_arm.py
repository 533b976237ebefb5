# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The doctor's lines about the simulated arm."""

from __future__ import annotations

import ctypes.util
import importlib.metadata
from pathlib import Path

import pytest

from roborefer_ros.doctor import arm


def have(monkeypatch: pytest.MonkeyPatch, *libraries: str) -> None:
    """A machine with these libraries and no others."""
    found = {name: f"lib{name}.so.1" for name in libraries}
    monkeypatch.setattr(ctypes.util, "find_library", found.get)


@pytest.mark.parametrize(
    ("chosen", "libraries", "status", "remedy"),
    [
        ("egl", ("EGL",), "ok", ""),
        ("egl", ("OSMesa",), "warn", "export MUJOCO_GL=osmesa"),
        ("osmesa", ("EGL",), "warn", "export MUJOCO_GL=egl"),
        ("egl", (), "warn", "apt-get install libegl1"),
        ("osmesa", (), "warn", "apt-get install libosmesa6"),
        ("glfw", ("EGL",), "warn", "export MUJOCO_GL=egl"),
        ("vulkan", ("EGL",), "warn", "unset MUJOCO_GL"),
    ],
)
def test_the_way_of_drawing_is_told_with_the_line_that_mends_it(
    monkeypatch: pytest.MonkeyPatch,
    chosen: str,
    libraries: tuple[str, ...],
    status: str,
    remedy: str,
) -> None:
    have(monkeypatch, *libraries)
    monkeypatch.setenv("MUJOCO_GL", chosen)
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    check = arm.check_drawing()
    assert check.status == status
    assert check.remedy.startswith(remedy)


def test_a_missing_package_is_a_warning_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    for check in (arm.check_mujoco(), arm.check_mink()):
        assert check.status == "warn"
        assert "[arm]" in check.remedy


def test_missing_files_of_the_panda_are_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(arm, "have_panda", lambda: False)
    monkeypatch.setattr(arm, "panda_folder", lambda: tmp_path)
    assert arm.check_panda().status == "warn"
