# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Does this implementation compute what the reference computes?

    python -m benchmarks.parity FOLDER [--json] [--device cuda] [--dtype float16]

FOLDER is laid out like ``test/data/golden`` (its README describes it): checkpoints,
``arrays/<checkpoint>__<case>.npz`` and tables.  Every case that is there is checked, from
pixels and ids to the logits of every decoded token.  Prints the largest difference per
case and stage; exit status 1 if one is over its tolerance, 2 if FOLDER holds no case.
"""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from benchmarks.parity_cases import TOLERANCES, Opened
from benchmarks.parity_inference import check_inference
from benchmarks.parity_tables import check_tables
from benchmarks.parity_training import check_training
from roborefer_ros.arguments import ArgumentParser
from roborefer_ros.errors import RoboReferError
from roborefer_ros.files import read_json
from roborefer_ros.models.roborefer.checkpoint import load_roborefer, torch_dtype


@dataclass(frozen=True)
class Check:
    """The largest difference of one stage of one case."""

    case: str
    stage: str
    difference: float
    tolerance: float
    note: str = ""

    @property
    def passed(self) -> bool:
        """Whether the difference is within the tolerance."""
        return self.difference <= self.tolerance  # False for NaN


def check_folder(folder: Path, device: str = "cpu", dtype: str = "float32") -> list[Check]:
    """Everything that ``folder`` holds, checked."""
    # cuDNN's convolutions take TF32 by default, which is no float32.
    torch.backends.cudnn.allow_tf32 = False
    checks = [Check(*row) for row in check_tables(folder)]
    kind = torch_dtype(dtype, torch.device(device))
    for name, files in sorted(cases(folder).items()):
        try:
            model, processor = load_roborefer(checkpoint_folder(folder, name), device, kind)
        except (RoboReferError, FileNotFoundError) as error:
            checks.append(Check(name, "load", math.inf, 0.0, str(error)))
            continue
        opened = Opened(name, model, processor, TOLERANCES[kind])
        for file in files:
            try:
                checks += check_case(folder, opened, file)
            except (KeyError, ValueError, FileNotFoundError) as error:
                note = f"{type(error).__name__}: {error}"
                checks.append(Check(file.stem, "run", math.inf, 0.0, note))
    return checks


def cases(folder: Path) -> dict[str, list[Path]]:
    """Checkpoint name -> its array files."""
    result: dict[str, list[Path]] = {}
    for file in sorted((folder / "arrays").glob("*__*.npz")):
        result.setdefault(file.name.split("__")[0], []).append(file)
    return result


def checkpoint_folder(folder: Path, name: str) -> Path:
    """The checkpoint that array files name: ``tiny2b`` is ``tiny-2b-style``.

    Raises:
        FileNotFoundError
    """

    def plain(text: str) -> str:
        return re.sub(r"[^a-z0-9]", "", text.lower())

    found = [p for p in folder.iterdir() if p.is_dir() and plain(p.name).startswith(plain(name))]
    if not found:
        raise FileNotFoundError(f"{folder} holds no checkpoint folder for the arrays of {name!r}")
    return min(found, key=lambda path: len(path.name))


def check_case(folder: Path, opened: Opened, file: Path) -> list[Check]:
    """One array file: inference or training, by its content."""
    arrays = dict(np.load(file, allow_pickle=False))
    case = file.stem.split("__", 1)[1]
    if "prefill_logits" in arrays:
        meta = read_json(folder / "meta.json")[opened.name][case]
        checks = check_inference(folder / "inputs", opened, meta, arrays)
    else:
        meta = read_json(folder / "train_meta.json")[file.stem]
        with_depth = not case.endswith("_rgb")
        checks = check_training(folder / "inputs", opened, meta, arrays, with_depth)
    return [Check(f"{opened.name} {case}", *row) for row in checks]


def report(checks: Sequence[Check]) -> str:
    """The checks as a table."""
    lines = [f"{'case':<26} {'stage':<18} {'difference':>10} {'tolerance':>10}"]
    for check in checks:
        verdict = "" if check.passed else "  OVER"
        line = f"{check.case:<26} {check.stage:<18} {check.difference:>10.2e} "
        lines.append(line + f"{check.tolerance:>10.2e}{verdict}")
        if check.note:
            lines.append(f"    {check.note}")
    failed = sum(not c.passed for c in checks)
    lines.append(f"{len(checks)} checks, {failed} over tolerance")
    return "\n".join(lines)


def as_json(checks: Sequence[Check], folder: Path, device: str, dtype: str) -> str:
    """The checks for programs; an infinite or undefined difference is null."""
    rows = [
        {
            "case": check.case,
            "stage": check.stage,
            "max_difference": check.difference if math.isfinite(check.difference) else None,
            "tolerance": check.tolerance,
            "passed": check.passed,
            "note": check.note,
        }
        for check in checks
    ]
    passed = all(c.passed for c in checks)
    head = {"folder": str(folder), "device": device, "dtype": dtype, "passed": passed}
    return json.dumps({**head, "checks": rows}, indent=1)


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    parser = ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1 ...")
    parser.add_argument("--dtype", default="float32", choices=["float32", "float16", "bfloat16"])
    arguments = parser.parse_args(argv)
    if not arguments.folder.is_dir():
        parser.error(f"{arguments.folder} is not a folder")
    checks = check_folder(arguments.folder, arguments.device, arguments.dtype)
    if not checks:
        print(f"{arguments.folder} holds neither arrays nor tables to check", file=sys.stderr)
        return 2
    if arguments.json:
        print(as_json(checks, arguments.folder, arguments.device, arguments.dtype))
    else:
        print(report(checks))
    return 0 if all(c.passed for c in checks) else 1


if __name__ == "__main__":
    raise SystemExit(main())
