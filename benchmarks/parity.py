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

import argparse
import itertools
import json
import math
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from benchmarks.parity_tables import check_tables
from roborefer_ros.errors import RoboReferError
from roborefer_ros.models.roborefer.checkpoint import load_roborefer, torch_dtype
from roborefer_ros.models.roborefer.decoding import Generated, generate
from roborefer_ros.models.roborefer.modeling import RoboRefer
from roborefer_ros.models.roborefer.processing import (
    Depth,
    RoboReferInputs,
    RoboReferProcessor,
)

Arrays = dict[str, npt.NDArray[Any]]

#: stage -> tolerance in float32.  Pixels and ids are exact in every type.
FLOAT32 = {"tower": 1e-5, "embeds": 1e-5, "spliced": 1e-5, "logits": 1e-4, "loss": 1e-4}
#: the goldens are float32; what the small types may differ from them at the goldens' scale
FLOAT16 = {"tower": 4e-2, "embeds": 4e-2, "spliced": 4e-2, "logits": 0.1, "loss": 0.1}
BFLOAT16 = {stage: 8 * tolerance for stage, tolerance in FLOAT16.items()}  # 3 bits less
TOLERANCES = {torch.float32: FLOAT32, torch.float16: FLOAT16, torch.bfloat16: BFLOAT16}

#: greedy ids are compared where the best token leads the second by more than this
MIN_MARGIN = 1e-3


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
        return self.difference <= self.tolerance  # False for NaN


@dataclass(frozen=True)
class Opened:
    """A checkpoint with the ids of the tokens that matter."""

    name: str
    model: RoboRefer
    processor: RoboReferProcessor
    tolerances: dict[str, float]


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
        meta = json.loads((folder / "meta.json").read_text())[opened.name][case]
        checks = check_inference(folder / "inputs", opened, meta, arrays)
    else:
        from benchmarks.parity_training import check_training

        meta = json.loads((folder / "train_meta.json").read_text())[file.stem]
        with_depth = not case.endswith("_rgb")
        checks = check_training(folder / "inputs", opened, meta, arrays, with_depth)
    return [Check(f"{opened.name} {case}", *row) for row in checks]


Rows = Iterator[tuple[str, float, float]]


@torch.inference_mode()
def check_inference(
    inputs_folder: Path, opened: Opened, meta: dict[str, Any], arrays: Arrays
) -> Rows:
    """From the prompt's parts to the decoded ids."""
    inputs = opened.processor.from_parts(prompt_parts(meta["prompt_parts"], inputs_folder))
    yield "ids", difference(inputs.input_ids, arrays["input_ids"]), 0.0
    media: dict[str, list[torch.Tensor]] = {"image": [], "depth": []}
    for kind in media:
        for stage, value, tolerance in _check_media(kind, opened, inputs, arrays, media[kind]):
            yield stage, value, tolerance
    spliced = opened.model.splice(
        inputs.input_ids,
        media["image"],
        media["depth"],
        max_length=opened.processor.max_length,
        **opened.processor.splice_ids,
    )
    tolerances = opened.tolerances
    yield "spliced", difference(spliced, arrays["inputs_embeds"]), tolerances["spliced"]
    logits = opened.model.llm(inputs_embeds=spliced[None], use_cache=False).logits[0]
    tolerance = tolerances["logits"]
    yield "prefill_logits", difference(logits, arrays["prefill_logits"]), tolerance
    if opened.model.dtype == torch.float16 and "fp16_last_logits" in arrays:
        yield "fp16_logits", difference(logits[-1], arrays["fp16_last_logits"]), tolerance
    yield from _check_decoding(opened, spliced, meta, arrays)


def prompt_parts(parts: Sequence[Any], folder: Path) -> list[Any]:
    """The parts of a prompt with their files read."""
    result: list[Any] = []
    for part in parts:
        if isinstance(part, str):
            result.append(part)
            continue
        picture = read_picture(folder / part["file"])
        result.append(Depth(picture) if part["type"] == "Depth" else picture)
    return result


