# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The tables of a golden folder; see ``benchmarks.parity``.

A table's difference is the number of rows that differ, its tolerance zero.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer

from roborefer_ros.errors import RoboReferError
from roborefer_ros.evaluation.official_parsers import ParsedAnswer, official_parser
from roborefer_ros.files import read_json
from roborefer_ros.models.depth_anything import network_size
from roborefer_ros.models.roborefer.configuration import RoboReferConfig
from roborefer_ros.models.roborefer.labels import mask_labels
from roborefer_ros.models.roborefer.processing import RoboReferProcessor, normalise_placeholders
from roborefer_ros.models.roborefer.tiling import closest_grid, s2_grid

#: part of eval_parsers.json -> a model that the published scorer reads so
_SCORER_PARSERS = {
    "text2pts_normalized": "RoboRefer",
    "text2pts_absolute": "RoboBrain",
    "xml2pts": "Molmo",
    "json2pts": "Gemini",
}

#: case, stage, number of wrong rows, tolerance, note
Row = tuple[str, str, float, float, str]


def check_tables(folder: Path) -> Iterator[Row]:
    """Every table that ``folder`` has."""
    for name, wrong_rows in _TABLES.items():
        path = folder / f"{name}.json"
        if path.exists():
            try:
                wrong = wrong_rows(read_json(path), folder)
            except (KeyError, TypeError, ValueError, OSError, RoboReferError) as error:
                wrong = [f"the table cannot be checked: {type(error).__name__}: {error}"]
            yield "table", name, float(len(wrong)), 0.0, f"first: {wrong[0]}" if wrong else ""


def wrong_tile_grids(table: dict[str, Any], _folder: Path) -> list[str]:
    """Rows whose tile grid comes out otherwise."""
    wrong = []
    tile, scales = table["image_size"], table["s2_scales"]
    minimum, maximum = table["min_tiles"], table["max_tiles"]
    for row in table["rows"]:
        width, height = row["size_wh"]
        columns, rows = closest_grid(width, height, minimum, maximum, tile)
        count = columns * rows
        s2 = s2_grid(width, height, scales, maximum, tile)
        s2_count = sum((s // tile) ** 2 for s in scales[:-1]) + s2[0] * s2[1]
        ours = [columns, rows], count + (count > 1), list(s2), s2_count
        keys = ("dynamic_cols_rows", "dynamic_n_tiles", "s2_cols_rows", "s2_n_tiles")
        theirs = tuple(row[key] for key in keys)
        if ours != theirs:
            wrong.append(f"{width}x{height}: {ours}, expected {theirs}")
    return wrong


def wrong_prompts(table: dict[str, str], _folder: Path) -> list[str]:
    """Strings that the placeholder normaliser changes otherwise."""
    return [
        f"{text!r}: {normalise_placeholders(text)!r}, expected {expected!r}"
        for text, expected in table.items()
        if normalise_placeholders(text) != expected
    ]


def wrong_depth_sizes(table: dict[str, Any], _folder: Path) -> list[str]:
    """Image sizes for which the depth network's input size comes out otherwise."""
    wrong = []
    for row in table["rows"]:
        width, height = row["size_wh"]
        ours = list(network_size(width, height, table["input_size"]))
        if ours != row["net_wh"]:
            wrong.append(f"{row['size_wh']}: {ours}, expected {row['net_wh']}")
    return wrong


def wrong_labels(table: dict[str, Any], folder: Path) -> list[str]:
    """Conversations whose ids or labels come out otherwise."""
    source = folder / Path(table["tokenizer"]).parent
    config = RoboReferConfig.from_folder(source)
    processor = RoboReferProcessor(
        AutoTokenizer.from_pretrained(source / "llm", trust_remote_code=False), config
    )
    wrong = []
    for case in table["cases"]:
        ids, labels = mask_labels(processor, case["conversation"])
        if ids != case["input_ids"] or labels != case["labels"]:
            wrong.append(f"{case['conversation'][-1]['value']!r}: {labels}")
    return wrong


def wrong_parsers(table: dict[str, Any], _folder: Path) -> list[str]:
    """Answers from which the published scorer takes other points, or none."""
    wrong = []
    for name in sorted(set(table) & set(_SCORER_PARSERS)):
        parser = official_parser(_SCORER_PARSERS[name])
        assert parser is not None
        for text, expected in table[name].items():
            try:
                answer = parser(text, table["width"], table["height"])
                ours: Any = (answer.count, *_ends(answer, expected))
            except Exception as error:  # what the scorer raises is part of the table
                ours = type(error).__name__
            theirs = expected.get("error") or (expected["n"], expected["first"], expected["last"])
            if ours != theirs:
                wrong.append(f"{name} {text[:60]!r}: {ours}, expected {theirs}")
    return wrong


def _ends(answer: ParsedAnswer, expected: dict[str, Any]) -> tuple[list[Any], list[Any]]:
    """The first and the last points, as many as the table has of each; a box stays a box."""
    if "error" in expected:
        return [], []
    first, last = expected["first"], expected["last"]
    if answer.boxes:
        return first, last  # millions of pixels, which the count stands for
    points = [list(point) for point in answer.points]
    return points[: len(first)], points[len(points) - len(last) :]


_TABLES: dict[str, Callable[[Any, Path], list[str]]] = {
    "tile_grids": wrong_tile_grids,
    "depth_anything_sizes": wrong_depth_sizes,
    "prompt_normalisation": wrong_prompts,
    "label_cases": wrong_labels,
    "eval_parsers": wrong_parsers,
}
