# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""One page about a run: curves, what it can do, what it forgot, samples of its answers.

The page is one file that loads nothing and runs nothing.  It is made of the run's folder alone,
also while the run goes on.
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from roborefer_ros.errors import ConfigurationError, DependencyMissingError
from roborefer_ros.files import MIB, read_json, read_text, write_text
from roborefer_ros.training.sft.evaluation import FOLDER

_LOG_LIMIT = 4096 * MIB

#: points that a curve is drawn with
_MOST_POINTS = 2000

#: share of the time that is waited for data beyond which the page says so
_SLOW_DATA = 0.2

#: told apart without red and green
_COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#555555")

Points = list[tuple[float, float]]


@dataclass(frozen=True)
class RunRecord:
    """What the log of a run holds; of steps that were done twice the last.

    Attributes:
        steps: Step -> its numbers.
        datasets: Step -> loss of each data set.
        evaluations: Step -> its numbers.
        best: Step of the best evaluation; None without one.
        events: Begins of the run, in order.
        skipped: Data set -> samples that were skipped.
    """

    steps: dict[int, dict[str, Any]]
    datasets: dict[int, dict[str, float]]
    evaluations: dict[int, dict[str, float]]
    best: int | None
    events: list[dict[str, Any]]
    skipped: dict[str, int]


def read_log(folder: Path) -> RunRecord:
    """The log of a run.

    Raises:
        ConfigurationError: the folder holds none, or a line of it is damaged.
    """
    path = folder / "log.jsonl"
    if not path.exists():
        raise ConfigurationError(f"{folder} is not the folder of a run: it has no log.jsonl")
    record = RunRecord({}, {}, {}, None, [], {})
    best = None
    lines = read_text(path, _LOG_LIMIT).splitlines()
    for number, line in enumerate(lines, 1):
        try:
            entry = json.loads(line)
        except ValueError as error:
            if number == len(lines):  # it is being written
                break
            raise ConfigurationError(f"{path} line {number} is damaged ({error})") from error
        step = entry.get("step", 0)
        if "event" in entry:
            record.events.append(entry)
        elif "evaluation" in entry:
            record.evaluations[step] = entry["evaluation"]
            best = step if entry.get("is_best") else best
        elif "dataset_losses" in entry:
            record.datasets[step] = entry["dataset_losses"]
            record.skipped.update(entry.get("skipped_here") or {})
        elif "loss" in entry:
            record.steps[step] = entry
    return RunRecord(
        record.steps, record.datasets, record.evaluations, best, record.events, record.skipped
    )


def write_report(folder: Path, path: Path | None = None) -> Path:
    """Write the page; returns its path.

    Args:
        folder: Of the run.
        path: Of the page; ``report.html`` in the folder by default.

    Raises:
        ConfigurationError: the folder is not that of a run.
        DependencyMissingError: jinja2 or matplotlib is not installed.
    """
    record = read_log(folder)
    try:
        import jinja2

        charts = _charts(record)
    except ImportError as error:
        raise DependencyMissingError(
            f"it needs jinja2 and matplotlib ({error}): pip install 'roborefer_ros[train]', then "
            f"roborefer sft report {folder}"
        ) from error
    # Questions and answers are untrusted text: escaped wherever they stand.
    template = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined).from_string(
        read_text(Path(__file__).with_name("report.html"))
    )
    recipe = folder / "recipe.yaml"
    path = path or folder / "report.html"
    page = template.render(
        title=folder.resolve().name,
        begun=record.events[-1] if record.events else {},
        tiles=_tiles(record),
        notes=_notes(record),
        charts=charts,
        before_and_after=_before_and_after(folder, record),
        samples=_samples(folder, record),
        recipe=read_text(recipe) if recipe.exists() else "",
    )
    write_text(path, page)
    return path


