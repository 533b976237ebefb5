# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The loss curve of a training run as a picture."""

from __future__ import annotations

import csv
from pathlib import Path


def draw_curve(source: Path, target: Path) -> None:
    """Draw the ``loss.csv`` of a run."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    with source.open(newline="") as file:
        rows = list(csv.DictReader(file))
    figure, axis = pyplot.subplots(figsize=(8, 4.5))
    for split, style in (("train", {"alpha": 0.5}), ("validation", {"marker": "o"})):
        chosen = [row for row in rows if row["split"] == split]
        steps = [int(row["step"]) for row in chosen]
        axis.plot(steps, [float(row["answer"]) for row in chosen], label=split, **style)
    axis.set(xlabel="step", ylabel="answer loss [nats per weighted token]", yscale="log")
    axis.grid(alpha=0.3, which="both")
    axis.legend()
    figure.tight_layout()
    figure.savefig(target, dpi=110)
    pyplot.close(figure)
