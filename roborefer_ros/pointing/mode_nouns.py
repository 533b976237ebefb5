# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Whether a noun phrase names a thing or a spot: its head noun, and what is said about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from roborefer_ros.pointing import mode_words as words

#: an instruction as lower-case words and marks
Words = tuple[str, ...]


def starts_with(tokens: Words, index: int, phrase: Sequence[str]) -> bool:
    """Whether a phrase stands at a place."""
    return tokens[index : index + len(phrase)] == tuple(phrase)


def matching(phrases: Sequence[Sequence[str]], tokens: Words, index: int) -> int:
    """Length of the first of some phrases that stands at a place; 0 for none."""
    return next((len(p) for p in phrases if starts_with(tokens, index, p)), 0)


@dataclass(frozen=True)
class NounPhrase:
    """What some words name.

    Attributes:
        is_place: a spot, not a thing.
        reason: which words say so.
        is_bare_place: only a place is named, as in "next to the plate".
    """

    is_place: bool
    reason: str
    is_bare_place: bool = False

    @classmethod
    def at(cls, tokens: Words, start: int, end: int) -> NounPhrase | None:
        """The noun phrase between two places of a text; None where there is no word."""
        return _read(tokens, start, end, 0)


#: "a point in the middle of the part of ...": deeper ones are not followed
_MAX_DEPTH = 20


def _read(tokens: Words, start: int, end: int, depth: int) -> NounPhrase | None:
    index, wh = _skip_determiners(tokens, start, end)
    if index >= end or depth > _MAX_DEPTH:
        return None
    token = tokens[index]
    if token == "where":
        return _where(tokens, index, end, depth)
    if token in words.SOMEWHERE:
        return NounPhrase(True, f'"{token}"', is_bare_place=True)
    index = _skip_distance(tokens, index, end)
    token = tokens[index]
    length = matching(words.WHERE, tokens, index)
    is_side = token in ("left", "right", "middle", "center", "centre")
    if is_side and tokens[index + 1 : index + 2] == ("of",):
        length = 2 if token in ("left", "right") else 0
    if length and tokens[index : index + length] not in words.VAGUE and index + length < end:
        if index > start and tokens[index - 1] in words.PRONOUN:  # "the one on the left"
            return NounPhrase(False, f'"{tokens[index - 1]}" is a thing')
        if wh:  # "what is next to the plate"
            return NounPhrase(False, f'"{wh}" asks for a thing')
        return NounPhrase(True, f'"{" ".join(tokens[index : index + length])}" is a place', True)
    stop = _end_of_noun(tokens, index, end)
    noun = [t for t in tokens[index:stop] if t not in words.DETERMINER]
    while len(noun) > 1 and (noun[-1].isdigit() or len(noun[-1]) == 1):
        noun.pop()
    if not noun:
        return None
    return _judge(tokens, noun, stop, end, depth)


def _skip_determiners(tokens: Words, index: int, end: int) -> tuple[int, str]:
    """Past articles, numbers, "one of", "is there"; and the question word, if there is one."""
    asked = ""
    while index < end:
        token, following = tokens[index], tokens[index + 1 : index + 2]
        if token in ("which", "what", "who"):
            asked = token
        elif token == "there":
            goes_on = following and following[0] in words.BE | words.DETERMINER | {"enough", "room"}
            if not goes_on and not (index and tokens[index - 1] in words.BE):
                break
        elif token == "of":
            if index and tokens[index - 1] not in words.DETERMINER:
                break
        elif asked and token in words.MODAL:
            pass
        elif token not in words.DETERMINER | words.BE | {"couple", "pair", "does", "do"}:
            break
        index += 1
    return index, asked


def _skip_distance(tokens: Words, index: int, end: int) -> int:
    """Past "just", "a bit", "5 cm" and the like, if a place follows."""
    last = index
    while last < min(index + 3, end - 1) and tokens[last] in words.DISTANCE:
        last += 1
    return last if matching(words.WHERE, tokens, last) else index


