# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Advantages, divergences and losses are those of the golden tables."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from roborefer_ros.training.rft.objective import (
    LossOptions,
    advantages,
    grpo_loss,
    kl_k3,
)

TABLE = json.loads(
    (Path(__file__).resolve().parents[3] / "data/golden/training/rewards.json").read_text()
)


@pytest.mark.parametrize("group", TABLE["groups"], ids=lambda group: group["id"])
def test_advantages_are_those_of_the_golden_table(group: dict[str, Any]) -> None:
    wanted = group["advantages_sample_std_eps1e-4"]
    assert advantages(group["rewards"]) == pytest.approx(wanted, abs=1e-6)
    centred = [reward - group["mean"] for reward in group["rewards"]]
    assert advantages(group["rewards"], scale=False) == pytest.approx(centred, abs=1e-6)


def test_a_group_without_spread_teaches_nothing() -> None:
    assert advantages([0.1 + 0.2] * 7) == [0.0] * 7
    assert advantages([1.0]) == [0.0]
    assert advantages([]) == []


def test_the_divergence_is_that_of_the_golden_table() -> None:
    for row in TABLE["kl_k3"]:
        policy = torch.tensor(row["logp_policy"], dtype=torch.float64)
        reference = torch.tensor(row["logp_ref"], dtype=torch.float64)
        assert float(kl_k3(policy, reference)) == pytest.approx(row["kl"], abs=1e-6)


@pytest.mark.parametrize("rule", ["grpo", "token_mean"])
@pytest.mark.parametrize("row", TABLE["losses"], ids=lambda row: row["id"])
def test_losses_are_those_of_the_golden_table(row: dict[str, Any], rule: Any) -> None:
    numbers = [
        torch.tensor(row[name], dtype=torch.float64)
        for name in ("logp_policy", "logp_ref", "advantages", "mask")
    ]
    loss = grpo_loss(*numbers, LossOptions(row["beta"], rule))
    assert float(loss) == pytest.approx(row[f"loss_{rule}"], abs=1e-6)


def test_padding_has_no_influence() -> None:
    policy = torch.tensor([[-1.0, -2.0, -7.0]], requires_grad=True)
    mask = torch.tensor([[1.0, 1.0, 0.0]])
    loss = grpo_loss(policy, torch.zeros(1, 3), torch.tensor([2.0]), mask)
    loss.backward()
    assert policy.grad is not None
    assert policy.grad[0, 2] == 0.0
    short = grpo_loss(policy[:, :2], torch.zeros(1, 2), torch.tensor([2.0]), mask[:, :2])
    assert float(loss) == pytest.approx(float(short))


def test_the_first_update_has_the_gradient_of_the_policy_gradient() -> None:
    policy = torch.tensor([[-1.0, -0.5], [-2.0, -0.1]], dtype=torch.float64, requires_grad=True)
    advantage, mask = torch.tensor([1.5, -0.5], dtype=torch.float64), torch.ones(2, 2)
    grpo_loss(policy, None, advantage, mask, LossOptions(beta=0.0)).backward()
    assert policy.grad is not None
    assert policy.grad.tolist() == [[-1.5 / 4] * 2, [0.5 / 4] * 2]


def test_later_updates_are_clipped_higher_above_than_below() -> None:
    old = torch.zeros(1, 1)
    options = LossOptions(beta=0.0, clip_low=0.2, clip_high=0.3)

    def gain(ratio: float, advantage: float) -> float:
        now = torch.full((1, 1), math.log(ratio))
        return -float(grpo_loss(now, None, torch.tensor([advantage]), old + 1, options, old))

    assert gain(1.25, 1.0) == pytest.approx(1.25)
    assert gain(1.5, 1.0) == pytest.approx(1.3)
    assert gain(0.5, -1.0) == pytest.approx(-0.8)
    assert gain(1.5, -1.0) == pytest.approx(-1.5)  # a bad token that grew is pushed back in full
