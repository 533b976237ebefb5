# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The frame tree against matrices, for random transforms."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roborefer_ros.ros_compat.transform_tree import (
    ConnectivityException,
    Transform,
    TransformTree,
    rotate,
    slerp,
)

SECOND = 1_000_000_000
number = st.floats(-10, 10)
rotations = (
    st.tuples(*[st.floats(-1, 1)] * 4)
    .map(np.array)
    .filter(lambda q: np.linalg.norm(q) > 0.1)
    .map(lambda q: q / np.linalg.norm(q))
)
transforms = st.builds(Transform, st.tuples(number, number, number).map(np.array), rotations)


def matrix(transform: Transform) -> npt.NDArray[np.float64]:
    """4x4, with the rotation matrix of the textbook."""
    x, y, z, w = transform.rotation
    result = np.eye(4)
    result[:3, :3] = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    result[:3, 3] = transform.translation
    return result


@given(transforms, transforms)
def test_composition_and_inverse_are_those_of_matrices(a: Transform, b: Transform) -> None:
    np.testing.assert_allclose(matrix(a @ b), matrix(a) @ matrix(b), atol=1e-9)
    np.testing.assert_allclose(matrix(a.inverse()), np.linalg.inv(matrix(a)), atol=1e-9)


@given(rotations, st.tuples(number, number, number).map(np.array))
def test_rotation_keeps_lengths(q: npt.NDArray[np.float64], v: npt.NDArray[np.float64]) -> None:
    assert np.linalg.norm(rotate(q, v)) == pytest.approx(np.linalg.norm(v), abs=1e-9)


@given(rotations, rotations, st.floats(0, 1))
def test_slerp_divides_the_angle(
    a: npt.NDArray[np.float64], b: npt.NDArray[np.float64], ratio: float
) -> None:
    def angle(p: npt.NDArray[np.float64], q: npt.NDArray[np.float64]) -> float:
        return float(2 * np.arccos(np.clip(abs(p @ q), 0.0, 1.0)))

    middle = slerp(a, b, ratio)
    assert np.linalg.norm(middle) == pytest.approx(1.0)
    assert angle(a, middle) == pytest.approx(ratio * angle(a, b), abs=1e-3)


@given(transforms, transforms, transforms)
def test_lookup_is_the_product_along_the_way(a: Transform, b: Transform, c: Transform) -> None:
    tree = TransformTree(10 * SECOND)
    for child, parent, pose in (("base", "world", a), ("arm", "base", b), ("camera", "base", c)):
        assert tree.insert(child, parent, 0, pose, is_static=True) == ""
    _, found = tree.lookup("camera", "arm", SECOND)
    np.testing.assert_allclose(matrix(found), np.linalg.inv(matrix(c)) @ matrix(b), atol=1e-6)
    _, found = tree.lookup("world", "camera", SECOND)
    np.testing.assert_allclose(matrix(found), matrix(a) @ matrix(c), atol=1e-6)


def test_new_parent_is_not_interpolated() -> None:
    tree = TransformTree(10 * SECOND)
    for parent, seconds, x in (("table", 1, 1.0), ("gripper", 2, 5.0)):
        pose = Transform(np.array([x, 0.0, 0.0]), np.array([0.0, 0.0, 0.0, 1.0]))
        tree.insert("cup", parent, seconds * SECOND, pose, is_static=False)
    _, found = tree.lookup("table", "cup", 3 * SECOND // 2)
    np.testing.assert_array_equal(found.translation, [1.0, 0.0, 0.0])
    with pytest.raises(ConnectivityException, match="same tree"):
        tree.lookup("gripper", "cup", 3 * SECOND // 2)


def test_loop_is_refused() -> None:
    tree = TransformTree(10 * SECOND)
    tree.insert("a", "b", 0, Transform.identity(), is_static=True)
    tree.insert("b", "a", 0, Transform.identity(), is_static=True)
    tree.insert("c", "d", 0, Transform.identity(), is_static=True)
    with pytest.raises(ConnectivityException, match="loop"):
        tree.lookup("a", "d", SECOND)


@pytest.mark.parametrize(
    ("child", "parent", "rotation", "reason"),
    [
        ("", "world", [0, 0, 0, 1], "empty"),
        ("a", "/a", [0, 0, 0, 1], "its own parent"),
        ("a", "b", [0, 0, 0, 0], "zero"),
        ("a", "b", [0, 0, np.nan, 1], "NaN"),
        ("a", "b", [0, 0, 1e300, 1e300], "length 1.41421e+300, not 1"),
        ("a", "b", [0, 0, 0.5, 0.5], "not 1"),
        ("a", "b", [1e-200, 0, 0, 0], "quaternion"),
    ],
)
def test_refusals_say_why(child: str, parent: str, rotation: list[float], reason: str) -> None:
    pose = Transform(np.zeros(3), np.array(rotation, dtype=float))
    assert reason in TransformTree(SECOND).insert(child, parent, 0, pose, is_static=True)


@pytest.mark.parametrize("x", [np.nan, np.inf, -np.inf, 1e300, 2e8])
@pytest.mark.parametrize("is_static", [True, False])
def test_translations_that_are_none_are_refused(x: float, is_static: bool) -> None:
    tree = TransformTree(SECOND)
    pose = Transform(np.array([0.0, x, 0.0]), np.array([0.0, 0.0, 0.0, 1.0]))
    assert "translation" in tree.insert("a", "b", 0, pose, is_static=is_static)
    assert tree.insert("a", "b", 0, Transform.identity(), is_static=is_static) == ""


def test_rounded_quaternions_are_taken_and_made_unit() -> None:
    tree = TransformTree(SECOND)
    pose = Transform(np.zeros(3), np.array([0.0, 0.0, 0.707, 0.707]))
    assert tree.insert("a", "b", 0, pose, is_static=True) == ""
    _, found = tree.lookup("b", "a", 0)
    assert np.linalg.norm(found.rotation) == pytest.approx(1.0, abs=1e-12)
