# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Whether the words of an instruction ask for a thing or for a free spot.

Grammar, not a bag of words: the main verb of the first request decides, and for verbs that only
show ("point to", "find") and for phrases without a verb the head noun.  "Put the cup next to the
box" names a spot; "put the cup that stands next to the box away", "the cup next to the box" and
"the box beside the free space" name things.  English only: what is not understood is a thing,
and the reason says so.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from roborefer_ros.pointing import mode_words as words
from roborefer_ros.pointing.mode_nouns import NounPhrase, Words, matching, starts_with
from roborefer_ros.types import Mode

#: what a longer instruction says after this does not decide
_MAX_CHARACTERS = 4000

_TOKEN = re.compile(r"[0-9]+(?:\.[0-9]+)?|[^\W_]+(?:['-][^\W_]+)*|[.,;:!?\n]")
_SENTENCE_END = frozenset(".;:!?\n")
_PUNCTUATION = _SENTENCE_END | {","}


@dataclass(frozen=True)
class InstructionReading:
    """What the words of an instruction ask for.

    Attributes:
        mode: ``Mode.OBJECT`` or ``Mode.FREE_SPACE``.
        reason: which words decided it, or that the caller asked for it.
        two_steps: the instruction holds two actions; the mode is that of the first.
    """

    mode: Mode
    reason: str
    two_steps: bool = False


def resolve_mode(instruction: str) -> tuple[Mode, str]:
    """Whether an instruction asks for a thing or for a free spot, and which words decided it."""
    reading = read_instruction(instruction)
    return reading.mode, reading.reason


def read_instruction(instruction: str, asked: Mode = Mode.AUTO) -> InstructionReading:
    """Read the mode of an instruction.

    Args:
        instruction: the user's words; any text, in linear time.
        asked: a mode that was asked for stands, whatever the words say; ``AUTO`` lets them decide.
    """
    tokens = _tokens(instruction)
    commands = _commands(tokens)
    if asked != Mode.AUTO:
        return InstructionReading(
            Mode(asked), "the caller asked for it", _has_two_steps(tokens, commands)
        )
    found = _first_answer(tokens, commands)
    mode = Mode.FREE_SPACE if found.is_place else Mode.OBJECT
    return InstructionReading(mode, found.reason, _has_two_steps(tokens, commands))


# --- words -----------------------------------------------------------------------------


def _tokens(text: str) -> Words:
    """Lower-case words and marks; hyphens and contractions undone where they hide a word."""
    plain = unicodedata.normalize("NFKC", text[:_MAX_CHARACTERS]).lower()
    plain = plain.translate({0x2019: "'", 0x2018: "'", 0x2010: "-", 0x2011: "-"})
    tokens: list[str] = []
    for token in _TOKEN.findall(plain):
        if token in words.CONTRACTIONS:
            tokens += words.CONTRACTIONS[token].split()
        elif "-" in token and _hides_words(token.split("-")):
            tokens += token.split("-")
        else:
            tokens.append(token.removesuffix("'s"))
    found = tuple(tokens)
    for index in range(len(found)):
        if matching(words.FORMAT_REQUEST, found, index):
            return found[:index]
    return found


def _hides_words(parts: Sequence[str]) -> bool:
    """Whether "free-space", "pick-up" or "pick-and-place" is meant as separate words."""
    if parts[-1].removesuffix("s") in words.ROOM:
        return True
    verbs = words.TAKE | words.PLACE
    return parts[0] in verbs and (parts[-1] in ("up", "down") or parts[-1] in verbs)


# --- requests --------------------------------------------------------------------------


@dataclass(frozen=True)
class _Command:
    """A request.

    Attributes:
        kind: "look", "take", "place" or "where" (a question that asks for a place).
        start: Index of the verb or question word.
        end: Index behind its words.
    """

    kind: str
    start: int
    end: int


@dataclass(frozen=True)
class _Found:
    is_place: bool
    reason: str


