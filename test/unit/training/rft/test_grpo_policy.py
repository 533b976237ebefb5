# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Answers that are drawn, their probabilities and updates, on miniature checkpoints.

Their weights are random: this shows that the computation is right, not that anything is understood.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
import torch
from rft_golden import GOLDEN, golden_prompts, item_of, open_engine

from roborefer_ros.models.roborefer.labels import IGNORE, TrainingBatch, collate, training_item
from roborefer_ros.training.rft.engine import Group, PolicyEngine, token_weights
from roborefer_ros.training.rft.objective import LossOptions, grpo_loss
from roborefer_ros.training.rft.policy import group_batch, rows_of
from roborefer_ros.training.rft.prompts import PromptFile
from roborefer_ros.training.rft.recipe import RftRecipe
from roborefer_ros.training.sft.stages import build_optimizer

TABLE = json.loads((GOLDEN / "training/grpo.json").read_text())


@pytest.fixture(scope="module")
def prompts(tmp_path_factory: pytest.TempPathFactory) -> PromptFile:
    return golden_prompts(tmp_path_factory.mktemp("prompts"))


def golden_batch(engine: PolicyEngine) -> TrainingBatch:
    """The table's four completions about one picture."""
    import numpy as np
    from PIL import Image

    processor = engine.module.processor
    image, depth = (
        np.asarray(Image.open(GOLDEN / "inputs" / TABLE[kind]).convert("RGB"))
        for kind in ("image", "depth")
    )
    items = [
        training_item(
            processor,
            [{"from": "human", "value": TABLE["question"]}, {"from": "gpt", "value": text}],
            [image],
            [depth],
        )
        for text in TABLE["completions"]
    ]
    batch = collate(items, processor.tokenizer.pad_token_id, 16384)
    return replace(
        batch,
        image_pixel_values=items[0].images.pixel_values,
        depth_pixel_values=items[0].depths.pixel_values,
    )


@pytest.mark.parametrize("device_batch", [0, 1, 3])
def test_loss_gradients_and_a_step_are_those_of_the_golden_table(device_batch: int) -> None:
    engine = open_engine(
        beta=TABLE["beta"], max_grad_norm=0.0, learning_rate=1e-5, device_batch=device_batch
    )
    assert engine._reference is not None
    with torch.no_grad():
        engine._reference.model.llm.model.norm.weight += 0.01
    batch = golden_batch(engine)
    lengths = (batch.labels[:, 1:] != IGNORE).sum(dim=1).tolist()
    assert lengths == TABLE["completion_lengths"]
    group = Group(
        batch,
        torch.tensor(TABLE["advantages"]),
        token_weights(lengths, [False] * 4, engine.recipe),
        engine.reference_log_probs(batch),
    )
    told = engine.log_probs(batch)
    assert told.values.sum(dim=1).tolist() == pytest.approx(TABLE["sequence_logp"], rel=1e-3)
    norms: dict[str, float] = {}

    class Watching(torch.optim.AdamW):
        def step(self, closure: Any = None) -> None:  # type: ignore[override]
            for name, part in engine.model.named_children():
                grads = [p.grad for p in part.parameters() if p.grad is not None]
                norms[name] = float(torch.stack([g.norm() for g in grads]).norm())
            super().step(closure)

    optimizer = Watching(
        [p for p in engine.model.parameters() if p.requires_grad], lr=1e-5, weight_decay=0.0
    )
    result = engine.update([group], optimizer, 1)
    assert result.loss == pytest.approx(TABLE["loss"], abs=1e-5)
    assert result.kl == pytest.approx(TABLE["mean_kl"], rel=1e-3)
    assert norms == pytest.approx(TABLE["grad_norm"], rel=1e-3)

    after, wanted = engine.log_probs(batch), TABLE["after_one_adamw_step_lr1e-5"]
    assert after.values.sum(dim=1).tolist() == pytest.approx(wanted["sequence_logp"], rel=1e-3)
    assert group.reference is not None
    advantage = torch.tensor(TABLE["advantages"])
    loss = grpo_loss(
        after.values, group.reference, advantage, after.mask, engine.recipe.loss_options
    )
    assert float(loss) == pytest.approx(wanted["loss"], abs=1e-5)


@pytest.mark.parametrize("style", ["2b", "8b"])
@pytest.mark.parametrize("number", [0, 1, 2, 3])
def test_drawn_probabilities_are_those_of_teacher_forcing(
    style: str, number: int, prompts: PromptFile
) -> None:
    engine = open_engine(style, max_new_tokens=12, temperature=4.0)
    item = item_of(engine, prompts, number)
    with engine.rollouts():
        drawn = engine.answers(item, [5, 6, 7])
        again = engine.answers(item, [5, 6, 7])
        alone = engine.answers(item, [6])
    assert drawn == again
    assert alone[0].ids == drawn[1].ids  # the company changes nothing
    assert len({answer.ids for answer in drawn}) > 1
    batch = group_batch(item, [answer.ids for answer in drawn], 0)
    engine.recipe = replace(engine.recipe, temperature=1.0)  # that the decoder tells them at
    told = engine.log_probs(batch)
    for row, answer in enumerate(drawn):
        own = told.values[row, : len(answer.ids)].tolist()
        assert own == pytest.approx(answer.logprobs, abs=1e-4)
    # Rows of other lengths are padded, which has no influence.
    short = group_batch(item, [drawn[0].ids[:1], drawn[1].ids], 0)
    first = engine.log_probs(short).values[0]
    assert float(first[0]) == pytest.approx(float(told.values[0, 0]), abs=1e-5)
    assert first[1:].abs().sum() == 0.0


