# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The one place that imports roborefer_msgs, so that a missing build is explained once and well."""

from __future__ import annotations

try:
    from rclpy.type_support import check_for_type_support

    from roborefer_msgs.action import ReferPoint
    from roborefer_msgs.msg import (
        PoseCandidate,
        ReasoningStep,
        ReferredPoint,
        RejectedPoint,
        StageTiming,
    )

    # The Python part alone imports fine without the libraries behind it; ask for them here
    # rather than at the first publisher.
    check_for_type_support(ReferredPoint)
except Exception as error:
    raise ImportError(
        f"roborefer_msgs cannot be used ({error}). It is a package of its own inside this one, "
        "so colcon builds it only when it is named:\n"
        "  in a workspace:  colcon build --base-paths src src/roborefer_ros/roborefer_msgs\n"
        "                   . install/setup.bash\n"
        "  in a clone:      make msgs\n"
        "                   . scripts/env.sh"
    ) from error

__all__ = [
    "PoseCandidate",
    "ReasoningStep",
    "ReferPoint",
    "ReferredPoint",
    "RejectedPoint",
    "StageTiming",
]
