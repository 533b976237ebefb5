# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Choices, values and facts about pairs and triples of objects."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from roborefer_ros.datagen import relations, templates
from roborefer_ros.datagen.expressions import Reference, to_json
from roborefer_ros.datagen.propose import Proposer
from roborefer_ros.datagen.qa import CHOICE, QA, TEMPLATE
from roborefer_ros.datagen.resolve import Resolver
from roborefer_ros.datagen.scene import Box
from roborefer_ros.datagen.truths import PAIRS, TRIPLES, truth
from roborefer_ros.datagen.wording import (
    Wording,
    degrees_text,
    distance_text,
    fill,
    rotation_text,
)

VALUES = ("depth", "rotation_horizontal", "rotation_vertical", "angle", "distance")
#: Relations that few pairs have: a "no" to them is asked only as often as a "yes" is found.
_PAIRS_TRIED = 40
_MIN_ROTATION_DEG = 1.0


class PairQuestions:
    """Asks about the named objects of one scene.

    Args:
        resolver: Of the scene.
        proposer: Names objects.
        rng: All randomness.
    """

    def __init__(self, resolver: Resolver, proposer: Proposer, rng: np.random.Generator) -> None:
        self.resolver, self.proposer, self.rng = resolver, proposer, rng
        captions = ((box, proposer.caption(box)) for box in proposer.named)
        self.named = [(box, caption) for box, caption in captions if caption is not None]
        self._orders: dict[int, list[tuple[int, ...]]] = {}

    def _tuples(self, size: int) -> list[tuple[tuple[Box, Reference], ...]]:
        """Some ordered pairs or triples of different objects, in random order."""
        if size not in self._orders:
            self._orders[size] = list(itertools.permutations(range(len(self.named)), size))
        orders = self._orders[size]
        count = min(len(orders), _PAIRS_TRIED)
        drawn = self.rng.permutation(len(orders))[:count]
        return [tuple(self.named[i] for i in orders[k]) for k in drawn]

    def find(self, name: str, wanted: bool) -> tuple[tuple[Box, Reference], ...] | None:
        """Objects for which a relation is clearly true, or clearly false."""
        for group in self._tuples(3 if name in TRIPLES else 2):
            if truth(self.resolver, name, *(box for box, _ in group)) is wanted:
                return group
        return None

    def yes_no(self, name: str) -> QA | None:
        """ "Is A left of B? (A) yes (B) no"."""
        wanted = bool(self.rng.random() < 0.5)
        group = self.find(name, wanted)
        if group is None:
            return None
        wording = Wording(self.rng)
        words = _words(wording, [caption for _, caption in group])
        question = fill(wording.pick(templates.YES_NO[name]), **words)
        options = ["yes", "no"] if self.rng.random() < 0.5 else ["no", "yes"]
        right = "yes" if wanted else "no"
        return QA(
            CHOICE, "yes_no", (name,), with_options(question, options), chosen(options, right),
            right, _steps(group), _derivation("yes_no", name, group),
        )  # fmt: skip

    def which(self, name: str) -> QA | None:
        """ "Which is taller, A or B?", with both as options."""
        group = self.find(name, bool(self.rng.random() < 0.5))
        if group is None:
            return None
        (a, caption_a), (b, caption_b) = group[:2]
        third = [box for box, _ in group[2:]]
        first, second = (truth(self.resolver, name, *pair, *third) for pair in ((a, b), (b, a)))
        if first is None or second is None or first is second:
            return None
        wording = Wording(self.rng)
        words = _words(wording, [caption for _, caption in group])
        question = fill(wording.pick(templates.WHICH[name]), **words)
        options = [words["a"], words["b"]]
        right = options[0] if first else options[1]
        if self.rng.random() < 0.5:
            options.reverse()
        derivation = _derivation("which", name, group)
        derivation["options"] = [
            to_json(caption_a if option == words["a"] else caption_b) for option in options
        ]
        letter = "AB"[options.index(right)]
        return QA(
            CHOICE, "which", (name,), with_options(question, options), chosen(options, right),
            letter, _steps(group), derivation,
        )  # fmt: skip

    def which_of(self, name: str) -> QA | None:
        """ "Which of these is left of B?", three or four options, one of them right."""
        group = self.find(name, True)
        if group is None:
            return None
        right, anchors = group[0], group[1:]
        wrong = [
            entry
            for entry in self.named
            if all(entry[0] is not box for box, _ in group)
            and truth(self.resolver, name, entry[0], *(box for box, _ in anchors)) is False
        ]
        count = min(len(wrong), int(self.rng.integers(2, 4)))
        if count < 2:
            return None
        picked = [right, *(wrong[i] for i in self.rng.permutation(len(wrong))[:count])]
        picked = [picked[i] for i in self.rng.permutation(len(picked))]
        wording = Wording(self.rng)
        options = [wording.the(caption) for _, caption in picked]
        words = _words(wording, [caption for _, caption in group])
        question = fill(wording.pick(templates.WHICH_OF[name]), **words)
        derivation = _derivation("which_of", name, group)
        derivation["options"] = [to_json(caption) for _, caption in picked]
        return QA(
            CHOICE, "which_of", (name,), with_options(question, options),
            chosen(options, words["a"]), "ABCD"[options.index(words["a"])], _steps(group),
            derivation,
        )  # fmt: skip

    def fact(self, name: str) -> QA | None:
        """A sentence about two objects."""
        group = self.find(name, True)
        if group is None:
            return None
        wording = Wording(self.rng)
        words = _words(wording, [caption for _, caption in group])
        dimension = templates.DIMENSIONS[name]
        return QA(
            TEMPLATE, "fact", (name,),
            fill(wording.pick(templates.FACT_QUESTIONS[dimension]), **words),
            fill(wording.pick(templates.FACTS[name]), **words), name, _steps(group),
            _derivation("fact", name, group),
        )  # fmt: skip

    def value(self, name: str) -> QA | None:
        """A distance, depth or angle."""
        for group in self._tuples(2 if name in ("angle", "distance") else 1):
            text = self._value_text(name, [box for box, _ in group])
            if text is not None:
                break
        else:
            return None
        wording = Wording(self.rng)
        words = _words(wording, [caption for _, caption in group])
        question = fill(wording.pick(templates.VALUE_QUESTIONS[name]), **words)
        answer = fill(wording.pick(templates.VALUE_ANSWERS[name]), v=text, **words)
        return QA(
            TEMPLATE, "value", (name,), question, answer, "", _steps(group),
            _derivation("value", name, group),
        )  # fmt: skip

    def _value_text(self, name: str, boxes: Sequence[Box]) -> str | None:
        if name == "distance":
            return distance_text(self.resolver.distance(*boxes), self.rng)
        if name == "depth":
            return distance_text(relations.depth(boxes[0]), self.rng)
        if name == "angle":
            if not all(box.has_front for box in boxes):
                return None
            return degrees_text(relations.angle(*boxes))
        horizontal = name == "rotation_horizontal"
        rotate = relations.rotation_horizontal if horizontal else relations.rotation_vertical
        degrees = rotate(boxes[0])
        if abs(degrees) < _MIN_ROTATION_DEG:
            return None
        if horizontal:
            return rotation_text(degrees, "right", "left")
        return f"{abs(degrees):.3f} degrees {'down' if degrees > 0 else 'up'}"

    def draw(self, name: str) -> QA | None:
        """One question about a relation, of a random form that it has."""
        if name in VALUES:
            return self.value(name)
        forms = ["yes_no", "which_of"]
        forms += ["which"] * (name in templates.WHICH) + ["fact"] * (name in templates.DIMENSIONS)
        asked: QA | None = getattr(self, forms[int(self.rng.integers(len(forms)))])(name)
        return asked


#: every relation that these questions turn on
ASKED = (*PAIRS, *TRIPLES, *VALUES)


def with_options(question: str, options: Sequence[str]) -> str:
    """A question with its options behind it."""
    return question + "".join(f" ({x}) {o}" for x, o in zip("ABCDEF", options, strict=False))


def chosen(options: Sequence[str], right: str) -> str:
    """The right option with its letter."""
    return f"({'ABCDEF'[options.index(right)]}) {right}"


def _words(wording: Wording, captions: Sequence[Reference]) -> dict[str, str]:
    return dict(zip("abc", map(wording.the, captions), strict=False))


def _steps(group: Sequence[tuple[Box, Reference]]) -> int:
    return min(5, max(1, sum(caption.inner_steps for _, caption in group) + 1))


def _derivation(form: str, name: str, group: Sequence[tuple[Box, Reference]]) -> dict[str, Any]:
    return {
        "form": form,
        "relation": name,
        "objects": [to_json(caption) for _, caption in group],
    }
