# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Every threshold of the lifting, with its unit, default and range."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from roborefer_ros.errors import InvalidGoalError

#: up in the optical frame, where gravity is unknown
_IMAGE_UP = (0.0, -1.0, 0.0)

LowConfidencePolicy = Literal["flag", "refuse"]
ShadowSide = Literal["left", "right", "both", "none"]

#: field -> the strings that it takes
CHOICES: dict[str, tuple[str, ...]] = {
    "on_low_confidence": ("flag", "refuse"),
    "shadow_side": ("left", "right", "both", "none"),
}

#: image width for which the radii in pixels are stated; other widths scale them
REFERENCE_WIDTH_PX = 1280


def _ranged(default: float, low: float, high: float) -> Any:
    """A number that ``LiftingOptions`` holds in [low, high]."""
    return field(default=default, metadata={"range": (low, high)})


@dataclass(frozen=True)
class LiftingOptions:
    """Thresholds of the lifting.

    Radii in pixels are stated for an image 1280 pixels wide and scale with the width.
    ``option_ranges`` gives the range of each number; another value raises InvalidGoalError.

    Attributes:
        z_min_m: readings nearer than this are invalid.
        z_max_m: readings farther than this are invalid.
        search_radius_px: how far from the pixel readings are looked for.
        min_inliers: readings that make a surface; fewer set SPARSE.
        normal_radius_px: radius of the patch that the normal is fitted to.
        seed_tolerance_m: readings within this (or 4 sigma) are one cluster.
        inlier_tolerance_m: readings within this (or 4 sigma) of the seed are grown.
        step_m: a depth step of this height separates two surfaces.
        edge_radius_px: a step within this radius makes an edge.
        grazing_rad: incidence that sets GRAZING.
        max_incidence_rad: incidence that is refused, GrazingSurfaceError.
        disparity_noise_px: s of sigma_z = s Z^2 / (f B); 0.09 textured, 0.2 poor.
        baseline_m: B, the stereo baseline.
        depth_focal_px: f of the depth sensor at the resolution it measures; 0 takes that of
            the depth camera's info, or half the image width where depth comes aligned (the
            90 degree field of view of a D435).
        depth_bias_ratio: standard deviation of an error that all readings of a surface share,
            over the depth, for the covariance; 0.005 covers a D435 as it comes. It counts as
            far as neighbouring readings are seen to share their errors, as those of real
            sensors do and simulated independent noise does not; 0 never counts it.
        shadow_side: side of near things on which the second imager's shadow falls; "left" for
            a stereo camera whose second imager is the right one (D400), "none" assumes none.
        pixel_sigma_px: standard deviation of the pointed pixel, for the covariance.
        normalised_step: step of the model's normalised coordinates, for the covariance.
        confident_above: a point with less confidence is "low confidence".
        refuse_below: a point with less confidence is refused, whatever on_low_confidence says.
        on_low_confidence: "flag" gives it with its flags, "refuse" raises instead.
        footprint_radius_m: free space must be flat within this radius.
        flatness_m: readings deviating more from the support (or 4 sigma) are not flat.
        max_uneven_ratio: share of uneven readings that is refused, NotFreeSpaceError; a third
            of it sets NOT_FLAT.
        clearance_m: free space is free up to this height over the footprint.
        max_occupied_ratio: share of the readings within that cylinder that may stand higher than
            twice flatness_m (or 6 sigma), NotFreeSpaceError.
        min_footprint_ratio: share of the footprint, and of each half of it, that must have
            readings, NotFreeSpaceError.
        max_tilt_rad: tilt of the support against ``up`` that is refused.
        in_air: free space where no surface is gives a position over what is below (IN_AIR);
            false refuses it.
        air_height_m: height of that position over what is below.
        segment_radius_m: a segment grown from a point reaches no farther than this.
        temporal_frames: the median of this many frames is lifted from, for a camera at rest;
            1 takes each frame alone.
        temporal_window_s: frames older than this are not part of that median.
        workspace_m: (x_min, y_min, z_min, x_max, y_max, z_max) in the frame of the answer;
            points outside set OUT_OF_WORKSPACE; None for no limit.
        up: direction against gravity in the camera frame, for the roll of the pose and the
            tilt of supports; None where unknown.
    """

    z_min_m: float = _ranged(0.15, 0.0, 100.0)
    z_max_m: float = _ranged(10.0, 0.05, 100.0)
    search_radius_px: float = _ranged(25.0, 4.0, 100.0)
    min_inliers: int = _ranged(20, 3, 1000)
    normal_radius_px: float = _ranged(14.0, 3.0, 100.0)
    seed_tolerance_m: float = _ranged(0.006, 0.0005, 0.1)
    inlier_tolerance_m: float = _ranged(0.015, 0.001, 0.2)
    step_m: float = _ranged(0.02, 0.002, 0.5)
    edge_radius_px: float = _ranged(4.0, 1.0, 50.0)
    grazing_rad: float = _ranged(math.radians(75.0), 0.5, 1.56)
    max_incidence_rad: float = _ranged(math.radians(85.0), 0.5, 1.57)
    disparity_noise_px: float = _ranged(0.09, 0.001, 5.0)
    baseline_m: float = _ranged(0.05, 0.005, 1.0)
    depth_focal_px: float = _ranged(0.0, 0.0, 10000.0)
    depth_bias_ratio: float = _ranged(0.005, 0.0, 0.1)
    shadow_side: ShadowSide = "left"
    pixel_sigma_px: float = _ranged(0.5, 0.0, 100.0)
    normalised_step: float = _ranged(0.001, 0.0, 0.1)
    confident_above: float = _ranged(0.5, 0.0, 1.0)
    refuse_below: float = _ranged(0.05, 0.0, 1.0)
    on_low_confidence: LowConfidencePolicy = "flag"
    footprint_radius_m: float = _ranged(0.05, 0.005, 0.5)
    flatness_m: float = _ranged(0.008, 0.001, 0.1)
    max_uneven_ratio: float = _ranged(0.10, 0.01, 1.0)
    clearance_m: float = _ranged(0.10, 0.0, 1.0)
    max_occupied_ratio: float = _ranged(0.03, 0.0, 1.0)
    min_footprint_ratio: float = _ranged(0.25, 0.01, 1.0)
    max_tilt_rad: float = _ranged(math.radians(20.0), 0.01, 1.57)
    in_air: bool = True
    air_height_m: float = _ranged(0.10, 0.0, 1.0)
    segment_radius_m: float = _ranged(0.15, 0.01, 1.0)
    temporal_frames: int = _ranged(1, 1, 15)
    temporal_window_s: float = _ranged(0.5, 0.01, 10.0)
    workspace_m: tuple[float, float, float, float, float, float] | None = None
    up: tuple[float, float, float] | None = None

    def __post_init__(self) -> None:
        for name, (low, high) in _RANGES.items():
            value = getattr(self, name)
            if not low <= value <= high:  # NaN is in no range
                raise InvalidGoalError(
                    f"lifting option {name} must lie in [{low:g}, {high:g}], not {value}"
                )
        if not self.z_min_m < self.z_max_m:
            raise InvalidGoalError(f"the depth range [{self.z_min_m}, {self.z_max_m}] m is empty")
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                raise InvalidGoalError(
                    f"lifting option {name} must be one of {', '.join(choices)}, "
                    f"not '{getattr(self, name)}'"
                )
        if self.up is not None and not (len(self.up) == 3 and 1e-6 < math.hypot(*self.up) < 1e6):
            raise InvalidGoalError(
                f"up must be a direction, of a length from 1e-6 to 1e6, not {self.up}"
            )
        box = self.workspace_m
        if box is not None and not (
            len(box) == 6 and all(a < b for a, b in zip(box[:3], box[3:], strict=True))
        ):
            raise InvalidGoalError(
                f"workspace_m must be three minima and three larger maxima, not {box}"
            )

    @property
    def least_confidence(self) -> float:
        """Points with less confidence are refused."""
        if self.on_low_confidence == "refuse":
            return max(self.confident_above, self.refuse_below)
        return self.refuse_below

    @property
    def unit_up(self) -> npt.NDArray[np.float64]:
        """``[3]`` the direction ``up`` at length 1; the image's up where none is given."""
        up = np.array(_IMAGE_UP if self.up is None else self.up)
        unit: npt.NDArray[np.float64] = up / np.linalg.norm(up)
        return unit

    def sigma_z_m(self, z_m: float, width_px: int) -> float:
        """Standard deviation of one reading at depth ``z_m``, metres.

        sigma_z = s Z^2 / (f B): Grunnet-Jepsen, Sweetser, Woodfill, "Best-Known-Methods for
        Tuning Intel RealSense D400 Depth Cameras", Intel.
        """
        focal_px = self.depth_focal_px or 0.5 * width_px
        return self.disparity_noise_px * z_m * z_m / (focal_px * self.baseline_m)


def option_ranges() -> dict[str, tuple[float, float]]:
    """Smallest and largest value of every numeric option."""
    return dict(_RANGES)


_RANGES: dict[str, tuple[float, float]] = {
    f.name: f.metadata["range"] for f in fields(LiftingOptions) if "range" in f.metadata
}
