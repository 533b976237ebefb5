# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The values that travel through the package: frozen, SI units, numpy, no ROS.

Pixels are ``(u, v)`` with (0, 0) the centre of the top-left pixel; normalised points
are ``(x, y)`` in [0, 1] over the image's edges, so ``u = x * width - 0.5``.
Depth is measured along the optical axis (REP-118), in metres, NaN where invalid.
Camera frames are optical frames: z forward, x right, y down (REP-103).
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from roborefer_ros.errors import RoboReferError

Pixel = tuple[float, float]
FloatArray = npt.NDArray[np.floating]


@dataclass(frozen=True)
class CameraIntrinsics:
    """Pinhole intrinsics with an optional ``sensor_msgs`` distortion model.

    Attributes:
        width, height: image size in pixels.
        fx, fy, cx, cy: pixels, for pixel centres at integer coordinates.
        distortion_model: ``""`` (none), ``plumb_bob``, ``rational_polynomial`` or ``equidistant``.
        distortion: its coefficients, in OpenCV's order; empty for none.
    """

    width: int
    height: int
    fx: float
    fy: float
    cx: float
    cy: float
    distortion_model: str = ""
    distortion: tuple[float, ...] = ()

    @property
    def matrix(self) -> npt.NDArray[np.float64]:
        """The 3x3 camera matrix K."""
        return np.array([[self.fx, 0.0, self.cx], [0.0, self.fy, self.cy], [0.0, 0.0, 1.0]])

    @property
    def is_distorted(self) -> bool:
        """Whether any distortion coefficient is non-zero."""
        return any(c != 0.0 for c in self.distortion)


@dataclass(frozen=True)
class DepthImage:
    """A depth image as the camera sent it, converted to metres only where it is read.

    Attributes:
        raw: ``[H, W]`` uint16 or float32, in units of ``unit_m``; 0, NaN, infinite
            and negative readings are invalid.
        unit_m: metres per unit of ``raw``: 0.001 for 16UC1, 1.0 for 32FC1.
    """

    raw: npt.NDArray[np.generic]
    unit_m: float

    @property
    def width(self) -> int:
        """Pixels."""
        return int(self.raw.shape[1])

    @property
    def height(self) -> int:
        """Pixels."""
        return int(self.raw.shape[0])

    def metres(
        self, rows: slice = slice(None), columns: slice = slice(None)
    ) -> npt.NDArray[np.float32]:
        """A copy of a window (default: all) as float32 metres, NaN where invalid."""
        with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite: invalid
            window: npt.NDArray[np.float32] = self.raw[rows, columns].astype(np.float32)
            window *= np.float32(self.unit_m)
        # "not (0 < z < inf)" also catches NaN, which "z <= 0" would let through.
        window[~((window > 0.0) & (window < np.inf))] = np.nan
        return window


@dataclass(frozen=True)
class RGBDFrame:
    """One synchronised observation.

    Attributes:
        rgb: ``[H, W, 3]`` uint8, RGB order.
        depth: the sensor's depth; pixel-aligned with ``rgb`` when ``camera_T_depth`` is None.
        intrinsics: Intrinsics of the colour camera.
        frame_id: the colour camera's optical frame.
        stamp_ns: acquisition time of the colour image, nanoseconds of the ROS clock.
        depth_intrinsics: Intrinsics of the depth camera, when it is not aligned; else None.
        camera_T_depth: ``[4, 4]`` pose of the depth optical frame in the colour optical
            frame, when they differ; else None.
    """

    rgb: npt.NDArray[np.uint8]
    depth: DepthImage
    intrinsics: CameraIntrinsics
    frame_id: str
    stamp_ns: int = 0
    depth_intrinsics: CameraIntrinsics | None = None
    camera_T_depth: npt.NDArray[np.float64] | None = None

    @property
    def width(self) -> int:
        """Pixels."""
        return int(self.rgb.shape[1])

    @property
    def height(self) -> int:
        """Pixels."""
        return int(self.rgb.shape[0])


class Mode(enum.IntEnum):
    """What the instruction asks for (the ``mode`` constants of the action)."""

    AUTO = 0
    OBJECT = 1
    FREE_SPACE = 2


class ResultWarning(enum.IntFlag):
    """What the caller should know of a result (the ``WARNING_*`` constants of the action)."""

    NONE = 0
    TWO_STEPS = 1  #: the instruction holds two actions; only the first was answered
    DEMO_MODEL = 2  #: the bundled network answered, which knows simulated scenes only


class PointFlag(enum.IntFlag):
    """Why a lifted point deserves less trust (the ``FLAG_*`` constants of ReferredPoint.msg)."""

    NONE = 0
    EDGE = 1  #: near a depth discontinuity
    HOLE = 2  #: no reading at the pixel itself; taken from its neighbourhood
    GRAZING = 4  #: surface seen at a flat angle
    SPARSE = 8  #: few readings support the point
    OUT_OF_WORKSPACE = 16  #: outside the configured workspace
    CLAMPED = 32  #: the model's coordinate was exactly 1.0 and was moved to the last pixel
    IN_AIR = 64  #: no surface at the point; the position is over the support below it
    SUPPORT_PLANE = 128  #: the orientation is that of a fitted support plane
    NOT_FLAT = 256  #: the support under the footprint is uneven or tilted
    UP_UNKNOWN = 512  #: nothing tells the direction of gravity; the support may be a wall
    DEMO_MODEL = 1024  #: the bundled network answered, which knows simulated scenes only
    COLOUR_CHANGE = 2048  #: a thin or transparent thing may lie there: the support's colour changes
    UNSEEN = 4096  #: parts of the footprint or of the space above it were not seen


