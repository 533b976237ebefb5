# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Depth read in a wrong unit: how many pixels are answered with confidence."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from roborefer_ros.errors import RoboReferError
from roborefer_ros.lifting import LiftingOptions, lift_point
from roborefer_ros.types import DepthImage, RGBDFrame

#: factors on the unit: a tenth of a millimetre taken for one, and five readings a millimetre
_FACTORS = {"too_large": 10.0, "too_small": 0.2}
_OPENNI = LiftingOptions(
    depth_noise_model="structured_light", baseline_m=0.075, z_min_m=0.4, z_max_m=4.5
)
_PIXELS = 100
_BORDER_PX = 5


def wrong_units(samples: list[Any]) -> dict[str, float]:
    """Share of confident answers, by frame and factor, and of the right unit.

    ``_preset`` is with the options of config/cameras/openni.yaml, for cameras of that kind: the
    range of the sensor is what tells a unit that is too small.
    """
    figures: dict[str, float] = {}
    for sample in samples:
        kinds = {"": LiftingOptions()}
        if "d435" not in sample.name:
            kinds["_preset"] = _OPENNI
        for kind, options in kinds.items():
            for name, factor in {**_FACTORS, "right": 1.0}.items():
                figures[f"{sample.name}_{name}{kind}"] = _confident(sample.frame, factor, options)
    return figures


def _confident(frame: RGBDFrame, factor: float, options: LiftingOptions) -> float:
    """Share of random pixels that are answered with confidence where the unit is off."""
    depth = DepthImage(frame.depth.raw, frame.depth.unit_m * factor)
    scaled = replace(frame, depth=depth)
    rng, confident = np.random.default_rng(0), 0
    for _ in range(_PIXELS):
        u = int(rng.integers(_BORDER_PX, frame.width - _BORDER_PX))
        v = int(rng.integers(_BORDER_PX, frame.height - _BORDER_PX))
        try:
            lifted = lift_point(scaled, (float(u), float(v)), options)
        except RoboReferError:
            continue
        confident += lifted.confidence >= options.confident_above
    return confident / _PIXELS
