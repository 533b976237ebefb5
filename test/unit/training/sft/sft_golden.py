# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The golden samples as training items, and how several processes are started."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from roborefer_ros.models.roborefer.labels import TrainingItem, training_item
from roborefer_ros.models.roborefer.processing import RoboReferProcessor

GOLDEN = Path(__file__).resolve().parents[3] / "data" / "golden"
WORKER = Path(__file__).with_name("two_processes.py")


def golden_items(processor: RoboReferProcessor, depth: bool = True) -> list[TrainingItem]:
    """The three golden samples, with or without their depth pictures."""
    rows = json.loads((GOLDEN / "inputs/train.json").read_text())

    def pictures(names: str | list[str]) -> list[np.ndarray[Any, np.dtype[np.uint8]]]:
        names = [names] if isinstance(names, str) else names
        return [np.asarray(Image.open(GOLDEN / "inputs" / name).convert("RGB")) for name in names]

    return [
        training_item(
            processor,
            row["conversations"],
            pictures(row["image"]),
            pictures(row["depth"]) if depth else [],
        )
        for row in rows
    ]


def text_item(processor: RoboReferProcessor) -> TrainingItem:
    """A sample without pictures."""
    turns = [{"from": "human", "value": "How many?"}, {"from": "gpt", "value": "Three."}]
    return training_item(processor, turns)


def start_processes(count: int, *command: str, **options: Any) -> subprocess.Popen[str]:
    """Start a Python command with torchrun."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    return subprocess.Popen(
        [*launcher, f"--nproc-per-node={count}", *command],
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        **options,
    )
