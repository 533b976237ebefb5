# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""What a completion is worth: outcome format, point, process format and process accuracy.

The four rewards of RoboRefer's reinforcement fine-tuning (arXiv 2506.04308, section 3.2 and
appendix D.4): ``outcome format + point + 0.25 * process format + 0.25 * process accuracy``.  What
the paper leaves open is decided in docs/rft.md.  Pure functions of untrusted text, in linear time;
nothing of a text is ever executed.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Literal, Protocol

from roborefer_ros.pointing.nothing import says_nothing
from roborefer_ros.pointing.reasoning import NUMBER, normalised_target, step_key, step_lines
from roborefer_ros.types import ReasoningStep

#: a point may be this far off, pixels of the annotated picture, ``|dx| + |dy|``
POINT_LIMIT_PX = 50.0
#: an orientation may turn this far away: the cosine must be larger
ORIENTATION_COSINE = 0.8
#: a size may be off by this share of the annotated one
SIZE_SHARE = 0.15

_TOLERANCE = 1e-6

_TAGS = ("<think>", "</think>", "<answer>", "</answer>")
_POINT = re.compile(rf"\(\s*({NUMBER})\s*,\s*({NUMBER})\s*\)")
_BETWEEN = re.compile(r"</think>\s*<answer>")

XY = tuple[float, float]


class Region(Protocol):
    """Where an answer may lie, in place of one point."""

    def holds(self, point: XY) -> bool:
        """Whether a normalised point lies inside."""


@dataclass(frozen=True)
class Annotation:
    """What is known of a prompt.

    Attributes:
        image_size: ``(width, height)`` of the picture's file, pixels.
        answer: Normalised points that answer it; none where the instruction names nothing that is
            there.
        key_steps: Steps that lead to it.
        region: Where its one point may lie; then the distance to ``answer`` is not asked for.
    """

    image_size: tuple[int, int]
    answer: tuple[XY, ...]
    key_steps: tuple[ReasoningStep, ...] = ()
    region: Region | None = None


@dataclass(frozen=True)
class RewardRules:
    """How rewards are weighed where the paper leaves a choice.

    Attributes:
        format_weight, point_weight, process_weight, accuracy_weight: Factors of the four terms.
        format_rule: ``strict`` wants each tag exactly once around texts that are not blank; ``r1v``
            is R1-V's pattern, which doubled and empty tags satisfy.
        accuracy_rule: ``sum`` counts the right key steps, ``mean`` is their share.
        process_rule: ``all`` step lines must be well formed, ``fraction`` counts their share.
        target_rule: ``exact`` names, or one that ``contains`` the other as whole words.
        answer_form: ``tags`` reads the answer in its tags; ``text`` is for models that answer
            without reasoning: the whole text is the answer, behind its thought if it has one.
        point_limit_px: Largest ``|dx| + |dy|`` of a right point, pixels of the picture's file.  The
            paper's 50 are meant for 960 x 540.
    """

    format_weight: float = 1.0
    point_weight: float = 1.0
    process_weight: float = 0.25
    accuracy_weight: float = 0.25
    format_rule: Literal["strict", "r1v"] = "strict"
    accuracy_rule: Literal["sum", "mean"] = "sum"
    process_rule: Literal["all", "fraction"] = "all"
    target_rule: Literal["exact", "contains"] = "exact"
    answer_form: Literal["tags", "text"] = "tags"
    point_limit_px: float = POINT_LIMIT_PX


@dataclass(frozen=True)
class Rewards:
    """The terms of one completion.

    Attributes:
        outcome_format: Form of the whole, 0 or 1.
        point: Whether the point is right, 0 or 1.
        process_format: Form of the steps.
        accuracy: Right key steps.
        total: Weighed sum.
    """

    outcome_format: float
    point: float
    process_format: float
    accuracy: float
    total: float

    def as_dict(self) -> dict[str, float]:
        """The terms by name."""
        return asdict(self)


