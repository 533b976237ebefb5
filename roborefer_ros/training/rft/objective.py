# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Group-relative policy optimisation (GRPO, arXiv 2402.03300) as formulas: pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch

#: added to the standard deviation of a group (R1-V)
EPSILON = 1e-4

LossRule = Literal["grpo", "token_mean"]


def advantages(rewards: Sequence[float], *, scale: bool = True) -> list[float]:
    """How much better each answer of a group is than the group: ``(r - mean) / (std + 1e-4)``.

    Args:
        rewards: Of the answers to one prompt.
        scale: Whether to divide by the standard deviation (that of a sample, N - 1).

    Returns:
        One for each; zeros where all are equal, which teaches nothing.
    """
    if len(set(rewards)) < 2:
        return [0.0] * len(rewards)
    values = torch.tensor(list(rewards), dtype=torch.float64)
    centred = values - values.mean()
    result: list[float] = (centred / (values.std() + EPSILON) if scale else centred).tolist()
    return result


def kl_k3(policy: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
    """Estimate of KL(policy || reference) of each token: ``exp(d) - d - 1`` with d = ref - policy.

    Never negative, and 0 where the two agree (Schulman's third estimator).

    Args:
        policy: Natural log probabilities of tokens.
        reference: Those of the reference model, of the same tokens.
    """
    difference = reference - policy
    return difference.exp() - difference - 1.0


@dataclass(frozen=True)
class LossOptions:
    """Choices of the loss.

    Attributes:
        beta: Weight of the divergence from the reference; 0 needs none.
        rule: ``grpo`` takes the mean over the tokens of a completion, then over the group;
            ``token_mean`` the mean over all tokens of the group (as DAPO, arXiv 2503.14476).
        clip_low, clip_high: The ratio of a token's probability to that at its rollout counts
            between ``1 - clip_low`` and ``1 + clip_high``.  It is 1 in the first update.
    """

    beta: float = 0.04
    rule: LossRule = "grpo"
    clip_low: float = 0.2
    clip_high: float = 0.2


def token_losses(
    policy: torch.Tensor,
    reference: torch.Tensor | None,
    advantage: torch.Tensor,
    options: LossOptions,
    old: torch.Tensor | None = None,
) -> torch.Tensor:
    """Loss of each token: ``-(ratio * advantage - beta * kl)``.

    Args:
        policy: ``[..., T]`` natural log probabilities, with gradient.
        reference: Those of the reference model; None with beta 0.
        advantage: Of each completion, broadcast to the tokens.
        options: Choices.
        old: Log probabilities at the rollout; None for those of ``policy``, which is the first
            update: the ratio is 1 and its gradient that of the log probability.
    """
    ratio = (policy - (policy.detach() if old is None else old)).exp()
    clipped = ratio.clamp(1.0 - options.clip_low, 1.0 + options.clip_high)
    gain = torch.minimum(ratio * advantage, clipped * advantage)
    if options.beta == 0.0 or reference is None:
        return -gain
    return options.beta * kl_k3(policy, reference) - gain


def grpo_loss(
    policy: torch.Tensor,
    reference: torch.Tensor | None,
    advantage: torch.Tensor,
    mask: torch.Tensor,
    options: LossOptions | None = None,
    old: torch.Tensor | None = None,
) -> torch.Tensor:
    """Loss of a group.

    Args:
        policy: ``[G, T]`` natural log probabilities of the completions' tokens.
        reference: Likewise, of the reference model.
        advantage: ``[G]``.
        mask: ``[G, T]``, 0 on padding.
        options: Choices.
        old: See ``token_losses``.
    """
    options = options or LossOptions()
    each = token_losses(policy, reference, advantage[:, None], options, old) * mask
    if options.rule == "token_mean":
        return each.sum() / mask.sum().clamp(min=1)
    return (each.sum(dim=1) / mask.sum(dim=1).clamp(min=1)).mean()
