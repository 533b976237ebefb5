# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""A whole data set: scenes in parallel, then one pass that balances and writes.

The same seed gives the same bytes on any number of workers, since a scene's questions depend on
the seed and its name alone, and balancing goes through the scenes in order.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import as_completed
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

import cv2
from tqdm import tqdm

from roborefer_ros.datagen.balance import Balance
from roborefer_ros.datagen.preview import Preview
from roborefer_ros.datagen.qa import PARTS, REASONED
from roborefer_ros.datagen.source import Source
from roborefer_ros.datagen.write import FOLDERS, Options, make_scene, rows
from roborefer_ros.errors import ConfigurationError
from roborefer_ros.files import read_json, replaced_file, write_text
from roborefer_ros.worker_processes import process_pool

_SHARD = 20

#: runs (folder, source, shard, names, options) for every shard, in any order
Runner = Callable[[Path, Source, Sequence[tuple[int, list[str]]], Options], Iterator[int]]


def make_shard(
    folder: Path, source: Source, shard: int, names: Sequence[str], options: Options
) -> int:
    """Write the pictures and questions of some scenes, unless they are there; how many scenes."""
    cv2.setNumThreads(1)
    path = _shard_path(folder, shard)
    if not path.exists():
        lines = [
            json.dumps(make_scene(folder, source, name, options), sort_keys=True) for name in names
        ]
        write_text(path, "".join(f"{line}\n" for line in lines))
    return len(names)


def _shard_path(folder: Path, shard: int) -> Path:
    return folder / "shards" / f"{shard:06d}.jsonl"


def on_this_machine(workers: int) -> Runner:
    """Runs shards in processes of this machine; with one worker in this process."""

    def run(
        folder: Path, source: Source, shards: Sequence[tuple[int, list[str]]], options: Options
    ) -> Iterator[int]:
        if workers == 1:
            for shard, names in shards:
                yield make_shard(folder, source, shard, names, options)
            return
        with process_pool(workers) as pool:
            jobs = [
                pool.submit(make_shard, folder, source, shard, names, options)
                for shard, names in shards
            ]
            for job in as_completed(jobs):
                yield job.result()

    return run


