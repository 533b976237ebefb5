# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Node and server under everything at once: what was sent, answered, wrong and leaked.

    python -m benchmarks.soak --minutes 5 [--seed 0] [--only node|server]

The node (``model:=echo``, simulated camera) gets goals of every kind, cancels and hopeless
timeouts from four clients while its camera stops, garbage comes on the camera's topics and on /tf,
and it is killed and started again (first half).  The server gets right requests beside broken
pictures, broken JSON, raw bytes and abandoned bodies.  A right request must be answered rightly or
end in a numbered error; the status is 1 where one was wrong or hung, or a process grew.
"""

from __future__ import annotations

import argparse
import sys
import threading

from benchmarks.node_graph import say
from roborefer_ros.arguments import ArgumentParser, non_negative_float, non_negative_int


def main(arguments: list[str] | None = None) -> int:
    """Soak and print; 1 where something was wrong, hung or leaked."""
    parser = ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--minutes", type=non_negative_float, default=5.0, help="default: %(default)s"
    )
    parser.add_argument("--seed", type=non_negative_int, default=0, help="default: %(default)s")
    parser.add_argument("--only", choices=("node", "server"), help="default: both, side by side")
    chosen = parser.parse_args(arguments)
    reports: dict[str, tuple[list[str], bool]] = {}
    threads = []
    if chosen.only != "server":
        threads.append(threading.Thread(target=_node, args=(chosen, reports)))
    if chosen.only != "node":
        threads.append(threading.Thread(target=_server, args=(chosen, reports)))
    say(f"soaking for {chosen.minutes:g} minutes ...")
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for lines, _ in reports.values():
        print("\n".join(lines))
    well = len(reports) == len(threads) and all(fine for _, fine in reports.values())
    print("all well" if well else "NOT well")
    return 0 if well else 1


def _node(chosen: argparse.Namespace, reports: dict[str, tuple[list[str], bool]]) -> None:
    from benchmarks import soak_node

    soak = soak_node.NodeSoak(chosen.seed, threading.Event())
    try:
        soak.run(chosen.minutes)
    except Exception as error:
        soak.goals.fault(f"{type(error).__name__}: {error}")
    reports["node"] = soak_node.report(soak)


def _server(chosen: argparse.Namespace, reports: dict[str, tuple[list[str], bool]]) -> None:
    from benchmarks import soak_server

    soak = soak_server.ServerSoak(chosen.seed, threading.Event())
    try:
        soak.run(chosen.minutes)
    except Exception as error:
        soak.requests.fault(f"{type(error).__name__}: {error}")
    reports["server"] = soak_server.report(soak)


if __name__ == "__main__":
    sys.exit(main())
