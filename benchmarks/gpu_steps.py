# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The steps of ``benchmarks.gpu``, each a process of its own.

A step prints one JSON object a line as soon as it has measured it, so that what is measured stays
measured when a later case fails, hangs or runs out of time:

    python -m benchmarks.gpu_steps STEP --work FOLDER --device cuda --seconds 120 [--tiny]
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from roborefer_ros.arguments import ArgumentParser

ROOT = Path(__file__).resolve().parents[1]
GOLDEN = ROOT / "test" / "data" / "golden"

#: network -> size of ``model_synthetic``
_SIZES = {"2b": "2b", "8b": "8b"}
_TINY = {"2b": "tiny-2b", "8b": "tiny-8b"}

_IMAGES = ((640, 480), (848, 480), (1280, 720))
_TINY_IMAGES = ((64, 48),)

Row = dict[str, Any]


class Step:
    """What a step may do, and for how long.

    Args:
        options: Parsed arguments.
    """

    def __init__(self, options: argparse.Namespace) -> None:
        self.device: str = options.device
        self.is_tiny: bool = options.tiny
        self.work: Path = options.work
        self._end = time.monotonic() + options.seconds

    @property
    def left_s(self) -> float:
        """Seconds that this step may still take."""
        return self._end - time.monotonic()

    @property
    def images(self) -> tuple[tuple[int, int], ...]:
        """Image sizes, ``(width, height)``."""
        return _TINY_IMAGES if self.is_tiny else _IMAGES

    @property
    def dtype(self) -> str:
        """Type of the weights under measurement."""
        return "float32" if self.device == "cpu" else "bfloat16"

    def folder(self, network: str) -> Path:
        """Where the checkpoint of a network lies."""
        return self.work / network

    def size(self, network: str) -> str:
        """Name of the network's shape in ``model_synthetic``."""
        return (_TINY if self.is_tiny else _SIZES)[network]


def tell(kind: str, **values: Any) -> None:
    """Report one measurement."""
    print(json.dumps({"kind": kind, **values}), flush=True)


# --- steps -----------------------------------------------------------------------------


def build(step: Step, network: str) -> None:
    """Write a checkpoint of random weights in the official layout, and for 2B a depth network."""
    import torch

    from benchmarks.model_stages import write_depth_network
    from benchmarks.model_synthetic import write_synthetic

    started = time.perf_counter()
    kind = torch.float32 if step.device == "cpu" else torch.bfloat16
    size = write_synthetic(step.folder(network), step.size(network), kind)
    if network == "2b":
        write_depth_network(step.work / "depth", "tiny" if step.is_tiny else "large")
    tell("built", network=network, bytes=size, seconds=time.perf_counter() - started)


def parity(step: Step) -> None:
    """The golden cases of the reference on this device, in three types."""
    import torch

    from benchmarks.model_stages import measure_machine
    from benchmarks.parity import check_folder

    device = torch.device(step.device)
    rates = {}
    halves = () if step.device == "cpu" else (torch.bfloat16, torch.float16)
    for dtype in (*halves, torch.float32):
        machine = measure_machine(device, dtype)
        rates[str(dtype).removeprefix("torch.")] = asdict(machine)
    tell("machine", **_machine(device), measured=rates)
    for dtype in ("float32", "bfloat16", "float16"):
        started = time.perf_counter()
        checks = check_folder(GOLDEN, step.device, dtype)
        over = [c for c in checks if not c.passed]
        tell(
            "parity",
            dtype=dtype,
            checks=len(checks),
            over=[
                f"{c.case} {c.stage}: {c.difference:.2e} > {c.tolerance:.2e} {c.note}".strip()
                for c in over
            ],
            seconds=time.perf_counter() - started,
        )


def tests(step: Step) -> None:
    """The tests marked ``gpu``."""
    files = sorted((ROOT / "test").rglob("test_*.py"))
    marked = [str(path) for path in files if "mark.gpu" in path.read_text()]
    command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "-p", "no:cacheprovider"]
    command += ["--timeout", "90", *marked]
    try:
        run = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, timeout=max(1.0, step.left_s)
        )
        text = run.stdout
    except subprocess.TimeoutExpired as error:
        text = (error.stdout or b"").decode(errors="replace") + "\ndid not end in time"
    counts = {
        word: int(number)
        for number, word in re.findall(r"(\d+) (passed|failed|skipped|errors?)", text)
    }
    failures = [line for line in text.splitlines() if line.startswith(("FAILED", "ERROR"))]
    tell("tests", counts=counts, failures=failures, last_line=(text.splitlines() or [""])[-1])


def model(step: Step, network: str) -> None:
    """Opening, answers, stages and batches of one network, beside the reference's loop."""
    opened = _open(step, network)
    images = step.images if network == "2b" else step.images[::2]
    first, *others = [(size, depth) for depth in (True, False) for size in images]
    _answers(step, opened, [first])
    _stages(step, opened, network, images[:1])
    _answers(step, opened, others)
    _batches(step, opened, network)
    _stages(step, opened, network, images[1:])


