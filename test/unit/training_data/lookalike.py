# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""A small folder that looks like RefSpatial's: eight JSON files, pictures, split archives."""

from __future__ import annotations

import io
import json
import random
import shutil
import string
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from roborefer_ros.training.data.registry import REFSPATIAL_FILES

POINT = (
    "Your answer should be formatted as a list of tuples, i.e. [(x1, y1)], where each tuple "
    "contains the x and y coordinates of a point satisfying the conditions above."
)


def picture(
    path: Path, seed: int, size: tuple[int, int] = (64, 48), *, depth: bool = False
) -> None:
    """Random blocks of colour, or a ramp that is bright below as near depth is."""
    rng = np.random.default_rng(seed)
    if depth:
        ramp = np.linspace(0, 255, size[1])[:, None] + rng.uniform(-5, 5, (size[1], size[0]))
        pixels = np.repeat(np.clip(ramp, 0, 255).astype(np.uint8)[..., None], 3, axis=2)
    else:
        small = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
        pixels = np.asarray(Image.fromarray(small).resize(size, Image.Resampling.NEAREST))
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def turns(*texts: str) -> list[dict[str, str]]:
    """Human and gpt in turn."""
    return [{"from": ("human", "gpt")[i % 2], "value": text} for i, text in enumerate(texts)]


def _row(name: str, number: int, names: list[str], depths: list[str]) -> dict[str, Any]:
    rng = random.Random(f"{name}{number}")
    x, y = rng.randint(100, 900) / 1000, rng.randint(100, 900) / 1000
    point = (f"Please point to the cup number {number}. {POINT}", f"[({x}, {y})]")
    choice = (f"Is cup {number} left of the box? (A) yes (B) no", f"({rng.choice('AB')}) yes")
    text = (f"How far is cup {number}?", f"About {number + 1} meters.")
    row: dict[str, Any] = {"id": f"{name}_{number}", "image": names, "depth": depths}
    if name == "3D_vacant_qa":
        row["conversations"] = turns("<image>\n" + point[0], point[1])
    elif name in ("3D_multi_view_qa", "3D_visual_choice_qa"):
        row["conversations"] = turns("<image>\n" * len(names) + choice[0], choice[1])
    elif name == "simulation_dataset":
        row["conversations"] = turns(*point, *point[:1], f"[({y}, {x})]")
        step = f"Step 1: [Position] [the cup]: [({x}, {y})]"
        row["think"] = [
            {"question_type": "Locate an object by feature ranking", "thinking": step},
            {"question_type": "Locate free space between two objects", "thinking": step},
        ]
        row["conversations"][2]["value"] = f"Point to the gap beside cup {number}."
    else:
        many = [part for k in range(1 + number % 3) for part in (*choice, *text) if k >= 0]
        row["conversations"] = turns(*many, *point)
        row["conversations"][0]["value"] = "<image>\n" + row["conversations"][0]["value"]
    return row


def _names(name: str, number: int) -> tuple[list[str], list[str]]:
    hexadecimal = f"{number:016x}"
    frame = f"42898849_{100 + number}"
    if name.startswith("2D"):
        return [f"{hexadecimal}.jpg"], [f"{hexadecimal}.png"]
    if name == "simulation_dataset":
        return [f"scene{number // 2}.jpg"], [f"scene{number // 2}.png"]
    depth = [f"{frame}_wide_depth.png"]
    if name == "3D_visual_choice_qa":
        return [f"{frame}_image_with_bbox_{number}.png"], depth
    if name == "3D_multi_view_qa":
        frames = [f"42898849_{500 + number}", f"42898849_{600 + number}"]
        return [f"{f}_wide_image.png" for f in frames], [f"{f}_wide_depth.png" for f in frames]
    return [f"{frame}_wide_image.png"], depth


def make(root: Path, rows: int = 6) -> Path:
    """An unpacked look-alike.

    Args:
        root: New folder.
        rows: Of each JSON file.
    """
    for name, (data, image, depth) in REFSPATIAL_FILES.items():
        table = []
        for number in range(rows):
            names, depths = _names(name, number)
            for own, folder, is_depth in ((names, image, False), (depths, depth, True)):
                for entry in own:
                    path = root / folder / entry
                    if not path.is_file():
                        seed = sum(entry.encode())
                        picture(
                            path, seed, (96, 54) if "scene" in entry else (64, 48), depth=is_depth
                        )
            table.append(_row(name, number, names, depths))
        (root / data).parent.mkdir(parents=True, exist_ok=True)
        (root / data).write_text(json.dumps(table))
    return root


def archive(members: dict[str, bytes], *, compressed: bool = True) -> bytes:
    """A tar (gzip) with these members."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz" if compressed else "w") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def write_parts(folder: Path, name: str, data: bytes, parts: int) -> list[Path]:
    """Cut an archive as the hub's is: ``name.part_a``, ``name.part_b``, ..."""
    if parts == 1:
        (folder / name).write_bytes(data)
        return [folder / name]
    size = -(-len(data) // parts)
    paths = []
    for number, letter in zip(range(parts), string.ascii_lowercase, strict=False):
        paths.append(folder / f"{name}.part_{letter}")
        paths[-1].write_bytes(data[number * size : (number + 1) * size])
    return paths


def pack(root: Path, parts: int = 3) -> dict[str, bytes]:
    """Put the pictures of every folder into archives in place of them.

    Every second archive's members carry a folder's name before their own; the simulator's archives
    are not cut.

    Returns:
        What was packed: path below ``root`` -> content.
    """
    packed: dict[str, bytes] = {}
    folders = sorted({folder for files in REFSPATIAL_FILES.values() for folder in files[1:]})
    for number, folder in enumerate(folders):
        members = {}
        for path in sorted((root / folder).iterdir()):
            packed[f"{folder}/{path.name}"] = path.read_bytes()
            prefix = f"RefSpatial/{folder}/" if number % 2 else ""
            members[prefix + path.name] = path.read_bytes()
        shutil.rmtree(root / folder)
        (root / folder).mkdir()
        name = f"{Path(folder).name}.tar.gz"
        write_parts(root / folder, name, archive(members), 1 if "Sim" in folder else parts)
    return packed