def _commands(tokens: Words) -> list[_Command]:
    """The requests, in the order of the text."""
    starts: list[tuple[int, int, str]] = []
    for boundary, clause in _clause_starts(tokens):
        kind = _kind_at(tokens, clause)
        if kind and not (starts and starts[-1][1] == clause):
            starts.append((boundary, clause, kind))
    commands = []
    for index, (_, start, kind) in enumerate(starts):
        limit = starts[index + 1][0] if index + 1 < len(starts) else len(tokens)
        end = next((i for i in range(start, limit) if tokens[i] in _SENTENCE_END), limit)
        commands.append(_Command(kind, start, end))
    return commands


def _clause_starts(tokens: Words) -> Iterator[tuple[int, int]]:
    """Where clauses may begin: before and after the words that lead in."""
    for index in range(len(tokens)):
        is_start = index == 0 or tokens[index - 1] in _PUNCTUATION
        is_joined = tokens[index] in ("and", "then", "but", "before", "so") and not is_start
        if is_start or is_joined:
            start = index + 1 if is_joined else index
            yield index, _after_lead_in(tokens, start)


def _after_lead_in(tokens: Words, index: int) -> int:
    """Past "please", "could you", "robot," and the like."""
    while index < len(tokens):
        if tokens[index] == "," or tokens[index] == "\n":
            index += 1
            continue
        if starts_with(tokens, index, ("next",)) and not starts_with(tokens, index, ("next", "to")):
            following = tokens[index + 1 : index + 2]
            if not following or following[0] == "," or _verb(tokens, index + 1):
                index += 1
                continue
        length = matching(words.LEAD_IN, tokens, index)
        if not length:
            break
        index += length
    return index


def _kind_at(tokens: Words, index: int) -> str:
    """Of the request that begins here; "" for none."""
    if index >= len(tokens) or any(starts_with(tokens, index, n) for n in words.NEGATION):
        return ""
    token = tokens[index]
    if token == "where":
        # ", where each tuple ..." is no question; ", where can I ..." is
        begins = index == 0 or tokens[index - 1] in _SENTENCE_END or "," not in tokens[:index]
        asks = tokens[index + 1 : index + 2]
        inverted = bool(asks) and asks[0] in words.AUXILIARY | words.BE | {"to"}
        return "where" if begins or inverted else ""
    return _verb(tokens, index)


def _verb(tokens: Words, index: int) -> str:
    """The kind of an imperative at a place; "" where the word is no verb there."""
    if index >= len(tokens):
        return ""
    token = _base(tokens[index])
    following = tokens[index + 1] if index + 1 < len(tokens) else ""
    if following in words.NOUN_AFTER.get(token, ()):
        return ""
    if token in words.MOVE and following in ("to", "toward", "towards"):
        return "look"  # "move to the free space"
    kinds = (("place", words.PLACE), ("take", words.TAKE), ("look", words.LOOK))
    kind = next((name for name, verbs in kinds if token in verbs), "")
    if not kind:
        return ""
    if token in words.WEAK:
        leads = words.DETERMINER | words.PRONOUN | words.PARTICLE | words.SOMEWHERE
        is_place = kind == "place" and matching(words.WHERE, tokens, index + 1) > 0
        if following not in leads and not is_place:
            return ""
    return kind


def _base(token: str) -> str:
    """The imperative of "putting", "placing", "picking" (as in "would you mind putting")."""
    if not token.endswith("ing") or len(token) < 6:
        return token
    stem = token[:-3]
    for base in (stem, stem + "e", stem[:-1]):
        if base in words.PLACE or base in words.TAKE or base in ("point", "find", "locate"):
            return base
    return token


# --- what is asked for -----------------------------------------------------------------


def _first_answer(tokens: Words, commands: Sequence[_Command]) -> _Found:
    for index, command in enumerate(commands):
        verb = _base(tokens[command.start])
        is_last = index + 1 == len(commands)
        if verb in words.LOOK_AROUND and not is_last:
            continue  # "look at the table and find ..."
        found = _answer(tokens, command)
        if found is not None:
            return _with_spot_before(tokens, command, found)
    return _without_verb(tokens)


