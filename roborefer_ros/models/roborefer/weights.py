# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Filling a network from safetensors files with little more memory than the network itself.

Names, shapes and types are compared with the files' headers first, so that a broken
checkpoint is refused at once.  Then one tensor after the other goes to its device and type.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from roborefer_ros.errors import CheckpointInvalidError

#: transformers 5 dropped this prefix of SigLIP's weights; the files have it
TOWER_PREFIX = "vision_model."

#: A file is mapped into memory while it is read, and the pages that were read count as used
#: memory until it is closed: after so many bytes it is opened anew.
_MAPPED_BYTES = 16 * 2**20

_PICKLES = (".bin", ".pt", ".pth", ".pkl", ".ckpt")

#: file -> its tensors that the network has: ``(key in the file, name in the network)``
Plan = dict[Path, list[tuple[str, str]]]


def plan_part(part: nn.Module, folder: Path, tied: bool = False) -> Plan:
    """Where each weight of a part comes from; reads headers only.

    Args:
        part: the network, its parameters possibly on the meta device.
        folder: holds ``*.safetensors``.
        tied: the output head is the input embedding and need not be stored.

    Raises:
        CheckpointInvalidError: no safetensors, a damaged file, a weight that is missing, of
            another shape, or not of a floating-point type.
    """
    expected = {name: list(p.shape) for name, p in part.named_parameters()}
    if tied:
        expected.pop("lm_head.weight", None)
    plan: Plan = {}
    for file in weight_files(folder):
        plan[file] = []
        with _opened(file, "cpu") as opened:
            for key in opened.keys():  # noqa: SIM118 (not a dict)
                name = key.removeprefix(TOWER_PREFIX)
                if name not in expected:
                    continue  # heads, layers that are not used
                _check_tensor(file, key, opened.get_slice(key), expected[name])
                plan[file].append((key, name))
    missing = sorted(set(expected) - {name for pairs in plan.values() for _, name in pairs})
    if missing:
        raise CheckpointInvalidError(
            f"{folder}: {len(missing)} of {len(expected)} weights are missing, the first is "
            f"{missing[0]}; the download is incomplete or its config.json belongs to another "
            "network"
        )
    return plan


def fill_part(part: nn.Module, plan: Plan, device: torch.device, dtype: torch.dtype) -> None:
    """Put the weights of ``plan_part`` in place of the part's (meta) parameters.

    Raises:
        CheckpointInvalidError: a file is damaged.
        torch.OutOfMemoryError, RuntimeError: the device is full.
    """
    for file, pairs in plan.items():
        names = dict(pairs)
        for key, tensor in _tensors(file, list(names), device):
            owner_name, _, attribute = names[key].rpartition(".")
            # A copy: a mapped file that somebody overwrites would take the process with it.
            own = tensor.to(device, dtype, copy=device.type == "cpu")
            del tensor
            owner = part.get_submodule(owner_name)
            setattr(owner, attribute, nn.Parameter(own, requires_grad=False))


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a part; those of the index, where there is one.

    Raises:
        CheckpointInvalidError: there is none (a pickle is not read), or one is missing.
    """
    files = sorted(folder.glob("*.safetensors"))
    index = folder / "model.safetensors.index.json"
    if index.exists():
        wanted = _index_files(index)
        absent = sorted(wanted - {f.name for f in files})
        if absent:
            raise CheckpointInvalidError(
                f"{folder}: {len(absent)} of the {len(wanted)} files that {index.name} names are "
                f"missing, the first is {absent[0]}; download the checkpoint again"
            )
        files = [f for f in files if f.name in wanted]
    if not files:
        pickles = sorted(p.name for p in folder.glob("*") if p.suffix in _PICKLES)
        hint = (
            f"; {pickles[0]} is a pickle, which could run code: convert it to safetensors"
            if pickles
            else "; download the checkpoint again"
        )
        raise CheckpointInvalidError(f"{folder} holds no .safetensors file{hint}")
    return files


def _index_files(index: Path) -> set[str]:
    try:
        names = json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()
        return {str(name) for name in names}
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        RecursionError,
    ) as error:
        raise CheckpointInvalidError(
            f"{index} is no index of safetensors files ({type(error).__name__}: {error})"
        ) from error


def _check_tensor(file: Path, key: str, entry: Any, expected: list[int]) -> None:
    shape, kind = list(entry.get_shape()), str(entry.get_dtype())
    where = f"{file.parent.name}/{file.name}: {key}"
    if shape != expected:
        raise CheckpointInvalidError(
            f"{where} has shape {shape}, its config.json asks for {expected}"
        )
    if kind not in ("F64", "F32", "F16", "BF16"):
        raise CheckpointInvalidError(
            f"{where} is of type {kind}; only float weights can be read, not quantised ones"
        )


def _tensors(
    file: Path, keys: list[str], device: torch.device
) -> Iterator[tuple[str, torch.Tensor]]:
    """The tensors of one file, never much more than ``_MAPPED_BYTES`` of it in memory."""
    remaining = iter(keys)
    more = bool(keys)
    while more:
        read, more = 0, False
        with _opened(file, str(device)) as opened:
            for key in remaining:
                try:
                    tensor = opened.get_tensor(key)
                except (SafetensorError, OSError) as error:
                    raise _damaged(file, error) from error
                read += tensor.nbytes
                yield key, tensor
                del tensor
                if read > _MAPPED_BYTES:
                    more = True
                    break


def _opened(file: Path, device: str) -> Any:
    try:
        return safe_open(file, framework="pt", device=device)
    except (SafetensorError, OSError, ValueError) as error:
        raise _damaged(file, error) from error


def _damaged(file: Path, error: Exception) -> CheckpointInvalidError:
    size = file.stat().st_size if file.exists() else 0
    return CheckpointInvalidError(
        f"{file} ({size} bytes) is damaged or cut off ({error}); download it again"
    )
