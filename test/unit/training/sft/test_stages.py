# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Losses, gradients and steps of a stage equal those of the reference."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
import torch
from sft_golden import GOLDEN, golden_items

from roborefer_ros.errors import ConfigurationError
from roborefer_ros.models.roborefer.checkpoint import load_roborefer
from roborefer_ros.models.roborefer.labels import collate
from roborefer_ros.training.sft.engine import Engine, Processes
from roborefer_ros.training.sft.recipe import SftRecipe
from roborefer_ros.training.sft.stages import build_optimizer, rate_factor, select_weights

STAGES: dict[str, Any] = json.loads((GOLDEN / "training/stages.json").read_text())
PARTS: dict[str, tuple[str, ...]] = {
    "align": ("depth_projector",),
    "sft": (),
    "projectors": ("mm_projector", "depth_projector"),
    "llm": ("llm",),
}
ONE = Processes(0, 1, torch.device("cpu"))


def engine_for(mode: str, **values: Any) -> tuple[Engine, torch.optim.Optimizer]:
    model, processor = load_roborefer(GOLDEN / f"tiny-{mode}-style", keep_unused=True)
    defaults = {"learning_rate": 1e-3, "max_grad_norm": 0.0, "gradient_checkpointing": False}
    recipe = SftRecipe(**{**defaults, **values})
    select_weights(model, recipe.learning_parts)
    return Engine(model, processor, recipe, ONE), build_optimizer(model, recipe)


def golden_batches(engine: Engine, depth: bool, split: bool = False) -> list[Any]:
    processor = engine.module.processor
    items = golden_items(processor, depth)
    groups = [[item] for item in items] if split else [items]
    return [collate(group, processor.tokenizer.pad_token_id, 16384) for group in groups]


@pytest.mark.parametrize("key", sorted(STAGES))
def test_losses_gradients_and_three_steps_equal_the_references(key: str) -> None:
    checkpoint, data, stage = key.split("__")
    golden = STAGES[key]
    engine, optimizer = engine_for(checkpoint.removeprefix("tiny"), parts=PARTS[stage])
    batch = golden_batches(engine, data == "rgbd")[0]

    first = engine.module(batch)
    assert int(first.tokens.sum()) == golden["supervised_tokens"]
    (first.total / golden["supervised_tokens"]).backward()
    norms = {
        name: math.sqrt(
            sum(float(p.grad.square().sum()) for p in part.parameters() if p.grad is not None)
        )
        for name, part in engine.model.named_children()
    }
    wanted = {name: norm or 0.0 for name, norm in golden.get("grad_norm", {}).items()}
    assert norms == pytest.approx(wanted or dict.fromkeys(norms, 0.0), rel=1e-3)
    optimizer.zero_grad()

    steps = [engine.step([batch], optimizer).loss for _ in range(4)]
    later = golden.get("loss_after_adamw_steps_1_2_3", [golden["loss_before"]] * 3)
    assert steps[0] == pytest.approx(golden["loss_before"], abs=1e-4)
    assert steps[1:] == pytest.approx(later, abs=1e-3)


@pytest.mark.parametrize("mode", ["2b", "8b"])
def test_packing_and_accumulation_change_nothing(mode: str) -> None:
    results = []
    for packing, split in ((False, False), (True, False), (False, True)):
        engine, optimizer = engine_for(mode, packing=packing)
        batches = golden_batches(engine, True, split)
        results.append([engine.step(batches, optimizer).loss for _ in range(3)])
    assert results[1] == pytest.approx(results[0], abs=1e-4)
    assert results[2] == pytest.approx(results[0], abs=1e-4)


def test_recomputed_activations_change_no_bit() -> None:
    results = []
    for recompute in (False, True):
        engine, optimizer = engine_for("2b", gradient_checkpointing=recompute)
        batches = golden_batches(engine, True)
        steps = [engine.step(batches, optimizer) for _ in range(3)]
        results.append([(step.loss, step.gradient_norm) for step in steps])
        assert engine.model.llm.model.layers[0].gradient_checkpointing == recompute
    assert results[0] == results[1]


def test_the_head_is_applied_to_learned_positions_only() -> None:
    engine, _ = engine_for("2b")
    seen: list[int] = []
    engine.model.llm.lm_head.register_forward_hook(
        lambda module, inputs, output: seen.append(output.shape[0])
    )
    result = engine.module(golden_batches(engine, True)[0])
    assert seen == [int(result.tokens.sum())] == [46]
    # Each row's own loss is that of the row alone.
    alone = [engine.module(b) for b in golden_batches(engine, True, split=True)]
    assert result.per_row.tolist() == pytest.approx([float(a.total.detach()) for a in alone])


def test_bfloat16_trains_float32_masters_in_half_precision() -> None:
    engine, optimizer = engine_for("2b", precision="bf16")
    batches = golden_batches(engine, True)
    before = engine.model.depth_projector.layers[2].weight.detach().clone()
    losses = [engine.step(batches, optimizer).loss for _ in range(3)]
    weight = engine.model.depth_projector.layers[2].weight
    assert weight.dtype == torch.float32
    assert not torch.equal(weight.to(torch.bfloat16).float(), weight), "masters are rounded"
    assert not torch.equal(weight, before)
    assert losses == pytest.approx([13.53693, 10.23257, 7.62151], abs=0.2)


def test_frozen_parts_are_half_precision_in_bfloat16_alignment() -> None:
    engine, optimizer = engine_for("8b", precision="bf16", parts=("depth_projector",))
    losses = [engine.step(golden_batches(engine, True), optimizer).loss for _ in range(3)]
    assert engine.model.llm.lm_head.weight.dtype == torch.bfloat16
    assert losses[2] < losses[1] < losses[0]


def test_rate_rises_linearly_from_zero_then_falls_as_a_cosine() -> None:
    factors = [rate_factor(step, 100, 0.03) for step in range(101)]
    assert factors[:4] == pytest.approx([0, 1 / 3, 2 / 3, 1])
    assert factors[100] == pytest.approx(0.0, abs=1e-12)
    middle = 3 + 97 / 2
    assert rate_factor(int(middle), 100, 0.03) == pytest.approx(0.5, abs=0.02)
    assert all(b < a for a, b in zip(factors[3:], factors[4:], strict=False))
    assert rate_factor(0, 100, 0.0) == 1.0


def test_parts_learn_at_their_own_rates_and_norms_do_not_decay() -> None:
    model, _ = load_roborefer(GOLDEN / "tiny-2b-style", keep_unused=True)
    recipe = SftRecipe(learning_rate=1e-4, weight_decay=0.1, part_rates={"vision_tower": 0.1})
    select_weights(model, recipe.learning_parts)
    rates: dict[int, tuple[float, float]] = {
        id(p): (group["lr"], group["weight_decay"])
        for group in build_optimizer(model, recipe).param_groups
        for p in group["params"]
    }
    patch = model.vision_tower.embeddings.patch_embedding
    assert rates[id(patch.weight)] == pytest.approx((1e-5, 0.1))
    assert rates[id(patch.bias)] == pytest.approx((1e-5, 0.0))
    assert rates[id(model.llm.model.norm.weight)] == pytest.approx((1e-4, 0.0))
    assert id(model.vision_tower.encoder.layers[3].mlp.fc1.weight) not in rates


def test_alignment_without_a_depth_branch_names_the_command_that_makes_one() -> None:
    model, _ = load_roborefer(GOLDEN / "tiny-2b-style", keep_unused=True)
    model.depth_projector = None
    with pytest.raises(ConfigurationError, match="init-depth"):
        select_weights(model, ("depth_projector",))
