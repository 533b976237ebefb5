# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Whether an answer without a point says that the thing is not there."""

from __future__ import annotations

import re

#: the whole answer, marks and code fences aside
_EMPTY = re.compile(
    r'\[\s*(?:none|null|\[\s*\])?\s*\]|\(\s*\)|\{\s*\}|\{?\s*"(?:points?|point_2d|bbox_2d|box_2d|'
    r'objects)"\s*:\s*(?:\[\s*\]|null|"none")\s*\}?|none|null|nil|n/?a|nothing|no|absent|'
    r"no (?:points?|match(?:es)?|answer|results?|objects?|such (?:object|thing))|nothing found|"
    r"not (?:found|visible|present|there|shown|in (?:the|this) (?:image|picture|scene|photo|view))",
    re.IGNORECASE,
)
_SEES = "see|find|locate|identify|detect|spot|point"
_PLACE = r"(?:image|picture|scene|photo(?:graph)?|view|frame)"
_SAYS = re.compile(
    r"\bthere (?:is|are|was|were|'s) (?:no|none|not any|nothing)\b"
    r"(?! (?:doubt|question|need|problem))"
    r"|\bthere (?:isn't|aren't|is not|are not) (?:any|an?|such)\b"
    rf"|\b(?:can ?not|can't|could not|couldn't|do not|don't|did not|unable to|not able to) "
    rf"(?:{_SEES})\b"
    r"|\b(?:is|are|was|were) (?:not|nowhere) (?:present|visible|shown|there|depicted|found|"
    rf"to be (?:seen|found)|in (?:the|this) {_PLACE})\b"
    r"|\b(?:isn't|aren't) (?:present|visible|shown|there|depicted|in (?:the|this))\b"
    rf"|\b{_PLACE} (?:does not|doesn't|do not) (?:contain|show|have|include|depict)\b"
    rf"|\bnot (?:present|visible|shown|found|seen) in (?:the|this) {_PLACE}\b"
    rf"|\bno [a-z][a-z -]{{0,60}} (?:in|on) (?:the|this) {_PLACE}\b"
    r"|\bnone of (?:the|these|them)\b.{0,60}\b(?:match|fit|is|are)\b"
    r"|\bno such (?:object|thing|item)\b|\bdoes not (?:appear|exist)\b",
    re.IGNORECASE,
)
_AROUND = re.compile(r"```(?:json)?|</?answer>|[\s.!`\"']+\Z|\A[\s`\"']+", re.IGNORECASE)

#: longer answers talk about something else
_MAX_CHARACTERS = 400


def says_nothing(answer: str) -> bool:
    """Whether an answer, thoughts removed, says in words or in its format that nothing is there."""
    text = answer.strip()
    if not text or len(text) > _MAX_CHARACTERS:
        return False
    bare = _AROUND.sub("", _AROUND.sub("", text)).strip()
    return bool(_EMPTY.fullmatch(bare) or _SAYS.search(text.replace("\u2019", "'")))
