# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The demo's answers as text."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from roborefer_ros.demo.scoring import DemoAnswer

#: column -> stages of the result's timings that it sums up, milliseconds
_STAGES = {
    "frame": ("queue", "wait_frame", "convert"),
    "encode": ("depth", "preprocess", "encode"),
    "prefill": ("prefill",),
    "decode": ("decode",),
    "lift": ("lift", "transform"),
    "all [ms]": ("total",),
}

_HEADINGS = (
    "instruction", "pixel", "position in base_link [m]", "off [mm]", "inside", *_STAGES,
)  # fmt: skip


def format_table(answers: Sequence[DemoAnswer]) -> str:
    """One line an instruction."""
    rows = [_HEADINGS, *(_row(answer) for answer in answers)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(_HEADINGS))]
    lines = [
        "  ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(lines)


def _row(answer: DemoAnswer) -> tuple[str, ...]:
    words = answer.question.instruction
    if answer.pixel is None or answer.position_m is None or answer.distance_m is None:
        return (words, f"error {answer.error_code}", "", "", "no", *[""] * len(_STAGES))
    return (
        words,
        f"({answer.pixel[0]:.0f}, {answer.pixel[1]:.0f})",
        "({:+.3f}, {:+.3f}, {:+.3f})".format(*answer.position_m),
        f"{1e3 * answer.distance_m:.1f}",
        "yes" if answer.inside else "NO",
        *(
            f"{1e3 * sum(answer.timings_s.get(stage, 0.0) for stage in stages):.0f}"
            for stages in _STAGES.values()
        ),
    )


def format_summary(answers: Sequence[DemoAnswer]) -> str:
    """How many were right, in one sentence, and what the columns mean."""
    inside = sum(answer.inside for answer in answers)
    offs = [
        1e3 * answer.distance_m
        for answer in answers
        if answer.inside and answer.distance_m is not None
    ]
    text = f"{inside} of {len(answers)} points lie on the right object or in the right free space"
    if offs:
        text += f"; those are {np.median(offs):.1f} mm (median) off its true surface"
    return (
        text
        + ".\n'off': from the 3D point to the nearest surface of the right object or space; the "
        "columns behind 'inside': milliseconds per stage."
    )
