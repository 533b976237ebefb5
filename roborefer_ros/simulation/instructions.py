# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Instructions about a view whose right answer is beyond doubt.

Relations are those of a person at the camera: left and right along the image, in front =
nearer to the camera.  A question is made only if exactly one object fits and no other
nearly fits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from roborefer_ros.simulation import free_space, marks
from roborefer_ros.simulation.geometry import SeenObject, seen_objects
from roborefer_ros.simulation.rendering import RenderedView
from roborefer_ros.simulation.scenes import COLOURS, SHAPES, TabletopScene
from roborefer_ros.types import Mode

__all__ = ["COLOURS", "KINDS", "SHAPES", "Question", "make_questions"]

#: how sure a relation must be: along the image (share of its width) and on the table (metres)
_MARGIN_U = 0.05
_MARGIN_M = 0.05

_ORDINALS = ("first", "second", "third", "fourth")

_PHRASES = (
    "{}",
    "Point to {}.",
    "point out {}",
    "Pick up {}.",
    "pick {}",
    "Locate {}.",
    "Please point to {}.",
    "grasp {}",
)
_PLACE_PHRASES = (
    "{}",
    "Point to {}.",
    "point out {}",
    "Find {}.",
    "Please point to {}.",
    "place it on {}",
)


@dataclass(frozen=True)
class Mention:
    """A place in an instruction that names objects of the scene.

    Attributes:
        end: Number of characters of the instruction up to the name's end.
        words: The name without its article, "red mug".
        instances: Ids in the view of all visible objects that are called so.
    """

    end: int
    words: str
    instances: tuple[int, ...]


@dataclass(frozen=True)
class Question:
    """An instruction with everything that counts as a right answer.

    Attributes:
        instruction: Words of the instruction.
        words: its noun phrase, without "Point to" and the like.
        kind: one of ``KINDS``.
        mode: object or free space.
        target_instance: the object's id in the view; None for free space.
        pixel: ``(u, v)`` the model answer.
        mask: ``[H, W]`` bool, all right pixels; none where the thing is not there.
        mentions: What the instruction names, in its order.
        steps: What to look for first: a name and its pixel ``(u, v)`` each.
        others: Further points ``(u, v)`` of an answer with several.
    """

    instruction: str
    words: str
    kind: str
    mode: Mode
    target_instance: int | None
    pixel: tuple[int, int]
    mask: npt.NDArray[np.bool_]
    mentions: tuple[Mention, ...] = ()
    steps: tuple[tuple[str, tuple[int, int]], ...] = ()
    others: tuple[tuple[int, int], ...] = ()

    @property
    def answer(self) -> str:
        """The answer in RoboRefer's format."""
        points = [self.pixel, *self.others] if self.mask.any() else []
        return answer_text(points, self.mask.shape)


def answer_text(pixels: Sequence[tuple[int, int]], shape: Sequence[int]) -> str:
    """Pixels ``(u, v)`` of a picture of ``shape`` (H, W) in RoboRefer's format; none: ``[]``."""
    height, width = shape[:2]
    points = (f"({(u + 0.5) / width:.3f}, {(v + 0.5) / height:.3f})" for u, v in pixels)
    return f"[{', '.join(points)}]"


@dataclass(frozen=True)
class Description:
    """What an object is called: a colour, a shape, both, or neither ("object")."""

    colour: str | None
    shape: str | None

    def fits(self, seen: SeenObject) -> bool:
        return self.colour in (None, seen.item.colour) and self.shape in (None, seen.item.shape)

    def words(self) -> str:
        noun = self.shape or "object"
        return f"{self.colour} {noun}" if self.colour else noun


Objects = Sequence[SeenObject]


def make_questions(
    scene: TabletopScene, view: RenderedView, rng: np.random.Generator, count: int
) -> list[Question]:
    """Make up to ``count`` different questions; fewer where the scene does not give them."""
    objects = seen_objects(scene, view)
    if not objects:
        return []
    everything = _all_names(scene)
    kinds, weights = zip(*_MAKERS_BY_WEIGHT, strict=True)
    probability = np.asarray(weights) / sum(weights)
    questions: dict[str, Question] = {}
    for _ in range(8 * count):
        if len(questions) == count:
            break
        maker = kinds[int(rng.choice(len(kinds), p=probability))]
        question = maker(_Context(scene, view, objects, everything, rng))
        if question is not None:
            questions.setdefault(question.words, question)
    return list(questions.values())


