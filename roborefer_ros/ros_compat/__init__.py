# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""What a ROS 2 installed from Python wheels lacks: small fallbacks, and the environment it needs.

    from roborefer_ros.ros_compat import cv_bridge, message_filters, tf2_ros

gives the real package wherever it can be imported, else a fallback with the same call signature
that covers what this package uses.  Both are held to test/ros/test_fallback_contracts.py.

Libraries were looked at as a base: rosbags-image ignores ``step`` (row padding), and the temporal
transforms of pytransform3d want all samples of a frame at once.
"""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from . import cv_bridge_fallback as cv_bridge
    from . import message_filters_fallback as message_filters
    from . import tf2_ros_fallback as tf2_ros

__all__ = ["cv_bridge", "is_fallback", "message_filters", "tf2_ros"]

_FALLBACKS = ("cv_bridge", "message_filters", "tf2_ros")


def __getattr__(name: str) -> ModuleType:
    # Resolved on first use: importing this package alone must not need rclpy.
    if name not in _FALLBACKS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        module = importlib.import_module(name)
    except ImportError:
        module = importlib.import_module(f"{__name__}.{name}_fallback")
    globals()[name] = module
    return module


def is_fallback(module: ModuleType) -> bool:
    """Whether a module from here is a fallback rather than the real package."""
    return module.__name__.startswith(f"{__name__}.")
