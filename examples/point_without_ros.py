#!/usr/bin/env python3
# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""From an instruction and a frame to 3D poses in Python, with the bundled network.

python examples/point_without_ros.py "the red mug"
"""

from __future__ import annotations

import sys

import numpy as np

from roborefer_ros import DepthImage, LiftingOptions, ReferPipeline, RGBDFrame, open_pointer
from roborefer_ros.simulation.held_out import held_out_view


def main(instruction: str) -> int:
    """Print where the thing is in the camera's optical frame."""
    # A frame of the simulated camera; one of yours has the same three parts.
    scene, view = held_out_view(0, 640, 480)
    frame = RGBDFrame(
        rgb=view.rgb,
        depth=DepthImage(view.depth_m.astype(np.float32), unit_m=1.0),
        intrinsics=view.intrinsics,
        frame_id="camera_color_optical_frame",
    )
    print("on the table:", ", ".join(f"{i.colour} {i.shape}" for i in scene.objects))
    # The bundled network knows simulated tabletops only; any spec of docs/models.md goes here.
    pipeline = ReferPipeline(open_pointer("roborefer:demo", device="cpu"))
    result = pipeline.refer(frame, instruction, lifting=LiftingOptions())
    for point in result.points:
        x, y, z = point.position_m
        print(f"{result.mode.name.lower()} at x {x:+.3f}  y {y:+.3f}  z {z:.3f} m")
        print(f"confidence {point.confidence:.2f} (geometry {point.geometry_confidence:.2f})")
    pipeline.close()
    return 0 if result.points else 1


if __name__ == "__main__":
    sys.exit(main(" ".join(sys.argv[1:]) or "the leftmost thing"))
