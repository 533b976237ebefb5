#!/usr/bin/env python3
# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Ask a running node once, and decide whether its answer can be acted on.

python examples/ask_once.py "the green cylinder"
"""

from __future__ import annotations

import sys

from roborefer_ros import PointFlag, ReferPointClient, RoboReferError

#: below this confidence a robot should ask again, from another view or in other words
ACT_ABOVE = 0.5


def main(instruction: str) -> int:
    """Print the pose; 0 where it can be acted on."""
    try:
        with ReferPointClient() as client:
            result = client.refer(instruction, timeout_s=20.0)
    except RoboReferError as error:
        print(f"error {error.code}: {error}")
        return 1
    point = result.points[0]
    position, frame = point.pose.pose.position, point.pose.header.frame_id
    print(f"x {position.x:.3f}  y {position.y:.3f}  z {position.z:.3f} m in '{frame}'")
    print(f"confidence {point.confidence:.2f}, flags {PointFlag(point.flags)!r}")
    return 0 if point.confidence >= ACT_ABOVE else 2


if __name__ == "__main__":
    sys.exit(main(" ".join(sys.argv[1:]) or "the green cylinder"))