def _end_of_noun(tokens: Words, start: int, end: int) -> int:
    """Where what follows only describes the noun."""
    for index in range(start, end):
        token, has_noun = tokens[index], index > start
        following = tokens[index + 1 : index + 2]
        if not token[0].isalnum() or token in words.RELATIVE or token in words.OTHER_PREPOSITION:
            return index
        if has_noun and (token in words.END_OF_NOUN or matching(words.WHERE, tokens, index)):
            return index
        before = tokens[index - 1]
        is_adjective = before in words.FREE or before in words.APPEARANCE
        if has_noun and token in words.LOCATED and not is_adjective:
            ends = token not in words.FREE | {"big", "large", "wide"}
            if ends or before.removesuffix("s") in words.ROOM | words.PART:
                return index
        if has_noun and token in ("left", "right") and (following == ("of",) or not following):
            return index
    return end


def _singular(noun: str) -> str:
    return noun.removesuffix("s") if noun.removesuffix("s") in words.ROOM | words.PART else noun


def _judge(tokens: Words, noun: list[str], stop: int, end: int, depth: int) -> NounPhrase:
    """From the noun with its adjectives, and what follows."""
    head, before = _singular(noun[-1]), noun[:-1]
    if head in words.FREE and before:  # "the area free of objects"
        head, before = _singular(before[-1]), [*before[:-1], head]
    rest = tokens[stop:end]
    named = " ".join(noun)
    is_free = any(w in words.FREE for w in before) or _ends_free(rest)
    spot, thing = (
        NounPhrase(True, f'"{named}" is a spot'),
        NounPhrase(False, f'"{named}" is a thing'),
    )
    if head not in words.ROOM | words.PART:
        goes = _goes_somewhere(rest)
        return NounPhrase(True, f'"{goes}" asks for a place') if goes else thing
    if _is_taken(before, rest):
        return thing
    if is_free:
        return spot
    if any(w in words.APPEARANCE for w in before):
        return thing
    inner = _inside(tokens, head, stop, end, depth)
    if inner is not None:
        return inner if inner.is_place else thing
    if head in words.ROOM:
        return spot
    if head in words.POINT and _is_relation(tokens, stop, end):
        return spot
    return thing


def _inside(tokens: Words, head: str, stop: int, end: int, depth: int) -> NounPhrase | None:
    """What decides about a part or room from what it belongs to; None where nothing does."""
    rest = tokens[stop:end]
    if not rest:
        return None
    if rest[0] == "where":
        return _where(tokens, stop, end, depth + 1)
    if rest[0] in ("with", "that", "which"):
        wants = words.NOTHING | {
            "enough",
            "most",
            "least",
            "room",
            "fewest",
            "can",
            "could",
            "fits",
        }
        if any(w in wants for w in rest[1:8]):
            return NounPhrase(True, "it is free")
        return NounPhrase(False, "") if rest[0] == "with" else None
    length = matching(words.WHERE, tokens, stop)
    within = length and tokens[stop : stop + length] in words.ON
    if rest[0] == "of":
        return _part_of(tokens, head, stop + 1, end, depth)
    if within and head in words.PART | words.POINT:
        inner = _part_of(tokens, head, stop + length, end, depth)
        return inner if head in words.PART or (inner and inner.is_place) else None
    return None


def _part_of(tokens: Words, head: str, start: int, end: int, depth: int) -> NounPhrase | None:
    inner = _read(tokens, start, end, depth + 1)
    if inner is None or inner.is_place:
        return inner
    index, _ = _skip_determiners(tokens, start, end)
    stop = _end_of_noun(tokens, index, end)
    is_surface = stop > index and _bare(tokens[stop - 1]) in words.SURFACE
    if is_surface and (head in words.ROOM or _is_relation(tokens, stop, end)):
        return NounPhrase(True, f'a {head} of "{tokens[stop - 1]}"')
    return inner


def _bare(noun: str) -> str:
    return noun if noun in words.SURFACE else noun.removesuffix("s")


def _is_relation(tokens: Words, index: int, end: int) -> bool:
    """Whether "between ...", "left of ..." and the like follow, not "on ..."."""
    while index < end and tokens[index] in words.LOCATED | words.RELATIVE | words.BE:
        index += 1
    length = matching(words.WHERE, tokens, index)
    phrase = tokens[index : index + length]
    return bool(length) and phrase not in words.ON and phrase not in words.VAGUE


