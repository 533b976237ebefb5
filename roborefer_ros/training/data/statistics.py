# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""``roborefer dataset stats``: how much there is of what, from the indexes alone."""

from __future__ import annotations

import argparse
import json
from typing import Any

import numpy as np

from roborefer_ros.training.data.arguments import add_data_arguments, parts_of, read_options
from roborefer_ros.training.data.dataset import PartDataset
from roborefer_ros.training.data.index import usable
from roborefer_ros.training.data.listing import table

#: characters of English text per token of Qwen2, about
_CHARS_PER_TOKEN = 4.0


def add_arguments(_verb: str, parser: argparse.ArgumentParser) -> None:
    """Arguments of ``stats``."""
    add_data_arguments(parser)
    parser.add_argument("--json", action="store_true", help="as JSON")


def statistics(part: PartDataset) -> dict[str, Any]:
    """Counts of one data set."""
    meta = part.index.meta
    pairs = usable(part.index, with_depth=part.spec.depth is not None)
    pairs = pairs[pairs > 0]
    return {
        "name": part.part.text,
        "rows": meta.rows,
        "usable_rows": len(pairs),
        "pairs": int(pairs.sum()),
        "samples": len(part),
        "max_turns": part.max_turns,
        "pairs_of_a_row": {
            "least": int(pairs.min()),
            "median": float(np.median(pairs)),
            "most": int(pairs.max()),
        },
        "answer_forms": dict(sorted(meta.forms.items())),
        "question_types": dict(sorted(meta.question_types.items())),
        "answer_tokens_about": round(meta.answer_chars / _CHARS_PER_TOKEN),
        "question_tokens_about": round(meta.question_chars / _CHARS_PER_TOKEN),
    }


def run(_verb: str, options: argparse.Namespace) -> int:
    """Run ``stats``."""
    chosen = read_options(options)
    entries = [statistics(PartDataset(p, chosen)) for p in parts_of(options, "refspatial_rgbd")]
    if options.json:
        print(json.dumps(entries, indent=1))
        return 0
    rows = [("data set", "rows", "pairs", "pairs a row", "samples", "tokens of answers, about")]
    for e in entries:
        spread = e["pairs_of_a_row"]
        of_row = f"{spread['least']} / {spread['median']:g} / {spread['most']}"
        numbers = (e["rows"], e["pairs"], of_row, e["samples"], e["answer_tokens_about"])
        rows.append((e["name"], *map(str, numbers)))
    print(table(rows))
    for e in entries:
        forms = ", ".join(f"{form} {count}" for form, count in e["answer_forms"].items())
        print(f"\n{e['name']}: {forms}")
        for kind, count in e["question_types"].items():
            print(f"  {kind}: {count}")
    return 0
