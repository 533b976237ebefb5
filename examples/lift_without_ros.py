#!/usr/bin/env python3
# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Lift a pixel of a depth image to a pose: no ROS, no model, no camera.

python examples/lift_without_ros.py
"""

from __future__ import annotations

import numpy as np

from roborefer_ros import CameraIntrinsics, DepthImage, RGBDFrame, lift_point


def main() -> int:
    """A box of 10 cm stands before a wall at 1 m; lift the middle of the box."""
    width, height, focal_px = 640, 480, 600.0
    depth_mm = np.full((height, width), 1000, np.uint16)
    depth_mm[190:290, 270:370] = 900
    frame = RGBDFrame(
        rgb=np.zeros((height, width, 3), np.uint8),
        depth=DepthImage(depth_mm, unit_m=0.001),  # 16UC1: millimetres
        intrinsics=CameraIntrinsics(width, height, focal_px, focal_px, 319.5, 239.5),
        frame_id="camera_color_optical_frame",
    )
    point = lift_point(frame, (320.0, 240.0))
    x, y, z = point.position_m
    print(f"x {x:+.3f}  y {y:+.3f}  z {z:.3f} m  confidence {point.confidence:.2f}")
    return 0 if abs(z - 0.9) < 0.005 else 1


if __name__ == "__main__":
    raise SystemExit(main())
