# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Where the network that comes with the package lies."""

from __future__ import annotations

import importlib.resources
from pathlib import Path

from roborefer_ros.errors import CheckpointNotFoundError

#: what stands for it in a spec: ``roborefer:demo``
DEMO = "demo"

#: its folder, whether or not this installation has it
BUNDLED_FOLDER = Path(str(importlib.resources.files("roborefer_ros") / "demo_checkpoint"))


def bundled_folder() -> Path:
    """Folder of the bundled demonstration network.

    Raises:
        CheckpointNotFoundError: This installation does not have it.
    """
    if not (BUNDLED_FOLDER / "config.json").exists():
        raise CheckpointNotFoundError(
            f"the bundled network is missing from {BUNDLED_FOLDER}; reinstall the package, or "
            "give a checkpoint: roborefer:<folder or hub id>"
        )
    return BUNDLED_FOLDER
