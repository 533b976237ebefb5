# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Whether every goal of many clients ends, also through a kill -9 of the node with respawn.

    python -m benchmarks.node_clients [--clients 1 5 20 50] [--goals 1000] [--kills 2] [--json]

Simulated camera and the node with ``model:=echo``; the clients run ten to a process and ask back to
back.  A goal is *answered* when it ends in a pose, *refused* when it ends in a numbered error, and
*hung* when it has not ended long after its deadline.  The status is 1 if one hangs, or if, without
a kill, the client gave one up (2507, 2509).
"""

from __future__ import annotations

import argparse
import collections
import json
import math
import subprocess
import sys
import threading
import time
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Any

from benchmarks.node_graph import INSTRUCTION, NODE, NodeGraph, parser, say
from roborefer_ros.arguments import non_negative_int, positive_int
from roborefer_ros.errors import DeadlineExceededError, RoboReferError, ServerLostError

_CLIENTS_PER_PROCESS = 10
#: deadline of a goal, with and without a kill, seconds
_TIMEOUT_S, _TIMEOUT_WITH_KILL_S = 60.0, 5.0
#: time after the deadline at which a goal counts as hung: the client's grace and some more, seconds
_HUNG_S = 25.0
#: between a kill and the new start, as launch's respawn_delay, seconds
_RESPAWN_DELAY_S = 3.0
_KILL_PERIOD_S = 12.0
#: what a client raises where the node says nothing
_GIVEN_UP = {f"error {error.code}" for error in (DeadlineExceededError, ServerLostError)}


def ask(client: Any, goals: int, timeout_s: float, counts: collections.Counter[str]) -> None:
    """Ask one after the other; count how each ended."""
    for _ in range(goals):
        counts["sent"] += 1
        try:
            goal = client.send(INSTRUCTION, timeout_s=timeout_s)
            goal.future.result(timeout_s + _HUNG_S)
            counts["answered"] += 1
        except RoboReferError as error:
            counts[f"error {error.code}"] += 1
            time.sleep(0.05)
        except (FutureTimeoutError, TimeoutError):
            counts["hung"] += 1


def worker(clients: int, goals: int, timeout_s: float) -> int:
    """A process of clients; prints its counts as JSON."""
    import rclpy

    from roborefer_ros.client import ReferPointClient

    rclpy.init()
    made = [ReferPointClient(f"/{NODE}/refer_point") for _ in range(clients)]
    for client in made:
        client.wait_for_server(120.0)
    print("ready", flush=True)
    sys.stdin.readline()
    counts = [collections.Counter[str]() for _ in made]
    threads = [
        threading.Thread(target=ask, args=(client, goals, timeout_s, count))
        for client, count in zip(made, counts, strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for client in made:
        client.close()
    rclpy.try_shutdown()
    print(json.dumps(sum(counts, collections.Counter[str]())), flush=True)
    return 0


def run(clients: int, goals: int, timeout_s: float, graph: NodeGraph, kills: int) -> dict[str, Any]:
    """One run; its counts and how long it took."""
    shares = [
        min(_CLIENTS_PER_PROCESS, clients - start)
        for start in range(0, clients, _CLIENTS_PER_PROCESS)
    ]
    each = math.ceil(goals / clients)
    command = [sys.executable, "-m", "benchmarks.node_clients", "--goals", str(each)]
    processes = [
        subprocess.Popen(
            [*command, "--worker", str(share), "--timeout", str(timeout_s)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for share in shares
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdin is not None
        if process.stdout.readline().strip() != "ready":
            raise RuntimeError("a process of clients did not start")
    started_s = time.monotonic()
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    for _ in range(kills):
        time.sleep(_KILL_PERIOD_S)
        graph.processes.kill(NODE)
        time.sleep(_RESPAWN_DELAY_S)
        graph.start_node()
    counts = collections.Counter[str]()
    for process in processes:
        assert process.stdout is not None
        counts.update(json.loads(process.stdout.readline() or '{"a process died": 1}'))
        process.wait()
    took_s = time.monotonic() - started_s
    errors = {name: n for name, n in counts.items() if name not in ("sent", "answered", "hung")}
    return {
        "clients": clients,
        "processes": len(shares),
        "kills": kills,
        "sent": counts["sent"],
        "answered": counts["answered"],
        "refused": sum(errors.values()),
        "hung": counts["hung"],
        "errors": errors,
        "seconds": round(took_s, 1),
    }


def rows_of(chosen: argparse.Namespace) -> list[dict[str, Any]]:
    """All runs; the last one with kills."""
    rows = []
    with NodeGraph((640, 480), node={"max_queued_goals": 1000}) as graph:
        for clients in chosen.clients:
            say(f"  {clients} clients ...")
            rows.append(run(clients, chosen.goals, _TIMEOUT_S, graph, 0))
        if chosen.kills:
            clients = max(chosen.clients)
            say(f"  {clients} clients and {chosen.kills} kills ...")
            rows.append(run(clients, chosen.goals, _TIMEOUT_WITH_KILL_S, graph, chosen.kills))
    return rows


def main(arguments: list[str] | None = None) -> int:
    """Measure and print; 1 where a goal hung or, without a kill, was given up."""
    options = parser(__doc__)
    options.add_argument("--clients", type=positive_int, nargs="+", default=[1, 5, 20, 50])
    options.add_argument("--goals", type=positive_int, default=1000, help="of each run, together")
    options.add_argument("--kills", type=non_negative_int, default=2, help="0 leaves that run out")
    options.add_argument("--worker", type=positive_int, help=argparse.SUPPRESS)
    options.add_argument("--timeout", type=float, default=_TIMEOUT_S, help=argparse.SUPPRESS)
    chosen = options.parse_args(arguments)
    if chosen.worker:
        return worker(chosen.worker, chosen.goals, chosen.timeout)
    rows = rows_of(chosen)
    if chosen.json:
        print(json.dumps({"results": rows}, indent=1))
    else:
        for row in rows:
            errors = ", ".join(f"{n} x {name}" for name, n in row["errors"].items())
            print(
                f"{row['clients']:3d} clients in {row['processes']} processes, {row['kills']} "
                f"kills: sent {row['sent']}, answered {row['answered']}, refused "
                f"{row['refused']}{f' ({errors})' if errors else ''}, hung={row['hung']}, "
                f"{row['seconds']:.1f} s"
            )
    bad = any(
        row["hung"]
        or row["answered"] + row["refused"] != row["sent"]
        or (not row["kills"] and _GIVEN_UP & set(row["errors"]))
        for row in rows
    )
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
