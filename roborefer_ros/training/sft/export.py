# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The trained network as a checkpoint in the official layout."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.distributed.tensor import DTensor

from roborefer_ros.files import replaced_folder
from roborefer_ros.models.roborefer.checkpoint import write_configs, write_part
from roborefer_ros.models.roborefer.export import save_tokenizer
from roborefer_ros.models.roborefer.modeling import RoboRefer
from roborefer_ros.training.sft.engine import Processes
from roborefer_ros.training.sft.lora import merged

Weights = dict[str, torch.Tensor]


def export(
    model: RoboRefer,
    tokenizer: Any,
    folder: Path,
    group: Processes,
    dtype: torch.dtype = torch.bfloat16,
) -> None:
    """Write the checkpoint; all processes call it.

    Sharded weights are gathered one at a time, parts written one after the other, so that the
    first process holds one part at most.  The folder takes its name when it is complete.

    Args:
        model: Complete network, possibly sharded, possibly with LoRA adapters (they are merged).
        tokenizer: Of the same checkpoint.
        folder: Place of the checkpoint.
        group: The processes.
        dtype: Type that is stored.

    Raises:
        OSError: it cannot be written (on all processes).
    """
    failure: OSError | None = None
    try:
        if group.is_first:
            with replaced_folder(folder) as partial:
                write_configs(model.config, partial)
                for name, part in model.named_children():
                    failure = _attempt(failure, _writer(model, name, part, group, partial, dtype))
                if failure:
                    raise failure
                save_tokenizer(tokenizer, partial / "llm")
        else:
            for _, part in model.named_children():
                for _ in gathered(part, group, dtype):
                    pass
    except OSError as error:
        failure = error
    failed = group.total([float(failure is not None)])[0]
    if failure:
        raise failure
    if failed:
        raise OSError(f"{folder} was not written by the first process")


def _attempt(failure: OSError | None, action: Callable[[bool], None]) -> OSError | None:
    """Go on gathering behind a failure: the other processes take part in it."""
    try:
        action(failure is None)
    except OSError as error:
        return failure or error
    return failure


def _writer(
    model: RoboRefer,
    name: str,
    part: nn.Module,
    group: Processes,
    folder: Path,
    dtype: torch.dtype,
) -> Callable[[bool], None]:
    def write(wanted: bool) -> None:
        weights = dict(gathered(part, group, dtype))
        if wanted:
            write_part(model.config, name, weights, folder, dtype)

    return write


def gathered(
    part: nn.Module, group: Processes, dtype: torch.dtype
) -> Iterator[tuple[str, torch.Tensor]]:
    """Names and whole weights of a part, on the CPU of the first process.

    Args:
        part: Its weights may be shards; all processes call this.
        group: The processes.
        dtype: Type of the result.
    """
    for name, weight in merged(part):
        whole = weight.detach()
        if isinstance(whole, DTensor):
            whole = whole.full_tensor()
        if group.is_first:
            yield name, whole.to("cpu", dtype).contiguous()
