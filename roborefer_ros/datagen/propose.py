# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Random references to an object that mean it alone, with a wanted number of steps."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from roborefer_ros.datagen.expressions import (
    DISTANCES,
    MAX_STEPS,
    OWN_SIDES,
    ROWS,
    SIDES,
    SIZES,
    Reference,
    Select,
)
from roborefer_ros.datagen.resolve import Resolver
from roborefer_ros.datagen.scene import Box

_TRIES = 24


class Proposer:
    """Draws references on one scene.

    Args:
        resolver: Of the scene.
        rng: All randomness.
    """

    def __init__(self, resolver: Resolver, rng: np.random.Generator) -> None:
        self.resolver, self.rng = resolver, rng
        self.named = [box for box in resolver.scene.boxes if box.visible and box.pixel]
        self._captions: dict[str, Reference | None] = {}

    def pick(self, options: Sequence[str]) -> str:
        """One of them."""
        return options[int(self.rng.integers(len(options)))]

    def caption(self, box: Box) -> Reference | None:
        """The plainest reference that means a box alone; None: there is none.

        In this order: the noun, with its colour, by its place in a row, by size.
        """
        if box.id not in self._captions:
            self._captions[box.id] = self._caption(box)
        return self._captions[box.id]

    def _caption(self, box: Box) -> Reference | None:
        for colour in ("", box.colour):
            bare = Reference(box.category, colour)
            if self.resolver.resolve(bare) is box:
                return bare
        for op in (*ROWS, *SIZES):
            placed = self._place(Reference(box.category), op, box)
            if placed is not None:
                return placed
        return None

    def _place(
        self, base: Reference, op: str, box: Box, anchors: tuple[Reference, ...] = ()
    ) -> Reference | None:
        """``base`` with the rank by ``op`` that means the box."""
        count = len(self.resolver.group(base.category, base.colour))
        # People count up to three, and name sizes up to the second.
        for n in range(1, min(count, 2 if op in SIZES else 3) + 1):
            reference = Reference(
                base.category, base.colour, (*base.selects, Select(op, n, anchors))
            )
            if self.resolver.resolve(reference) is box:
                return reference
        return None

    def reference(self, box: Box, steps: int) -> Reference | None:
        """A reference to a box that takes that many steps; None: none was found."""
        for _ in range(_TRIES):
            found = self._draw(box, steps, frozenset({box.id}))
            if found is not None and found.steps == steps:
                return found
        return None

    def _draw(self, box: Box, steps: int, used: frozenset[str]) -> Reference | None:
        """One attempt; ``steps`` is how many may be spent."""
        colour = box.colour if self.rng.random() < 0.4 else ""
        bare = Reference(box.category, colour)
        if steps <= 1:
            if self.resolver.resolve(bare) is box and self.rng.random() < 0.5:
                return bare
            return self._place(bare, self.pick((*ROWS, *SIZES)), box)
        first = self._anchored(bare, box, steps, used)
        if first is None:
            return None
        left = steps - first.inner_steps
        if left >= 1 and self.rng.random() < 0.7:
            ranked = self._ranked(first, box, left, used)
            if ranked is not None:
                return ranked
        return first if self.resolver.resolve(first) is box else None

    def _anchor(self, steps: int, used: frozenset[str], front: bool = False) -> Reference | None:
        """A reference to some other object with at most that many inner steps."""
        options = [b for b in self.named if b.id not in used and (b.has_front or not front)]
        if not options:
            return None
        box = options[int(self.rng.integers(len(options)))]
        if steps >= 1 and self.rng.random() < 0.7:
            found = self._draw(box, steps, used | {box.id})
            if found is not None and found.inner_steps <= steps:
                return found
        caption = self.caption(box)
        return caption if caption is not None and caption.inner_steps <= steps else None

    def _anchored(
        self, bare: Reference, box: Box, steps: int, used: frozenset[str]
    ) -> Reference | None:
        """``bare`` with a filter that the box passes."""
        draw = self.rng.random()
        kind = (
            "own" if draw < 0.25 else "between" if draw < 0.35 else "on" if draw < 0.5 else "side"
        )
        if kind == "between":
            if steps < 3:
                return None
            anchors = [self._anchor((steps - 3) // 2, used) for _ in range(2)]
        else:
            anchors = [self._anchor(steps - 2, used, kind == "own")]
        known = [(a, self.resolver.resolve(a)) for a in anchors if a is not None]
        boxes = [b for _, b in known if b is not None]
        if len(boxes) != len(anchors) or len({b.id for b in boxes} | {box.id}) <= len(boxes):
            return None
        ops = {"own": OWN_SIDES, "between": ("between",), "on": ("on", "in")}.get(kind, SIDES)
        true = [op for op in ops if self.resolver.holds(op, box, boxes)]
        if not true:
            return None
        select = Select(self.pick(true), 0, tuple(a for a, _ in known))
        return Reference(bare.category, bare.colour, (select,))

    def _ranked(
        self, first: Reference, box: Box, left: int, used: frozenset[str]
    ) -> Reference | None:
        """A reference with one rank more, by size or place, or by distance where steps are left."""
        if left >= 2 and self.rng.random() < 0.5:
            anchor = self._anchor(left - 2, used)
            if anchor is None or self.resolver.resolve(anchor) in (None, box):
                return None
            return self._place(first, self.pick(DISTANCES), box, (anchor,))
        return self._place(first, self.pick((*ROWS, *SIZES)), box)

    def nearest(self, box: Box, steps: int) -> Reference | None:
        """A reference by distance to an anchor alone."""
        anchor = self._anchor(max(0, steps - 2), frozenset({box.id}))
        if anchor is None or self.resolver.resolve(anchor) in (None, box):
            return None
        return self._place(Reference(box.category), self.pick(DISTANCES), box, (anchor,))


def wanted_steps(rng: np.random.Generator) -> int:
    """How many steps the next question shall take, all equally often."""
    return int(rng.integers(1, MAX_STEPS + 1))
