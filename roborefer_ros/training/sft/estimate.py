# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""``--dry-run``: what a run needs, before it is started."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from roborefer_ros.models.roborefer.modeling import RoboRefer
from roborefer_ros.training.data.sampler import Layout, MixtureSampler
from roborefer_ros.training.sft.batches import Batch
from roborefer_ros.training.sft.engine import Processes, use_bfloat16
from roborefer_ros.training.sft.log import duration, peak_memory
from roborefer_ros.training.sft.loop import open_engine
from roborefer_ros.training.sft.objective import Data
from roborefer_ros.training.sft.recipe import SftRecipe
from roborefer_ros.training.sft.stages import build_optimizers

#: samples of which the longest is taken
_LOOKED_AT = 32

#: steps that are timed, behind one that warms up
_TIMED = 2


@dataclass(frozen=True)
class Needs:
    """Arithmetic about a run.

    Attributes:
        weights: Of the network.
        learning: Of those, weights that learn.
        state_bytes: Weights, gradients and optimizer of one process.
        row_flop: Floating-point operations of the sample that was looked at, in training.
    """

    weights: int
    learning: int
    state_bytes: float
    row_flop: float


def needs(
    model: RoboRefer, recipe: SftRecipe, parallel: str, half: bool, world: int, batch: Batch
) -> Needs:
    """Memory of the weights and work of a sample.

    A weight that learns takes 16 bytes: itself, its gradient and AdamW's two moments in float32.
    A product with n weights takes 2 n operations forward, twice that backward, and once more where
    activations are computed again.

    Args:
        model: The weights that learn already chosen.
        recipe: Of the run.
        parallel: ``single``, ``ddp`` or ``fsdp``.
        half: Whether the computation is in bfloat16.
        world: Processes.
        batch: Of one sample.
    """
    weights = sum(p.numel() for p in model.parameters())
    learning = sum(p.numel() for p in model.parameters() if p.requires_grad)
    share = world if parallel == "fsdp" else 1
    frozen_bytes = 2 if half and parallel != "fsdp" else 4
    state = (16 * learning + frozen_bytes * (weights - learning)) / share
    again = 1 if recipe.gradient_checkpointing else 0
    flop = (2 * _size(model.llm) * batch.positions) * (3 + again)
    tensors = batch.tensors
    for tower, pixels in (
        (model.vision_tower, tensors.image_pixel_values),
        (model.depth_tower or model.vision_tower, tensors.depth_pixel_values),
    ):
        if pixels is not None:
            learns = any(p.requires_grad for p in tower.parameters())
            patches = len(pixels) * tower.embeddings.num_positions
            flop += 2 * _size(tower) * patches * (3 + again if learns else 1)
    return Needs(weights, learning, state, float(flop))


def dry_run(recipe: SftRecipe, source: str | Path, data: Data, group: Processes) -> float:
    """Take steps on the longest of some samples and tell memory and time; nothing is kept.

    Returns:
        Seconds of one step of the optimizer.
    """
    layout = Layout(group.world, recipe.device_batch, recipe.accumulation(group.world))
    sampler = MixtureSampler(
        data.lengths, layout, recipe.seed, recipe.shuffle, recipe.tail, data.digest
    )
    total = recipe.max_steps or sampler.steps * recipe.epochs
    engine, processor = open_engine(recipe, source, group, data.objective)
    collator = data.objective.collator(processor, recipe)
    stride = max(1, len(data.samples) // _LOOKED_AT)
    looked_at = [data.samples[n] for n in range(0, len(data.samples), stride)][:_LOOKED_AT]
    longest = max(looked_at, key=lambda loaded: collator([loaded]).positions)
    one = collator([longest])
    half = use_bfloat16(recipe, group.device)
    found = needs(engine.model, recipe, engine.parallel, half, group.world, one)
    optimizers = build_optimizers(engine.module, recipe)
    batch = collator([longest] * recipe.device_batch).tensors
    seconds = 0.0
    for step in range(1 + _TIMED):
        began = time.monotonic()
        engine.step([batch], *optimizers)
        if group.device.type == "cuda":
            torch.cuda.synchronize(group.device)
        seconds += (time.monotonic() - began) / _TIMED if step else 0.0
    seconds *= layout.accumulation
    if group.is_first:
        _tell(recipe, found, one, seconds, total, group, engine.parallel, layout)
    return seconds


def _tell(
    recipe: SftRecipe,
    found: Needs,
    one: Batch,
    seconds: float,
    total: int,
    group: Processes,
    parallel: str,
    layout: Layout,
) -> None:
    tiles = sum(
        len(pixels)
        for pixels in (one.tensors.image_pixel_values, one.tensors.depth_pixel_values)
        if pixels is not None
    )
    lines = [
        f"stage {recipe.stage}, {', '.join(recipe.learning_parts)} learn: "
        f"{found.learning / 1e6:.1f} of {found.weights / 1e6:.1f} M weights",
        f"{group.world} process(es), {parallel}: {layout.batch} rows x {group.world} x "
        f"{layout.accumulation} = {layout.global_batch} rows a step, {total} steps",
        f"weights, gradients, AdamW: {found.state_bytes / 2**30:.2f} GiB a process (arithmetic)",
        f"longest of the samples looked at: {one.positions} positions, {tiles} tiles, "
        f"{found.row_flop:.2e} FLOP (arithmetic)",
        f"peak memory with {layout.batch} of it: {peak_memory(group) / 2**30:.2f} GiB (measured)",
        f"{seconds:.3f} s a step (measured, without loading), {duration(seconds * total)} in all "
        "if every row were that long",
    ]
    print("\n".join(lines), file=sys.stderr)


def _size(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())
