# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""A Ray cluster of this machine alone, which nobody else reaches."""

from __future__ import annotations

import os
import secrets

#: "0" makes Ray listen on the loopback alone, its default on macOS and Windows
ONE_MACHINE = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"


def prepare_ray(is_local: bool) -> None:
    """Set what Ray reads when it is imported.

    Args:
        is_local: Whether the cluster is made here: all of its services listen on the loopback, and
            other users of this machine lack its token.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if is_local:
        os.environ.setdefault(ONE_MACHINE, "0")
        os.environ.setdefault("RAY_AUTH_MODE", "token")
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
