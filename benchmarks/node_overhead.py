# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""What the node adds to the model's time: goal sent to result received, minus the model.

    python -m benchmarks.node_overhead [--goals 100] [--json]

By the client's clock, in a process of its own; the camera sends at 30 Hz in another.  Two ways to
ask: after a pause, when the node has to fetch a fresh frame (what a robot sees), and back to back.
In turn with the node, an action server of bare rclpy that answers at once is asked the same way:
what the protocol alone costs on this machine at that moment.  "times" is the ratio of the medians,
"quiet" that of the 10th percentiles, which tells more where other programs share the machine.
"""

from __future__ import annotations

import json
import random
import statistics
import sys
import time
from collections.abc import Sequence
from typing import Any

from benchmarks.node_graph import NODE_STAGES, SIZES, NodeGraph, parser, percentile, say, summary_ms

#: medians to stay under, milliseconds
AIMS_MS = {(640, 480): 10.0, (1280, 720): 20.0}
#: longer than frame_tolerance_s, so that the frame of the goal before is too old
_PAUSE_S = (0.15, 0.45)


def measure(graph: NodeGraph, goals: int, *, pause: bool) -> dict[str, Any]:
    """Ask ``goals`` times; overhead and the node's stages in milliseconds."""
    rng = random.Random(7)
    overheads_s: list[float] = []
    bare_s: list[float] = []
    stages_s: dict[str, list[float]] = {}
    for _ in range(goals):
        if pause:
            time.sleep(rng.uniform(*_PAUSE_S))
        total_s, timings_s = graph.timed_goal()
        model_s = sum(s for stage, s in timings_s.items() if stage not in NODE_STAGES)
        overheads_s.append(total_s - model_s)
        in_node_s = timings_s.pop("total", 0.0)
        timings_s["protocol"] = total_s - in_node_s
        for stage, seconds in timings_s.items():
            stages_s.setdefault(stage, []).append(seconds)
        if pause:
            time.sleep(rng.uniform(*_PAUSE_S))
        bare_s.append(graph.timed_bare_goal())
    stages_ms = {k: round(1e3 * statistics.median(v), 3) for k, v in stages_s.items()}
    quiet_s, bare_quiet_s = (percentile(own, 10.0) for own in (overheads_s, bare_s))
    return {
        **summary_ms(overheads_s),
        "ratio": round(statistics.median(overheads_s) / statistics.median(bare_s), 2),
        "quiet_ratio": round(quiet_s / bare_quiet_s, 2),
        "quiet_ms": round(1e3 * quiet_s, 3),
        "bare_quiet_ms": round(1e3 * bare_quiet_s, 3),
        "bare": summary_ms(bare_s),
        "goals": goals,
        "stages_median_ms": stages_ms,
    }


def run(goals: int, sizes: Sequence[tuple[int, int]] = SIZES) -> list[dict[str, Any]]:
    """Each size, both ways of asking."""
    rows = []
    for size in sizes:
        with NodeGraph(size) as graph:
            graph.start_bare("server")
            graph.wait_for_bare_server()
            for _ in range(5):
                graph.timed_goal()
                graph.timed_bare_goal()
            for pause in (True, False):
                asking = "after a pause" if pause else "back to back"
                say(f"  {goals} goals {asking} ...")
                row = measure(graph, goals, pause=pause)
                rows.append({"size": list(size), "asking": asking, "aim_ms": AIMS_MS[size], **row})
    return rows


def main(arguments: list[str] | None = None) -> int:
    """Measure and print."""
    options = parser(__doc__)
    options.add_argument("--goals", type=int, default=100, help="of each kind")
    options.add_argument("--sizes", type=int, choices=(1, 2), default=2, help="1: 640x480 alone")
    chosen = options.parse_args(arguments)
    rows = run(chosen.goals, SIZES[: chosen.sizes])
    if chosen.json:
        print(json.dumps({"results": rows}, indent=1))
        return 0
    print(
        f"{'size':9s} {'asking':14s} {'median ms':>9s} {'p95 ms':>7s} "
        f"{'aim ms':>6s} "
        f"{'bare rclpy ms':>13s} {'times':>6s} {'quiet':>6s}  stages ms"
    )
    for row in rows:
        stages = ", ".join(f"{k} {v:.1f}" for k, v in row["stages_median_ms"].items())
        size = "x".join(str(n) for n in row["size"])
        print(
            f"{size:9s} {row['asking']:14s} {row['median_ms']:9.1f} {row['p95_ms']:7.1f} "
            f"{row['aim_ms']:6.0f} {row['bare']['median_ms']:13.1f} {row['ratio']:6.1f} "
            f"{row['quiet_ratio']:6.1f}  {stages}"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
