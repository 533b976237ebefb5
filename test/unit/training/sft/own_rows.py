# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""A small data set of one's own, and a benchmark, whose answers a tiny network learns at once."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image

from roborefer_ros.pointing.prompts import POINT_SUFFIX

POINT = "[(0.412, 0.655)]"


def picture(path: Path, seed: int, *, grey: bool = False) -> None:
    """A random picture of 60 x 40 pixels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (4, 6, 1 if grey else 3), dtype=np.uint8)
    pixels = np.broadcast_to(small, (4, 6, 3)).repeat(10, 0).repeat(10, 1)
    Image.fromarray(np.ascontiguousarray(pixels)).save(path)


def own_rows(folder: Path, rows: int = 12) -> list[str]:
    """Write rows of different pictures with one point and one choice each.

    Returns:
        Options of the command line that name them.
    """
    table = []
    for number in range(rows):
        name = f"scene_{number}.png"
        picture(folder / "images" / name, number)
        picture(folder / "depth" / name, 100 + number, grey=True)
        asked = f"Point to the cup. {POINT_SUFFIX}"
        pairs = [(asked, POINT), ("Is it red? (A) yes (B) no", "(A) yes")]
        turns = [text for pair in pairs[:: 1 if number % 2 else -1] for text in pair]
        conversation = [
            {"from": ("human", "gpt")[n % 2], "value": text} for n, text in enumerate(turns)
        ]
        row = {"id": str(number), "image": [name], "depth": [name], "conversations": conversation}
        table.append(row)
    (folder / "rows.json").write_text(json.dumps(table))
    paths = ("--data", "rows.json"), ("--images", "images"), ("--depth", "depth")
    return [part for option, name in paths for part in (option, str(folder / name))]


def own_benchmark(folder: Path, questions: int = 4) -> Path:
    """A folder in RefSpatial-Bench's layout; the learned point is right in all but the last."""
    table = []
    for number in range(questions):
        picture(folder / f"Location/image/{number}.png", 200 + number)
        mask = np.zeros((40, 60), np.uint8)
        left = 0 if number == questions - 1 else 20
        mask[20:32, left : left + 10] = 255
        (folder / "Location/mask").mkdir(exist_ok=True)
        Image.fromarray(mask).save(folder / f"Location/mask/{number}.png")
        table.append(
            {
                "id": number, "object": "cup", "prompt": "Point to the cup.", "suffix": "",
                "rgb_path": f"image/{number}.png", "mask_path": f"mask/{number}.png",
                "category": "location", "step": 1,
            }
        )  # fmt: skip
    (folder / "Location/question.json").write_text(json.dumps(table))
    return folder
