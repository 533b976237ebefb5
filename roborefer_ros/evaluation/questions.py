# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""A benchmark's questions, whatever layout they were read from."""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from roborefer_ros.errors import ConfigurationError
from roborefer_ros.files import MIB, path_inside, read_bytes

#: an encoded picture: a file, or its bytes (parquet)
Picture = Path | bytes

#: where a question's words end and the request for a format begins
_SUFFIX = re.compile(r"\s*(Your answer should be formatted as a list of tuples.*)\Z", re.DOTALL)

QuestionId = int | str

#: of one encoded picture
_PICTURE_LIMIT = 256 * MIB


class BenchmarkError(ConfigurationError):
    """A benchmark's files, or answers to it, cannot be used; the message says which and why."""


@dataclass(frozen=True)
class BenchmarkQuestion:
    """One question.

    Attributes:
        split: Split, named as in the reference's folder names, e.g. ``Location``.
        question_id: unique within the split.
        object_name: the noun phrase, or empty.
        prompt: the words, without a request for a format.
        suffix: the request for a format, or empty.
        rgb_path, mask_path: as they stand in the benchmark's own table, for the answers file.
        category: the benchmark's own label, or empty.
        step: number of reasoning steps, or None.
        scene: e.g. ``indoor``, or empty.
        image: the colour picture.
        mask: the picture of the right region, or None.
        polygon: ``(x, y)`` corners of the right region, normalised, where there is one.
        expected: the right text, for questions that are not answered by a point; else empty.
        extra: keys of the table beyond the reference's (simulation: ground truth).
        folder: Folder that relative paths in ``extra`` start from; None without files.
    """

    split: str
    question_id: QuestionId
    object_name: str
    prompt: str
    suffix: str
    rgb_path: str
    mask_path: str
    category: str
    step: int | None
    scene: str
    image: Picture
    mask: Picture | None = None
    polygon: tuple[tuple[float, float], ...] = ()
    expected: str = ""
    extra: Mapping[str, Any] = field(default_factory=dict)
    folder: Path | None = None

    @property
    def wants_point(self) -> bool:
        """Whether the answer is a point (else a word)."""
        return not self.expected

    @cached_property
    def cluster(self) -> str:
        """Fingerprint of the picture: questions on the same picture are not independent."""
        data = _content(self.image)
        return hashlib.sha256(data).hexdigest()[:16]

    def rgb(self) -> npt.NDArray[np.uint8]:
        """``[H, W, 3]`` uint8, RGB."""
        return np.asarray(_decoded(self.image, "RGB"), np.uint8)

    def mask_values(self) -> npt.NDArray[Any]:
        """``[H, W]`` the mask picture's first channel, as it is.

        Raises:
            BenchmarkError: the question has no mask, or it cannot be read.
        """
        if self.mask is None:
            raise BenchmarkError(f"question {self.split}/{self.question_id} has no mask")
        values = np.asarray(_decoded(self.mask, None))
        return values[..., 0] if values.ndim == 3 else values


@dataclass(frozen=True)
class Benchmark:
    """A benchmark that was read.

    Attributes:
        name: e.g. ``RefSpatial-Bench``; the key of published results.
        source: Path or hub id that it was read from.
        questions: Questions of all splits, split by split.
    """

    name: str
    source: Path
    questions: tuple[BenchmarkQuestion, ...]

    @property
    def splits(self) -> tuple[str, ...]:
        """Names, in order."""
        return tuple(dict.fromkeys(q.split for q in self.questions))

    def of_split(self, split: str) -> tuple[BenchmarkQuestion, ...]:
        """The questions of one split."""
        return tuple(q for q in self.questions if q.split == split)


def official_mask(values: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Right pixels by the published scorer's rule: greater than zero."""
    return values > 0


def fair_mask(values: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """The same without the grey fringe that JPEG puts around a mask."""
    return values > (127 if values.max() > 127 else 0)


def split_suffix(text: str) -> tuple[str, str]:
    """Separate a question's words from its request for a format: ``(prompt, suffix)``."""
    match = _SUFFIX.search(text)
    return (text[: match.start()].strip(), match.group(1)) if match else (text.strip(), "")


def inside_folder(folder: Path, relative: Any, root: Path | None = None) -> Path:
    """The path of a file that a table names.

    Args:
        folder: What it is relative to.
        relative: As it stands in the table.
        root: The benchmark's folder, where links may lead to.

    Raises:
        BenchmarkError: no text, missing, or outside the folder (tables are downloads).
    """
    return path_inside(folder, relative, BenchmarkError, root)


def check_unique(questions: Sequence[BenchmarkQuestion]) -> None:
    """Refuse tables in which two questions of a split share their id.

    Raises:
        BenchmarkError
    """
    seen: set[tuple[str, QuestionId]] = set()
    for question in questions:
        key = (question.split, question.question_id)
        if key in seen:
            raise BenchmarkError(f"{question.split} has two questions {question.question_id!r}")
        seen.add(key)


def _content(picture: Picture) -> bytes:
    if isinstance(picture, bytes):
        return picture
    return read_bytes(picture, _PICTURE_LIMIT, BenchmarkError)


def _decoded(picture: Picture, mode: str | None) -> Any:
    from PIL import Image, UnidentifiedImageError

    data = _content(picture)
    try:
        with Image.open(io.BytesIO(data)) as image:
            return image.convert(mode) if mode else image.copy()
    except (
        UnidentifiedImageError, OSError, Image.DecompressionBombError, ValueError, SyntaxError
    ) as error:  # fmt: skip
        name = f"{len(picture)} bytes" if isinstance(picture, bytes) else str(picture)
        raise BenchmarkError(f"{name}: not a readable picture ({error})") from error