def server(step: Step, network: str) -> None:
    """``roborefer serve`` under 1 to 64 clients."""
    from benchmarks.server import Bodies, Process, load

    clients = (1, 4) if step.is_tiny else (1, 4, 16, 64)
    width, height = step.images[0]
    bodies = Bodies(width, height)
    spec = f"roborefer:{step.folder(network)}?static=true"
    command = ["-m", "roborefer_ros.cli", "serve", "--model", spec, "--device", step.device]
    limits = ["--max-new-tokens", "15", "--max-batch", "16", "--max-queue", "256"]
    with Process(*command, *limits, "--port", "0", "--timeout-s", "300") as process:
        load(process.port, 1, 4, lambda *_: bodies.new())  # warm
        for count in clients:
            own = [bodies.new() for _ in range(count)]
            makers: dict[str, Callable[[int, int], bytes]] = {
                "new frame": lambda *_: bodies.new(),
                "same frame": lambda client, _, own=own: own[client],  # type: ignore[misc]
            }
            for kind, make in makers.items():
                if step.left_s < 5.0:
                    tell("skipped", what=f"server of {network}, {count} clients, {kind}")
                    continue
                done = load(process.port, count, 4 * count, make)
                tell("server", network=network, clients=count, load=kind, **asdict(done))


STEPS: dict[str, Callable[[Step], None]] = {
    "build-2b": lambda step: build(step, "2b"),
    "build-8b": lambda step: build(step, "8b"),
    "parity": parity,
    "tests": tests,
    "model-2b": lambda step: model(step, "2b"),
    "model-8b": lambda step: model(step, "8b"),
    "server-2b": lambda step: server(step, "2b"),
}


# --- parts of the model step ------------------------------------------------------------


def _open(step: Step, network: str) -> Any:
    """Open a checkpoint straight onto the device, and tell what that took."""
    import torch

    from benchmarks.gpu_answers import Opened, peak, reset_peak
    from benchmarks.gpu_floors import machine_of
    from benchmarks.model_load import process_status, reset_peak_memory
    from benchmarks.model_stages import measure_machine
    from roborefer_ros.models.roborefer.checkpoint import load_roborefer

    device = torch.device(step.device)
    before = reset_peak_memory()
    started = time.perf_counter()
    opened, processor = load_roborefer(
        step.folder(network), step.device, step.dtype, keep_unused=True
    )
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    seconds = time.perf_counter() - started
    peak_ram = process_status("VmHWM") - before
    machine = machine_of(_machine(device)["device"], measure_machine(device, opened.dtype))
    subject = Opened(network, opened, processor, machine, repeats=1 if step.is_tiny else 5)
    tell(
        "opened",
        network=network,
        dtype=step.dtype,
        seconds=seconds,
        weight_bytes=sum(p.nbytes for p in opened.parameters()),
        peak_ram_bytes=peak_ram,
        peak_device_bytes=peak(subject),
        peaks=asdict(machine),
    )
    reset_peak(subject)
    return subject


def _answers(step: Step, opened: Any, cases: list[tuple[tuple[int, int], bool]]) -> None:
    from benchmarks.gpu_answers import measure_answers

    for size, with_depth in cases:
        if step.left_s < 10.0:
            tell("skipped", what=f"answers of {opened.name} at {size}, depth {with_depth}")
            continue
        tell("answers", network=opened.name, **measure_answers(opened, size, with_depth))


def _batches(step: Step, opened: Any, network: str) -> None:
    from benchmarks.gpu_answers import measure_batches

    batches = (1, 2) if step.is_tiny else (1, 2, 4, 8, 16) if network == "2b" else (1, 4, 8)
    rows = measure_batches(opened, step.images[0], True, batches)
    for batch in batches:
        if step.left_s < 10.0:
            tell("skipped", what=f"batches of {network} from {batch} on")
            return
        tell("batch", network=network, **next(rows))


def _stages(step: Step, opened: Any, network: str, images: tuple[tuple[int, int], ...]) -> None:
    """Each stage beside its floor; the depth network is the reference's (large)."""
    from benchmarks.model_stages import stages
    from roborefer_ros.models.depth_anything import DepthAnything

    depth = DepthAnything(step.work / "depth", step.device)
    for size in images:
        if step.left_s < 10.0:
            tell("skipped", what=f"stages of {network} at {size}")
            continue
        for stage in stages(
            size, opened.network, opened.processor, depth, 1 if step.is_tiny else 3
        ):
            width = opened.network.llm.lm_head.weight.element_size()
            floor = stage.floor_ms(opened.machine, width)
            tell("stage", network=network, floor_ms=floor, **asdict(stage))
    depth.close()


def _machine(device: Any) -> Row:
    """What ran this."""
    import platform

    import torch
    import transformers

    values: Row = {
        "device": platform.processor() or platform.machine(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "python": platform.python_version(),
    }
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        values.update(
            device=properties.name,
            cuda=torch.version.cuda,
            capability=f"{properties.major}.{properties.minor}",
            memory_bytes=properties.total_memory,
        )
    return values


def arguments() -> ArgumentParser:
    """The options of a step."""
    parser = ArgumentParser(description="One step of benchmarks.gpu")
    parser.add_argument("step", choices=STEPS)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--tiny", action="store_true")
    return parser


def read_rows(lines: Iterator[str]) -> Iterator[Row]:
    """The measurements among the lines that a step printed."""
    for line in lines:
        if line.startswith("{"):
            try:
                row = json.loads(line)
            except ValueError:
                continue
            if isinstance(row, dict) and "kind" in row:
                yield row


def main(argv: list[str] | None = None) -> int:
    """Run one step; returns its exit status."""
    options = arguments().parse_args(argv)
    STEPS[options.step](Step(options))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
