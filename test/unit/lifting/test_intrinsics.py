# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roborefer_ros.errors import InvalidCameraInfoError, UnsupportedDistortionError
from roborefer_ros.lifting import adjusted_intrinsics, deproject, project
from roborefer_ros.types import CameraIntrinsics

PINHOLE = CameraIntrinsics(640, 480, 520.0, 515.0, 318.0, 242.0)

CAMERAS = {
    "none": PINHOLE,
    "zero plumb_bob": replace(PINHOLE, distortion_model="plumb_bob", distortion=(0.0,) * 5),
    "plumb_bob": replace(
        PINHOLE, distortion_model="plumb_bob", distortion=(-0.28, 0.09, 0.001, -0.0007, -0.01)
    ),
    "rational_polynomial": replace(
        PINHOLE,
        distortion_model="rational_polynomial",
        distortion=(0.5, -2.8, 0.0008, 0.0002, 1.6, 0.38, -2.6, 1.5),
    ),
    "equidistant": replace(
        PINHOLE,
        fx=330.0,
        fy=330.0,
        distortion_model="equidistant",
        distortion=(-0.01, 0.004, -0.003, 0.0005),
    ),
}


@pytest.mark.parametrize("name", CAMERAS)
@settings(max_examples=40, deadline=None)
@given(u=st.floats(0, 639), v=st.floats(0, 479), z=st.floats(0.2, 8.0))
def test_projecting_a_deprojected_pixel_gives_it_back(name, u, v, z):
    camera = CAMERAS[name]
    point = deproject([(u, v)], [z], camera)
    assert point[0, 2] == pytest.approx(z)
    assert project(point, camera)[0] == pytest.approx((u, v), abs=0.02)


def test_pinhole_by_hand():
    point = deproject([(318.0 + 52.0, 242.0)], [2.0], PINHOLE)[0]
    assert point == pytest.approx((0.2, 0.0, 2.0))


def test_distortion_is_undone_and_not_applied_twice():
    # barrel distortion (k1 < 0) pulls pixels inwards, so rays point further out
    far_out = (600.0, 450.0)
    straight = deproject([far_out], [1.0], PINHOLE)[0]
    undone = deproject([far_out], [1.0], CAMERAS["plumb_bob"])[0]
    assert np.hypot(*undone[:2]) > np.hypot(*straight[:2]) * 1.05


def test_points_behind_the_camera_have_no_pixel():
    assert np.isnan(project([(0.1, 0.1, -1.0)], PINHOLE)).all()


@pytest.mark.parametrize("model", ["fisheye62", "double_sphere", "", "none"])
def test_unknown_models_with_coefficients_are_refused_by_name(model):
    camera = replace(PINHOLE, distortion_model=model, distortion=(0.1, 0.0, 0.0, 0.0))
    with pytest.raises(UnsupportedDistortionError, match=f"'{model}'"):
        deproject([(1, 1)], [1.0], camera)


def test_wrong_number_of_coefficients_is_refused():
    camera = replace(PINHOLE, distortion_model="equidistant", distortion=(0.1,) * 5)
    with pytest.raises(UnsupportedDistortionError, match="4 coefficients"):
        deproject([(1, 1)], [1.0], camera)


def test_distortion_without_an_inverse_is_refused():
    camera = replace(PINHOLE, distortion_model="plumb_bob", distortion=(-3.0, 0.0, 0.0, 0.0))
    with pytest.raises(UnsupportedDistortionError, match="no inverse"):
        deproject([(639, 479)], [1.0], camera)


@pytest.mark.parametrize("bad", [0.0, math.nan, math.inf, -5.0])
def test_unusable_camera_matrix(bad):
    with pytest.raises(InvalidCameraInfoError):
        deproject([(1, 1)], [1.0], replace(PINHOLE, fx=bad))


def test_nan_coefficient():
    camera = replace(PINHOLE, distortion_model="plumb_bob", distortion=(math.nan,) * 5)
    with pytest.raises(InvalidCameraInfoError):
        deproject([(1, 1)], [1.0], camera)


def test_binning_and_roi_keep_the_rays():
    sent = adjusted_intrinsics(PINHOLE, binning=(2, 2), roi=(100, 40, 400, 200))
    assert (sent.width, sent.height) == (200, 100)
    full = deproject([(100 + 2 * 30, 40 + 2 * 50)], [1.5], PINHOLE)
    assert deproject([(30, 50)], [1.5], sent) == pytest.approx(full)
    assert adjusted_intrinsics(PINHOLE) == PINHOLE
