# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The demo: a real ROS 2 graph in three processes.

camera process  -> topics ->  RoboRefer process  <- action <-  this process
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from PIL import Image

from roborefer_ros.demo.scoring import (
    DemoAnswer,
    choose_questions,
    is_inside,
    surface_distance_m,
)
from roborefer_ros.errors import RoboReferError
from roborefer_ros.simulation.held_out import HeldOutScene, held_out_scene
from roborefer_ros.simulation.instructions import Question

#: of the simulated camera, pixels
SIZE = (640, 480)

_GOAL_TIMEOUT_S = 60.0


class Progress:
    """Says on stderr what the demo is doing, with the time since its start."""

    def __init__(self, stream: TextIO = sys.stderr) -> None:
        self._stream, self._start_s = stream, time.monotonic()

    def say(self, text: str) -> None:
        """One line."""
        elapsed_s = time.monotonic() - self._start_s
        print(f"[{elapsed_s:5.1f} s] {text}", file=self._stream, flush=True)


def run_demo(
    scenes: int, first_scene: int, questions: int, model: str, out: Path, progress: Progress
) -> tuple[list[DemoAnswer], Path]:
    """Start the graph, ask, judge and draw.

    Args:
        scenes: Number of scenes.
        first_scene: Number of the first scene.
        questions: Greatest number of instructions per scene.
        model: spec of the pointing model.
        out: folder for the picture and the logs.
        progress: Receiver of messages about what happens.

    Returns:
        The answers and the path of the picture.

    Raises:
        RoboReferError: the graph did not come up or went away.
    """
    from roborefer_ros.demo.graph import DemoGraph
    from roborefer_ros.demo.picture import draw_picture

    out.mkdir(parents=True, exist_ok=True)
    answers: list[DemoAnswer] = []
    views = []
    with DemoGraph(out / "logs", model, SIZE, first_scene, progress.say) as graph:
        for number in range(first_scene, first_scene + scenes):
            scene = held_out_scene(number, *SIZE)
            graph.show_scene(number)
            chosen = choose_questions(scene, questions)
            progress.say(f"scene {number}: {len(scene.scene.objects)} objects")
            of_scene = [_ask(graph, scene, question, progress) for question in chosen]
            answers += of_scene
            views.append((scene, graph.frame(), of_scene))
    progress.say("drawing")
    picture = draw_picture(views, out / "demo.png")
    return answers, picture


def stay(number: int, questions: int, model: str, out: Path, progress: Progress) -> int:
    """Keep camera and node running until Ctrl-C or SIGTERM; tell what could be asked.

    Args:
        number: Number of the scene before the camera.
        questions: Greatest number of instructions to suggest.
        model: spec of the pointing model.
        out: folder for the scene's picture and the logs.
        progress: Receiver of messages about what happens.

    Returns:
        The exit status.

    Raises:
        RoboReferError: the graph did not come up or went away.
    """
    from roborefer_ros.demo.graph import DemoGraph

    out.mkdir(parents=True, exist_ok=True)
    chosen = choose_questions(held_out_scene(number, *SIZE), questions)
    try:
        with DemoGraph(out / "logs", model, SIZE, number, progress.say, own_domain=False) as graph:
            picture = out / "scene.png"
            Image.fromarray(graph.frame().rgb).save(picture)
            print(f"what the camera sees: {picture}\nask from another shell, for example:")
            for question in chosen:
                print(f'    roborefer refer "{question.instruction}"')
            print("Ctrl-C ends it", flush=True)
            while True:
                graph.check()
                time.sleep(0.5)
    except KeyboardInterrupt:
        return 0


def _ask(graph: Any, scene: HeldOutScene, question: Question, progress: Progress) -> DemoAnswer:
    progress.say(f'  asking "{question.instruction}"')
    try:
        result = graph.refer(question.instruction, _GOAL_TIMEOUT_S)
    except RoboReferError as error:
        progress.say(f"    error {error.code}: {error}")
        return DemoAnswer(
            scene.number, question, error.code, str(error), None, None, None, "", False, None, {}
        )
    point = result.points[0]
    p, q = point.pose.pose.position, point.pose.pose.orientation
    position = (p.x, p.y, p.z)
    pixel = (point.u, point.v)
    return DemoAnswer(
        scene=scene.number,
        question=question,
        error_code=0,
        error_msg="",
        pixel=pixel,
        position_m=position,
        approach=_x_axis(q.x, q.y, q.z, q.w),
        frame_id=point.pose.header.frame_id,
        inside=is_inside(question, pixel),
        distance_m=surface_distance_m(scene, question, np.array(position)),
        timings_s={timing.stage: timing.duration for timing in result.timings},
    )


def _x_axis(x: float, y: float, z: float, w: float) -> tuple[float, float, float]:
    """First column of a unit quaternion's rotation matrix."""
    return (1 - 2 * (y * y + z * z), 2 * (x * y + z * w), 2 * (x * z - y * w))
