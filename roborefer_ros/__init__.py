# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""RoboRefer for ROS 2: from an instruction and an RGB-D camera to a pose a planner can act on.

The names below are imported when they are first used: ``import roborefer_ros`` needs neither
torch nor ROS 2.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from roborefer_ros.client import ReferPointClient
    from roborefer_ros.errors import RoboReferError
    from roborefer_ros.lifting import LiftingOptions, lift_point
    from roborefer_ros.pipeline import ReferPipeline
    from roborefer_ros.pointing.factory import open_pointer
    from roborefer_ros.types import CameraIntrinsics, DepthImage, Mode, PointFlag, RGBDFrame

__version__ = "0.1.0"

__all__ = [
    "CameraIntrinsics",
    "DepthImage",
    "LiftingOptions",
    "Mode",
    "PointFlag",
    "RGBDFrame",
    "ReferPipeline",
    "ReferPointClient",
    "RoboReferError",
    "lift_point",
    "open_pointer",
]

#: public name -> module that defines it
_PLACES = {
    "CameraIntrinsics": "roborefer_ros.types",
    "DepthImage": "roborefer_ros.types",
    "LiftingOptions": "roborefer_ros.lifting",
    "Mode": "roborefer_ros.types",
    "PointFlag": "roborefer_ros.types",
    "RGBDFrame": "roborefer_ros.types",
    "ReferPipeline": "roborefer_ros.pipeline",
    "ReferPointClient": "roborefer_ros.client",
    "RoboReferError": "roborefer_ros.errors",
    "lift_point": "roborefer_ros.lifting",
    "open_pointer": "roborefer_ros.pointing.factory",
}


def __getattr__(name: str) -> Any:
    """Import a public name (PEP 562)."""
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_PLACES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
