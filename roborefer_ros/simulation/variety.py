# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Instructions as people type them, and instructions about what is not there.

The held-out questions are worded plainly; training data adds what this module makes of them: other
verbs, upper case, missing articles, typing errors, everyday names, things that the scene lacks, and
plurals with several points.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from roborefer_ros.simulation import marks
from roborefer_ros.simulation.geometry import SeenObject, seen_objects
from roborefer_ros.simulation.instructions import (
    COLOURS,
    SHAPES,
    Description,
    Mention,
    Question,
)
from roborefer_ros.simulation.rendering import RenderedView
from roborefer_ros.simulation.scenes import TabletopScene
from roborefer_ros.types import Mode

#: everyday names of the shapes and colours
SYNONYMS: dict[str, tuple[str, ...]] = {
    "box": ("carton", "block", "package"),
    "cylinder": ("can", "tin", "tube"),
    "ball": ("sphere", "orb"),
    "cone": ("pylon", "traffic cone"),
    "mug": ("cup", "coffee mug", "coffee cup"),
    "bowl": ("dish", "basin"),
    "plate": ("dinner plate", "platter"),
    "bottle": ("flask", "water bottle"),
    "object": ("thing", "item"),
    "purple": ("violet",),
    "pink": ("rose",),
    "red": ("crimson", "scarlet"),
    "blue": ("navy",),
    "leftmost": ("left-most", "far left"),
    "rightmost": ("right-most", "far right"),
}

#: things that no simulated table holds
EVERYDAY_THINGS: tuple[str, ...] = (
    "scissors", "banana", "apple", "laptop", "keyboard", "mouse", "phone", "remote control",
    "screwdriver", "hammer", "pen", "pencil", "notebook", "book", "fork", "knife", "spoon",
    "spatula", "pan", "pot", "kettle", "toaster", "shoe", "sock", "hat", "glove", "towel",
    "sponge", "soap", "toothbrush", "comb", "mirror", "lamp", "candle", "clock", "watch",
    "wallet", "key", "coin", "card", "camera", "headphones", "charger", "cable", "battery",
    "drill", "wrench", "pliers", "tape", "glue", "stapler", "ruler", "eraser", "marker",
    "paintbrush", "teddy bear", "toy car", "doll", "puzzle", "dice", "orange juice", "milk",
    "bread", "cheese", "egg", "carrot", "tomato", "potato", "onion", "lemon", "pear", "grape",
    "strawberry", "pizza", "sandwich", "cookie", "cake", "donut", "chair", "monitor", "screen",
    "vase", "plant", "flower", "basket", "bag", "backpack", "umbrella", "glasses", "sunglasses",
    "bracelet", "necklace", "spray", "lotion", "cereal", "sugar", "salt shaker", "mustard",
    "ketchup", "tuna", "jelly", "gelatin", "cracker", "meat", "bleach", "clamp", "foam brick",
    "wood block", "power drill", "tray", "measuring spoons", "wipes", "joke book", "telephone",
    "tape roll", "case", "lid", "printer", "robot", "gripper", "person", "hand", "cat", "dog",
)  # fmt: skip

PHRASES: tuple[str, ...] = (
    "Can you pick up {}?", "I need {}", "give me {}", "Hand me {}.", "Where is {}?", "show me {}",
    "take {}", "grab {}", "bring me {}, please", "Could you find {}?", "find {}", "get {}",
    "touch {}", "please grasp {}", "pick up {} now", "I want {}.", "select {}", "look for {}",
)  # fmt: skip

PLACE_PHRASES: tuple[str, ...] = (
    "put it on {}", "Set it down on {}.", "Where is {}?", "show me {}", "Put the thing on {}.",
    "could you place it on {}?", "drop it on {}", "move it to {}", "locate {}",
)  # fmt: skip


def with_case(text: str, rng: np.random.Generator) -> str:
    """Upper case mostly, else lower or title case."""
    change: Callable[[str], str] = (str.upper, str.upper, str.lower, str.title)[rng.integers(4)]
    return change(text)


def without_articles(text: str, rng: np.random.Generator) -> str:
    """All articles left out, or made indefinite."""
    word = "a " if rng.random() < 0.3 else ""
    for article in ("The ", "the "):
        text = text.replace(article, word)
    return text


