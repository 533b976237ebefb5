# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Which of the points in a model's text are its answer: lists, enumerations, explanations."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

#: what stands between two points of one list is not longer
_MAX_GAP = 200

#: numbers of items: "2.", "b)", "(iii)", "1st", "#2", "[2]", circled digits
_NUMBERING = (
    r"\(?[0-9]{1,3}(?:st|nd|rd|th)?[.):]|[0-9]{1,3}(?:st|nd|rd|th)\b|\(?\b[a-z][.):]"
    r"|\(?\b[ivx]{1,5}[.):]|#[0-9]{1,3}\b|\[[0-9]{1,3}\]|[\u2460-\u2473]"
)

#: marks between two points, on one line or several: commas, bullets, "and", "point 2:", cells
_MARKS = re.compile(
    r"(?:[\s,;&|/*`+\u2022\u00b7\u25cf\u25e6\u2013\u2014\u3001\uff0c\uff1b\u2192-]|[-=]>"
    r"|\b(?:and|or|then|at|und|et|y)\b|[\u548c\u4e0e]|<br ?/?>"
    rf"|{_NUMBERING}|\|\s{{0,4}}[0-9]{{1,3}}(?=\s{{0,4}}\|)"
    r"|\b(?:point|spot|no|p)\.?[ #]{0,2}(?:[0-9]{0,3}|[a-z]\b)[:.)=]?)*",
    re.IGNORECASE,
)
_LABEL = re.compile(
    r"[\"'*`]{0,2}[^\W\d_][^\n.:;()\[\]{}]{0,60}(?:[:=]|[-=]>|\u2192|\s[\u2013\u2014-]|\bat\b)"
    r"\s{0,4}[\"'*`]{0,2}\s{0,4}\Z"
)
_NEW_ITEM = re.compile(rf"\s*(?:{_NUMBERING}|[-*+\u2022\u00b7\u25cf])\s", re.IGNORECASE)
#: the cells up to a point in the next row of a table
_ROW = re.compile(r"[^\n()]{0,120}\|[ \t]{0,4}\n[ \t]{0,4}\|[^\n()]{0,120}\|[ \t]{0,4}\Z")

#: words with which a sentence goes on to its next point
_GOES_ON = re.compile(
    r"\b(?:first|second|third|fourth|fifth|sixth|seventh|eighth|ninth|tenth|next|then|after that"
    r"|another|also|finally|lastly|last|others?|and|plus|as well as|followed by|additionally"
    r"|one|two|three|four|[0-9]{1,2}(?:st|nd|rd|th))\b",
    re.IGNORECASE,
)
#: words with which a text turns away from the points that it named
_TURNS = re.compile(
    r"\b(?:but|actually|wait|no|not|instead|rather|however|though|although|correct|corrected"
    r"|correction|final|answer|so|therefore|thus|hence|result|conclusion|conclude|sorry|hmm|maybe"
    r"|perhaps|better|should|must|mean|meant|between|output|points? (?:is|are)"
    r"|from|to|than|near|beside|relative|wrong|mistake|oops|revised?|let me|overall|summary)\b",
    re.IGNORECASE,
)

#: a sentence about the coordinates, not about the scene
_EXPLAINS = re.compile(
    r"\bcorners?\b|\baxis\b|\baxes\b|\borigin\b|\brange|\bcoordinate system|\bcoordinate space"
    r"|\bx1\b|\brepresents?\b|\bcorresponds?\b|\bdenotes?\b|\bexample\b|\be\.g\b"
    r"|cent(?:er|re) of the (?:image|picture|frame)",
    re.IGNORECASE,
)
#: words that, beside a corner of the picture, make a sentence one about the coordinates
_OF_PICTURE = re.compile(
    r"\b(?:top|upper|bottom|lower|left|right)[- ]{0,2}(?:most )?(?:hand )?"
    r"(?:left|right|top|upper|bottom|lower)\b|\bcoordinates?\b|\bnormali[sz]ed\b|\bscaled?\b"
    r"|\bpixels?\b|\bresolution\b|\bsize\b|\bdimensions?\b|\b(?:image|picture|frame|photo)\b"
    r"|\bwidth\b|\bheight\b|\bgrid\b|\bfrom\b|\bextent",
    re.IGNORECASE,
)
_DIGITS = re.compile(r"[0-9]{1,12}(?:\.[0-9]{0,12})?")
#: coordinates of corners in the units of shares, percent and thousandths
CORNERS = frozenset((0.0, 1.0, 100.0, 999.0, 1000.0))
#: how far a sentence is looked at around a point
_REACH = 160

Group = list[re.Match[str]]


