# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Run by torchrun: steps of every kind on two processes; the first writes what it saw."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sft_golden import (
    GOLDEN,
    RUN,
    RUN_STOPS_AFTER,
    golden_data,
    golden_items,
    text_item,
)

from roborefer_ros.inference.model import Picture, Request, complete_all
from roborefer_ros.inference.roborefer import RoboReferModel
from roborefer_ros.models.roborefer.checkpoint import load_roborefer
from roborefer_ros.models.roborefer.labels import TrainingBatch, TrainingItem, collate
from roborefer_ros.models.roborefer.processing import RoboReferProcessor
from roborefer_ros.training.sft.engine import Engine, Processes, processes
from roborefer_ros.training.sft.loop import Run
from roborefer_ros.training.sft.recipe import SftRecipe
from roborefer_ros.training.sft.stages import build_optimizer, select_weights

STEPS = 3


def shares(processor: RoboReferProcessor, case: str) -> list[list[TrainingItem]]:
    """The samples of the two processes."""
    items = golden_items(processor)
    if case == "text":  # no pictures at all on the second
        return [items[:2], [text_item(processor)]]
    if case == "rgb":  # no depth on the second
        return [items[:2], golden_items(processor, depth=False)[2:]]
    return [items[:2], items[2:]]


def batch_of(processor: RoboReferProcessor, items: list[TrainingItem]) -> TrainingBatch:
    return collate(items, processor.tokenizer.pad_token_id, 16384)


def fresh(mode: str, group: Processes, **values: Any) -> tuple[Engine, torch.optim.Optimizer]:
    """An engine on a golden checkpoint."""
    model, processor = load_roborefer(GOLDEN / f"tiny-{mode}-style", keep_unused=True)
    values = {"learning_rate": 1e-3, "max_grad_norm": 0.0, "precision": "fp32", **values}
    recipe = SftRecipe(gradient_checkpointing=False, **values)
    select_weights(model, recipe.learning_parts)
    return (engine := Engine(model, processor, recipe, group)), build_optimizer(
        engine.model, recipe
    )


def checksum(engine: Engine) -> dict[str, float]:
    """Sum of squares of each part's weights."""
    result = {}
    for name, part in engine.model.named_children():
        total = 0.0
        for weight in part.parameters():
            whole = weight.full_tensor() if hasattr(weight, "full_tensor") else weight
            total += float(whole.detach().double().square().sum())
        result[name] = total
    return result


def losses(mode: str, case: str, group: Processes, **values: Any) -> dict[str, Any]:
    """Losses of three steps, and the weights behind them."""
    engine, optimizer = fresh(mode, group, **values)
    parts = shares(engine.module.processor, case)
    own = [parts[group.rank]] if group.world > 1 else parts
    batches = [batch_of(engine.module.processor, items) for items in own]
    steps = [engine.step(batches, optimizer) for _ in range(STEPS)]
    return {
        "parallel": engine.parallel,
        "losses": [step.loss for step in steps],
        "norms": [step.gradient_norm for step in steps],
        "weights": checksum(engine),
    }


def with_nan(group: Processes, parallel: str) -> dict[str, Any]:
    """A step in which one process has a number that is not finite, and one without."""
    engine, optimizer = fresh("2b", group, parallel=parallel)
    own = batch_of(engine.module.processor, shares(engine.module.processor, "rgbd")[group.rank])
    before = checksum(engine)
    assert own.image_pixel_values is not None
    good = own.image_pixel_values.clone()
    if group.rank == 1:
        own.image_pixel_values[:] = float("nan")
    bad = engine.step([own], optimizer)
    after = checksum(engine)
    own.image_pixel_values[:] = good
    following = engine.step([own], optimizer)
    return {
        "skipped": group.gathered(bad.skipped),
        "before": before,
        "after": after,
        "next": following.loss,
    }


def asked(group: Processes, **values: Any) -> dict[str, Any]:
    """Three steps; behind the first one the network answers, unequally often on the processes."""
    engine, optimizer = fresh("2b", group, **values)
    parts = shares(engine.module.processor, "rgbd")
    own = [parts[group.rank]] if group.world > 1 else parts
    batches = [batch_of(engine.module.processor, items) for items in own]
    losses = [engine.step(batches, optimizer).loss]
    grey = Picture.of(np.full((40, 60, 3), 100, np.uint8))
    with engine.whole() as network:
        model = RoboReferModel("", network, engine.module.processor, max_new_tokens=6)
        requests = [Request(f"Where is cup {n}?", (grey,)) for n in range(2 + 3 * group.rank)]
        outcomes = complete_all(model, requests)
        texts = [getattr(outcome, "text", repr(outcome)) for outcome in outcomes]
    losses += [engine.step(batches, optimizer).loss for _ in range(2)]
    return {"texts": group.gathered(texts), "losses": losses}


def stopped_run(folder: Path, group: Processes) -> str:
    """A run that one process is told to end; it saves its state."""
    told = RUN_STOPS_AFTER * RUN.accumulation(group.world) if group.rank == 1 else 0
    data = golden_data(folder / f"index-{group.rank}", signal_after=told)
    return Run(RUN, GOLDEN / "tiny-2b-style", data, folder / "run", group).run()


def main(folder: Path) -> None:
    result: dict[str, Any] = {}
    torch.set_num_threads(1)
    with processes("cpu") as group:
        for mode in ("2b", "8b"):
            for parallel in ("ddp", "fsdp"):
                for case in ("rgbd", "text", "rgb"):
                    key = f"{mode} {parallel} {case}"
                    result[key] = losses(mode, case, group, parallel=parallel)
        for parallel in ("ddp", "fsdp"):
            result[f"nan {parallel}"] = with_nan(group, parallel)
            result[f"asked {parallel}"] = asked(group, parallel=parallel)
        result["run"] = stopped_run(folder, group)
        if group.is_first:
            (folder / "result.json").write_text(json.dumps(result))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
