# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""``roborefer dataset check``: does every row have its pictures, and what is wrong with the data?

Text is judged as it is for training.  Of every picture that a row names, presence, size and end
are looked at, and the ends that look cut off are decoded; ``--pictures decode`` decodes all.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from array import array
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from roborefer_ros.arguments import positive_int
from roborefer_ros.errors import ConfigurationError
from roborefer_ros.suggestions import nearest
from roborefer_ros.training.data.archives import find_archives
from roborefer_ros.training.data.arguments import add_data_arguments, parts_of
from roborefer_ros.training.data.defects import BY_KEY, Defect, answer_form
from roborefer_ros.training.data.depth_report import DepthReport, depth_report
from roborefer_ros.training.data.index import RowIndex, lost_for_depth, open_index
from roborefer_ros.training.data.listing import table
from roborefer_ros.training.data.pictures import (
    PictureError,
    locate,
    open_depth,
    open_rgb,
    shape_mismatch,
)
from roborefer_ros.training.data.registry import REFSPATIAL_FILES, DatasetSpec
from roborefer_ros.training.data.rows import Row, Rules

_EXAMPLES = 3
_DEPTH_SAMPLES = 32

#: defects that end the command with 1 though they lose no row
_DOUBTS = {Defect.DEPTH_SHAPE}


@dataclass
class Report:
    """What was found in one data set.

    Attributes:
        name: Of the data set.
        rows, lost_rows, pairs, usable_pairs: Counts; a row is lost once.
        pictures: Different pictures and depth pictures that its rows name.
        defects: Key of a defect -> occurrences.
        examples: Key of a defect -> where it occurs first.
        depth: What its depth pictures look like.
        error: Why it could not be read at all.
    """

    name: str
    rows: int = 0
    lost_rows: int = 0
    pairs: int = 0
    usable_pairs: int = 0
    pictures: int = 0
    defects: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=dict)
    depth: DepthReport | None = None
    error: str = ""

    def add(self, defect: Defect, where: str, count: int = 1) -> None:
        """Count a defect."""
        self.defects[defect.key] += count
        told = self.examples.setdefault(defect.key, [])
        if len(told) < _EXAMPLES:
            told.append(where)

    def failures(self, allowed: set[str]) -> list[str]:
        """Keys of the defects that are not accepted: those that lose rows, or need a decision."""
        return sorted(
            key
            for key in self.defects
            if (BY_KEY[key].loses == "row" or BY_KEY[key] in _DOUBTS) and key not in allowed
        )


class _Pictures:
    """What is known of the pictures of a data set; each is looked at once."""

    def __init__(self, spec: DatasetSpec, decode: bool) -> None:
        self._spec, self._decode = spec, decode
        self._known: dict[tuple[str, str], tuple[Defect | None, str, tuple[int, int]]] = {}
        self.repaired: set[str] = set()
        self.notes: Counter[Defect] = Counter()

    def __len__(self) -> int:
        return len(self._known)

    def look(self, kind: str, name: str) -> tuple[Defect | None, str, tuple[int, int]]:
        """Defect (None for a good one), message and size of a picture."""
        key = (kind, name)
        if key not in self._known:
            try:
                self._known[key] = (None, "", self._size(kind, name))
            except PictureError as error:
                self._known[key] = (error.defect, str(error), (0, 0))
        return self._known[key]

    def _size(self, kind: str, name: str) -> tuple[int, int]:
        folder = self._spec.image if kind == "image" else self._spec.depth
        found = locate(folder, name, absolute=self._spec.absolute_paths)
        if found.repaired:
            self.repaired.add(name)
        if not self._decode and looks_complete(found.path):
            try:
                with Image.open(found.path) as image:
                    if kind == "depth" and image.mode != "RGB":
                        self.notes[Defect.DEPTH_CONVERTED] += 1
                    return image.width, image.height
            except Exception:
                pass  # it is decoded below, which tells what is wrong
        opened = open_rgb(found.path) if kind == "image" else open_depth(found.path)
        self.notes.update(opened.notes)
        return opened.size


def looks_complete(path: Path) -> bool:
    """Whether a PNG or JPEG has its end mark; other formats are not judged."""
    try:
        with path.open("rb") as file:
            head = file.read(8)
            file.seek(0, 2)
            file.seek(max(0, file.tell() - 64))
            tail = file.read(64)
    except OSError:
        return False
    if head.startswith(b"\x89PNG"):
        return b"IEND" in tail
    return head.startswith(b"\xff\xd8") and tail.rstrip(b"\0\n\r ").endswith(b"\xff\xd9")


