# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""``roborefer doctor``: what is installed, missing or broken, and the line that mends it."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict

from roborefer_ros import __version__
from roborefer_ros.doctor import installed, proxies, shared_memory
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
    shared_memory.check_room,
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


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of ``roborefer doctor``; returns 1 when something is missing or broken."""
    parser = argparse.ArgumentParser(
        prog="roborefer doctor",
        description="Say what is installed, what is missing or broken, and what to do.",
    )
    parser.add_argument("--json", action="store_true", help="machine-readable")
    parser.add_argument(
        "--remove-stale",
        action="store_true",
        help="remove the files of Fast DDS in shared memory that no process holds",
    )
    arguments = parser.parse_args(argv)
    if arguments.remove_stale:
        for path in shared_memory.remove_leftovers():
            print(f"removed {path}", file=sys.stderr)
    checks = collect()
    if arguments.json:
        print(json.dumps([asdict(check) for check in checks], indent=2))
    else:
        print(format_report(checks))
    return 1 if any(check.is_failure for check in checks) else 0


if __name__ == "__main__":
    sys.exit(main())