def _answer(tokens: Words, command: _Command) -> _Found | None:
    if command.kind == "place":
        return _placing(tokens, command)
    if command.kind == "where":
        return _noun(tokens, command.start, command.end)
    verb = _base(tokens[command.start])
    index = command.start + 1
    while index < command.end and tokens[index] in (
        words.PARTICLE | words.AFTER_LOOK
        if command.kind == "look"
        else words.PARTICLE | {"me", "us"}
    ):
        if command.kind == "look" and matching(words.WHERE, tokens, index) > 1:
            break  # "point in front of the mug", "point to the left of the mug"
        index += 1
    found = _noun(tokens, index, command.end)
    if found is None:
        return _Found(False, f'"{verb}"') if command.kind == "take" else None
    if command.kind == "take":
        is_choice = found.is_place and verb in words.CHOOSE
        return found if is_choice else _Found(False, f'"{verb}" takes a thing')
    return found


def _noun(tokens: Words, start: int, end: int) -> _Found | None:
    """What a noun phrase names; None where there is none."""
    phrase = NounPhrase.at(tokens, start, end)
    return None if phrase is None else _Found(phrase.is_place, phrase.reason)


def _with_spot_before(tokens: Words, command: _Command, found: _Found) -> _Found:
    """ "Next to the plate, put the mug" and "the mug, pick it up": what stands before counts."""
    before = tokens[: command.start]
    if found.is_place or "," not in before:
        return found
    lead = NounPhrase.at(before, _after_lead_in(before, 0), before.index(","))
    if lead is None or not lead.is_place:
        return found
    object_word = tokens[command.start + 1 : command.start + 4]
    if command.kind == "place" and lead.is_bare_place:
        return _Found(True, lead.reason)
    if command.kind == "look" and any(w in ("it", "that") for w in object_word):
        return _Found(True, lead.reason)
    return found


def _without_verb(tokens: Words) -> _Found:
    """A noun phrase, a place ("next to the plate"), or a statement."""
    bare: _Found | None = None
    for boundary, start in _clause_starts(tokens):
        if boundary and tokens[boundary - 1] not in _PUNCTUATION:
            continue  # "between the mug and the bowl"
        if start >= len(tokens) or any(starts_with(tokens, start, n) for n in words.NEGATION):
            continue
        limit = range(start, len(tokens))
        end = next((i for i in limit if tokens[i] in _PUNCTUATION), len(tokens))
        phrase = NounPhrase.at(tokens, start, end)
        if phrase is None:
            continue
        found = _Found(phrase.is_place, phrase.reason)
        if not phrase.is_bare_place:
            return found
        bare = bare or found
    return bare or _Found(False, "no word of placing and no free spot is named")


def _placing(tokens: Words, command: _Command) -> _Found:
    """ "Put ..." asks for a spot if it says where to, else for the thing."""
    verb = _base(tokens[command.start])
    place = _destination(tokens, command)
    if place:
        return _Found(True, f'"{verb} ... {place}" names where to place')
    return _Found(False, f'"{verb}" names a thing and no place for it')


def _destination(tokens: Words, command: _Command) -> str:
    """The words that say where to place; "" for none."""
    start, end = command.start + 1, command.end
    verb = _base(tokens[command.start])
    clause = [t for t in tokens[start:end] if t not in _PUNCTUATION]
    while clause and clause[-1] in ("please", "now", "thanks", "again", "carefully", "gently"):
        clause.pop()
    last = clause[-1] if clause else ""
    far = len(clause) > 1 and clause[-2] in ("far", "farthest", "furthest", "further", "right")
    if last in ("away", "aside", "together", "off") and not far:
        return ""
    first = clause[0] if clause else ""
    if first in ("away", "aside", "together") and clause[1:2] != ["from"]:
        return ""
    moves = verb in words.MOVE
    if first in words.PRONOUN and not moves and not (len(clause) > 1 and first in words.DETERMINER):
        return first  # "place it": held, so only a spot can be meant
    if first in ("this", "that", "these", "those") and len(clause) == 1 and not moves:
        return first
    return _place_after(tokens, start, end, moves)


