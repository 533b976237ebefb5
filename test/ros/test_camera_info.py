# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Camera info as drivers publish it: what no camera can have is refused by name and value."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest
from sensor_msgs.msg import CameraInfo

from roborefer_ros.errors import (
    FrameMismatchError,
    InvalidCameraInfoError,
    UnsupportedDistortionError,
)
from roborefer_ros.nodes.camera_info import doubts, intrinsics_from_message
from roborefer_ros.nodes.conversions import check_frame_ids

FIVE = (-0.03, 0.035, -0.0001, -0.0001, -0.012)
F, CX, CY = 600.0, 325.0, 236.0
NAN = math.nan


def k_of(fx: float = F, cx: float = CX, cy: float = CY, scale: float = 1.0) -> list[float]:
    s = scale
    return [s * fx, 0.0, s * cx, 0.0, s * fx, s * cy, 0.0, 0.0, 1.0]


def p_of(fx: float = F, cx: float = CX, cy: float = CY, **at: float) -> list[float]:
    p = [fx, 0.0, cx, 0.0, 0.0, fx, cy, 0.0, 0.0, 0.0, 1.0, 0.0]
    for index, value in at.items():
        p[int(index.removeprefix("p"))] = value
    return p


def info(
    k: Sequence[float] | None = None,
    p: Sequence[float] | None = None,
    d: Sequence[float] = FIVE,
    model: str = "plumb_bob",
    size: tuple[int, int] = (640, 480),
    binning: tuple[int, int] = (0, 0),
    roi: tuple[int, int, int, int] = (0, 0, 0, 0),
) -> CameraInfo:
    msg = CameraInfo(width=size[0], height=size[1], distortion_model=model)
    msg.k, msg.p = list(k or k_of()), list(p or p_of())
    msg.d = [float(value) for value in d]
    msg.binning_x, msg.binning_y = binning
    msg.roi.x_offset, msg.roi.y_offset, msg.roi.width, msg.roi.height = roi
    return msg


def refused(msg: CameraInfo, *words: str, **kwargs: Any) -> str:
    """The error's text, which names the topic and holds all words."""
    with pytest.raises(InvalidCameraInfoError) as error:
        intrinsics_from_message(msg, topic="/cam/camera_info", **kwargs)
    text = str(error.value)
    for word in ("'/cam/camera_info'", *words):
        assert word in text, text
    return text


@pytest.mark.parametrize(
    ("model", "d", "kept"),
    [
        ("plumb_bob", (*FIVE, 0, 0, 0), (*FIVE, 0, 0, 0)),
        ("plumb_bob", (*FIVE, 0), FIVE),
        ("plumb_bob", (*FIVE, 0, 0), FIVE),
        ("plumb_bob", FIVE[:4] + (0,) * 6, FIVE[:4]),
        ("equidistant", (0.1, -0.02, 0.003, 0.0, 0, 0, 0, 0), (0.1, -0.02, 0.003, 0.0)),
        ("fisheye", (0.1, -0.02, 0.003, 0.0005), (0.1, -0.02, 0.003, 0.0005)),
        ("Plumb Bob", FIVE, FIVE),
        ("equidistant", (0,) * 8, (0, 0, 0, 0)),
        ("", (0,) * 5, (0,) * 5),
    ],
)
def test_padding_and_other_names_of_a_lens(
    model: str, d: Sequence[float], kept: Sequence[float]
) -> None:
    """Zeros at the end of D say nothing, whatever their number."""
    assert intrinsics_from_message(info(d=d, model=model)).distortion == tuple(kept)


@pytest.mark.parametrize("count", [5, 8, 12, 14])
def test_padded_lenses_see_the_same(count: int) -> None:
    from roborefer_ros.lifting.intrinsics import rays_through

    padded = FIVE + (0.0,) * (count - 5)
    exact = rays_through([(20.0, 30.0)], intrinsics_from_message(info()))
    found = rays_through([(20.0, 30.0)], intrinsics_from_message(info(d=padded)))
    assert found == pytest.approx(exact, abs=1e-12)


@pytest.mark.parametrize(
    ("model", "d", "words"),
    [
        ("", FIVE, "distortion model '' with 5 coefficients"),
        ("fov", (0.1, 0.2), "'fov'"),
        ("equidistant", (0.1,) * 5, "4 coefficients"),
        ("plumb_bob", (0.1,) * 7, "the camera info holds 7"),
    ],
)
def test_lenses_that_cannot_be_undone(model: str, d: Sequence[float], words: str) -> None:
    with pytest.raises(UnsupportedDistortionError, match="/cam/camera_info") as error:
        intrinsics_from_message(info(d=d, model=model), topic="/cam/camera_info")
    assert words in str(error.value)


def test_a_coefficient_that_is_not_finite_is_named() -> None:
    refused(info(d=(0.1, 0.0, NAN, 0.0, 0.0)), "D[2] is nan")
    refused(info(d=(0, 0, 0, 0, math.inf)), "D[4] is inf")
    intrinsics_from_message(info(d=(NAN,) * 5), rectified=True)  # D does not matter then


IDENTITY = [1.0, 0, 0, 0, 1, 0, 0, 0, 1]
TRANSPOSED = [F, 0, 0, 0, F, 0, CX, CY, 1]


