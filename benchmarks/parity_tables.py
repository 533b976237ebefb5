# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The tables of a golden folder; see ``benchmarks.parity``.

A table's difference is the number of rows that differ, its tolerance zero.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer

from roborefer_ros.models.depth_anything import network_size
from roborefer_ros.models.roborefer.configuration import RoboReferConfig
from roborefer_ros.models.roborefer.labels import mask_labels
from roborefer_ros.models.roborefer.processing import RoboReferProcessor, normalise_placeholders
from roborefer_ros.models.roborefer.tiling import closest_grid, s2_grid

#: case, stage, number of wrong rows, tolerance, note
Row = tuple[str, str, float, float, str]


def check_tables(folder: Path) -> Iterator[Row]:
    """Every table that ``folder`` has."""
    for name, wrong_rows in _TABLES.items():
        path = folder / f"{name}.json"
        if path.exists():
            wrong = wrong_rows(json.loads(path.read_text()), folder)
            yield "table", name, float(len(wrong)), 0.0, f"first: {wrong[0]}" if wrong else ""


def wrong_tile_grids(table: dict[str, Any], folder: Path) -> list[str]:
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


def wrong_prompts(table: dict[str, str], folder: Path) -> list[str]:
    """Strings that the placeholder normaliser changes otherwise."""
    return [
        f"{text!r}: {normalise_placeholders(text)!r}, expected {expected!r}"
        for text, expected in table.items()
        if normalise_placeholders(text) != expected
    ]


def wrong_depth_sizes(table: dict[str, Any], folder: Path) -> list[str]:
    """Image sizes for which the depth network's input size comes out otherwise."""
    wrong = []
    for row in table["rows"]:
        ours = list(network_size(*row["size_wh"], table["input_size"]))
        if ours != row["net_wh"]:
            wrong.append(f"{row['size_wh']}: {ours}, expected {row['net_wh']}")
    return wrong


def wrong_labels(table: dict[str, Any], folder: Path) -> list[str]:
    """Conversations whose ids or labels come out otherwise."""
    source = folder / Path(table["tokenizer"]).parent
    config = RoboReferConfig.from_folder(source)
    processor = RoboReferProcessor(AutoTokenizer.from_pretrained(source / "llm"), config)
    wrong = []
    for case in table["cases"]:
        ids, labels = mask_labels(processor, case["conversation"])
        if ids != case["input_ids"] or labels != case["labels"]:
            wrong.append(f"{case['conversation'][-1]['value']!r}: {labels}")
    return wrong


_TABLES: dict[str, Callable[[Any, Path], list[str]]] = {
    "tile_grids": wrong_tile_grids,
    "depth_anything_sizes": wrong_depth_sizes,
    "prompt_normalisation": wrong_prompts,
    "label_cases": wrong_labels,
}
