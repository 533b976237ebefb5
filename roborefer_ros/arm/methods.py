# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Ways from words and a frame to a target: the package's own, and those it is compared with."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from roborefer_ros.arm.grasping import thing_and_others
from roborefer_ros.arm.trial import Target
from roborefer_ros.errors import NoDepthAtPointError
from roborefer_ros.lifting import LiftingOptions
from roborefer_ros.lifting.cloud import crop_cloud
from roborefer_ros.lifting.intrinsics import rays_through
from roborefer_ros.lifting.lift import lift_point
from roborefer_ros.lifting.orientation import rotation_matrix
from roborefer_ros.lifting.segment import grow_segment
from roborefer_ros.pipeline import ReferPipeline, pixel_from_normalised
from roborefer_ros.pointing.depth_input import relative_depth_from_metric
from roborefer_ros.simulation.instructions import Question
from roborefer_ros.simulation.rendering import RenderedView
from roborefer_ros.types import Mode, Pixel, RGBDFrame

Array = npt.NDArray[np.float64]

#: an approach from above, for methods without an orientation
_DOWN = np.array([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [-1.0, 0.0, 0.0]])
#: how far around its point a method without segments takes readings for the thing's, metres
_CROP_M = 0.08
#: how far around a thing the hand must have room, metres
_AROUND_M = 0.25


@dataclass(frozen=True)
class Ours:
    """This package: a pointer, then the lifting with its segment and its check of free space.

    Attributes:
        pipeline: Of the model that points; None points at the truth.
    """

    pipeline: ReferPipeline | None = None

    def locate(
        self, frame: RGBDFrame, view: RenderedView, question: Question, footprint_m: float
    ) -> Target:
        """See ``trial.Method``."""
        pose = view.world_T_camera
        options = _options(pose, footprint_m)
        pixel, trust = _point(self.pipeline, frame, question)
        lifted = lift_point(frame, pixel, options, question.mode)
        position = pose[:3, :3] @ lifted.position_m + pose[:3, 3]
        around = crop_cloud(frame, lifted.position_m, _AROUND_M, options).moved(pose).points_m
        thing = np.zeros((0, 3))
        others = around.astype(np.float64)
        if question.mode == Mode.OBJECT:
            segment = grow_segment(frame, pixel, float(lifted.position_m[2]), options)
            grown = np.zeros((0, 3)) if segment.is_support else segment.cloud.moved(pose).points_m
            thing, others = thing_and_others(grown, others, position)
        confidence = lifted.confidence
        if self.pipeline is not None:
            calibration = self.pipeline.calibration
            confidence = calibration.confidence(trust, confidence, question.mode)
        turned = pose[:3, :3] @ rotation_matrix(lifted.orientation_xyzw)
        return Target(pixel, position, thing, others, confidence, turned, view)


@dataclass(frozen=True)
class DepthWindow:
    """The usual recipe: the median depth of a square at the pixel, and the readings around.

    Attributes:
        side_px: Of the square; 1 is the pixel alone.
        pipeline: Of the model that points; None points at the truth.
    """

    side_px: int
    pipeline: ReferPipeline | None = None

    def locate(
        self, frame: RGBDFrame, view: RenderedView, question: Question, footprint_m: float
    ) -> Target:
        """See ``trial.Method``."""
        pose = view.world_T_camera
        pixel = _pixel(self.pipeline, frame, question)
        u, v, r = round(pixel[0]), round(pixel[1]), self.side_px // 2
        z = frame.depth.metres(slice(max(0, v - r), v + r + 1), slice(max(0, u - r), u + r + 1))
        if not np.isfinite(z).any():
            raise NoDepthAtPointError(f"no depth in {self.side_px} x {self.side_px} at ({u}, {v})")
        in_camera = rays_through([pixel], frame.intrinsics)[0] * float(np.nanmedian(z))
        position = pose[:3, :3] @ in_camera + pose[:3, 3]
        around = crop_cloud(frame, in_camera, _AROUND_M).moved(pose).points_m.astype(np.float64)
        near = np.linalg.norm(around - position, axis=1) < _CROP_M
        above = around[:, 2] > 0.008
        thing, others = around[near & above], around[~near]
        return Target(pixel, position, thing, others, 1.0, _DOWN, view)


def _options(world_T_camera: Array, footprint_m: float) -> LiftingOptions:
    x, y, z = (float(value) for value in world_T_camera[2, :3])
    options = LiftingOptions(up=(x, y, z), shadow_side="left", disparity_noise_px=0.09)
    return replace(options, footprint_radius_m=footprint_m)


def _pixel(pipeline: ReferPipeline | None, frame: RGBDFrame, question: Question) -> Pixel:
    return _point(pipeline, frame, question)[0]


def _point(
    pipeline: ReferPipeline | None, frame: RGBDFrame, question: Question
) -> tuple[Pixel, float | None]:
    """The pixel and the model's trust in it."""
    if pipeline is None:
        return (float(question.pixel[0]), float(question.pixel[1])), None
    # the methods that are compared share the pointer's answer
    key = (id(pipeline), hash(frame.rgb.tobytes()), question.instruction, question.mode)
    if key not in _ANSWERS:
        if len(_ANSWERS) >= _MOST_ANSWERS:
            _ANSWERS.clear()
        depth = relative_depth_from_metric(frame.depth.metres())
        answer = pipeline.pointer.point(frame.rgb, depth, question.instruction, max_points=1)
        confidence = answer.confidences[0] if answer.confidences else None
        _ANSWERS[key] = answer.points[0], confidence
    point, confidence = _ANSWERS[key]
    return pixel_from_normalised(point, frame.width, frame.height)[0], confidence


_MOST_ANSWERS = 64
_ANSWERS: dict[tuple[int, int, str, Mode], tuple[tuple[float, float], float | None]] = {}
