# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""What lifting gives: a point in space with its normal, covariance and confidence."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from roborefer_ros.lifting.options import LiftingOptions
from roborefer_ros.types import Pixel, PointFlag, ReferredPoint

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class LiftedPoint:
    """A pixel lifted to 3D, in the colour camera's optical frame.

    Attributes:
        position_m: ``[3]``.
        normal: ``[3]`` unit surface normal, towards the camera.
        orientation_xyzw: ``[4]`` approach orientation, see ``orientation.py``.
        covariance: ``[6, 6]`` of (x, y, z, rot_x, rot_y, rot_z), m^2 and rad^2.
        valid_ratio: valid readings / pixels of the window that was used.
        nearest_reading_px: distance from the pixel to the nearest valid reading.
        inliers: readings that the surface was fitted to.
        residual_m: RMS distance in z of the inliers from the surface.
        incidence_rad: angle between the viewing ray and the normal.
        confidence: trust in the position, [0, 1]; above ``LiftingOptions.confident_above``
            the point is on the surface that the pixel shows.
        flags: reasons for less trust.
        tilt_rad: FREE_SPACE: angle between the support and level; None where ``up`` is unknown.
        flatness_m: FREE_SPACE: RMS height of the footprint's readings over the support.
    """

    position_m: Array
    normal: Array
    orientation_xyzw: Array
    covariance: Array
    valid_ratio: float
    nearest_reading_px: float
    inliers: int
    residual_m: float
    incidence_rad: float
    confidence: float
    flags: PointFlag = PointFlag.NONE
    tilt_rad: float | None = None
    flatness_m: float | None = None

    def to_referred(
        self, pixel: Pixel, normalised: tuple[float, float], frame_id: str
    ) -> ReferredPoint:
        """Join it with the 2D point that it was lifted from."""
        return ReferredPoint(
            pixel=pixel,
            normalised=normalised,
            position_m=self.position_m,
            orientation_xyzw=self.orientation_xyzw,
            covariance=self.covariance,
            frame_id=frame_id,
            valid_depth_ratio=self.valid_ratio,
            nearest_reading_px=self.nearest_reading_px,
            confidence=self.confidence,
            flags=self.flags,
            tilt_rad=self.tilt_rad,
            flatness_m=self.flatness_m,
        )


def flag_workspace(point: ReferredPoint, options: LiftingOptions) -> ReferredPoint:
    """Set OUT_OF_WORKSPACE where a point, in the frame of the answer, leaves ``workspace_m``."""
    if options.workspace_m is None:
        return point
    low, high = np.array(options.workspace_m).reshape(2, 3)
    position = np.asarray(point.position_m)
    if ((position >= low) & (position <= high)).all():
        return point
    return replace(point, flags=point.flags | PointFlag.OUT_OF_WORKSPACE)
