# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""A row of the JSON: its pictures, its question-answer pairs, and what is wrong with it.

Indexing, checking and training read rows with the same function, so their counts agree.
"""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from roborefer_ros.errors import ConfigurationError
from roborefer_ros.pointing.prompts import REASONING_SUFFIX
from roborefer_ros.training.data.defects import (
    Defect,
    asked_length,
    is_malformed,
    is_runaway,
    strip_placeholders,
)
from roborefer_ros.training.data.registry import DatasetSpec

_ROLES = ("human", "gpt")


@dataclass(frozen=True)
class Pair:
    """One question and its answer, without media placeholders.

    Attributes:
        question, answer: As they are learned.
        number: Position of the pair in its row, from 0.
        question_type, thinking: From ``think``, empty where there is none.
    """

    question: str
    answer: str
    number: int = 0
    question_type: str = ""
    thinking: str = ""


@dataclass(frozen=True)
class Row:
    """A usable row.

    Attributes:
        id: Its ``id``, or its number where it has none.
        images, depths: Names as they stand in the JSON; depth pairs with image by position.
        pairs: Its usable pairs, at least one.
        system: Text of a leading system turn, empty without one.
    """

    id: str
    images: tuple[str, ...]
    depths: tuple[str, ...]
    pairs: tuple[Pair, ...]
    system: str = ""


@dataclass(frozen=True)
class Reading:
    """What became of a row: the row (None where it is lost) and its defects, one entry each."""

    row: Row | None
    defects: tuple[Defect, ...] = ()


@dataclass(frozen=True)
class Rules:
    """How rows are judged; a part of ``DatasetSpec`` (see there)."""

    max_pair_chars: int | None = None
    keep_prefix: bool = False
    drop_malformed: bool = False

    @classmethod
    def of(cls, spec: DatasetSpec) -> Rules:
        """The rules of a data set."""
        return cls(spec.max_pair_chars, spec.keep_prefix, spec.drop_malformed)


def read_row(raw: Any, number: int, rules: Rules) -> Reading:
    """Judge a row of the JSON; never raises.

    Args:
        raw: The JSON value.
        number: Of the row in its file, from 0.
        rules: What is dropped.
    """
    if not isinstance(raw, dict) or not isinstance(raw.get("conversations"), list):
        return Reading(None, (Defect.MALFORMED_ROW,))
    images, depths = _names(raw.get("image")), _names(raw.get("depth"))
    turns = raw["conversations"]
    if images is None or depths is None or not all(map(_is_turn, turns)):
        return Reading(None, (Defect.MALFORMED_ROW,))
    system = ""
    if turns and turns[0]["from"] == "system":
        system, turns = _whole(turns[0]["value"]), turns[1:]
    defects: list[Defect] = []
    # Some data repeats the placeholders in every question.
    shown = [turn["value"].count("<image>") for turn in turns]
    if max(shown, default=0) > len(images):
        return Reading(None, (Defect.SURPLUS_PLACEHOLDERS,))
    if 0 < sum(shown) < len(images):
        defects.append(Defect.FEWER_PLACEHOLDERS)
    pairs = _pairs(turns, _thinks(raw.get("think"), len(turns), defects), rules, defects)
    if pairs is None:
        return Reading(None, tuple(defects))
    if not pairs:
        return Reading(None, (*defects, Defect.NO_PAIRS))
    identity = raw.get("id")
    name = _whole(str(identity)[:500]) if isinstance(identity, str | int) else str(number)
    return Reading(Row(name, images, depths, pairs, system), tuple(defects))


def _pairs(
    turns: Sequence[dict[str, str]],
    thinks: Sequence[tuple[str, str]],
    rules: Rules,
    defects: list[Defect],
) -> tuple[Pair, ...] | None:
    """The usable pairs; None where the order of speakers loses the row."""
    pairs: list[Pair] = []
    for number in range(len(turns) // 2):
        human, gpt = turns[2 * number], turns[2 * number + 1]
        speakers = (human["from"], gpt["from"])
        if not set(speakers) <= set(_ROLES):
            defects.append(Defect.UNKNOWN_ROLE)
            continue
        if speakers != _ROLES:
            defects.append(Defect.TURN_ORDER)
            return tuple(pairs) if rules.keep_prefix else None
        question_type, thinking = thinks[number] if thinks else ("", "")
        pair = Pair(
            strip_placeholders(_whole(human["value"])),
            strip_placeholders(_whole(gpt["value"])),
            number,
            question_type,
            thinking,
        )
        found = _pair_defects(pair, rules)
        defects.extend(found)
        dropped = any(defect.loses == "pair" for defect in found)
        if not dropped and not (rules.drop_malformed and Defect.MALFORMED_TEXT in found):
            pairs.append(pair)
    if len(turns) % 2:
        known = turns[-1]["from"] in _ROLES
        if turns[-1]["from"] == "gpt":  # an answer after an answer: the order is broken
            defects.append(Defect.TURN_ORDER)
            return tuple(pairs) if rules.keep_prefix else None
        defects.append(Defect.ODD_TURNS if known else Defect.UNKNOWN_ROLE)
    return tuple(pairs)


def _pair_defects(pair: Pair, rules: Rules) -> list[Defect]:
    found = []
    if not pair.question or not pair.answer:
        return [Defect.EMPTY_TEXT]
    if is_runaway(pair.question) or is_runaway(pair.answer):
        found.append(Defect.RUNAWAY_NAME)
    elif rules.max_pair_chars and asked_length(pair.question, pair.answer) > rules.max_pair_chars:
        found.append(Defect.LONG_PAIR)
    if is_malformed(pair.question) or is_malformed(pair.answer):
        found.append(Defect.MALFORMED_TEXT)
    return found


def _thinks(think: Any, turns: int, defects: list[Defect]) -> list[tuple[str, str]]:
    """Question type and thinking of every pair; empty where they do not belong to the pairs."""
    if think is None or think == []:
        return []
    usable = isinstance(think, list) and 2 * len(think) == turns
    if usable:
        entries = [entry if isinstance(entry, dict) else {} for entry in think]
        texts = [(entry.get("question_type", ""), entry.get("thinking")) for entry in entries]
        if all(isinstance(kind, str) and isinstance(text, str) for kind, text in texts):
            return [(_whole(kind), _whole(str(text)).strip()) for kind, text in texts]
    defects.append(Defect.THINK_COUNT)
    return []


def _names(value: Any) -> tuple[str, ...] | None:
    """Names of pictures from a text, a list of texts, or nothing; None where it is neither."""
    if value is None or value == "":
        return ()
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list) or not all(isinstance(n, str) and n for n in names):
        return None
    return tuple(names)


def _whole(text: str) -> str:
    """Text without halves of surrogate pairs, which JSON allows and no tokenizer reads."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def _is_turn(turn: Any) -> bool:
    return (
        isinstance(turn, dict)
        and isinstance(turn.get("from"), str)
        and isinstance(turn.get("value"), str)
    )


