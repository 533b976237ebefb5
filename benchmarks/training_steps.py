# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Steps of ``roborefer sft`` on miniature networks: memory of the head, leaks, time of a step.

    python -m benchmarks.training_steps head                # 150k words: learned positions, all
    python -m benchmarks.training_steps plain               # a step against a loop without engine
    python -m benchmarks.training_steps soak --steps 10000  # memory and files stay as they are

Random weights and invented samples: nothing is said about answers.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import resource
import statistics
import sys
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.nn import functional

from roborefer_ros.models.roborefer.checkpoint import load_roborefer
from roborefer_ros.models.roborefer.labels import (
    TrainingBatch,
    collate,
    splice_batch,
    supervised_loss,
    training_item,
)
from roborefer_ros.models.roborefer.processing import RoboReferProcessor
from roborefer_ros.training.sft.engine import Engine, Processes
from roborefer_ros.training.sft.recipe import SftRecipe
from roborefer_ros.training.sft.stages import build_optimizer, select_weights

GOLDEN = Path(__file__).resolve().parents[1] / "test" / "data" / "golden"
ONE = Processes(0, 1, torch.device("cpu"))
RECIPE = SftRecipe(learning_rate=1e-4, precision="fp32", gradient_checkpointing=False)

#: Words and width of Qwen2 in the 2B network, rows, share of them that is learned.
WORDS, WIDTH, ROWS, LEARNED = 151_646, 1536, 1000, 0.1


def batch_of(processor: RoboReferProcessor) -> TrainingBatch:
    """The three golden samples."""
    rows = json.loads((GOLDEN / "inputs/train.json").read_text())
    items = []
    for row in rows:
        media = []
        for key in ("image", "depth"):
            names = row[key] if isinstance(row[key], list) else [row[key]]
            files = [GOLDEN / "inputs" / name for name in names]
            media.append([np.asarray(Image.open(file).convert("RGB")) for file in files])
        items.append(training_item(processor, row["conversations"], media[0], media[1]))
    return collate(items, processor.tokenizer.pad_token_id, 16384)


def fresh() -> tuple[Engine, torch.optim.Optimizer, TrainingBatch]:
    """An engine on the 2B-style network, its optimizer, and the batch."""
    model, processor = load_roborefer(GOLDEN / "tiny-2b-style", keep_unused=True)
    select_weights(model, RECIPE.learning_parts)
    return (
        Engine(model, processor, RECIPE, ONE),
        build_optimizer(model, RECIPE),
        batch_of(processor),
    )


def head_memory(learned_only: bool, result: multiprocessing.Queue[tuple[float, float]]) -> None:
    """Loss, and memory that head, loss and gradient take, MiB."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    hidden = torch.randn(ROWS, WIDTH, requires_grad=True)
    head = torch.nn.Linear(WIDTH, WORDS, bias=False).requires_grad_(False)
    targets = torch.randint(WORDS, (ROWS,))
    targets[torch.rand(ROWS) > LEARNED] = -100
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if learned_only:
        chosen = targets != -100
        loss = functional.cross_entropy(head(hidden[chosen]).float(), targets[chosen])
    else:
        loss = functional.cross_entropy(head(hidden).float(), targets, ignore_index=-100)
    loss.backward()
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    result.put((float(loss.detach()), (after - before) / 1024))


def head() -> None:
    """Print memory with the head on learned positions and on all."""
    context = multiprocessing.get_context("spawn")
    for learned_only in (True, False):
        queue: multiprocessing.Queue[tuple[float, float]] = context.Queue()  # type: ignore[assignment]
        process = context.Process(target=head_memory, args=(learned_only, queue))
        process.start()
        loss, memory = queue.get()
        process.join()
        where = "learned positions" if learned_only else "all positions"
        print(f"{where}: loss {loss:.6f}, {memory:.0f} MiB for {ROWS} rows of {WORDS} words")


def plain(steps: int) -> None:
    """Print the time of a step of the engine and of a loop with full logits, in turns."""
    engine, optimizer, batch = fresh()
    model, processor = load_roborefer(GOLDEN / "tiny-2b-style", keep_unused=True)
    select_weights(model, RECIPE.learning_parts)
    own = build_optimizer(model, RECIPE)

    def plain_step() -> None:
        spliced = splice_batch(model, processor, batch)
        logits = model.llm(
            inputs_embeds=spliced.inputs_embeds, attention_mask=spliced.attention_mask
        ).logits
        supervised_loss(logits, spliced.labels).backward()
        own.step()
        own.zero_grad()

    times: dict[str, list[float]] = {"engine": [], "plain loop": []}
    for step in range(steps + 2):
        for name in times:
            began = time.perf_counter()
            if name == "engine":
                engine.step([batch], optimizer)
            else:
                plain_step()
            if step >= 2:
                times[name].append(time.perf_counter() - began)
    medians = {name: statistics.median(values) for name, values in times.items()}
    for name, value in medians.items():
        print(f"{name}: {1000 * value:.1f} ms a step (median of {steps})")
    print(f"engine / plain loop: {medians['engine'] / medians['plain loop']:.2f}")


#: growth of resident memory over the last half of the steps that is a leak, MiB
GROWTH_MIB = 16.0


def soak(steps: int) -> None:
    """Print resident memory and open files along many steps; growth ends in status 1."""
    engine, optimizer, batch = fresh()
    page = os.sysconf("SC_PAGE_SIZE")
    seen = []
    for step in range(steps + 1):
        if step in {steps // 10, steps // 2, steps}:
            resident = int(Path("/proc/self/statm").read_text().split()[1]) * page / 2**20
            files = len(os.listdir("/proc/self/fd"))
            seen.append((resident, files))
            print(f"step {step}: {resident:.1f} MiB, {files} open files", flush=True)
        engine.step([batch], optimizer)
    if seen[-1][0] - seen[-2][0] > GROWTH_MIB or seen[-1][1] > seen[-2][1]:
        sys.exit("memory or open files grow")


def main() -> None:
    """Run one of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("head", "plain", "soak"))
    parser.add_argument("--steps", type=int, default=20)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.what == "head":
        head()
    else:
        {"plain": plain, "soak": soak}[options.what](options.steps)


if __name__ == "__main__":
    main()