def answer_list(pattern: re.Pattern[str], text: str, corners: Collection[float] = CORNERS) -> Group:
    """The points that are the answer.

    Points belong together if nothing but marks of a list stands between them, or words with which
    a sentence goes on to its next point ("first ..., then ...").  The last list in brackets
    counts, else the last one that no sentence about the coordinates holds.  A corner of the
    picture in a sentence that explains the axes is never an answer.

    Args:
        pattern: Finds points; linear in the text.
        text: Without thoughts.
        corners: Coordinates that corners of the picture have, in the units of the points.
    """
    groups: list[Group] = []
    for match in pattern.finditer(text):
        if _is_corner([match], corners) and _is_about_picture(text, match):
            continue
        if groups and _continues(text, groups[-1][-1].end(), match.start()):
            groups[-1].append(match)
        else:
            groups.append([match])
    bracketed = [g for g in groups if _has_brackets(text, g)]
    if bracketed:
        return bracketed[-1]
    explained = [_is_explained(text, g, corners) for g in groups]
    meant: list[Group] = []
    for group, aside in zip(groups, explained, strict=True):
        if aside:
            continue
        if meant and _goes_on(text, meant[-1][-1].end(), group[0].start()):
            meant[-1] += group
        else:
            meant.append(list(group))
    if meant:
        return meant[-1]
    plain = [g for g in groups if not _is_corner(g, corners)]
    return plain[-1] if plain else []


def corners_of(width: float, height: float) -> frozenset[float]:
    """Coordinates of the corners of a picture in pixels, counted to its edge or its last pixel."""
    return frozenset((0.0, width, height, width - 1.0, height - 1.0))


def _continues(text: str, start: int, end: int) -> bool:
    """Whether a list goes on between two points."""
    if end - start > _MAX_GAP:
        return False
    gap = text[start:end]
    if _MARKS.fullmatch(gap) or _ROW.fullmatch(gap):
        return True
    line_start = max(gap.rfind("\n"), gap.rfind(","), gap.rfind(";"))
    item = gap[line_start + 1 :]
    marks = _MARKS.match(item)
    rest = item[marks.end() :] if marks else item
    if rest and not _LABEL.fullmatch(rest) and not _is_numbered(item, rest, gap):
        return False
    before = gap[: line_start + 1]
    if _MARKS.fullmatch(before):
        return bool(rest) or line_start >= 0
    # "1. (0.2, 0.3) - the left mug\n2. (0.4, 0.5)"
    return "\n" in before and bool(_NEW_ITEM.match(item)) and before.count("\n") <= 2


def _is_numbered(item: str, rest: str, gap: str) -> bool:
    """Whether a line such as "2. The middle mug" leads to the next point."""
    numbered = "\n" in gap and _NEW_ITEM.match(item) and item.lstrip()[:1] not in "-*+"
    return bool(numbered and not re.search(r"[.:;!?()\[\]]", rest) and not _TURNS.search(rest))


def _goes_on(text: str, start: int, end: int) -> bool:
    """Whether a sentence, or the next one, goes on to its next point."""
    gap = text[start:end]
    return len(gap) <= _MAX_GAP and bool(_GOES_ON.search(gap)) and not _TURNS.search(gap)


def _has_brackets(text: str, group: Sequence[re.Match[str]]) -> bool:
    """Whether "[" stands before the points; a cut answer lacks its "]"."""
    return text[max(0, group[0].start() - 8) : group[0].start()].rstrip().endswith("[")


def _is_corner(group: Sequence[re.Match[str]], corners: Collection[float]) -> bool:
    """Whether all points are corners of the picture, exactly."""
    return all(float(n) in corners for m in group for n in _DIGITS.findall(m.group()))


def _is_explained(text: str, group: Sequence[re.Match[str]], corners: Collection[float]) -> bool:
    """Whether the sentence around the points is about the coordinates."""
    words = _sentence(text, group[0].start(), group[-1].end())
    if _EXPLAINS.search(words):
        return True
    return _is_corner(group, corners) and bool(_OF_PICTURE.search(words))


def _is_about_picture(text: str, corner: re.Match[str]) -> bool:
    """Whether a corner of the picture stands in a sentence about it, and in no list in brackets."""
    if _has_brackets(text, [corner]):
        return False
    words = _sentence(text, *corner.span())
    return bool(_OF_PICTURE.search(words) or _EXPLAINS.search(words))


def _sentence(text: str, start: int, end: int) -> str:
    """The words of a sentence, or of a line, around a part of it."""
    before = re.split(r"[.!?]\s|\n", text[max(0, start - _REACH) : start])[-1]
    after = re.split(r"[.!?](?:\s|\Z)|\n", text[end : end + _REACH])[0]
    return before + " " + after
