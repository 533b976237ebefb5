# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""One scene's pictures and questions on disk, in RefSpatial's form."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import numpy.typing as npt

from roborefer_ros.datagen.engine import ask, scene_rng
from roborefer_ros.datagen.evaluator import agrees
from roborefer_ros.datagen.locate import located
from roborefer_ros.datagen.propose import Proposer
from roborefer_ros.datagen.qa import MULTI_VIEW, QA, REASONED
from roborefer_ros.datagen.questions import PairQuestions
from roborefer_ros.datagen.resolve import Resolver
from roborefer_ros.datagen.source import Loaded, SceneSkippedError, Source
from roborefer_ros.datagen.views import (
    multi_view,
    turn_agrees,
    visual_choice,
    with_boxes_drawn,
)
from roborefer_ros.errors import RoboReferError
from roborefer_ros.files import write_bytes
from roborefer_ros.pointing.depth_input import relative_depth_from_metric
from roborefer_ros.pointing.prompts import POINT_SUFFIX

DepthForm = Literal["relative", "linear"]

#: folders below the output, as the released data has them
FOLDERS = (
    "3D/image", "3D/depth", "3D/image_multi_view", "3D/depth_multi_view",
    "3D/image_visual_choice", "Simulator/image", "Simulator/depth",
)  # fmt: skip
#: longest question and answer together, without the request for points; readers of the released
#: data drop longer ones
MAX_PAIR_CHARS = 500


@dataclass(frozen=True)
class Options:
    """What decides the questions.

    Attributes:
        seed: Of the data set.
        questions: Greatest number of questions per scene.
        depth_form: "relative": inverse depth, as simulated and predicted depth; "linear": as the
            released 3D part's.
        suffix: Whether questions for points end with the request for points that RoboRefer knows.
        visual: Greatest number of pictures with drawn boxes per scene.
    """

    seed: int = 0
    questions: int = 30
    depth_form: DepthForm = "relative"
    suffix: bool = True
    visual: int = 1


def make_scene(folder: Path, source: Source, name: str, options: Options) -> dict[str, Any]:
    """Write a scene's pictures; its questions as plain values.

    Returns:
        ``scene``, ``counts`` of what was dropped, and ``questions``; or ``scene`` and ``skipped``,
        the reason.
    """
    try:
        loaded = source.load(name)
        loaded = replace(loaded, scene=located(loaded.scene))
        if not any(box.visible for box in loaded.scene.boxes):
            raise SceneSkippedError("no object shows")
        entries, counts = _entries(folder, source, name, loaded, options)
    except SceneSkippedError as reason:
        return {"scene": name, "skipped": str(reason)}
    except RoboReferError as error:
        return {"scene": name, "skipped": f"unreadable: {type(error).__name__}", "why": str(error)}
    if not entries:
        return {"scene": name, "skipped": "nothing to ask"}
    return {"scene": name, "counts": dict(sorted(counts.items())), "questions": entries}


def _entries(
    folder: Path, source: Source, name: str, loaded: Loaded, options: Options
) -> tuple[list[dict[str, Any]], Counter[str]]:
    scene = loaded.scene
    asked = ask(scene, options.seed, options.questions)
    counts = Counter(asked.counts) + Counter(loaded.counts)
    depth = depth_picture(loaded.depth_m, options.depth_form)
    picture = f"{name}.png"
    entries = []
    for qa in asked.questions:
        entry = _entry(qa, [picture], [picture] if depth is not None else [], options)
        if _length(entry) > MAX_PAIR_CHARS:
            counts["question and answer too long"] += 1
        else:
            entries.append(entry)
    if not entries:
        return [], counts
    _save(folder / "3D/image" / picture, loaded.rgb)
    if depth is not None:
        _save(folder / "3D/depth" / picture, depth)
    if any(entry["part"] == REASONED for entry in entries):
        for kind in ("image", "depth") if depth is not None else ("image",):
            _link(folder / "3D" / kind / picture, folder / "Simulator" / kind / picture)
    entries += _visual_entries(folder, loaded, options, depth is not None)
    entries += _multi_view_entries(folder, source, name, loaded, options)
    return entries, counts


def _visual_entries(
    folder: Path, loaded: Loaded, options: Options, with_depth: bool
) -> list[dict[str, Any]]:
    scene = loaded.scene
    rng = scene_rng(options.seed, scene.id, "visual")
    resolver = Resolver(scene)
    pairs = PairQuestions(resolver, Proposer(resolver, rng), rng)
    entries: list[dict[str, Any]] = []
    for _ in range(4 * options.visual):
        if len(entries) == options.visual:
            break
        found = visual_choice(scene, pairs, rng)
        if found is None or not agrees(scene, found[0]):
            continue
        picture = f"{scene.id}_image_with_bbox_{len(entries)}.png"
        drawn = with_boxes_drawn(scene, loaded.rgb, found[1])
        _save(folder / "3D/image_visual_choice" / picture, drawn)
        depth = [f"{scene.id}.png"] if with_depth else []
        entries.append(_entry(found[0], [picture], depth, options))
    return entries


