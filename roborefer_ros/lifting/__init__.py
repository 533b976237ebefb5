# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""From a pixel and a depth image to a point in space, honest about its error."""

from roborefer_ros.lifting.lift import LiftedPoint, lift_point, lift_points
from roborefer_ros.lifting.options import LiftingOptions

__all__ = ["LiftedPoint", "LiftingOptions", "lift_point", "lift_points"]
