# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The golden samples as training items, and how several processes are started."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from roborefer_ros.models.roborefer.labels import TrainingItem, training_item
from roborefer_ros.models.roborefer.processing import RoboReferProcessor
from roborefer_ros.training.data.dataset import LoadedSample, MixtureDataset, ReadOptions
from roborefer_ros.training.data.mixtures import Part, mixture_digest
from roborefer_ros.training.data.registry import own_dataset
from roborefer_ros.training.sft.objective import Data
from roborefer_ros.training.sft.recipe import SftRecipe

GOLDEN = Path(__file__).resolve().parents[3] / "data" / "golden"
#: a run of four steps in which two processes or one see the same rows
RUN = SftRecipe(
    learning_rate=1e-3,
    global_batch=2,
    device_batch=1,
    max_steps=4,
    precision="fp32",
    parallel="fsdp",
    tail="keep",
    workers=0,
)
RUN_STOPS_AFTER = 2

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


class SignallingSamples:
    """Samples that send this process SIGTERM when so many of them were loaded; 0 for never."""

    def __init__(self, samples: MixtureDataset, after: int) -> None:
        self._samples, self._after, self._loaded = samples, after, 0
        self.epoch = 0

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, number: int) -> LoadedSample:
        self._loaded += 1
        if self._loaded == self._after:
            os.kill(os.getpid(), signal.SIGTERM)
        self._samples.epoch = self.epoch
        return self._samples[number]


def golden_data(index: Path, *, depth: bool = True, signal_after: int = 0) -> Data:
    """The golden samples as data of a run."""
    pictures = GOLDEN / "inputs"
    spec = own_dataset(pictures / "train.json", pictures, pictures if depth else None)
    parts = [Part(spec)]
    samples = MixtureDataset(parts, ReadOptions(index_dir=index))
    chosen = SignallingSamples(samples, signal_after)
    return Data(chosen, tuple(samples.lengths), mixture_digest(parts))


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
