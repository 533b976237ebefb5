#!/usr/bin/env python3
# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""A model of one's own behind the pipeline: one class with ``complete``.

    python examples/own_model.py

The "model" here answers with the middle of the reddest spot; put vLLM, SGLang or your own network
in its place.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from roborefer_ros import CameraIntrinsics, DepthImage, ReferPipeline, RGBDFrame
from roborefer_ros.inference.model import Completion, Outcome, Request
from roborefer_ros.pointing.families import FAMILIES
from roborefer_ros.pointing.pointer import Pointer


class ReddestSpot:
    """Completes each prompt with the point where the image is reddest."""

    name = "example:reddest-spot"
    uses_depth = False
    can_sample = False
    max_batch = 8

    def complete(self, requests: Sequence[Request]) -> Iterator[tuple[int, Outcome]]:
        """See ``Model.complete``."""
        for index, request in enumerate(requests):
            rgb = request.images[0].pixels.astype(np.int32)
            redness = 2 * rgb[..., 0] - rgb[..., 1] - rgb[..., 2]
            rows, columns = np.nonzero(redness == redness.max())
            height, width = redness.shape
            x, y = (columns.mean() + 0.5) / width, (rows.mean() + 0.5) / height
            yield index, Completion(f"[({x:.3f}, {y:.3f})]")

    def close(self) -> None:
        """Nothing to free."""


def main() -> int:
    """Ask for the red square on a wall at 1 m."""
    rgb = np.full((480, 640, 3), 128, np.uint8)
    rgb[100:140, 400:440] = (200, 20, 20)
    frame = RGBDFrame(
        rgb=rgb,
        depth=DepthImage(np.full((480, 640), 1000, np.uint16), unit_m=0.001),
        intrinsics=CameraIntrinsics(640, 480, 600.0, 600.0, 319.5, 239.5),
        frame_id="camera_color_optical_frame",
    )
    # "tuples" is RoboRefer's way to be asked and to answer: [(x, y)], normalised.
    pipeline = ReferPipeline(Pointer(ReddestSpot(), FAMILIES["tuples"]))
    result = pipeline.refer(frame, "the red square")
    u, v = result.points[0].pixel
    print(f"pixel ({u:.0f}, {v:.0f}), position {np.round(result.points[0].position_m, 3)} m")
    return 0 if abs(u - 420) < 2 and abs(v - 120) < 2 else 1


if __name__ == "__main__":
    raise SystemExit(main())
