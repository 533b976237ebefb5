# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Parts of photographs with questions whose answer is that nothing of the kind is there.

A network that has seen simulated tables only finds something in every picture.  Photographs that
hold none of the things asked for teach it to say so where a picture is unlike its world.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from roborefer_ros.image_files import open_picture

#: smallest part of a photograph, share of its shorter side
_SMALLEST_PART = 0.35

_SUFFIXES = (".png", ".jpg", ".jpeg")


def read_photographs(folder: Path) -> list[npt.NDArray[np.uint8]]:
    """``[H, W, 3]`` of all pictures of a folder, by name.

    Raises:
        ValueError: There is none.
    """
    paths = sorted(p for p in folder.iterdir() if p.suffix.lower() in _SUFFIXES)
    if not paths:
        raise ValueError(f"{folder} holds no picture ({', '.join(_SUFFIXES)})")
    return [np.asarray(open_picture(path, "RGB"), np.uint8) for path in paths]


def make_photograph(
    folder: Path,
    number: int,
    seed: int,
    size: tuple[int, int],
    photographs: Sequence[npt.NDArray[np.uint8]],
    questions: Sequence[str],
) -> dict[str, Any]:
    """Write a part of a photograph with made-up depth; returns its entry."""
    rng = np.random.default_rng((seed, number, 2))
    picture = _part(photographs[int(rng.integers(len(photographs)))], size, rng)
    name = f"photo-{number:06d}.png"
    cv2.imwrite(str(folder / "image" / name), picture[..., ::-1])
    cv2.imwrite(str(folder / "depth" / name), _depth(picture, rng))
    cv2.imwrite(str(folder / "instance" / name), np.zeros(picture.shape[:2], np.uint8))
    turns = []
    for index, question in enumerate(questions):
        media = "<image>\n<depth>\n" if index == 0 else ""
        turns += [{"from": "human", "value": media + question}, {"from": "gpt", "value": "[]"}]
    return {
        "id": f"photograph-{seed}-{number}",
        "image": name,
        "depth": name,
        "instance": name,
        "conversations": turns,
        "questions": [{"kind": "absent", "mode": 1, "target_instance": None} for _ in questions],
        "instances": [],
    }


def _part(
    photograph: npt.NDArray[np.uint8], size: tuple[int, int], rng: np.random.Generator
) -> npt.NDArray[np.uint8]:
    width, height = size
    rows, columns = photograph.shape[:2]
    scale = rng.uniform(_SMALLEST_PART, 1.0) * min(rows / height, columns / width)
    h, w = max(2, int(scale * height)), max(2, int(scale * width))
    top, left = int(rng.integers(rows - h + 1)), int(rng.integers(columns - w + 1))
    part = photograph[top : top + h, left : left + w]
    if rng.random() < 0.5:
        part = part[:, ::-1]
    resized = cv2.resize(np.ascontiguousarray(part), size, interpolation=cv2.INTER_AREA)
    gains = rng.uniform(0.7, 1.3) * rng.uniform(0.85, 1.15, 3)
    return np.clip(resized * gains, 0, 255).astype(np.uint8)


def _depth(picture: npt.NDArray[np.uint8], rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """A plane that comes nearer towards the lower edge, and lumps where the picture is bright."""
    height, width = picture.shape[:2]
    plane = np.linspace(0.0, 1.0, height, dtype=np.float32)[:, None] * rng.uniform(0.2, 1.0)
    blurred = cv2.GaussianBlur(picture.mean(-1).astype(np.float32), (0, 0), rng.uniform(2, 12))
    depth = plane + rng.uniform(-0.8, 0.8) * blurred / 255.0 + np.zeros((height, width))
    low, high = float(depth.min()), float(depth.max())
    form = 255.0 * (depth - low) / max(high - low, 1e-6)
    holes = cv2.GaussianBlur(rng.standard_normal((height, width)).astype(np.float32), (0, 0), 6)
    form[holes > np.quantile(holes, 1.0 - rng.uniform(0.0, 0.15))] = 0
    return form.astype(np.uint8)
