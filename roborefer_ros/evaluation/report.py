# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""One HTML page about a run: everything in the file, nothing loaded from elsewhere."""

from __future__ import annotations

import math
from importlib import resources
from typing import Any

import roborefer_ros
from roborefer_ros.errors import DependencyMissingError
from roborefer_ros.evaluation.lifted import has_truth
from roborefer_ros.evaluation.official import Outcome
from roborefer_ros.evaluation.published import PUBLISHED
from roborefer_ros.evaluation.results import Results, percent, score_cells, spatial_cells
from roborefer_ros.evaluation.scoring import AnswerScores
from roborefer_ros.evaluation.statistics import SCORERS, GroupSummary

#: pictures of failures on the page
FAILURES = 24

#: a chart of more groups shows one scorer
_MANY_GROUPS = 8

#: tables that get a chart
_CHARTS = {
    "split": "By split",
    "split and step": "By split and number of reasoning steps",
    "scene": "By split and scene",
    "kind": "By kind of question",
}


def report_html(results: Results, failures: int = FAILURES) -> str:
    """The page.

    Args:
        results: Results of a run.
        failures: Greatest number of failures shown as pictures.

    Raises:
        DependencyMissingError: jinja2 or matplotlib is not installed.
    """
    try:
        import jinja2

        from roborefer_ros.evaluation import report_pictures as pictures

        charts = [
            (title, pictures.bar_chart(results.groups[key], _scorers_of(results, key), title))
            for key, title in _CHARTS.items()
            if key in results.groups
        ]
    except ImportError as error:
        raise DependencyMissingError(
            f"the report needs jinja2 and matplotlib ({error}); install them with "
            "`pip install 'roborefer_ros[eval]'`"
        ) from error
    worst = pictures.worst_failures(results.answers, failures)
    source = resources.files("roborefer_ros.evaluation").joinpath("report.html").read_text("utf-8")
    # Instructions and answers are untrusted text: escaped wherever they stand.
    template = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined).from_string(
        source
    )
    splits = [row.name for row in results.groups["split"]]
    in_space = _spatial_verdicts(results)
    return template.render(
        results=results,
        version=roborefer_ros.__version__,
        tiles=_tiles(results),
        splits=splits,
        comparison=_comparison(results, splits),
        heads=["answers", "images", *SCORERS, "left out", "no point", "points / answer"],
        tables={
            title: [[_parted(cell) for cell in score_cells(row)] for row in rows]
            for title, rows in results.groups.items()
        },
        spatial=spatial_cells(results.spatial_groups) if results.spatial_groups else [],
        lifting_errors=_lifting_errors(results),
        charts=charts,
        failures=[_failure(answer, pictures.failure_picture(answer), in_space) for answer in worst],
        wrong=sum(1 for a in results.answers if a.strict == 0),
    )


def _comparison(results: Results, splits: list[str]) -> list[dict[str, Any]]:
    """This run's row, then published ones that share a split with it, sorted by the first split."""
    own: dict[str, GroupSummary] = {row.name: row for row in results.groups["split"]}
    cells = [_parted(score_cells(own[split], ("official",))[3]) for split in splits]
    rows = [{"model": results.model, "cells": cells, "source": "this run", "own": True}]
    published = [r for r in PUBLISHED.get(results.benchmark, ()) if set(splits) & set(r.scores)]
    published.sort(key=lambda r: [-r.scores.get(split, 0.0) for split in splits])
    for row in published:
        texts = [(f"{row.scores[s]:.2f}" if s in row.scores else "-", "") for s in splits]
        rows.append({"model": row.model, "cells": texts, "source": row.source, "own": False})
    return rows


def _parted(cell: str) -> tuple[str, str]:
    """A cell's value and its interval, which is set smaller."""
    value, bracket, interval = cell.partition(" [")
    return value, bracket.strip() + interval


def _scorers_of(results: Results, key: str) -> tuple[str, ...]:
    """All scorers, or the published one where many groups would leave no room."""
    return SCORERS if len(results.groups[key]) <= _MANY_GROUPS else SCORERS[:1]


def _tiles(results: Results) -> list[tuple[str, str]]:
    """The figures at the top: what they are, and their value."""
    row = results.groups["all"][0]
    tiles = [
        ("official scorer", f"{percent(row.scores['official'].value)} %"),
        ("first point right", f"{percent(row.scores['strict'].value)} %"),
        ("answers without a point", f"{percent(row.unparsable)} %"),
        ("left out by the official scorer", str(row.dropped + row.crashes)),
    ]
    if results.spatial_groups:
        space = results.spatial_groups[0]
        tiles += [
            ("of all answers within 20 mm in space", f"{percent(space.within[0.02])} %"),
            (f"median distance of {space.lifted} lifted answers", _millimetres(space.median_m)),
        ]
    return tiles


def _shortened(text: str) -> str:
    """The beginning and the end, where the points stand."""
    return text if len(text) <= 300 else f"{text[:140]} ... {text[-140:]}"


def _millimetres(metres: float) -> str:
    return f"{1000 * metres:.1f} mm" if math.isfinite(metres) else "-"


def _spatial_verdicts(results: Results) -> dict[int, str]:
    """Identity of an answer -> what became of it in space; answers without a point are left out."""
    with_truth = [answer for answer in results.answers if has_truth(answer.question)]
    verdicts = {}
    for answer, score in zip(with_truth, results.spatial, strict=True):
        if score.distance_m is not None:
            verdicts[id(answer)] = f"{_millimetres(score.distance_m)} away in space"
        elif score.error_code:
            verdicts[id(answer)] = f"not lifted ({_error_name(score.error_code)})"
    return verdicts


def _error_name(code: int) -> str:
    from roborefer_ros.errors import ERRORS_BY_CODE

    return f"{code} {ERRORS_BY_CODE[code].__name__}"


def _lifting_errors(results: Results) -> list[tuple[str, int]]:
    """Name of the error, answers."""
    if not results.spatial_groups:
        return []
    return [(_error_name(code), n) for code, n in results.spatial_groups[0].errors.items()]


def _failure(answer: AnswerScores, picture: str, in_space: dict[int, str]) -> dict[str, Any]:
    question = answer.question
    official = answer.official
    if official.outcome is Outcome.SCORED:
        verdict = f"official {percent(official.value or 0.0)} %"
    else:
        verdict = f"left out by the published scorer ({official.reason[:120]})"
    if id(answer) in in_space:
        verdict += f"; {in_space[id(answer)]}"
    text = "no text" if answer.text is None else answer.text
    return {
        "picture": picture,
        "title": f"{question.split} {question.question_id}",
        "step": question.step,
        "prompt": question.prompt,
        "text": _shortened(text),
        "verdict": verdict,
    }