@dataclass(frozen=True)
class _Context:
    scene: TabletopScene
    view: RenderedView
    objects: Objects
    everything: Sequence[tuple[str, str]]
    rng: np.random.Generator
    named: list[tuple[str, tuple[int, ...]]] = field(default_factory=list)

    def matching(self, what: Description) -> list[SeenObject]:
        return [o for o in self.objects if what.fits(o)]

    def count_in_scene(self, what: Description) -> int:
        """How many objects fit, including those too hidden to be spoken of."""
        return sum(
            what.colour in (None, colour) and what.shape in (None, shape)
            for colour, shape in self.everything
        )

    def all_seen(self, what: Description) -> bool:
        return self.count_in_scene(what) == len(self.matching(what))

    def pick(self) -> SeenObject:
        return self.objects[int(self.rng.integers(len(self.objects)))]

    def describe(self, seen: SeenObject) -> Description:
        """A random way to call an object, not necessarily unique."""
        colour, shape = seen.item.colour, seen.item.shape
        options = [
            Description(colour, shape),
            Description(None, shape),
            Description(colour, None),
            Description(None, None),
        ]
        return options[int(self.rng.choice(4, p=[0.35, 0.3, 0.15, 0.2]))]

    def unique_name(self, seen: SeenObject) -> Description | None:
        """Colour and shape, or just one of them at times, if nobody else is called so."""
        full = Description(seen.item.colour, seen.item.shape)
        if self.count_in_scene(full) != 1:
            return None
        short = Description(None, seen.item.shape)
        return short if self.count_in_scene(short) == 1 and self.rng.random() < 0.25 else full

    def name(self, what: Description) -> str:
        """The words of a description, marked as naming the visible objects that fit."""
        self.named.append((what.words(), tuple(o.instance for o in self.matching(what))))
        return what.words() + marks.mark(len(self.named) - 1)

    def ask(self, kind: str, words: str, target: SeenObject) -> Question:
        phrase = _PHRASES[int(self.rng.integers(len(_PHRASES)))]
        instruction, ends = marks.taken_out(phrase.format(words))
        return Question(
            instruction,
            marks.taken_out(words)[0],
            kind,
            Mode.OBJECT,
            target.instance,
            target.pixel,
            target.mask,
            self._mentions(ends),
            self._steps(target.instance),
        )

    def ask_place(self, kind: str, words: str, spot: free_space.FreeSpot) -> Question:
        phrase = _PLACE_PHRASES[int(self.rng.integers(len(_PLACE_PHRASES)))]
        instruction, ends = marks.taken_out(phrase.format(words))
        return Question(
            instruction, marks.taken_out(words)[0], kind, Mode.FREE_SPACE, None, spot.pixel,
            spot.mask, self._mentions(ends), self._steps(),
        )  # fmt: skip

    def _mentions(self, ends: Sequence[tuple[int, int]]) -> tuple[Mention, ...]:
        return tuple(Mention(end, *self.named[number]) for number, end in ends)

    def _steps(self, target: int | None = None) -> tuple[tuple[str, tuple[int, int]], ...]:
        """The anchors: what is named and is one object, not the target."""
        pixels = {o.instance: o.pixel for o in self.objects}
        return tuple(
            (f"the {words}", pixels[instances[0]])
            for words, instances in self.named
            if len(instances) == 1 and instances[0] != target
        )


def _all_names(scene: TabletopScene) -> list[tuple[str, str]]:
    return [(item.colour, item.shape) for item in scene.objects]


def _named(context: _Context) -> Question | None:
    """As in "the red mug"."""
    target = context.pick()
    what = Description(target.item.colour, target.item.shape)
    if context.count_in_scene(what) != 1:
        return None
    return context.ask("named", f"the {context.name(what)}", target)


def _attribute(context: _Context) -> Question | None:
    """As in "the mug", "the red object": one attribute is enough."""
    target = context.pick()
    by_shape = context.rng.random() < 0.6
    what = (
        Description(None, target.item.shape) if by_shape else Description(target.item.colour, None)
    )
    if context.count_in_scene(what) != 1:
        return None
    return context.ask("attribute", f"the {context.name(what)}", target)


