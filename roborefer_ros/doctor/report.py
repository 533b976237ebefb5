# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The checks of this installation, in order, and their report as text."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from roborefer_ros import __version__
from roborefer_ros.doctor import arm, installed, proxies, shared_memory
from roborefer_ros.doctor.check import MARKS, Check

#: checks without arguments that never raise, in the order of the report
CHECKS: tuple[Callable[[], Check], ...] = (
    installed.check_python,
    installed.check_ros,
    installed.check_rmw,
    installed.check_messages,
    installed.check_companions,
    installed.check_numpy_opencv,
    installed.check_fast_dds,
    shared_memory.check_capacity,
    shared_memory.check_leftovers,
    installed.check_torch,
    installed.check_transformers,
    installed.check_open3d,
    installed.check_demo_weights,
    installed.check_checkpoint,
    installed.check_depth_network,
    installed.check_remote_extra,
    proxies.check_proxies,
    installed.check_serve_extra,
    installed.check_eval_extra,
    arm.check_mujoco,
    arm.check_mink,
    arm.check_panda,
    arm.check_drawing,
)


def collect(checks: Sequence[Callable[[], Check]] | None = None) -> list[Check]:
    """Run the checks, by default all of ``CHECKS``, in their order."""
    return [check() for check in (CHECKS if checks is None else checks)]


def format_report(checks: Sequence[Check]) -> str:
    """The report as text: one line per check, its remedy indented below."""
    width = max(len(check.name) for check in checks)
    lines = [f"roborefer_ros {__version__}"]
    for check in checks:
        lines.append(f"{MARKS[check.status]}  {check.name:<{width}}  {check.detail}")
        lines += [f"      {'':<{width}}  -> {line.strip()}" for line in check.remedy.splitlines()]
    return "\n".join(lines)
