# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""``roborefer simulate``: scenes, pictures and questions on disk, in RefSpatial's layout.

    FOLDER/questions.json      LLaVA-style conversations (RefSpatial), one question a turn
    FOLDER/image/000000.png    colour
    FOLDER/depth/000000.png    relative inverse depth as the model sees it, 8 bit
    FOLDER/instance/000000.png instance ids (0 room, 1 table, 2.. objects)

Every scene has a seed of its own, so the same command makes the same data on any number
of workers; scenes that are already there are kept.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from concurrent.futures import as_completed
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from tqdm import tqdm

from roborefer_ros.arguments import ArgumentParser, exit_status, non_negative_int, positive_int
from roborefer_ros.errors import RoboReferError
from roborefer_ros.files import MIB, read_json, write_text
from roborefer_ros.pointing.depth_input import relative_depth_from_metric
from roborefer_ros.simulation.geometry import seen_objects
from roborefer_ros.simulation.instructions import make_questions
from roborefer_ros.simulation.photographs import make_photograph, read_photographs
from roborefer_ros.simulation.rendering import render
from roborefer_ros.simulation.scenes import TabletopScene, sample_scene
from roborefer_ros.simulation.sensors import SENSORS, sensed_depth
from roborefer_ros.simulation.varied import sample_varied_scene
from roborefer_ros.simulation.variety import absent_questions, every_questions, reworded
from roborefer_ros.worker_processes import process_pool

_SHARD = 100

_MIN_SIDE_PX = 32

LAYOUTS: dict[str, Callable[[np.random.Generator], TabletopScene]] = {
    "tabletop": sample_scene,
    "varied": sample_varied_scene,
}

_SCENES_PER_PHOTOGRAPH, _QUESTIONS_PER_PHOTOGRAPH = 25, 24