def _ends_free(rest: Words) -> bool:
    """ "... that is free", "... is not occupied", "... free of objects"."""
    if not rest:
        return False
    for index, token in enumerate(rest):
        if token == "without" or (
            token == "with" and rest[index + 1 : index + 2] in (("no",), ("nothing",))
        ):
            return True
        negated = index > 0 and rest[index - 1] in ("not", "least")
        if token in ("occupied", "taken", "used", "covered", "cluttered", "blocked") and negated:
            return True
        is_last = index + 1 == len(rest) or rest[index + 1] in (
            "of",
            "from",
            "right",
            "now",
            "enough",
        )
        leads = index == 0 or rest[index - 1] in words.BE | {
            "still",
            "completely",
            "currently",
            "looks",
        }
        if token in words.FREE and is_last and leads:
            return True
    return False


def _is_taken(before: Sequence[str], rest: Words) -> bool:
    """ "The occupied spot", "the space taken up by the mug"."""
    for index, token in enumerate(before):
        if token in words.TAKEN and not (index and before[index - 1] in ("not", "least", "un")):
            return True
    for index, token in enumerate(rest[:4]):
        negated = index > 0 and rest[index - 1] in ("not", "least", "being")
        if token in words.TAKEN and not negated:
            return True
    return False


def _goes_somewhere(rest: Words) -> str:
    """ "(the mug) should go on the tray", "belongs next to the bowl": the words, or ""."""
    for index, token in enumerate(rest):
        if token in words.RELATIVE or token == "where":
            return ""
        following = [t for t in rest[index + 1 : index + 4] if t not in ("also", "not", "to")]
        if token in ("goes", "belongs", "fits", "belong", "fit", "go"):
            return token
        is_modal = token in words.MODAL or token in (
            "needs",
            "need",
            "has",
            "have",
            "to",
            "is",
            "are",
        )
        if is_modal and following:
            verb = following[1] if following[0] == "be" and len(following) > 1 else following[0]
            weak = token in ("is", "are", "to", "has", "have")
            if verb in words.GO or (following[0] == "be" and verb in words.PLACED):
                return f"{token} {' '.join(following[: following.index(verb) + 1])}"
            if not weak and verb in words.STAY:
                return f"{token} {verb}"
        if token in ("has", "have") and any(
            _singular(t) in ("room", "space", "spot") for t in following
        ):
            return f"{token} room"
    return ""


def _where(tokens: Words, start: int, end: int, depth: int) -> NounPhrase:
    """ "Where can I put it" asks for a spot, "where is the mug" for a thing."""
    rest = tokens[start + 1 : end]
    place = NounPhrase(True, f'"{" ".join(tokens[start : min(end, start + 6)])}" asks for a place')
    modal, first = False, rest[0] if rest else ""
    if first == "to" and len(rest) > 1 and rest[1] in words.PLACE | words.GO:
        return place
    if not rest:
        return place
    for index, token in enumerate(rest):
        if token in words.RELATIVE and index:
            break
        following = rest[index + 1 : index + 2]
        if token in ("nothing", "no", "none", "goes", "fits", "belongs"):
            return place
        if token in words.AUXILIARY or (token == "to" and following):
            modal = True
        strong = modal and token in (words.PLACE | words.PLACED | words.GO) - words.STAY
        if strong and first not in words.PAST and _is_verb_of(rest, index):
            return place
        stays = token in words.STAY and any(w in words.MODAL for w in rest[:index])
        if modal and stays and not (token == "be" and following and following[0] not in ("",)):
            return place
        if token in ("find", "see", "grasp", "pick", "get", "grab") and modal:
            inner = _read(tokens, start + 2 + index, end, depth + 1)
            return inner or NounPhrase(False, f'"{token}"')
    if rest[-1] in words.FREE and not any(w in words.RELATIVE for w in rest):
        return place
    skip = 1 if first in words.BE | words.AUXILIARY | words.PAST else 0
    if first == "on" or (skip == 0 and matching(words.WHERE, tokens, start + 1)):
        later = [i for i, t in enumerate(rest) if t in words.BE | words.AUXILIARY]
        skip = later[0] + 1 if later else 0
    inner = _read(tokens, start + 1 + skip, end, depth + 1)
    if inner is None or not inner.is_place or inner.is_bare_place:
        return NounPhrase(False, '"where" asks for a thing')
    return inner


def _is_verb_of(rest: Words, index: int) -> bool:
    """Whether a word of placing is the verb: not after an article."""
    return index > 0 and rest[index - 1] not in words.DETERMINER - {
        "this",
        "that",
        "these",
        "those",
    }