def _multi_view_entries(
    folder: Path, source: Source, name: str, loaded: Loaded, options: Options
) -> list[dict[str, Any]]:
    try:
        other = source.second_view(name)
    except (SceneSkippedError, RoboReferError):
        return []
    if other is None:
        return []
    rng = scene_rng(options.seed, name, "views")
    qa = multi_view(loaded.scene, other.scene, rng)
    if qa is None or not turn_agrees(loaded.scene, other.scene, qa):
        return []
    images, depths = [], []
    for k, view in enumerate((loaded, other)):
        picture = f"{name}_view_{k}.png"
        _save(folder / "3D/image_multi_view" / picture, view.rgb)
        images.append(picture)
        depth = depth_picture(view.depth_m, options.depth_form)
        if depth is not None:
            _save(folder / "3D/depth_multi_view" / picture, depth)
            depths.append(picture)
    if len(depths) not in (0, 2):
        return []
    entry = _entry(qa, images, depths, options)
    assert entry["part"] == MULTI_VIEW
    return [entry]


def _entry(qa: QA, images: list[str], depths: list[str], options: Options) -> dict[str, Any]:
    ask_point = qa.point is not None and options.suffix
    entry: dict[str, Any] = {
        "part": qa.part, "form": qa.form, "relations": [r for r in qa.relations if r],
        "steps": qa.steps, "balance": qa.balance_key, "option": qa.option,
        "question": f"{qa.question} {POINT_SUFFIX}" if ask_point else qa.question,
        "answer": qa.answer, "image": images, "depth": depths, "derivation": qa.derivation,
    }  # fmt: skip
    if qa.part == REASONED:
        entry["think"] = {"question_type": qa.question_type, "thinking": qa.thinking}
        entry["key_steps"] = list(qa.key_steps)
    return entry


def _length(entry: dict[str, Any]) -> int:
    return len(entry["question"].removesuffix(POINT_SUFFIX)) + len(entry["answer"])


def depth_picture(
    depth_m: npt.NDArray[np.floating] | None, form: DepthForm
) -> npt.NDArray[np.uint8] | None:
    """The 8-bit depth picture, near is bright, three equal channels; None: no reading is valid.

    Args:
        depth_m: ``[h, w]`` metres, NaN in holes.
        form: "relative" is inverse depth with filled holes; "linear" runs from the largest to the
            smallest value with holes as 0 metres, as in the released 3D part.
    """
    if depth_m is None or not np.isfinite(depth_m).any():
        return None
    if form == "relative":
        grey = relative_depth_from_metric(depth_m)
    else:
        metres = np.nan_to_num(depth_m.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
        span = float(np.ptp(metres))
        grey = ((metres.max() - metres) / (span or 1.0) * 255.0).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2)


def _save(path: Path, rgb: npt.NDArray[np.uint8]) -> None:
    done, data = cv2.imencode(".png", rgb[..., ::-1])
    if not done:
        raise SceneSkippedError("the picture cannot be written as PNG")
    write_bytes(path, data.tobytes())


def _link(target: Path, link: Path) -> None:
    """The same picture under a second name, without its space where the disk can."""
    link.unlink(missing_ok=True)
    try:
        os.link(target, link)
    except OSError:
        shutil.copyfile(target, link)


# --- rows ------------------------------------------------------------------------------

#: question-answer pairs of a row; parts that are missing have one each
PAIRS_OF_ROW = {"choice_qa": 15, "reasoning_template_qa": 15, "metadata": 10}


def rows(scene: str, entries: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """The rows of a scene by part, from the questions that were kept."""
    by_part: dict[str, list[dict[str, Any]]] = {}
    for entry in entries:
        by_part.setdefault(entry["part"], []).append(entry)
    result: dict[str, list[dict[str, Any]]] = {}
    for part, listed in by_part.items():
        size = PAIRS_OF_ROW.get(part, 1)
        chunks = [listed[i : i + size] for i in range(0, len(listed), size)]
        result[part] = [_row(f"{scene}_{k}", part, chunk) for k, chunk in enumerate(chunks)]
    return result


def _row(name: str, part: str, entries: list[dict[str, Any]]) -> dict[str, Any]:
    first = entries[0]
    media = "".join("<image>\n" + ("<depth>\n" if first["depth"] else "") for _ in first["image"])
    turns = []
    for k, entry in enumerate(entries):
        text = entry["question"]
        turns.append({"from": "human", "value": media + text if k == 0 else text})
        turns.append({"from": "gpt", "value": entry["answer"]})
    row: dict[str, Any] = {"id": name, "image": first["image"], "conversations": turns}
    if first["depth"]:
        row["depth"] = first["depth"]
    if part == REASONED:
        row["think"] = [entry["think"] for entry in entries]
        row["key_steps"] = [entry["key_steps"] for entry in entries]
    row["derivations"] = [
        {"relations": e["relations"], "steps": e["steps"], **e["derivation"]} for e in entries
    ]
    return row
