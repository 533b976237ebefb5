# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The camera's topics: their names, and what the node keeps of their messages."""

from __future__ import annotations

from typing import NamedTuple

from sensor_msgs.msg import CameraInfo, Image

#: of a depth camera that is not aligned with the colour camera; may stay silent
DEPTH_INFO = "depth/camera_info"

#: relative names that users remap
TOPICS = (("rgb/image", Image), ("depth/image", Image), ("rgb/camera_info", CameraInfo))


class TopicNames(NamedTuple):
    """The topics of one camera, as messages to the user name them."""

    rgb: str = "rgb/image"
    depth: str = "depth/image"
    info: str = "rgb/camera_info"
    depth_info: str = DEPTH_INFO
