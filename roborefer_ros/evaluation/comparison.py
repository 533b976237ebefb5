# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Two runs of one benchmark side by side: what a fine-tuning forgot.

Every question is asked of both models, so the difference is taken question by question, and its
interval over pictures (paired cluster bootstrap, as in ``statistics``): much narrower than the
intervals of the two scores.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources

import numpy as np

import roborefer_ros
from roborefer_ros.errors import DependencyMissingError
from roborefer_ros.evaluation.questions import BenchmarkError
from roborefer_ros.evaluation.results import Results, percent
from roborefer_ros.evaluation.scoring import AnswerScores
from roborefer_ros.evaluation.statistics import Estimate

#: pictures of questions that were right before
_PICTURES = 24

_RESAMPLES = 4000
_CHUNK = 500

_Pair = tuple[AnswerScores, AnswerScores]


@dataclass(frozen=True)
class Change:
    """How the score of a group of questions changed.

    Attributes:
        name: Of the group.
        count, images: Questions, and different pictures.
        before, after: Share of questions whose first point is right, in [0, 1].
        difference: ``after - before`` with its 95 % interval, in [-1, 1].
        lost, won: Questions that were right before alone, and after alone.
    """

    name: str
    count: int
    images: int
    before: float
    after: float
    difference: Estimate
    lost: int
    won: int

    @property
    def is_certain(self) -> bool:
        """Whether the interval leaves out 0."""
        return not self.difference.low <= 0.0 <= self.difference.high


@dataclass(frozen=True)
class Comparison:
    """Two runs of one benchmark.

    Attributes:
        before, after: Names of the models.
        benchmark: Its name.
        changes: Of all questions first, then of each split.
        lost: Questions that were right before alone, with both answers.
    """

    before: str
    after: str
    benchmark: str
    changes: tuple[Change, ...]
    lost: tuple[_Pair, ...]

    @property
    def fall(self) -> float:
        """By how much the score of all questions fell, in [-1, 1]; negative where it rose."""
        return self.changes[0].before - self.changes[0].after


def compare(before: Results, after: Results) -> Comparison:
    """Compare two runs.

    Args:
        before: One run.
        after: Another of the same benchmark and the same questions.

    Raises:
        BenchmarkError: A question has an answer in one of them alone.
    """
    first = {_key(answer): answer for answer in before.answers}
    second = {_key(answer): answer for answer in after.answers}
    if first.keys() != second.keys():
        one = sorted(map(str, first.keys() ^ second.keys()))[0]
        raise BenchmarkError(
            f"{len(first.keys() ^ second.keys())} questions, such as {one}, have an answer in one "
            "of the two runs alone; ask both models all of them"
        )
    pairs = [(answer, second[key]) for key, answer in first.items()]
    splits = dict.fromkeys(answer.question.split for answer, _ in pairs)
    groups = [("all", pairs)]
    if len(splits) > 1:
        groups += [(s, [pair for pair in pairs if pair[0].question.split == s]) for s in splits]
    changes = tuple(_change(name, members) for name, members in groups)
    lost = tuple(pair for pair in pairs if pair[0].strict > pair[1].strict)
    return Comparison(before.model, after.model, before.benchmark, changes, lost)


def _key(answer: AnswerScores) -> tuple[str, int | str]:
    return answer.question.split, answer.question.question_id


def _change(name: str, pairs: Sequence[_Pair]) -> Change:
    old = np.array([first.strict for first, _ in pairs])
    new = np.array([second.strict for _, second in pairs])
    clusters = [first.question.cluster for first, _ in pairs]
    return Change(
        name,
        len(pairs),
        len(set(clusters)),
        float(old.mean()),
        float(new.mean()),
        _paired(clusters, new - old),
        int((old > new).sum()),
        int((new > old).sum()),
    )


def _paired(clusters: Sequence[str], differences: np.ndarray) -> Estimate:
    """Mean difference and its percentile interval over resampled pictures."""
    index = {name: place for place, name in enumerate(dict.fromkeys(clusters))}
    places = np.array([index[name] for name in clusters])
    total, count = np.zeros(len(index)), np.zeros(len(index))
    np.add.at(total, places, differences)
    np.add.at(count, places, 1.0)
    generator = np.random.default_rng(0)
    means = []
    for _ in range(_RESAMPLES // _CHUNK):
        drawn = generator.integers(len(index), size=(_CHUNK, len(index)))
        means.append(total[drawn].sum(1) / count[drawn].sum(1))
    low, high = np.percentile(np.concatenate(means), (2.5, 97.5))
    return Estimate(float(differences.mean()), float(low), float(high))


def verdict(comparison: Comparison, most_fall: float) -> str:
    """One sentence about the whole.

    Args:
        comparison: Of two runs.
        most_fall: Largest fall that is accepted, in [0, 1].
    """
    change = comparison.changes[0]
    moved = "fell" if comparison.fall > 0 else "rose" if comparison.fall < 0 else "did not change"
    by = f" by {percent(abs(comparison.fall))} points" if comparison.fall else ""
    sure = (
        ""
        if change.is_certain or not comparison.fall
        else "; the interval holds 0, so this may be chance"
    )
    if comparison.fall > most_fall:
        limit = f"more than the {percent(most_fall)} points that are accepted"
    else:
        limit = f"within the {percent(most_fall)} points that are accepted"
    return (
        f"The share of right first points {moved}{by} (95 % interval of the change "
        f"{_interval(change.difference)}), {limit}{sure}."
    )


def text_table(comparison: Comparison) -> str:
    """For a terminal, in percent."""
    lines = [f"{'':<12}{'questions':>10}{'before':>9}{'after':>9}{'change':>9}  95 % interval"]
    for change in comparison.changes:
        lines.append(
            f"{change.name[:11]:<12}{change.count:>10}{percent(change.before):>9}"
            f"{percent(change.after):>9}{100 * change.difference.value:>+9.2f}"
            f"  {_interval(change.difference)}"
        )
    return "\n".join(lines)


def comparison_html(comparison: Comparison, most_fall: float) -> str:
    """The page, everything in one file.

    Args:
        comparison: Of two runs.
        most_fall: Largest fall that is accepted, in [0, 1].

    Raises:
        DependencyMissingError: jinja2 or matplotlib is not installed.
    """
    try:
        import jinja2

        from roborefer_ros.evaluation.report_pictures import failure_picture
    except ImportError as error:
        raise DependencyMissingError(
            f"the report needs jinja2 and matplotlib ({error}); install them with "
            "`pip install 'roborefer_ros[eval]'`"
        ) from error
    source = resources.files("roborefer_ros.evaluation").joinpath("comparison.html")
    # Questions and answers are untrusted text: escaped wherever they stand.
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    lost = [
        {
            "picture": failure_picture(after) if after.question.wants_point else "",
            "title": f"{after.question.split} {after.question.question_id}",
            "prompt": after.question.prompt,
            "before": (before.text or "")[:200],
            "after": (after.text or "")[:200],
        }
        for before, after in comparison.lost[:_PICTURES]
    ]
    return environment.from_string(source.read_text("utf-8")).render(
        comparison=comparison,
        verdict=verdict(comparison, most_fall),
        failed=comparison.fall > most_fall,
        percent=percent,
        interval=_interval,
        lost=lost,
        version=roborefer_ros.__version__,
    )


def _interval(estimate: Estimate) -> str:
    return f"[{100 * estimate.low:+.2f}, {100 * estimate.high:+.2f}]"
