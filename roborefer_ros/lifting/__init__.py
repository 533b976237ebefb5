# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""From a pixel and a depth image to a point in space, honest about its error."""

from roborefer_ros.lifting.cloud import Cloud, crop_cloud
from roborefer_ros.lifting.intrinsics import adjusted_intrinsics, deproject, project
from roborefer_ros.lifting.lift import lift_point, lift_points
from roborefer_ros.lifting.lifted import LiftedPoint, flag_workspace
from roborefer_ros.lifting.options import LiftingOptions
from roborefer_ros.lifting.orientation import approach_rotation, quaternion_xyzw
from roborefer_ros.lifting.registration import is_aligned, register_depth
from roborefer_ros.lifting.segment import Segment, grow_segment
from roborefer_ros.lifting.temporal import DepthHistory, MedianDepth

__all__ = [
    "Cloud",
    "DepthHistory",
    "LiftedPoint",
    "LiftingOptions",
    "MedianDepth",
    "Segment",
    "adjusted_intrinsics",
    "approach_rotation",
    "crop_cloud",
    "deproject",
    "flag_workspace",
    "grow_segment",
    "is_aligned",
    "lift_point",
    "lift_points",
    "project",
    "quaternion_xyzw",
    "register_depth",
]
