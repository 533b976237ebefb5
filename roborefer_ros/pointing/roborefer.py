# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""RoboRefer behind the Pointer protocol."""

from __future__ import annotations

import importlib.resources
from collections.abc import Callable
from pathlib import Path
from typing import Any

from roborefer_ros.errors import CheckpointInvalidError, CheckpointNotFoundError
from roborefer_ros.files import MIB, read_json
from roborefer_ros.inference.caches import LRUCache
from roborefer_ros.inference.device import resolve_device
from roborefer_ros.inference.roborefer import RoboReferModel
from roborefer_ros.models.roborefer.checkpoint import load_roborefer, resolve_folder
from roborefer_ros.models.roborefer.configuration import REASONING_KEY
from roborefer_ros.pointing.families import FAMILIES
from roborefer_ros.pointing.model_pointer import ModelPointer
from roborefer_ros.pointing.spec import count, parse_bool, positive_int, read_options

_READERS: dict[str, Callable[[str], Any]] = {
    "revision": str,
    "samples": count,
    "max_tokens": positive_int,
    "reuse": parse_bool,
    "static": parse_bool,
}

#: the name of the network that comes with the package
DEMO = "demo"


class RoboReferPointer(ModelPointer):
    """A RoboRefer checkpoint that points.

    A second question about the same pictures reads its words only: the towers' output and the
    language model's keys and values of the last question are kept (``reuse``).

    Args:
        source: Folder or hub id; ``demo`` is the bundled demonstration network.  Options may
            follow: ``?samples=K&revision=R&max_tokens=N&reuse=false&static=true``.
        device: ``auto`` (CUDA where there is one), ``cpu``, ``cuda``, ``cuda:1`` ...
        dtype: ``auto`` (bfloat16 on CUDA, float32 on CPU), ``float32``, ``float16``, ``bfloat16``.
        max_new_tokens: Greatest length of an answer, tokens; ``max_tokens`` in the spec wins.
        revision: Revision of a hub id; that in the spec wins.
        max_batch: Greatest number of requests that are answered together.
        cache_bytes: Memory for pictures and for prompts that have been read, bytes; None keeps
            those of the last question.
        name: Name of the model for clients; the spec by default.

    Raises:
        InvalidPointerSpecError: Unknown option.
        CheckpointNotFoundError, CheckpointInvalidError, ModelOutOfMemoryError, ModelFailedError
    """

    model: RoboReferModel

    def __init__(
        self,
        source: str,
        *,
        device: str = "auto",
        dtype: str = "auto",
        max_new_tokens: int = 512,
        revision: str | None = None,
        max_batch: int = 8,
        cache_bytes: tuple[int, int] | None = None,
        name: str | None = None,
    ) -> None:
        place, _, query = source.partition("?")
        options = read_options(query, _READERS)
        folder = demo_folder() if place == DEMO else place
        revision = options.get("revision", revision)
        network, processor = load_roborefer(folder, resolve_device(device), dtype, revision)
        vision_bytes, prefix_bytes = cache_bytes or (None, None)
        if not options.get("reuse", True):
            vision_bytes = prefix_bytes = 0
        few = cache_bytes is None
        model = RoboReferModel(
            name or f"roborefer:{source}",
            network,
            processor,
            max_batch=max_batch,
            max_new_tokens=options.get("max_tokens", max_new_tokens),
            vision=LRUCache(vision_bytes, capacity=2 if few else None),  # RGB and depth
            prefixes=LRUCache(prefix_bytes, capacity=1 if few else None),
            fixed_shapes=options.get("static", False),
        )
        if options.get("static", False) and network.device.type == "cuda":
            model.warm_up()
        super().__init__(model, FAMILIES["tuples"], options.get("samples", 0))
        self.learned_to_reason = learned_to_reason(resolve_folder(folder, revision))


def learned_to_reason(folder: Path) -> bool:
    """Whether a checkpoint says that it was trained to reason: ``reasoning: true`` in its config.

    Args:
        folder: Of the checkpoint.

    Raises:
        CheckpointInvalidError: ``config.json`` cannot be read.
    """
    config = read_json(folder / "config.json", MIB, CheckpointInvalidError)
    return isinstance(config, dict) and config.get(REASONING_KEY) is True


def demo_folder() -> Path:
    """Where the bundled demonstration network lies.

    Raises:
        CheckpointNotFoundError: this installation does not have it.
    """
    folder = Path(str(importlib.resources.files("roborefer_ros") / "demo_checkpoint"))
    if not (folder / "config.json").exists():
        raise CheckpointNotFoundError(
            f"the bundled network is missing from {folder}; reinstall the package, or give a "
            "checkpoint: roborefer:<folder or hub id>"
        )
    return folder