def with_synonyms(text: str, rng: np.random.Generator) -> str:
    """Every word that has an everyday name gets one of them."""
    return _each_word(text, lambda word: _synonym(word, rng))


def with_typo(text: str, rng: np.random.Generator) -> str:
    """One slip of the keyboard in one word of at least four letters."""
    words = text.split(" ")
    long = [n for n, word in enumerate(words) if sum(c.isalpha() for c in word) >= 4]
    if not long:
        return text
    place = long[int(rng.integers(len(long)))]
    words[place] = _slip(words[place], rng)
    return " ".join(words)


def _synonym(word: str, rng: np.random.Generator) -> str:
    known = SYNONYMS.get(word)
    return word if known is None else known[int(rng.integers(len(known)))]


def _each_word(text: str, change: Callable[[str], str]) -> str:
    """Apply a change to the letters of each word; what follows them stays."""
    words = []
    for word in text.split(" "):
        stem = word.rstrip(
            "".join({c for c in word if not c.isalpha() or "\ue000" <= c <= "\uf8ff"})
        )
        words.append(change(stem) + word[len(stem) :] if stem else word)
    return " ".join(words)


def _slip(word: str, rng: np.random.Generator) -> str:
    letters = [n for n, c in enumerate(word) if c.isascii() and c.isalpha()]
    at = letters[int(rng.integers(len(letters) - 1))]
    kind = int(rng.integers(4))
    if kind == 0:  # two letters swapped
        return word[:at] + word[at + 1] + word[at] + word[at + 2 :]
    if kind == 1:  # one left out
        return word[:at] + word[at + 1 :]
    if kind == 2:  # one struck twice
        return word[: at + 1] + word[at:]
    other = chr(ord("a") + int(rng.integers(26)))
    return word[:at] + other + word[at + 1 :]


#: how often each change is made
_CHANGES: tuple[tuple[float, Callable[[str, np.random.Generator], str]], ...] = (
    (0.25, with_synonyms),
    (0.15, without_articles),
    (0.12, with_typo),
    (0.15, with_case),
)


def reworded(question: Question, rng: np.random.Generator) -> Question:
    """The same question as somebody else might type it."""
    text = _marked(question)
    if rng.random() < 0.4:
        phrases = PHRASES if question.mode is Mode.OBJECT else PLACE_PHRASES
        start = text.index(question.words[:5])
        end = start + len(question.words) + sum(m.end > start for m in question.mentions)
        text = phrases[int(rng.integers(len(phrases)))].format(text[start:end])
    for share, change in _CHANGES:
        if rng.random() < share:
            text = change(text, rng)
    instruction, places = marks.taken_out(text)
    mentions = tuple(replace(question.mentions[number], end=end) for number, end in places)
    return replace(question, instruction=instruction, mentions=mentions)


def _marked(question: Question) -> str:
    text = question.instruction
    for number in range(len(question.mentions) - 1, -1, -1):
        end = question.mentions[number].end
        text = text[:end] + marks.mark(number) + text[end:]
    return text


def absent_name(names: Sequence[tuple[str, str]], rng: np.random.Generator) -> str:
    """What the scene does not hold: another colour, another shape, or another thing altogether.

    Args:
        names: ``(colour, shape)`` of all objects of the scene, hidden ones too.
        rng: Source of chance.
    """
    colours, shapes = {c for c, _ in names}, {s for _, s in names}
    for _ in range(50):
        kind = rng.random()
        colour, shape = str(rng.choice(COLOURS)), str(rng.choice(SHAPES))
        if kind < 0.35 and names:  # a colour and a shape that are there, but not together
            colour, shape = str(rng.choice(sorted(colours))), str(rng.choice(sorted(shapes)))
        if kind < 0.70:
            if (colour, shape) not in names:
                return f"{colour} {shape}"
        elif kind < 0.80:
            if shape not in shapes:
                return shape
        elif kind < 0.86:
            if colour not in colours:
                return f"{colour} object"
        else:
            thing = EVERYDAY_THINGS[int(rng.integers(len(EVERYDAY_THINGS)))]
            return f"{colour} {thing}" if rng.random() < 0.3 else thing
    return "scissors"