def _tiles(record: RunRecord) -> list[tuple[str, str]]:
    """The figures at the top."""
    tiles = []
    if record.steps:
        last = max(record.steps)
        entry = record.steps[last]
        total = record.events[-1].get("total", last) if record.events else last
        tiles += [(f"{last} of {total}", "steps"), (f"{entry['loss']:.4f}", "loss of the last")]
        tail = [e for s, e in record.steps.items() if s > last - 50]
        tiles.append((f"{_mean(tail, 'rows_per_s'):.2f}", "rows/s"))
        tiles.append((f"{_mean(tail, 'tokens_per_s'):.0f}", "tokens/s"))
        tiles.append((f"{entry['memory_gib']:.1f} GiB", "most memory of a process"))
    if record.best is not None:
        values = record.evaluations.get(record.best, {})
        for name in ("benchmark/accuracy", "held_out/accuracy", "held_out/loss"):
            if values.get(name) is not None:
                tiles.append((_figure(name, values[name]), f"{name}, best, step {record.best}"))
    return tiles


def _notes(record: RunRecord) -> list[str]:
    """What deserves attention, with the value of the recipe that changes it."""
    notes = []
    bad = [step for step, entry in record.steps.items() if entry.get("skipped")]
    if bad:
        notes.append(
            f"{len(bad)} steps were skipped, the first {min(bad)}: no learned token, or a loss or "
            "gradient that is not finite (learning_rate, max_grad_norm)"
        )
    wait = _mean(list(record.steps.values())[-200:], "data_wait")
    if wait > _SLOW_DATA:
        notes.append(f"{100 * wait:.0f} % of the time was waited for data: raise workers")
    cut = sum(int(entry.get("cut_pairs", 0)) for entry in record.steps.values())
    lost = sum(int(entry.get("lost_rows", 0)) for entry in record.steps.values())
    if cut or lost:
        notes.append(
            f"{cut} pairs were cut off and {lost} samples left out because samples were longer "
            "than max_length (max_tiles makes pictures shorter)"
        )
    for name, count in record.skipped.items():
        notes.append(f"{name}: {count} samples with defective pictures were replaced")
    return notes


def _before_and_after(folder: Path, record: RunRecord) -> list[dict[str, Any]]:
    """Accuracy with intervals at the first, the best and the last evaluation, by group."""
    chosen = list(dict.fromkeys(
        s for s in (min(record.evaluations, default=None), record.best,
                    max(record.evaluations, default=None)) if s is not None
    ))  # fmt: skip
    tables: list[dict[str, Any]] = []
    content = {step: _evaluation(folder, step).get("tables", {}) for step in chosen}
    titles = dict.fromkeys(title for own in content.values() for title in own)
    for title in titles:
        rows = []
        for group in ("all", "split", "kind"):
            named = [
                {row["name"]: row for row in content[step].get(title, {}).get(group, [])}
                for step in chosen
            ]
            for name in dict.fromkeys(name for own in named for name in own):
                cells = [_cell(own.get(name)) for own in named]
                rows.append({"group": group, "name": name, "cells": cells})
        steps = [_step_name(step, record) for step in chosen]
        tables.append({"title": title, "steps": steps, "rows": rows})
    return tables


def _step_name(step: int, record: RunRecord) -> str:
    name = "before" if step == 0 else f"step {step}"
    return f"{name} (best)" if step == record.best else name


def _cell(row: Mapping[str, Any] | None) -> tuple[str, str]:
    """Value and interval, in percent."""
    if row is None or row["scores"]["strict"]["value"] is None:
        return "-", ""
    score = row["scores"]["strict"]
    low, high = (100 * (score[key] or 0.0) for key in ("low", "high"))
    return f"{100 * score['value']:.1f}", f"[{low:.1f}, {high:.1f}] of {row['count']}"


def _samples(folder: Path, record: RunRecord) -> list[dict[str, Any]]:
    """What was answered at the best evaluation, else at the last."""
    step = record.best if record.best is not None else max(record.evaluations, default=None)
    if step is None:
        return []
    samples = _evaluation(folder, step).get("samples", [])
    return [s for s in samples if isinstance(s, dict)]


def _evaluation(folder: Path, step: int) -> dict[str, Any]:
    path = folder / FOLDER / f"step-{step:06d}" / "evaluation.json"
    content = read_json(path, 64 * MIB) if path.exists() else {}
    return content if isinstance(content, dict) else {}


# --- curves ----------------------------------------------------------------------------


