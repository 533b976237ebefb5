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
from roborefer_ros.simulation.rendering import render
from roborefer_ros.simulation.scenes import sample_scene
from roborefer_ros.simulation.sensor_noise import d435_depth
from roborefer_ros.worker_processes import process_pool

_SHARD = 100

_MIN_SIDE_PX = 32


def make_sample(
    folder: Path, number: int, seed: int, size: tuple[int, int], questions: int
) -> dict[str, Any] | None:
    """Render one scene, write its pictures, return its entry; None if nothing can be asked."""
    rng = np.random.default_rng((seed, number))
    scene = sample_scene(rng)
    view = render(scene, scene.intrinsics(*size))
    asked = make_questions(scene, view, rng, questions)
    if not asked:
        return None
    depth_mm = d435_depth(view.depth_m, rng, normals=view.normals, focal_px=view.intrinsics.fx)
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
            {"kind": q.kind, "mode": int(q.mode), "target_instance": q.target_instance}
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
                "visible_fraction": round(o.visible_fraction, 3),
            }
            for o in seen_objects(scene, view)
        ],
    }


def _shard_path(folder: Path, shard: int, count: int) -> Path:
    # The last shard of a smaller data set is none of a larger one's.
    return folder / "shards" / f"{shard:05d}-{count}.json"


def _make_shard(
    folder: Path, shard: int, count: int, seed: int, size: tuple[int, int], questions: int
) -> int:
    cv2.setNumThreads(1)
    path = _shard_path(folder, shard, count)
    if not path.exists():
        first = shard * _SHARD
        entries = (make_sample(folder, first + i, seed, size, questions) for i in range(count))
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
) -> Path:
    """Make a dataset; returns the path of its ``questions.json``.

    Args:
        folder: where; pictures that are already there are kept.
        scenes: how many.
        seed: Seed of the whole set; scene k of a seed is always the same.
        size: ``(width, height)`` pixels.
        questions: Greatest number of questions per scene.
        workers: processes.

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
    _check_settings(folder, {"seed": seed, "size": list(size), "questions": questions})
    counts = [min(_SHARD, scenes - start) for start in range(0, scenes, _SHARD)]
    with (
        process_pool(workers) as pool,
        tqdm(total=scenes, unit="scene", file=sys.stderr) as bar,
    ):
        jobs = [
            pool.submit(_make_shard, folder, shard, count, seed, size, questions)
            for shard, count in enumerate(counts)
        ]
        for job in as_completed(jobs):
            bar.update(job.result())
    entries = []
    for shard, count in enumerate(counts):
        entries += read_json(_shard_path(folder, shard, count))
    target = folder / "questions.json"
    write_text(target, json.dumps(entries))
    return target


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
    arguments = parser.parse_args(argv)
    try:
        path = generate(
            arguments.out,
            arguments.scenes,
            arguments.seed,
            (arguments.width, arguments.height),
            arguments.questions,
            arguments.workers,
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
