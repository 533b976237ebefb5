# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""What a run tells: rewards, spread, lengths and divergence of each step, and examples."""

from __future__ import annotations

import json
import math
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import stdev
from typing import TYPE_CHECKING, Any, TextIO

from roborefer_ros.training.rft.engine import UpdateResult
from roborefer_ros.training.rft.prompts import step_as_json
from roborefer_ros.training.sft.engine import Processes
from roborefer_ros.training.sft.log import RunLog, peak_memory

if TYPE_CHECKING:
    from roborefer_ros.training.rft.loop import Judged

_TERMS = ("total", "outcome_format", "point", "process_format", "accuracy")

#: what is summed between two lines, over all processes
_COUNTED = (
    "waited", "prompts", "spread", "without_spread", "answers", "tokens", "cut", "lost",
    *_TERMS, *(f"{term}_squared" for term in _TERMS),
)  # fmt: skip

#: characters of an answer that a line of the log shows
_SHOWN = 160


class RftLog(RunLog):
    """Log of a run; only the first process writes.

    Args:
        folder: Of the run: ``log.jsonl``, ``examples.jsonl`` and ``tensorboard/``.
        group: The processes.
        every: Steps between two lines.
        total: Steps of the whole run.
        out: Where lines are shown.
    """

    def __init__(
        self, folder: Path, group: Processes, every: int, total: int, out: TextIO | None = None
    ) -> None:
        super().__init__(folder, group, every, total, out)
        self._examples = folder / "examples.jsonl"
        self._counts: dict[str, float] = defaultdict(float)

    def add_step(
        self,
        step: int,
        rate: float,
        result: UpdateResult,
        judged: Sequence[Judged],
        waited: float,
    ) -> None:
        """Note a step; all processes call it.

        Args:
            step: Its number, from 1 on.
            rate: Learning rate.
            result: Of the last update of the step.
            judged: This process' prompts with their answers.
            waited: Time that this process waited for prompts, seconds.
        """
        counts = self._counts
        counts["waited"] += waited
        for one in judged:
            for message in one.ready.loaded.skipped:
                print(f"skipped {message}", file=self._out, flush=True)
            if one.ready.is_lost:
                counts["lost"] += 1
                continue
            spread = stdev(one.totals) if len(one.totals) > 1 else 0.0
            counts["prompts"] += 1
            counts["spread"] += spread
            counts["without_spread"] += len(set(one.totals)) < 2
            for answer, reward in zip(one.answers, one.rewards, strict=True):
                counts["answers"] += 1
                counts["tokens"] += len(answer.ids)
                counts["cut"] += answer.is_cut
                for term in _TERMS:
                    value = getattr(reward, term)
                    counts[term] += value
                    counts[f"{term}_squared"] += value * value
        if self._first_step is None:
            self._first_step, self._started = step, time.monotonic()
        if step % self._every == 0 or step == self._total:
            self._write_step(step, rate, result)

    def _write_step(self, step: int, rate: float, result: UpdateResult) -> None:
        elapsed = max(1e-9, time.monotonic() - self._since)
        names = sorted(_COUNTED)
        summed = self._group.total([self._counts[name] for name in names])
        self._counts.clear()
        self._begin()
        memory = peak_memory(self._group) / 2**30
        if not self._group.is_first:
            return
        values = _values(dict(zip(names, summed, strict=True)), elapsed, self._group.world)
        values |= {
            "loss": result.loss,
            "kl": result.kl,
            "entropy": result.entropy,
            "learning_rate": rate,
            "gradient_norm": result.gradient_norm,
            "memory_gib": memory,
            "skipped": float(result.skipped),
        }
        self._append({"step": step, **values})
        self._plot(step, values)
        print(self._step_line(step, values), file=self._out, flush=True)

    def _step_line(self, step: int, values: Mapping[str, float]) -> str:
        text = (
            f"step {step}/{self._total} reward {values['reward']:.3f} (format "
            f"{values['outcome_format']:.2f} point {values['point']:.2f} steps "
            f"{values['process_format']:.2f} right {values['accuracy']:.2f}) "
            f"spread {values['spread']:.3f} kl {values['kl']:.4f} entropy "
            f"{values['entropy']:.3f} tokens {values['length']:.0f} cut "
            f"{100 * values['cut']:.0f}% lr {values['learning_rate']:.2e} grad "
            f"{values['gradient_norm']:.3g} {values['answers_per_s']:.1f} answers/s "
            f"ETA {self._remaining(step)}"
        )
        return text + (" SKIPPED" if values["skipped"] else "")

    def add_example(self, step: int, judged: Sequence[Judged]) -> None:
        """Keep the best and the worst answer to a prompt on which they differ, if there is one.

        Args:
            step: Its number.
            judged: This process' prompts.
        """
        if not self._group.is_first:
            return
        one = next((j for j in judged if len(set(j.totals)) > 1), judged[0])
        prompt = one.ready.loaded.prompt
        order = sorted(range(len(one.answers)), key=lambda place: one.totals[place])
        worst, best = (
            {"text": one.answers[place].text, **one.rewards[place].as_dict()}
            for place in (order[0], order[-1])
        )
        row: dict[str, Any] = {
            "step": step,
            "id": prompt.id,
            "image": [str(path) for path in prompt.images],
            "question": prompt.question,
            "answer": [list(point) for point in prompt.annotation.answer],
            "key_steps": [step_as_json(key) for key in prompt.annotation.key_steps],
            "best": best,
            "worst": worst,
        }
        with self._examples.open("a") as file:
            file.write(json.dumps(row) + "\n")
        print(f"step {step} example {prompt.id}: {prompt.question}", file=self._out)
        for name, told in (("best", best), ("worst", worst)):
            text = " ".join(str(told["text"]).split())[:_SHOWN]
            print(f"  {name} ({told['total']:.2f}): {text}", file=self._out, flush=True)


def _values(counts: Mapping[str, float], elapsed: float, world: int) -> dict[str, float]:
    """Means from sums."""
    answers, prompts = max(1.0, counts["answers"]), max(1.0, counts["prompts"])
    values = {
        "spread": counts["spread"] / prompts,
        "frac_zero_std": counts["without_spread"] / prompts,
        "length": counts["tokens"] / answers,
        "cut": counts["cut"] / answers,
        "lost_prompts": counts["lost"],
        "answers_per_s": counts["answers"] / elapsed,
        "tokens_per_s": counts["tokens"] / elapsed,
        "data_wait": counts["waited"] / elapsed / world,
    }
    for term in _TERMS:
        mean = counts[term] / answers
        name = "reward" if term == "total" else term
        values[name] = mean
        values[f"{name}_std"] = math.sqrt(max(0.0, counts[f"{term}_squared"] / answers - mean**2))
    return values
