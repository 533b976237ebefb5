# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Every threshold of the lifting, with its unit, default and useful range."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from roborefer_ros.errors import InvalidGoalError

LowConfidencePolicy = Literal["flag", "refuse"]

#: image width for which the radii in pixels are stated; other widths scale them
REFERENCE_WIDTH_PX = 1280


@dataclass(frozen=True)
class LiftingOptions:
    """Thresholds of the lifting.

    Radii in pixels are stated for an image 1280 pixels wide and scale with the width.
    Ranges in brackets are what was thought through, not what is enforced.

    Attributes:
        z_min_m: readings nearer than this are invalid [0.05, 1.0].
        z_max_m: readings farther than this are invalid [0.5, 20].
        search_radius_px: how far from the pixel readings are looked for [8, 40].
        min_inliers: readings that make a surface; fewer set SPARSE [8, 100].
        normal_radius_px: radius of the patch that the normal is fitted to [6, 25].
        seed_tolerance_m: readings within this (or 4 sigma) are one cluster [0.003, 0.02].
        inlier_tolerance_m: readings within this (or 4 sigma) of the seed are grown [0.005, 0.05].
        step_m: a depth step of this height separates two surfaces [0.01, 0.1].
        edge_radius_px: a step within this radius makes an edge [2, 10].
        grazing_rad: incidence that sets GRAZING [1.0, 1.4].
        max_incidence_rad: incidence that is refused, GrazingSurfaceError [1.3, 1.56].
        disparity_noise_px: s of sigma_z = s Z^2 / (f B); 0.09 textured, 0.2 poor [0.03, 0.5].
        baseline_m: B, the stereo baseline [0.015, 0.1].
        depth_focal_px: f of the depth sensor at the resolution it measures; 0 takes half the
            image width, the 90 degree field of view of a D435.
        pixel_sigma_px: standard deviation of the pointed pixel, for the covariance [0, 30].
        normalised_step: step of the model's normalised coordinates, for the covariance.
        confident_above: a point with less confidence is "low confidence" [0.3, 0.9].
        on_low_confidence: "flag" gives it with its flags, "refuse" raises instead.
        footprint_radius_m: free space must be flat within this radius [0.01, 0.3].
        flatness_m: readings deviating more from the support (or 4 sigma) are not flat
            [0.003, 0.05].
        max_uneven_ratio: share of uneven readings that is refused, NotFreeSpaceError; a third
            of it sets NOT_FLAT [0.05, 0.5].
        max_tilt_rad: tilt of the support against ``up`` that is refused [0.05, 0.8].
        up: direction against gravity in the camera frame, for the roll of the pose and the
            tilt of supports; None where unknown.
    """

    z_min_m: float = 0.15
    z_max_m: float = 10.0
    search_radius_px: float = 25.0
    min_inliers: int = 20
    normal_radius_px: float = 14.0
    seed_tolerance_m: float = 0.006
    inlier_tolerance_m: float = 0.015
    step_m: float = 0.02
    edge_radius_px: float = 4.0
    grazing_rad: float = math.radians(75.0)
    max_incidence_rad: float = math.radians(85.0)
    disparity_noise_px: float = 0.09
    baseline_m: float = 0.05
    depth_focal_px: float = 0.0
    pixel_sigma_px: float = 0.5
    normalised_step: float = 0.001
    confident_above: float = 0.5
    on_low_confidence: LowConfidencePolicy = "flag"
    footprint_radius_m: float = 0.05
    flatness_m: float = 0.008
    max_uneven_ratio: float = 0.10
    max_tilt_rad: float = math.radians(20.0)
    up: tuple[float, float, float] | None = None

    def __post_init__(self) -> None:
        if not 0.0 <= self.z_min_m < self.z_max_m:
            raise InvalidGoalError(
                f"the depth range [{self.z_min_m}, {self.z_max_m}] m is empty or negative"
            )
        for name in _POSITIVE:
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise InvalidGoalError(f"lifting option {name} must be positive, not {value}")
        if self.on_low_confidence not in ("flag", "refuse"):
            raise InvalidGoalError(
                f"on_low_confidence must be 'flag' or 'refuse', not '{self.on_low_confidence}'"
            )
        if self.up is not None and not (
            len(self.up) == 3 and 1e-6 < math.hypot(*self.up) < math.inf
        ):
            raise InvalidGoalError(f"up must be a direction of length > 0, not {self.up}")

    def sigma_z_m(self, z_m: float, width_px: int) -> float:
        """Standard deviation of one reading at depth ``z_m``, metres.

        sigma_z = s Z^2 / (f B): Grunnet-Jepsen, Sweetser, Woodfill, "Best-Known-Methods for
        Tuning Intel RealSense D400 Depth Cameras", Intel.
        """
        focal_px = self.depth_focal_px or 0.5 * width_px
        return self.disparity_noise_px * z_m * z_m / (focal_px * self.baseline_m)


_POSITIVE = (
    "search_radius_px",
    "min_inliers",
    "normal_radius_px",
    "seed_tolerance_m",
    "inlier_tolerance_m",
    "step_m",
    "edge_radius_px",
    "grazing_rad",
    "max_incidence_rad",
    "disparity_noise_px",
    "baseline_m",
    "footprint_radius_m",
    "flatness_m",
    "max_uneven_ratio",
    "max_tilt_rad",
)
