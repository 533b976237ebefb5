# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The node's half of the soak: goals, cancels, kills, a clock that jumps, frames of garbage."""

from __future__ import annotations

import contextlib
import math
import os
import random
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import TYPE_CHECKING, Any

from benchmarks.node_graph import CAMERA, INSTRUCTION, NODE, NodeGraph, say
from benchmarks.soak_tally import Holdings, Tally
from roborefer_ros.errors import ERRORS_BY_CODE, InvalidInstructionError, RoboReferError

if TYPE_CHECKING:
    from benchmarks.soak_clock import JumpingClock

#: longest that a goal may take beyond its own timeout, seconds
_HUNG_S = 40.0
_ASKERS = 4
_RESPAWN_S = 2.0
#: garbage, pauses of the camera and jumps of the clock come this often, seconds
_TROUBLE_EVERY_S = 4.0
_TROUBLES = (
    "garbage",
    "garbage",
    "transforms",
    "clock jumps",
    "impossible times",
    "camera stops",
)


class NodeSoak:
    """Asks and disturbs a node until it is told to stop.

    Args:
        seed: Of every random choice.
        stop: Set when the soak is to end.
    """

    def __init__(self, seed: int, stop: threading.Event) -> None:
        self.goals = Tally()
        self.troubles: dict[str, int] = {}
        self.held: list[Holdings] = []
        self._seed, self._stop = seed, stop
        self._kills_over = threading.Event()
        #: after a trouble the middle of the image may be unknown; a pose is right or an error
        self._expected: tuple[float, float, float] | None = None
        self._clock: JumpingClock

    def run(self, minutes: float) -> None:
        """Soak for some minutes; the node is killed in the first half only.

        Raises:
            DemoFailedError: A process ended by itself.
        """
        sim_time = {"use_sim_time": True}
        node = {**sim_time, "max_queued_goals": 8, "frame_timeout_s": 2.0}
        with (
            contextlib.ExitStack() as stack,
            NodeGraph(
                (640, 480), camera=sim_time, node=node, prepare=lambda: self._start_clock(stack)
            ) as graph,
        ):
            self._expected = _position(graph.refer())
            threads = [
                threading.Thread(target=self._ask, args=(number,), daemon=True)
                for number in range(_ASKERS)
            ]
            threads.append(threading.Thread(target=self._disturb, args=(graph,), daemon=True))
            for thread in threads:
                thread.start()
            half_s = 30.0 * minutes
            self._wait_and_kill(graph, half_s)
            self._kills_over.set()
            time.sleep(min(20.0, 0.2 * half_s))
            self._hold(graph)
            self._sleep(half_s)
            self._stop.set()
            for thread in threads:
                thread.join(_HUNG_S + 10.0)
                if thread.is_alive():
                    self.goals.fault(f"the thread {thread.name} did not end: a call hangs")
            self._hold(graph)
            graph.processes.check()

    def _start_clock(self, stack: contextlib.ExitStack) -> None:
        from benchmarks.soak_clock import JumpingClock

        self._clock = JumpingClock()
        stack.callback(self._clock.close)

    def _hold(self, graph: NodeGraph) -> None:
        self.held.append(Holdings.of(graph.processes.pid(NODE)))

    def _sleep(self, seconds: float) -> None:
        self._stop.wait(seconds)

    def _trouble(self, name: str) -> None:
        self.troubles[name] = self.troubles.get(name, 0) + 1

    def _wait_and_kill(self, graph: NodeGraph, seconds: float) -> None:
        end_s = time.monotonic() + seconds
        dice = random.Random(self._seed)
        while (left_s := end_s - time.monotonic()) > 0 and not self._stop.is_set():
            self._sleep(min(left_s, dice.uniform(10.0, 25.0)))
            if end_s - time.monotonic() > 5.0:
                self._trouble("kills")
                graph.processes.kill(NODE)
                time.sleep(_RESPAWN_S)
                graph.start_node()

    # --- asking ------------------------------------------------------------------------

    def _ask(self, number: int) -> None:
        from roborefer_ros.client import ReferPointClient

        dice = random.Random(self._seed + 1 + number)
        kinds: tuple[Callable[[Any, random.Random], None], ...] = (
            self._good,
            self._good,
            self._good,
            self._cancelled,
            self._hasty,
            self._empty,
            self._wild,
        )
        with ReferPointClient(f"/{NODE}/refer_point") as client:
            while not self._stop.is_set():
                dice.choice(kinds)(client, dice)
                time.sleep(dice.uniform(0.0, 0.05))

    def _end(self, call: Callable[[], Any], timeout_s: float) -> Any:
        """The result, or the numbered error counted; everything else is a fault."""
        started_s = time.monotonic()
        try:
            result = call()
        except RoboReferError as error:
            if error.code == 2500 or error.code not in ERRORS_BY_CODE:
                self.goals.fault(f"error {error.code}: {error}")
            else:
                self.goals.count(f"error {error.code}")
            result = None
        except FutureTimeoutError:
            self.goals.fault("hung")
            return None
        except Exception as error:
            self.goals.fault(f"{type(error).__name__}: {error}")
            return None
        took_s = time.monotonic() - started_s
        if took_s > timeout_s + _HUNG_S:
            self.goals.fault(f"ended {took_s - timeout_s:.1f} s after its timeout")
        return result

    def _good(self, client: Any, _dice: random.Random) -> None:
        goal = client.send(INSTRUCTION, timeout_s=5.0)
        result = self._end(lambda: goal.future.result(5.0 + _HUNG_S), 5.0)
        if result is None:
            return
        found = _position(result)
        assert self._expected is not None
        off_m = math.dist(found, self._expected)
        if not off_m < 0.05:  # NaN is not less
            self.goals.fault(f"the pose {found} is {off_m:.3f} m off")
        else:
            self.goals.count("answered")

    def _cancelled(self, client: Any, dice: random.Random) -> None:
        goal = client.send(INSTRUCTION, timeout_s=5.0)
        time.sleep(dice.uniform(0.0, 0.05))
        goal.cancel()
        if self._end(lambda: goal.future.result(5.0 + _HUNG_S), 5.0) is not None:
            self.goals.count("answered before the cancel")

    def _hasty(self, client: Any, dice: random.Random) -> None:
        timeout_s = dice.uniform(0.001, 0.05)
        goal = client.send(INSTRUCTION, timeout_s=timeout_s)
        if self._end(lambda: goal.future.result(timeout_s + _HUNG_S), timeout_s) is not None:
            self.goals.count("answered in time")

    def _empty(self, client: Any, dice: random.Random) -> None:
        blank = dice.choice(["", " ", "\t\n"])
        goal = client.send(blank, timeout_s=5.0)
        if self._end(lambda: goal.future.result(5.0 + _HUNG_S), 5.0) is not None:
            self.goals.fault(f"a pose for an empty instruction, not {InvalidInstructionError.code}")

    def _wild(self, client: Any, dice: random.Random) -> None:
        text = dice.choice(["x" * 5000, "[(9, 9)]", "[(nan, 1)]", "no point", "[(0.5, 0.5)]" * 100])
        frame = dice.choice(["", "base_link", "nowhere", "/base_link"])
        goal = client.send(text, target_frame=frame, timeout_s=2.0)
        if self._end(lambda: goal.future.result(2.0 + _HUNG_S), 2.0) is not None:
            self.goals.count("answered something wild")

    # --- disturbing --------------------------------------------------------------------

    def _disturb(self, graph: NodeGraph) -> None:
        from benchmarks.soak_garbage import Garbage

        dice = random.Random(self._seed - 1)
        with Garbage(graph.preset.remappings, dice) as garbage:
            while not self._stop.is_set():
                self._sleep(_TROUBLE_EVERY_S)
                trouble = dice.choice(_TROUBLES)
                self._trouble(trouble)
                if trouble == "garbage":
                    garbage.frames(20)
                elif trouble == "transforms":
                    garbage.transforms(20)
                elif trouble == "clock jumps":
                    self._clock.jump(dice.choice((-20.0, -2.0, 2.0, 20.0)))
                elif trouble == "impossible times":
                    self._clock.say_nonsense()
                else:
                    pid = graph.processes.pid(CAMERA)
                    os.kill(pid, signal.SIGSTOP)
                    self._sleep(dice.uniform(0.5, 3.0))
                    os.kill(pid, signal.SIGCONT)


def _position(result: Any) -> tuple[float, float, float]:
    p = result.pose.pose.position
    return (p.x, p.y, p.z)


def report(soak: NodeSoak) -> tuple[list[str], bool]:
    """Lines to print, and whether all was well."""
    lines = soak.goals.lines("goals")
    lines.append("  disturbed by: " + ", ".join(f"{n} {k}" for k, n in soak.troubles.items()))
    leaked: list[str] = []
    if len(soak.held) == 2:
        leaked = soak.held[1].leaked_since(soak.held[0])
        lines.append(f"  node holds {soak.held[0]} -> {soak.held[1]}")
    lines.append(f"  leaked: {', '.join(leaked) or 'nothing'}")
    answered = soak.goals.counts["answered"]
    if not answered:
        say("no goal was answered: nothing was tested")
    return lines, not leaked and not soak.goals.wrong and answered > 0
