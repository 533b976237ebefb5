# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The demo's picture: each scene as the camera sees it, its depth, and the targets in space."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from roborefer_ros.demo.scoring import DemoAnswer
from roborefer_ros.demo.view3d import SideCamera, draw_arrow, draw_cloud
from roborefer_ros.simulation.held_out import HeldOutScene
from roborefer_ros.types import RGBDFrame

SceneView = tuple[HeldOutScene, RGBDFrame, Sequence[DemoAnswer]]

#: one colour an instruction, told apart also by the colour-blind (Okabe and Ito, 2008)
_COLOURS = ("#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#F0E442", "#000000")
_ARROW_M = 0.16
_CLOUD_POINTS = 150_000

#: where the labels of four answers stand, in points, so that they can be read where all coincide
_BESIDE = ((13, 9), (-24, 9), (13, -19), (-24, -19))
#: side of a label in the view in space, pixels
_LABEL_PX = 44.0


def draw_picture(views: Sequence[SceneView], path: Path) -> Path:
    """Write the picture; returns its path."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(
        len(views),
        3,
        figsize=(16.5, 4.9 * len(views) + 0.5),
        squeeze=False,
        gridspec_kw={"wspace": 0.03, "hspace": 0.42},
    )
    for row, view in zip(axes, views, strict=True):
        _draw_colour(row[0], view)
        _draw_depth(row[1], view)
        _draw_space(row[2], view)
    for axis, title in zip(
        axes[0], ("what the camera sees", "its depth [m]", "the targets in base_link"), strict=True
    ):
        axis.set_title(title, fontsize=13, pad=8)
    figure.savefig(path, dpi=100, bbox_inches="tight", facecolor="white")
    pyplot.close(figure)
    return path


def _draw_colour(axis: Any, view: SceneView) -> None:
    scene, frame, answers = view
    axis.imshow(frame.rgb)
    _bare(axis)
    lines = []
    for number, answer in enumerate(answers):
        lines.append(_legend(number, answer))
        if answer.pixel is None:
            continue
        colour = _COLOURS[number % len(_COLOURS)]
        axis.plot(*answer.pixel, "o", ms=19, mfc="none", mec="white", mew=5)
        axis.plot(*answer.pixel, "o", ms=19, mfc="none", mec=colour, mew=3)
        axis.plot(*answer.pixel, "o", ms=4, color=colour, mec="white", mew=0.8)
        axis.annotate(
            str(number + 1),
            answer.pixel,
            _BESIDE[number % len(_BESIDE)],
            textcoords="offset points",
            fontsize=12,
            fontweight="bold",
            color="white",
            bbox={"boxstyle": "round,pad=0.2", "fc": colour, "ec": "white"},
        )
    for number, text in enumerate(lines):
        axis.text(
            0.0,
            -0.035 - 0.062 * number,
            text,
            transform=axis.transAxes,
            fontsize=11,
            va="top",
            color=_COLOURS[number % len(_COLOURS)],
        )
    axis.set_ylabel(f"scene {scene.number}", fontsize=11)


def _legend(number: int, answer: DemoAnswer) -> str:
    words = f"{number + 1}  {answer.question.instruction}"
    if answer.error_code:
        return f"{words}   (error {answer.error_code})"
    return words if answer.inside else f"{words}   (wrong)"


def _draw_depth(axis: Any, view: SceneView) -> None:
    _, frame, answers = view
    depth = frame.depth.metres()
    near, far = np.nanpercentile(depth, (1, 90)) if np.isfinite(depth).any() else (0.0, 1.0)
    image = axis.imshow(depth, cmap="viridis_r", vmin=near, vmax=far)
    axis.set_facecolor("black")
    _bare(axis)
    for number, answer in enumerate(answers):
        if answer.pixel is not None:
            axis.plot(
                *answer.pixel, "o", ms=11, mfc=_COLOURS[number % len(_COLOURS)], mec="white", mew=2
            )
    place = axis.inset_axes((0.05, 0.93, 0.42, 0.03))
    bar = axis.figure.colorbar(image, cax=place, orientation="horizontal")
    bar.ax.tick_params(labelsize=9, colors="white")
    axis.text(
        0.99, 0.02, "black: no reading", transform=axis.transAxes, ha="right", fontsize=9,
        color="white", bbox={"fc": "black", "ec": "none", "alpha": 0.6, "pad": 2},
    )  # fmt: skip


def _draw_space(axis: Any, view: SceneView) -> None:
    scene, frame, answers = view
    points, colours = _cloud(frame, scene.view.world_T_camera)
    camera = SideCamera.looking_at(
        np.array([0.62, 0.0, 0.02]), np.array([0.05, -0.95, 0.62]), 960, 720, np.deg2rad(44)
    )
    image = draw_cloud(points, colours, camera, 0.0042)
    for number, answer in enumerate(answers):
        if answer.position_m is None or answer.approach is None:
            continue
        tip = np.array(answer.position_m)
        tail = tip - _ARROW_M * np.array(answer.approach)
        draw_arrow(image, camera, tail, tip, _rgb(_COLOURS[number % len(_COLOURS)]))
    axis.imshow(image)
    taken: list[tuple[float, float]] = []
    for number, answer in enumerate(answers):
        if answer.position_m is None or answer.approach is None:
            continue
        tail = np.array(answer.position_m) - _ARROW_M * np.array(answer.approach)
        u, v = camera.project(tail)[0][0]
        taken.append(beside_others((float(u), float(v)), taken))
        axis.annotate(
            str(number + 1),
            taken[-1],
            ha="center",
            va="center",
            fontsize=12,
            fontweight="bold",
            color="white",
            annotation_clip=True,
            bbox={"boxstyle": "round,pad=0.2", "fc": _COLOURS[number % len(_COLOURS)],
                  "ec": "white"},
        )  # fmt: skip
    _bare(axis)
    for number, answer in enumerate(answers):
        if answer.position_m is None or answer.distance_m is None:
            continue
        text = "{}  x {:+.3f}  y {:+.3f}  z {:+.3f} m,  {:.1f} mm off".format(
            number + 1, *answer.position_m, 1e3 * answer.distance_m
        )
        axis.text(
            0.0,
            -0.035 - 0.062 * number,
            text,
            transform=axis.transAxes,
            fontsize=11,
            va="top",
            family="monospace",
            color=_COLOURS[number % len(_COLOURS)],
        )


def beside_others(
    place: tuple[float, float], taken: Sequence[tuple[float, float]]
) -> tuple[float, float]:
    """A place for a label, in pixels, moved to the left until it covers none of the others."""
    u, v = place
    while any(abs(u - other[0]) < _LABEL_PX and abs(v - other[1]) < _LABEL_PX for other in taken):
        u -= _LABEL_PX
    return u, v


def _cloud(frame: RGBDFrame, world_T_camera: Any) -> tuple[Any, Any]:
    """World points and colours of the readings on and near the table."""
    depth = frame.depth.metres()
    v, u = np.nonzero(np.isfinite(depth))
    stride = max(1, len(u) // _CLOUD_POINTS)
    u, v = u[::stride], v[::stride]
    k = frame.intrinsics
    z = depth[v, u].astype(np.float64)
    camera = np.stack([(u - k.cx) / k.fx * z, (v - k.cy) / k.fy * z, z], axis=1)
    world = camera @ world_T_camera[:3, :3].T + world_T_camera[:3, 3]
    near = (world[:, 2] > -0.03) & (world[:, 0] < 1.1) & (abs(world[:, 1]) < 0.55)
    return world[near], frame.rgb[v, u][near]


def _rgb(colour: str) -> tuple[int, int, int]:
    return tuple(int(colour[i : i + 2], 16) for i in (1, 3, 5))  # type: ignore[return-value]


def _bare(axis: Any) -> None:
    axis.set_xticks([])
    axis.set_yticks([])
    for spine in axis.spines.values():
        spine.set_visible(False)
