# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""One HTML page about a run: everything in the file, nothing loaded from elsewhere."""

from __future__ import annotations

from importlib import resources
from typing import Any

import roborefer_ros
from roborefer_ros.errors import DependencyMissingError
from roborefer_ros.evaluation.official import Outcome
from roborefer_ros.evaluation.published import PUBLISHED
from roborefer_ros.evaluation.results import Results, percent, score_cells, spatial_cells
from roborefer_ros.evaluation.scoring import AnswerScores
from roborefer_ros.evaluation.statistics import SCORERS, GroupSummary

#: pictures of failures on the page
FAILURES = 24

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
        results: of a run.
        failures: at most so many failures are shown as pictures.

    Raises:
        DependencyMissingError: jinja2 or matplotlib is not installed.
    """
    try:
        import jinja2

        from roborefer_ros.evaluation import report_pictures as pictures

        charts = [
            (title, pictures.bar_chart(results.groups[key], SCORERS, title))
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
    return template.render(
        results=results,
        version=roborefer_ros.__version__,
        splits=splits,
        comparison=_comparison(results, splits),
        heads=["answers", "images", *SCORERS, "left out", "no point", "points / answer"],
        tables={title: [score_cells(r) for r in rows] for title, rows in results.groups.items()},
        spatial=spatial_cells(results.spatial_groups) if results.spatial_groups else [],
        lifting_errors=_lifting_errors(results),
        charts=charts,
        failures=[_failure(answer, pictures.failure_picture(answer)) for answer in worst],
        wrong=sum(1 for a in results.answers if a.strict == 0),
    )


def _comparison(results: Results, splits: list[str]) -> list[dict[str, Any]]:
    """This run's row, then published ones that share a split with it, sorted by the first split."""
    own: dict[str, GroupSummary] = {row.name: row for row in results.groups["split"]}
    cells = []
    for split in splits:
        score = own[split].scores["official"]
        cells.append(f"{percent(score.value)} [{percent(score.low)}, {percent(score.high)}]")
    rows = [{"model": results.model, "cells": cells, "source": "this run", "own": True}]
    published = [r for r in PUBLISHED.get(results.benchmark, ()) if set(splits) & set(r.scores)]
    published.sort(key=lambda r: [-r.scores.get(split, 0.0) for split in splits])
    for row in published:
        texts = [f"{row.scores[s]:.2f}" if s in row.scores else "-" for s in splits]
        rows.append({"model": row.model, "cells": texts, "source": row.source, "own": False})
    return rows


def _lifting_errors(results: Results) -> list[tuple[str, int]]:
    """Name of the error, answers."""
    from roborefer_ros.errors import ERRORS_BY_CODE

    if not results.spatial_groups:
        return []
    errors = results.spatial_groups[0].errors
    return [(f"{code} {ERRORS_BY_CODE[code].__name__}", count) for code, count in errors.items()]


def _failure(answer: AnswerScores, picture: str) -> dict[str, Any]:
    question = answer.question
    official = answer.official
    if official.outcome is Outcome.SCORED:
        verdict = f"official {percent(official.value or 0.0)} %"
    else:
        verdict = f"left out by the published scorer ({official.reason[:120]})"
    text = "no text" if answer.text is None else answer.text
    return {
        "picture": picture,
        "title": f"{question.split} {question.question_id}",
        "step": question.step,
        "prompt": question.prompt,
        "text": text if len(text) <= 400 else text[:400] + " ...",
        "verdict": verdict,
    }
