# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""The ROS 2 side: the only folder, with ros_compat/ and client.py, that imports rclpy."""
