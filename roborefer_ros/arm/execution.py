# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Steps carried out in physics, in this process: for the benchmark and the recording."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from roborefer_ros.arm.plans import Step, samples
from roborefer_ros.arm.world import ArmWorld

_PERIOD_S = 0.01
#: time for the joints to arrive and for the fingers to close, seconds
_SETTLE_S, _GRIP_S = 0.25, 0.7
#: farther off than this at the end of a step the arm was stopped by something, rad or metres
_ARRIVED = 0.05


class ArmBlockedError(Exception):
    """The arm did not arrive: something is in its way."""


def execute(
    world: ArmWorld, steps: Sequence[Step], on_tick: Callable[[str], None] = lambda _: None
) -> None:
    """Carry out steps.

    Args:
        world: Where.
        steps: What, one after the other.
        on_tick: Called every 10 ms of simulated time with the stage.

    Raises:
        ArmBlockedError: the arm did not arrive.
    """

    def wait(seconds: float, stage: str) -> None:
        for _ in range(round(seconds / _PERIOD_S)):
            world.run(_PERIOD_S)
            on_tick(stage)

    for step in steps:
        if step.opening_m is not None:
            world.grip(step.opening_m)
            if step.trajectory is None:
                wait(_GRIP_S, step.stage)
        for q in samples(step, _PERIOD_S):
            world.command(q)
            world.run(_PERIOD_S)
            on_tick(step.stage)
        if step.end is not None:
            wait(_SETTLE_S, step.stage)
            off = float(np.max(np.abs(world.q - step.end)))
            if off > _ARRIVED:
                raise ArmBlockedError(f"{step.stage}: {off:.2f} rad or metres short of its end")