_RELATION_WORDS = ("left of", "to the right of", "right of", "in front of", "behind",
                   "closest to", "nearest to")  # fmt: skip
_SIDE_WORDS = ("left of", "right of", "in front of", "behind")


def absent_questions(
    scene: TabletopScene, view: RenderedView, rng: np.random.Generator, count: int
) -> list[Question]:
    """Up to ``count`` different instructions that speak of something that is not there."""
    names = [(item.colour, item.shape) for item in scene.objects]
    objects = seen_objects(scene, view)
    questions: dict[str, Question] = {}
    for _ in range(count):
        question = _absent(names, objects, view.instance.shape, rng)
        questions.setdefault(question.words, question)
    return list(questions.values())


def _absent(
    names: Sequence[tuple[str, str]],
    objects: Sequence[SeenObject],
    shape: tuple[int, ...],
    rng: np.random.Generator,
) -> Question:
    absent, form = f"the {absent_name(names, rng)}", rng.random()
    named: list[tuple[str, tuple[int, ...]]] = []

    def present() -> str:
        seen = objects[int(rng.integers(len(objects)))].item
        fits = tuple(o.instance for o in objects if o.item.name == seen.name)
        named.append((seen.name, fits))
        return f"the {seen.name}{marks.mark(len(named) - 1)}"

    def one_of(words: Sequence[str]) -> str:
        return words[int(rng.integers(len(words)))]

    is_place = form >= 0.85
    if form < 0.5 or not objects:
        words, is_place = absent, False
    elif form < 0.65:
        words = f"{absent} {one_of(_RELATION_WORDS)} {present()}"
    elif form < 0.80:
        noun = one_of(("object", *SHAPES))
        words = f"the {noun} {one_of(_RELATION_WORDS)} {absent}"
    elif form < 0.85:
        pair = (absent, present())
        first = int(rng.integers(2))
        words = f"the object between {pair[first]} and {pair[1 - first]}"
    elif form < 0.93:
        words = f"the free space {one_of(_SIDE_WORDS)} {absent}"
    else:
        pair = (absent, present())
        first = int(rng.integers(2))
        words = f"the free space between {pair[first]} and {pair[1 - first]}"
    phrases = PLACE_PHRASES if is_place else PHRASES
    phrase = one_of(("{}", "Point to {}.", "Find {}.", *phrases[:6]))
    instruction, places = marks.taken_out(phrase.format(words))
    return Question(
        instruction,
        marks.taken_out(words)[0],
        "absent",
        Mode.FREE_SPACE if is_place else Mode.OBJECT,
        None,
        (-1, -1),
        np.zeros(shape, bool),
        tuple(Mention(end, *named[number]) for number, end in places),
    )


_EVERY = ("all {}", "all the {}", "every one of the {}", "Point to all {}.", "find all the {}")


def every_questions(
    scene: TabletopScene, view: RenderedView, rng: np.random.Generator, count: int
) -> list[Question]:
    """Up to ``count`` instructions that several objects fit; the answer has all, from the left."""
    objects = seen_objects(scene, view)
    questions: dict[str, Question] = {}
    for _ in range(2 * count):
        if len(questions) == count or not objects:
            break
        item = objects[int(rng.integers(len(objects)))].item
        colour, shape = ((None, item.shape), (item.colour, None), (item.colour, item.shape))[
            int(rng.integers(3))
        ]
        what = Description(colour, shape)
        fits = sorted((o for o in objects if what.fits(o)), key=lambda o: o.u)
        total = sum(colour in (None, o.colour) and shape in (None, o.shape) for o in scene.objects)
        if not 2 <= len(fits) == total <= 4:
            continue
        words = _plural(what.words())
        text = _EVERY[int(rng.integers(len(_EVERY)))].format(words + marks.mark(0))
        instruction, places = marks.taken_out(text)
        instances = tuple(o.instance for o in fits)
        questions.setdefault(
            words,
            Question(
                instruction, words, "every", Mode.OBJECT, None, fits[0].pixel,
                np.logical_or.reduce([o.mask for o in fits]),
                (Mention(places[0][1], words, instances),),
                others=tuple(o.pixel for o in fits[1:]),
            ),
        )  # fmt: skip
    return list(questions.values())


def _plural(words: str) -> str:
    return words + ("es" if words.endswith("x") else "s")
