# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Every threshold of the lifting, with its unit, default and range."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from typing import Any, Literal, TypeVar

import numpy as np
import numpy.typing as npt

from roborefer_ros.errors import InvalidGoalError
from roborefer_ros.types import RGBDFrame

#: a depth, or an array of depths
Number = TypeVar("Number", float, npt.NDArray[np.float64])

#: up in the optical frame, where gravity is unknown
_IMAGE_UP = (0.0, -1.0, 0.0)

LowConfidencePolicy = Literal["flag", "refuse"]
ShadowSide = Literal["auto", "left", "right", "both", "none"]
DepthNoiseModel = Literal["stereo", "structured_light", "time_of_flight"]

#: field -> the strings that it takes
CHOICES: dict[str, tuple[str, ...]] = {
    "on_low_confidence": ("flag", "refuse"),
    "shadow_side": ("auto", "left", "right", "both", "none"),
    "depth_noise_model": ("stereo", "structured_light", "time_of_flight"),
}

#: longer side of the image for which the radii in pixels are stated; others scale them
REFERENCE_WIDTH_PX = 1280


def _ranged(default: float, low: float, high: float, text: str) -> Any:
    """A number that ``LiftingOptions`` holds in [low, high], and what it means."""
    return field(default=default, metadata={"range": (low, high), "description": text})


def _described(default: Any, text: str) -> Any:
    """A value with what it means."""
    return field(default=default, metadata={"description": text})


