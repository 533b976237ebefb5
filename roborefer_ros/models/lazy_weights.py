# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Weights for transformers' ``from_pretrained(None, state_dict=...)``, read when they are needed.

Given a folder, transformers maps its files into memory, and a file that shrinks meanwhile ends the
process with SIGBUS.  It also takes a table of weights, and asks each for ``[...]`` when it is that
one's turn, as it does with the safetensors library's slices.  So each is read then, checked, and
freed as soon as it has been converted: no more memory than the network and the largest tensor.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from roborefer_ros.errors import CheckpointInvalidError
from roborefer_ros.models.roborefer.weights import check_once, check_stray, weight_files
from roborefer_ros.models.safetensors_file import SafetensorsFile, check_values


class LazyTensor:
    """A weight in a file; what the safetensors library calls a slice.

    Args:
        file: Holds it.
        name: In the file.
        failures: Where an error is noted, since transformers replaces it by one of its own.
    """

    def __init__(
        self, file: SafetensorsFile, name: str, failures: list[CheckpointInvalidError]
    ) -> None:
        self._file, self._name, self._failures = file, name, failures

    def __getitem__(self, index: Any) -> torch.Tensor:
        """Read it.

        Raises:
            CheckpointInvalidError: the file was changed or cut off, a value is not finite, or a
                matrix is zero throughout.
        """
        try:
            tensor = self._file.read(self._name)
            if tensor.is_floating_point() and tensor.itemsize > 1:
                # Vectors of zeros are common: scales that count from one, biases.
                check_values(tensor, str(self._file.path), self._name, zeros=tensor.ndim < 2)
        except CheckpointInvalidError as error:
            self._failures.append(error)
            raise
        return tensor[index]

    def get_shape(self) -> list[int]:
        """Its sizes."""
        return list(self._file.tensors[self._name].shape)

    def get_dtype(self) -> str:
        """Name of its type in the file, e.g. ``BF16``."""
        return self._file.tensors[self._name].dtype


@contextmanager
def lazy_weights(folder: Path) -> Iterator[Mapping[str, LazyTensor]]:
    """All weights of a folder by name; the files are open while the block runs.

    Raises:
        CheckpointInvalidError: a file is missing, damaged or changes, a weight is in two files, or
            what ``LazyTensor`` noted.  It takes the place of errors of the block.
    """
    found: dict[str, Path] = {}
    files: list[SafetensorsFile] = []
    failures: list[CheckpointInvalidError] = []
    result: dict[str, LazyTensor] = {}
    try:
        for path in weight_files(folder):
            file = SafetensorsFile(path)
            files.append(file)
            for name in file.tensors:
                check_once(found, name, path)
                result[name] = LazyTensor(file, name, failures)
        check_stray(folder, found)
        try:
            yield result
        except Exception as error:
            if failures:
                raise failures[0] from error
            raise
        if failures:
            raise failures[0]
        for file in files:
            file.check_unchanged()
    finally:
        for file in files:
            file.close()