def make_sample(
    folder: Path,
    number: int,
    seed: int,
    size: tuple[int, int],
    questions: int,
    layout: str = "tabletop",
    sensor: str = "d435",
) -> dict[str, Any] | None:
    """Render one scene, write its pictures, return its entry; None if nothing can be asked."""
    rng = np.random.default_rng((seed, number))
    scene = LAYOUTS[layout](rng)
    view = render(scene, scene.intrinsics(*size))
    asked = make_questions(scene, view, rng, questions)
    if not asked:
        return None
    # A stream of its own: pictures and plain questions do not depend on what is added.
    more = np.random.default_rng((seed, number, 1))
    asked = [reworded(q, more) if more.random() < 0.5 else q for q in asked]
    asked += [
        reworded(q, more) if more.random() < 0.3 else q
        for q in (
            *absent_questions(scene, view, more, questions // 4),
            *every_questions(scene, view, more, questions // 12),
        )
    ]
    depth_mm = sensed_depth(sensor, view, rng)
    metres = np.where(depth_mm > 0, depth_mm * np.float32(0.001), np.nan).astype(np.float32)
    name = f"{number:06d}.png"
    cv2.imwrite(str(folder / "image" / name), view.rgb[..., ::-1])
    cv2.imwrite(str(folder / "depth" / name), relative_depth_from_metric(metres))
    cv2.imwrite(str(folder / "instance" / name), view.instance.astype(np.uint8))
    turns = []
    for index, question in enumerate(asked):
        media = "<image>\n<depth>\n" if index == 0 else ""
        turns += [
            {"from": "human", "value": media + question.instruction},
            {"from": "gpt", "value": question.answer},
        ]
    width, height = size
    return {
        "id": f"tabletop-{seed}-{number}",
        "image": name,
        "depth": name,
        "instance": name,
        "conversations": turns,
        "questions": [
            {
                "kind": q.kind,
                "mode": int(q.mode),
                "target_instance": q.target_instance,
                "mentions": [[m.end, list(m.instances)] for m in q.mentions],
                "steps": [[words, _normalised(pixel, size)] for words, pixel in q.steps],
            }
            for q in asked
        ],
        "instances": [
            {
                "id": o.instance,
                "shape": o.item.shape,
                "colour": o.item.colour,
                "pixel_centroid_normalised": [
                    round((o.pixel[0] + 0.5) / width, 4),
                    round((o.pixel[1] + 0.5) / height, 4),
                ],
                "ground_m": [round(o.right_m, 4), round(o.forward_m, 4)],
                "visible_fraction": round(o.visible_fraction, 3),
            }
            for o in seen_objects(scene, view)
        ],
    }


def _normalised(pixel: tuple[int, int], size: tuple[int, int]) -> list[float]:
    return [round((pixel[0] + 0.5) / size[0], 3), round((pixel[1] + 0.5) / size[1], 3)]


def _shard_path(folder: Path, shard: int, count: int) -> Path:
    # The last shard of a smaller data set is none of a larger one's.
    return folder / "shards" / f"{shard:05d}-{count}.json"


def _make_shard(folder: Path, shard: int, count: int, *how: Any) -> int:
    cv2.setNumThreads(1)
    path = _shard_path(folder, shard, count)
    if not path.exists():
        first = shard * _SHARD
        entries = (make_sample(folder, first + i, *how) for i in range(count))
        text = json.dumps([e for e in entries if e is not None])
        write_text(path, text)
    return count


def _check_settings(folder: Path, settings: dict[str, Any]) -> None:
    """Note what the folder's scenes were made with; refuse to mix."""
    path = folder / "settings.json"
    if not path.exists():
        write_text(path, json.dumps(settings))
        return
    there = read_json(path)
    if there != settings:
        raise ValueError(f"{folder} holds scenes made with {there}; choose another folder")


def generate(
    folder: Path,
    scenes: int,
    seed: int,
    size: tuple[int, int] = (320, 240),
    questions: int = 24,
    workers: int = 2,
    photographs: Path | None = None,
    layout: str = "tabletop",
    sensor: str = "d435",
) -> Path:
    """Make a dataset; returns the path of its ``questions.json``.

    Args:
        folder: where; pictures that are already there are kept.
        scenes: how many.
        seed: Seed of the whole set; scene k of a seed is always the same.
        size: ``(width, height)`` pixels.
        questions: Greatest number of questions per scene.
        workers: processes.
        photographs: Folder of pictures that hold none of the things; after every 25 scenes one
            part of one of them is added, with questions of the scenes and the answer "none".
        layout: One of ``LAYOUTS``.
        sensor: One of ``sensors.SENSORS``.

    Raises:
        ValueError: too small a picture, or a folder with scenes of other settings.
        OSError: the folder cannot be written.
    """
    if min(size) < _MIN_SIDE_PX:
        raise ValueError(
            f"{size[0]}x{size[1]} pixels show no scene; at least {_MIN_SIDE_PX} a side"
        )
    for name in ("image", "depth", "instance", "shards"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    settings = {"seed": seed, "size": list(size), "questions": questions}
    if (layout, sensor) != ("tabletop", "d435"):
        settings |= {"layout": layout, "sensor": sensor}
    _check_settings(folder, settings)
    counts = [min(_SHARD, scenes - start) for start in range(0, scenes, _SHARD)]
    with (
        process_pool(workers) as pool,
        tqdm(total=scenes, unit="scene", file=sys.stderr) as bar,
    ):
        jobs = [
            pool.submit(_make_shard, folder, shard, count, seed, size, questions, layout, sensor)
            for shard, count in enumerate(counts)
        ]
        for job in as_completed(jobs):
            bar.update(job.result())
    entries = []
    for shard, count in enumerate(counts):
        entries += read_json(_shard_path(folder, shard, count))
    if photographs is not None:
        entries = _with_photographs(entries, folder, seed, size, photographs)
    target = folder / "questions.json"
    write_text(target, json.dumps(entries))
    return target


def _with_photographs(
    entries: list[dict[str, Any]], folder: Path, seed: int, size: tuple[int, int], source: Path
) -> list[dict[str, Any]]:
    pictures = read_photographs(source)
    rng = np.random.default_rng((seed, 3))
    merged: list[dict[str, Any]] = []
    for number, start in enumerate(range(0, len(entries), _SCENES_PER_PHOTOGRAPH)):
        merged += entries[start : start + _SCENES_PER_PHOTOGRAPH]
        questions: dict[str, None] = {}
        for _ in range(_QUESTIONS_PER_PHOTOGRAPH):
            turns = entries[int(rng.integers(len(entries)))]["conversations"]
            asked = turns[2 * int(rng.integers(len(turns) // 2))]["value"]
            questions[asked.removeprefix("<image>\n<depth>\n")] = None
        merged.append(make_photograph(folder, number, seed, size, pictures, list(questions)))
    return merged


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    parser = ArgumentParser(
        prog="roborefer simulate",
        description="Make training data of simulated tabletops in RefSpatial's layout: "
        "questions.json with the conversations, image/, depth/ (as the model sees it) and "
        "instance/ (ids) with the pictures. The same command again goes on where it stopped.",
        epilog="With --benchmark DIR it makes a "
        "benchmark instead: roborefer simulate --benchmark DIR --help.",
    )
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--scenes", type=positive_int, default=1000)
    parser.add_argument("--seed", type=non_negative_int, default=0)
    parser.add_argument("--width", type=positive_int, default=320, help="pixels")
    parser.add_argument("--height", type=positive_int, default=240, help="pixels")
    parser.add_argument("--questions", type=positive_int, default=24, help="at most, per scene")
    parser.add_argument("--workers", type=positive_int, default=2, help="processes")
    parser.add_argument(
        "--layout", choices=tuple(LAYOUTS), default="tabletop",
        help="tabletop: 3 to 7 things before the robot; varied: up to 20, stacked, on shelves, "
        "from many cameras",
    )  # fmt: skip
    parser.add_argument("--sensor", choices=tuple(SENSORS), default="d435", help="depth camera")
    parser.add_argument(
        "--photographs", type=Path, metavar="DIR",
        help="pictures that hold none of the things: asked for them, the answer is none",
    )  # fmt: skip
    arguments = parser.parse_args(argv)
    try:
        path = generate(
            arguments.out,
            arguments.scenes,
            arguments.seed,
            (arguments.width, arguments.height),
            arguments.questions,
            arguments.workers,
            arguments.photographs,
            arguments.layout,
            arguments.sensor,
        )
    except (OSError, ValueError, RoboReferError) as error:
        print(f"roborefer simulate: {error}", file=sys.stderr)
        return exit_status(error)
    entries = read_json(path, 1024 * MIB)
    turns = sum(len(e["questions"]) for e in entries)
    print(f"{len(entries)} scenes, {turns} questions: {path}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
