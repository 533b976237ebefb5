# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""A memory-mapped index of a JSON file with conversations.

One pass over the file, row by row, writes ``<json>.index/`` beside it: ``rows.bin`` (each row as
JSON), ``offsets.npy`` (uint64, rows + 1), ``pairs.npy`` (usable pairs of each row), ``flags.npy``
and ``meta.json`` (what it was made from, counts, defects).  All processes of a machine share the
mapped pages.  The folder is replaced whole; a lock lets one process build while others wait.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import mmap
import os
from array import array
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from roborefer_ros.errors import ConfigurationError
from roborefer_ros.files import (
    MIB,
    open_regular,
    read_json,
    replaced_folder,
    restore_folder,
    write_text,
)
from roborefer_ros.training.data.defects import answer_form, form_mismatch
from roborefer_ros.training.data.json_stream import json_rows
from roborefer_ros.training.data.rows import Row, Rules, read_row

LOG = logging.getLogger(__name__)

#: of the files' layout and of the rules by which rows are judged
VERSION = 2

#: bit of ``flags``: the row has not as many depth pictures as pictures
DEPTH_COUNT = 1
#: bit of ``flags``: the row has pictures
HAS_PICTURES = 2

_EDGE = MIB  # of the source, digested at both ends
_EXAMPLES = 3
_MOST_TYPES = 1000


@dataclass(frozen=True)
class IndexMeta:
    """What an index was made from and what is in it.

    Attributes:
        version, size, mtime_ns, digest, rules: Of the source; a change makes the index stale.
        rows, pairs, usable_rows, usable_pairs: Counts.
        defects: Key of a defect -> occurrences.
        examples: Key of a defect -> numbers of its first rows.
        forms: Form of an answer -> usable pairs.
        question_types: ``question_type`` of the reasoning -> usable pairs.
        answer_chars, question_chars: Of all usable pairs together.
    """

    version: int
    size: int
    mtime_ns: int
    digest: str
    rules: dict[str, Any]
    rows: int = 0
    pairs: int = 0
    usable_rows: int = 0
    usable_pairs: int = 0
    defects: dict[str, int] = field(default_factory=dict)
    examples: dict[str, list[int]] = field(default_factory=dict)
    forms: dict[str, int] = field(default_factory=dict)
    question_types: dict[str, int] = field(default_factory=dict)
    answer_chars: int = 0
    question_chars: int = 0


class RowIndex:
    """Rows of one JSON file.

    Args:
        folder: Of the index.
        meta: Its description.

    Raises:
        ConfigurationError: its files do not belong together.
    """

    def __init__(self, folder: Path, meta: IndexMeta) -> None:
        self.folder, self.meta = folder, meta
        self._rules = Rules(**meta.rules)
        self._bytes: mmap.mmap | bytes | None = None
        try:
            self._offsets = np.load(folder / "offsets.npy", mmap_mode="r", allow_pickle=False)
            self.pairs = np.load(folder / "pairs.npy", mmap_mode="r", allow_pickle=False)
            self.flags = np.load(folder / "flags.npy", mmap_mode="r", allow_pickle=False)
            size = (folder / "rows.bin").stat().st_size
        except (OSError, ValueError, EOFError) as error:
            raise ConfigurationError(f"{folder} is damaged ({error}); remove it") from error
        rows = meta.rows
        lengths = (len(self._offsets) - 1, len(self.pairs), len(self.flags))
        if set(lengths) != {rows} or int(self._offsets[-1]) != size:
            raise ConfigurationError(
                f"{folder} is damaged (lengths {lengths}, rows {rows}); remove it"
            )

    def __len__(self) -> int:
        return self.meta.rows

    def __getstate__(self) -> tuple[Path, IndexMeta]:
        return self.folder, self.meta

    def __setstate__(self, state: tuple[Path, IndexMeta]) -> None:
        self.__init__(*state)  # type: ignore[misc]

    def raw(self, number: int) -> Any:
        """The JSON value of a row."""
        if self._bytes is None:
            self._bytes = _mapped(self.folder / "rows.bin")
        start, end = int(self._offsets[number]), int(self._offsets[number + 1])
        try:
            return json.loads(self._bytes[start:end])
        except ValueError as error:
            raise ConfigurationError(
                f"{self.folder} is damaged at row {number}; remove it"
            ) from error

    def row(self, number: int) -> Row | None:
        """A row, or None where it is lost (see ``rows.read_row``)."""
        return read_row(self.raw(number), number, self._rules).row


