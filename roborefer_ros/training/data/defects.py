# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Defects of released data: what each means, and whether it loses a row, a pair or nothing."""

from __future__ import annotations

import enum
import re

Loss = str

#: media placeholders of a turn, each with one newline after it
PLACEHOLDER = re.compile(r"(?:<image>|<vila/video>|<depth>)\n?")

#: how the question that asks for points ends; it does not count for the length of a pair
FORMAT_REQUEST = "Your answer should be formatted as"


class Defect(enum.Enum):
    """One kind of defect: its name, what it loses, and what it is."""

    MALFORMED_ROW = ("malformed-row", "row", "not an object with conversations")
    TURN_ORDER = ("turn-order", "row", "speakers do not alternate, so answers may be foreign")
    NO_PAIRS = ("no-pairs", "row", "no usable question-answer pair is left")
    SURPLUS_PLACEHOLDERS = ("surplus-placeholders", "row", "more <image> in the text than pictures")
    DEPTH_COUNT = ("depth-count", "row", "as many depth pictures as pictures are needed")
    NO_IMAGE_FOLDER = ("no-image-folder", "row", "names pictures, but the data set has no folder")
    MISSING_PICTURE = ("missing-picture", "row", "a picture is not there")
    EMPTY_PICTURE = ("empty-picture", "row", "a picture has 0 bytes")
    BROKEN_PICTURE = ("broken-picture", "row", "a picture is cut off or cannot be decoded")
    DEPTH_SHAPE = ("depth-shape", "none", "depth has another aspect ratio than its picture")
    ODD_TURNS = ("odd-turns", "pair", "a last question without an answer")
    UNKNOWN_ROLE = ("unknown-role", "pair", "a speaker other than human and gpt")
    EMPTY_TEXT = ("empty-text", "pair", "an empty question or answer")
    RUNAWAY_NAME = ("runaway-name", "pair", "the same words five times between slashes")
    LONG_PAIR = ("long-pair", "pair", "question and answer longer than the limit")
    MALFORMED_TEXT = ("malformed-text", "none", "garbled directions, missing rank or 1th")
    THINK_COUNT = ("think-count", "none", "think does not match the pairs; not used")
    FEWER_PLACEHOLDERS = ("fewer-placeholders", "none", "fewer <image> in the text than pictures")
    TEXT_FOR_POINT = ("text-for-point", "none", "a point is asked for, the answer has none")
    POINT_FOR_TEXT = ("point-for-text", "none", "no point is asked for, the answer is one")
    CONFLICTING_POINTS = ("conflicting-points", "none", "the same question with other points")
    REPAIRED_NAME = ("repaired-name", "none", "found under the name with the missing _")
    TEXT_CHUNK = ("text-chunk", "none", "a PNG with very large text, which was skipped")
    DEPTH_CONVERTED = ("depth-converted", "none", "depth of 1 channel, 16 bit or unequal channels")

    def __init__(self, key: str, loses: Loss, meaning: str) -> None:
        self.key, self.loses, self.meaning = key, loses, meaning


BY_KEY = {defect.key: defect for defect in Defect}

_MALFORMED = re.compile(
    r"\bfromt\b|\branks\s{2,}in\b|\b(?:\d*[02-9])?1th\b|\b(?:\d*[02-9])?[23]th\b"
)
_MALFORMED_HINTS = ("fromt", "ranks", "1th", "2th", "3th")
_POINTS = re.compile(r"\(\s*-?\d*\.?\d+\s*,\s*-?\d*\.?\d+\s*\)")
_CHOICE_ANSWER = re.compile(r"^\s*\([A-H]\)")
_CHOICES = re.compile(r"\(A\).*\(B\)", re.DOTALL)
_ASKS_POINT = re.compile(
    r"list of tuples|^\s*(?:please\s+)?(?:point|locate|pick|mark)\b|"
    r"\bpoint(?:ing)? (?:to|out|at)\b",
    re.IGNORECASE,
)
_ASKS_TEXT = re.compile(r"^\s*(?:is|are|does|do|can|how|what|which|why)\b", re.IGNORECASE)
_YES_NO = re.compile(r"^\s*(?:yes|no)\b", re.IGNORECASE)
_NUMBER = re.compile(r"\d")


def strip_placeholders(text: str) -> str:
    """Text without media placeholders and blanks around it.

    Taking one out may leave another (``<im<image>age>``), so it is repeated.
    """
    while True:
        shorter = PLACEHOLDER.sub("", text)
        if shorter == text:
            return text.strip()
        text = shorter


def asked_length(question: str, answer: str) -> int:
    """Characters of a pair without the standing request for a format."""
    return len(question.partition(FORMAT_REQUEST)[0]) + len(answer)


def is_runaway(text: str) -> bool:
    """Whether the same words stand five or more times between slashes."""
    if text.count("/") < 4:
        return False
    parts = [part.strip() for part in text.split("/")]
    start = 1
    while start < len(parts) - 1:
        end = start
        while end < len(parts) - 1 and parts[end] == parts[start]:
            end += 1
        word = parts[start]
        if word:
            ends = parts[start - 1].endswith(word) + parts[end].startswith(word)
            if end - start + ends >= 5:
                return True
        start = end
    return False


def is_malformed(text: str) -> bool:
    """Whether it has garbled directions, ranks without a number, or 1th, 2th, 3th."""
    folded = text.lower()
    # Cheaper than the expression, which is needed for few texts.
    if not any(hint in folded for hint in _MALFORMED_HINTS):
        return False
    return _MALFORMED.search(folded) is not None


def answer_form(answer: str) -> str:
    """``point``, ``nothing`` (an empty list), ``choice``, ``yes-no``, ``number`` or ``text``."""
    if answer.strip() == "[]":
        return "nothing"
    if _CHOICE_ANSWER.match(answer):
        return "choice"
    if answer.lstrip()[:1] in ("[", "(", "<") and _POINTS.search(answer):
        return "point"
    if _YES_NO.match(answer):
        return "yes-no"
    return "number" if _NUMBER.search(answer) else "text"


def form_mismatch(question: str, form: str) -> Defect | None:
    """A point asked for and not given, or given and not asked for.

    Args:
        question: Without placeholders.
        form: Of the answer, see ``answer_form``.
    """
    asks_choice = _CHOICES.search(question) is not None
    asks_point = not asks_choice and _ASKS_POINT.search(question) is not None
    if asks_point and form not in ("point", "nothing"):
        return Defect.TEXT_FOR_POINT
    if form == "point" and not asks_point and (asks_choice or _ASKS_TEXT.match(question)):
        return Defect.POINT_FOR_TEXT
    return None
