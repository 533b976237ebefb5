# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""What a network is asked during training: a benchmark's questions, or those of held-out rows.

A held-out row's questions become questions of a benchmark, so that the package's own evaluation
asks and scores both alike.  Each question is asked alone, as by a user.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from roborefer_ros.arguments import check_readable
from roborefer_ros.evaluation.depth_sources import DepthSource, benchmark_depth
from roborefer_ros.evaluation.instructions import reference_instruction
from roborefer_ros.evaluation.model_answers import TextOf
from roborefer_ros.evaluation.questions import Benchmark, BenchmarkQuestion
from roborefer_ros.evaluation.readers import open_benchmark
from roborefer_ros.pointing.families import FAMILIES
from roborefer_ros.training.data.dataset import Sample
from roborefer_ros.training.data.defects import answer_form
from roborefer_ros.training.data.pictures import Picture, PictureError, open_depth
from roborefer_ros.training.data.preview import points_of
from roborefer_ros.training.data.rows import Pair

#: a point of a held-out answer is right within this distance of the learned one, pixels; in
#: pictures below 500 pixels within a tenth of their longer side
RADIUS_PX = 50

#: name of the questions of held-out rows
HELD_OUT = "held_out"

_CHOICE = re.compile(r"\s*(\([A-Za-z]\))")
_YES_NO = re.compile(r"\s*(yes|no)\b", re.IGNORECASE)


#: answer to a question about what is not there
_NOTHING = "[]"


@dataclass(frozen=True)
class QuestionSet:
    """Questions, and how they are put to a network.

    Attributes:
        title: Name in the log: ``held_out``, or ``benchmark``.
        benchmark: The questions.
        depth: Where depth pictures come from.
        text_of: Whole text of a question.
        truths: ``(split, id)`` -> right points, normalised, where they are known.
    """

    title: str
    benchmark: Benchmark
    depth: DepthSource
    text_of: TextOf
    truths: dict[tuple[str, int | str], tuple[tuple[float, float], ...]]


def benchmark_set(source: str, most: int, seed: int) -> QuestionSet:
    """Questions of a benchmark's folder, in the words of the reference's runner.

    Args:
        source: See ``evaluation.readers.open_benchmark``.
        most: Questions that are taken; the same ones for the same seed.
        seed: Of the choice.

    Raises:
        ConfigurationError: no benchmark is there.
    """
    if not source.startswith("hf:"):
        check_readable("benchmark", Path(source), folder=True)
    benchmark = open_benchmark(source)
    order = np.random.default_rng(seed).permutation(len(benchmark.questions))[:most]
    chosen = tuple(benchmark.questions[number] for number in sorted(order.tolist()))
    family = FAMILIES["tuples"]
    return QuestionSet(
        "benchmark",
        replace(benchmark, questions=chosen),
        benchmark_depth,
        lambda question: reference_instruction(question, family),
        {},
    )


def held_out_set(samples: Sequence[Sample], most: int) -> QuestionSet | None:
    """Questions of rows with one picture whose answers can be judged.

    These are points, nothing (``[]``), choices, yes and no.

    Args:
        samples: That no training sees; each gives its first question before one its second.
        most: Questions that are taken.

    Returns:
        The questions; None where no row has such a question.
    """
    questions: list[BenchmarkQuestion] = []
    owners: dict[tuple[str, int | str], Sample] = {}
    truths: dict[tuple[str, int | str], tuple[tuple[float, float], ...]] = {}
    for sample, pair in _in_turn(samples):
        if len(questions) >= most:
            break
        question = _question(sample, pair)
        if question is None or (question.split, question.question_id) in owners:
            continue
        key = (question.split, question.question_id)
        questions.append(question)
        owners[key] = sample
        truths[key] = tuple(points_of(pair.answer)) if question.mask else ()
    if not questions:
        return None

    def depth(question: BenchmarkQuestion, _: object) -> Picture | None:
        sample = owners[question.split, question.question_id]
        paths = sample.depth_paths()
        return open_depth(paths[0], sample.spec.depth_encoding).pixels if paths else None

    benchmark = Benchmark(HELD_OUT, Path(HELD_OUT), tuple(questions))
    return QuestionSet(HELD_OUT, benchmark, depth, lambda question: question.prompt, truths)


def _in_turn(samples: Sequence[Sample]) -> Iterator[tuple[Sample, Pair]]:
    for number in range(max((len(sample.row.pairs) for sample in samples), default=0)):
        for sample in samples:
            if number < len(sample.row.pairs):
                yield sample, sample.row.pairs[number]


def _question(sample: Sample, pair: Pair) -> BenchmarkQuestion | None:
    """A pair as a question of a benchmark; None where its answer cannot be judged."""
    if len(sample.row.images) != 1 or sample.row.system:
        return None
    form, expected, mask = answer_form(pair.answer), "", None
    if points := points_of(pair.answer) if form == "point" else []:
        kind = pair.question_type or "point"
    elif pair.answer.strip() == _NOTHING:
        kind, expected = pair.question_type or "absent", _NOTHING
    elif match := (_CHOICE if form == "choice" else _YES_NO).match(pair.answer):
        kind, expected = pair.question_type or form, match[1].lower()
    else:
        return None
    try:
        (path,) = sample.image_paths()
        if points:
            mask = _discs(path, points)
    except (PictureError, OSError):
        return None
    return BenchmarkQuestion(
        split=sample.dataset,
        question_id=f"{sample.row_number}-{pair.number}",
        object_name="",
        prompt=pair.question,
        suffix="",
        rgb_path=sample.row.images[0],
        mask_path="",
        category="",
        step=None,
        scene="",
        image=path,
        mask=mask,
        expected=expected,
        extra={"kind": kind},
    )


def _discs(path: Path, points: list[tuple[float, float]]) -> bytes:
    """A mask of the picture's size that is white around points."""
    with Image.open(path) as picture:
        width, height = picture.size
    radius = min(RADIUS_PX, 0.1 * max(width, height))
    mask = Image.new("L", (width, height))
    draw = ImageDraw.Draw(mask)
    for x, y in points:
        left, top = x * width - radius, y * height - radius
        draw.ellipse((left, top, left + 2 * radius, top + 2 * radius), fill=255)
    buffer = io.BytesIO()
    mask.save(buffer, "PNG")
    return buffer.getvalue()
