# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Opening a RoboRefer checkpoint as a model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from roborefer_ros.errors import CheckpointInvalidError
from roborefer_ros.files import MIB, read_json
from roborefer_ros.inference.caches import LRUCache
from roborefer_ros.inference.device import resolve_device
from roborefer_ros.inference.options import ModelOptions
from roborefer_ros.inference.roborefer import RoboReferModel
from roborefer_ros.inference.spec import count, parse_bool, positive_int, read_options
from roborefer_ros.models.bundled import DEMO, bundled_folder
from roborefer_ros.models.roborefer.checkpoint import load_roborefer, resolve_folder
from roborefer_ros.models.roborefer.configuration import REASONING_KEY

_READERS: dict[str, Callable[[str], Any]] = {
    "revision": str,
    "samples": count,
    "max_tokens": positive_int,
    "reuse": parse_bool,
    "static": parse_bool,
}

#: requests that are answered together unless the caller says otherwise
_MAX_BATCH = 8


def roborefer_options(source: str) -> dict[str, Any]:
    """What stands after the question mark of ``<folder or hub id>?samples=K&revision=R``.

    Raises:
        InvalidPointerSpecError: Unknown option, or a value that cannot be read.
    """
    return read_options(source.partition("?")[2], _READERS)


def open_roborefer(options: ModelOptions) -> RoboReferModel:
    """Load a RoboRefer checkpoint.

    A second question about the same pictures reads its words only: the towers' output and the
    language model's keys and values of the last question are kept, unless ``reuse=false``.

    Args:
        options: What is opened; ``demo`` is the bundled demonstration network.

    Raises:
        InvalidPointerSpecError: Unknown option.
        CheckpointNotFoundError, CheckpointInvalidError, ModelOutOfMemoryError, ModelFailedError
    """
    chosen = roborefer_options(options.source)
    network, processor = load_roborefer(
        _place(options), resolve_device(options.device), options.dtype, chosen.get("revision")
    )
    few = options.cache_bytes is None
    vision_bytes, prefix_bytes = options.cache_bytes or (None, None)
    if not chosen.get("reuse", True):
        vision_bytes = prefix_bytes = 0
    model = RoboReferModel(
        options.name or options.spec,
        network,
        processor,
        max_batch=options.max_batch or _MAX_BATCH,
        max_new_tokens=chosen.get("max_tokens", options.max_new_tokens),
        use_depth=options.use_depth,
        vision=LRUCache(vision_bytes, capacity=2 if few else None),  # RGB and depth
        prefixes=LRUCache(prefix_bytes, capacity=1 if few else None),
        fixed_shapes=chosen.get("static", False),
    )
    if chosen.get("static", False) and network.device.type == "cuda":
        model.warm_up()
    return model


def roborefer_folder(options: ModelOptions) -> Path:
    """Local folder of a RoboRefer checkpoint."""
    return resolve_folder(_place(options), roborefer_options(options.source).get("revision"))


def learned_to_reason(folder: Path) -> bool:
    """Whether a checkpoint says that it was trained to reason: ``reasoning: true`` in its config.

    Args:
        folder: Folder of the checkpoint.

    Raises:
        CheckpointInvalidError: ``config.json`` cannot be read.
    """
    config = read_json(folder / "config.json", MIB, CheckpointInvalidError)
    return isinstance(config, dict) and config.get(REASONING_KEY) is True


def _place(options: ModelOptions) -> str | Path:
    place = options.source.partition("?")[0]
    return bundled_folder() if place == DEMO else place