@dataclass(frozen=True)
class LiftingOptions:
    """Thresholds of the lifting.

    Radii in pixels are stated for an image whose longer side has 1280 pixels and scale with it.
    ``option_ranges`` gives the range of each number; another value raises InvalidGoalError.
    ``option_descriptions`` gives what each means, as the node's parameters do.
    """

    # --- the sensor
    z_min_m: float = _ranged(
        0.15,
        0.0,
        100.0,
        "Readings nearer than this are invalid.",
    )
    z_max_m: float = _ranged(
        10.0,
        0.05,
        100.0,
        "Readings farther than this are invalid.",
    )
    depth_noise_model: DepthNoiseModel = _described(
        "stereo",
        'Noise of one reading: "stereo" is s Z^2 / (f B) of disparity_noise_px, depth_focal_px'
        ' and baseline_m; "structured_light" is 0.0012 + 0.0019 (Z - 0.4)^2 m, a Kinect or '
        'Xtion; "time_of_flight" is range_noise_m + range_noise_ratio Z.',
    )
    disparity_noise_px: float = _ranged(
        0.09,
        0.001,
        5.0,
        "Noise s of a stereo match, pixels, in sigma_z = s Z^2 / (f B): 0.09 textured, 0.2 poor.",
    )
    baseline_m: float = _ranged(
        0.05,
        0.005,
        1.0,
        "Stereo baseline B (imager to imager or to projector), metres.",
    )
    depth_focal_px: float = _ranged(
        0.0,
        0.0,
        10000.0,
        "Focal length f of the depth sensor at the resolution that it measures, pixels; 0 "
        "takes that of the depth camera's info, or of the colour camera's where depth comes "
        "aligned.",
    )
    range_noise_m: float = _ranged(
        0.001,
        0.0,
        0.1,
        "Constant part of a time-of-flight reading's standard deviation, metres.",
    )
    range_noise_ratio: float = _ranged(
        0.001,
        0.0,
        0.1,
        "Part of a time-of-flight reading's standard deviation that grows with depth, over the"
        " depth.",
    )
    depth_bias_ratio: float = _ranged(
        0.005,
        0.0,
        0.1,
        "Standard deviation of an error that all readings of a surface share, over the depth, "
        "for the covariance; 0.005 covers a D435 as it comes. It counts as far as neighbouring"
        " readings are seen to share their errors, as those of real sensors do and simulated "
        "independent noise does not; 0 never counts it.",
    )
    shadow_side: ShadowSide = _described(
        "auto",
        'Side of near things on which the second imager casts its shadow: "left" for a stereo '
        'camera whose second imager is the right one (D400), "auto" decides by the colour of '
        'the pixel where a hole lies between two surfaces, "none" assumes no shadows.',
    )
    temporal_frames: int = _ranged(
        1,
        1,
        15,
        "The median of this many frames is lifted from, for a camera at rest; 1 takes each "
        "frame alone.",
    )
    temporal_window_s: float = _ranged(
        0.5,
        0.01,
        10.0,
        "Frames older than this are not part of that median.",
    )

    # --- the surface at a pixel
    search_radius_px: float = _ranged(
        25.0,
        4.0,
        100.0,
        "How far from the pixel readings are looked for.",
    )
    min_inliers: int = _ranged(
        20,
        3,
        1000,
        "Readings that make a surface; fewer set SPARSE.",
    )
    normal_radius_px: float = _ranged(
        14.0,
        3.0,
        100.0,
        "Radius of the patch that the normal is fitted to first, pixels.",
    )
    flat_radius_px: float = _ranged(
        48.0,
        3.0,
        200.0,
        "Radius up to which the normal's patch grows while the surface stays flat, pixels; at "
        "most normal_radius_px keeps the first patch.",
    )
    seed_tolerance_m: float = _ranged(
        0.006,
        0.0005,
        0.1,
        "Readings within this (or 4 sigma) are one cluster.",
    )
    inlier_tolerance_m: float = _ranged(
        0.015,
        0.001,
        0.2,
        "Readings within this (or 4 sigma) of the seed are grown.",
    )
    step_m: float = _ranged(
        0.02,
        0.002,
        0.5,
        "A depth step of this height separates two surfaces.",
    )
    edge_radius_px: float = _ranged(
        4.0,
        1.0,
        50.0,
        "A step within this radius makes an edge.",
    )
    grazing_rad: float = _ranged(
        math.radians(75.0),
        0.5,
        1.56,
        "Incidence that sets GRAZING.",
    )
    max_incidence_rad: float = _ranged(
        math.radians(85.0),
        0.5,
        1.57,
        "Incidence that is refused, GrazingSurfaceError.",
    )
    pixel_sigma_px: float = _ranged(
        0.5,
        0.0,
        100.0,
        "Standard deviation of the pointed pixel, for the covariance.",
    )
    normalised_step: float = _ranged(
        0.001,
        0.0,
        0.1,
        "Step of the model's normalised coordinates, for the covariance.",
    )
    segment_radius_m: float = _ranged(
        0.15,
        0.01,
        1.0,
        "A segment grown from a point reaches no farther than this.",
    )

    # --- free space
    footprint_radius_m: float = _ranged(
        0.05,
        0.005,
        0.5,
        "Free space must be flat within this radius.",
    )
    flatness_m: float = _ranged(
        0.008,
        0.001,
        0.1,
        "Readings deviating more from the support (or 4 sigma) are not flat.",
    )
    max_uneven_ratio: float = _ranged(
        0.10,
        0.01,
        1.0,
        "Share of uneven readings that is refused, NotFreeSpaceError; a third of it sets NOT_FLAT.",
    )
    clearance_m: float = _ranged(
        0.10,
        0.0,
        1.0,
        "Free space is free up to this height over the footprint.",
    )
    max_occupied_ratio: float = _ranged(
        0.03,
        0.0,
        1.0,
        "Share of the readings within that cylinder that may stand higher than twice "
        "flatness_m (or 6 sigma), NotFreeSpaceError.",
    )
    min_footprint_ratio: float = _ranged(
        0.25,
        0.01,
        1.0,
        "Share of the footprint, and of each half of it, that must have readings, "
        "NotFreeSpaceError.",
    )
    max_tilt_rad: float = _ranged(
        math.radians(20.0),
        0.01,
        1.57,
        "Tilt of the support against ``up`` that is refused.",
    )
    in_air: bool = _described(
        True,
        "Free space where no surface is gives a position over what is below (IN_AIR); false "
        "refuses it.",
    )
    air_height_m: float = _ranged(
        0.10,
        0.0,
        1.0,
        "Height of that position over what is below.",
    )

    # --- what is given
    confident_above: float = _ranged(
        0.5,
        0.0,
        1.0,
        'A point with less confidence is "low confidence".',
    )
    refuse_below: float = _ranged(
        0.05,
        0.0,
        1.0,
        "A point with less confidence is refused, whatever on_low_confidence says.",
    )
    on_low_confidence: LowConfidencePolicy = _described(
        "flag",
        '"flag" gives it with its flags, "refuse" raises instead.',
    )
    workspace_m: tuple[float, float, float, float, float, float] | None = _described(
        None,
        "(x_min, y_min, z_min, x_max, y_max, z_max) in the frame of the answer; points outside"
        " set OUT_OF_WORKSPACE; None for no limit.",
    )
    up: tuple[float, float, float] | None = _described(
        None,
        "Direction against gravity in the camera frame, for the roll of the pose and the tilt "
        "of supports; None where unknown.",
    )

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

    def sigma_z_m(self, z_m: Number, width_px: int) -> Number:
        """Standard deviation of readings at depths ``z_m``, metres.

        Stereo: sigma_z = s Z^2 / (f B), Grunnet-Jepsen, Sweetser, Woodfill,
        "Best-Known-Methods for Tuning Intel RealSense D400 Depth Cameras", Intel.
        Structured light: Nguyen, Izadi, Lovell, "Modeling Kinect Sensor Noise for Improved 3D
        Reconstruction and Tracking", 3DIMPVT 2012 (axial, up to 60 degrees of incidence).
        Time of flight: a constant and a part that grows with the range.

        Args:
            z_m: Depth or depths along the optical axis, metres.
            width_px: Width of the image; half of it is the focal length of a sensor that
                nothing is known of.
        """
        if self.depth_noise_model == "structured_light":
            return 0.0012 + 0.0019 * (z_m - 0.4) * (z_m - 0.4)
        if self.depth_noise_model == "time_of_flight":
            return self.range_noise_m + self.range_noise_ratio * z_m
        focal_px = self.depth_focal_px or 0.5 * width_px
        return self.disparity_noise_px * z_m * z_m / (focal_px * self.baseline_m)

    def bound_to(self, frame: RGBDFrame) -> LiftingOptions:
        """The same thresholds with the focal length of the camera that measured the depth.

        Args:
            frame: Observation with its intrinsics; those of the depth camera where it has any.
        """
        if self.depth_focal_px:
            return self
        camera = frame.intrinsics if frame.depth_intrinsics is None else frame.depth_intrinsics
        bound = object.__new__(LiftingOptions)  # checking all thresholds anew takes longer
        bound.__dict__.update(self.__dict__, depth_focal_px=min(max(camera.fx, 1.0), 10000.0))
        return bound


def longer_side_px(frame: RGBDFrame) -> int:
    """Longer side of the colour image, which the radii in pixels scale with."""
    return max(frame.width, frame.height)


def option_descriptions() -> dict[str, str]:
    """What every option means."""
    return {f.name: f.metadata["description"] for f in fields(LiftingOptions)}


def option_ranges() -> dict[str, tuple[float, float]]:
    """Smallest and largest value of every numeric option."""
    return dict(_RANGES)


_RANGES: dict[str, tuple[float, float]] = {
    f.name: f.metadata["range"] for f in fields(LiftingOptions) if "range" in f.metadata
}
