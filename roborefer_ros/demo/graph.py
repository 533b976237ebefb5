# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The running graph, seen from the client's side."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

from roborefer_ros.camera_presets import load_preset
from roborefer_ros.demo.processes import DemoFailedError, Processes, private_environment
from roborefer_ros.types import RGBDFrame

_CAMERA, _NODE = "camera", "roborefer"
_TARGET_FRAME = "base_link"
#: torch and transformers may come from a cold disk
_START_TIMEOUT_S = 240.0
#: a node that stays outside of a transition for so long will not activate any more
_GAVE_UP_S = 5.0


class DemoGraph:
    """Camera and node in processes of their own; the client here.

    Args:
        logs: folder for the processes' output.
        model: spec of the pointing model.
        size: ``(width, height)`` of the camera.
        scene: number of the first scene.
        say: told what happens.
        own_domain: Whether to use a ROS domain that no other program uses, where none is set.

    Raises:
        DemoFailedError: a process did not come up.
        ImportError: ROS 2 or the messages are missing; the message says how to get them.
    """

    def __init__(
        self,
        logs: Path,
        model: str,
        size: tuple[int, int],
        scene: int,
        say: Callable[[str], None],
        own_domain: bool = True,
    ) -> None:
        private_environment(own_domain)
        from roborefer_ros.client import ReferPointClient
        from roborefer_ros.nodes.camera_monitor import CameraMonitor

        self._processes = Processes(logs)
        self._idle_since_s = 0.0
        preset = load_preset("simulation")
        try:
            say(f"starting the camera and the node (logs: {logs})")
            self._processes.start(
                _CAMERA,
                "roborefer_ros.nodes.sim_camera_node",
                {},
                {"scene": scene, "width": size[0], "height": size[1]},
            )
            self._processes.start(
                _NODE,
                "roborefer_ros.nodes.refer_node",
                preset.remappings,
                {
                    "model": model,
                    "target_frame": _TARGET_FRAME,
                    "up_frame": _TARGET_FRAME,
                    **preset.parameters,
                },
            )
            self._client = ReferPointClient(f"/{_NODE}/refer_point")
            self._camera = CameraMonitor(f"/{_CAMERA}", preset.remappings)
            say("waiting for the camera's first frame")
            self._processes.wait_for("camera", self._camera.has_frame, _START_TIMEOUT_S)
            say(f"waiting for the node; it loads {model}")
            self._processes.wait_for(
                "action server", self._client.is_server_ready, _START_TIMEOUT_S
            )
            self._processes.wait_for("model", self._is_active, _START_TIMEOUT_S)
        except BaseException:
            self.close()
            raise
        say("ready")

    def _is_active(self) -> bool:
        """Whether the model is loaded.

        Raises:
            DemoFailedError: the node gave up activating itself.
        """
        state = self._camera.state_of(f"/{_NODE}")
        if state in ("unconfigured", "inactive"):
            self._idle_since_s = self._idle_since_s or time.monotonic()
            if time.monotonic() - self._idle_since_s > _GAVE_UP_S:
                raise DemoFailedError(
                    f"the node stays {state}:\n{self._processes.last_words(_NODE)}"
                )
        else:
            self._idle_since_s = 0.0
        return state == "active"

    def show_scene(self, number: int) -> None:
        """Put a scene before the camera; returns when its frames arrive."""
        if not self._camera.set_scene(number):
            self._processes.check()
            raise DemoFailedError(f"the camera did not take scene {number}")
        self._processes.wait_for("frames", self._camera.has_frame, 30.0)

    def check(self) -> None:
        """Raise a DemoFailedError if a process has ended."""
        self._processes.check()

    def refer(self, instruction: str, timeout_s: float) -> Any:
        """The result message; a RoboReferError where there is none."""
        self._processes.check()
        return self._client.refer(instruction, timeout_s=timeout_s)

    def frame(self) -> RGBDFrame:
        """What the camera sends at the moment."""
        return self._camera.frame()

    def close(self) -> None:
        """End client and processes."""
        for part in (getattr(self, "_client", None), getattr(self, "_camera", None)):
            if part is not None:
                part.close()
        self._processes.stop()

    def __enter__(self) -> DemoGraph:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
