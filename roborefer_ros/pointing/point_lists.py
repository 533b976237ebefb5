# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Which of the points in a model's text are its answer: lists, enumerations, explanations."""

from __future__ import annotations

import re
from collections.abc import Sequence

#: what stands between two points of one list is not longer
_MAX_GAP = 200

#: marks between two points, on one line or several: commas, bullets, "2.", "b)", "and", "mug:"
_MARKS = re.compile(
    r"(?:[\s,;&|/*\u2022\u00b7\u25cf\u25e6\u2013\u2014-]|\b(?:and|or|then)\b|\(?[0-9]{1,3}[.):]"
    r"|\(?\b[a-z][.):]"
    r"|\b(?:point|spot|no|p)\.?[ #]{0,2}[0-9]{0,3}[:.)=]?)*",
    re.IGNORECASE,
)
_LABEL = re.compile(r"[\"'*`]{0,2}[^\W\d_][^\n.:;()\[\]{}]{0,60}[:=]\s{0,4}[\"'*`]{0,2}\s{0,4}\Z")
_NEW_ITEM = re.compile(r"\s*(?:[0-9]{1,3}[.):]|[a-z][.)]|[-*\u2022\u00b7\u25cf])\s", re.IGNORECASE)

#: a sentence about the coordinates, not about the scene
_EXPLAINS = re.compile(
    r"corner|top[- ]left|bottom[- ]right|top[- ]right|bottom[- ]left|upper[- ]left|lower[- ]right"
    r"|\baxis\b|\baxes\b|\borigin\b|\brange|\bcoordinate system|\bx1\b|\brepresents?\b"
    r"|\bcorresponds?\b|\bdenotes?\b|\bexample\b|\be\.g\b|cent(?:er|re) of the (?:image|picture)",
    re.IGNORECASE,
)
_DIGITS = re.compile(r"[0-9.]+")
_CORNERS = {"0.0", "1.0", "0", "1", "0.", "1.", "0.00", "1.00", "0.000", "1.000", "1000", "100"}
#: how far a sentence is looked at around a point
_REACH = 160

Group = list[re.Match[str]]


def answer_list(pattern: re.Pattern[str], text: str) -> Group:
    """The points that are the answer.

    Points belong together if nothing but marks of a list stands between them.  The last list in
    brackets counts, else the last one that no sentence about the coordinates holds.  A corner of
    the picture in a sentence that explains the axes is never an answer.
    """
    groups: list[Group] = []
    for match in pattern.finditer(text):
        if groups and _continues(text, groups[-1][-1].end(), match.start()):
            groups[-1].append(match)
        else:
            groups.append([match])
    bracketed = [g for g in groups if _has_brackets(text, g)]
    if bracketed:
        return bracketed[-1]
    explained = [_is_explained(text, g) for g in groups]
    meant = [g for g, aside in zip(groups, explained, strict=True) if not aside]
    if meant:
        return meant[-1]
    plain = [g for g in groups if not _is_corner(g)]
    return plain[-1] if plain else []


def _continues(text: str, start: int, end: int) -> bool:
    if end - start > _MAX_GAP:
        return False
    gap = text[start:end]
    if _MARKS.fullmatch(gap):
        return True
    line_start = max(gap.rfind("\n"), gap.rfind(","), gap.rfind(";"))
    item = gap[line_start + 1 :]
    marks = _MARKS.match(item)
    rest = item[marks.end() :] if marks else item
    if rest and not _LABEL.fullmatch(rest):
        return False
    before = gap[: line_start + 1]
    if _MARKS.fullmatch(before):
        return bool(rest) or line_start >= 0
    # "1. (0.2, 0.3) - the left mug\n2. (0.4, 0.5)"
    return "\n" in before and bool(_NEW_ITEM.match(item)) and before.count("\n") <= 2


def _has_brackets(text: str, group: Sequence[re.Match[str]]) -> bool:
    """Whether "[" stands before the points; a cut answer lacks its "]"."""
    return text[max(0, group[0].start() - 8) : group[0].start()].rstrip().endswith("[")


def _is_corner(group: Sequence[re.Match[str]]) -> bool:
    """Whether all points are corners of the picture, exactly."""
    return all(set(_DIGITS.findall(m.group())) <= _CORNERS for m in group)


def _is_explained(text: str, group: Sequence[re.Match[str]]) -> bool:
    """Whether the sentence around the points is about the coordinates."""
    start, end = group[0].start(), group[-1].end()
    before = re.split(r"[.!?]\s|\n", text[max(0, start - _REACH) : start])[-1]
    after = re.split(r"[.!?](?:\s|\Z)|\n", text[end : end + _REACH])[0]
    words = before + " " + after
    return bool(_EXPLAINS.search(words))