def score(text: str, annotation: Annotation, rules: RewardRules | None = None) -> Rewards:
    """The rewards of a completion.

    Args:
        text: Completion without its end token.
        annotation: What is known of the prompt.
        rules: Choices; those of docs/rft.md by default.
    """
    rules = rules or RewardRules()
    form = outcome_format(text) if rules.format_rule == "strict" else outcome_format_r1v(text)
    limit = rules.point_limit_px
    point = point_reward(text, annotation, whole_text=rules.answer_form == "text", limit_px=limit)
    steps = thought_steps(text)
    process = process_format(steps, all_of_them=rules.process_rule == "all")
    accuracy = process_accuracy(steps, annotation, contains=rules.target_rule == "contains")
    if rules.accuracy_rule == "mean":
        keys = {step_key(key) for key in annotation.key_steps}
        accuracy = accuracy / len(keys) if keys else 0.0
    total = (
        rules.format_weight * form
        + rules.point_weight * point
        + rules.process_weight * process
        + rules.accuracy_weight * accuracy
    )
    return Rewards(form, point, process, accuracy, total)


def outcome_format(text: str) -> float:
    """1 if a text is one thought and one answer in their tags and nothing else, else 0."""
    if any(text.count(tag) != 1 for tag in _TAGS):
        return 0.0
    text = text.strip()
    if not (text.startswith("<think>") and text.endswith("</answer>")):
        return 0.0
    think_end, answer_start = text.find("</think>"), text.find("<answer>")
    if not 0 <= think_end < answer_start:
        return 0.0
    thought = text[len("<think>") : think_end]
    between = text[think_end + len("</think>") : answer_start]
    answer = text[answer_start + len("<answer>") : -len("</answer>")]
    return float(bool(thought.strip() and answer.strip()) and not between.strip())


def outcome_format_r1v(text: str) -> float:
    r"""1 if a text matches R1-V's ``<think>.*?</think>\\s*<answer>.*?</answer>``, else 0.

    The same decision as ``re.fullmatch`` with a dot that matches line feeds, in linear time.
    """
    start, end = len("<think>"), len(text) - len("</answer>")
    if not (text.startswith("<think>") and text.endswith("</answer>")) or end < start:
        return 0.0
    return float(_BETWEEN.search(text, start, end) is not None)


def body(text: str, tag: str) -> str | None:
    """What stands between a tag and the next end of it, of the first such pair.

    Args:
        text: Completion.
        tag: Its name, such as ``answer``.
    """
    start = text.find(f"<{tag}>")
    if start < 0:
        return None
    start += len(tag) + 2
    end = text.find(f"</{tag}>", start)
    return None if end < 0 else text[start:end]


def points_in(text: str) -> list[XY]:
    """All ``(x, y)`` of a text; a triple is no point."""
    return [(float(match[1]), float(match[2])) for match in _POINT.finditer(text)]


def point_reward(
    text: str,
    annotation: Annotation,
    *,
    whole_text: bool = False,
    limit_px: float = POINT_LIMIT_PX,
) -> float:
    """1 if the answer has as many points as the annotation and all are right, else 0.

    Args:
        text: Completion.
        annotation: Of its prompt.
        whole_text: Whether the answer is the text itself (behind its thought) where it has no tags.
        limit_px: Largest distance of a right point, pixels.
    """
    answer = body(text, "answer")
    if answer is None and whole_text:
        answer = text.rpartition("</think>")[2]
    if answer is None:
        return 0.0
    found = points_in(answer)
    if not annotation.answer:
        return float(not found and says_nothing(answer))
    if len(found) != len(annotation.answer) or not all(map(_is_inside, found)):
        return 0.0
    if annotation.region is not None:
        return float(all(map(annotation.region.holds, found)))
    return float(_all_matched(found, annotation, limit_px))


