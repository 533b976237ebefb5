# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""One confidence from the model's and the geometry's.

The model's confidence is the probability of its coordinates, the geometry's how well the readings
around them agree.  How often such a point is right depends on the model and on what is asked for,
so each model may bring a calibration, measured on scenes that its training has not seen
(``python -m benchmarks.confidence --fit``): Platt's logistic curve (Platt, "Probabilistic Outputs
for Support Vector Machines", 1999) of the log odds of the model's confidence, times a power of the
geometry's.

The result is used as follows: a point of ``ACT_ABOVE`` or more can be acted on.  Points whose
probability lies below the calibration's ``act_line``, and those whose geometry is doubtful by
itself, stay under it, whatever their probability, so that the points above it are right in about
95 % of cases (docs/models.md has the figures).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from roborefer_ros.errors import CheckpointInvalidError
from roborefer_ros.files import read_json
from roborefer_ros.types import Mode

#: points with this confidence or more can be acted on
ACT_ABOVE = 0.5

#: the highest confidence of a point that should not be acted on
JUST_BELOW = 0.499

#: name of the file in a checkpoint's folder
FILE_NAME = "confidence.json"

_MAX_BYTES = 65536
_EDGE = 1e-4


@dataclass(frozen=True)
class Curve:
    """How often a point is right, by the model's confidence.

    Attributes:
        slope, offset: Of the log odds.
        act_line: Probability from which points can be acted on, [0.5, 1].
        geometry_power: How much the geometry's confidence counts: 1 as a probability, 0 not at
            all.
    """

    slope: float
    offset: float
    act_line: float = ACT_ABOVE
    geometry_power: float = 1.0

    def probability(self, model_confidence: float) -> float:
        """Probability that a point of such a confidence is right."""
        share = min(max(model_confidence, _EDGE), 1.0 - _EDGE)
        odds = self.slope * math.log(share / (1.0 - share)) + self.offset
        return 1.0 / (1.0 + math.exp(-odds))

    def confidence(self, model_confidence: float, geometry_confidence: float) -> float:
        """Probability that a point is right; below ``ACT_ABOVE`` where it is not to be acted on."""
        trust = math.pow(max(geometry_confidence, 0.0), self.geometry_power)
        both = self.probability(model_confidence) * trust
        if both >= self.act_line and geometry_confidence >= ACT_ABOVE:
            return both
        return min(both, JUST_BELOW)


@dataclass(frozen=True)
class Calibration:
    """The confidence of a point from its parts.

    Without a curve for the mode it is the product of both, which is below either: cautious where
    nobody has measured the model.  Where the model tells no confidence it is the geometry's alone
    and says nothing about whether the model found the right thing.

    Attributes:
        curves: One for each mode that was measured.
    """

    curves: dict[Mode, Curve] = field(default_factory=dict)

    def confidence(
        self, model_confidence: float | None, geometry_confidence: float, mode: Mode
    ) -> float:
        """How likely a point lies on the right thing at the right place, [0, 1]."""
        if model_confidence is None:
            return geometry_confidence
        curve = self.curves.get(mode)
        if curve is None:
            return model_confidence * geometry_confidence
        return curve.confidence(model_confidence, geometry_confidence)


#: for models that nobody has measured
UNCALIBRATED = Calibration()


def read_calibration(folder: Path) -> Calibration:
    """The calibration in a checkpoint's folder; ``UNCALIBRATED`` where there is none.

    Raises:
        CheckpointInvalidError: the file is there but not usable.
    """
    path = folder / FILE_NAME
    if not path.is_file():
        return UNCALIBRATED
    try:
        data = read_json(path, _MAX_BYTES)
        curves = {_mode(name): _curve(entry) for name, entry in dict(data["curves"]).items()}
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise CheckpointInvalidError(
            f"{path} is not a calibration ({error}); write it anew with "
            "python -m benchmarks.confidence --fit, or remove it"
        ) from error
    return Calibration(curves)


def _mode(name: str) -> Mode:
    return {"object": Mode.OBJECT, "free_space": Mode.FREE_SPACE}[name]


def _curve(entry: Any) -> Curve:
    slope, offset, act_line = (float(entry[name]) for name in ("slope", "offset", "act_line"))
    curve = Curve(slope, offset, act_line, float(entry.get("geometry_power", 1.0)))
    if not (0.0 < curve.slope < 100.0 and abs(curve.offset) < 100.0):
        raise ValueError("slope must be positive, and both below 100")
    if not ACT_ABOVE <= curve.act_line <= 1.0:
        raise ValueError(f"act_line must lie in [{ACT_ABOVE}, 1]")
    if not 0.0 <= curve.geometry_power <= 10.0:
        raise ValueError("geometry_power must lie in [0, 10]")
    return curve
