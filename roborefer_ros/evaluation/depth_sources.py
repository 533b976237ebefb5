# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Where the model's depth pictures come from in a benchmark's run."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from roborefer_ros.evaluation.lifted import frame_of, has_truth
from roborefer_ros.evaluation.questions import BenchmarkQuestion
from roborefer_ros.pipeline import DepthEstimator
from roborefer_ros.pointing.depth_input import relative_depth_from_metric

#: question, its picture -> the relative depth picture for the model, or None
DepthSource = Callable[[BenchmarkQuestion, npt.NDArray[np.uint8]], npt.NDArray[np.uint8] | None]

#: predicted depth pictures that are kept; questions on one picture do not follow each other
_KEPT_DEPTHS = 256


def no_depth(_: BenchmarkQuestion, __: npt.NDArray[np.uint8]) -> None:
    """A ``DepthSource`` for colour alone."""
    return None


def benchmark_depth(
    question: BenchmarkQuestion, _: npt.NDArray[np.uint8]
) -> npt.NDArray[np.uint8] | None:
    """The benchmark's depth in the form that the model was trained on; None without one."""
    if not has_truth(question):
        return None
    return relative_depth_from_metric(frame_of(question).depth.metres())


def predicted_depth(estimator: DepthEstimator) -> DepthSource:
    """Depth predicted from colour, the reference's way; once per picture."""
    kept: OrderedDict[str, npt.NDArray[np.uint8]] = OrderedDict()

    def source(question: BenchmarkQuestion, rgb: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        if question.cluster not in kept:
            kept[question.cluster] = estimator(rgb)
            if len(kept) > _KEPT_DEPTHS:
                kept.popitem(last=False)
        return kept[question.cluster]

    return source
