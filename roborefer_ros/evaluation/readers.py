# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Opening a benchmark, in whichever of its published layouts it lies on disk.

RefSpatial-Bench, -Expand-Bench   <split>/question.json with image/ and mask/ (raw), or
                                  data/<split>-*.parquet (hub copy)
Where2Place                       point_questions.jsonl with images/ and masks/, parquet, or
                                  Where2Place/question.json as RoboRefer's runner has it
RoboSpatial-Home                  annotations.json with images/, or parquet
"""

from __future__ import annotations

import ast
import glob
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from roborefer_ros.errors import DependencyMissingError
from roborefer_ros.evaluation.questions import (
    Benchmark,
    BenchmarkError,
    BenchmarkQuestion,
    Picture,
    check_unique,
    inside_folder,
    split_suffix,
)
from roborefer_ros.files import MIB, open_regular, parse_json, read_json, read_text

#: of a JSON table, and of the pictures of one parquet file
_TABLE_LIMIT, _PARQUET_LIMIT = 256 * MIB, 2048 * MIB

_MOST_ROWS, _BATCH_ROWS = 1_000_000, 16

REFSPATIAL = "RefSpatial-Bench"
REFSPATIAL_EXPAND = "RefSpatial-Expand-Bench"
WHERE2PLACE = "Where2Place"
ROBOSPATIAL = "RoboSpatial-Home"

#: the reference's spelling of the splits
_SPLITS = {"location": "Location", "placement": "Placement", "unseen": "Unseen"}
_ORDER = ("Location", "Placement", "Unseen")

#: a table's keys that have a place in ``BenchmarkQuestion``
_KNOWN = {
    "id", "object", "prompt", "suffix", "rgb_path", "mask_path", "category", "step", "scene",
    "image", "mask",
}  # fmt: skip


def open_benchmark(source: str | Path) -> Benchmark:
    """Read a benchmark's table; pictures are read when they are needed.

    Args:
        source: its folder, or ``hf:<dataset id>`` to load it through the hub's cache.

    Raises:
        BenchmarkError: no known layout, or a broken one.
        DependencyMissingError: parquet without pyarrow.
    """
    folder = _from_hub(str(source)[3:]) if str(source).startswith("hf:") else Path(source)
    if not folder.is_dir():
        raise BenchmarkError(f"there is no folder {folder}; a data set of the hub is hf:<id>")
    for found, read in _LAYOUTS:
        files = found(folder)
        if files:
            name, questions = read(folder, files)
            check_unique(questions)
            return Benchmark(name, folder, tuple(questions))
    raise BenchmarkError(
        f"{folder} holds no benchmark in a known layout: neither <split>/question.json, nor "
        "point_questions.jsonl, nor annotations.json, nor parquet files"
    )


def _from_hub(dataset: str) -> Path:
    try:
        import huggingface_hub
    except ImportError as error:
        raise DependencyMissingError(
            f"loading {dataset!r} from the hub needs huggingface_hub; install it with "
            "`pip install 'roborefer_ros[eval]'`, or download the data set and give its folder"
        ) from error
    try:
        return Path(huggingface_hub.snapshot_download(dataset, repo_type="dataset"))
    except Exception as error:
        raise BenchmarkError(
            f"data set {dataset!r} could not be loaded from the hub: {error}"
        ) from error


# --- RefSpatial's own layout -----------------------------------------------------------


def _raw_tables(folder: Path) -> list[Path]:
    return sorted(folder.glob("*/question.json")) or sorted(folder.glob("question.json"))


def _read_raw(folder: Path, tables: list[Path]) -> tuple[str, list[BenchmarkQuestion]]:
    questions = []
    for table in sorted(tables, key=lambda path: _split_rank(path.parent.name)):
        split = _SPLITS.get(table.parent.name.lower(), table.parent.name)
        for row in _rows(table):
            image = inside_folder(table.parent, row.get("rgb_path"), folder)
            mask = inside_folder(table.parent, row.get("mask_path"), folder)
            questions.append(_refspatial(split, row, image, mask, table.parent))
    if questions and all(q.split == WHERE2PLACE for q in questions):
        return WHERE2PLACE, questions
    return _named(folder, questions), questions


def _named(folder: Path, questions: list[BenchmarkQuestion]) -> str:
    described = folder / "benchmark.json"
    if described.is_file():
        return str(_json(described).get("name", REFSPATIAL))
    return REFSPATIAL_EXPAND if any(q.scene for q in questions) else REFSPATIAL


def _refspatial(
    split: str, row: dict[str, Any], image: Picture, mask: Picture, folder: Path | None
) -> BenchmarkQuestion:
    for key, kinds in (("id", int | str), ("prompt", str)):
        if row.get(key) is None:
            raise BenchmarkError(f"a question of {split} has no {key!r}: {str(row)[:200]}")
        if not isinstance(row[key], kinds):
            raise BenchmarkError(f"a question of {split} has {str(row[key])[:80]} as its {key!r}")
    try:
        step = None if row.get("step") is None else int(row["step"])
    except (TypeError, ValueError, OverflowError) as error:
        raise BenchmarkError(f"{split}/{row['id']}: the step is no number ({error})") from error
    return BenchmarkQuestion(
        split=split,
        question_id=row["id"],
        object_name=str(row.get("object") or ""),
        # As they stand there, blanks included: the reference asks them so.
        prompt=row["prompt"],
        suffix=str(row.get("suffix") or ""),
        rgb_path=str(row.get("rgb_path") or f"image/{row['id']}.png"),
        mask_path=str(row.get("mask_path") or f"mask/{row['id']}.png"),
        category=str(row.get("category") or split.lower()),
        step=step,
        scene=str(row.get("scene") or ""),
        image=image,
        mask=mask,
        extra={key: value for key, value in row.items() if key not in _KNOWN},
        folder=folder,
    )


# --- Where2Place -----------------------------------------------------------------------


def _where2place_table(folder: Path) -> list[Path]:
    return sorted(folder.glob("point_questions.jsonl"))


def _read_where2place(folder: Path, tables: list[Path]) -> tuple[str, list[BenchmarkQuestion]]:
    questions = []
    # Not splitlines(): a question may hold other line separators than "\n".
    lines = read_text(tables[0], _TABLE_LIMIT, BenchmarkError).split("\n")
    for number, line in enumerate(lines):
        if not line.strip():
            continue
        row = _parsed(line, f"{tables[0]} line {number + 1}")
        name = str(row.get("image", ""))
        image = inside_folder(folder, f"images/{name}")
        # Masks carry the image's number; their file type differs between copies.
        stem = Path(name).stem
        masks = sorted((folder / "masks").glob(f"{glob.escape(stem)}.*"))
        if not masks:
            raise BenchmarkError(f"{folder / 'masks'} holds no mask {stem}.*")
        inside_folder(folder, f"masks/{masks[0].name}")
        questions.append(
            _where2place(row.get("question_id", number), row.get("text", ""), image, masks[0],
                         f"images/{name}", f"masks/{masks[0].name}", row.get("category"))
        )  # fmt: skip
    return WHERE2PLACE, questions


def _where2place(
    number: Any, text: Any, image: Picture, mask: Picture, rgb: str, mask_path: str, category: Any
) -> BenchmarkQuestion:
    prompt, suffix = split_suffix(str(text))
    return BenchmarkQuestion(
        WHERE2PLACE, number, "", prompt, suffix, rgb, mask_path, str(category or "placement"),
        None, "", image, mask,
    )  # fmt: skip


# --- RoboSpatial-Home ------------------------------------------------------------------


def _robospatial_table(folder: Path) -> list[Path]:
    return sorted(folder.glob("annotations*.json"))


def _read_robospatial(folder: Path, tables: list[Path]) -> tuple[str, list[BenchmarkQuestion]]:
    questions: list[BenchmarkQuestion] = []
    for table in tables:
        for row in _rows(table):
            name = str(row.get("img"))
            image = inside_folder(folder, name)
            questions.append(_robospatial(len(questions), row, image, name))
    return ROBOSPATIAL, questions


def _robospatial(number: int, row: dict[str, Any], image: Picture, name: str) -> BenchmarkQuestion:
    answer = str(row.get("answer", "")).strip()
    category = str(row.get("category") or "context")
    prompt, suffix = split_suffix(str(row.get("question", "")))
    is_word = answer.lower() in ("yes", "no")
    return BenchmarkQuestion(
        category.capitalize(), number, "", prompt, suffix, name, "", category, None, "", image,
        polygon=() if is_word else _polygon(answer),
        expected=answer.lower() if is_word else "",
    )  # fmt: skip


def _polygon(text: str) -> tuple[tuple[float, float], ...]:
    """``"[(0.1, 0.2), ...]"`` as corners; literals only, nothing is executed."""
    try:
        corners = tuple((float(x), float(y)) for x, y in ast.literal_eval(text))
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError) as error:
        raise BenchmarkError(f"{text[:80]!r} is neither yes, no nor a list of corners") from error
    if len(corners) < 3:
        raise BenchmarkError(f"{text[:80]!r}: a region needs at least 3 corners")
    return corners


# --- parquet ---------------------------------------------------------------------------


def _parquet_files(folder: Path) -> list[Path]:
    return sorted((folder / "data").glob("*.parquet")) or sorted(folder.glob("**/*.parquet"))


def _read_parquet(folder: Path, files: list[Path]) -> tuple[str, list[BenchmarkQuestion]]:
    questions: list[BenchmarkQuestion] = []
    name = ""
    for file in sorted(files, key=lambda path: (_split_rank(_split_of(path)), path.name)):
        for row in _parquet_rows(file):
            if "img" in row:
                name = ROBOSPATIAL
                row.setdefault("category", _split_of(file))
                path = _picture_path(row["img"], f"images/{len(questions)}.png")
                questions.append(_robospatial(len(questions), row, _bytes(row["img"], file), path))
            elif "prompt" in row:
                split = _SPLITS.get(_split_of(file), _split_of(file))
                image, mask = _bytes(row.get("image"), file), _bytes(row.get("mask"), file)
                questions.append(_refspatial(split, row, image, mask, None))
            elif "mask" in row and ("question" in row or "text" in row):
                name = WHERE2PLACE
                number = row.get("question_id", len(questions))
                questions.append(
                    _where2place(number, row.get("question", row.get("text")),
                                 _bytes(row.get("image"), file), _bytes(row["mask"], file),
                                 f"images/{number}.jpg", f"masks/{number}.jpg",
                                 row.get("question_type"))
                )  # fmt: skip
            else:
                raise BenchmarkError(f"{file}: columns {sorted(row)} are of no known benchmark")
    return name or _named(folder, questions), questions


def _parquet_rows(file: Path) -> Iterator[dict[str, Any]]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise DependencyMissingError(
            "reading parquet needs pyarrow; install it with `pip install 'roborefer_ros[eval]'`"
        ) from error
    try:
        with open_regular(file, BenchmarkError) as opened:
            table = pyarrow.parquet.ParquetFile(pyarrow.PythonFile(opened, mode="r"))
            _check_parquet(table.metadata, file)
            used, pictures = 0, {}  # type: int, dict[bytes, bytes]
            for batch in table.iter_batches(batch_size=_BATCH_ROWS):
                used += batch.nbytes
                if used > _PARQUET_LIMIT:
                    raise BenchmarkError(_too_large(file, used))
                yield from (_shared(row, pictures) for row in batch.to_pylist())
    except (pyarrow.ArrowException, OSError, MemoryError, ValueError) as error:
        if isinstance(error, BenchmarkError):
            raise
        said = (str(error).splitlines() or [""])[0][:300]
        raise BenchmarkError(f"{file} cannot be read: {said}") from error


def _shared(row: dict[str, Any], pictures: dict[bytes, bytes]) -> dict[str, Any]:
    """The row with one copy in memory of pictures that several rows repeat."""
    for value in row.values():
        if isinstance(value, dict) and isinstance(value.get("bytes"), bytes):
            value["bytes"] = pictures.setdefault(value["bytes"], value["bytes"])
    return row


def _check_parquet(metadata: Any, file: Path) -> None:
    """Refuse what would unpack to far more than it is, before anything is unpacked.

    A column chunk is decoded in one piece, whatever the batches; its header tells its size.

    Raises:
        BenchmarkError
    """
    if metadata.num_rows > _MOST_ROWS:
        raise BenchmarkError(f"{file} has {metadata.num_rows} rows, at most {_MOST_ROWS} are read")
    total = 0
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        total += max(
            group.total_byte_size,
            sum(group.column(c).total_uncompressed_size for c in range(group.num_columns)),
        )
    if total > _PARQUET_LIMIT:
        raise BenchmarkError(_too_large(file, total))


def _too_large(file: Path, size: int) -> str:
    return f"{file} unpacks to {size} bytes or more, at most {_PARQUET_LIMIT} are read"


def _bytes(value: Any, file: Path) -> bytes:
    """The encoded picture of an image column: ``{"bytes": ..., "path": ...}``."""
    data = value.get("bytes") if isinstance(value, dict) else value
    if not isinstance(data, bytes):
        raise BenchmarkError(f"{file}: a picture is not embedded; download the data set again")
    return data


def _picture_path(value: Any, default: str) -> str:
    return str((value.get("path") if isinstance(value, dict) else None) or default)


def _split_of(file: Path) -> str:
    """Split that a parquet file holds, by its path.

    ``location`` of ``data/location-00000-of-00001.parquet`` and of the hub's own conversion,
    ``default/location/0000.parquet`` (or ``default/partial-location/0000.parquet``).
    """
    name = file.stem.partition("-")[0].lower()
    if not re.fullmatch(r"\d+", name):
        return name
    return file.parent.name.lower().removeprefix("partial-")


def _split_rank(name: str) -> int:
    split = _SPLITS.get(name.lower(), name)
    return _ORDER.index(split) if split in _ORDER else len(_ORDER)


# --- JSON ------------------------------------------------------------------------------


def _rows(table: Path) -> list[dict[str, Any]]:
    rows = _json(table)
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise BenchmarkError(f"{table} must hold a list of objects")
    return rows


def _json(path: Path) -> Any:
    return read_json(path, _TABLE_LIMIT, BenchmarkError)


def _parsed(text: str, where: str) -> Any:
    return parse_json(text, where, BenchmarkError)


_Found = Callable[[Path], list[Path]]
_Read = Callable[[Path, list[Path]], tuple[str, list[BenchmarkQuestion]]]

#: what to look for, and how to read it; the first that is found counts
_LAYOUTS: tuple[tuple[_Found, _Read], ...] = (
    (_raw_tables, _read_raw),
    (_where2place_table, _read_where2place),
    (_robospatial_table, _read_robospatial),
    (_parquet_files, _read_parquet),
)
