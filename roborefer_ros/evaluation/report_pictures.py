# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The pictures of the report: worst failures with mask and points, bars with intervals."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from roborefer_ros.evaluation.official import Outcome
from roborefer_ros.evaluation.questions import BenchmarkQuestion, fair_mask
from roborefer_ros.evaluation.scoring import AnswerScores
from roborefer_ros.evaluation.statistics import GroupSummary

#: width of a failure's picture, pixels
_WIDTH = 480

_MASK_RGB = (40, 200, 90)
#: one a scorer: told apart without red and green; intervals are seen on all of them
_BAR_COLOURS = ("#4c86c6", "#93badf", "#cbdcee", "#ebbd77")

_HIT_RGB, _MISS_RGB = (20, 110, 255), (235, 40, 40)


def worst_failures(answers: Sequence[AnswerScores], count: int) -> list[AnswerScores]:
    """The wrong answers whose points are farthest from the right region, then those without any.

    At most two of one picture, so that one hard picture does not fill the page.
    """
    wrong = [a for a in answers if a.correct is None and _is_wrong(a)]
    wrong.sort(key=lambda a: -distance_to_region(a))
    taken: dict[str, int] = {}
    chosen: list[AnswerScores] = []
    for answer in wrong:
        seen = taken.get(answer.question.cluster, 0)
        if seen < 2 and len(chosen) < count:
            taken[answer.question.cluster] = seen + 1
            chosen.append(answer)
    return chosen


def _is_wrong(answer: AnswerScores) -> bool:
    value = answer.official.value
    return answer.official.outcome is not Outcome.SCORED or (value or 0.0) < 0.5


def distance_to_region(answer: AnswerScores) -> float:
    """From the farthest point of an answer to the right region, in image diagonals; -1 without."""
    if not answer.points:
        return -1.0
    mask = region(answer.question)
    outside = cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, 5)
    height, width = mask.shape
    farthest = max(
        float(outside[min(int(y * height), height - 1), min(int(x * width), width - 1)])
        for x, y in answer.points
    )
    return farthest / float(np.hypot(width, height))


def region(question: BenchmarkQuestion) -> npt.NDArray[np.bool_]:
    """``[H, W]`` the right pixels, also of a polygon."""
    if not question.polygon:
        return fair_mask(question.mask_values())
    height, width = question.rgb().shape[:2]
    corners = np.asarray(question.polygon) * (width, height)
    canvas = np.zeros((height, width), np.uint8)
    cv2.fillPoly(canvas, [np.rint(corners).astype(np.int32)], 1)
    return canvas.astype(bool)


def failure_picture(answer: AnswerScores) -> str:
    """A data URI: the colour picture, the right region in green, the points with their numbers."""
    rgb = answer.question.rgb()
    mask = region(answer.question)
    height, width = rgb.shape[:2]
    size = (_WIDTH, max(1, round(height * _WIDTH / width)))
    picture = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA)
    shown = cv2.resize(mask.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST)
    tint = np.array(_MASK_RGB, np.float32)
    picture[shown > 0] = (0.8 * picture[shown > 0] + 0.2 * tint).astype(np.uint8)
    contours, _ = cv2.findContours(shown, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(picture, contours, -1, _MASK_RGB, 2, cv2.LINE_AA)
    for number, ((x, y), hit) in enumerate(zip(answer.points, answer.hits, strict=True), 1):
        centre = (min(int(x * size[0]), size[0] - 1), min(int(y * size[1]), size[1] - 1))
        colour = _HIT_RGB if hit else _MISS_RGB
        cv2.circle(picture, centre, 8, (255, 255, 255), -1, cv2.LINE_AA)
        cv2.circle(picture, centre, 6, colour, -1, cv2.LINE_AA)
        if len(answer.points) > 1:
            beside = (centre[0] + 10, centre[1] + 5)
            for width_px, ink in ((4, (255, 255, 255)), (1, colour)):
                cv2.putText(picture, str(number), beside, cv2.FONT_HERSHEY_SIMPLEX, 0.5, ink,
                            width_px, cv2.LINE_AA)  # fmt: skip
    done, data = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 82])
    assert done
    return "data:image/jpeg;base64," + base64.b64encode(data.tobytes()).decode("ascii")


def bar_chart(rows: Sequence[GroupSummary], scorers: Sequence[str], title: str) -> str:
    """A data URI: one group of bars per row, with 95 % intervals."""
    # Agg through the object interface: pyplot would start a windowing backend.
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    figure = Figure(figsize=(max(4.2, 1.2 + 0.95 * len(rows)), 3.1), layout="constrained")
    axes = figure.add_subplot()
    places = np.arange(len(rows))
    width = 0.8 / len(scorers)
    for index, scorer in enumerate(scorers):
        scores = [row.scores[scorer] for row in rows]
        values = np.array([100 * s.value for s in scores])
        # An interval over one picture says nothing.
        known = np.array([row.images > 1 for row in rows])
        low = np.where(known, values - [100 * s.low for s in scores], 0.0)
        high = np.where(known, [100 * s.high for s in scores] - values, 0.0)
        axes.bar(places + (index - (len(scorers) - 1) / 2) * width, values, width, label=scorer,
                 color=_BAR_COLOURS[index % len(_BAR_COLOURS)], capsize=2,
                 yerr=np.nan_to_num([low, high]).clip(0),
                 error_kw={"elinewidth": 0.9, "ecolor": "#222"})  # fmt: skip
    names = [row.name.replace(", ", "\n").replace("_", "\n") + f"\nn = {row.count}" for row in rows]
    axes.set_xticks(places, names, fontsize=8, parse_math=False)
    axes.set_ylim(0, 104)  # the cap of an interval that ends at 100 is seen
    axes.set_ylabel("percent")
    axes.set_title(title if len(scorers) > 1 else f"{title}, {scorers[0]} scorer", fontsize=10)
    axes.grid(axis="y", alpha=0.3)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    if len(scorers) > 1:
        figure.legend(loc="outside lower center", fontsize=7, ncols=len(scorers), frameon=False)
    buffer = io.BytesIO()
    FigureCanvasSVG(figure).print_svg(buffer, metadata={"Date": None})
    return "data:image/svg+xml;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
