# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""A camera without a camera: recorded frames as RGB, depth and CameraInfo topics.

``folder`` is one recording (see ``recording.py``) or holds several, which are then played in
the order of their names, over and over.
"""

from __future__ import annotations

import itertools
import sys
from pathlib import Path
from typing import Any

from rcl_interfaces.msg import ParameterDescriptor
from rclpy.node import Node

from roborefer_ros.nodes.camera_publisher import CameraPublisher, declare_rate, run_camera
from roborefer_ros.recording import Recording, RecordingError, read_recording


class ReplayCameraNode(Node):
    """Publishes recorded RGB-D frames, stamped with the time of publishing.

    Parameters, all read once:
        folder: a recording, or a folder of recordings.
        rate_hz: frames per second.
        rgb_encoding: ``rgb8`` or ``bgr8``.
        depth_encoding: ``16UC1`` (millimetres) or ``32FC1`` (metres).
        reliability: Reliability of the image topics, ``best_effort`` or ``reliable``.
        frame_id: optical frame; empty: that of the recording.
    """

    def __init__(self, node_name: str = "camera", **kwargs: Any) -> None:
        super().__init__(node_name, **kwargs)
        self._publisher = CameraPublisher.with_parameters(self)
        folder = self._declare("folder", "a recording, or a folder of recordings")
        self._frame_id = self._declare("frame_id", "optical frame; empty: the recording's")
        recordings = read_recordings(folder)
        self._recordings = itertools.cycle(recordings)
        rate_hz = declare_rate(self, 15.0)
        self.create_timer(1.0 / rate_hz, self._publish)
        self.get_logger().info(f"{len(recordings)} frame(s) of {folder} at {rate_hz:g} Hz")

    def _declare(self, name: str, description: str) -> str:
        descriptor = ParameterDescriptor(description=description, read_only=True)
        return str(self.declare_parameter(name, "", descriptor).value)

    def _publish(self) -> None:
        recording = next(self._recordings)
        self._publisher.publish(
            recording.rgb,
            recording.depth_m,
            recording.intrinsics,
            self._frame_id or recording.frame_id,
            self.get_clock().now().to_msg(),
        )


def read_recordings(folder: str) -> list[Recording]:
    """The recording in a folder, or those in its sub-folders.

    Raises:
        RecordingError: there is none, or one is broken.
    """
    path = Path(folder).expanduser()
    if not folder or not path.is_dir():
        raise RecordingError(
            f"{folder!r} is not a directory; give one with rgb, depth.png and camera.json: "
            "-p folder:=/path/to/recording"
        )
    if (path / "camera.json").is_file():
        return [read_recording(path)]
    found = sorted(child.parent for child in path.glob("*/camera.json"))
    if not found:
        raise RecordingError(f"neither {folder} nor a folder in it holds a camera.json")
    return [read_recording(child) for child in found]


def main(args: list[str] | None = None) -> int:
    """Run the node; returns its exit status."""
    return run_camera(ReplayCameraNode, "replay_camera_node", args)


if __name__ == "__main__":
    sys.exit(main())
