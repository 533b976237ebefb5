# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""How sure a model is of a place, from the probabilities of the digits that it could have written.

The probability of the very text ``0.412`` says little: 0.411 would be the same place, and the
model spreads its belief over such neighbours.  What counts is the probability that a
coordinate lies near the one that was written.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from roborefer_ros.pointing.answers import TupleMatch

#: coordinates this close, as a share of the image's width or height, count as the same
#: place: a small object, such as a mug on a table 1 m away.  Among 0.01, 0.025, 0.05 and 0.1 it
#: tells the bundled network's right answers best from its wrong ones
SAME_COORDINATE = 0.05

_NUMBER = re.compile(r"[+-]?([0-9]*)\.?([0-9]*)")


def place_confidences(
    text: str,
    matches: Sequence[TupleMatch],
    token_ends: Sequence[int],
    logprobs: Sequence[float],
    digit_probabilities: Sequence[Sequence[float]],
    tolerance: float = SAME_COORDINATE,
) -> tuple[float, ...]:
    """For each point the probability that x and y lie within ``tolerance`` of the answer.

    The product of ``coordinate_mass`` over both coordinates; y's digits were read after x's,
    so that it is the probability of y given x.

    Args:
        text: the answer as decoded.
        matches: Matches of ``parse_tuples(text)``.
        token_ends: For each generated token the length of the text that ends with it.
        logprobs: natural log probability of each token.
        digit_probabilities: ``[T, 10]``, of the digits 0 to 9 at each token's position.
        tolerance: Tolerance of the normalised coordinates.
    """
    token_at: dict[int, int] = {}
    for index, end in enumerate(token_ends):
        token_at.setdefault(end - 1, index)
    starts = [0, *token_ends]

    def row(place: int) -> Sequence[float]:
        """Probabilities of ten digits at one character of the text."""
        index = token_at.get(place)
        if index is not None and starts[index] == place:
            return digit_probabilities[index]
        # Part of a longer token: nothing is known of others, its own probability counts once.
        own = [0.0] * 10
        own[int(text[place])] = math.exp(logprobs[index]) if index is not None else 1.0
        return own

    result = []
    for match in matches:
        confidence = 1.0
        for number in _numbers(text, match.span):
            places = [*range(*number.span(1)), *range(*number.span(2))]
            digits, rows = [int(text[p]) for p in places], [row(p) for p in places]
            confidence *= coordinate_mass(digits, rows, len(number.group(1)), tolerance)
        result.append(confidence)
    return tuple(result)


def coordinate_mass(
    digits: Sequence[int],
    probabilities: Sequence[Sequence[float]],
    integer_digits: int,
    tolerance: float,
) -> float:
    """The probability that a number lies within ``tolerance`` of the one that was written.

    At each digit the other nine stand for a cell of numbers each (0.3... is 0.3 to 0.4).  How
    the model would have gone on there is not known, so its probability counts in proportion to
    the part of the cell that lies within the tolerance.

    Args:
        digits: ``[D]`` as written, the most significant first.
        probabilities: ``[D, 10]`` of every digit, given those before it.
        integer_digits: Number of them that stand before the decimal point.
        tolerance: Tolerance, at least 0.
    """
    widths = [10.0 ** (integer_digits - 1 - place) for place in range(len(digits))]
    value = sum(digit * width for digit, width in zip(digits, widths, strict=True))
    low, high = value - tolerance, value + tolerance
    mass, path, base = 0.0, 1.0, 0.0
    for digit, own, width in zip(digits, probabilities, widths, strict=True):
        for other in range(10):
            if other != digit:
                start = base + other * width
                overlap = min(high, start + width) - max(low, start)
                mass += path * own[other] * max(0.0, overlap) / width
        path *= own[digit]
        base += digit * width
    return min(mass + path, 1.0)


def _numbers(text: str, span: tuple[int, int]) -> list[re.Match[str]]:
    """The two numbers of a tuple."""
    found = [m for m in _NUMBER.finditer(text, *span) if m.group(1) or m.group(2)]
    return found[:2]
