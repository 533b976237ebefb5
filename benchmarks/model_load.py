# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""How long a checkpoint takes to open, and how much memory at the peak.

    python -m benchmarks.model_load [--size small|2b|8b] [--dtype bfloat16] [--device cuda]
    python -m benchmarks.model_load --checkpoint FOLDER

Without ``--checkpoint`` one of the given size is written to a temporary folder first, with
meaningless weights.  Each measurement is a process of its own; its time is set beside that
of merely reading the files, which the page cache may make fast: the ratio counts.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.model_synthetic import SIZES, write_synthetic
from roborefer_ros.arguments import ArgumentParser

_CHILD = "import sys; from benchmarks.model_load import child; child(*sys.argv[1:])"


@dataclass(frozen=True)
class Opening:
    """One opened checkpoint.

    Attributes:
        weight_bytes: of all weights that are kept, in the type they are kept in.
        peak_ram_bytes: most resident memory while opening, above what Python, torch and
            transformers had before; mapped files included.
        peak_device_bytes: most allocated on the GPU; 0 on the CPU.
        seconds: to open.
        read_seconds: to read the bytes of the weight files.
    """

    weight_bytes: int
    peak_ram_bytes: int
    peak_device_bytes: int
    seconds: float
    read_seconds: float

    @property
    def ram_ratio(self) -> float:
        """Peak memory over the size of the weights."""
        return self.peak_ram_bytes / self.weight_bytes


def measure(folder: Path, device: str = "cpu", dtype: str = "bfloat16") -> Opening:
    """Open a checkpoint in a process of its own (Linux: memory is read from /proc)."""
    run = subprocess.run(
        [sys.executable, "-c", _CHILD, str(folder), device, dtype],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return Opening(**json.loads(run.stdout.splitlines()[-1]))


def child(folder: str, device: str, dtype: str) -> None:
    """The measured process; prints an ``Opening``."""
    import torch
    import transformers.models.qwen2.tokenization_qwen2  # noqa: F401 (else counted as opening)

    from roborefer_ros.models.roborefer.checkpoint import load_roborefer
    from roborefer_ros.models.roborefer.modeling import RoboRefer  # noqa: F401

    started = time.perf_counter()
    for file in sorted(Path(folder).rglob("*.safetensors")):
        with file.open("rb", buffering=0) as opened:
            while opened.read(2**24):
                pass
    read_seconds = time.perf_counter() - started
    if device.startswith("cuda"):
        torch.zeros(1, device=device)
        torch.cuda.reset_peak_memory_stats()
    before = reset_peak_memory()
    started = time.perf_counter()
    model, _ = load_roborefer(folder, device, dtype)
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    seconds = time.perf_counter() - started
    opening = Opening(
        weight_bytes=sum(p.nbytes for p in model.parameters()),
        peak_ram_bytes=process_status("VmHWM") - before,
        peak_device_bytes=torch.cuda.max_memory_allocated() if device.startswith("cuda") else 0,
        seconds=seconds,
        read_seconds=read_seconds,
    )
    print(json.dumps(asdict(opening)))


def reset_peak_memory() -> int:
    """Resident bytes of this process now; its peak is counted from here."""
    Path("/proc/self/clear_refs").write_text("5")
    return process_status("VmRSS")


def process_status(key: str) -> int:
    """Bytes of a line of ``/proc/self/status``, e.g. ``VmHWM``, the peak of resident memory."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(key)).split()[1]) * 1024


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    parser = ArgumentParser(description="Time and memory of opening a checkpoint")
    parser.add_argument("--size", choices=sorted(SIZES), default="2b")
    parser.add_argument("--checkpoint", type=Path, help="an existing one instead")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", nargs="+", default=["bfloat16"])
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.checkpoint or Path(temporary)
        if arguments.checkpoint is None:
            print(f"writing a {arguments.size} checkpoint to {folder} ...", file=sys.stderr)
            write_synthetic(folder, arguments.size)
        openings = {d: measure(folder, arguments.device, d) for d in arguments.dtype}
    if arguments.json:
        rows = [{"dtype": d, "ram_ratio": o.ram_ratio, **asdict(o)} for d, o in openings.items()]
        print(json.dumps({"device": arguments.device, "openings": rows}, indent=1))
        return 0
    for dtype, opening in openings.items():
        print(
            f"{dtype} on {arguments.device}: weights {opening.weight_bytes / 2**30:.2f} GiB, "
            f"peak RAM {opening.peak_ram_bytes / 2**30:.2f} GiB ({opening.ram_ratio:.2f}x), "
            f"{opening.seconds:.1f} s (reading the files: {opening.read_seconds:.1f} s)"
        )
        if opening.peak_device_bytes:
            print(f"    on the device at most {opening.peak_device_bytes / 2**30:.2f} GiB")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
