# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The answers of a run: one JSONL file a split, one line a question, in the reference's keys.

A run that breaks off leaves at most its last line incomplete; it is cut off when the run goes
on.  The file is locked while a run writes to it.
"""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path
from types import TracebackType
from typing import Any

from roborefer_ros.evaluation.questions import (
    BenchmarkError,
    BenchmarkQuestion,
    QuestionId,
)
from roborefer_ros.files import MIB, decode_text, parse_json, read_bytes

_LIMIT = 1024 * MIB

#: the reference's keys, in its order
KEYS = (
    "question_id", "prompt", "object_name", "suffix", "instruction", "text", "model_id",
    "rgb_path", "mask_path", "category", "step",
)  # fmt: skip


def answer_record(
    question: BenchmarkQuestion, instruction: str, text: str, model_id: str
) -> dict[str, Any]:
    """One line of the file.

    Args:
        question: Question that was asked.
        instruction: the whole text that the model was asked.
        text: its raw answer.
        model_id: the model's name.
    """
    values = (
        question.question_id, question.prompt, question.object_name, question.suffix, instruction,
        text, model_id, question.rgb_path, question.mask_path, question.category, question.step,
    )  # fmt: skip
    return dict(zip(KEYS, values, strict=True))


def has_text(record: dict[str, Any]) -> bool:
    """Whether a line holds an answer where the reference writes it."""
    return "text" in record


class AnswersFile:
    """Appends answers; knows which questions are answered already.

    Args:
        path: Path of the JSONL file; made where it is missing.

    Raises:
        BenchmarkError: another run writes to it, or a line other than the last is broken.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        # "a+b" would append even after the file is cut; "r+b" needs the file to exist.
        path.touch()
        self._file = path.open("r+b")
        try:
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise BenchmarkError(
                    f"{path} is being written by another run; wait for it, or use another --out"
                ) from error
            self.records = self._read(path)
        except BaseException:
            self._file.close()
            raise

    def _read(self, path: Path) -> list[dict[str, Any]]:
        data = self._file.read()
        whole = data[: data.rfind(b"\n") + 1]
        records = parse_answers(whole, path)
        self._file.seek(len(whole))
        self._file.truncate()
        return records

    @property
    def answered(self) -> set[QuestionId]:
        """Ids of the questions that have their line."""
        return {record["question_id"] for record in self.records}

    def append(self, record: dict[str, Any]) -> None:
        """Write a line; it is on the disk when this returns.

        ASCII with escapes, as the reference writes: its scorer reads in the locale's encoding,
        and an answer may hold half a surrogate pair, which UTF-8 cannot.
        """
        self._file.write(json.dumps(record).encode("ascii") + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())
        self.records.append(record)

    def __enter__(self) -> AnswersFile:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()


def read_answers(path: Path) -> list[dict[str, Any]]:
    """All lines of an answers file, of this program or of the reference.

    Raises:
        BenchmarkError: it is missing, or a line is not an object with ``question_id``.
    """
    try:
        return parse_answers(read_bytes(path, _LIMIT, BenchmarkError), path)
    except OSError as error:
        raise BenchmarkError(f"{path} cannot be read: {error}") from error


def parse_answers(data: bytes, path: Path) -> list[dict[str, Any]]:
    """Lines of JSON objects; ``path`` is for messages.

    Raises:
        BenchmarkError: a line is not an object with ``question_id``.
    """
    records = []
    # Not splitlines(): a text may hold other line separators than "\n".
    for number, line in enumerate(decode_text(data, path, BenchmarkError).split("\n"), 1):
        if not line.strip():
            continue
        try:
            record = parse_json(line, f"{path} line {number}", BenchmarkError)
        except BenchmarkError as error:
            raise BenchmarkError(
                f"{error}; if a run broke off there, run the same command again: it goes on and "
                "mends the file"
            ) from error
        if not isinstance(record, dict) or not isinstance(record.get("question_id"), int | str):
            raise BenchmarkError(f"{path} line {number} is no object with a question_id")
        records.append(record)
    return records