def _place_after(tokens: Words, start: int, end: int, moves: bool) -> str:
    """The first words of place that belong to the verb, not to a clause about the thing."""
    inner = 0  # places that a relative clause still takes
    index = start
    while index < end:
        token = tokens[index]
        length = matching(words.WHERE, tokens, index)
        if token in words.RELATIVE and index > start and tokens[index - 1] != "so":
            inner = 1 if _is_about_place(tokens, index, end) else 0
        elif not length and _describes(tokens, index, start):
            inner = 1
        elif token in words.SOMEWHERE or (token in ("down", "back") and not moves):
            if not inner or token == "down":
                return token
        elif token == "where" and not inner:
            return token
        elif length and index + length < end:
            phrase = tokens[index : index + length]
            if inner:
                inner -= 1
            elif not (moves and _is_direction(tokens, index, length, end)):
                return " ".join(phrase)
            index += length - 1
        index += 1
    return ""


def _describes(tokens: Words, index: int, start: int) -> bool:
    """ "(the mug) standing ...", not "(so that it) stands ..."."""
    before = tokens[index - 1]
    described = index > start and before not in words.PRONOUN | words.DETERMINER | words.BE
    return described and tokens[index] in words.LOCATED - words.FREE


def _is_about_place(tokens: Words, index: int, end: int) -> bool:
    """Whether a relative clause says where its thing is ("that stands in front of ...")."""
    clause = tokens[index + 1 : min(index + 4, end)]
    if any(token.endswith("ing") and token not in words.LOCATIVE_VERB for token in clause):
        return False  # "that you are holding"
    return any(token in words.LOCATIVE_VERB for token in clause)


def _is_direction(tokens: Words, index: int, length: int, end: int) -> bool:
    """ "To the left", "to me", "away from the edge": a way to move, no spot."""
    phrase = tokens[index : index + length]
    rest = tuple(t for t in tokens[index + length : end] if t not in ("the", "a", "my", "your"))
    directions = {"left", "right", "front", "back", "side", "me", "us", "top", "you"}
    return phrase == ("away", "from") or (len(rest) == 1 and rest[0] in directions)


# --- two steps -------------------------------------------------------------------------


def _has_two_steps(tokens: Words, commands: Sequence[_Command]) -> bool:
    """Whether a second action follows that needs another point than the first request."""
    acts = [c for c in commands if _base(tokens[c.start]) not in words.LOOK_AROUND]
    if not acts:
        return False
    first, later = acts[0], [c for c in acts[1:] if c.kind in ("take", "place")]
    if first.kind == "take" and _carries_on(tokens, first):
        return True
    answer = _answer(tokens, first)
    for command in later:
        other = _answer(tokens, command)
        differs = answer is None or other is None or answer.is_place != other.is_place
        if first.kind in ("look", "where"):
            following = tokens[command.start + 1 : command.end]
            there = any(w in ("there", "it") for w in following)
            if differs and not (answer is not None and answer.is_place and there):
                return True
        elif differs or not _names_the_same(tokens, command):
            return True
    return False


def _names_the_same(tokens: Words, command: _Command) -> bool:
    """Whether an action is about what was named before: "... and lift it"."""
    following = [t for t in tokens[command.start + 1 : command.end] if t not in words.PARTICLE]
    return not following or following[0] in ("it", "them", "this", "that", "carefully", "gently")


def _carries_on(tokens: Words, command: _Command) -> bool:
    """ "Take the mug to the sink", "grab it so that you can put it down"."""
    verb = _base(tokens[command.start])
    for index in range(command.start + 1, command.end):
        token, following = tokens[index], tokens[index + 1 : index + 3]
        before = tokens[index - 1]
        is_verb = before in ("to", "can", "could", "and", "you") or token.endswith("ing")
        if is_verb and _base(token) in words.PLACE and any(w in words.PRONOUN for w in following):
            return True
        goes_to = token in ("into", "onto", "to") and matching(words.WHERE, tokens, index) == 1
        starts = goes_to and not matching(words.WHERE, tokens, index - 1) > 1
        if verb in words.CARRY and starts and following:
            return not _is_direction(tokens, index, 1, command.end)
    return False
