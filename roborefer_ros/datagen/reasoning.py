# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Questions that take steps: question, thoughts, key steps and answer out of one derivation."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from roborefer_ros.datagen import free_space, templates
from roborefer_ros.datagen.expressions import (
    DISTANCES,
    OWN_SIDES,
    SIZES,
    Reference,
    Select,
    to_json,
)
from roborefer_ros.datagen.free_space import FreeSpace, Surroundings
from roborefer_ros.datagen.propose import Proposer, wanted_steps
from roborefer_ros.datagen.qa import QA, REASONED, TEMPLATE, VACANT
from roborefer_ros.datagen.regions import Place, place_at_side, place_between, place_in_zone
from roborefer_ros.datagen.resolve import Resolver
from roborefer_ros.datagen.scene import Box
from roborefer_ros.datagen.wording import Wording, fill, point_text

#: narrowing -> the published relation that it turns on
RELATION_OF = {
    "left": "left", "right": "right", "front": "front", "behind": "behind",
    "above": "above_world", "below": "below_world", "between": "between", "in": "inside",
    "own_left": "left", "own_right": "right", "own_front": "face", "own_back": "back",
    "from_left": "left", "from_right": "right", "from_front": "front", "from_back": "behind",
    "tallest": "tall", "shortest": "short", "widest": "wide", "narrowest": "thin",
    "biggest": "big", "smallest": "small", "closest": "close", "farthest": "far",
}  # fmt: skip
#: sentences by which the released data names its kinds of question
QUESTION_TYPES = {
    "rank": "Locate an object by ranking a feature",
    "distance": "Locate an object by its distance from a reference object",
    "relation": "Locate an object by its spatial relation to reference objects",
    "edge": "Locate free space at a table's edge or corner",
    "side": "Locate free space by orientation and distance from an anchor object",
    "between": "Locate free space between two objects",
}
_DECIMALS = 3
_OWN = {"own_left", "own_right", "own_front", "own_back"}


