# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The process environment that camera images over ROS 2 need; no rclpy here.

Measured with 1280x720 images at 30 Hz between two processes: without the Fast DDS profile hardly
a best-effort image arrives; without the allocator settings receiving costs about three times the
CPU.
"""

from __future__ import annotations

import ctypes
import os
import sysconfig
import tempfile
from collections.abc import MutableMapping
from pathlib import Path

#: Blocks up to this size stay in the heap instead of being mapped and faulted in anew for each
#: image. 32 MiB is the most that every glibc accepts, and more than a 4K colour image.
MMAP_THRESHOLD_BYTES = 32 * 1024 * 1024
#: Free memory at the end of the heap that is kept rather than given back.
TRIM_THRESHOLD_BYTES = 256 * 1024 * 1024

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h
_FAST_DDS_2 = frozenset({"humble", "iron", "jazzy"})


def share_directory() -> Path:
    """Folder with this package's ``config``, ``launch`` and ``rviz``.

    The source tree when running from one, else where colcon or pip installed them.
    """
    source_tree = Path(__file__).resolve().parents[2]
    if (source_tree / "package.xml").is_file():
        return source_tree
    prefixes = [Path(p) for p in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep) if p]
    for prefix in [*prefixes, Path(sysconfig.get_path("data"))]:
        folder = prefix / "share" / "roborefer_ros"
        if (folder / "package.xml").is_file():
            return folder
    raise FileNotFoundError(
        "share/roborefer_ros is neither in AMENT_PREFIX_PATH nor in this Python environment; "
        "source install/setup.bash of the workspace, or install the package again"
    )


def profile_variable(environment: MutableMapping[str, str] | None = None) -> str:
    """Name of the variable in which this distribution's Fast DDS looks for its profile."""
    environment = os.environ if environment is None else environment
    version = "FASTRTPS" if environment.get("ROS_DISTRO") in _FAST_DDS_2 else "FASTDDS"
    return f"{version}_DEFAULT_PROFILES_FILE"


def prepare_environment(
    environment: MutableMapping[str, str] | None = None,
) -> MutableMapping[str, str]:
    """Add what is missing for images over Fast DDS, for this process and its children.

    What is set already is left alone.  To be called before ``rclpy.init()``.  The malloc settings
    reach children only; see ``tune_allocator`` for this process.
    """
    environment = os.environ if environment is None else environment
    names = ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE")
    if not any(environment.get(name) for name in names):
        environment[profile_variable(environment)] = str(
            share_directory() / "config" / "fastdds_shm.xml"
        )
    environment.setdefault("MALLOC_MMAP_THRESHOLD_", str(MMAP_THRESHOLD_BYTES))
    environment.setdefault("MALLOC_TRIM_THRESHOLD_", str(TRIM_THRESHOLD_BYTES))
    if not any(environment.get(name) for name in ("HOME", "ROS_HOME", "ROS_LOG_DIR")):
        # rclpy.init() fails without any of them, as in a bare container.
        environment["ROS_LOG_DIR"] = str(Path(tempfile.gettempdir()) / "roborefer_log")
    return environment


def tune_allocator() -> bool:
    """Keep image-sized blocks in this process's heap; False where the C library is not glibc."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    settings = {_M_MMAP_THRESHOLD: MMAP_THRESHOLD_BYTES, _M_TRIM_THRESHOLD: TRIM_THRESHOLD_BYTES}
    return all(mallopt(name, value) == 1 for name, value in settings.items())
