# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""All checks of a checkpoint, and the text that can be pasted into an issue."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field

from roborefer_ros.verify.example_pictures import NEAR, ExampleResult
from roborefer_ros.verify.golden_case import GoldenCheck
from roborefer_ros.verify.identity import Identity
from roborefer_ros.verify.published_numbers import SplitResult

#: example pictures that may be answered elsewhere: which checkpoint drew them is not stated
_MAY_MISS = 1


@dataclass
class Verdict:
    """What is known about a checkpoint on this machine.

    Attributes:
        model: What the user named.
        machine: Versions and device, one line.
        identity: What the files are; None where they cannot be read.
        golden: The golden case in each type.
        examples: The example pictures; empty where they were not asked.
        depth: Which depth the model was shown.
        benchmark: Name of the benchmark, if one was run.
        splits: Its splits.
        failures: What ended a check, one line each.
    """

    model: str
    machine: str
    identity: Identity | None = None
    golden: list[GoldenCheck] = field(default_factory=list)
    examples: Sequence[ExampleResult] = ()
    depth: str = ""
    benchmark: str = ""
    splits: Sequence[SplitResult] = ()
    failures: list[str] = field(default_factory=list)

    @property
    def reasons(self) -> list[str]:
        """Why it is not accepted; empty for one that is."""
        found = list(self.failures)
        if self.identity is not None:
            found += self.identity.problems
            if not self.identity.is_sft and not self.identity.problems:
                found.append(f"not RoboRefer's SFT weights ({self.identity.stage})")
        found += [f"golden case: {c.describe()}" for c in self.golden if not c.passed]
        missed = [e for e in self.examples if not e.is_near]
        if len(missed) > _MAY_MISS:
            without = sum(e.point is None for e in self.examples)
            detail = f", {without} without a point" if without else ""
            found.append(
                f"{len(missed)} of {len(self.examples)} example pictures are answered elsewhere "
                f"than published{detail}"
            )
        found += [
            f"{self.benchmark} {split.split}: {split.percent:.1f} %, published "
            + " or ".join(f"{percent:.1f}" for _, percent in split.published)
            for split in self.splits
            if not split.agrees
        ]
        return found

    @property
    def is_accepted(self) -> bool:
        """Whether everything that was checked is as published."""
        return not self.reasons

    def text(self) -> str:
        """The report, as Markdown."""
        lines = [f"### roborefer verify {self.model}", "", self.machine, ""]
        if self.identity is not None:
            lines += [f"- checkpoint: {self.identity.describe()}"]
        if self.golden:
            mark = "yes" if all(c.passed for c in self.golden) else "NO"
            lines += [f"- computes what the reference computes: {mark}"]
            lines += [f"  - {check.describe()}" for check in self.golden]
        if self.examples:
            near = sum(e.is_near for e in self.examples)
            lines += [
                f"- example pictures ({self.depth}): {near} of {len(self.examples)} within "
                f"{NEAR:g} of the published point, {self._median_s():.2f} s each",
                "",
                *self._example_table(),
            ]
        if self.splits:
            lines += ["", *self._benchmark_table()]
        lines += ["", self._last_line()]
        return "\n".join(lines)

    def _median_s(self) -> float:
        return statistics.median(e.seconds for e in self.examples)

    def _example_table(self) -> list[str]:
        rows = ["| picture | instruction | published | here | apart |", "|---|---|---|---|---|"]
        for e in self.examples:
            here = "none: " + _cell(e.answer) if e.point is None else _point(e.point)
            apart = "" if math.isinf(e.distance) else f"{e.distance:.3f}"
            cells = (e.picture, e.instruction, _point(e.published), here, apart)
            rows.append(f"| {' | '.join(cells)} |")
        return rows

    def _benchmark_table(self) -> list[str]:
        rows = [
            f"| {self.benchmark} | here, % | 95 % interval | answers | published, % |",
            "|---|---|---|---|---|",
        ]
        for s in self.splits:
            published = "; ".join(f"{percent:.1f} {name}" for name, percent in s.published)
            interval = f"{s.low:.1f} to {s.high:.1f}"
            rows.append(
                f"| {s.split} | {s.percent:.1f} | {interval} | {s.count} | {published or '-'} |"
            )
        return rows

    def _last_line(self) -> str:
        if self.is_accepted:
            return "**Verdict: accepted.**"
        return "**Verdict: not accepted.** " + "; ".join(self.reasons) + "."


def _point(point: tuple[float, float]) -> str:
    return f"{point[0]:.3f}, {point[1]:.3f}"


def _cell(text: str) -> str:
    """Model output in a table: one line, of bounded length, that ends no cell."""
    line = " ".join(text.split()).replace("|", "/").replace("`", "'")
    return f"`{line[:80]}`" if line else "an empty answer"
