# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""RoboRefer here beside a loop in the reference's style: ratios, all of one run.

    python -m benchmarks.inference_ratios [--size small] [--image 848x480] [--json]

Both compute with the same random weights, type and threads, in turn, so that whatever else the
machine does meets both.  A ratio above 1 is time saved.  Measured are the first answer of a process
(start, imports, weights, answer), each stage of an answer about a new frame, the same frame again,
five questions about a frame, and 16 clients with frames of their own or one in common.  Answers
have the passes of a real answer (``benchmarks.gpu_answers``).
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from roborefer_ros.arguments import ArgumentParser, positive_int

ROOT = Path(__file__).resolve().parents[1]

_CHILD = (
    "import sys; from benchmarks.inference_ratios import first_answer; first_answer(*sys.argv[1:])"
)

#: clients that ask at the same time
CLIENTS = 16


def first_answer(which: str, folder: str, width: str, height: str) -> None:
    """The measured process: answer one question and end."""
    import numpy as np

    size = int(height), int(width), 3
    rgb = np.random.default_rng(0).integers(0, 256, size, dtype=np.uint8)
    depth = np.ascontiguousarray(rgb[..., 0])
    if which == "reference":
        from benchmarks.reference_loop import ReferenceLoop, open_the_references_way

        loop = ReferenceLoop(*open_the_references_way(Path(folder)))
        loop.answer("Point to the mug.", [rgb], [depth])
        return
    from roborefer_ros.inference.model import Picture, Request, SamplingParams, complete_all
    from roborefer_ros.pointing.factory import open_pointer

    model = open_pointer(f"roborefer:{folder}", device="cpu").model
    request = Request(
        "Point to the mug.", (Picture.of(rgb),), (Picture.of(depth),), SamplingParams(15)
    )
    complete_all(model, [request])


def measure_processes(folder: Path, size: tuple[int, int], repeats: int) -> dict[str, float]:
    """Median seconds of a whole process, in turn; the files are in the page cache."""
    times: dict[str, list[float]] = {"reference": [], "here": []}
    for turn in range(repeats + 1):
        for which, own in times.items():
            command = [sys.executable, "-c", _CHILD, which, str(folder), *map(str, size)]
            started = time.perf_counter()
            subprocess.run(command, check=True, cwd=ROOT, capture_output=True)
            if turn:
                own.append(time.perf_counter() - started)
    return {which: statistics.median(own) for which, own in times.items()}


def measure_clients(opened: Any, size: tuple[int, int], alone_ms: float) -> dict[str, float]:
    """Answers a second to clients at the same time, beside the loop that takes one by one."""
    from benchmarks.gpu_answers import measure_batches
    from roborefer_ros.inference.model import Request, complete_all

    (row,) = measure_batches(opened, size, True, [CLIENTS])
    first = opened.request(size, True)
    same = [
        Request(opened.prompt(n), first.images, first.depths, first.sampling)
        for n in range(CLIENTS)
    ]
    model = opened.model(max_batch=CLIENTS)
    times = []
    for _ in range(opened.repeats + 1):
        model.vision.clear()
        model.prefixes.clear()
        started = time.perf_counter()
        complete_all(model, same)
        times.append(1e3 * (time.perf_counter() - started))
    return {
        "own frames": CLIENTS * alone_ms / row["ms"],
        "one frame": CLIENTS * alone_ms / statistics.median(times[1:]),
    }


def measure(
    folder: Path, size: tuple[int, int], repeats: int, processes: bool = True
) -> dict[str, Any]:
    """All ratios for a checkpoint.

    Args:
        folder: Checkpoint in the official layout.
        size: Width and height of the pictures, pixels.
        repeats: Measurements of each kind.
        processes: Whether whole processes are timed, too.
    """
    import torch

    from benchmarks.gpu_answers import Opened, measure_answers
    from benchmarks.model_stages import measure_machine
    from roborefer_ros.models.roborefer.checkpoint import load_roborefer

    started = measure_processes(folder, size, repeats) if processes else {}
    network, processor = load_roborefer(folder, "cpu", "float32", keep_unused=True)
    machine = measure_machine(torch.device("cpu"), torch.float32)
    opened = Opened("cpu", network, processor, machine, repeats, fixed_shapes=False)
    row = measure_answers(opened, size, True)
    ours, theirs = row["stages_ms"], row["reference_stages_ms"]
    stages = {
        "preprocess": theirs["preprocess"] / ours["preprocess"],
        "towers": theirs["towers"] / ours["encode"],
        "prefill": theirs["prefill"] / ours["prefill"],
        "decode": theirs["decode"] / ours["decode"],
    }
    first = {"first answer of a process": started["reference"] / started["here"]} if started else {}
    ratios = {
        **first,
        **stages,
        "new frame": row["ratio_new"],
        "the same frame again": row["ratio_again"],
        "5 questions on a frame": row["ratio_questions"],
    }
    for kind, ratio in measure_clients(opened, size, row["reference_ms"]).items():
        ratios[f"{CLIENTS} clients, {kind}"] = ratio
    seconds = {"process": started, "reference_ms": row["reference_ms"], "new_ms": row["new_ms"]}
    return {"ratios": ratios, "measured": seconds, "tiles": row["tiles"]}


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    from benchmarks.model_synthetic import SIZES, write_synthetic

    parser = ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--size", choices=sorted(SIZES), default="small")
    parser.add_argument("--image", default="848x480", help="WIDTHxHEIGHT")
    parser.add_argument("--repeats", type=positive_int, default=3)
    parser.add_argument("--no-processes", action="store_true", help="leave out whole processes")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(argv)
    width, height = (int(side) for side in options.image.split("x"))
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        import torch

        write_synthetic(folder, options.size, torch.float32)
        size = width, height
        result = measure(folder, size, options.repeats, not options.no_processes)
    if options.json:
        print(json.dumps(result, indent=1))
        return 0
    print(f"{options.size}, {options.image}, RGB-D, {result['tiles']} tiles: times as fast")
    for name, ratio in result["ratios"].items():
        print(f"{name:<28} {ratio:6.2f}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