def open_index(
    source: Path, rules: Rules, folder: Path | None = None, *, rebuild: bool = False
) -> RowIndex:
    """The index of a JSON file; built where there is none or the file has changed.

    Args:
        source: JSON list or JSON lines.
        rules: How rows are judged; other than a data set's usual ones have an index of their own.
        folder: Where indexes are kept; beside the source by default.
        rebuild: Whether it is built anew in any case.

    Raises:
        ConfigurationError: the source is missing or no such JSON, or the index cannot be written.
    """
    target = index_folder(source, rules, folder)
    expected = fingerprint(source, rules)
    if not rebuild:
        found = _current(target, expected)
        if found is not None:
            return found
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with _locked(target):
            found = None if rebuild else _current(target, expected)
            return found or _build(source, target, expected, rules)
    except OSError as error:
        raise ConfigurationError(
            f"the index {target} cannot be written: {error.strerror or error}; choose a folder for "
            "indexes with --index-dir"
        ) from error


def index_folder(source: Path, rules: Rules, folder: Path | None = None) -> Path:
    """Where the index of a file lies."""
    name = f"{source.name}.index"
    if rules.keep_prefix or rules.drop_malformed or rules.max_pair_chars not in (None, 500):
        name += "-" + hashlib.sha256(repr(rules).encode()).hexdigest()[:8]
    elif rules.max_pair_chars is None:
        name += "-any-length"
    if folder is None:
        return source.with_name(name)
    path = hashlib.sha256(os.fsencode(source.resolve())).hexdigest()[:12]
    return folder / f"{path}-{name}"


def fingerprint(source: Path, rules: Rules) -> IndexMeta:
    """Size, time of change, and digest of both ends of a file.

    Raises:
        ConfigurationError: it is missing or no regular file.
    """
    with open_regular(source) as file:
        state = os.fstat(file.fileno())
        digest = hashlib.sha256(file.read(_EDGE))
        file.seek(max(0, state.st_size - _EDGE))
        digest.update(file.read(_EDGE))
    return IndexMeta(VERSION, state.st_size, state.st_mtime_ns, digest.hexdigest(), asdict(rules))


def _current(folder: Path, expected: IndexMeta) -> RowIndex | None:
    """The index, if it is there and was made from what the source is now."""
    if not (folder / "meta.json").is_file():
        return None
    try:
        meta = IndexMeta(**read_json(folder / "meta.json"))
        names = ("version", "size", "mtime_ns", "digest", "rules")
        if all(getattr(meta, name) == getattr(expected, name) for name in names):
            return RowIndex(folder, meta)
        LOG.warning("%s is out of date: the JSON has changed; it is built anew", folder)
    except (ConfigurationError, TypeError) as error:
        LOG.warning("%s cannot be used (%s); it is built anew", folder, error)
    return None