# --- rendering -------------------------------------------------------------------------


@dataclass(frozen=True)
class ThinkMode:
    """How the reasoning of a row is learned.

    Attributes:
        share: Share of the pairs with reasoning that are rendered with it: 0 none, 1 all.
    """

    share: float = 0.0

    @classmethod
    def parse(cls, text: str) -> ThinkMode:
        """From ``none``, ``append`` or ``mixed:P``.

        Raises:
            ConfigurationError: anything else.
        """
        if text in ("none", "append"):
            return cls(float(text == "append"))
        match = re.fullmatch(r"mixed:([0-9]*\.?[0-9]+)", text)
        if not match or not 0.0 <= float(match[1]) <= 1.0:
            raise ConfigurationError(f"think is {text!r}; use none, append, or mixed:P with P <= 1")
        return cls(float(match[1]))

    def shows(self, row_id: str, pair: Pair) -> bool:
        """Whether a pair is rendered with its reasoning; the same in every epoch and order."""
        if not pair.thinking or self.share <= 0.0:
            return False
        digest = hashlib.sha256(f"{row_id}\0{pair.number}".encode(errors="replace")).digest()
        return int.from_bytes(digest[:8], "big") < self.share * 2**64


def render_think(pair: Pair) -> Pair:
    """The pair with its reasoning in the answer, and asked for in the question."""
    return replace(
        pair,
        question=f"{pair.question} {REASONING_SUFFIX}",
        answer=f"<think>\n{pair.thinking}\n</think>\n<answer>{pair.answer}</answer>",
    )


def shuffled(pairs: Sequence[Pair], *seed: int) -> tuple[Pair, ...]:
    """The pairs in an order that depends on the numbers (seed, epoch, row) alone."""
    order = list(pairs)
    random.Random(":".join(map(str, seed))).shuffle(order)
    return tuple(order)


def conversation(pairs: Iterable[Pair], system: str = "") -> list[dict[str, str]]:
    """LLaVA's turns of some pairs; placeholders are put in where the pictures are tiled."""
    turns = [{"from": "system", "value": system}] if system else []
    for pair in pairs:
        turns.append({"from": "human", "value": pair.question})
        turns.append({"from": "gpt", "value": pair.answer})
    return turns