def _charts(record: RunRecord) -> list[tuple[str, str]]:
    """Title and data URI of each chart."""
    loss = _curve(record, "loss")
    charts = [_chart("Loss", {"each step": loss, "mean of 50": _smooth(loss)}, log=True)]
    parts = sorted({k for e in record.steps.values() for k in e if k.startswith("loss/")})
    if parts:
        charts.append(
            _chart("Parts of the loss", {k[5:]: _smooth(_curve(record, k)) for k in parts})
        )
    if any(len(losses) > 1 for losses in record.datasets.values()):
        charts.append(_chart("Loss of each data set", _by_name(record.datasets)))
    for title, choose in (
        ("Held-out loss", lambda name: name.startswith("held_out/loss")),
        ("Accuracy, benchmark", lambda name: name.startswith("benchmark/accuracy")),
        ("Accuracy, held out", lambda name: name.startswith("held_out/accuracy")),
    ):
        found = _by_name(record.evaluations, choose)
        if found:
            charts.append(_chart(title, found, marker="o"))
    charts.append(_chart("Learning rate", {"": _curve(record, "learning_rate")}))
    charts.append(_chart("Norm of the gradient", {"": _curve(record, "gradient_norm")}, log=True))
    charts.append(_chart("Tokens a second", {"": _smooth(_curve(record, "tokens_per_s"))}))
    charts.append(_chart("Share of the time waited for data", {"": _curve(record, "data_wait")}))
    return charts


def _curve(record: RunRecord, key: str) -> Points:
    return [
        (step, float(entry[key])) for step, entry in sorted(record.steps.items())
        if entry.get(key) is not None
    ]  # fmt: skip


def _by_name(
    table: Mapping[int, Mapping[str, float]], choose: Callable[[str], bool] = lambda _: True
) -> dict[str, Points]:
    curves: dict[str, Points] = {}
    for step, values in sorted(table.items()):
        for name, value in values.items():
            if choose(name) and value is not None:
                curves.setdefault(name.rpartition("/")[2], []).append((step, value))
    return curves


def _smooth(points: Points, width: int = 50) -> Points:
    """Means over the steps before, from as many as there are."""
    result, window, total = [], [], 0.0  # type: Points, list[float], float
    for step, value in points:
        window.append(value)
        total += value
        if len(window) > width:
            total -= window.pop(0)
        result.append((step, total / len(window)))
    return result


def _chart(
    title: str, curves: Mapping[str, Points], *, log: bool = False, marker: str = ""
) -> tuple[str, str]:
    """A data URI of curves over the steps."""
    # Agg through the object interface: pyplot would start a windowing backend.
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.6, 3.1), layout="constrained")
    axes = figure.add_subplot()
    for number, (name, points) in enumerate(curves.items()):
        stride = max(1, len(points) // _MOST_POINTS)
        shown = points[::stride]
        faint = len(curves) == 2 and number == 0 and not marker
        axes.plot(
            [x for x, _ in shown], [y for _, y in shown], marker=marker, markersize=3,
            label=name, linewidth=1.2, alpha=0.35 if faint else 1.0,
            color=_COLOURS[number % len(_COLOURS)],
        )  # fmt: skip
    values = [y for points in curves.values() for _, y in points]
    if log and values and min(values) > 0:
        axes.set_yscale("log")
    axes.set_title(title, fontsize=10)
    axes.set_xlabel("step", fontsize=8)
    axes.tick_params(labelsize=8)
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    if len(curves) > 1:
        figure.legend(loc="outside lower center", fontsize=7, ncols=3, frameon=False)
    buffer = io.BytesIO()
    FigureCanvasSVG(figure).print_svg(buffer, metadata={"Date": None})
    data = base64.b64encode(buffer.getvalue()).decode("ascii")
    return title, f"data:image/svg+xml;base64,{data}"


def _figure(name: str, value: float) -> str:
    return f"{100 * value:.1f} %" if "accuracy" in name else f"{value:.4f}"


def _mean(entries: Sequence[Mapping[str, Any]], key: str) -> float:
    values = [float(entry[key]) for entry in entries if entry.get(key) is not None]
    return sum(values) / len(values) if values else 0.0
