# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Fit of a model's calibration to answers that were judged; see ``benchmarks.confidence --fit``.

For objects and for free space one curve each:

1. Platt's logistic curve over the log odds of the model's confidence, from the answers whose
   geometry is beyond doubt.
2. The power of the geometry's confidence that explains all answers best.  Simulated depth has no
   glass and no reflections, so that it always counts a little (``LEAST_POWER``).

One line for both: the points above it are right in ``RIGHT`` of the cases by their probabilities.
Whichever mode a point is of, leaving out the least probable ones costs the fewest points.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from roborefer_ros.pointing.calibration import ACT_ABOVE, Calibration, Curve
from roborefer_ros.types import Mode

Array = npt.NDArray[np.float64]

#: scenes of a fit; the check's begin at 30 000
FIRST, SCENES = 21_000, 300

#: share of right points above the line: over the 95 % that are asked for by one standard error of a
#: check of 300 answers, since
#: a fit errs by about as much
RIGHT = 0.965

#: on pairs of D435 captures, 86 to 99 % of the points with a geometry confidence below 0.1 lie
#: within 20 mm, which a power of 0.1 describes
LEAST_POWER = 0.1

#: answers from which a mode gets a curve; geometry from which on an answer is beyond doubt
LEAST_ANSWERS, _WELL = 100, 0.9

_FOLDS = 5
_EDGE = 1e-4
#: the fit's prior: the model's confidence as it is, worth about one answer
_PRIOR, _PRIOR_WEIGHT = np.array([1.0, 0.0]), 1.0


@dataclass(frozen=True)
class Judged:
    """Answers of one mode, or of several, as columns ``[N]``.

    Attributes:
        scene: Number of the scene.
        mode: Value of ``Mode``.
        model, geometry: Both confidences.
        right: 1 where the point is right, else 0.
    """

    scene: npt.NDArray[np.int64]
    mode: npt.NDArray[np.int64]
    model: Array
    geometry: Array
    right: Array

    def __len__(self) -> int:
        return len(self.right)

    def only(self, chosen: npt.NDArray[np.bool_]) -> Judged:
        """Part of the answers."""
        return Judged(
            self.scene[chosen],
            self.mode[chosen],
            self.model[chosen],
            self.geometry[chosen],
            self.right[chosen],
        )


def fit_calibration(answers: Judged, right: float = RIGHT) -> Calibration:
    """The calibration that describes the answers best.

    Args:
        answers: Of all modes; a mode with fewer than ``LEAST_ANSWERS`` gets no curve.
        right: Share of the points above the line that are to be right.
    """
    curves: dict[Mode, Curve] = {}
    for mode in (Mode.OBJECT, Mode.FREE_SPACE):
        group = answers.only(answers.mode == mode)
        if len(group) >= LEAST_ANSWERS:
            curves[mode] = _fit_curve(group)
    line = _line(Calibration(curves), answers, right)
    return Calibration(
        {
            mode: Curve(curve.slope, curve.offset, line, curve.geometry_power)
            for mode, curve in curves.items()
        }
    )


def confidences(calibration: Calibration, answers: Judged) -> Array:
    """``[N]`` what a calibration makes of answers."""
    columns = zip(
        answers.model.tolist(), answers.geometry.tolist(), answers.mode.tolist(), strict=True
    )
    return np.array([calibration.confidence(m, g, Mode(mode)) for m, g, mode in columns])


def cross_validated(answers: Judged) -> Array:
    """``[N]`` confidences, each from a calibration that was fitted without the answer's scene."""
    result = np.zeros(len(answers))
    for fold in range(_FOLDS):
        held_out = answers.scene % _FOLDS == fold
        calibration = fit_calibration(answers.only(~held_out))
        result[held_out] = confidences(calibration, answers.only(held_out))
    return result


def as_json(calibration: Calibration) -> dict[str, dict[str, dict[str, float]]]:
    """The content of ``confidence.json``."""
    return {
        "curves": {
            mode.name.lower(): {
                "slope": curve.slope,
                "offset": curve.offset,
                "act_line": curve.act_line,
                "geometry_power": curve.geometry_power,
            }
            for mode, curve in calibration.curves.items()
        }
    }


def _fit_curve(group: Judged) -> Curve:
    """Curve of one mode, still without its line."""
    well = group.geometry >= _WELL
    if np.count_nonzero(well) < LEAST_ANSWERS // 2:
        well[:] = True
    slope, offset = _platt(group.model[well], group.right[well])
    power = _geometry_power(Curve(slope, offset), group)
    return Curve(round(slope, 3), round(offset, 3), ACT_ABOVE, power)


def _platt(model: Array, right: Array) -> tuple[float, float]:
    """Slope and offset over the log odds: Newton's method on the posterior."""
    clipped = np.clip(model, _EDGE, 1.0 - _EDGE)
    columns = np.column_stack([np.log(clipped / (1.0 - clipped)), np.ones(len(model))])
    weights = _PRIOR.copy()
    for _ in range(100):
        p = 1.0 / (1.0 + np.exp(-columns @ weights))
        gradient = columns.T @ (right - p) - _PRIOR_WEIGHT * (weights - _PRIOR)
        curvature = columns.T @ (columns * (p * (1.0 - p))[:, None]) + _PRIOR_WEIGHT * np.eye(2)
        step = np.linalg.solve(curvature, gradient)
        weights = weights + step / max(1.0, float(np.abs(step).max()))  # at most 1 a step
    # a model whose confidence tells nothing, or the opposite, gets an almost flat curve
    return max(float(weights[0]), 0.01), float(weights[1])


def _geometry_power(curve: Curve, group: Judged) -> float:
    """The power that makes the answers most likely."""
    model = np.array([curve.probability(m) for m in group.model.tolist()])

    def log_likelihood(power: float) -> float:
        p = np.clip(model * group.geometry**power, _EDGE, 1.0 - _EDGE)
        return float(np.sum(np.where(group.right > 0.5, np.log(p), np.log1p(-p))))

    powers: list[float] = np.round(np.arange(LEAST_POWER, 1.01, 0.1), 2).tolist()
    return max(powers, key=log_likelihood)


def _line(calibration: Calibration, answers: Judged, right: float) -> float:
    """Lowest confidence from which on the points are right in a share of cases.

    By their probabilities, not by counting: which answers happened to be right would move a
    counted line by several hundredths.
    """
    known = np.isin(answers.mode, [int(mode) for mode in calibration.curves])
    values = confidences(calibration, answers.only(known))
    values = np.sort(values[values >= ACT_ABOVE])[::-1]
    shares = np.cumsum(values) / np.arange(1, len(values) + 1)
    enough = np.nonzero(shares >= right)[0]
    line = float(values[enough[-1]]) if len(enough) else 1.0
    return round(min(max(line, ACT_ABOVE), 1.0), 3)


def judged(rows: Sequence[tuple[int, int, float, float, bool]]) -> Judged:
    """Columns from rows of scene, mode, model's and geometry's confidence, and whether right."""
    columns = np.array(rows, dtype=np.float64).reshape(-1, 5).T
    return Judged(
        columns[0].astype(np.int64),
        columns[1].astype(np.int64),
        columns[2],
        columns[3],
        columns[4],
    )
