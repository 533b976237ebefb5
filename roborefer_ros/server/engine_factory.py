# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""What the options name, loaded: the model behind an engine, and the depth network."""

from __future__ import annotations

import argparse
import logging
import os
from typing import Any

from roborefer_ros.models.depth_network import open_depth_network
from roborefer_ros.pipeline import DepthEstimator
from roborefer_ros.server.engine import ModelEngine
from roborefer_ros.server.settings import MIB
from roborefer_ros.types import Think

_logger = logging.getLogger("roborefer_ros.server")


def open_engine(options: argparse.Namespace) -> ModelEngine:
    """Load the model and choose how it is run.

    Raises:
        RoboReferError: what opening a pointer raises.
    """
    from roborefer_ros.pointing.factory import open_pointer

    more: dict[str, Any] = {}
    if options.model.startswith("roborefer:"):
        more = {
            "name": served_name(options.model),
            "max_batch": options.max_batch,
            "cache_bytes": (
                round(options.image_cache_mib * MIB),
                round(options.prompt_cache_mib * MIB),
            ),
        }
    pointer = open_pointer(
        options.model,
        device=options.device,
        dtype=options.dtype,
        max_new_tokens=options.max_new_tokens,
        think=Think[options.think.upper()],
        **more,
    )
    return ModelEngine(pointer)


def served_name(spec: str) -> str:
    """The model's name for clients: a hub id as it is, of a path its last folder only."""
    scheme, _, source = spec.partition(":")
    if os.path.isabs(source) or source.count("/") > 1 or source.startswith("."):
        source = os.path.basename(source.rstrip("/"))
    return f"{scheme}:{source}"


def open_depth_estimator(options: argparse.Namespace) -> DepthEstimator | None:
    """The network that makes depth pictures from RGB, where it is asked for.

    Raises:
        RoboReferError: what ``open_depth_network`` raises.
    """
    if options.depth_network is None:
        return None
    return open_depth_network(options.depth_network, options.device, tell=_logger.info)
