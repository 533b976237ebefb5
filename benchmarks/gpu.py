# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Everything that only a GPU can show, in one command and within eight minutes.

    python -m benchmarks.gpu [--out out/gpu] [--budget-s 470] [--only STEP ...]
    python -m benchmarks.gpu --device cpu --tiny       # the same code, on networks of toy size

Nothing is downloaded: 2B and 8B checkpoints of random weights are written in the official layout
first.  Then, the most important first: parity of the golden cases in three types, the 2B network
beside a plain eager loop of transformers (new frames, the same frame again, five questions,
stages, batches), the tests marked ``gpu``, the server under 1 to 64 clients, the 8B network.

Each step is a process of its own with a limit, so that one that fails or hangs costs no other.
What there is after each step is in ``OUT/gpu.json`` and, to read, in ``OUT/gpu.md``.  Exit status
1 if a step failed, a parity check is over its tolerance or a test failed.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.gpu_page import page
from benchmarks.gpu_steps import ROOT, STEPS, read_rows
from roborefer_ros.arguments import ArgumentParser

#: step -> (seconds that it usually takes at most, seconds after which it is ended)
_LIMITS_S = {
    "build-2b": (60.0, 120.0),
    "build-8b": (120.0, 240.0),
    "parity": (40.0, 90.0),
    "model-2b": (75.0, 150.0),
    "tests": (60.0, 100.0),
    "server-2b": (60.0, 100.0),
    "model-8b": (70.0, 120.0),
}

#: both write files while the GPU checks parity and runs its tests, which are not timed
_BEHIND = ("build-2b", "build-8b")
_ORDER = ("parity", "tests", "model-2b", "server-2b", "model-8b")

#: what a step needs to have been built
_NEEDS = {"model-2b": "build-2b", "server-2b": "build-2b", "model-8b": "build-8b"}


@dataclass
class StepResult:
    """What became of a step.

    Attributes:
        step: Name of the step.
        status: "ok", "failed", "timed out" or "skipped".
        seconds: Its duration.
        rows: Its measurements.
        error: Last lines of what it wrote when it failed, or why it was skipped.
    """

    step: str
    status: str
    seconds: float
    rows: list[dict[str, Any]]
    error: str = ""


class Runner:
    """Runs steps within a budget and keeps what they measured.

    Args:
        options: Parsed arguments.
        work: Folder for checkpoints.
    """

    def __init__(self, options: argparse.Namespace, work: Path) -> None:
        self._options = options
        self._work = work
        self._started = time.monotonic()
        self._lock = threading.Lock()
        self.results: list[StepResult] = []

    @property
    def elapsed_s(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._started

    def run(self, step: str) -> StepResult:
        """Run a step if there is time for it; its result is written at once."""
        usual_s, limit_s = _LIMITS_S[step]
        left_s = self._options.budget_s - self.elapsed_s
        need = _NEEDS.get(step)
        built = {r.step for r in self.results if r.status == "ok"}
        if need and need not in built:
            result = StepResult(step, "skipped", 0.0, [], f"{need} did not succeed")
        elif left_s < min(usual_s, 15.0):
            result = StepResult(step, "skipped", 0.0, [], f"{left_s:.0f} s of the budget were left")
        else:
            result = self._run(step, min(limit_s, left_s))
        with self._lock:
            self.results.append(result)
            self.write()
        print(f"{self.elapsed_s:5.0f} s  {step:<10} {result.status} {result.error[-300:]}")
        sys.stdout.flush()
        return result

    def _run(self, step: str, seconds: float) -> StepResult:
        options = self._options
        command = [sys.executable, "-m", "benchmarks.gpu_steps", step, "--work", str(self._work)]
        command += ["--device", options.device, "--seconds", f"{max(5.0, seconds - 10.0):.0f}"]
        command += ["--tiny"] if options.tiny else []
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(_paths())}
        started = time.monotonic()
        with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
            process = subprocess.Popen(
                command, cwd=ROOT, stdout=out, stderr=err, env=environment, start_new_session=True
            )
            status = "ok"
            try:
                if process.wait(seconds) != 0:
                    status = "failed"
            except subprocess.TimeoutExpired:
                status = "timed out"
                os.killpg(process.pid, 9)  # with the servers and tests that it started
                process.wait()
            out.seek(0)
            err.seek(0)
            rows = list(read_rows(iter(out)))
            error = "" if status == "ok" else "".join(err.readlines()[-12:])
        return StepResult(step, status, time.monotonic() - started, rows, error)

    def report(self) -> dict[str, Any]:
        """All measurements, for programs."""
        return {
            "device": self._options.device,
            "tiny": self._options.tiny,
            "seconds": round(self.elapsed_s, 1),
            "steps": [
                {"step": r.step, "status": r.status, "seconds": r.seconds, "error": r.error}
                for r in self.results
            ],
            "rows": [row for result in self.results for row in result.rows],
        }

    def write(self) -> None:
        """Write both files, as far as there is something."""
        folder = self._options.out
        folder.mkdir(parents=True, exist_ok=True)
        report = self.report()
        (folder / "gpu.json").write_text(json.dumps(report, indent=1) + "\n")
        (folder / "gpu.md").write_text(page(report))

    @property
    def passed(self) -> bool:
        """Whether nothing failed."""
        rows = [row for result in self.results for row in result.rows]
        return (
            all(r.status in ("ok", "skipped") for r in self.results)
            and not any(row.get("over") for row in rows if row["kind"] == "parity")
            and not any(row["failures"] for row in rows if row["kind"] == "tests")
        )


def _paths() -> list[str]:
    known = os.environ.get("PYTHONPATH", "")
    return [str(ROOT), *([known] if known else [])]


def main(argv: list[str] | None = None) -> int:
    """Run the steps; returns the exit status."""
    parser = ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("out/gpu"), help="folder of the results")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--budget-s", type=float, default=470.0, help="in all, seconds")
    parser.add_argument("--only", nargs="+", choices=STEPS, help="these steps")
    parser.add_argument("--tiny", action="store_true", help="networks of toy size")
    parser.add_argument("--work", type=Path, help="keep the checkpoints in this folder")
    options = parser.parse_args(argv)
    if options.device != "cpu":
        import torch

        if not torch.cuda.is_available():
            parser.error("torch sees no CUDA GPU; --device cpu --tiny runs the same code without")
    wanted = set(options.only or STEPS)
    with tempfile.TemporaryDirectory(prefix="roborefer-gpu-") as temporary:
        runner = Runner(options, options.work or Path(temporary))
        builder = threading.Thread(
            target=lambda: [runner.run(step) for step in _BEHIND if step in wanted]
        )
        builder.start()
        for step in _ORDER:
            if step not in wanted:
                continue
            if step in _NEEDS:
                builder.join()  # nothing else may run while something is timed
            runner.run(step)
        builder.join()
        runner.write()
    print(page(runner.report()))
    print(f"{options.out / 'gpu.json'} and {options.out / 'gpu.md'} hold all of it")
    return 0 if runner.passed else 1


if __name__ == "__main__":
    raise SystemExit(main())
