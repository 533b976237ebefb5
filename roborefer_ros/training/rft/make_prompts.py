# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""``roborefer rft data``: prompts from training data, or from simulated scenes with masks."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from PIL import Image

from roborefer_ros.arguments import ArgumentParser, non_negative_int, positive_int
from roborefer_ros.errors import ConfigurationError
from roborefer_ros.files import write_text
from roborefer_ros.pointing.nothing import says_nothing
from roborefer_ros.pointing.reasoning import read_steps
from roborefer_ros.training.data.arguments import add_data_arguments, parts_of, read_options
from roborefer_ros.training.data.dataset import MixtureDataset, Sample
from roborefer_ros.training.data.pictures import PictureError
from roborefer_ros.training.data.rows import Pair, ThinkMode
from roborefer_ros.training.rft.prompts import Prompt, write_prompts
from roborefer_ros.training.rft.rewards import Annotation, points_in


def make_prompts(arguments: Sequence[str]) -> int:
    """Run the command; returns its exit status.

    Raises:
        RoboReferError: an argument or the data is not usable, or no prompt is left.
    """
    parser = ArgumentParser(
        prog="roborefer rft data",
        description="Prompts with answers and key steps (prompts.jsonl), from training data in "
        "RefSpatial's form, or from simulated tabletops with masks of all right pixels.",
    )
    add_data_arguments(parser)
    parser.add_argument("--output", type=Path, required=True, help="prompts.jsonl, or its folder")
    parser.add_argument(
        "--require-steps", action="store_true", help="leave out what has no key steps"
    )
    parser.add_argument("--limit", type=positive_int, help="at most so many prompts, spread evenly")
    scenes = parser.add_argument_group("simulated scenes in place of data")
    scenes.add_argument("--scenes", type=positive_int, help="how many")
    scenes.add_argument("--seed", type=non_negative_int, default=0)
    scenes.add_argument("--width", type=positive_int, default=320, help="pixels")
    scenes.add_argument("--height", type=positive_int, default=240, help="pixels")
    scenes.add_argument("--questions", type=positive_int, default=8, help="at most, per scene")
    options = parser.parse_args(list(arguments))
    path = options.output
    if path.suffix != ".jsonl":
        path = path / "prompts.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    if options.scenes:
        from roborefer_ros.training.rft.simulated import simulated_prompts

        if options.data or options.mixture:
            raise ConfigurationError("--scenes excludes --data and --mixture")
        prompts = simulated_prompts(
            path.parent, options.scenes, options.seed, (options.width, options.height),
            options.questions,
        )  # fmt: skip
        counts: Counter[str] = Counter()
    else:
        reading = replace(read_options(options), think=ThinkMode())
        samples = MixtureDataset(parts_of(options), reading)
        prompts, counts = collect(samples, require_steps=options.require_steps)
    if not prompts:
        told = ", ".join(f"{count} {reason}" for reason, count in counts.items())
        raise ConfigurationError(f"no prompt is left ({told or 'no questions'})")
    if options.limit and options.limit < len(prompts):
        every = len(prompts) / options.limit
        prompts = [prompts[int(k * every)] for k in range(options.limit)]
    write_prompts(path, prompts)
    statistics = describe(prompts, counts)
    write_text(path.with_suffix(".stats.json"), json.dumps(statistics, indent=1) + "\n")
    print(f"{len(prompts)} prompts: {path}")
    for name, values in statistics.items():
        print(f"  {name}: " + ", ".join(f"{key} {n}" for key, n in values.items()))
    return 0


def collect(
    samples: MixtureDataset, *, require_steps: bool = False
) -> tuple[list[Prompt], Counter[str]]:
    """The prompts of a mixture, and how many questions make none, by reason.

    Args:
        samples: Rendered without reasoning (``ThinkMode()``).
        require_steps: Whether questions without key steps are left out.
    """
    prompts, counts, sizes = [], Counter[str](), {}  # type: list[Prompt], Counter[str], dict[Path, tuple[int, int]]
    for number in range(len(samples)):
        sample = samples.sample(number)
        try:
            images, depths = tuple(sample.image_paths()), tuple(sample.depth_paths())
            if images and images[0] not in sizes:
                sizes[images[0]] = picture_size(images[0])
        except (PictureError, OSError):
            counts["picture missing or damaged"] += len(sample.row.pairs)
            continue
        if len(images) != 1:
            counts["not about one picture"] += len(sample.row.pairs)
            continue
        for prompt in _prompts_of(sample, images, depths, sizes[images[0]]):
            if prompt is None:
                counts["answer is no point"] += 1
            elif require_steps and not prompt.steps:
                counts["no key steps"] += 1
            else:
                prompts.append(prompt)
    return prompts, counts


def picture_size(path: Path) -> tuple[int, int]:
    """``(width, height)`` of a picture's file, from its head.

    Raises:
        OSError: it is no picture.
    """
    with Image.open(path) as picture:
        return picture.size


def _prompts_of(
    sample: Sample, images: tuple[Path, ...], depths: tuple[Path, ...], size: tuple[int, int]
) -> Iterator[Prompt | None]:
    """One for each pair; None where the answer is no point."""
    for pair in sample.row.pairs:
        answer = _answer_of(pair)
        if answer is None:
            yield None
            continue
        yield Prompt(
            f"{sample.dataset}/{sample.row.id}/{pair.number}",
            pair.question,
            tuple(path.resolve() for path in images),
            tuple(path.resolve() for path in depths),
            Annotation(size, answer, read_steps(pair.thinking)),
            sample.spec.depth_encoding,
            pair.question_type,
        )


def _answer_of(pair: Pair) -> tuple[tuple[float, float], ...] | None:
    """The points of an answer; none where it says that nothing is there; None where it is text."""
    points = points_in(pair.answer)
    if points and all(0.0 <= value <= 1.0 for point in points for value in point):
        return tuple(points)
    return () if not points and says_nothing(pair.answer) else None


def describe(prompts: Sequence[Prompt], counts: Counter[str]) -> dict[str, dict[str, int]]:
    """Counts of question types and steps, and of what was left out."""
    kinds = Counter(prompt.question_type or "other" for prompt in prompts)
    steps = Counter(str(prompt.steps) for prompt in prompts)
    return {
        "question types": dict(kinds.most_common()),
        "key steps": dict(sorted(steps.items(), key=lambda item: int(item[0]))),
        "left out": dict(counts.most_common()),
    }
