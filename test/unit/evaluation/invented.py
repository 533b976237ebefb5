# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Small invented data sets in every published layout, and a pointer that knows nothing."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from roborefer_ros.errors import RoboReferError
from roborefer_ros.inference.model import Completion, Outcome, Request
from roborefer_ros.pointing.prompts import POINT_SUFFIX

WIDTH, HEIGHT = 64, 48

#: the right region of every invented question: columns 32 to 47, rows 12 to 23
BOX = (32, 12, 48, 24)


def png(array: npt.NDArray[Any], kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, kind)
    return buffer.getvalue()


def picture(seed: int) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8)


def mask(channels: int = 1) -> npt.NDArray[np.uint8]:
    values = np.zeros((HEIGHT, WIDTH), np.uint8)
    values[BOX[1] : BOX[3], BOX[0] : BOX[2]] = 255
    return values if channels == 1 else np.repeat(values[..., None], channels, 2)


def row(number: int, **more: Any) -> dict[str, Any]:
    return {
        "id": number,
        "object": f"thing {number}",
        "prompt": f"Please point out thing {number}.",
        "suffix": POINT_SUFFIX,
        **more,
    }


def refspatial(
    folder: Path, sizes: dict[str, int], *, expand: bool = False, images: int = 100
) -> Path:
    """Raw layout; question k shows picture ``k % images``."""
    for rank, (split, size) in enumerate(sizes.items()):
        (folder / split / "image").mkdir(parents=True)
        (folder / split / "mask").mkdir()
        table = []
        for k in range(size):
            (folder / split / f"image/{k}.png").write_bytes(png(picture(100 * rank + k % images)))
            (folder / split / f"mask/{k}.png").write_bytes(png(mask(3 if k % 2 else 1)))
            more = {"scene": "outdoor" if k % 2 else "indoor"} if expand else {}
            table.append(
                row(k, rgb_path=f"image/{k}.png", mask_path=f"mask/{k}.png",
                    category=split.lower(), step=1 + k % 3, **more)
            )  # fmt: skip
        (folder / split / "question.json").write_text(json.dumps(table))
    return folder


def refspatial_parquet(folder: Path, sizes: dict[str, int]) -> Path:
    """The hub copy's layout."""
    import pyarrow
    import pyarrow.parquet

    (folder / "data").mkdir(parents=True)
    for rank, (split, size) in enumerate(sizes.items()):
        rows = [
            row(k, step=1 + k % 3,
                image={"bytes": png(picture(100 * rank + k)), "path": f"{k}.png"},
                mask={"bytes": png(mask()), "path": None})
            for k in range(size)
        ]  # fmt: skip
        name = f"{split.lower()}-00000-of-00001.parquet"
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), folder / "data" / name)
    return folder


def where2place(folder: Path, size: int) -> Path:
    """Layout of the data set's own download, masks as JPEG."""
    (folder / "images").mkdir(parents=True)
    (folder / "masks").mkdir()
    lines = []
    for k in range(size):
        (folder / f"images/{k:02d}.jpg").write_bytes(png(picture(k), "JPEG"))
        (folder / f"masks/{k:02d}.jpg").write_bytes(png(mask(), "JPEG"))
        text = f"Find free space {k}. {POINT_SUFFIX}"
        lines.append(json.dumps({"question_id": k, "image": f"{k:02d}.jpg", "text": text}))
    (folder / "point_questions.jsonl").write_text("\n".join(lines) + "\n")
    return folder


def robospatial(folder: Path) -> Path:
    """Two questions for points, two for words."""
    (folder / "images").mkdir(parents=True)
    corners = str([(0.5, 0.25), (0.75, 0.25), (0.75, 0.5), (0.5, 0.5)])
    rows = [("context", corners), ("context", corners), ("configuration", "Yes"),
            ("compatibility", "no")]  # fmt: skip
    table = []
    for k, (category, answer) in enumerate(rows):
        (folder / f"images/img_{k}.png").write_bytes(png(picture(k)))
        table.append({"category": category, "question": f"Question {k}? {POINT_SUFFIX}",
                      "answer": answer, "img": f"images/img_{k}.png", "depth_image": None,
                      "mask": None})  # fmt: skip
    (folder / "annotations.json").write_text(json.dumps(table))
    return folder


class ScriptedModel:
    """Says the next of its texts, whatever it is shown; an error in the list is its outcome."""

    name = "scripted"
    can_sample = False
    max_batch = 1

    def __init__(self, texts: list[str | BaseException], uses_depth: bool = False) -> None:
        self.texts = texts
        self.uses_depth = uses_depth
        self.asked: list[str] = []
        self.depths: list[npt.NDArray[np.uint8] | None] = []

    def complete(self, requests: Sequence[Request]) -> Iterator[tuple[int, Outcome]]:
        for index, request in enumerate(requests):
            text = self.texts[len(self.asked) % len(self.texts)]
            self.asked.append(request.prompt)
            self.depths.append(request.depths[0].pixels if request.depths else None)
            if isinstance(text, str):
                yield index, Completion(text)
            elif isinstance(text, RoboReferError):
                yield index, text
            else:
                raise text

    def close(self) -> None:
        pass
