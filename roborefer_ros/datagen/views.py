# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Questions about two views of one scene, and about boxes drawn on the picture."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from roborefer_ros.datagen import templates
from roborefer_ros.datagen.expressions import to_json
from roborefer_ros.datagen.qa import MULTI_VIEW, QA, VISUAL
from roborefer_ros.datagen.questions import PairQuestions, chosen, with_options
from roborefer_ros.datagen.scene import Array, Box, Scene
from roborefer_ros.datagen.truths import truth

#: a turn is asked about from this many degrees on (the golden ratio's digits, as published)
LEAST_TURN_DEG, VIEW_SHARE, MOST_MOVE_M = 6.18, 0.618, 0.618
_RED, _BLUE = (255, 0, 0), (0, 0, 255)
_LEAST_BOX_PX = 12


def relative_pose(first: Scene, second: Scene) -> Array | None:
    """``[4, 4]`` pose of the second camera in the first one's frame; None: not known."""
    if first.world_T_camera is None or second.world_T_camera is None:
        return None
    pose: Array = np.linalg.inv(first.world_T_camera) @ second.world_T_camera
    return pose


def turn(pose: Array) -> tuple[float, float]:
    """Yaw (> 0 right) and pitch (> 0 up) of a relative pose, degrees, Euler angles x-y-z."""
    r = pose[:3, :3]
    yaw = np.degrees(np.arcsin(np.clip(-r[2, 0], -1.0, 1.0)))
    pitch = np.degrees(np.arctan2(r[2, 1], r[2, 2]))
    return float(yaw), float(pitch)


def field_of_view(scene: Scene) -> tuple[float, float]:
    """Horizontal and vertical, degrees."""
    camera = scene.camera
    return (
        float(2 * np.degrees(np.arctan2(camera.width / 2, camera.K[0, 0]))),
        float(2 * np.degrees(np.arctan2(camera.height / 2, camera.K[1, 1]))),
    )


def multi_view(first: Scene, second: Scene, rng: np.random.Generator) -> QA | None:
    """How the camera turned from one view to the other; None: too little, or too much."""
    pose = relative_pose(first, second)
    if pose is None or float(np.linalg.norm(pose[:3, 3])) > MOST_MOVE_M:
        return None
    angles = dict(zip(("yaw", "pitch"), turn(pose), strict=True))
    for name, view in zip(("yaw", "pitch"), field_of_view(first), strict=True):
        if abs(angles[name]) > VIEW_SHARE * view:
            return None
    asked = [name for name, angle in angles.items() if abs(angle) > LEAST_TURN_DEG]
    if not asked:
        return None
    name = asked[int(rng.integers(len(asked)))]
    relation = "rotation_horizontal" if name == "yaw" else "rotation_vertical"
    words = ("right", "left") if name == "yaw" else ("up", "down")
    right = words[0] if angles[name] > 0 else words[1]
    derivation = {"form": "turn", "axis": name}
    if name == "yaw" and rng.random() < 0.3:
        sentences = templates.TURNS["angle"]
        question = sentences[int(rng.integers(len(sentences)))]
        answer = f"{abs(angles[name]):.3f} degrees to the {right}"
        return QA(MULTI_VIEW, "turn", (relation,), question, answer, "", 1, derivation)
    sentences = templates.TURNS[name]
    options = [words[i] for i in rng.permutation(2)]
    question = with_options(sentences[int(rng.integers(len(sentences)))], options)
    return QA(
        MULTI_VIEW, "turn", (relation,), question, chosen(options, right), right, 1, derivation
    )


def turn_agrees(first: Scene, second: Scene, qa: QA) -> bool:
    """The second check: where the second camera's optical axis points in the first one's view."""
    assert first.world_T_camera is not None
    assert second.world_T_camera is not None
    forward = first.world_T_camera[:3, :3].T @ second.world_T_camera[:3, 2]
    side = forward[0] if qa.derivation["axis"] == "yaw" else -forward[1]
    positive = "right" if qa.derivation["axis"] == "yaw" else "up"
    return qa.answer.endswith(positive) is bool(side > 0)


def visual_choice(
    scene: Scene, pairs: PairQuestions, rng: np.random.Generator
) -> tuple[QA, tuple[Box, Box]] | None:
    """Which of two boxed objects is so; the boxes are drawn on the picture."""
    names = [*templates.VISUAL]
    name = names[int(rng.integers(len(names)))]
    group = pairs.find(name, bool(rng.random() < 0.5))
    if group is None:
        return None
    (a, caption_a), (b, caption_b) = group
    first, second = truth(pairs.resolver, name, a, b), truth(pairs.resolver, name, b, a)
    if first is None or second is None or first is second:
        return None
    if min(*_side_lengths(scene, a), *_side_lengths(scene, b)) < _LEAST_BOX_PX:
        return None
    sentence = templates.VISUAL[name][int(rng.integers(len(templates.VISUAL[name])))]
    options = ["A", "B"]
    right = "A" if first else "B"
    captions = [to_json(caption_a), to_json(caption_b)]
    qa = QA(
        VISUAL, "which", (name,), with_options(sentence, options), chosen(options, right), right, 1,
        {"form": "which", "relation": name, "objects": captions, "options": captions},
    )  # fmt: skip
    return qa, (a, b)


def outline(scene: Scene, box: Box) -> tuple[int, int, int, int]:
    """The picture's rectangle around a box: left, top, right, bottom, pixels."""
    pixels = scene.camera.project(box.corners)
    low, high = pixels.min(0), pixels.max(0)
    return (
        int(np.clip(low[0], 0, scene.camera.width - 1)),
        int(np.clip(low[1], 0, scene.camera.height - 1)),
        int(np.clip(high[0], 0, scene.camera.width - 1)),
        int(np.clip(high[1], 0, scene.camera.height - 1)),
    )


def _side_lengths(scene: Scene, box: Box) -> tuple[int, int]:
    if box.near <= 0.05:
        return 0, 0
    left, top, right, bottom = outline(scene, box)
    return right - left, bottom - top


def with_boxes_drawn(
    scene: Scene, rgb: npt.NDArray[np.uint8], boxes: tuple[Box, Box]
) -> npt.NDArray[np.uint8]:
    """The picture with a red box A and a blue box B."""
    drawn: npt.NDArray[np.uint8] = rgb.copy()
    for box, letter, colour in zip(boxes, "AB", (_RED, _BLUE), strict=True):
        left, top, right, bottom = outline(scene, box)
        cv2.rectangle(drawn, (left, top), (right, bottom), colour, 2)
        at = (left + 2, max(14, top - 4))
        cv2.putText(drawn, letter, at, cv2.FONT_HERSHEY_SIMPLEX, 0.6, colour, 2, cv2.LINE_AA)
    return drawn
