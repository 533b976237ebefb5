# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Which depth network makes the model's depth picture, and opening it.

One text names it everywhere: the node's ``depth_network`` parameter, and ``--depth-network`` of
``serve``, ``evaluate`` and ``query``.

    auto                              Large (the reference's) where there is a GPU, else Small
    small, base, large                Depth-Anything-V2 of that size
    owner/name[@revision]             a repository of the hub in transformers' layout
    /path/to/folder, file.pth         on disk, in transformers' layout or the authors' file
    ...?input_size=392&revision=main  options of any of them
    ...?dtype=float16                 half the memory; the picture differs by a grey level or two
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from roborefer_ros.errors import (
    CheckpointNotFoundError,
    ConfigurationError,
    DependencyMissingError,
)

if TYPE_CHECKING:
    from roborefer_ros.models.depth_anything import DepthAnything

#: size -> hub id; Small is Apache-2.0, Base and Large are CC BY-NC 4.0
SIZES = {
    size.lower(): f"depth-anything/Depth-Anything-V2-{size}-hf"
    for size in ("Small", "Base", "Large")
}

#: what the reference's server runs
REFERENCE = "large"

#: pixels of the shorter side in the network, as the authors
INPUT_SIZE = 518

_PATCH = 14

_DTYPES = ("auto", "float32", "float16", "bfloat16")

#: far beyond what any GPU holds
_MOST_INPUT_PX = 4096

_logger = logging.getLogger("roborefer_ros.models")


@dataclass(frozen=True)
class DepthNetworkSource:
    """What a spec names.

    Attributes:
        source: hub id, folder or ``.pth`` file.
        revision: Revision of a hub id; None is the newest.
        input_size: pixels of the shorter side in the network.
        reason: why this one, where the spec left it open; else empty.
        dtype: number type of the weights; ``auto`` leaves it to whoever opens the network.
    """

    source: str
    revision: str | None = None
    input_size: int = INPUT_SIZE
    reason: str = ""
    dtype: str = "auto"

    @property
    def is_on_hub(self) -> bool:
        """Whether it has to be fetched, unless it was fetched before."""
        path = Path(self.source).expanduser()
        return not path.exists() and not path.is_absolute() and self.source.count("/") == 1


def parse_depth_network(spec: str = "auto", has_gpu: bool = False) -> DepthNetworkSource:
    """Read a spec; nothing is opened.

    Args:
        spec: see the module; empty means ``auto``.
        has_gpu: whether the network will run on a GPU, which decides what ``auto`` is.

    Raises:
        ConfigurationError: no known form, or an unknown option.
    """
    text = spec.strip() or "auto"
    if "\0" in text or len(text) > 4096:
        raise ConfigurationError(f"{text[:40]!r}... is not the name of a depth network")
    options: dict[str, Any] = {}
    if not Path(text).expanduser().exists():
        text, _, query = text.partition("?")
        options = _options(query, spec)
    if not Path(text).expanduser().exists() and "@" in text:
        text, _, revision = text.rpartition("@")
        options.setdefault("revision", revision)
    if options.get("revision", "unset") == "" or not text:
        raise ConfigurationError(f"depth network {spec!r}: the revision after '@' is empty")
    reason = ""
    if text == "auto":
        text = REFERENCE if has_gpu else "small"
        reason = (
            "the reference's; there is a GPU"
            if has_gpu
            else "no GPU; the reference uses large, which takes about ten times as long"
        )
    if text in SIZES:
        return DepthNetworkSource(SIZES[text], reason=reason, **options)
    if "/" not in text and not text.endswith((".pth", ".pt")) and not Path(text).is_dir():
        raise ConfigurationError(
            f"there is no depth network {text!r}; say auto, {', '.join(SIZES)}, a hub id "
            f"such as {SIZES['small']}, a folder, or a .pth file of the authors"
        )
    return DepthNetworkSource(text, **options)


def _options(query: str, spec: str) -> dict[str, Any]:
    options: dict[str, Any] = dict(parse_qsl(query, keep_blank_values=True))
    for name in options.keys() - {"input_size", "revision", "dtype"}:
        raise ConfigurationError(
            f"depth network {spec!r} has no option {name!r}; there are input_size, revision and "
            "dtype"
        )
    if options.get("dtype", "auto") not in _DTYPES:
        raise ConfigurationError(f"depth network {spec!r}: dtype is one of {', '.join(_DTYPES)}")
    if "input_size" in options:
        text = options["input_size"]
        # An upper bound on the digits first: int() of thousands of them is refused by Python.
        options["input_size"] = int(text) if text.isdecimal() and len(text) < 6 else 0
        if not _PATCH <= options["input_size"] <= _MOST_INPUT_PX:
            raise ConfigurationError(
                f"depth network {spec!r}: input_size must be {_PATCH} (one patch) to "
                f"{_MOST_INPUT_PX} pixels"
            )
    return options


def open_depth_network(
    spec: str = "auto",
    device: str = "auto",
    dtype: str = "auto",
    tell: Callable[[str], None] = _logger.info,
) -> DepthAnything:
    """Load the depth network that a spec names.

    Args:
        spec: See the module.
        device: ``auto`` (CUDA where there is one), ``cpu``, ``cuda``, ``cuda:1`` ...
        dtype: ``auto`` and ``float32`` (as the reference), ``float16`` or ``bfloat16``.
        tell: Where the line goes that says which network it is and why.

    Raises:
        ConfigurationError: the spec has no known form.
        DependencyMissingError: torch or transformers is not installed.
        CheckpointNotFoundError: it is not there and cannot be fetched; the message holds the line
            that fetches it.
        CheckpointInvalidError, ModelOutOfMemoryError, ModelFailedError
    """
    parse_depth_network(spec)  # its mistakes first, without waiting for torch
    try:
        import torch

        from roborefer_ros.models.depth_anything import DepthAnything
    except ImportError as error:
        raise DependencyMissingError(
            f"the depth network needs torch and transformers ({error}); pip install "
            "'roborefer_ros[model]', or show the model the camera's depth (depth_source 'sensor')"
        ) from error
    has_gpu = device.startswith("cuda") or (device == "auto" and torch.cuda.is_available())
    chosen = parse_depth_network(spec, has_gpu)
    try:
        kind = dtype if chosen.dtype == "auto" else chosen.dtype
        network = DepthAnything(chosen.source, device, kind, chosen.input_size, chosen.revision)
    except CheckpointNotFoundError as error:
        if not chosen.is_on_hub:
            raise
        raise CheckpointNotFoundError(f"{error}. {_how_to_fetch(chosen)}") from error
    reason = f" ({chosen.reason})" if chosen.reason else ""
    tell(f"depth network: {network.label}{reason}")
    return network


def _how_to_fetch(chosen: DepthNetworkSource) -> str:
    revision = f" --revision {chosen.revision}" if chosen.revision else ""
    fetch = f"Where there is a network: hf download {chosen.source}{revision}"
    if chosen.source == SIZES["small"]:
        return fetch
    return f"{fetch} (or use the smaller one, depth network 'small')"
