# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""What the options name, loaded: the model behind an engine, and the depth network."""

from __future__ import annotations

import argparse
import importlib
import logging
import os
from typing import Any

from roborefer_ros.errors import DependencyMissingError
from roborefer_ros.pointing.pointer import Pointer
from roborefer_ros.server.settings import MIB

_logger = logging.getLogger("roborefer_ros.server")


def open_engine(options: argparse.Namespace) -> Any:
    """Load the model and choose how it is run.

    Raises:
        RoboReferError: what opening a pointer raises.
    """
    from roborefer_ros.pointing.factory import open_pointer
    from roborefer_ros.server.engine import PointerEngine

    pointer: Pointer = open_pointer(
        options.model,
        device=options.device,
        dtype=options.dtype,
        max_new_tokens=options.max_new_tokens,
    )
    if not options.model.startswith("roborefer:"):
        return PointerEngine(pointer)
    from roborefer_ros.pointing.roborefer import RoboReferPointer
    from roborefer_ros.server.roborefer_engine import RoboReferEngine

    assert isinstance(pointer, RoboReferPointer)
    if pointer.samples:
        _logger.warning("several samples an answer: queries are answered one at a time")
        return PointerEngine(pointer)
    return RoboReferEngine(
        served_name(options.model),
        pointer.model,
        pointer.processor,
        max_batch=options.max_batch,
        max_new_tokens=pointer.max_new_tokens,
        cache_bytes=round(options.image_cache_mib * MIB) if pointer.reuse else 0,
        prefix_bytes=round(options.prompt_cache_mib * MIB) if pointer.reuse else 0,
    )


def served_name(spec: str) -> str:
    """The model's name for clients: a hub id as it is, of a path its last folder only."""
    scheme, _, source = spec.partition(":")
    if os.path.isabs(source) or source.count("/") > 1 or source.startswith("."):
        source = os.path.basename(source.rstrip("/"))
    return f"{scheme}:{source}"


def open_depth_estimator(options: argparse.Namespace) -> Any:
    """The network that makes depth pictures from RGB, where it is asked for."""
    if options.depth_network is None:
        return None
    try:
        module = importlib.import_module("roborefer_ros.models.depth_anything")
    except ImportError as error:
        raise DependencyMissingError(
            f"--depth-network needs the depth network ({error}); pip install 'roborefer_ros[model]'"
        ) from error
    source = options.depth_network or module.DEFAULT_SOURCE
    return module.DepthAnything(source, device=options.device)