#: words -> (is it so beyond doubt, could somebody say so)
_Test = Callable[[SeenObject, SeenObject], bool]


def _left(a: SeenObject, b: SeenObject, margin: float = _MARGIN_U) -> bool:
    return a.u < b.u - margin


def _before(a: SeenObject, b: SeenObject, margin: float = _MARGIN_M) -> bool:
    """In front: nearer to the camera, and not far to the side."""
    gap = b.forward_m - a.forward_m
    return gap > margin and abs(a.right_m - b.right_m) < 0.08 + 0.7 * gap


_RELATIONS: dict[str, tuple[tuple[str, ...], _Test, _Test]] = {
    "left_of": (
        ("left of", "to the left of", "on the left of"),
        lambda a, b: _left(a, b),
        lambda a, b: _left(a, b, -_MARGIN_U),
    ),
    "right_of": (
        ("right of", "to the right of", "on the right of"),
        lambda a, b: _left(b, a),
        lambda a, b: _left(b, a, -_MARGIN_U),
    ),
    "in_front_of": (
        ("in front of",),
        lambda a, b: _before(a, b),
        lambda a, b: a.forward_m < b.forward_m + 0.02,
    ),
    "behind": (
        ("behind",),
        lambda a, b: _before(b, a),
        lambda a, b: a.forward_m > b.forward_m - 0.02,
    ),
}


def _relation(context: _Context) -> Question | None:
    """As in "the box left of the blue cylinder"."""
    kind = str(context.rng.choice(list(_RELATIONS)))
    words, surely, perhaps = _RELATIONS[kind]
    anchor, target = context.pick(), context.pick()
    name = context.unique_name(anchor)
    what = context.describe(target)
    if anchor is target or name is None or not context.all_seen(what):
        return None
    others = [o for o in context.matching(what) if o is not anchor and o is not target]
    if not surely(target, anchor) or any(perhaps(o, anchor) for o in others):
        return None
    word = str(context.rng.choice(words))
    return context.ask(kind, f"the {context.name(what)} {word} the {context.name(name)}", target)


def _extreme(context: _Context) -> Question | None:
    """As in "the mug nearest to the camera", "the leftmost object"."""
    target = context.pick()
    what = context.describe(target)
    matching = context.matching(what)
    if len(matching) < 2 or not context.all_seen(what):
        return None
    axis = str(context.rng.choice(["nearest", "farthest", "leftmost", "rightmost"]))
    if axis in ("nearest", "farthest"):
        values = np.array([np.hypot(o.right_m, o.forward_m) for o in matching])
        margin = _MARGIN_M
        words = {
            "nearest": ("nearest to the camera", "closest to the camera"),
            "farthest": ("farthest from the camera", "farthest away"),
        }[axis]
        phrase = f"the {context.name(what)} {context.rng.choice(words)}"
    else:
        values = np.array([o.u for o in matching])
        margin = _MARGIN_U
        phrase = f"the {axis} {context.name(what)}"
    order = np.argsort(values if axis in ("nearest", "leftmost") else -values)
    if abs(values[order[0]] - values[order[1]]) < margin:
        return None
    return context.ask(axis, phrase, matching[order[0]])


def _nearest_to(context: _Context) -> Question | None:
    """As in "the ball closest to the plate"."""
    anchor = context.pick()
    name = context.unique_name(anchor)
    what = context.describe(context.pick())
    candidates = [o for o in context.matching(what) if o is not anchor]
    if name is None or len(candidates) < 2 or not context.all_seen(what):
        return None
    gaps = [
        np.hypot(o.right_m - anchor.right_m, o.forward_m - anchor.forward_m) for o in candidates
    ]
    order = np.argsort(gaps)
    if gaps[order[1]] < 1.3 * gaps[order[0]] + 0.02:
        return None
    word = str(context.rng.choice(["closest to", "nearest to"]))
    words = f"the {context.name(what)} {word} the {context.name(name)}"
    return context.ask("closest_to", words, candidates[order[0]])


