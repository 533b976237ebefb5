# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Means with their intervals over groups of scored answers."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from roborefer_ros.evaluation.official import Outcome
from roborefer_ros.evaluation.scoring import AnswerScores

#: resamples of the bootstrap, and how many are drawn at a time (memory)
_RESAMPLES = 4000
_CHUNK = 500

#: scorers, in the order of tables
SCORERS = ("official", "strict", "any", "micro-f1")


@dataclass(frozen=True)
class Estimate:
    """A share with its 95 % interval; NaN where nothing was counted.

    Attributes:
        value, low, high: in [0, 1].
    """

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class GroupSummary:
    """What a table's row holds.

    Attributes:
        name: Name of the group.
        count: answers.
        images: different pictures.
        dropped, crashes: answers that the published scorer leaves out, or ends at.
        scores: scorer -> estimate.
        unparsable: share of the answers that hold no point (no word).
        points_per_answer: mean.
    """

    name: str
    count: int
    images: int
    dropped: int
    crashes: int
    scores: dict[str, Estimate]
    unparsable: float
    points_per_answer: float


def summarize(name: str, answers: Sequence[AnswerScores], seed: int = 0) -> GroupSummary:
    """One row over some answers."""
    scored = [a for a in answers if a.official.outcome is Outcome.SCORED]
    clusters = [a.question.cluster for a in answers]
    values = {
        "official": _mean(
            [a.question.cluster for a in scored], [a.official.value or 0.0 for a in scored], seed
        ),
        "strict": _mean(clusters, [a.strict for a in answers], seed),
        "any": _mean(clusters, [a.any_point for a in answers], seed),
        "micro-f1": _micro_f1(clusters, answers, seed),
    }
    outcomes = [a.official.outcome for a in answers]
    pointed = [a for a in answers if a.correct is None]
    return GroupSummary(
        name=name,
        count=len(answers),
        images=len(set(clusters)),
        dropped=outcomes.count(Outcome.DROPPED),
        crashes=outcomes.count(Outcome.CRASHES),
        scores=values,
        unparsable=_share([a.unparsable for a in answers]),
        points_per_answer=_share([a.predicted for a in pointed]),
    )


def summarize_by(
    answers: Sequence[AnswerScores], key: Callable[[AnswerScores], Hashable], seed: int = 0
) -> list[GroupSummary]:
    """A row for every value of a key, sorted; answers whose key is None or empty are left out."""
    groups: dict[Hashable, list[AnswerScores]] = {}
    for answer in answers:
        value = key(answer)
        if value is not None and value != "":
            groups.setdefault(value, []).append(answer)
    ordered = sorted(groups, key=lambda value: (not isinstance(value, int), value))
    return [summarize(str(value), groups[value], seed) for value in ordered]


def _micro_f1(clusters: Sequence[str], answers: Sequence[AnswerScores], seed: int) -> Estimate:
    """F1 = 2 TP / (2 TP + FP + FN), where 2 TP + FP + FN = points + questions."""
    hits = [2.0 * a.any_point for a in answers]
    # A word that was given is one prediction; none is given where the text is missing.
    predicted = [
        a.predicted if a.correct is None else int(bool(a.text and a.text.strip())) for a in answers
    ]
    return _ratio(clusters, hits, [count + 1.0 for count in predicted], seed)


def _mean(clusters: Sequence[str], values: Sequence[float], seed: int) -> Estimate:
    return _ratio(clusters, values, [1.0] * len(values), seed)


def _ratio(
    clusters: Sequence[str], numerators: Sequence[float], denominators: Sequence[float], seed: int
) -> Estimate:
    """Sum of numerators / sum of denominators, bootstrapped over whole clusters.

    Percentile interval of the cluster bootstrap (Davison and Hinkley, "Bootstrap Methods and
    their Application", 1997, section 3.8): questions on one picture are right or wrong
    together more often than questions on different ones.  Where all are wrong or all right,
    the open end is that of Clopper and Pearson (Biometrika 26, 1934) for as many clusters.
    """
    if not clusters:
        return Estimate(float("nan"), float("nan"), float("nan"))
    index = {name: i for i, name in enumerate(dict.fromkeys(clusters))}
    places = np.array([index[name] for name in clusters])
    top, bottom = np.zeros(len(index)), np.zeros(len(index))
    np.add.at(top, places, numerators)
    np.add.at(bottom, places, denominators)
    value = float(top.sum() / bottom.sum())
    low, high = np.percentile(_resampled(top, bottom, np.random.default_rng(seed)), (2.5, 97.5))
    # All wrong or all right: resampling gives the same again, which is not certainty.
    exact = 0.025 ** (1.0 / len(index))
    if value == 0.0:
        high = 1.0 - exact
    elif value == 1.0:
        low = exact
    return Estimate(value, float(low), float(high))


def _resampled(
    top: npt.NDArray[np.float64], bottom: npt.NDArray[np.float64], rng: np.random.Generator
) -> npt.NDArray[np.float64]:
    ratios = []
    for _ in range(_RESAMPLES // _CHUNK):
        drawn = rng.integers(len(top), size=(_CHUNK, len(top)))
        ratios.append(top[drawn].sum(1) / bottom[drawn].sum(1))
    return np.concatenate(ratios)


def _share(values: Iterable[float]) -> float:
    numbers = list(values)
    return float(np.mean(numbers)) if numbers else float("nan")
