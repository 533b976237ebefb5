# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""``roborefer dataset list`` and ``index``: what there is, and what a mixture amounts to."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence

from roborefer_ros.arguments import positive_int
from roborefer_ros.training.data.arguments import (
    add_data_arguments,
    parts_of,
    read_options,
    registry_of,
)
from roborefer_ros.training.data.dataset import MixtureDataset
from roborefer_ros.training.data.index import open_index
from roborefer_ros.training.data.registry import Registry
from roborefer_ros.training.data.rows import Rules
from roborefer_ros.training.data.sampler import Layout, MixtureSampler


def add_arguments(verb: str, parser: argparse.ArgumentParser) -> None:
    """Arguments of ``list`` and ``index``."""
    add_data_arguments(parser)
    if verb == "index":
        parser.add_argument("--rebuild", action="store_true", help="even where it is up to date")
        return
    parser.add_argument("--world", type=positive_int, default=1, help="ranks")
    parser.add_argument("--batch", type=positive_int, default=1, help="samples of a rank's batch")
    parser.add_argument("--accumulation", type=positive_int, default=1, help="batches of a step")
    parser.add_argument("--shuffle", choices=("reference", "global"), default="reference")
    parser.add_argument("--tail", choices=("drop", "keep"), default="drop")
    parser.add_argument("--json", action="store_true", help="as JSON")


def run(verb: str, options: argparse.Namespace) -> int:
    """Run ``list`` or ``index``."""
    if verb == "index":
        return _index(options)
    if options.mixture or options.data:
        return _mixture(options)
    registry = registry_of(options)
    if options.json:
        print(json.dumps(_registered(registry), indent=1))
        return 0
    rows = [("data set", "JSON", "pictures", "depth")]
    for name in registry.names():
        spec = registry.find(name)
        found = "" if spec.data.is_file() else " (missing)"
        rows.append((name, f"{spec.data}{found}", str(spec.image or "-"), str(spec.depth or "-")))
    print(table(rows))
    print("\nmixtures")
    for name, text in sorted(registry.mixtures.items()):
        print(f"  {name}: {' '.join(text.split())}")
    return 0


def _registered(registry: Registry) -> dict[str, object]:
    datasets = {}
    for name in registry.names():
        spec = registry.find(name)
        paths = {key: getattr(spec, key) for key in ("data", "image", "depth")}
        datasets[name] = {key: str(path) if path else None for key, path in paths.items()}
    return {"datasets": datasets, "mixtures": dict(registry.mixtures)}


def _index(options: argparse.Namespace) -> int:
    parts = parts_of(options, "refspatial_rgbd")
    for spec in {part.spec.data: part.spec for part in parts}.values():
        started = time.monotonic()
        index = open_index(spec.data, Rules.of(spec), options.index_dir, rebuild=options.rebuild)
        meta = index.meta
        print(
            f"{spec.data}: {meta.rows} rows, {meta.usable_rows} usable, {meta.usable_pairs} "
            f"question-answer pairs, {time.monotonic() - started:.2f} s"
        )
    return 0


def _mixture(options: argparse.Namespace) -> int:
    dataset = MixtureDataset(parts_of(options), read_options(options))
    layout = Layout(options.world, options.batch, options.accumulation)

    def sampler(lengths: Sequence[int]) -> MixtureSampler:
        return MixtureSampler(lengths, layout, shuffle=options.shuffle, tail=options.tail)

    whole = sampler(dataset.lengths)
    entries = []
    for part in dataset.parts:
        meta = part.index.meta
        entry = {
            "part": part.part.text,
            "rows": meta.rows,
            "usable_rows": meta.usable_rows,
            "pairs": meta.usable_pairs,
            "samples": len(part),
            "dropped": sampler([len(part)]).dropped if options.shuffle == "reference" else None,
        }
        entries.append(entry)
    summary = {
        "parts": entries,
        "samples": len(dataset),
        "steps": whole.steps,
        "global_batch": layout.global_batch,
        "samples_per_epoch": whole.steps * layout.global_batch,
        "dropped": whole.dropped,
    }
    if options.json:
        print(json.dumps(summary, indent=1))
        return 0
    rows = [("part", "rows", "usable", "pairs", "samples an epoch", "dropped tail")]
    for entry in entries:
        dropped = "-" if entry["dropped"] is None else str(entry["dropped"])
        keys = ("part", "rows", "usable_rows", "pairs", "samples")
        rows.append((*(str(entry[key]) for key in keys), dropped))  # type: ignore[arg-type]
    print(table(rows))
    print(
        f"\n{len(dataset)} samples; {whole.steps} steps of {layout.global_batch} an epoch, "
        f"{whole.dropped} samples dropped"
    )
    return 0


def table(rows: Sequence[Sequence[str]]) -> str:
    """Columns of text, the first row underlined."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)) for row in rows]
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(line.rstrip() for line in lines)
