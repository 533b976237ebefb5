# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""What the simulated arm needs: MuJoCo, mink, the Panda's files, a way to draw without a screen."""

from __future__ import annotations

import ctypes.util
import importlib.metadata
import os

from roborefer_ros.arm.robot import WHEEL, have_panda, panda_folder
from roborefer_ros.doctor.check import Check

#: value of MUJOCO_GL -> (library, Debian's packages with it)
_BACKENDS = {"egl": ("EGL", "libegl1 libgl1-mesa-dri"), "osmesa": ("OSMesa", "libosmesa6")}


def check_mujoco() -> Check:
    """The physics."""
    return _package("mujoco", "MuJoCo (arm)")


def check_mink() -> Check:
    """The inverse kinematics."""
    return _package("mink", "mink (arm)")


def check_panda() -> Check:
    """The Panda's files, which come from robosuite's wheel; robosuite itself is not needed."""
    if have_panda():
        return Check("Panda (arm)", "ok", f"from {WHEEL}, in {panda_folder()}")
    return Check(
        "Panda (arm)",
        "warn",
        f"its files ({WHEEL}) are not here; a plain gripper takes its place",
        "python -m roborefer_ros.arm.robot",
    )


def check_drawing() -> Check:
    """The library through which MuJoCo draws without a screen."""
    wanted = os.environ.get("MUJOCO_GL", "egl").lower()
    if wanted == "glfw":
        shown = bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
        if shown:
            return Check("drawing (arm)", "ok", "MUJOCO_GL=glfw, with a display")
        detail = "MUJOCO_GL=glfw needs a display, and there is none"
        return Check("drawing (arm)", "warn", detail, "export MUJOCO_GL=egl")
    if wanted not in _BACKENDS:
        detail = f"MUJOCO_GL={wanted[:40]!r} is none of egl, osmesa, glfw"
        return Check("drawing (arm)", "warn", detail, "unset MUJOCO_GL")
    library, packages = _BACKENDS[wanted]
    if found := ctypes.util.find_library(library):
        return Check("drawing (arm)", "ok", f"{library} ({found})")
    other = "osmesa" if wanted == "egl" else "egl"
    if ctypes.util.find_library(_BACKENDS[other][0]):
        detail = f"lib{library} is missing, lib{_BACKENDS[other][0]} is there"
        return Check("drawing (arm)", "warn", detail, f"export MUJOCO_GL={other}")
    return Check(
        "drawing (arm)",
        "warn",
        f"neither lib{library} nor lib{_BACKENDS[other][0]}: recordings of the arm cannot be drawn",
        f"apt-get install {packages}",
    )


def _package(name: str, title: str) -> Check:
    try:
        return Check(title, "ok", importlib.metadata.version(name))
    except importlib.metadata.PackageNotFoundError:
        detail = "not installed; only the simulated arm needs it"
        return Check(title, "warn", detail, "pip install 'roborefer_ros[arm]'")
