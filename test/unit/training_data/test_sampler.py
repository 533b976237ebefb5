# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The order of samples: the reference's exactly, the global one, and going on."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roborefer_ros.errors import ConfigurationError
from roborefer_ros.training.data.sampler import (
    Layout,
    MixtureSampler,
    SamplerState,
    _shuffled,
)

GOLDEN = Path(__file__).resolve().parents[2] / "data/training/sampler.json"
CASES = json.loads(GOLDEN.read_text())["cases"]


@pytest.mark.parametrize("case", CASES, ids=range(len(CASES)))
def test_the_order_is_the_references(case: dict[str, Any]) -> None:
    layout = Layout(case["world"], case["batch_per_device"], case["accumulation"])
    sampler = MixtureSampler(case["dataset_lengths"], layout, case["seed"])
    orders = [sampler.order(rank, case["epoch"]).tolist() for rank in range(layout.world)]
    assert orders == case["indices_per_rank"]
    assert sampler.dropped == case["dropped"]


@pytest.mark.parametrize("length", [0, 1, 2, 3, 4, 5, 31, 32, 33, 1000, 4097])
def test_the_fast_shuffle_is_the_standard_one(length: int) -> None:
    expected = list(range(length))
    random.Random(length).shuffle(expected)
    assert _shuffled(length, random.Random(length)).tolist() == expected


lengths = st.lists(st.integers(0, 60), min_size=1, max_size=5).filter(sum)


@settings(max_examples=60, deadline=None)
@given(lengths, st.integers(1, 4), st.integers(1, 3), st.integers(1, 2), st.integers(0, 3))
def test_ranks_never_share_a_sample_and_have_equal_work(
    own: list[int], world: int, batch: int, accumulation: int, epoch: int
) -> None:
    for shuffle in ("reference", "global"):
        sampler = MixtureSampler(own, Layout(world, batch, accumulation), shuffle=shuffle)  # type: ignore[arg-type]
        orders = [sampler.order(rank, epoch) for rank in range(world)]
        assert {len(order) for order in orders} == {sampler.steps * batch * accumulation}
        everything = np.concatenate(orders)
        assert len(set(everything.tolist())) == len(everything) == sum(own) - sampler.dropped


@settings(max_examples=60, deadline=None)
@given(lengths, st.integers(1, 4), st.integers(1, 3))
def test_a_kept_tail_loses_nothing(own: list[int], world: int, batch: int) -> None:
    for shuffle in ("reference", "global"):
        sampler = MixtureSampler(own, Layout(world, batch), shuffle=shuffle, tail="keep")  # type: ignore[arg-type]
        orders = [sampler.order(rank) for rank in range(world)]
        assert set(np.concatenate(orders).tolist()) == set(range(sum(own)))
        assert {len(order) for order in orders} == {sampler.steps * batch}


def test_a_global_batch_is_the_same_on_any_number_of_ranks() -> None:
    def steps(world: int) -> list[set[int]]:
        sampler = MixtureSampler([50, 30], Layout(world, 8 // world), shuffle="global")
        ranks = [list(sampler.batches(rank)) for rank in range(world)]
        return [set(np.concatenate(parts).tolist()) for parts in zip(*ranks, strict=True)]

    assert steps(1) == steps(2) == steps(4) == steps(8)


@pytest.mark.parametrize("shuffle", ["reference", "global"])
def test_going_on_continues_exactly(shuffle: Any) -> None:
    sampler = MixtureSampler([23, 50, 7], Layout(2, 2, 2), shuffle=shuffle, mixture="m")
    whole = [list(sampler.batches(rank)) for rank in range(2)]
    for steps in range(sampler.steps):
        saved = json.loads(json.dumps(sampler.after(sampler.start(), steps).as_dict()))
        rest = [list(sampler.batches(r, SamplerState.from_dict(saved))) for r in range(2)]
        for rank in range(2):
            np.testing.assert_array_equal(rest[rank], whole[rank][2 * steps :])


def test_the_last_step_leads_to_the_next_epoch() -> None:
    sampler = MixtureSampler([8], Layout(1, 2))
    assert sampler.after(sampler.start(), 4) == sampler.start(1)
    assert sampler.order(0, 0).tolist() != sampler.order(0, 1).tolist()


def test_only_the_global_order_goes_on_with_other_ranks() -> None:
    for shuffle in ("reference", "global"):
        before = MixtureSampler([64], Layout(4, 2), shuffle=shuffle, mixture="m")  # type: ignore[arg-type]
        state = before.after(before.start(), 3)
        after = MixtureSampler([64], Layout(2, 4), shuffle=shuffle, mixture="m")  # type: ignore[arg-type]
        if shuffle == "reference":
            with pytest.raises(ConfigurationError, match="only a run with shuffle 'global'"):
                list(after.batches(0, state))
            continue
        rest = [np.concatenate(list(after.batches(rank, state))) for rank in range(2)]
        seen = np.concatenate([before.order(rank)[:6] for rank in range(4)])
        assert sorted([*np.concatenate(rest).tolist(), *seen.tolist()]) == list(range(64))


def test_another_mixture_or_seed_does_not_go_on() -> None:
    state = MixtureSampler([8], mixture="a").start()
    for other in (MixtureSampler([8], mixture="b"), MixtureSampler([8], mixture="a", seed=1)):
        with pytest.raises(ConfigurationError, match="was started with"):
            list(other.batches(0, state))


@pytest.mark.parametrize("values", [{}, {"layout": {}}, {"layout": {"world": 1}, "epoch": "x"}])
def test_a_damaged_position_is_told(values: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match="damaged"):
        SamplerState.from_dict(values)
