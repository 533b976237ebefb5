# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Filling a network from safetensors files with little more memory than the network itself.

Names, shapes and types are compared with the files' headers first, so that a broken
checkpoint is refused at once.  Then one tensor after the other goes to its device and type.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from roborefer_ros.errors import CheckpointInvalidError
from roborefer_ros.files import MIB, read_json
from roborefer_ros.models.safetensors_file import SafetensorsFile, StoredTensor, check_values

#: transformers 5 dropped this prefix of SigLIP's weights; the files have it
TOWER_PREFIX = "vision_model."

_PICKLES = (".bin", ".pt", ".pth", ".pkl", ".ckpt")

INDEX = "model.safetensors.index.json"


@dataclass
class Plan:
    """Where the weights of a part come from.

    Attributes:
        sources: Open file -> its tensors that the network has: ``(key in the file, name)``.
    """

    sources: dict[SafetensorsFile, list[tuple[str, str]]] = field(default_factory=dict)

    def close(self) -> None:
        """Close the files."""
        for file in self.sources:
            file.close()


def plan_part(part: nn.Module, folder: Path, tied: bool = False) -> Plan:
    """Where each weight of a part comes from; reads headers only.

    Args:
        part: The network, its parameters possibly on the meta device.
        folder: Holds ``*.safetensors``.
        tied: Whether the output head is the input embedding and need not be stored.

    Raises:
        CheckpointInvalidError: no safetensors, a damaged file, a weight that is missing, in two
            files, of another shape, or not of a floating-point type.
    """
    expected = {name: list(p.shape) for name, p in part.named_parameters()}
    if tied:
        expected.pop("lm_head.weight", None)
    plan = Plan()
    found: dict[str, Path] = {}
    try:
        for path in weight_files(folder):
            file = SafetensorsFile(path)
            plan.sources[file] = []
            for key, entry in file.tensors.items():
                name = key.removeprefix(TOWER_PREFIX)
                if name not in expected:
                    continue  # heads, layers that are not used
                check_once(found, name, path)
                _check_tensor(path, key, entry, expected[name])
                plan.sources[file].append((key, name))
        check_stray(folder, found)
    except BaseException:
        plan.close()
        raise
    missing = sorted(set(expected) - set(found))
    if missing:
        plan.close()
        raise CheckpointInvalidError(
            f"{folder}: {len(missing)} of {len(expected)} weights are missing, the first is "
            f"{missing[0]}; the download is incomplete or its config.json belongs to another "
            "network"
        )
    return plan


def fill_part(part: nn.Module, plan: Plan, device: torch.device, dtype: torch.dtype) -> None:
    """Put the weights of ``plan_part`` in place of the part's (meta) parameters.

    Raises:
        CheckpointInvalidError: a file is damaged or changes, or a weight is not finite or zero.
        torch.OutOfMemoryError, RuntimeError: the device is full.
    """
    for file, pairs in plan.sources.items():
        for key, name in pairs:
            owner_name, _, attribute = name.rpartition(".")
            own = file.read(key).to(device, dtype)
            check_values(own, str(file.path), key)
            owner = part.get_submodule(owner_name)
            setattr(owner, attribute, nn.Parameter(own, requires_grad=False))
        file.check_unchanged()


def weight_files(folder: Path) -> list[Path]:
    """The files that hold a part's weights.

    Those that the index names, where there is one; else ``model*.safetensors``; else all.  What
    lies beside them (averages, adapters, other types) is not read.

    Raises:
        CheckpointInvalidError: there is none (a pickle is not read), or one is missing.
    """
    files = sorted(folder.glob("*.safetensors"))
    index = folder / INDEX
    if index.exists() or index.is_symlink():
        wanted = _index_files(index)
        absent = sorted(wanted - {f.name for f in files})
        if absent:
            raise CheckpointInvalidError(
                f"{folder}: {len(absent)} of the {len(wanted)} files that {index.name} names are "
                f"missing, the first is {absent[0]}; download the checkpoint again"
            )
        files = [f for f in files if f.name in wanted]
    files = [f for f in files if f.name.startswith("model")] or files
    if not files:
        pickles = sorted(p.name for p in folder.glob("*") if p.suffix in _PICKLES)
        hint = (
            f"; {pickles[0]} is a pickle, which could run code: convert it to safetensors"
            if pickles
            else "; download the checkpoint again"
        )
        raise CheckpointInvalidError(f"{folder} holds no .safetensors file{hint}")
    return files


def read_weights(folder: Path, files: list[Path] | None = None) -> dict[str, torch.Tensor]:
    """All weights of a folder in memory, on the CPU, in the types that they are stored in.

    Args:
        folder: Holds ``*.safetensors``.
        files: Those to read; ``weight_files`` by default.

    Raises:
        CheckpointInvalidError: as ``plan_part`` and ``fill_part``.
    """
    found: dict[str, Path] = {}
    result: dict[str, torch.Tensor] = {}
    for path in files if files is not None else weight_files(folder):
        with SafetensorsFile(path) as file:
            for name in file.tensors:
                check_once(found, name, path)
                result[name] = file.read(name)
                if result[name].is_floating_point() and result[name].itemsize > 1:
                    check_values(result[name], str(path), name)
            file.check_unchanged()
    check_stray(folder, found)
    return result


def check_once(found: dict[str, Path], name: str, path: Path) -> None:
    """Note which file holds a weight.

    Raises:
        CheckpointInvalidError: another file holds it, too.
    """
    if name in found:
        raise CheckpointInvalidError(
            f"{path.parent}: {name} is in {found[name].name} and in {path.name}; which of them is "
            "meant cannot be known: remove the file that does not belong to the checkpoint"
        )
    found[name] = path


def check_stray(folder: Path, found: dict[str, Path]) -> None:
    """Look for weights that a ``model*.safetensors`` beside those of the index holds as well.

    Raises:
        CheckpointInvalidError: there is one.
    """
    used = set(found.values())
    if not (folder / INDEX).exists():
        return
    for path in sorted(folder.glob("model*.safetensors")):
        if path not in used:
            with SafetensorsFile(path) as file:
                for key in file.tensors:
                    name = key.removeprefix(TOWER_PREFIX)
                    if name in found:
                        check_once(found, name, path)


def _index_files(index: Path) -> set[str]:
    content = read_json(index, 64 * MIB, CheckpointInvalidError)
    names: Any = content.get("weight_map") if isinstance(content, dict) else None
    if not isinstance(names, dict) or not names:
        raise CheckpointInvalidError(f"{index} is not an index of safetensors files")
    return {str(name) for name in names.values()}


def _check_tensor(file: Path, key: str, entry: StoredTensor, expected: list[int]) -> None:
    shape = list(entry.shape)
    where = f"{file.parent.name}/{file.name}: {key}"
    if shape != expected:
        raise CheckpointInvalidError(
            f"{where} has shape {shape}, its config.json asks for {expected}"
        )
    if entry.dtype not in ("F64", "F32", "F16", "BF16"):
        raise CheckpointInvalidError(
            f"{where} is of type {entry.dtype}; only float weights can be read, not quantised ones"
        )
