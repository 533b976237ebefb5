# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Regions of interest: what they accept, what they hold, and crops that map back exactly."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roborefer_ros.answer_policy import AnswerPolicy
from roborefer_ros.errors import InvalidGoalError, PointOutsideRegionError
from roborefer_ros.inference.model import Completion, Outcome, Request
from roborefer_ros.pipeline import ReferPipeline, pixel_from_normalised
from roborefer_ros.pointing.families import FAMILIES
from roborefer_ros.pointing.pointer import Pointer
from roborefer_ros.pointing.region import Region
from roborefer_ros.types import CameraIntrinsics, DepthImage, RGBDFrame

UNIT = st.floats(0.0, 1.0)


@pytest.mark.parametrize(
    "numbers",
    [
        [0.1, 0.2, 0.3],
        [0.1, 0.2],
        [0.5, 0.1, 0.5, 0.9],
        [0.9, 0.1, 0.5, 0.9],
        [0.0, 0.0, 1.0, 1.1],
        [-0.1, 0.0, 1.0, 1.0],
        [float("nan"), 0.0, 1.0, 1.0],
        [0.0, 0.0, float("inf"), 1.0],
        [0.1, 0.1, 0.5, 0.5, 0.9, 0.9],
        [0.0] * 2000,
    ],
)
def test_regions_without_an_area_inside_the_image_are_refused(numbers: list[float]) -> None:
    with pytest.raises(InvalidGoalError, match="region"):
        Region.from_numbers(numbers)


def test_no_numbers_are_the_whole_image() -> None:
    assert Region.from_numbers([]) is None


def test_a_polygon_holds_what_lies_inside_it_and_on_its_border() -> None:
    region = Region.from_numbers([0.0, 0.0, 1.0, 0.0, 0.0, 1.0])
    assert region is not None
    for inside in ((0.2, 0.2), (0.5, 0.5), (0.0, 1.0), (0.5, 0.0)):
        assert region.contains(inside)
    for outside in ((0.6, 0.6), (1.0, 1.0), (0.51, 0.5)):
        assert not region.contains(outside)


@given(UNIT, UNIT, UNIT, UNIT, st.integers(1, 4000), st.integers(1, 4000), st.data())
def test_a_pixel_of_the_crop_is_that_pixel_of_the_image(
    x1: float, y1: float, x2: float, y2: float, width: int, height: int, data: st.DataObject
) -> None:
    """For any region and size: pixel u of the crop is pixel left + u, and stays inside."""
    left, right, top, bottom = min(x1, x2), max(x1, x2), min(y1, y2), max(y1, y2)
    if left == right or top == bottom:
        return
    region = Region.from_numbers([left, top, right, bottom])
    assert region is not None
    crop = region.crop(width, height)
    assert 0 <= crop.left < crop.right <= width
    assert 0 <= crop.top < crop.bottom <= height
    crop_width, crop_height = crop.right - crop.left, crop.bottom - crop.top
    u = data.draw(st.integers(0, crop_width - 1))
    v = data.draw(st.integers(0, crop_height - 1))
    whole = crop.to_whole(((u + 0.5) / crop_width, (v + 0.5) / crop_height))
    assert 0.0 <= whole[0] <= 1.0
    assert 0.0 <= whole[1] <= 1.0
    pixel, _ = pixel_from_normalised(whole, width, height)
    assert pixel == pytest.approx((crop.left + u, crop.top + v), abs=1e-6)


class _BrightestPixel:
    """Points at the brightest pixel of the picture that it is shown."""

    name, uses_depth, can_sample, max_batch = "brightest", True, False, 1

    def __init__(self) -> None:
        self.seen: list[tuple[int, ...]] = []

    def complete(self, requests: Sequence[Request]) -> Iterator[tuple[int, Outcome]]:
        for index, request in enumerate(requests):
            rgb = request.images[0].pixels
            self.seen += [rgb.shape, request.depths[0].pixels.shape]
            v, u = np.unravel_index(int(rgb[..., 0].argmax()), rgb.shape[:2])
            x, y = (float(u) + 0.5) / rgb.shape[1], (float(v) + 0.5) / rgb.shape[0]
            yield index, Completion(f"[({x:.9f}, {y:.9f})]")

    def close(self) -> None:
        """Nothing to free."""


def _frame() -> RGBDFrame:
    rgb = np.zeros((120, 160, 3), np.uint8)
    rgb[60, 90] = 200  # inside the region
    rgb[20, 20] = 255  # brighter, outside
    depth = DepthImage(np.full((120, 160), 1000, np.uint16), 0.001)
    return RGBDFrame(rgb, depth, CameraIntrinsics(160, 120, 150.0, 150.0, 79.5, 59.5), "camera")


def test_the_model_sees_the_crop_and_its_point_is_mapped_back() -> None:
    model = _BrightestPixel()
    region = Region.from_numbers([0.4, 0.4, 0.7, 0.7])
    policy = AnswerPolicy(region=region, crop_to_region=True)
    result = ReferPipeline(Pointer(model, FAMILIES["tuples"])).refer(
        _frame(), "the light", policy=policy
    )
    assert model.seen == [(36, 48, 3), (36, 48)]
    assert result.points[0].pixel == pytest.approx((90, 60))


def test_without_the_crop_a_point_outside_is_rejected() -> None:
    policy = AnswerPolicy(region=Region.from_numbers([0.4, 0.4, 0.7, 0.7]))
    result = ReferPipeline(Pointer(_BrightestPixel(), FAMILIES["tuples"])).refer(
        _frame(), "the light", policy=policy
    )
    assert isinstance(result.failure(), PointOutsideRegionError)
    assert result.rejected[0].pixel == pytest.approx((20, 20))