def check_dataset(
    spec: DatasetSpec,
    index_dir: Path | None = None,
    *,
    pictures: str = "all",
    rows: int | None = None,
) -> Report:
    """Check one data set.

    Args:
        spec: The data set.
        index_dir: See ``index.open_index``.
        pictures: ``all`` looks at every picture, ``decode`` decodes every one, ``none`` none.
        rows: Most rows whose pictures are looked at, spread evenly; all without it.
    """
    report = Report(spec.name)
    try:
        index = open_index(spec.data, Rules.of(spec), index_dir)
    except ConfigurationError as error:
        report.error = str(error)
        return report
    meta = index.meta
    report.rows, report.pairs = meta.rows, meta.pairs
    report.usable_pairs = meta.usable_pairs
    report.lost_rows = meta.rows - meta.usable_rows
    for key, count in meta.defects.items():
        for number in meta.examples.get(key, []):
            report.add(BY_KEY[key], f"row {number}", 0)
        report.defects[key] = count
    if spec.depth is not None and (lost := lost_for_depth(index)):
        report.add(Defect.DEPTH_COUNT, "see rows with other numbers of depth pictures", lost)
        report.lost_rows += lost
    conflicts = _Conflicts()
    looked = _Pictures(spec, pictures == "decode")
    step = 1 if rows is None else max(1, meta.rows // rows)
    depth_names: list[str] = []
    for number, row in _rows(index):
        conflicts.add(number, row)
        if pictures != "none" and number % step == 0:
            lost = _check_pictures(spec, row, number, looked, report)
            report.lost_rows += lost
            depth_names += row.depths if spec.depth and not lost else ()
    conflicts.report(report)
    for note, count in looked.notes.items():
        report.defects[note.key] += count
    report.pictures = len(looked)
    for name in sorted(looked.repaired)[:_EXAMPLES]:
        report.add(Defect.REPAIRED_NAME, name, 0)
    if looked.repaired:
        report.defects[Defect.REPAIRED_NAME.key] = len(looked.repaired)
    if depth_names and spec.depth is not None:
        report.depth = depth_report(_spread(depth_names, spec))
    return report


def _rows(index: RowIndex) -> Iterator[tuple[int, Row]]:
    for number in range(len(index)):
        row = index.row(number) if index.pairs[number] else None
        if row is not None:
            yield number, row


def _check_pictures(
    spec: DatasetSpec, row: Row, number: int, looked: _Pictures, report: Report
) -> bool:
    """Whether the row is lost for its pictures."""
    if spec.depth is not None and len(row.depths) != len(row.images):
        return False  # counted before
    names = [("image", name) for name in row.images]
    names += [("depth", name) for name in row.depths] if spec.depth is not None else []
    found = [looked.look(kind, name) for kind, name in names]
    bad = [(defect, message) for defect, message, _ in found if defect is not None]
    for defect, message in bad[:1]:
        report.add(defect, f"row {number}: {message}")
    if bad or spec.depth is None:
        return bool(bad)
    half = len(row.images)
    for image, depth, one, two in zip(
        row.images, row.depths, found[:half], found[half:], strict=True
    ):
        message = shape_mismatch(Path(image), Path(depth), one[2], two[2])
        if message:
            report.add(Defect.DEPTH_SHAPE, f"row {number}: {message}")
    return False


class _Conflicts:
    """The same question about the same pictures with other points."""

    def __init__(self) -> None:
        self._questions, self._answers, self._rows = array("q"), array("q"), array("q")

    def add(self, number: int, row: Row) -> None:
        for pair in row.pairs:
            if answer_form(pair.answer) == "point":
                self._questions.append(_hash(*row.images, pair.question))
                self._answers.append(_hash(pair.answer))
                self._rows.append(number)

    def report(self, report: Report) -> None:
        if not self._questions:
            return
        questions = np.frombuffer(self._questions, np.int64)
        answers = np.frombuffer(self._answers, np.int64)
        order = np.lexsort((answers, questions))
        same = questions[order][1:] == questions[order][:-1]
        other = np.flatnonzero(same & (answers[order][1:] != answers[order][:-1]))
        for place in other[:_EXAMPLES]:
            first, second = sorted(self._rows[int(order[place + k])] for k in (0, 1))
            report.add(Defect.CONFLICTING_POINTS, f"rows {first} and {second}", 0)
        if len(other):
            report.defects[Defect.CONFLICTING_POINTS.key] = len(other)


def _hash(*texts: str) -> int:
    digest = hashlib.blake2b("\0".join(texts).encode(errors="replace"), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)


def _spread(names: list[str], spec: DatasetSpec) -> list[Path]:
    different = sorted(set(names))
    chosen = different[:: max(1, len(different) // _DEPTH_SAMPLES)][:_DEPTH_SAMPLES]
    assert spec.depth is not None
    return [locate(spec.depth, name, absolute=spec.absolute_paths).path for name in chosen]


# --- the command -----------------------------------------------------------------------


def add_arguments(_verb: str, parser: argparse.ArgumentParser) -> None:
    """Arguments of ``check``."""
    parser.add_argument("root", type=Path, nargs="?", help="RefSpatial's folder, as --data-root")
    add_data_arguments(parser)
    parser.add_argument(
        "--pictures", choices=("all", "decode", "none"), default="all",
        help="all: each is there and has its end; decode: each is decoded too",
    )  # fmt: skip
    parser.add_argument("--rows", type=positive_int, metavar="N", help="pictures of N rows only")
    parser.add_argument(
        "--allow", default="", metavar="DEFECTS", help="defects that are accepted, or all"
    )
    parser.add_argument("--json", action="store_true", help="as JSON")


def run(_verb: str, options: argparse.Namespace) -> int:
    """Run ``check``; 1 where rows are lost that ``--allow`` does not accept."""
    if options.root is not None:
        options.data_root = options.root
    allowed = _allowed(options.allow)
    if not options.mixture and not options.data:
        check_layout(options.data_root)
    parts = parts_of(options, "refspatial_rgbd", all_of_default=True)
    specs = {part.spec.name: part.spec for part in parts}
    reports = [
        check_dataset(spec, options.index_dir, pictures=options.pictures, rows=options.rows)
        for spec in specs.values()
    ]
    failures = {r.name: r.failures(allowed) for r in reports if r.error or r.failures(allowed)}
    if options.json:
        print(json.dumps([_as_dict(report) for report in reports], indent=1))
    else:
        print(_text(reports, specs))
        for name, keys in failures.items():
            print(f"{name}: not accepted: {', '.join(keys) or 'it cannot be read'}")
        if failures and not any(report.error for report in reports):
            print("--allow accepts them; training leaves such rows out")
    return 1 if failures else 0


def check_layout(root: Path) -> None:
    """Tell a wrong level of folder, and archives that are still packed.

    Raises:
        ConfigurationError: none of RefSpatial's JSON files is where it should be.
    """
    if any((root / files[0]).is_file() for files in REFSPATIAL_FILES.values()):
        packed = [a for a in find_archives(root) if not _has_pictures(a.folder)]
        if packed:
            raise ConfigurationError(
                f"{packed[0].folder}: {packed[0].name} is still packed; "
                f"roborefer dataset unpack {root}"
            )
        return
    if not root.is_dir():
        raise ConfigurationError(f"{root} is not a directory; name RefSpatial's folder")
    inside = [p for p in sorted(root.iterdir()) if (p / "2D").is_dir() or (p / "3D").is_dir()]
    hint = f"; {inside[0]} looks like it" if inside else ""
    if root.name in ("2D", "3D", "Simulator"):
        hint = f"; {root.parent} looks like it"
    raise ConfigurationError(
        f"{root} has none of RefSpatial's JSON files, such as 2D/choice_qa.json{hint}"
    )


def _has_pictures(folder: Path) -> bool:
    suffixes = (".png", ".jpg", ".jpeg", ".webp")
    return any(path.suffix.lower() in suffixes for path in folder.iterdir())


def _allowed(text: str) -> set[str]:
    if text == "all":
        return set(BY_KEY)
    keys = {key.strip() for key in text.split(",") if key.strip()}
    for key in keys - set(BY_KEY):
        raise ConfigurationError(f"--allow: unknown defect {key!r}{nearest(key, BY_KEY)}")
    return keys


def _as_dict(report: Report) -> dict[str, Any]:
    values = dict(vars(report))
    values["defects"] = dict(report.defects)
    values["depth"] = vars(report.depth) | {"text": report.depth.text} if report.depth else None
    return values


def _text(reports: list[Report], specs: dict[str, DatasetSpec]) -> str:
    rows = [("data set", "rows", "lost", "pairs", "usable", "pictures")]
    for r in reports:
        numbers = (r.rows, r.lost_rows, r.pairs, r.usable_pairs, r.pictures)
        rows.append((r.name, *map(str, numbers)))  # type: ignore[arg-type]
    lines = [table(rows), ""]
    for report in reports:
        spec = specs[report.name]
        folders = f"{spec.image or 'no pictures'}, {spec.depth or 'no depth'}"
        lines.append(f"{report.name}: {spec.data} -> {folders}")
        if report.error:
            lines.append(f"  {report.error}")
        for key, count in sorted(report.defects.items()):
            defect = BY_KEY[key]
            loses = "" if defect.loses == "none" else f", loses the {defect.loses}"
            lines.append(f"  {key}: {count} ({defect.meaning}{loses})")
            lines += [f"    {where}" for where in report.examples.get(key, [])]
        if report.depth:
            lines.append(f"  depth: {report.depth.text}")
    return "\n".join(lines)
