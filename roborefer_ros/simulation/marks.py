# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Marks at the ends of names inside a sentence that is still being worded.

A mark is one character of Unicode's private use area, so that words may be exchanged around it.
"""

from __future__ import annotations

_FIRST, _LAST = 0xE000, 0xF8FF


def mark(number: int) -> str:
    """The mark of name ``number``."""
    return chr(_FIRST + number)


def taken_out(text: str) -> tuple[str, list[tuple[int, int]]]:
    """The text without its marks, and of each mark its number and its place in that text."""
    plain: list[str] = []
    places: list[tuple[int, int]] = []
    for character in text:
        if _FIRST <= ord(character) <= _LAST:
            places.append((ord(character) - _FIRST, len(plain)))
        else:
            plain.append(character)
    return "".join(plain), places
