# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""CPU that the idle node takes while a camera publishes, beside a bare rclpy subscriber.

    python -m benchmarks.node_idle_cpu [--seconds 20] [--json]

1280x720 RGB-D at 30 Hz; both processes receive the same topics at the same time and are measured
over the same seconds, so that their ratio holds on a busy machine, too.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import psutil

from benchmarks.node_graph import BARE, NODE, NodeGraph, parser, say

SIZE = (1280, 720)


def cpu_s(process: psutil.Process) -> float:
    """User and system time so far, seconds."""
    times = process.cpu_times()
    return float(times.user + times.system)


def measure(mode: str, seconds: float) -> dict[str, Any]:
    """Percent of one core of node and bare subscriber."""
    with NodeGraph(SIZE, node={"camera_mode": mode}) as graph:
        graph.start_bare("subscriber")
        processes = {name: psutil.Process(graph.processes.pid(name)) for name in (NODE, BARE)}
        time.sleep(5.0)  # imports, discovery, the goal before
        before = {name: cpu_s(process) for name, process in processes.items()}
        started_s = time.monotonic()
        say(f"  measuring for {seconds:g} s ...")
        time.sleep(seconds)
        elapsed_s = time.monotonic() - started_s
        percent = {
            name: 100.0 * (cpu_s(process) - before[name]) / elapsed_s
            for name, process in processes.items()
        }
        graph.processes.check()
    return {
        "camera_mode": mode,
        "node_percent": round(percent[NODE], 2),
        "bare_subscriber_percent": round(percent[BARE], 2),
        "ratio": round(percent[NODE] / percent[BARE], 3),
    }


def main(arguments: list[str] | None = None) -> int:
    """Measure and print."""
    options = parser(__doc__)
    options.add_argument("--seconds", type=float, default=20.0)
    chosen = options.parse_args(arguments)
    rows = [measure(mode, chosen.seconds) for mode in ("sampled", "continuous")]
    if chosen.json:
        print(json.dumps({"results": rows}, indent=1))
        return 0
    print(f"{'camera_mode':12s} {'node':>7s} {'bare':>7s} {'ratio':>6s}   (% of one core)")
    for row in rows:
        print(
            f"{row['camera_mode']:12s} {row['node_percent']:7.1f} "
            f"{row['bare_subscriber_percent']:7.1f} {row['ratio']:6.2f}"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
