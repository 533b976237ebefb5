# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Prompts about simulated tabletops, with every right pixel known.

    FOLDER/image/000000.png      colour
    FOLDER/depth/000000.png      relative inverse depth as the model sees it, 8 bit
    FOLDER/mask/000000_03.png    the right pixels of the scene's question 3, white

The scenes are those of ``roborefer simulate`` with the same seed.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from roborefer_ros.pointing.depth_input import relative_depth_from_metric
from roborefer_ros.simulation.instructions import Question, make_questions
from roborefer_ros.simulation.rendering import render
from roborefer_ros.simulation.scenes import sample_scene
from roborefer_ros.simulation.sensor_noise import d435_depth
from roborefer_ros.training.rft.prompts import Mask, Prompt
from roborefer_ros.training.rft.rewards import Annotation


def simulated_prompts(
    folder: Path, scenes: int, seed: int, size: tuple[int, int], questions: int
) -> list[Prompt]:
    """Render scenes, write their pictures and masks; returns the prompts.

    Args:
        folder: Where.
        scenes: How many.
        seed: Of the whole set; scene k of a seed is always the same.
        size: ``(width, height)`` pixels.
        questions: At most so many a scene.

    Raises:
        OSError: the folder cannot be written.
    """
    folder = folder.resolve()
    for name in ("image", "depth", "mask"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    prompts: list[Prompt] = []
    for number in range(scenes):
        prompts += _scene_prompts(folder, number, seed, size, questions)
    return prompts


def _scene_prompts(
    folder: Path, number: int, seed: int, size: tuple[int, int], questions: int
) -> list[Prompt]:
    rng = np.random.default_rng((seed, number))
    scene = sample_scene(rng)
    view = render(scene, scene.intrinsics(*size))
    asked = make_questions(scene, view, rng, questions)
    if not asked:
        return []
    depth_mm = d435_depth(view.depth_m, rng, normals=view.normals, focal_px=view.intrinsics.fx)
    metres = np.where(depth_mm > 0, depth_mm * np.float32(0.001), np.nan).astype(np.float32)
    image, depth = (folder / kind / f"{number:06d}.png" for kind in ("image", "depth"))
    _write(image, view.rgb[..., ::-1])
    _write(depth, relative_depth_from_metric(metres))
    prompts = []
    for index, question in enumerate(asked):
        mask = folder / "mask" / f"{number:06d}_{index:02d}.png"
        _write(mask, question.mask.astype(np.uint8) * 255)
        known = Annotation(size, (_point(question),), (), Mask(mask))
        name = f"tabletop-{seed}-{number}/{index}"
        prompts.append(
            Prompt(
                name, question.instruction, (image,), (depth,), known, question_type=question.kind
            )
        )
    return prompts


def _point(question: Question) -> tuple[float, float]:
    height, width = question.mask.shape
    u, v = question.pixel
    return round((u + 0.5) / width, 4), round((v + 0.5) / height, 4)


def _write(path: Path, picture: npt.NDArray[np.uint8]) -> None:
    if not cv2.imwrite(str(path), picture):
        raise OSError(f"{path} cannot be written; is the disk full?")