def _is_inside(point: XY) -> bool:
    return all(0.0 <= value <= 1.0 for value in point)


def distance_px(one: Sequence[float], other: Sequence[float], size: tuple[int, int]) -> float:
    """``|dx| * width + |dy| * height`` of two normalised points, pixels."""
    return abs(one[0] - other[0]) * size[0] + abs(one[1] - other[1]) * size[1]


def _is_near(
    one: Sequence[float], other: Sequence[float], size: tuple[int, int], limit_px: float
) -> bool:
    return distance_px(one, other, size) <= limit_px + _TOLERANCE


def _all_matched(found: Sequence[XY], annotation: Annotation, limit_px: float) -> bool:
    """Whether each point found can be given an annotated one of its own that is near."""
    size, wanted = annotation.image_size, annotation.answer
    near = [[k for k, w in enumerate(wanted) if _is_near(f, w, size, limit_px)] for f in found]
    owner: dict[int, int] = {}

    def place(number: int, seen: set[int]) -> bool:
        for k in near[number]:
            if k in seen:
                continue
            seen.add(k)
            if k not in owner or place(owner[k], seen):
                owner[k] = number
                return True
        return False

    return all(place(number, set()) for number in range(len(found)))


def thought_steps(text: str) -> list[ReasoningStep]:
    """The step lines of the first thought."""
    thought = body(text, "think")
    return [] if thought is None else list(step_lines(thought))


def process_format(steps: Sequence[ReasoningStep], *, all_of_them: bool = True) -> float:
    """1 if there is a step and all are well formed, else 0; or the share that is.

    Args:
        steps: Of the thought.
        all_of_them: False for the share.
    """
    if not steps:
        return 0.0
    share = sum(step.is_well_formed for step in steps) / len(steps)
    return float(share == 1.0) if all_of_them else share


def process_accuracy(
    steps: Sequence[ReasoningStep],
    annotation: Annotation,
    *,
    contains: bool = False,
    limit_px: float = POINT_LIMIT_PX,
) -> float:
    """Number of annotated key steps that the thought has right, in any order.

    The first step of a key counts; later ones neither add nor repair.

    Args:
        steps: Of the thought.
        annotation: Of the prompt.
        contains: Whether a target also matches where one name holds the other as whole words.
        limit_px: Largest distance of a right position, pixels.
    """
    keys: dict[tuple[str, str], ReasoningStep] = {}
    for key in annotation.key_steps:
        keys.setdefault(step_key(key), key)
    first: dict[tuple[str, str], ReasoningStep] = {}
    for step in steps:
        own = step_key(step)
        if contains and own not in keys:
            own = _containing(step, keys)
        if own in keys:
            first.setdefault(own, step)
    size = annotation.image_size
    return float(sum(_is_right(step, keys[key], size, limit_px) for key, step in first.items()))


def _containing(step: ReasoningStep, keys: dict[tuple[str, str], ReasoningStep]) -> tuple[str, str]:
    """The first key whose name holds the step's, or is held by it."""
    name = f" {normalised_target(step.target)} "
    for kind, target in keys:
        if kind == step.kind and name.strip() and (name in f" {target} " or f" {target} " in name):
            return kind, target
    return step_key(step)


def _is_right(
    step: ReasoningStep, key: ReasoningStep, size: tuple[int, int], limit_px: float
) -> bool:
    """Whether a step says what is annotated."""
    if not step.is_well_formed or len(step.value) != len(key.value):
        return False
    if key.kind == "Position":
        return _is_near(step.value, key.value, size, limit_px)
    if key.kind == "Orientation":
        lengths = math.hypot(*step.value) * math.hypot(*key.value)
        along = sum(a * b for a, b in zip(step.value, key.value, strict=True))
        return lengths > 0.0 and along / lengths > ORIENTATION_COSINE
    return abs(step.value[0] - key.value[0]) <= SIZE_SHARE * key.value[0] + _TOLERANCE