def read_picture(path: Path) -> npt.NDArray[np.uint8]:
    """A PNG as uint8 ``[H, W, 3]``; EXIF orientation is not applied, as in the reference."""
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def _check_media(
    kind: str,
    opened: Opened,
    inputs: RoboReferInputs,
    arrays: Arrays,
    embeds: list[torch.Tensor],
) -> Rows:
    """Pixels, tower and projector of one modality; appends the rows per placeholder."""
    model, tolerances = opened.model, opened.tolerances
    pixels = getattr(inputs, f"{kind}_pixel_values")
    expected = arrays.get(f"{kind}_pixel_values")
    if pixels is None or expected is None:
        if pixels is not None or expected is not None:
            yield f"{kind}_pixels", math.inf, 0.0
        return
    yield f"{kind}_pixels", difference(pixels, expected), 0.0
    tower = model.vision_tower
    if kind == "depth" and model.depth_tower is not None:
        tower = model.depth_tower
    features = model.tower_features(tower, pixels.to(model.device, model.dtype))
    yield f"{kind}_tower", difference(features, arrays[f"{kind}_tower_out"]), tolerances["tower"]
    encode = model.encode_images if kind == "image" else model.encode_depths
    embeds += encode(pixels, getattr(inputs, f"{kind}_block_sizes"))
    wanted = [arrays[f"{kind}_embeds_{i}"] for i in range(_count(arrays, f"{kind}_embeds_"))]
    worst = math.inf
    if len(embeds) == len(wanted):
        # numpy's maximum keeps a NaN, Python's may drop it
        worst = float(np.max([difference(e, w) for e, w in zip(embeds, wanted, strict=True)]))
    yield f"{kind}_embeds", worst, tolerances["embeds"]


def _check_decoding(
    opened: Opened, spliced: torch.Tensor, meta: dict[str, Any], arrays: Arrays
) -> Rows:
    """Logits along the golden answer; the answer itself where no near tie decides it."""
    llm, tolerance = opened.model.llm, opened.tolerances["logits"]
    ids = torch.from_numpy(arrays["output_ids"].astype(np.int64)).to(spliced.device)
    forced = torch.cat([spliced, llm.get_input_embeddings()(ids[:-1])])
    logits = llm(inputs_embeds=forced[None], use_cache=False).logits[0, len(spliced) - 1 :]
    yield "step_logits", difference(logits, arrays["step_logits"]), tolerance
    key = "fp16_output_ids" if opened.model.dtype == torch.float16 else "output_ids"
    needed = max(MIN_MARGIN, 2 * tolerance)
    if meta.get("min_top1_top2_margin_fp32", 0.0) <= needed or key not in arrays:
        return
    stop_ids = opened.processor.stop_ids
    wanted = list(itertools.takewhile(lambda i: i not in stop_ids, arrays[key].tolist()))
    generated = generate(llm, spliced, stop_ids=stop_ids, max_new_tokens=len(arrays[key]))
    yield "greedy_ids", difference(generated.ids, wanted), 0.0
    if generated.ids == tuple(wanted):
        yield "cached_logprobs", _logprob_difference(generated, arrays), 2 * tolerance


def _logprob_difference(generated: Generated, arrays: Arrays) -> float:
    """The decoder's own log probabilities, made with its cache, against the golden logits."""
    steps = torch.from_numpy(arrays["step_logits"])[: len(generated.ids)]
    expected = torch.log_softmax(steps, dim=-1)[range(len(generated.ids)), generated.ids]
    return difference(generated.logprobs, expected)


def _count(arrays: Arrays, prefix: str) -> int:
    return sum(key.startswith(prefix) for key in arrays)


def difference(ours: Any, theirs: Any) -> float:
    """Largest absolute difference; infinite where the shapes differ."""
    a, b = (np.asarray(_plain(x), dtype=np.float64) for x in (ours, theirs))
    if a.shape != b.shape:
        return math.inf
    return float(np.abs(a - b).max()) if a.size else 0.0


def _plain(values: Any) -> Any:
    return values.detach().double().cpu().numpy() if isinstance(values, torch.Tensor) else values


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
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
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
