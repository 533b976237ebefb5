# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The grounding loss: what looks at any of the right rows costs little."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from roborefer_ros.training.tabletop.grounding import grounding_loss  # noqa: E402

#: key of each of two cells in the image, and in the depth picture
ROWS = torch.tensor([[1, 2], [4, 5]])


def loss(scores: list[float], cells: list[bool], mask: list[bool] | None = None) -> float:
    seen = torch.tensor([mask or [True] * len(scores)])
    return float(grounding_loss(torch.tensor([scores]), seen, torch.tensor([cells]), ROWS))


def test_it_is_the_logarithm_of_the_attention() -> None:
    scores = [0.1, 0.5, -0.2, 0.3, 0.0, 0.2]
    attention = torch.tensor(scores).softmax(-1)
    spread = max(scores) - sum(scores) / len(scores)
    expected = -torch.log(attention[1] + attention[4]) + 1e-3 * spread**2
    assert loss(scores, [True, False]) == pytest.approx(float(expected), abs=1e-6)


def test_any_of_several_cells_will_do() -> None:
    one = loss([0.0, 5.0, 0.0, 0.0, 0.0, 0.0], [True, True])
    assert one == pytest.approx(loss([0.0, 0.0, 0.0, 0.0, 0.0, 5.0], [True, True]))
    assert one < 0.1 < loss([5.0, 0.0, 0.0, 0.0, 0.0, 0.0], [True, True])


def test_what_must_not_be_seen_does_not_count() -> None:
    scores, seen = [0.0, 0.0, 0.0, 0.0, 9.0, 9.0], [True] * 4 + [False] * 2
    assert loss(scores, [True, False], seen) == pytest.approx(float(torch.tensor(4.0).log()))


def test_without_any_cell_it_is_nothing_and_can_be_differentiated() -> None:
    scores = torch.zeros(1, 6, requires_grad=True)
    total = grounding_loss(
        scores, torch.ones(1, 6, dtype=torch.bool), torch.zeros(1, 2, dtype=torch.bool), ROWS
    )
    total.backward()
    assert total.item() == 0.0
    assert not scores.grad.any()