def test_the_stop_token_belongs_to_the_answer(prompts: PromptFile) -> None:
    engine = open_engine(max_new_tokens=12)
    item = item_of(engine, prompts, 0)
    end = engine.module.processor.stop_ids[0]
    with engine.rollouts():
        (before,) = engine.answers(item, [1])
    with torch.no_grad():  # the end is as likely as everything else together
        engine.model.llm.lm_head.weight[end] = 0.0
        weight = engine.model.llm.lm_head.weight
        weight[end] = 40.0 * weight[before.ids[0]] / weight[before.ids[0]].norm()
    with engine.rollouts():
        answers = engine.answers(item, list(range(8)))
    ended = [answer for answer in answers if not answer.is_cut]
    assert ended
    assert all(answer.ids[-1] == end for answer in ended)
    assert all(len(answer.ids) == len(answer.logprobs) for answer in answers)
    assert not any("<|im_end|>" in answer.text for answer in ended)


def test_the_first_divergence_from_the_reference_is_zero(prompts: PromptFile) -> None:
    engine = open_engine(max_new_tokens=5)
    group = drawn_group(engine, prompts, [1.0, -1.0])
    result = engine.update([group], build_optimizer(engine.model, engine.recipe), 1)
    assert result.kl == 0.0
    assert result.entropy > 0.0


def drawn_group(engine: PolicyEngine, prompts: PromptFile, advantages: list[float]) -> Group:
    item = item_of(engine, prompts, 0)
    with engine.rollouts():
        answers = engine.answers(item, range(len(advantages)))
    batch = group_batch(item, [answer.ids for answer in answers], 0)
    lengths = [len(answer.ids) for answer in answers]
    return Group(
        batch,
        torch.tensor(advantages),
        token_weights(lengths, [False] * len(lengths), engine.recipe),
        engine.reference_log_probs(batch),
    )


def test_without_divergence_the_gradient_is_that_of_the_policy(prompts: PromptFile) -> None:
    """Checked by a central difference of the weighed log probabilities along the gradient."""
    engine = open_engine(max_new_tokens=5, beta=0.0, max_grad_norm=0.0)
    group = drawn_group(engine, prompts, [1.0, -0.5])
    assert group.reference is None
    taken: list[torch.Tensor] = []

    class Watching(torch.optim.SGD):
        def step(self, closure: Any = None) -> None:  # type: ignore[override]
            taken.extend(p.grad.clone() for p in learning if p.grad is not None)

    learning = [p for p in engine.model.llm.parameters() if p.requires_grad]
    engine.update([group], Watching(learning, lr=0.0), 1)

    def value(step: float) -> float:
        with torch.no_grad():
            for parameter, gradient in zip(learning, taken, strict=True):
                parameter += step * gradient
            told = engine.log_probs(group.batch)
            for parameter, gradient in zip(learning, taken, strict=True):
                parameter -= step * gradient
        per_row = told.values.double().sum(dim=1) * group.weights
        return -float((per_row * group.advantages).sum())

    norm = float(torch.stack([g.double().square().sum() for g in taken]).sum().sqrt())
    step = 2e-3 / norm
    slope = (value(step) - value(-step)) / (2 * step)
    assert slope == pytest.approx(norm**2, rel=2e-2)


def test_chunks_of_a_group_give_the_gradients_of_the_whole(prompts: PromptFile) -> None:
    norms = []
    for device_batch in (0, 1, 2):
        engine = open_engine(max_new_tokens=5, device_batch=device_batch)
        group = drawn_group(engine, prompts, [1.0, -0.5, -0.5])
        optimizer = build_optimizer(engine.model, engine.recipe)
        norms.append(engine.update([group], optimizer, 1).gradient_norm)
    assert norms[1:] == pytest.approx([norms[0]] * 2, rel=1e-4)


def test_the_weights_of_tokens_are_those_of_the_loss() -> None:
    policy = torch.tensor([[-1.0, -2.0, -3.0], [-1.0, -1.0, 0.0]])
    mask = torch.tensor([[1.0, 1.0, 1.0], [1.0, 1.0, 0.0]])
    advantage = torch.tensor([1.0, -2.0])
    for rule in ("grpo", "token_mean"):
        recipe = RftRecipe(loss=rule)  # type: ignore[arg-type]
        weights = token_weights([3, 2], [False, False], recipe)
        own = -(advantage[:, None] * mask * weights[:, None]).sum()
        options = LossOptions(0.0, rule)  # type: ignore[arg-type]
        assert float(own) == pytest.approx(float(grpo_loss(policy, None, advantage, mask, options)))
    masked = RftRecipe(mask_truncated=True)
    assert token_weights([3, 2], [True, False], masked)[0] == 0.0
    assert token_weights([3, 2], [True, False], RftRecipe())[0] > 0.0


def test_placeholders_that_a_model_writes_stand_for_themselves(prompts: PromptFile) -> None:
    engine = open_engine()
    item = item_of(engine, prompts, 0)
    tokens = engine.module.processor.splice_ids
    answer = [tokens["image_token_id"], 3, tokens["depth_token_id"]]
    told = engine.log_probs(group_batch(item, [answer, [3]], 0))
    assert told.mask.sum(dim=1).tolist() == [3.0, 1.0]
    assert bool(told.values.isfinite().all())


def test_rows_of_a_group_share_its_pictures(prompts: PromptFile) -> None:
    engine = open_engine()
    batch = group_batch(item_of(engine, prompts, 1), [[1, 2], [3]], 0)
    assert batch.attention_mask.sum(dim=1).diff().tolist() == [-1]
    second = rows_of(batch, slice(1, 2))
    assert len(second.input_ids) == 1
    assert second.image_pixel_values is batch.image_pixel_values
