# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Simulated scenes, rendered once."""

from __future__ import annotations

import pytest

from roborefer_ros.datagen.engine import Asked, ask
from roborefer_ros.datagen.locate import located
from roborefer_ros.datagen.scene import Scene
from roborefer_ros.datagen.sources.simulation import simulated

COUNT = 12


@pytest.fixture(scope="session")
def scenes() -> list[Scene]:
    return [located(simulated(7, number, (480, 360))[0]) for number in range(COUNT)]


@pytest.fixture(scope="session")
def asked(scenes: list[Scene]) -> list[Asked]:
    return [ask(scene, 3, 60) for scene in scenes]
