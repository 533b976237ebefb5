# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The graph that the ``node_*`` benchmarks measure: camera and node as processes, client here.

Simulated camera (with noise and TF), the node with ``model:=echo`` and poses in ``base_link``,
on a ROS domain of its own.  The parameters are the node's defaults unless a benchmark says so.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from roborefer_ros.arguments import ArgumentParser
from roborefer_ros.camera_presets import load_preset
from roborefer_ros.demo.processes import DemoFailedError, Processes, private_environment
from roborefer_ros.errors import NodeInactiveError, RoboReferError

CAMERA, NODE, BARE = "camera", "roborefer", "bare"
TARGET_FRAME = "base_link"
#: what echo answers: the middle of the image, which shows the table
INSTRUCTION = "[(0.5, 0.5)]"
SIZES = ((640, 480), (1280, 720))
#: stages of the node in a result's timings; all others are the model's own
NODE_STAGES = frozenset({"queue", "wait_frame", "convert", "depth", "lift", "transform", "total"})

_START_TIMEOUT_S = 120.0
#: errors of a node that has camera and transform: what was asked made no sense to the model
_OF_THE_MODEL = range(2540, 2580)


def say(text: str) -> None:
    """Progress; standard output is for the figures."""
    print(text, file=sys.stderr, flush=True)


def parser(doc: str | None) -> ArgumentParser:
    """A parser with the options that all ``node_*`` benchmarks have."""
    made = ArgumentParser(description=(doc or "").splitlines()[0])
    made.add_argument("--json", action="store_true", help="print JSON instead of a table")
    return made


def percentile(values: Sequence[float], percent: float) -> float:
    """Nearest-rank percentile; ``values`` must not be empty."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, round(percent / 100.0 * (len(ordered) - 1)))]


def summary_ms(seconds: Sequence[float]) -> dict[str, float]:
    """Median and 95th percentile in milliseconds."""
    return {
        "median_ms": round(1e3 * statistics.median(seconds), 3),
        "p95_ms": round(1e3 * percentile(seconds, 95.0), 3),
    }


class NodeGraph:
    """Camera, node and client until the end of the ``with`` block.

    Args:
        size: ``(width, height)`` of the camera.
        rate_hz: of the camera.
        camera: further parameters of the camera.
        node: further parameters of the node.
        prepare: Called once the ROS domain is chosen, before any process starts.

    Raises:
        DemoFailedError: a process ended or did not come up.
    """

    def __init__(
        self,
        size: tuple[int, int],
        *,
        rate_hz: float = 30.0,
        camera: Mapping[str, object] | None = None,
        node: Mapping[str, object] | None = None,
        prepare: Callable[[], None] = lambda: None,
    ) -> None:
        # Not the domain of the shell: its traffic would be measured, and a robot disturbed.
        os.environ.pop("ROS_DOMAIN_ID", None)
        private_environment()
        prepare()
        from roborefer_ros.client import ReferPointClient

        self._folder = tempfile.TemporaryDirectory(prefix="roborefer-bench-")
        self.processes = Processes(Path(self._folder.name))
        self.preset = load_preset("simulation")
        self._client: ReferPointClient | None = None
        self._bare: ReferPointClient | None = None
        self._node = dict(node or {})
        say(f"starting a {size[0]}x{size[1]} camera at {rate_hz:g} Hz and the node ...")
        try:
            self.processes.start(
                CAMERA,
                "roborefer_ros.nodes.sim_camera_node",
                {},
                {"width": size[0], "height": size[1], "rate_hz": float(rate_hz), **(camera or {})},
            )
            self.start_node()
            self._client = ReferPointClient(f"/{NODE}/refer_point")
            self.processes.wait_for("a first answer", self._answers, _START_TIMEOUT_S)
        except BaseException:
            self.close()
            raise

    def start_node(self) -> None:
        """Start the node; also again, after ``processes.kill(NODE)``."""
        self.processes.start(
            NODE,
            "roborefer_ros.nodes.refer_node",
            self.preset.remappings,
            {
                "model": "echo",
                "target_frame": TARGET_FRAME,
                **self.preset.parameters,
                **self._node,
            },
        )

    def start_bare(self, role: str) -> None:
        """Start bare rclpy beside the node: ``subscriber`` or ``server`` of ``node_bare.py``."""
        self.processes.start(BARE, "benchmarks.node_bare", self.preset.remappings, {"role": role})

    def _answers(self) -> bool:
        """Whether the node is active, its camera there and the transform known."""
        assert self._client is not None
        try:
            if self._client.is_server_ready():
                self._client.refer(INSTRUCTION)
                return True
        except NodeInactiveError:
            time.sleep(0.2)
        except RoboReferError as error:
            if error.code in _OF_THE_MODEL:
                return True
            say(f"  not yet: {error}")
        return False

    def wait_for_bare_server(self) -> None:
        """Until it answers."""
        from roborefer_ros.client import ReferPointClient

        self._bare = ReferPointClient(f"/{BARE}/refer_point")
        self.processes.wait_for("the bare server", self._bare.is_server_ready, _START_TIMEOUT_S)

    def timed_bare_goal(self) -> float:
        """Seconds from sending a goal to the bare server's empty result."""
        assert self._bare is not None
        started_s = time.perf_counter()
        self._bare.refer(INSTRUCTION)
        return time.perf_counter() - started_s

    def refer(self, instruction: str = INSTRUCTION) -> Any:
        """The result message of one goal.

        Raises:
            RoboReferError: the numbered error of the result.
        """
        assert self._client is not None
        return self._client.refer(instruction)

    def timed_goal(self) -> tuple[float, dict[str, float]]:
        """Seconds from sending a goal to its result, and the node's stages."""
        started_s = time.perf_counter()
        result = self.refer()
        total_s = time.perf_counter() - started_s
        return total_s, {t.stage: float(t.duration) for t in result.timings}

    def close(self) -> None:
        """End client and processes."""
        for client in (self._client, self._bare):
            if client is not None:
                client.close()
        self.processes.stop()
        self._folder.cleanup()

    def __enter__(self) -> NodeGraph:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


__all__ = [
    "BARE",
    "CAMERA",
    "INSTRUCTION",
    "NODE",
    "NODE_STAGES",
    "SIZES",
    "DemoFailedError",
    "NodeGraph",
    "parser",
    "percentile",
    "say",
    "summary_ms",
]