def generate(folder: Path, source: Source, options: Options, run: Runner) -> dict[str, Any]:
    """Make a data set.

    Args:
        folder: Where; what an interrupted run has made there is kept.
        source: Of the scenes.
        options: What is asked.
        run: Where the work is done, see ``on_this_machine``.

    Returns:
        The statistics, as in ``stats.json``.

    Raises:
        ConfigurationError: the source has no scenes, none of them gave a question, or the folder
            holds data of other settings.
        OSError: the folder cannot be written.
    """
    names = list(source.names())
    if not names:
        raise ConfigurationError("the source has no scenes")
    for name in (*FOLDERS, "shards"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    settings = {**source.settings(), "options": asdict(options), "scenes": len(names)}
    _check_settings(folder, settings)
    shards = [(k, names[i : i + _SHARD]) for k, i in enumerate(range(0, len(names), _SHARD))]
    with tqdm(total=len(names), unit="scene", file=sys.stderr) as bar:
        for done in run(folder, source, shards, options):
            bar.update(done)
    stats = _merge(folder, [shard for shard, _ in shards], settings)
    if not stats["questions"]:
        reasons = ", ".join(f"{n} {reason}" for reason, n in stats["scenes"]["skipped"].items())
        raise ConfigurationError(f"none of the {len(names)} scenes gave a question: {reasons}")
    return stats


def _check_settings(folder: Path, settings: dict[str, Any]) -> None:
    path = folder / "settings.json"
    if not path.exists():
        write_text(path, json.dumps(settings, indent=1, sort_keys=True))
        return
    there = read_json(path)
    if there != json.loads(json.dumps(settings)):
        different = sorted(
            key for key in {*there, *settings} if there.get(key) != settings.get(key)
        )
        raise ConfigurationError(
            f"{folder} holds data of other settings ({', '.join(different)}); choose another folder"
        )


def _scenes(folder: Path, shards: Sequence[int]) -> Iterator[dict[str, Any]]:
    for shard in shards:
        with _shard_path(folder, shard).open(encoding="utf-8") as file:
            for line in file:
                yield json.loads(line)


def _merge(folder: Path, shards: Sequence[int], settings: dict[str, Any]) -> dict[str, Any]:
    """Write the rows of all shards in order, without what is too frequent."""
    options: dict[str, Counter[str]] = {}
    for scene in _scenes(folder, shards):
        for entry in scene.get("questions", ()):
            options.setdefault(entry["balance"], Counter())[entry["option"]] += 1
    for counts in options.values():
        counts.pop("", None)
    balance, tally, preview = Balance(options), Tally(), Preview(folder)
    with ExitStack() as stack:
        lists = {
            part: stack.enter_context(_JsonList(part_path(folder, part), stack)) for part in PARTS
        }
        for scene in _scenes(folder, shards):
            listed = scene.get("questions", [])
            kept = [e for e in listed if balance.keeps(e["balance"], e["option"])]
            tally.add(scene, kept, len(listed) - len(kept))
            preview.add(kept)
            for part, made in rows(scene["scene"], kept).items():
                for row in made:
                    lists[part].add(row)
                tally.rows[part] += len(made)
    stats = tally.summary(settings)
    write_text(folder / "stats.json", json.dumps(stats, indent=1))
    preview.write(stats)
    return stats


def part_path(folder: Path, part: str) -> Path:
    """The JSON file of a part."""
    return folder / ("Simulator" if part == REASONED else "3D") / f"{part}.json"


class _JsonList:
    """A JSON list that is written row by row and takes its name when it is whole."""

    def __init__(self, path: Path, stack: ExitStack) -> None:
        self._partial = stack.enter_context(replaced_file(path))
        self._file: IO[str] | None = None
        self._first = True

    def __enter__(self) -> _JsonList:
        self._file = self._partial.open("w", encoding="utf-8")
        self._file.write("[")
        return self

    def __exit__(self, *_: object) -> None:
        assert self._file is not None
        self._file.write("\n]\n")
        self._file.close()

    def add(self, row: dict[str, Any]) -> None:
        assert self._file is not None
        self._file.write("\n" if self._first else ",\n")
        self._file.write(json.dumps(row))
        self._first = False


class Tally:
    """Counts for ``stats.json``."""

    def __init__(self) -> None:
        self.rows: Counter[str] = Counter()
        self._counts: dict[str, Counter[str]] = {
            name: Counter()
            for name in ("parts", "forms", "relations", "steps", "dropped", "skipped")
        }
        self._options: dict[str, Counter[str]] = {}
        self._used = self._total = 0
        self._examples: dict[str, str] = {}

    def add(self, scene: dict[str, Any], kept: list[dict[str, Any]], unbalanced: int) -> None:
        """One scene with the questions that are kept."""
        self._total += 1
        if "skipped" in scene:
            self._counts["skipped"][scene["skipped"]] += 1
            self._examples.setdefault(
                scene["skipped"], f"{scene['scene']}: {scene.get('why', scene['skipped'])}"
            )
            return
        self._used += 1
        self._counts["dropped"].update(scene["counts"])
        if unbalanced:
            self._counts["dropped"]["option too frequent"] += unbalanced
        for entry in kept:
            self._counts["parts"][entry["part"]] += 1
            self._counts["forms"][entry["form"]] += 1
            self._counts["steps"][str(entry["steps"])] += 1
            self._counts["relations"].update(entry["relations"])
            if entry["option"]:
                self._options.setdefault(entry["balance"], Counter())[entry["option"]] += 1

    def summary(self, settings: dict[str, Any]) -> dict[str, Any]:
        """Plain values in a fixed order."""

        def plain(counter: Counter[str]) -> dict[str, int]:
            return dict(sorted(counter.items()))

        counts = {name: plain(counter) for name, counter in self._counts.items()}
        return {
            "settings": settings,
            "scenes": {
                "total": self._total,
                "used": self._used,
                "skipped": counts["skipped"],
                "examples": dict(sorted(self._examples.items())),
            },
            "questions": sum(counts["parts"].values()),
            "rows": plain(self.rows),
            "parts": counts["parts"],
            "forms": counts["forms"],
            "relations": counts["relations"],
            "steps": counts["steps"],
            "options": {kind: plain(self._options[kind]) for kind in sorted(self._options)},
            "dropped": counts["dropped"],
        }
