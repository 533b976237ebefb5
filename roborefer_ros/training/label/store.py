# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The labels of a folder: one JSON file, replaced whole at every change."""

from __future__ import annotations

import fcntl
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from roborefer_ros.errors import ConfigurationError
from roborefer_ros.files import TEXT_LIMIT, read_json, read_text, write_text
from roborefer_ros.training.label.pictures import PREPARED
from roborefer_ros.training.label.rows import Label, from_row, to_row

LABELS = "labels.json"

#: rows with depth alone, where others have none
WITH_DEPTH = "labels_with_depth.json"

#: a registry for ``--registry``: the labels as the data set ``own``
REGISTRY = "dataset.yaml"

_MARK = "# Written by roborefer label"


class StaleLabelsError(ConfigurationError):
    """The labels of a picture were changed elsewhere in the meantime."""


class LabelStore:
    """Labels by picture; rows of another form are kept as they are.

    Args:
        folder: Of the pictures; ``labels.json`` lies in it.

    Raises:
        ConfigurationError: Another process labels this folder, or the file is not usable.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / LABELS
        self._rows: dict[str, dict[str, Any]] = {}
        self._foreign: list[Any] = []
        try:
            self._lock = (folder / f".{LABELS}.lock").open("w")
        except OSError as error:
            raise ConfigurationError(f"{folder} cannot be written: {error.strerror}") from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._lock.close()
            raise ConfigurationError(
                f"{folder} is being labelled by another process; end it first"
            ) from error
        try:
            if self.path.exists():
                self._read()
        except BaseException:
            self._lock.close()
            raise

    def _read(self) -> None:
        rows = read_json(self.path)
        if not isinstance(rows, list):
            raise ConfigurationError(f"{self.path} is not a list of rows; move it away")
        for row in rows:
            read = from_row(row)
            if read is None or read[0] in self._rows:
                self._foreign.append(row)
            else:
                self._rows[read[0]] = row

    def labels(self, picture: str) -> tuple[list[Label], str]:
        """Labels of a picture, and their revision for ``replace``."""
        row = self._rows.get(picture)
        read = None if row is None else from_row(row)
        return ([] if read is None else read[1]), _revision(row)

    def replace(
        self, picture: str, depth: str | None, labels: Sequence[Label], revision: str
    ) -> str:
        """Write the labels of a picture; none removes its row.

        Args:
            picture: Path below the folder.
            depth: Its prepared depth picture below ``PREPARED``, or None.
            labels: All of the picture.
            revision: That the change starts from.

        Returns:
            The new revision.

        Raises:
            StaleLabelsError: The labels have another revision by now.
            ConfigurationError: A label that training would not read, or the file would be too
                large.
        """
        if _revision(self._rows.get(picture)) != revision:
            raise StaleLabelsError(
                f"the labels of {picture} were changed in another window; load it again"
            )
        rows = dict(self._rows)
        rows.pop(picture, None)
        if labels:
            rows[picture] = to_row(picture, depth, labels)
        self._write(rows)
        self._rows = rows
        return _revision(rows.get(picture))

    def counts(self) -> Mapping[str, int]:
        """Labelled questions of each picture."""
        return {name: len(row["conversations"]) // 2 for name, row in self._rows.items()}

    def summary(self) -> dict[str, int]:
        """Totals: pictures, those with depth, questions, those about what is not there, others."""
        read = [self.labels(name)[0] for name in self._rows]
        questions = [label for labels in read for label in labels]
        return {
            "pictures": len(self._rows),
            "with_depth": sum("depth" in row for row in self._rows.values()),
            "questions": len(questions),
            "not_there": sum(not label.points for label in questions),
            "other_rows": len(self._foreign),
        }

    def _write(self, rows: Mapping[str, dict[str, Any]]) -> None:
        rows = {name: rows[name] for name in sorted(rows)}
        ordered = [*self._foreign, *rows.values()]
        text = _as_json(ordered)
        if len(text.encode("utf-8", "surrogatepass")) > TEXT_LIMIT:
            raise ConfigurationError(
                f"{self.path} would have more than {TEXT_LIMIT} bytes; label further pictures in "
                "another folder"
            )
        write_text(self.path, text)
        registry = self.path.with_name(REGISTRY)
        if rows and (not registry.exists() or read_text(registry).startswith(_MARK)):
            write_text(registry, self._registry(rows))

    def _registry(self, rows: Mapping[str, dict[str, Any]]) -> str:
        """Every row counts without depth, and those that have it with depth as well."""
        deep = [name for name in rows if "depth" in rows[name]]
        datasets = {"own_pictures": f"{{data: {LABELS}, image: .}}"}
        own = "own_pictures"
        if len(deep) == len(rows):
            datasets = {"own_pictures": f"{{data: {LABELS}, image: ., depth: {PREPARED}}}"}
            own = "own_pictures + own_pictures_RGB"
        elif deep:
            datasets["own_depth"] = f"{{data: {WITH_DEPTH}, image: ., depth: {PREPARED}}}"
            own = "own_pictures + own_depth"
            write_text(self.path.with_name(WITH_DEPTH), _as_json(rows[name] for name in deep))
        listed = "".join(f"  {name}: {entry}\n" for name, entry in datasets.items())
        return (
            f"{_MARK}; --registry takes it, --mixture own names it.\n"
            f"datasets:\n{listed}mixtures:\n  own: {own}\n"
        )

    def close(self) -> None:
        """Let other processes label the folder."""
        self._lock.close()

    def __enter__(self) -> LabelStore:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _as_json(rows: Iterable[Any]) -> str:
    return "[\n" + ",\n".join(json.dumps(row, ensure_ascii=False) for row in rows) + "\n]\n"


def _revision(row: Any) -> str:
    if row is None:
        return "new"
    return hashlib.sha256(json.dumps(row, sort_keys=True).encode()).hexdigest()[:16]