@contextmanager
def _locked(target: Path) -> Iterator[None]:
    """One process builds, others wait."""
    lock = os.open(target.with_name(f".lock-{target.name}"), os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


class _Tally:
    """Counts of one pass."""

    def __init__(self) -> None:
        self.offsets, self.pairs, self.flags = array("Q", [0]), array("I"), array("B")
        self.defects: Counter[str] = Counter()
        self.examples: dict[str, list[int]] = {}
        self.forms: Counter[str] = Counter()
        self.types: Counter[str] = Counter()
        self.all_pairs = self.answer_chars = self.question_chars = 0

    def add(self, raw: Any, number: int, rules: Rules) -> None:
        reading = read_row(raw, number, rules)
        row, defects = reading.row, list(reading.defects)
        turns = raw.get("conversations") if isinstance(raw, dict) else None
        self.all_pairs += len(turns) // 2 if isinstance(turns, list) else 0
        self.pairs.append(len(row.pairs) if row else 0)
        self.flags.append(_flags(row))
        for pair in row.pairs if row else ():
            form = answer_form(pair.answer)
            self.forms[form] += 1
            kind = pair.question_type[:200]
            if kind and (kind in self.types or len(self.types) < _MOST_TYPES):
                self.types[kind] += 1
            self.answer_chars += len(pair.answer)
            self.question_chars += len(pair.question)
            mismatch = form_mismatch(pair.question, form)
            if mismatch:
                defects.append(mismatch)
        for defect in defects:
            self.defects[defect.key] += 1
            rows = self.examples.setdefault(defect.key, [])
            if len(rows) < _EXAMPLES and number not in rows:
                rows.append(number)


def _flags(row: Row | None) -> int:
    if row is None:
        return 0
    return DEPTH_COUNT * (len(row.images) != len(row.depths)) | HAS_PICTURES * bool(row.images)


def _build(source: Path, target: Path, expected: IndexMeta, rules: Rules) -> RowIndex:
    LOG.info("indexing %s (%.0f MB)", source, expected.size / 1e6)
    restore_folder(target)
    tally = _Tally()
    with replaced_folder(target) as partial:
        position = 0
        with (partial / "rows.bin").open("wb") as rows:
            for number, (text, raw) in enumerate(json_rows(source)):
                data = text.encode("utf-8")
                rows.write(data)
                position += len(data)
                tally.offsets.append(position)
                tally.add(raw, number, rules)
        for name, values in (
            ("offsets", np.frombuffer(tally.offsets, np.uint64)),
            ("pairs", np.frombuffer(tally.pairs, np.uint32)),
            ("flags", np.frombuffer(tally.flags, np.uint8)),
        ):
            np.save(partial / f"{name}.npy", values, allow_pickle=False)
        meta = _meta(expected, tally)
        write_text(partial / "meta.json", json.dumps(asdict(meta), indent=1))
        if fingerprint(source, rules) != expected:
            raise ConfigurationError(f"{source} changed while it was indexed; try again")
    return RowIndex(target, meta)


def _meta(expected: IndexMeta, tally: _Tally) -> IndexMeta:
    pairs = np.frombuffer(tally.pairs, np.uint32)
    return IndexMeta(
        expected.version,
        expected.size,
        expected.mtime_ns,
        expected.digest,
        expected.rules,
        rows=len(pairs),
        pairs=tally.all_pairs,
        usable_rows=int(np.count_nonzero(pairs)),
        usable_pairs=int(pairs.sum(dtype=np.int64)),
        defects=dict(tally.defects),
        examples=tally.examples,
        forms=dict(tally.forms),
        question_types=dict(tally.types),
        answer_chars=tally.answer_chars,
        question_chars=tally.question_chars,
    )


def _mapped(path: Path) -> mmap.mmap | bytes:
    with path.open("rb") as file:
        if not os.fstat(file.fileno()).st_size:
            return b""
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def usable(index: RowIndex, *, with_depth: bool) -> npt.NDArray[np.int64]:
    """Usable pairs of each row, 0 where the row is lost.

    Args:
        index: Of the data set.
        with_depth: Whether rows without a depth picture for each picture are lost.
    """
    pairs = np.asarray(index.pairs, np.int64)
    if with_depth:
        pairs = np.where(np.asarray(index.flags) & DEPTH_COUNT, 0, pairs)
    return pairs


def lost_for_depth(index: RowIndex) -> int:
    """Rows that RGB-D training loses since their depth pictures are not as many as pictures."""
    flags = np.asarray(index.flags)
    return int(np.count_nonzero((flags & DEPTH_COUNT).astype(bool) & (index.pairs > 0)))
