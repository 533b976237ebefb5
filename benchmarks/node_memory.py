# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Whether the node's memory grows with its goals.

    python -m benchmarks.node_memory [--goals 300] [--model roborefer:demo] [--result-timeout 2]

Resident memory of the node's process before and after each third of the goals; the first goals
(caches, allocator) are not counted.  Results are kept for ``--result-timeout`` seconds: those
of the node's default, for clients that ask late, would look like growth.
"""

from __future__ import annotations

import contextlib
import json
import sys
from typing import Any

import psutil

from benchmarks.node_graph import INSTRUCTION, NODE, NodeGraph, parser, say
from roborefer_ros.errors import RoboReferError

SIZE = (640, 480)
_WARM_UP = 30


def measure(goals: int, model: str, result_timeout_s: int) -> dict[str, Any]:
    """Resident megabytes along the way and the growth per hundred goals."""
    instruction = INSTRUCTION if model == "echo" else "the red mug"
    node = {"model": model, "result_timeout_s": result_timeout_s}
    with NodeGraph(SIZE, node=node) as graph:
        process = psutil.Process(graph.processes.pid(NODE))

        def ask(count: int) -> None:
            for _ in range(count):
                with contextlib.suppress(RoboReferError):  # a wrong answer costs memory as well
                    graph.refer(instruction)

        ask(_WARM_UP)
        rss_mb = [process.memory_info().rss / 1e6]
        for number in range(3):
            say(f"  goals {number * goals // 3} to {(number + 1) * goals // 3} ...")
            ask(goals // 3)
            rss_mb.append(process.memory_info().rss / 1e6)
    return {
        "model": model,
        "goals": goals,
        "rss_mb": [round(value, 1) for value in rss_mb],
        "growth_mb_per_100_goals": round((rss_mb[-1] - rss_mb[1]) / (goals * 2 / 3) * 100, 2),
    }


def main(arguments: list[str] | None = None) -> int:
    """Measure and print."""
    options = parser(__doc__)
    options.add_argument("--goals", type=int, default=300)
    options.add_argument("--model", default="roborefer:demo", help="spec of the pointing model")
    options.add_argument("--result-timeout", type=int, default=2, help="of the action server, s")
    chosen = options.parse_args(arguments)
    row = measure(chosen.goals, chosen.model, chosen.result_timeout)
    if chosen.json:
        print(json.dumps(row, indent=1))
        return 0
    print(f"{row['model']}: resident MB after 0, 1/3, 2/3, all of {row['goals']} goals:")
    print("  " + ", ".join(str(value) for value in row["rss_mb"]))
    print(f"  growth over the last two thirds: {row['growth_mb_per_100_goals']} MB per 100 goals")
    return 0


if __name__ == "__main__":
    sys.exit(main())
