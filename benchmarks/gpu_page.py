# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The measurements of ``benchmarks.gpu`` on one page of Markdown."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from benchmarks.gpu_floors import SHOWN

Row = dict[str, Any]

#: goals on an H100, 2B, RGB-D at 640x480: milliseconds, milliseconds, times
GOALS = {"new_ms": 60.0, "again_ms": 8.0, "ratio_new": 10.0}


def page(report: Row) -> str:
    """The whole page."""
    rows = report["rows"]
    parts = [
        f"# RoboRefer on {_device(rows, report)}",
        _head(rows, report),
        _verdict(rows),
        _section("Parity with the reference", _parity(rows)),
        _section("End to end, milliseconds", _answers(rows)),
        _section("Stages, milliseconds", _stages(rows)),
        _section("Batches of new frames", _batches(rows)),
        _section("Server", _server(rows)),
        _section("Steps", _steps(report, rows)),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _of(rows: Sequence[Row], kind: str) -> list[Row]:
    return [row for row in rows if row["kind"] == kind]


def _device(rows: Sequence[Row], report: Row) -> str:
    machines = _of(rows, "machine")
    name = machines[0]["device"] if machines else report["device"]
    return f"{name} (networks of toy size)" if report["tiny"] else str(name)


def _head(rows: Sequence[Row], report: Row) -> str:
    lines = [f"`python -m benchmarks.gpu`, {report['seconds']:.0f} s. Random weights: speed only."]
    for row in _of(rows, "machine"):
        versions = ", ".join(
            f"{key} {row[key]}"
            for key in ("torch", "transformers", "cuda", "capability")
            if key in row
        )
        lines.append(versions + ".")
        rates = (
            f"{dtype} {m['flops_per_s'] / 1e12:.1f} TFLOP/s" for dtype, m in row["measured"].items()
        )
        copy = max(m["bytes_per_s"] for m in row["measured"].values()) / 1e9
        lines.append(f"Reached here: {', '.join(rates)}, copying {copy:.0f} GB/s.")
    for row in _of(rows, "opened"):
        lines.append(
            f"{row['network']} opened in {row['seconds']:.1f} s as {row['dtype']}: weights "
            f"{row['weight_bytes'] / 2**30:.2f} GiB, host memory at the peak "
            f"{row['peak_ram_bytes'] / 2**30:.2f} GiB, device "
            f"{row['peak_device_bytes'] / 2**30:.2f} GiB."
        )
    return "  \n".join(lines)


def _verdict(rows: Sequence[Row]) -> str:
    """The goals, where their case was measured."""
    case = next(
        (
            row
            for row in _of(rows, "answers")
            if (row["network"], row["image"], row["input"]) == ("2b", "640x480", "RGB-D")
        ),
        None,
    )
    if case is None:
        return ""
    cells = [
        ("new frame", f"{case['new_ms']:.1f} ms", "60 ms", case["new_ms"] <= GOALS["new_ms"]),
        ("same frame", f"{case['again_ms']:.1f} ms", "8 ms", case["again_ms"] <= GOALS["again_ms"]),
        (
            "times the reference's loop",
            f"{case['ratio_new']:.1f}",
            "10",
            case["ratio_new"] >= GOALS["ratio_new"],
        ),
    ]
    told = [(name, value, goal, "yes" if met else "no") for name, value, goal, met in cells]
    return _section("Goals (H100, 2B, RGB-D, 640x480)", _table("what value goal met", told))


def _parity(rows: Sequence[Row]) -> str:
    told = [
        (row["dtype"], row["checks"], len(row["over"]), "; ".join(row["over"][:5]))
        for row in _of(rows, "parity")
    ]
    tests = [
        "Tests marked `gpu`: "
        + (", ".join(f"{n} {word}" for word, n in row["counts"].items()) or row["last_line"])
        + "".join(f"\n- {line}" for line in row["failures"])
        for row in _of(rows, "tests")
    ]
    table = _table("type checks over which", told) if told else ""
    return "\n\n".join(part for part in (table, *tests) if part)


def _answers(rows: Sequence[Row]) -> str:
    columns: dict[str, Callable[[Row], Any]] = {
        "network": lambda r: r["network"],
        "image": lambda r: r["image"],
        "input": lambda r: r["input"],
        "tiles": lambda r: r["tiles"],
        "new": lambda r: f"{r['new_ms']:.1f}",
        "no graphs": lambda r: f"{r['without_graphs_ms']:.1f}",
        "reference": lambda r: f"{r['reference_ms']:.1f}",
        "times": lambda r: f"{r['ratio_new']:.1f}",
        "floor": lambda r: f"{r['floor_new_ms']:.1f}",
        "again": lambda r: f"{r['again_ms']:.1f}",
        "floor again": lambda r: f"{r['floor_again_ms']:.1f}",
        "5 questions": lambda r: f"{r['questions_ms']:.1f}",
        "times (5)": lambda r: f"{r['ratio_questions']:.1f}",
        "first ever": lambda r: f"{r['first_ms']:.0f}",
        "passes": lambda r: f"{r['passes']:.0f}",
        "GiB": lambda r: f"{r['peak_device_bytes'] / 2**30:.1f}",
    }
    for name in SHOWN:
        columns[f"floor {name}"] = lambda r, name=name: f"{r['sheet_floors_ms'][name]:.0f}"
    return _columns(_of(rows, "answers"), columns)


def _stages(rows: Sequence[Row]) -> str:
    reference = {
        (row["network"], row["image"]): row["reference_stages_ms"]
        for row in _of(rows, "answers")
        if row["input"] == "RGB-D"
    }
    same = {"preprocess": "preprocess", "towers": "towers", "prefill": "prefill"}

    def compared(row: Row) -> str:
        own = reference.get((row["network"], row["image"]), {})
        if row["stage"] == "one more token" and "decode" in own:
            return f"{own['decode'] / 14:.1f}"
        value = own.get(same.get(row["stage"], ""))
        return f"{value:.1f}" if value is not None else ""

    return _columns(
        _of(rows, "stage"),
        {
            "network": lambda r: r["network"],
            "image": lambda r: r["image"],
            "stage": lambda r: r["stage"],
            "work": lambda r: r["work"],
            "ms": lambda r: f"{r['median_ms']:.2f}",
            "reference": compared,
            "floor": lambda r: f"{r['floor_ms']:.2f}" if r["floor_ms"] else "",
        },
    )


def _batches(rows: Sequence[Row]) -> str:
    return _columns(
        _of(rows, "batch"),
        {
            "network": lambda r: r["network"],
            "image": lambda r: r["image"],
            "batch": lambda r: r["batch"],
            "ms": lambda r: f"{r['ms']:.1f}",
            "answers/s": lambda r: f"{r['answers_per_s']:.1f}",
            "gain": lambda r: f"{r['gain']:.2f}",
            "GiB": lambda r: f"{r['peak_device_bytes'] / 2**30:.1f}",
        },
    )


def _server(rows: Sequence[Row]) -> str:
    alone = {
        row["network"]: 1e3 / row["reference_ms"]
        for row in reversed(_of(rows, "answers"))
        if row["input"] == "RGB"
    }

    def times(row: Row) -> str:
        per_s = alone.get(row["network"])
        return f"{row['per_s'] / per_s:.1f}" if per_s else ""

    return _columns(
        _of(rows, "server"),
        {
            "network": lambda r: r["network"],
            "clients": lambda r: r["clients"],
            "load": lambda r: r["load"],
            "answers/s": lambda r: f"{r['per_s']:.1f}",
            "times the loop": times,
            "p50 ms": lambda r: f"{r['p50_ms']:.0f}",
            "p99 ms": lambda r: f"{r['p99_ms']:.0f}",
            "failed": lambda r: r["failed"],
        },
    )


def _steps(report: Row, rows: Sequence[Row]) -> str:
    table = _columns(
        report["steps"],
        {
            "step": lambda r: r["step"],
            "status": lambda r: r["status"],
            "seconds": lambda r: f"{r['seconds']:.0f}",
        },
    )
    errors = [
        f"{r['step']}:\n\n```\n{r['error'].strip()}\n```" for r in report["steps"] if r["error"]
    ]
    skipped = [f"- not measured: {row['what']}" for row in _of(rows, "skipped")]
    return "\n\n".join(part for part in (table, "\n".join(skipped), *errors) if part)


def _section(title: str, body: str) -> str:
    return f"## {title}\n\n{body}" if body else ""


def _columns(rows: Sequence[Row], columns: dict[str, Callable[[Row], Any]]) -> str:
    if not rows:
        return ""
    cells = [[str(value(row)) for value in columns.values()] for row in rows]
    return _markdown(list(columns), cells)


def _table(heads: str, rows: Sequence[Sequence[Any]]) -> str:
    return _markdown(heads.split(" "), [[str(cell) for cell in row] for row in rows])


def _markdown(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
