# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Reading safetensors files that may change or be broken, one tensor at a time.

The safetensors library maps files into memory; where a mapped file shrinks meanwhile (a download
that starts anew, a ``git pull``), the process ends with SIGBUS.  Here each tensor is read straight
into its own memory: as fast, no page more than the weights, and a change is an error.

Layout (https://github.com/huggingface/safetensors): eight bytes with the little-endian length N of
the header, N bytes of JSON, then the tensors without gaps.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import torch

from roborefer_ros.errors import CheckpointInvalidError
from roborefer_ros.files import is_lfs_pointer, lfs_message, open_regular

#: as the safetensors library
_LONGEST_HEADER = 100_000_000

#: read at once, so that an interruption is noticed
_CHUNK = 64 * 2**20

_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
}


@dataclass(frozen=True)
class StoredTensor:
    """Where a tensor lies.

    Attributes:
        dtype: Name of its type in the file, e.g. ``BF16``.
        shape: Its sizes.
        start, stop: Its bytes, counted from the beginning of the file.
    """

    dtype: str
    shape: tuple[int, ...]
    start: int
    stop: int


class SafetensorsFile:
    """An open file; its header has been read and checked.

    Args:
        path: Of the file.

    Attributes:
        tensors: Name -> where it lies.

    Raises:
        CheckpointInvalidError: missing, no regular file, a Git LFS pointer, cut off, or not in
            this format.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: BinaryIO = open_regular(path, CheckpointInvalidError)
        try:
            self._identity = self._look()
            self.tensors: Mapping[str, StoredTensor] = self._read_header()
        except BaseException:
            self._file.close()
            raise

    def read(self, name: str) -> torch.Tensor:
        """A tensor in memory of its own, on the CPU, in the type that it is stored in.

        Raises:
            CheckpointInvalidError: the file was changed or cut off since it was opened, or its
                type is not known.
            RuntimeError: memory ran out.
        """
        entry = self.tensors[name]
        if entry.dtype not in _DTYPES:
            raise CheckpointInvalidError(
                f"{self.path}: {name} is of type {entry.dtype}, which is not known"
            )
        tensor = torch.empty(entry.shape, dtype=_DTYPES[entry.dtype])
        if tensor.numel():
            flat: Any = tensor.view(-1).view(torch.uint8).numpy()
            self._fill(memoryview(flat), entry.start)
        return tensor

    def check_unchanged(self) -> None:
        """Compare with the moment of opening.

        Raises:
            CheckpointInvalidError: it was written to, or another file has its name.
        """
        try:
            same_name = os.stat(self.path)
        except OSError as error:
            raise self._changed() from error
        now = self._look()
        if now != self._identity or (same_name.st_dev, same_name.st_ino) != now[:2]:
            raise self._changed()

    def close(self) -> None:
        """Close it."""
        self._file.close()

    def __enter__(self) -> SafetensorsFile:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _look(self) -> tuple[int, int, int, int]:
        status = os.fstat(self._file.fileno())
        return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns

    def _fill(self, memory: memoryview, offset: int) -> None:
        done = 0
        while done < len(memory):
            piece = memory[done : done + _CHUNK]
            try:
                count = os.preadv(self._file.fileno(), [piece], offset + done)
            except OSError as error:
                raise self._damaged(error.strerror or str(error)) from error
            if count == 0:
                raise self._changed()
            done += count

    def _read_header(self) -> dict[str, StoredTensor]:
        size = self._identity[2]
        start = os.pread(self._file.fileno(), 1024, 0)
        if is_lfs_pointer(start) and size < 1024:
            raise CheckpointInvalidError(lfs_message(self.path))
        length = int.from_bytes(start[:8], "little")
        if size < 8 or length > min(size - 8, _LONGEST_HEADER):
            raise self._damaged("its header is longer than the file or than any header")
        text = bytearray(length)
        self._fill(memoryview(text), 8)
        try:
            header = json.loads(text.decode("utf-8"))
        except (ValueError, RecursionError) as error:
            raise self._damaged(f"its header is not JSON: {str(error)[:200]}") from error
        if not isinstance(header, dict):
            raise self._damaged("its header is not a JSON object")
        header.pop("__metadata__", None)
        entries = {
            name: self._entry(name, value, 8 + length, size) for name, value in header.items()
        }
        end = 8 + length
        for entry in sorted(entries.values(), key=lambda e: (e.start, e.stop)):
            if entry.start != end:
                raise self._damaged("its tensors overlap or leave gaps")
            end = entry.stop
        if end != size:
            raise self._damaged(f"its header describes {end} bytes")
        return entries

    def _entry(self, name: str, value: Any, first: int, size: int) -> StoredTensor:
        try:
            dtype, shape = value["dtype"], tuple(value["shape"])
            begin, end = value["data_offsets"]
        except (KeyError, TypeError, ValueError) as error:
            raise self._damaged(f"its header does not describe {name[:80]}") from error
        numbers = (*shape, begin, end)
        if not all(type(n) is int and 0 <= n < 2**62 for n in numbers) or len(shape) > 64:
            raise self._damaged(f"its header gives {name[:80]} an impossible shape or place")
        known = _DTYPES.get(dtype) if isinstance(dtype, str) else None
        wanted = math.prod(shape) * known.itemsize if known else end - begin
        if not begin <= end <= size - first or end - begin != wanted:
            raise self._damaged(
                f"{name[:80]} of shape {list(shape)} and type {dtype} takes {wanted} bytes, "
                f"{end - begin} are there"
            )
        return StoredTensor(str(dtype), shape, first + begin, first + end)

    def _damaged(self, why: str) -> CheckpointInvalidError:
        return CheckpointInvalidError(
            f"{self.path} ({self._identity[2]} bytes) is damaged or cut off ({why}); download it "
            "again"
        )

    def _changed(self) -> CheckpointInvalidError:
        return CheckpointInvalidError(
            f"{self.path} was changed or cut off while it was read; wait until the download or "
            "copy is complete, then load it again"
        )


def check_values(tensor: torch.Tensor, where: str, name: str, zeros: bool = False) -> None:
    """Refuse weights that no training leaves behind.  One pass over the tensor.

    Args:
        tensor: Of a floating-point type, where it will be used.
        where: Its file, for the message.
        name: Its name; one that ends in ``weight`` must not be all zero.
        zeros: Whether it may be all zero nevertheless.

    Raises:
        CheckpointInvalidError: a value is NaN or infinite, or all are zero.
    """
    if not tensor.numel():
        return
    low, high = (value.item() for value in torch.aminmax(tensor))
    if not (math.isfinite(low) and math.isfinite(high)):
        raise CheckpointInvalidError(
            f"{where}: {name} holds values that are not finite in {tensor.dtype}; the training "
            "diverged or the file is damaged (or, in float16, use bfloat16 or float32)"
        )
    if low == high == 0.0 and not zeros and name.endswith("weight"):
        raise CheckpointInvalidError(
            f"{where}: {name} is zero throughout, which no trained network holds; the file was "
            "not written to its end, or holds no weights"
        )
