# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The engine's own sentences: every list has at least ten.

``{a}``, ``{b}``, ``{c}`` are objects with their article, ``{p}`` a relation, ``{v}`` a value with
its unit.  Lists are products of frames and phrases, so that words vary without a list for each
case.
"""

from __future__ import annotations

from collections.abc import Sequence


def crossed(frames: Sequence[str], phrases: Sequence[str]) -> tuple[str, ...]:
    """Every phrase in every frame, in place of ``{p}``."""
    return tuple(frame.replace("{p}", phrase) for phrase in phrases for frame in frames)


#: relation of A to B -> what is said of A
PREDICATES: dict[str, tuple[str, ...]] = {
    "left": ("to the left of {b}", "left of {b}", "on the left side of {b}"),
    "right": ("to the right of {b}", "right of {b}", "on the right side of {b}"),
    "above_world": ("higher up than {b}", "at a greater height than {b}", "higher than {b}"),
    "below_world": ("lower down than {b}", "at a smaller height than {b}", "lower than {b}"),
    "above_image": (
        "above {b} as the camera sees it",
        "further up in the camera's view than {b}",
        "higher in the view than {b}",
    ),
    "below_image": (
        "below {b} as the camera sees it",
        "further down in the camera's view than {b}",
        "lower in the view than {b}",
    ),
    "front": ("in front of {b}", "nearer to the front than {b}", "on the near side of {b}"),
    "behind": ("behind {b}", "further back than {b}", "on the far side of {b}"),
    "tall": ("taller than {b}", "of greater height than {b}", "higher in itself than {b}"),
    "short": ("shorter than {b}", "of less height than {b}", "less high in itself than {b}"),
    "big": ("bigger than {b}", "larger overall than {b}", "of greater volume than {b}"),
    "small": ("smaller than {b}", "less bulky than {b}", "of smaller volume than {b}"),
    "wide": ("wider than {b}", "of greater width than {b}", "broader than {b}"),
    "thin": ("thinner than {b}", "narrower than {b}", "of less width than {b}"),
    "inside": ("inside {b}", "contained in {b}", "within {b}"),
    "outside": ("outside {b}", "not contained in {b}", "outside of {b}"),
    "face": ("facing {b}", "turned with its front to {b}", "oriented towards {b}"),
    "back": ("facing away from {b}", "turned with its back to {b}", "oriented away from {b}"),
    "corner": ("at a corner of {b}", "in a corner area of {b}", "near a corner of {b}"),
    "edge": ("at an edge of {b}", "along an edge of {b}", "near an edge, not a corner, of {b}"),
    "touch": ("close enough to touch {b}", "right next to {b}", "within ten centimetres of {b}"),
    "far_from": ("far from {b}", "more than a metre away from {b}", "well apart from {b}"),
    "close": ("closer to {c} than {b}", "nearer to {c} than {b}", "less far from {c} than {b}"),
    "far": (
        "farther from {c} than {b}",
        "further away from {c} than {b}",
        "less near {c} than {b}",
    ),
    "between": ("between {b} and {c}", "in between {b} and {c}", "in the middle of {b} and {c}"),
}

YES_NO_FRAMES = (
    "Is {a} {p}?",
    "Would you say that {a} is {p}?",
    "Looking at the scene, is {a} {p}?",
    "Can you confirm whether {a} is {p}?",
    "Is it true that {a} is {p}?",
)
YES_NO = {name: crossed(YES_NO_FRAMES, phrases) for name, phrases in PREDICATES.items()}

FACT_FRAMES = (
    "{a} is {p}.",
    "In this scene, {a} is {p}.",
    "As the picture shows, {a} is {p}.",
    "Here {a} is {p}.",
)
FACTS = {name: crossed(FACT_FRAMES, phrases) for name, phrases in PREDICATES.items()}

#: relation of A to B -> "which of the two is ..."
COMPARATIVES: dict[str, tuple[str, ...]] = {
    "left": ("further to the left", "more to the left"),
    "right": ("further to the right", "more to the right"),
    "above_world": ("higher up in space", "at the greater height"),
    "below_world": ("lower down in space", "at the smaller height"),
    "above_image": ("higher in the camera's view", "further up in the view"),
    "below_image": ("lower in the camera's view", "further down in the view"),
    "front": ("in front", "nearer to the front"),
    "behind": ("further back", "behind the other"),
    "tall": ("taller", "of greater height"),
    "short": ("shorter", "of less height"),
    "big": ("bigger", "of greater volume"),
    "small": ("smaller", "of less volume"),
    "wide": ("wider", "broader"),
    "thin": ("thinner", "narrower"),
    "close": ("closer to {c}", "nearer to {c}"),
    "far": ("farther from {c}", "less near {c}"),
}
WHICH_FRAMES = (
    "Which is {p}, {a} or {b}?",
    "Of {a} and {b}, which one is {p}?",
    "Between {a} and {b}, which is {p}?",
    "Comparing {a} with {b}, which of the two is {p}?",
    "Choose the one that is {p}: {a} or {b}.",
)
WHICH = {name: crossed(WHICH_FRAMES, phrases) for name, phrases in COMPARATIVES.items()}

#: what a pair of relations is about -> asks for the fact
FACT_QUESTIONS = {
    dimension: crossed(
        (
            "Describe {p}.",
            "State {p}.",
            "In one sentence, tell {p}.",
            "Please tell {p}.",
            "What can you say about {p}?",
        ),
        (f"{words} of {{a}} relative to {{b}}", f"{words} of {{a}} compared with {{b}}"),
    )
    for dimension, words in {
        "sideways": "the place to the left or right",
        "forward": "the place in front or behind",
        "upward": "the height in space",
        "view": "the place up or down in the view",
        "tallness": "the own height",
        "width": "the own width",
        "size": "the overall size",
    }.items()
}
DIMENSIONS = {
    "left": "sideways", "right": "sideways", "front": "forward", "behind": "forward",
    "above_world": "upward", "below_world": "upward", "above_image": "view", "below_image": "view",
    "tall": "tallness", "short": "tallness", "wide": "width", "thin": "width",
    "big": "size", "small": "size",
}  # fmt: skip

#: one of several is so
WHICH_OF = {
    name: crossed(
        (
            "Which of these is {p}?",
            "Which one is {p}?",
            "Choose the one that is {p}.",
            "Find the one that is {p}.",
        ),
        phrases,
    )
    for name, phrases in PREDICATES.items()
}

#: value -> (questions, answers)
VALUE_QUESTIONS: dict[str, tuple[str, ...]] = {
    "distance": crossed(
        ("What is {p}?", "Estimate {p}.", "Can you tell {p}?", "How large is {p}?"),
        (
            "the distance between {a} and {b}",
            "the distance from {a} to {b}",
            "the gap from {a} to {b}",
        ),
    ),
    "depth": crossed(
        ("What is {p}?", "Estimate {p}.", "Can you tell {p}?", "How large is {p}?"),
        (
            "the depth of {a}",
            "the depth at which {a} begins",
            "the camera's distance to {a} in depth",
        ),
    ),
    "rotation_horizontal": crossed(
        ("{p}?", "In degrees, {p}?", "Seen from the camera, {p}?", "Please estimate: {p}?"),
        (
            "by what angle, and to which side, must the camera turn to look straight at {a}",
            "how far to the left or right does the camera rotate to centre {a}",
            "which horizontal rotation points the camera at {a}",
        ),
    ),
    "rotation_vertical": crossed(
        ("{p}?", "In degrees, {p}?", "Seen from the camera, {p}?", "Please estimate: {p}?"),
        (
            "by what angle must the camera tilt up or down to look straight at {a}",
            "how far up or down does the camera tilt to centre {a}",
            "which vertical rotation points the camera at {a}",
        ),
    ),
    "angle": crossed(
        ("What is {p}?", "Estimate {p}.", "Can you tell {p} in degrees?", "How large is {p}?"),
        (
            "the angle between the fronts of {a} and {b}",
            "the angle between the directions that {a} and {b} face",
            "the difference in orientation of {a} and {b}",
        ),
    ),
}
VALUE_ANSWERS: dict[str, tuple[str, ...]] = {
    "distance": crossed(
        ("{p} {v}.", "{p} about {v}.", "{p} roughly {v}.", "{p} close to {v}."),
        ("{a} and {b} are apart by", "The distance from {a} to {b} is", "From {a} to {b} it is"),
    ),
    "depth": crossed(
        ("{p} {v}.", "{p} about {v}.", "{p} roughly {v}.", "{p} close to {v}."),
        ("The depth of {a} is", "{a} begins at a depth of", "From the camera to {a} it is"),
    ),
    "rotation_horizontal": crossed(
        ("{p} {v}.", "{p} about {v}.", "{p} roughly {v}.", "{p} an angle of {v}."),
        ("The camera turns by", "To face {a}, turn by", "{a} needs a turn of"),
    ),
    "rotation_vertical": crossed(
        ("{p} {v}.", "{p} about {v}.", "{p} roughly {v}.", "{p} an angle of {v}."),
        ("The camera tilts by", "To face {a}, tilt by", "{a} needs a tilt of"),
    ),
    "angle": crossed(
        ("{p} {v}.", "{p} about {v}.", "{p} roughly {v}.", "{p} close to {v}."),
        ("The angle between the fronts is", "{a} and {b} differ by", "Their fronts enclose"),
    ),
}

#: asks for the point of an object
LOCATE = crossed(
    (
        "Point to {p}.",
        "Locate {p}.",
        "Where is {p}?",
        "Show me {p}.",
        "Please find {p}.",
        "Mark {p}.",
    ),
    ("{a}", "{a} in the picture"),
)
LOCATE_FREE = crossed(
    (
        "Point to {p}.",
        "Locate {p}.",
        "Find {p}.",
        "Show me {p}.",
        "Mark {p}.",
        "Pick {p} to put something down.",
    ),
    ("a free spot {s}", "an empty place {s}", "some vacant space {s}"),
)
#: free space -> where it is
PLACES: dict[str, tuple[str, ...]] = {
    "left": ("to the left of {a}", "left of {a}", "on the left side of {a}", "at the left of {a}"),
    "right": (
        "to the right of {a}",
        "right of {a}",
        "on the right side of {a}",
        "at the right of {a}",
    ),
    "front": (
        "in front of {a}",
        "on the camera's side of {a}",
        "on the near side of {a}",
        "at the front of {a}",
    ),
    "behind": ("behind {a}", "at the back of {a}", "on the far side of {a}", "in back of {a}"),
    "above": ("on top of {a}", "on {a}", "upon {a}", "on the upper surface of {a}"),
    "below": ("under {a}", "below {a}", "underneath {a}", "beneath {a}"),
    "between": (
        "between {a} and {b}",
        "in between {a} and {b}",
        "in the gap of {a} and {b}",
        "in the middle of {a} and {b}",
    ),
    "own_left": (
        "to the left of {a} in its own frame",
        "to the left of {a} from its own point of view",
        "on the left-hand side of {a} as it faces",
        "at the left of {a} as seen by it",
    ),
    "own_right": (
        "to the right of {a} in its own frame",
        "to the right of {a} from its own point of view",
        "on the right-hand side of {a} as it faces",
        "at the right of {a} as seen by it",
    ),
    "own_front": (
        "in the direction that {a} faces",
        "in front of {a} from its own point of view",
        "where {a} is facing",
        "ahead of {a} as it faces",
    ),
    "own_back": (
        "opposite to the direction that {a} faces",
        "at the back of {a} as it faces",
        "behind {a} from its own point of view",
        "at the side that {a} turns its back to",
    ),
    "corner": ("at a corner of {a}", "in a corner area of {a}", "near one of the corners of {a}"),
    "edge": ("at an edge of {a}", "along an edge of {a}", "close to the edge of {a}"),
}

_JOINS = ("{n} {p}", "{n} that is {p}", "{n} which is {p}", "{n} located {p}")
#: how a filter narrows a noun: {n} the noun, {a} and {b} the anchors
NARROWED: dict[str, tuple[str, ...]] = {
    **{
        op: crossed(_JOINS, PLACES[op])
        for op in (
            "left",
            "right",
            "front",
            "behind",
            "between",
            "own_left",
            "own_right",
            "own_front",
            "own_back",
        )
    },
    "above": crossed(
        _JOINS, ("higher up than {a}", "at a greater height than {a}", "higher than {a}")
    ),
    "below": crossed(
        _JOINS, ("lower down than {a}", "at a smaller height than {a}", "lower than {a}")
    ),
    "on": crossed(_JOINS, ("on {a}", "on top of {a}", "upon {a}")),
    "in": crossed(_JOINS, ("in {a}", "inside {a}", "within {a}")),
}

_ENDS = {
    "from_left": ("from the left", "counted from the left", "from left to right"),
    "from_right": ("from the right", "counted from the right", "from right to left"),
    "from_front": ("from the front", "counted from the front", "from front to back"),
    "from_back": ("from the back", "counted from the back", "from back to front"),
}
_PLACED = (
    "{nth} {n} {p}",
    "{n} in {nth} place {p}",
    "{n} that is {nth} {p}",
    "{n} ranked {nth} {p}",
)
_SIZED = (
    "{p} {n}",
    "{n} that is the {p} of its kind here",
    "{n} that is the {p}",
    "{n} which is {p}",
    "{p} {n} of all",
)
_ADJECTIVES = {
    "tallest": ("tallest", "highest"),
    "shortest": ("shortest", "least tall"),
    "widest": ("widest", "broadest"),
    "narrowest": ("narrowest", "least wide"),
    "biggest": ("biggest", "largest"),
    "smallest": ("smallest", "least bulky"),
}
_AWAY = (
    "{n} that is {nth}{p} {a}",
    "{n} which lies {nth}{p} {a}",
    "{n} {nth}{p} {a}",
    "{nth}{p} {a} {n}",
)
#: how a rank narrows a noun: {nth} the ordinal
RANKED: dict[str, tuple[str, ...]] = {
    **{op: crossed(_PLACED, ends) for op, ends in _ENDS.items()},
    **{op: crossed(_SIZED, words) for op, words in _ADJECTIVES.items()},
    "closest": crossed(_AWAY[:3], ("closest to", "nearest to", "least far from", "most near to")),
    "farthest": crossed(
        _AWAY[:3], ("farthest from", "furthest from", "most distant from", "least near to")
    ),
}

#: how a rank narrows a noun that a filter has narrowed before: {k} the bare noun
RANKED_AFTER: dict[str, tuple[str, ...]] = {
    **{
        op: crossed(
            (
                "{n}, the {nth} such {k} {p}",
                "{n}, {nth} {p} among these",
                "{n}, namely the {nth} one {p}",
                "{n}, the one in {nth} place {p}",
            ),
            ends,
        )
        for op, ends in _ENDS.items()
    },
    **{
        op: crossed(
            (
                "{p} {n}",
                "{n}, the {p} such {k}",
                "{n}, the {p} one of these",
                "{n}, namely the {p} one",
                "{n}, the {p} among them",
            ),
            words,
        )
        for op, words in _ADJECTIVES.items()
    },
    **{
        op: crossed(
            (
                "{n}, the one {nth}{p} {a}",
                "{n}, the {k} {nth}{p} {a}",
                "{n}, namely the one {nth}{p} {a}",
            ),
            words,
        )
        for op, words in {
            "closest": ("closest to", "nearest to", "least far from", "most near to"),
            "farthest": ("farthest from", "furthest from", "most distant from", "least near to"),
        }.items()
    },
}

#: how a thought names what it looks for, before the steps
THOUGHTS = crossed(
    ("{p} {a}.", "{p} {a}, step by step.", "{p} {a}, one step after the other.", "{p} {a} first."),
    ("I look for", "The task is to find", "I need to locate"),
)

TURN_FRAMES = (
    "Between the first and the second view, {p}",
    "From the first picture to the second, {p}",
    "Comparing both views, {p}",
    "Looking at the two pictures in order, {p}",
    "Given these two views of one scene, {p}",
)
TURNS = {
    "yaw": crossed(
        TURN_FRAMES, ("did the camera turn left or right?", "to which side did the camera turn?")
    ),
    "pitch": crossed(
        TURN_FRAMES, ("did the camera tilt up or down?", "which way did the camera tilt?")
    ),
    "angle": crossed(
        TURN_FRAMES,
        ("by what angle did the camera turn sideways?", "how far did the camera turn sideways?"),
    ),
}

VISUAL_FRAMES = (
    "Of the objects in the red (A) and blue (B) boxes, which is {p}?",
    "Which is {p}, the object in the red box A or the one in the blue box B?",
    "Box A is red, box B is blue. Which object is {p}?",
    "Compare the boxed objects: which of A (red) and B (blue) is {p}?",
    "Choose between red box A and blue box B: whose object is {p}?",
)
VISUAL = {
    name: crossed(VISUAL_FRAMES, phrases)
    for name, phrases in COMPARATIVES.items()
    if "{c}" not in phrases[0]
}


def lists() -> dict[str, tuple[str, ...]]:
    """Every list of sentences by a name of its own."""
    groups = {
        "yes_no": YES_NO,
        "fact": FACTS,
        "which": WHICH,
        "value_question": VALUE_QUESTIONS,
        "value_answer": VALUE_ANSWERS,
        "narrowed": NARROWED,
        "ranked_after": RANKED_AFTER,
        "ranked": RANKED,
        "turn": TURNS,
        "visual": VISUAL,
        "fact_question": FACT_QUESTIONS,
        "which_of": WHICH_OF,
        "place": {k: crossed(LOCATE_FREE, v) for k, v in PLACES.items()},
    }
    named = {f"{group}/{key}": v for group, table in groups.items() for key, v in table.items()}
    return {**named, "locate": LOCATE, "locate_free": LOCATE_FREE, "thought": THOUGHTS}
