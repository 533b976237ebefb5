# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""References, distances and angles in words."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from roborefer_ros.datagen.expressions import SIZES, Reference, Select
from roborefer_ros.datagen.templates import NARROWED, RANKED, RANKED_AFTER

_ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth")
_LEAST_WORD = 40
_METRE = {"centimetres": 0.01, "inches": 0.0254, "metres": 1.0, "feet": 0.3048}
_NUMBER = re.compile(r"(-?\d+(?:\.\d+)?) (centimetres|inches|metres|feet|degrees)")


def ordinal(n: int) -> str:
    """ "first", "second", ... and "12th" beyond the ninth."""
    if 1 <= n <= len(_ORDINALS):
        return _ORDINALS[n - 1]
    ending = {1: "st", 2: "nd", 3: "rd"}.get(n % 10 if n // 10 % 10 != 1 else 0, "th")
    return f"{n}{ending}"


def clean_name(text: str) -> str:
    """A noun of a foreign file as it may stand in a sentence: no brackets, colons or controls.

    Returns:
        At most 40 characters; "" where nothing is left.
    """
    words = re.sub(r"[^\w\s'&./-]", " ", text.replace("_", " "))
    return " ".join(words.split())[:_LEAST_WORD].strip().lower()


class Wording:
    """Says references; the same one in the same words throughout a question.

    Args:
        rng: Chooses among the sentences.
    """

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self._said: dict[Reference, str] = {}

    def pick(self, sentences: Sequence[str]) -> str:
        """One of a list."""
        return sentences[int(self.rng.integers(len(sentences)))]

    def the(self, reference: Reference) -> str:
        """The reference with its article."""
        if reference not in self._said:
            noun = f"{reference.colour} {reference.category}".strip()
            bare = noun
            for select in reference.selects:
                noun = self._narrowed(noun, select, bare)
            self._said[reference] = f"the {noun}"
        return self._said[reference]

    def _narrowed(self, noun: str, select: Select, bare: str) -> str:
        words = {
            "n": noun,
            "k": bare,
            **dict(zip("ab", map(self.the, select.anchors), strict=False)),
        }
        if not select.is_rank:
            return fill(self.pick(NARROWED[select.op]), **words)
        ranked = RANKED if noun == bare else RANKED_AFTER
        if select.op.startswith("from"):
            return fill(self.pick(ranked[select.op]), nth=ordinal(select.n), **words)
        nth = f"{ordinal(select.n)} " if select.n > 1 else ""
        if select.op in SIZES:
            # "second tallest": only where the adjective is one word
            sentence = self.pick([s for s in ranked[select.op] if not nth or "least" not in s])
            return fill(
                sentence.replace(select_word(sentence), nth + select_word(sentence)), **words
            )
        sentences = ranked[select.op]
        if nth:
            sentences = tuple(s for s in sentences if "least" not in s and "most " not in s)
        return fill(self.pick(sentences), nth=nth, **words)


def select_word(sentence: str) -> str:
    """The superlative of a sentence about sizes."""
    found = re.search(r"\b(least \w+|\w+est)\b", sentence)
    return found[1] if found else ""


def fill(sentence: str, **words: str) -> str:
    """A sentence with its words, begun with a capital where it is one."""
    text = re.sub(r"\{(\w+)\}", lambda match: words.get(match[1], match[0]), sentence)
    return text[:1].upper() + text[1:] if sentence[-1:] in ".?" else text


def distance_text(metres: float, rng: np.random.Generator) -> str:
    """A distance as people write it: below 1 m centimetres or inches, then metres or feet."""
    share = {"near": 0.2, "middle": 0.5, "far": 0.7}
    zone = "near" if metres < 1.0 else "middle" if metres < 3.0 else "far"
    first, second = ("centimetres", "inches") if zone == "near" else ("metres", "feet")
    unit = first if rng.random() < share[zone] else second
    return f"{metres / _METRE[unit]:.2f} {unit}"


def degrees_text(degrees: float) -> str:
    """An angle between fronts: three significant digits, "0" for none."""
    text = f"{float(f'{degrees:.3g}'):g}"
    return f"{text} degrees"


def rotation_text(degrees: float, positive: str, negative: str) -> str:
    """A rotation of the camera: its size with three decimals, and its direction."""
    return f"{abs(degrees):.3f} degrees to the {positive if degrees > 0 else negative}"


def read_value(text: str) -> float | None:
    """The metres or degrees that an answer states; None: no number with a unit."""
    found = _NUMBER.search(text)
    return float(found[1]) * _METRE.get(found[2], 1.0) if found else None


def point_text(point: tuple[float, float]) -> str:
    """A picture point as RefSpatial writes it."""
    return f"[({point[0]:.3f}, {point[1]:.3f})]"