def _ordinal(context: _Context) -> Question | None:
    """As in "the second object from the left"."""
    what = context.describe(context.pick())
    matching = sorted(context.matching(what), key=lambda o: o.u)
    if len(matching) < 2 or not context.all_seen(what):
        return None
    if any(b.u - a.u < 0.6 * _MARGIN_U for a, b in zip(matching, matching[1:], strict=False)):
        return None
    index = int(context.rng.integers(min(len(matching), len(_ORDINALS))))
    side = "left" if context.rng.random() < 0.5 else "right"
    target = matching[index if side == "left" else len(matching) - 1 - index]
    words = f"the {_ORDINALS[index]} {context.name(what)} from the {side}"
    row = matching if side == "left" else matching[::-1]
    steps = tuple((f"the {_ORDINALS[n]} {what.words()}", row[n].pixel) for n in range(index))
    return replace(context.ask("nth_from_side", words, target), steps=steps)


def _between(context: _Context) -> Question | None:
    """As in "the cone between the red mug and the box"."""
    if len(context.objects) < 3:
        return None
    first, second = (context.objects[i] for i in context.rng.permutation(len(context.objects))[:2])
    names = context.unique_name(first), context.unique_name(second)
    if names[0] is None or names[1] is None:
        return None
    places = [(o, _along(o, first, second)) for o in context.objects if o not in (first, second)]
    inside = [o for o, (t, off) in places if 0.25 < t < 0.75 and off < 0.07]
    perhaps = [o for o, (t, off) in places if 0.0 < t < 1.0 and off < 0.14]
    if len(inside) != 1:
        return None
    target = inside[0]
    what = context.describe(target)
    if not context.all_seen(what) or sum(what.fits(o) for o in perhaps) != 1:
        return None
    words = (
        f"the {context.name(what)} between the {context.name(names[0])} "
        f"and the {context.name(names[1])}"
    )
    return context.ask("between", words, target)


def _along(o: SeenObject, a: SeenObject, b: SeenObject) -> tuple[float, float]:
    """Place of o along the line a-b (0 at a, 1 at b) and its distance from that line, metres."""
    line = np.array([b.right_m - a.right_m, b.forward_m - a.forward_m])
    offset = np.array([o.right_m - a.right_m, o.forward_m - a.forward_m])
    t = float(offset @ line / (line @ line))
    return t, float(np.linalg.norm(offset - t * line))


def _free_beside(context: _Context) -> Question | None:
    """As in "the free space left of the plate"."""
    anchor = context.pick()
    name = context.unique_name(anchor)
    if name is None:
        return None
    side = str(context.rng.choice(list(free_space.DIRECTIONS)))
    spot = free_space.beside(context.scene, context.view, anchor, side)
    if spot is None:
        return None
    noun = str(context.rng.choice(["free space", "free spot", "empty space"]))
    words = f"the {noun} {free_space.DIRECTIONS[side][0]} the {context.name(name)}"
    return context.ask_place("free_beside", words, spot)


def _free_between(context: _Context) -> Question | None:
    """As in "the free space between the mug and the plate"."""
    if len(context.objects) < 2:
        return None
    first, second = (context.objects[i] for i in context.rng.permutation(len(context.objects))[:2])
    names = context.unique_name(first), context.unique_name(second)
    if names[0] is None or names[1] is None:
        return None
    spot = free_space.between(context.scene, context.view, first, second)
    if spot is None:
        return None
    noun = str(context.rng.choice(["free space", "free spot", "empty space"]))
    words = f"the {noun} between the {context.name(names[0])} and the {context.name(names[1])}"
    return context.ask_place("free_between", words, spot)


_MAKERS_BY_WEIGHT: tuple[tuple[Callable[[_Context], Question | None], float], ...] = (
    (_named, 0.30),
    (_attribute, 0.12),
    (_relation, 0.45),
    (_extreme, 0.22),
    (_nearest_to, 0.15),
    (_ordinal, 0.15),
    (_between, 0.30),
    (_free_beside, 0.20),
    (_free_between, 0.20),
)

KINDS: tuple[str, ...] = (
    "named", "attribute", *_RELATIONS, "nearest", "farthest", "leftmost", "rightmost",
    "closest_to", "nth_from_side", "between", "free_beside", "free_between",
)  # fmt: skip
