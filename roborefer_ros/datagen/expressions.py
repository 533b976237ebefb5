# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""References to objects as a small grammar: a noun, narrowed down by filters, then by one rank.

    reference = noun [colour] filter* [rank]
    filter    = side of a reference | own side of a reference | between two | on | in
    rank      = n-th along an axis | n-th by size | n-th by distance to a reference

A reference is data: the same value is resolved on the boxes, said in words, and turned into the
steps of a derivation.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

#: filters by a side as the camera sees it, and by a side of the anchor's own
SIDES = ("left", "right", "front", "behind", "above", "below")
OWN_SIDES = ("own_left", "own_right", "own_front", "own_back")
#: ranks along an axis: which end the counting begins at
ROWS = ("from_left", "from_right", "from_front", "from_back")
SIZES = ("tallest", "shortest", "widest", "narrowest", "biggest", "smallest")
DISTANCES = ("closest", "farthest")
FILTERS = (*SIDES, *OWN_SIDES, "between", "on", "in")
RANKS = (*ROWS, *SIZES, *DISTANCES)

MAX_STEPS = 5


@dataclass(frozen=True)
class Select:
    """One narrowing.

    Attributes:
        op: One of ``FILTERS`` or ``RANKS``.
        n: Place in the order, from 1; 0 for filters.
        anchors: What it refers to: none, one, or two for "between".
    """

    op: str
    n: int = 0
    anchors: tuple[Reference, ...] = ()

    @property
    def is_rank(self) -> bool:
        """Whether it picks by an order (n-th, leftmost ...)."""
        return self.op in RANKS

    @property
    def steps(self) -> int:
        """Anchors and phrases of direction or order; standing "on" something is none."""
        return (self.op != "on") + sum(a.inner_steps + 1 for a in self.anchors)


@dataclass(frozen=True)
class Reference:
    """A description of one object.

    Attributes:
        category: Noun.
        colour: Name, or "" where it is not said.
        selects: Filters, then at most one rank.
    """

    category: str
    colour: str = ""
    selects: tuple[Select, ...] = ()

    @property
    def inner_steps(self) -> int:
        """Steps of the expressions that it refers to."""
        return sum(select.steps for select in self.selects)

    @property
    def steps(self) -> int:
        """How many steps it takes to find the object, as the benchmark counts; at least 1."""
        return max(1, self.inner_steps)

    def nouns(self) -> Iterator[Reference]:
        """This reference and all that it contains."""
        yield self
        for select in self.selects:
            for anchor in select.anchors:
                yield from anchor.nouns()


def to_json(reference: Reference) -> dict[str, Any]:
    """The reference as plain values, for files and for the check of answers."""
    return {
        "category": reference.category,
        "colour": reference.colour,
        "selects": [
            {"op": s.op, "n": s.n, "anchors": [to_json(a) for a in s.anchors]}
            for s in reference.selects
        ],
    }


def from_json(value: dict[str, Any]) -> Reference:
    """The reference of ``to_json``."""
    return Reference(
        value["category"],
        value["colour"],
        tuple(
            Select(s["op"], s["n"], tuple(from_json(a) for a in s["anchors"]))
            for s in value["selects"]
        ),
    )
