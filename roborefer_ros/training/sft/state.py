# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""States of a run: what it needs to go on as if it had never stopped.

``state/step-000100/`` holds the shards of torch's distributed checkpoint (weights that learn and
their optimizer), random numbers of each process, and ``meta.json``.  It is written under another
name and renamed when it is complete.  torch's format uses pickle: go on from states of your own
runs only.
"""

from __future__ import annotations

import json
import re
import shutil
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.distributed.checkpoint as dcp
from torch import nn
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_state_dict,
    set_state_dict,
)

from roborefer_ros.errors import CheckpointInvalidError, ConfigurationError
from roborefer_ros.files import MIB, open_regular, read_json, sync, write_text
from roborefer_ros.training.sft.engine import Processes

_NAME = re.compile(r"step-(\d+)")
_META = "meta.json"

#: weights that do not learn come from the checkpoint that the run started from
_OPTIONS = StateDictOptions(ignore_frozen_params=True, strict=False)


def save_state(
    folder: Path,
    step: int,
    module: nn.Module,
    optimizers: Sequence[torch.optim.Optimizer],
    group: Processes,
    meta: Mapping[str, Any],
    keep: int,
    average: Mapping[str, torch.Tensor] | None = None,
) -> Path:
    """Write the state of a run; all processes call it.

    Args:
        folder: Of the states.
        step: Steps done.
        module: Wrapped network.
        optimizers: Of its weights.
        group: The processes.
        meta: What else is needed to go on, for JSON.
        keep: How many states are kept, this one included.
        average: Name -> average of a weight; empty where none is kept.

    Returns:
        The state's folder.

    Raises:
        OSError: it cannot be written.
    """
    final = folder / f"step-{step:06d}"
    partial = final.with_name(f"{final.name}.tmp")
    if group.is_first:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
    group.wait()
    content = _content(module, optimizers, average)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # one process without a process group is meant
        try:
            dcp.save(content, checkpoint_id=partial)
        except CheckpointException as error:
            raise OSError(f"{partial} cannot be written: {_last_line(error)}") from error
    torch.save(_random_numbers(group), partial / f"random-{group.rank}.pt")
    group.wait()
    if group.is_first:
        write_text(partial / _META, json.dumps({"step": step, **meta}, indent=1) + "\n")
        shutil.rmtree(final, ignore_errors=True)
        partial.rename(final)
        sync(folder)
        for old in _states(folder)[:-keep]:
            shutil.rmtree(old, ignore_errors=True)
    group.wait()
    return final


def _content(
    module: nn.Module,
    optimizers: Sequence[torch.optim.Optimizer],
    average: Mapping[str, torch.Tensor] | None,
) -> dict[str, Any]:
    """The tensors of a state."""
    model, optimizer = get_state_dict(module, list(optimizers), options=_OPTIONS)
    return {"model": model, "optimizer": optimizer, **({"average": average} if average else {})}


def find_state(folder: Path, resume: str) -> Path | None:
    """The state to go on from.

    Args:
        folder: Of the states.
        resume: ``auto`` (the latest, if there is one), ``none``, or a state's folder.

    Raises:
        ConfigurationError: the named folder is no state.
    """
    if resume == "none":
        return None
    if resume != "auto":
        path = Path(resume).expanduser()
        if not (path / _META).exists():
            raise ConfigurationError(
                f"{path} is not a state of a run (it has no {_META}); give a folder such as "
                "OUTPUT/state/step-000100, or --resume auto"
            )
        return path
    states = _states(folder)
    return states[-1] if states else None


def read_meta(state: Path) -> dict[str, Any]:
    """What was saved with a state.

    Raises:
        CheckpointInvalidError: damaged.
    """
    meta = read_json(state / _META, 16 * MIB, CheckpointInvalidError)
    if not isinstance(meta, dict) or not isinstance(meta.get("step"), int):
        raise CheckpointInvalidError(f"{state / _META} does not say the step of the run")
    return meta


def load_state(
    state: Path,
    module: nn.Module,
    optimizers: Sequence[torch.optim.Optimizer],
    group: Processes,
    average: Mapping[str, torch.Tensor] | None = None,
) -> None:
    """Put a state back; the number of processes may be another one.

    Args:
        state: Its folder.
        module: Wrapped network.
        optimizers: Of its weights.
        group: The processes.
        average: Name -> average of a weight, which is written into.

    Raises:
        CheckpointInvalidError: damaged, or of another network.
    """
    content = _content(module, optimizers, average)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dcp.load(content, checkpoint_id=state)
    except (CheckpointException, Exception) as error:  # the first is no Exception
        said = _last_line(error)
        raise CheckpointInvalidError(
            f"the state in {state} is damaged or of another network ({said}); remove it to go on "
            "from the one before, or begin anew with --resume none"
        ) from error
    set_state_dict(
        module,
        list(optimizers),
        model_state_dict=content["model"],
        optim_state_dict=content["optimizer"],
        options=_OPTIONS,
    )
    random = state / f"random-{group.rank}.pt"
    if random.exists():
        with open_regular(random, CheckpointInvalidError) as file:
            values = torch.load(file, weights_only=True)
        torch.set_rng_state(values["cpu"])
        if "cuda" in values and group.device.type == "cuda":
            torch.cuda.set_rng_state(values["cuda"], group.device)


def remove_unfinished(folder: Path) -> None:
    """Delete what an interruption left of a state that was being written."""
    for path in folder.glob("step-*.tmp"):
        shutil.rmtree(path, ignore_errors=True)


def _states(folder: Path) -> list[Path]:
    """Complete states, the latest last."""
    found = []
    for path in folder.glob("step-*"):
        match = _NAME.fullmatch(path.name)
        if match and (path / _META).exists():
            found.append((int(match[1]), path))
    return [path for _, path in sorted(found)]


def _random_numbers(group: Processes) -> dict[str, torch.Tensor]:
    values = {"cpu": torch.get_rng_state()}
    if group.device.type == "cuda":
        values["cuda"] = torch.cuda.get_rng_state(group.device)
    return values


def _last_line(error: BaseException) -> str:
    """Torch's message holds the tracebacks of all processes; the last line says what happened."""
    return (str(error).strip().splitlines() or [type(error).__name__])[-1][:300]
