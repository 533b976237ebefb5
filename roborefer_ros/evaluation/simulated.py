# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""``roborefer simulate --benchmark DIR``: a benchmark in RefSpatial-Bench's layout, with 3D truth.

    DIR/benchmark.json                      name, size, scenes
    DIR/{Location,Placement}/question.json  RefSpatial-Bench's keys, and those below
    DIR/<split>/{image,mask}/*.png          as in RefSpatial-Bench
    DIR/<split>/depth/*.png                 what a D435 would measure, 16 bit, millimetres
    DIR/<split>/exact_depth/*.png           without noise, 16 bit, 0.1 mm

Further keys: ``kind`` of question, ``mode`` (1 object, 2 free space), ``depth_path``,
``exact_depth_path``, ``exact_depth_unit_m``, ``intrinsics``, ``world_T_camera`` (row by row)
and ``target_position_m`` (in the camera's optical frame, at the pixel of the model answer).

The scenes are numbered like ``simulation.held_out``: no training sees them.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import numpy.typing as npt

from roborefer_ros.arguments import ArgumentParser, non_negative_int, positive_int
from roborefer_ros.lifting import deproject
from roborefer_ros.pointing.prompts import POINT_SUFFIX
from roborefer_ros.types import Mode
from roborefer_ros.worker_processes import process_pool

if TYPE_CHECKING:
    from roborefer_ros.simulation.held_out import HeldOutScene
    from roborefer_ros.simulation.instructions import Question

#: the benchmark's name in reports
NAME = "Simulated tabletops"

#: the first scenes are those of the demo; the benchmark begins behind them
FIRST_SCENE = 10_000

EXACT_UNIT_M = 0.0001

#: how many things a question speaks of, as RefSpatial-Bench counts its steps
STEPS: dict[str, int] = {
    **dict.fromkeys(("named", "attribute", "nearest", "farthest", "leftmost", "rightmost"), 1),
    **dict.fromkeys(("left_of", "right_of", "in_front_of", "behind", "closest_to"), 2),
    **dict.fromkeys(("nth_from_side", "free_beside"), 2),
    **dict.fromkeys(("between", "free_between"), 3),
}

SPLITS = ("Location", "Placement")


def make_benchmark(
    folder: Path,
    scenes: int,
    *,
    size: tuple[int, int] = (640, 480),
    questions: int = 6,
    first: int = FIRST_SCENE,
    workers: int = 2,
    show_progress: bool = True,
) -> dict[str, int]:
    """Write a benchmark; returns the number of questions per split.

    Args:
        folder: new or empty.
        scenes: how many; the same numbers always give the same files.
        size: ``(width, height)`` pixels.
        questions: Greatest number of questions per scene.
        first: number of the first scene.
        workers: processes; 1 stays in this one.
        show_progress: draw a bar on stderr.

    Raises:
        FileExistsError: the folder holds something.
    """
    from tqdm import tqdm

    if folder.is_dir() and any(folder.iterdir()):
        raise FileExistsError(f"{folder} is not empty; choose another folder or delete it")
    for split in SPLITS:
        for kind in ("image", "mask", "depth", "exact_depth"):
            (folder / split / kind).mkdir(parents=True)
    numbers = range(first, first + scenes)
    tables: dict[str, list[dict[str, Any]]] = {split: [] for split in SPLITS}
    bar = tqdm(total=scenes, unit="scene", file=sys.stderr, disable=not show_progress)
    with bar:
        for rows in _all_rows(folder, numbers, size, questions, workers):
            for split, row in rows:
                tables[split].append({"id": len(tables[split]), **row})
            bar.update()
    for split, table in tables.items():
        if table:
            (folder / split / "question.json").write_text(json.dumps(table, indent=1))
    description = {"name": NAME, "scenes": scenes, "first_scene": first, "size": list(size)}
    (folder / "benchmark.json").write_text(json.dumps(description, indent=2) + "\n")
    return {split: len(table) for split, table in tables.items()}


_Rows = list[tuple[str, dict[str, Any]]]


def _all_rows(
    folder: Path, numbers: range, size: tuple[int, int], questions: int, workers: int
) -> Any:
    if workers <= 1:
        yield from (_make_scene(folder, number, size, questions) for number in numbers)
        return
    count = len(numbers)
    with process_pool(workers) as pool:
        yield from pool.map(
            _make_scene, [folder] * count, numbers, [size] * count, [questions] * count
        )


def _make_scene(folder: Path, number: int, size: tuple[int, int], questions: int) -> _Rows:
    """Write the pictures of one scene; returns ``(split, row)`` per question."""
    from roborefer_ros.simulation.held_out import held_out_scene

    cv2.setNumThreads(1)
    scene = held_out_scene(number, *size, questions)
    pictures = _pictures(scene)
    rows: _Rows = []
    for index, question in enumerate(scene.questions):
        split = SPLITS[1] if question.mode == Mode.FREE_SPACE else SPLITS[0]
        name = f"{number:06d}.png"
        if not (folder / split / "image" / name).exists():
            for kind, picture in pictures.items():
                _write(folder / split / kind / name, picture)
        mask = f"mask/{number:06d}_{index:02d}.png"
        _write(folder / split / mask, question.mask.astype(np.uint8) * 255)
        rows.append((split, _row(scene, question, name, mask, split)))
    return rows


def _pictures(scene: HeldOutScene) -> dict[str, npt.NDArray[Any]]:
    from roborefer_ros.simulation.sensor_noise import d435_depth

    view = scene.view
    rng = np.random.default_rng((scene.number, 2))
    noisy = d435_depth(view.depth_m, rng, normals=view.normals, focal_px=view.intrinsics.fx)
    exact = np.nan_to_num(view.depth_m, nan=0.0, posinf=0.0) / EXACT_UNIT_M
    return {
        "image": view.rgb[..., ::-1],
        "depth": noisy,
        "exact_depth": np.clip(np.rint(exact), 0, 65535).astype(np.uint16),
    }


def _row(
    scene: HeldOutScene, question: Question, name: str, mask: str, split: str
) -> dict[str, Any]:
    view = scene.view
    k = view.intrinsics
    u, v = question.pixel
    target = deproject([question.pixel], [view.depth_m[v, u]], k)[0]
    return {
        "object": question.words,
        "prompt": question.instruction,
        "suffix": POINT_SUFFIX,
        "rgb_path": f"image/{name}",
        "mask_path": mask,
        "category": split.lower(),
        "step": STEPS[question.kind],
        "kind": question.kind,
        "mode": int(question.mode),
        "depth_path": f"depth/{name}",
        "exact_depth_path": f"exact_depth/{name}",
        "exact_depth_unit_m": EXACT_UNIT_M,
        "intrinsics": {
            "width": k.width, "height": k.height, "fx": k.fx, "fy": k.fy, "cx": k.cx, "cy": k.cy,
        },
        "world_T_camera": [round(float(value), 9) for value in view.world_T_camera.ravel()],
        "target_position_m": [round(float(value), 6) for value in target],
    }  # fmt: skip


def _write(path: Path, picture: npt.NDArray[Any]) -> None:
    if not cv2.imwrite(str(path), picture):
        raise OSError(f"{path} cannot be written; is the disk full?")


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``roborefer simulate --benchmark``; returns its exit status."""
    parser = ArgumentParser(
        prog="roborefer simulate --benchmark",
        description="Make a benchmark of simulated tabletops in RefSpatial-Bench's layout.",
    )
    parser.add_argument("--benchmark", type=Path, required=True, metavar="DIR", help="new folder")
    parser.add_argument("--scenes", type=positive_int, default=100)
    parser.add_argument(
        "--first", type=non_negative_int, default=FIRST_SCENE, help="first scene's number"
    )
    parser.add_argument("--width", type=positive_int, default=640, help="pixels")
    parser.add_argument("--height", type=positive_int, default=480, help="pixels")
    parser.add_argument("--questions", type=positive_int, default=6, help="at most, per scene")
    parser.add_argument("--workers", type=positive_int, default=2, help="processes")
    arguments = parser.parse_args(argv)
    try:
        counts = make_benchmark(
            arguments.benchmark,
            arguments.scenes,
            size=(arguments.width, arguments.height),
            questions=arguments.questions,
            first=arguments.first,
            workers=arguments.workers,
        )
    except OSError as error:
        print(f"roborefer simulate: {error}", file=sys.stderr)
        return 1
    told = ", ".join(f"{split} {count}" for split, count in counts.items())
    print(f"{arguments.scenes} scenes, questions: {told}: {arguments.benchmark}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
