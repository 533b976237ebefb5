# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""A recording of one pick and place: what the camera was asked, and what the arm made of it.

python -m roborefer_ros.arm.recording --out out/arm.gif
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from roborefer_ros.arguments import ArgumentParser
from roborefer_ros.arm.methods import Ours
from roborefer_ros.arm.trial import Outcome, Target, TrialScene, run_trial
from roborefer_ros.errors import DependencyMissingError, RoboReferError
from roborefer_ros.simulation.geometry import project
from roborefer_ros.simulation.instructions import Question
from roborefer_ros.simulation.rendering import RenderedView

#: of each of both pictures, pixels
WIDTH, HEIGHT = 400, 300
#: simulated time between frames, and how long a frame is shown, seconds
_EVERY_S, _SHOWN_S = 0.25, 0.10
_COLOURS = 255
_AXIS_M = 0.08


class Overview:
    """MuJoCo's own renderer, beside the table.

    Raises:
        DependencyMissingError: there is no OpenGL.
    """

    def __init__(self, trial: TrialScene) -> None:
        os.environ.setdefault("MUJOCO_GL", "egl")
        import mujoco

        self._world = trial.world
        try:
            self._renderer = mujoco.Renderer(trial.world.model, HEIGHT, WIDTH)
        except Exception as error:  # of whatever OpenGL library is tried
            raise DependencyMissingError(
                f"MuJoCo cannot draw here ({str(error).splitlines()[0]}): apt install libegl1 "
                "libgl1-mesa-dri, or libosmesa6 and MUJOCO_GL=osmesa"
            ) from None
        side = float(np.sign(trial.world.world_T_base[1, 3]))
        self._camera = mujoco.MjvCamera()
        self._camera.lookat = [0.6, 0.1 * side, 0.15]
        self._camera.distance, self._camera.elevation = 1.75, -24
        self._camera.azimuth = 90.0 * side + 115.0
        self._option = mujoco.MjvOption()
        self._option.geomgroup[:] = 0
        groups = (1, 2) if trial.world.robot.name == "panda" else (0, 2)
        self._option.geomgroup[list(groups)] = 1
        self._option.sitegroup[:] = 0
        if trial.world.robot.name == "panda":
            # the table is of group 0, as are the Panda's shapes for collisions
            trial.world.model.geom("table").group = 2

    def picture(self) -> npt.NDArray[np.uint8]:
        """``[H, W, 3]``."""
        self._renderer.update_scene(self._world.data, self._camera, self._option)
        picture: npt.NDArray[np.uint8] = self._renderer.render()
        return picture

    def close(self) -> None:
        """Free OpenGL."""
        self._renderer.close()


def asked_picture(view: RenderedView, question: Question, target: Target) -> Image.Image:
    """The camera's picture with the instruction, the point, the pose's axes and the confidence."""
    image = Image.fromarray(view.rgb)
    draw = ImageDraw.Draw(image)
    u, v = target.pixel
    for axis, colour in zip(target.rotation.T, ("red", "lime", "#4488ff"), strict=True):
        tip = target.position_m + (-_AXIS_M if colour == "red" else _AXIS_M) * axis
        a, b = (tuple(project(view, p)[0]) for p in (target.position_m, tip))
        draw.line([*a, *b], fill=colour, width=4)
    draw.ellipse((u - 9, v - 9, u + 9, v + 9), outline="white", width=3)
    image = image.resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS)
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(15)
    draw.rectangle((0, 0, WIDTH, 44), fill="black")
    words = f"“{question.instruction}”"
    size = min(15.0, 15.0 * (WIDTH - 24) / max(font.getlength(words), 1.0))
    draw.text((6, 4), words, fill="white", font=ImageFont.load_default(size))
    draw.text((6, 23), f"confidence {target.confidence:.2f}", fill="#ffd070", font=font)
    return image


def record(number: int, robot: str, model: str | None, path: Path) -> tuple[list[Outcome], Path]:
    """Record a trial.

    Args:
        number: Of the trial.
        robot: See ``open_robot``.
        model: Spec of the pointing model; None points at the truth.
        path: Of the GIF.
    """
    pipeline: Any = None
    if model is not None:
        from roborefer_ros.pipeline import ReferPipeline
        from roborefer_ros.pointing.factory import open_pointer

        pipeline = ReferPipeline(open_pointer(model))
    trial = TrialScene(number, robot)
    overview = Overview(trial)
    frames: list[Image.Image] = []
    left = Image.fromarray(trial.view.rgb).resize((WIDTH, HEIGHT))
    last_s = -1.0

    def on_answer(question: Question, target: Target) -> None:
        nonlocal left
        left = asked_picture(target.view, question, target)

    def on_tick(stage: str) -> None:
        nonlocal last_s
        if trial.world.time_s - last_s < _EVERY_S:
            return
        last_s = trial.world.time_s
        both = Image.new("RGB", (2 * WIDTH, HEIGHT))
        both.paste(left, (0, 0))
        both.paste(Image.fromarray(overview.picture()), (WIDTH, 0))
        draw = ImageDraw.Draw(both)
        draw.text((WIDTH + 6, 4), stage, fill="white", font=ImageFont.load_default(15))
        frames.append(
            both.quantize(_COLOURS, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
        )

    try:
        outcomes = run_trial(trial, Ours(pipeline), on_tick=on_tick, on_answer=on_answer)
    finally:
        overview.close()
    path.parent.mkdir(parents=True, exist_ok=True)
    if frames:
        frames[0].save(
            path, save_all=True, append_images=frames[1:], duration=round(1000 * _SHOWN_S), loop=0
        )
    return outcomes, path


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    parser = ArgumentParser(prog="roborefer_ros.arm.recording", description=__doc__)
    parser.add_argument("--seed", type=int, default=0, help="number of the trial")
    parser.add_argument("--robot", default="auto", help="panda, gripper or auto")
    parser.add_argument("--model", default="roborefer:demo", help="'' points at the truth")
    parser.add_argument("--out", type=Path, default=Path("out/arm.gif"))
    arguments = parser.parse_args(argv)
    try:
        outcomes, path = record(
            arguments.seed, arguments.robot, arguments.model or None, arguments.out
        )
    except (RoboReferError, ValueError) as error:
        print(f"error {getattr(error, 'code', 2600)}: {error}", file=sys.stderr)
        return 1
    for outcome in outcomes:
        print(f"{outcome.half}: {outcome.instruction}: {outcome.cause or 'ok'} {outcome.detail}")
    print(f"{path} ({path.stat().st_size / 1e6:.1f} MB)")
    return 0 if all(outcome.ok for outcome in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
