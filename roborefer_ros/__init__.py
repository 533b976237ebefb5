# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""RoboRefer for ROS 2: from an instruction and an RGB-D camera to a pose a planner can act on."""

__version__ = "0.1.0"