@dataclass(frozen=True)
class ReferredPoint:
    """One answer point, lifted to 3D.

    Attributes:
        pixel: ``(u, v)`` in the colour image.
        normalised: ``(x, y)`` in [0, 1].
        position_m: ``[3]`` in ``frame_id``.
        orientation_xyzw: ``[4]`` approach orientation in ``frame_id``: x axis along the
            approach direction (into the surface), see ``lifting/orientation.py``.
        covariance: ``[6, 6]`` of (x, y, z, rot_x, rot_y, rot_z), m^2 and rad^2.
        frame_id: frame of the three above.
        valid_depth_ratio: valid readings / pixels in the window that was used.
        nearest_reading_px: distance from the pixel to the nearest valid reading, pixels.
        confidence: how likely the point lies on the right thing at the right place, in [0, 1]:
            the model's confidence and the geometry's together, see ``pointing/calibration.py``.
        flags: reasons for less trust.
        model_confidence: the model's trust in its 2D point, in [0, 1]; None where it tells none.
        geometry_confidence: trust in the 3D point, given that the pixel is right, in [0, 1].
        index: place in the model's answer, from 0.
        tilt_rad: Angle of a support (free space) against level, radians; None where unknown.
        flatness_m: RMS height of a support's readings, metres; None for other points.
    """

    pixel: Pixel
    normalised: tuple[float, float]
    position_m: npt.NDArray[np.float64]
    orientation_xyzw: npt.NDArray[np.float64]
    covariance: npt.NDArray[np.float64]
    frame_id: str
    valid_depth_ratio: float
    nearest_reading_px: float
    confidence: float
    flags: PointFlag = PointFlag.NONE
    model_confidence: float | None = None
    tilt_rad: float | None = None
    flatness_m: float | None = None
    geometry_confidence: float = 0.0
    index: int = 0


@dataclass(frozen=True)
class RejectedPoint:
    """One point of the model's answer that did not become a pose.

    Attributes:
        pixel: ``(u, v)`` in the colour image.
        normalised: ``(x, y)`` in [0, 1].
        error: the reason, with its number.
        model_confidence: the model's trust in its 2D point, in [0, 1]; None where it tells none.
        index: place in the model's answer, from 0.
    """

    pixel: Pixel
    normalised: tuple[float, float]
    error: RoboReferError
    model_confidence: float | None = None
    index: int = 0


@dataclass(frozen=True)
class ReasoningStep:
    """One step that a model thought of on the way to its answer.

    Attributes:
        kind: ``Position``, ``Orientation`` or ``Size``; as it stands there if it is another word.
        target: What the step is about, as the model wrote it.
        value: Position: ``(x, y)`` in [0, 1] over the image's edges.  Orientation: unit vector
            ``(x, y, z)`` in the camera's optical frame.  Size: ``(metres,)``.  Empty where the line
            is not well formed.
    """

    kind: str
    target: str
    value: tuple[float, ...] = ()

    @property
    def is_well_formed(self) -> bool:
        """Whether type, target and value are as asked for."""
        return bool(self.value)

    def __str__(self) -> str:
        numbers = ", ".join(f"{number:.3f}" for number in self.value)
        text = {"Position": f"[({numbers})]", "Orientation": f"({numbers})"}
        return f"[{self.kind}] [{self.target}]: {text.get(self.kind, numbers)}"


class Think(enum.IntEnum):
    """Whether a model is asked to reason before it answers."""

    AUTO = 0  #: as the node, the server or the checkpoint says
    ON = 1
    OFF = 2


@dataclass(frozen=True)
class ReferResult:
    """What one instruction gave on one frame.

    Attributes:
        points: those that became poses, in the order of the model's answer.
        answer: the model's raw text.
        frame_id, stamp_ns: of the frame that was used (points may be in another frame).
        timings_s: seconds per stage (``depth``, ``encode``, ``prefill``, ``decode``, ``lift`` ...).
        mode: the one that was used, never ``AUTO``.
        mode_reason: the words that decided it, or that the caller asked for it.
        warnings: Messages that the caller should know.
        rejected: those that did not, in the order of the model's answer; with ``points`` never
            empty.
        depth_used: where the depth picture that the model saw came from: ``sensor``, the name of
            the depth network, ``server``, or ``none``.
        up_source: what told where up is: ``up_frame``, ``target_frame``, ``imu``, ``lifting.up``;
            empty where nothing did.
        reasoning: what the model thought before its answer; empty for models that do not.
        steps: those in it, positions over the whole image.
    """

    points: tuple[ReferredPoint, ...]
    answer: str
    frame_id: str
    stamp_ns: int
    timings_s: dict[str, float] = field(default_factory=dict)
    mode: Mode = Mode.OBJECT
    mode_reason: str = ""
    warnings: ResultWarning = ResultWarning.NONE
    rejected: tuple[RejectedPoint, ...] = ()
    depth_used: str = ""
    up_source: str = ""
    reasoning: str = ""
    steps: tuple[ReasoningStep, ...] = ()

    def failure(self, accept_partial: bool = False) -> RoboReferError | None:
        """Why this is not an answer: the error of the model's first point, where it was rejected.

        Args:
            accept_partial: whether later points are an answer, too.
        """
        if not self.rejected:
            return None
        first = self.rejected[0]
        if self.points and (accept_partial or self.points[0].index < first.index):
            return None
        return first.error