@pytest.mark.parametrize(
    ("k", "words"),
    [
        ([0.0] * 9, "K is all zeros"),
        (IDENTITY, "K is the identity"),
        ([NAN] * 9, "K is not finite: K[0] is nan"),
        ([F, 0, CX, 0, F, math.inf, 0, 0, 1], "K[5] is inf"),
        (TRANSPOSED, "K[6] is 325 where 0 belongs"),
        ([F, 0, CX, 0, F, CY, 0, 0, 640.0], "K[8] is 640"),
        ([F, 12.0, CX, 0, F, CY, 0, 0, 1], "K[1] is 12: a skewed"),
        ([F, 0, CX, 0, -F, CY, 0, 0, 1], "K[4] (fy) is -600"),
        (k_of(fx=4.0, cx=2.4, cy=1.8), "fx = 4 gives a field of view of 178.6 deg"),
        (k_of(fx=20000.0), "fx = 20000 gives a field of view of 1.8 deg"),
        (k_of(scale=2.0), "the principal point (650, 472)"),
        (k_of(scale=0.5), "the principal point (162.5, 118)"),
        (k_of(scale=1.5), "of another resolution"),
        (k_of(scale=0.75), "about 488x354 pixels"),
        (k_of(cx=236.0, cy=325.0), "turned by 90 deg, 480x640"),
        (k_of(cx=-20.0), "outside of its middle half"),
    ],
)
def test_matrices_that_are_no_cameras(k: Sequence[float], words: str) -> None:
    """K is refused with its value; P, which is fine, is offered."""
    refused(info(k=k), words, "set rgb_is_rectified to true")
    assert intrinsics_from_message(info(k=k), rectified=True).fx == F


@pytest.mark.parametrize(
    ("p", "words"),
    [
        ([0.0] * 12, "P is all zeros"),
        (p_of(p3=-25.806), "P[3] is -25.806"),
        (p_of(p7=-25.0), "P[7] is -25"),
        (p_of(p11=0.888), "P[11] is 0.888"),
        ([F, 0, 0, 0, F, 0, CX, CY, 1, 0, 0, 0], "P[4] is 600 where 0 belongs"),
        (p_of(p2=NAN), "P[2] is nan"),
        (p_of(fx=1.0), "P is implausible: fx = 1"),
    ],
)
def test_projections_that_are_no_cameras(p: Sequence[float], words: str) -> None:
    """P is refused with its value; K, which is fine, is offered. Nobody is called a stereo pair's
    right camera without another word."""
    text = refused(info(p=p), words, "K is filled and plausible", rectified=True)
    assert "rgb_is_rectified false" in text
    assert intrinsics_from_message(info(p=p)).fx == F


def test_neither_matrix_is_usable() -> None:
    refused(info(k=[0.0] * 9, p=[0.0] * 12), "K is all zeros", "calibrate the camera")


@pytest.mark.parametrize("size", [(0, 0), (640, 0), (0, 480)])
def test_info_without_a_size(size: tuple[int, int]) -> None:
    refused(info(size=size), f"{size[0]}x{size[1]} pixels")


FULL = (1280, 960)


@pytest.mark.parametrize(
    ("binning", "roi", "k"),
    [
        ((2, 2), (0, 0, 0, 0), k_of()),
        ((4, 4), (0, 0, 0, 0), k_of(scale=0.5)),
        ((2, 0), (0, 0, 0, 0), k_of(cx=CX, cy=2 * CY)),
        ((0, 0), (320, 240, 640, 480), k_of()),
        ((0, 0), (0, 0, 640, 480), k_of()),
        ((2, 2), (320, 240, 640, 480), k_of(scale=0.5)),
        ((0, 0), (400, 100, 640, 480), k_of(cx=2 * CX - 400, cy=2 * CY - 100)),
    ],
)
def test_binning_and_region_are_not_applied_twice(
    binning: tuple[int, int], roi: tuple[int, int, int, int], k: Sequence[float]
) -> None:
    refused(info(k=k, size=FULL, binning=binning, roi=roi), "K gives c", "applied twice")
    right = info(k=k_of(scale=2.0), size=FULL, binning=binning, roi=roi)
    found = intrinsics_from_message(right)
    assert found.cx == pytest.approx((2 * CX - roi[0]) / max(1, binning[0]))
    assert found.cy == pytest.approx((2 * CY - roi[1]) / max(1, binning[1]))


def test_a_region_anywhere_on_the_sensor_is_fine() -> None:
    """Its principal point may lie outside of the image."""
    corner = info(k=k_of(scale=2.0), size=FULL, roi=(900, 700, 300, 200))
    assert intrinsics_from_message(corner).cx == pytest.approx(650.0 - 900.0)


@pytest.mark.parametrize(
    ("binning", "roi", "words"),
    [
        ((0, 0), (800, 0, 640, 480), "reaches beyond"),
        ((0, 0), (10, 0, 0, 0), "reaches beyond"),
        ((2000, 1), (0, 0, 0, 0), "leaves nothing"),
    ],
)
def test_regions_that_cannot_be(
    binning: tuple[int, int], roi: tuple[int, int, int, int], words: str
) -> None:
    refused(info(k=k_of(scale=2.0), size=FULL, binning=binning, roi=roi), words)


def test_usable_but_unusual() -> None:
    assert doubts(info()) == ""
    assert "(62%, 49%)" in doubts(info(k=k_of(cx=400.0)), topic="/cam/info")
    assert "not square" in doubts(info(k=[600, 0, CX, 0, 480, CY, 0, 0, 1]))


@pytest.mark.parametrize("slashed", [0, 1, 2])
def test_leading_slashes_are_no_other_frame(slashed: int) -> None:
    names = ["optical"] * 3
    names[slashed] = "/optical"
    assert check_frame_ids(*names) == ""
    assert check_frame_ids("/optical", "/depth_optical", "optical") == "depth_optical"
    with pytest.raises(FrameMismatchError, match="'optical' but 'rgb/camera_info' in 'other'"):
        check_frame_ids("/optical", "optical", "/other")
    with pytest.raises(FrameMismatchError, match="no frame"):
        check_frame_ids("/", "optical", "optical")