class ReasonedQuestions:
    """Asks for objects and free places of one scene.

    Args:
        resolver: Of the scene.
        proposer: Draws references.
        rng: All randomness.
    """

    def __init__(self, resolver: Resolver, proposer: Proposer, rng: np.random.Generator) -> None:
        self.resolver, self.proposer, self.rng = resolver, proposer, rng
        self._around: dict[str, Surroundings | None] = {}

    # --- objects ---

    def refer(self) -> QA | None:
        """A reference of 1 to 5 steps to an object."""
        if not self.proposer.named:
            return None
        box = self.proposer.named[int(self.rng.integers(len(self.proposer.named)))]
        reference = self.proposer.reference(box, wanted_steps(self.rng))
        return None if reference is None else self._asked(box, reference, REASONED)

    def point(self) -> QA | None:
        """The point of an object by its plainest name."""
        if not self.proposer.named:
            return None
        box = self.proposer.named[int(self.rng.integers(len(self.proposer.named)))]
        caption = self.proposer.caption(box)
        return None if caption is None else self._asked(box, caption, TEMPLATE)

    def _asked(self, box: Box, reference: Reference, part: str) -> QA:
        wording = Wording(self.rng)
        words = wording.the(reference)
        question = fill(wording.pick(templates.LOCATE), a=words)
        point = self.normalised(box)
        steps = self.key_steps(reference, wording) if part == REASONED else ()
        ops = [select.op for select in reference.selects]
        kind = "relation"
        if ops and reference.selects[-1].is_rank:
            kind = "distance" if ops[-1] in DISTANCES else "rank"
        return QA(
            part, "point", relations_of(reference), question, point_text(point), "",
            reference.steps, {"form": "refer", "reference": to_json(reference)}, point,
            self._thinking(words, steps) if steps else "", steps,
            QUESTION_TYPES[kind] if steps else "",
        )  # fmt: skip

    def normalised(self, box: Box) -> tuple[float, float]:
        """The answer point of an object."""
        assert box.pixel is not None
        return self._rounded(box.pixel)

    def _rounded(self, pixel: tuple[float, float]) -> tuple[float, float]:
        x, y = self.resolver.scene.camera.normalised(pixel)
        return round(x, _DECIMALS), round(y, _DECIMALS)

    def key_steps(self, reference: Reference, wording: Wording) -> tuple[dict[str, Any], ...]:
        """The steps of finding an object, each key once."""
        steps = {(s["type"], s["target"]): s for s in reversed([*self._steps(reference, wording)])}
        return tuple(reversed([*steps.values()]))

    def _steps(self, reference: Reference, wording: Wording) -> Iterator[dict[str, Any]]:
        box = self.resolver.resolve(reference)
        assert box is not None
        name = wording.the(reference)
        for select in reference.selects:
            yield from self._anchor_steps(select, wording)
            if select.op in SIZES:
                yield {"type": "Size", "target": name, "value": round(_extent(select.op, box), 3)}
        x, y = self.normalised(box)
        yield {"type": "Position", "target": name, "value": [x, y]}

    def _anchor_steps(self, select: Select, wording: Wording) -> Iterator[dict[str, Any]]:
        for anchor in select.anchors:
            yield from self._steps(anchor, wording)
            if select.op in OWN_SIDES:
                yield self._orientation(anchor, wording)

    def _orientation(self, anchor: Reference, wording: Wording) -> dict[str, Any]:
        box = self.resolver.resolve(anchor)
        assert box is not None
        value = [round(float(v), _DECIMALS) + 0.0 for v in box.front]
        return {"type": "Orientation", "target": wording.the(anchor), "value": value}

    def _thinking(self, words: str, steps: tuple[dict[str, Any], ...]) -> str:
        opening = fill(templates.THOUGHTS[int(self.rng.integers(len(templates.THOUGHTS)))], a=words)
        return "\n".join([opening, *(step_line(n, s) for n, s in enumerate(steps, 1))])

    # --- free space ---

    def around(self, target: Box) -> Surroundings | None:
        """What is free around a target."""
        if target.id not in self._around:
            self._around[target.id] = free_space.surroundings(self.resolver.scene, target)
        return self._around[target.id]

    def vacant(self) -> QA | None:
        """A free place next to, on, under or between objects, by the published rules."""
        named = self.proposer.named
        if not named:
            return None
        box = named[int(self.rng.integers(len(named)))]
        names = ("left", "right", "front", "behind", "above", "below", "between")
        name = names[int(self.rng.integers(len(names)))]
        scene, captions = self.resolver.scene, [self.proposer.caption(box)]
        found: FreeSpace | None = None
        if name == "between":
            other = named[int(self.rng.integers(len(named)))]
            captions.append(self.proposer.caption(other))
            if other is not box:
                found = free_space.between(scene, box, other, self.rng)
        elif name in ("above", "below"):
            find = free_space.above if name == "above" else free_space.below
            found = find(scene, box, self.rng)
        else:
            around = self.around(box)
            if around is not None:
                found = free_space.side_of(scene, box, around, name)
        known = [caption for caption in captions if caption is not None]
        if found is None or len(known) < len(captions):
            return None
        wording = Wording(self.rng)
        return self._free(VACANT, name, known, found.answer, found.platform, wording)

    def free(self) -> QA | None:
        """A free place whose anchor takes steps to find, or whose side is the anchor's own."""
        named = self.proposer.named
        if not named:
            return None
        box = named[int(self.rng.integers(len(named)))]
        draw = self.rng.random()
        if draw < 0.15:
            return self._free_zone(box, "corner" if self.rng.random() < 0.5 else "edge")
        if draw < 0.35:
            return self._free_between(box)
        own = sorted(_OWN) if box.has_front and self.rng.random() < 0.6 else list(free_space.SIDES)
        name = own[int(self.rng.integers(len(own)))]
        anchor = self.proposer.reference(box, max(1, wanted_steps(self.rng) - 2))
        around = self.around(box)
        if anchor is None or around is None or anchor.inner_steps + 2 > 5:
            return None
        place = place_at_side(self.resolver, box, around, name)
        return self._reasoned_free(name, [anchor], place, around.platform)

    def _free_between(self, box: Box) -> QA | None:
        named, around = self.proposer.named, self.around(box)
        other = named[int(self.rng.integers(len(named)))]
        beside = self.around(other)
        if other is box or around is None or beside is None:
            return None
        if around.platform is not beside.platform:
            return None
        anchors = [self.proposer.caption(box), self.proposer.caption(other)]
        known = [anchor for anchor in anchors if anchor is not None]
        if len(known) < 2 or sum(anchor.inner_steps for anchor in known) + 3 > 5:
            return None
        scene, resolver = self.resolver.scene, self.resolver
        everything = free_space.everything_on(scene, around.platform)
        whole = free_space.Surroundings(
            around.platform, everything, around.radius, max(around.height, beside.height)
        )
        place = place_between(resolver, box, other, whole)
        return self._reasoned_free("between", known, place, around.platform)

    def _free_zone(self, box: Box, zone: str) -> QA | None:
        around = self.around(box)
        surface = around.platform if around else None
        caption = self.proposer.caption(surface) if surface and surface.visible else None
        if around is None or surface is None or caption is None:
            return None
        scene = self.resolver.scene
        whole = free_space.Surroundings(
            surface, free_space.everything_on(scene, surface), around.radius, scene.top(surface)
        )
        place = place_in_zone(self.resolver, surface, whole, zone)
        return self._reasoned_free(zone, [caption], place, surface)

    def _reasoned_free(
        self, name: str, anchors: list[Reference], place: Place | None, platform: Box
    ) -> QA | None:
        if place is None:
            return None
        wording = Wording(self.rng)
        return self._free(REASONED, name, anchors, place.pixel, platform, wording)

    def _free(
        self, part: str, name: str, anchors: list[Reference], pixel: tuple[float, float],
        platform: Box, wording: Wording,
    ) -> QA:  # fmt: skip
        words = dict(zip("ab", map(wording.the, anchors), strict=False))
        where = fill(wording.pick(templates.PLACES[name]), **words)
        sentence = wording.pick(templates.LOCATE_FREE)
        question, point = fill(sentence, s=where), self._rounded(pixel)
        steps: tuple[dict[str, Any], ...] = ()
        if part == REASONED:
            listed = [s for anchor in anchors for s in self.key_steps(anchor, wording)]
            if name in _OWN:
                listed.append(self._orientation(anchors[0], wording))
            unique = {(s["type"], s["target"]): s for s in listed}
            steps = tuple(unique.values())
        own = {"own_front": "face", "own_back": "back", "corner": "corner", "edge": "edge"}
        extra = own.get(name, name if name in ("between", "left", "right") else "")
        related = ("free_space", *([extra] if extra else []))
        named = {r for anchor in anchors for r in relations_of(anchor) if r}
        kind = "edge" if name in ("corner", "edge") else "between" if name == "between" else "side"
        return QA(
            part, "free", (*related, *sorted(named - set(related))), question, point_text(point),
            "", min(5, len(anchors) + 1 + sum(a.inner_steps for a in anchors)),
            {
                "form": "free", "side": name, "platform": platform.id,
                "anchors": [to_json(anchor) for anchor in anchors],
            },
            point, self._thinking(f"the free place {where}", steps) if steps else "", steps,
            QUESTION_TYPES[kind] if steps else "",
        )  # fmt: skip


def relations_of(reference: Reference) -> tuple[str, ...]:
    """The published relations that a reference turns on; ("",) where it takes none."""
    found = [
        RELATION_OF[select.op]
        for noun in reference.nouns()
        for select in noun.selects
        if select.op in RELATION_OF
    ]
    return tuple(dict.fromkeys(found)) or ("",)


def step_line(number: int, step: dict[str, Any]) -> str:
    """One line of a thought: ``Step 1: [Position] [the cup]: [(0.412, 0.655)]``."""
    value = step["value"]
    if step["type"] == "Position":
        text = f"[({value[0]:.3f}, {value[1]:.3f})]"
    elif step["type"] == "Orientation":
        text = f"({value[0]:.3f}, {value[1]:.3f}, {value[2]:.3f})"
    else:
        text = f"{value:.3f}"
    return f"Step {number}: [{step['type']}] [{step['target']}]: {text}"


def _extent(op: str, box: Box) -> float:
    """The length that a rank by size speaks of, metres; of "biggest" the longest extent."""
    if op in ("tallest", "shortest"):
        return float(box.scale[1])
    return float(box.scale[0] if op in ("widest", "narrowest") else box.scale.max())
