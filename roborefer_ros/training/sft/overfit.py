# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Learning a few samples by heart: what works at all learns them in a minute."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from roborefer_ros.errors import ConfigurationError
from roborefer_ros.models.roborefer.labels import IGNORE, collate, splice_batch, training_item
from roborefer_ros.training.data.dataset import LoadedSample
from roborefer_ros.training.sft.engine import Engine, Processes
from roborefer_ros.training.sft.loop import open_engine
from roborefer_ros.training.sft.objective import Data
from roborefer_ros.training.sft.recipe import SftRecipe
from roborefer_ros.training.sft.stages import build_optimizers

#: mean loss of the learned tokens that counts as known by heart
GOAL = 0.05
MOST_STEPS = 300

#: steps in which the rate rises
_RISING = 10


def overfit(recipe: SftRecipe, source: str | Path, data: Data, count: int, group: Processes) -> int:
    """Train on the first samples until they are known; nothing is written.

    Args:
        recipe: Its batch is set to the samples; ``max_steps`` (or 300) bounds the steps.
        source: Checkpoint.
        data: Has at least ``count`` samples.
        count: Samples; a multiple of the number of processes.
        group: The processes.

    Returns:
        Exit status: 0 where the loss fell below 0.05 and the first answers are those learned.

    Raises:
        ConfigurationError: too few samples, or they cannot be shared evenly.
    """
    if count > len(data.samples):
        raise ConfigurationError(f"--overfit {count}: the data has {len(data.samples)} samples")
    if count % group.world:
        raise ConfigurationError(
            f"--overfit {count}: not a multiple of the {group.world} processes"
        )
    recipe = replace(recipe, global_batch=count, device_batch=1)
    engine, processor = open_engine(recipe, source, group, data.objective)
    optimizers = build_optimizers(engine.module, recipe)
    collator = data.objective.collator(processor, recipe)
    own = [data.samples[number] for number in range(group.rank, count, group.world)]
    batches = [collator([loaded]).tensors for loaded in own]
    steps, loss, is_known = recipe.max_steps or MOST_STEPS, float("inf"), False
    for step in range(steps):
        factor = min(1.0, (step + 1) / _RISING)  # then at its height, since the end is open
        for parameters in (entry for each in optimizers for entry in each.param_groups):
            parameters["lr"] = parameters["base_lr"] * factor
        loss = engine.step(batches, *optimizers).loss
        is_known = loss < GOAL and _says_them(engine, own, group)
        if group.is_first and (step % 10 == 0 or is_known):
            print(f"step {step + 1}/{steps} loss {loss:.4f}", file=sys.stderr, flush=True)
        if is_known:
            break
    if group.is_first:
        for loaded in own if engine.parallel != "fsdp" else ():
            said, wanted = first_answer(engine, loaded)
            mark = "=" if said == wanted else "!="
            print(f"{loaded.sample.dataset}: {said!r} {mark} {wanted!r}", file=sys.stderr)
        end = "known by heart" if is_known else "not known: raise --learning-rate or --max-steps"
        print(f"loss {loss:.4f} after {step + 1} steps: {end}", file=sys.stderr)
    return 0 if is_known else 1


def _says_them(engine: Engine, own: Sequence[LoadedSample], group: Processes) -> bool:
    """Whether all processes' samples are answered as they were learned.

    Sharded weights answer nothing outside a step; there the loss alone decides.
    """
    if engine.parallel == "fsdp":
        return True
    wrong = sum(said != wanted for said, wanted in (first_answer(engine, one) for one in own))
    return group.total([wrong])[0] == 0


def first_answer(engine: Engine, loaded: LoadedSample) -> tuple[str, str]:
    """What the network answers to a sample's first question, greedily, and what was learned."""
    processor, model = engine.module.processor, engine.model
    turns = loaded.sample.conversation
    first = next(n for n, turn in enumerate(turns) if turn["from"] == "gpt")
    item = training_item(processor, turns[: first + 1], loaded.images, loaded.depths)
    learned = (item.labels != IGNORE).nonzero().flatten()
    start = int(learned[0])
    prompt = replace(item, input_ids=item.input_ids[:start], labels=item.labels[:start])
    was_training = model.training
    model.eval()
    with torch.inference_mode():
        batch = collate([prompt], processor.tokenizer.pad_token_id, processor.max_length)
        embeds = splice_batch(model, processor, batch).inputs_embeds[0]
        limit = len(learned) + 8
        new = model.llm.generate(
            inputs_embeds=embeds[None],
            attention_mask=torch.ones_like(embeds[None, :, 0], dtype=torch.long),
            max_new_tokens=limit,
            do_sample=False,
            eos_token_id=list(processor.stop_ids),
            pad_token_id=processor.tokenizer.pad_token_id,
        )[0].tolist()
    model.train(was_training)
    return _text(engine, new), _text(engine, [int(item.input_ids[n]) for n in learned])


def _text(engine: Engine, ids: Sequence[int]) -> str:
    processor = engine.module.processor
    kept = [number for number in ids if number not in processor.stop_ids]
    return str(processor.tokenizer.decode(kept)).strip()
