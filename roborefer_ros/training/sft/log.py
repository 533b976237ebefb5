# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""What a run tells: a line for each step, a file of all numbers, and the trackers' curves."""

from __future__ import annotations

import json
import sys
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from roborefer_ros.training.data.dataset import SkipTally
from roborefer_ros.training.sft.batches import Batch
from roborefer_ros.training.sft.engine import Processes, StepResult
from roborefer_ros.training.sft.evaluation import Evaluation
from roborefer_ros.training.sft.trackers import Tracker, open_trackers

#: steps between two lines with the loss of each data set
DATASETS_EVERY = 50


class RunLog:
    """Log of a run; only the first process writes.

    Args:
        folder: Of the run; ``log.jsonl`` is written there.
        group: The processes.
        every: Steps between two lines.
        total: Steps of the whole run.
        out: Where lines are shown.
        trackers: Take the numbers, too, on the first process; owned from now on.  TensorBoard by
            default, where it is installed.
    """

    def __init__(
        self,
        folder: Path,
        group: Processes,
        every: int,
        total: int,
        out: TextIO | None = None,
        trackers: Sequence[Tracker] | None = None,
    ) -> None:
        self._group, self._every, self._total = group, every, total
        self._out = out or sys.stderr
        self._path = folder / "log.jsonl"
        if trackers is None:
            trackers = open_trackers(("tensorboard",), folder, {}) if group.is_first else ()
        self._trackers = trackers
        self._sums: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
        self._skips = SkipTally()
        self._begin()
        self._first_step: int | None = None
        self._started = time.monotonic()
        self._apart = 0.0

    def _begin(self) -> None:
        self._rows = self._positions = self._cut = self._lost = 0
        self._waited = 0.0
        self._since = time.monotonic()

    def add(
        self, step: int, rate: float, result: StepResult, batches: Iterable[Batch], waited: float
    ) -> None:
        """Note a step; all processes call it.

        Args:
            step: Its number, from 1 on.
            rate: Learning rate.
            result: Of the step.
            batches: This process'.
            waited: Time that this process waited for them, seconds.

        Raises:
            ConfigurationError: more than 0.1 % of a data set's samples had defective pictures.
        """
        self._waited += waited
        rows = iter(result.rows)
        for batch in batches:
            self._rows += len(batch.names)
            for loaded in batch.origins:
                self._skips.add(loaded)
                for message in loaded.skipped:
                    print(f"skipped {message}", file=self._out, flush=True)
            self._positions += batch.positions
            self._cut += batch.cut_pairs
            self._lost += batch.lost_rows
            for name, (loss, tokens) in zip(batch.names, rows, strict=False):
                self._sums[name][0] += loss
                self._sums[name][1] += tokens
        if self._first_step is None:
            self._first_step, self._started = step, time.monotonic()
        if step % self._every == 0 or step == self._total:
            self._write(step, rate, result)
        if step % DATASETS_EVERY == 0 or step == self._total:
            self._write_datasets(step)

    def evaluated(self, found: Evaluation, duration_s: float, is_best: bool) -> None:
        """Note an evaluation; its time counts for no rate.

        Args:
            found: What it found.
            duration_s: What it took, seconds.
            is_best: Whether no evaluation before was as good.
        """
        self._since += duration_s
        self._apart += duration_s
        if not self._group.is_first:
            return
        self._append(
            {"step": found.step, "evaluation": found.values, "seconds": duration_s,
             "is_best": is_best}
        )  # fmt: skip
        self._plot(found.step, found.values)
        best = ", the best so far" if is_best else ""
        text = f"step {found.step} evaluation: {found.line()} ({duration_s:.1f} s){best}"
        print(text, file=self._out, flush=True)

    def note(self, text: str, **values: Any) -> None:
        """Tell an event, once for all processes."""
        if self._group.is_first:
            print(text, file=self._out, flush=True)
            self._append({"event": text, **values})

    def close(self) -> None:
        """Write what is not written yet."""
        for tracker in self._trackers:
            tracker.close()

    def _write(self, step: int, rate: float, result: StepResult) -> None:
        elapsed = max(1e-9, time.monotonic() - self._since)
        rows, positions, cut, lost, waited = self._group.total(
            [self._rows, self._positions, self._cut, self._lost, self._waited]
        )
        self._begin()
        values = {
            "loss": result.loss,
            "learning_rate": rate,
            "gradient_norm": result.gradient_norm,
            "learned_tokens": float(result.tokens),
            "tokens_per_s": positions / elapsed,
            "rows_per_s": rows / elapsed,
            "data_wait": waited / elapsed / self._group.world,
            "memory_gib": peak_memory(self._group) / 2**30,
            "skipped": float(result.skipped),
            "cut_pairs": cut,
            "lost_rows": lost,
            **{f"loss/{name}": value for name, value in result.parts.items()},
        }
        if not self._group.is_first:
            return
        self._append({"step": step, **values})
        self._plot(step, values)
        print(self._line(step, values), file=self._out, flush=True)

    def _line(self, step: int, values: Mapping[str, float]) -> str:
        text = (
            f"step {step}/{self._total} loss {values['loss']:.4f} "
            f"lr {values['learning_rate']:.2e} grad {values['gradient_norm']:.3g} "
            f"{values['tokens_per_s']:.0f} tokens/s {values['rows_per_s']:.1f} rows/s "
            f"data {100 * values['data_wait']:.0f}% mem {values['memory_gib']:.1f} GiB "
            f"ETA {self._remaining(step)}"
        )
        return text + (" SKIPPED" if values["skipped"] else "")

    def _remaining(self, step: int) -> str:
        assert self._first_step is not None
        done = step - self._first_step
        if not done:
            return "?"
        elapsed = time.monotonic() - self._started - self._apart
        return duration(elapsed / done * (self._total - step))

    def _write_datasets(self, step: int) -> None:
        total: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
        for own in self._group.gathered(dict(self._sums)):
            assert isinstance(own, dict)
            for name, (loss, tokens) in own.items():
                total[name][0] += loss
                total[name][1] += tokens
        self._sums.clear()
        means = {name: loss / tokens for name, (loss, tokens) in sorted(total.items()) if tokens}
        if not self._group.is_first or not means:
            return
        skipped = dict(self._skips.skipped)
        self._append({"step": step, "dataset_losses": means, "skipped_here": skipped})
        self._plot(step, {f"dataset/{name}": loss for name, loss in means.items()})
        if len(means) > 1:
            shown = ", ".join(f"{name} {loss:.4f}" for name, loss in means.items())
            print(f"step {step} losses: {shown}", file=self._out, flush=True)

    def _append(self, values: Mapping[str, Any]) -> None:
        with self._path.open("a") as file:
            file.write(json.dumps(values) + "\n")

    def _plot(self, step: int, values: Mapping[str, float]) -> None:
        for tracker in self._trackers:
            tracker.add(step, values)


def duration(seconds: float) -> str:
    """As ``2d 03:04:05``."""
    whole = max(0, round(seconds))
    days, rest = divmod(whole, 86400)
    clock = f"{rest // 3600:02d}:{rest % 3600 // 60:02d}:{rest % 60:02d}"
    return f"{days}d {clock}" if days else clock


def peak_memory(group: Processes) -> int:
    """Most memory of this process so far, bytes: on the GPU, else resident."""
    if group.device.type == "cuda":
        import torch

        return int(torch.cuda.max_memory_allocated(group.device))
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
