# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""``roborefer demo``: a real ROS 2 graph in three processes, a table and a picture."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from roborefer_ros.arguments import ArgumentParser, exit_status, non_negative_int, positive_int
from roborefer_ros.demo.run import Progress, run_demo, stay
from roborefer_ros.demo.table import format_summary, format_table
from roborefer_ros.errors import RoboReferError


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    parser = ArgumentParser(
        prog="roborefer demo",
        description="Simulated camera, RoboRefer node and client as a real ROS 2 graph: a table "
        "and a picture.",
    )
    parser.add_argument("--scenes", type=positive_int, default=2, help="how many (default 2)")
    parser.add_argument(
        "--seed", type=non_negative_int, default=0, help="number of the first scene"
    )
    parser.add_argument("--questions", type=positive_int, default=4, help="per scene, at most")
    parser.add_argument("--model", default="roborefer:demo", help="spec of the pointing model")
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder to write")
    parser.add_argument("--json", action="store_true", help="print JSON for programs")
    parser.add_argument(
        "--stay",
        action="store_true",
        help="ask nothing; keep camera (scene --seed) and node up, to be asked from other shells",
    )
    arguments = parser.parse_args(argv)
    progress = Progress()
    # Without this SIGTERM would leave the two processes behind.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        if arguments.stay:
            return stay(
                arguments.seed, arguments.questions, arguments.model, arguments.out, progress
            )
        answers, picture = run_demo(
            arguments.scenes,
            arguments.seed,
            arguments.questions,
            arguments.model,
            arguments.out,
            progress,
        )
    except RoboReferError as error:
        print(f"error {error.code}: {error}", file=sys.stderr)
        return exit_status(error)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    if arguments.json:
        rows = [answer.as_json() for answer in answers]
        print(json.dumps({"results": rows, "picture": str(picture)}, indent=1))
    else:
        print(format_table(answers))
        print(format_summary(answers))
        print(f"picture: {picture}")
    return 0 if any(answer.error_code == 0 for answer in answers) else 1
