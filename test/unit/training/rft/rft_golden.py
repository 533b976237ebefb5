# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Prompts about the golden pictures, and a reward that random weights can earn."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from roborefer_ros.models.roborefer.checkpoint import load_roborefer
from roborefer_ros.training.rft.engine import PolicyEngine
from roborefer_ros.training.rft.policy import PromptItem, prompt_item
from roborefer_ros.training.rft.prompts import PromptFile, load_prompt, read_prompts
from roborefer_ros.training.rft.recipe import RftRecipe
from roborefer_ros.training.rft.rewards import Annotation, Rewards
from roborefer_ros.training.sft.engine import Processes
from roborefer_ros.training.sft.stages import select_weights

GOLDEN = Path(__file__).resolve().parents[3] / "data" / "golden"
ONE = Processes(0, 1, torch.device("cpu"))
TINY = GOLDEN / "tiny-2b-style"

#: a run of four steps in which two processes or one see the same prompts
RUN = RftRecipe(
    learning_rate=1e-4,
    global_batch=2,
    group_size=3,
    max_steps=4,
    max_new_tokens=6,
    epochs=10,
    precision="fp32",
    parallel="fsdp",
    gradient_checkpointing=False,
    workers=0,
)
RUN_STOPS_AFTER = 2

_PROMPTS: list[dict[str, Any]] = [
    {"image": ["rgb1.png"], "depth": ["dep1.png"], "image_size": [176, 132]},
    {"image": ["rgb2.png"], "depth": ["dep2.png"], "image_size": [130, 60]},
    {"image": ["rgb3.png"], "depth": [], "image_size": [100, 100]},
    {"image": [], "depth": [], "image_size": [100, 100]},
]


def golden_prompts(folder: Path) -> PromptFile:
    """Four prompts: two with depth, one with an image alone, one without pictures."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    for number, values in enumerate(_PROMPTS):
        row: dict[str, Any] = {
            "id": f"prompt {number}",
            "question": "Point to the cup nearest to the lamp.",
            "answer": [[0.5, 0.5]],
            "key_steps": [{"type": "Position", "target": "the cup", "value": [0.4, 0.6]}],
            **values,
        }
        for kind in ("image", "depth"):
            row[kind] = [str(GOLDEN / "inputs" / name) for name in row[kind]]
        lines.append(json.dumps(row))
    path = folder / "prompts.jsonl"
    path.write_text("\n".join(lines) + "\n")
    return read_prompts(path)


def by_letters(text: str, known: Annotation) -> Rewards:
    """A reward that random weights can earn: the text's different characters."""
    del known
    return Rewards(0.0, 0.0, 0.0, 0.0, len(set(text)) / 10)


def open_engine(style: str = "2b", group: Processes = ONE, **values: Any) -> PolicyEngine:
    """Policy and reference on a golden checkpoint."""
    recipe = RftRecipe(precision="fp32", gradient_checkpointing=False, **values)
    folder = GOLDEN / f"tiny-{style}-style"
    model, processor = load_roborefer(folder, keep_unused=True)
    reference, _ = load_roborefer(folder, keep_unused=True)
    select_weights(model, recipe.learning_parts)
    return PolicyEngine(model, processor, recipe, group, reference)


def item_of(engine: PolicyEngine, prompts: PromptFile, number: int) -> PromptItem:
    """A prompt as the network is shown it."""
    return prompt_item(engine.module.processor, load_prompt(prompts.prompt(number), number))
