# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The smallest run of the bundled network's recipe: plumbing and learning by heart, no more."""

from __future__ import annotations

from pathlib import Path

import yaml

from roborefer_ros.simulation.dataset import generate

TINY = {
    "objective": "tabletop", "image_size": 42, "vision_width": 32, "vision_layers": 2,
    "depth_width": 32, "depth_layers": 2, "hidden_width": 32, "hidden_layers": 2,
    "attention_heads": 2, "mlp_width": 48, "vocabulary": 300, "global_batch": 2, "device_batch": 2,
    "slots": 1, "slot_tokens": 96, "validation_images": 2, "warmup": 0.1, "mention_layers": [0],
    "grounding_layers": [1], "average_every": 1, "average_decay": 0.5, "compiled": False,
    "projector": "mlp_downsample_3x3_fix", "log_every": 1, "eval_every": 0, "report_to": [],
}  # fmt: skip


def tiny_data(folder: Path) -> Path:
    """Six simulated tabletops."""
    generate(folder, 6, seed=5, size=(80, 60), questions=4, workers=1)
    return folder


def tiny_recipe(folder: Path) -> Path:
    """The recipe as a file."""
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump(TINY))
    return path
