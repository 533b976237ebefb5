# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""What the folder of a training run holds."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import load_file


def logged(output: Path, name: str = "loss") -> dict[int, float]:
    """Step -> a value of the log."""
    lines = [json.loads(line) for line in (output / "log.jsonl").read_text().splitlines()]
    return {line["step"]: line[name] for line in lines if name in line}


def weights(folder: Path) -> dict[str, torch.Tensor]:
    """All weights of a checkpoint, named with their parts."""
    return {
        f"{path.parent.name}.{name}": weight
        for path in sorted(folder.glob("*/*.safetensors"))
        for name, weight in load_file(path).items()
    }
