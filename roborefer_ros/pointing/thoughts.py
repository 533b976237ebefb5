# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Where a model's thoughts end and its answer begins: the marks of models that think aloud."""

from __future__ import annotations

import re

_NAMES = "think|thinking|thought|thoughts|reasoning|analysis|reflection|scratchpad|seed:think"
_FINAL = r"<\|channel\|>[ \t\r\n]{0,4}final[^<]{0,80}<\|message\|>"

#: opening mark -> closing mark, of one kind each
_KINDS: tuple[tuple[str, str], ...] = (
    (rf"<(?:{_NAMES})>", rf"</(?:{_NAMES})>"),
    (r"\[think(?:ing)?\]", r"\[/think(?:ing)?\]"),
    ("\u25c1think\u25b7", "\u25c1/think\u25b7"),
    (
        r"<\|(?:begin_of_thought|start_thinking|think|thinking)\|>",
        r"<\|(?:end_of_thought|end_thinking|/think|/thinking)\|>",
    ),
    (
        r"<\|channel\|>[ \t\r\n]{0,4}(?:analysis|commentary)[^<]{0,80}<\|message\|>",
        rf"{_FINAL}|<\|end\|>",
    ),
    (r"<\|channel>[ \t\r\n]{0,4}thought", r"<channel\|>"),
    (r"\Aanalysis(?=[A-Z])", r"assistantfinal"),  # a channel's marks, special tokens removed
)
_OPEN = re.compile("|".join(f"({o})" for o, _ in _KINDS), re.IGNORECASE)
_CLOSE = tuple(re.compile(close, re.IGNORECASE) for _, close in _KINDS)
#: closing marks that are none without their opening one are left out
_ORPHAN = re.compile("|".join(close for _, close in _KINDS[:4]), re.IGNORECASE)

#: the end of a growing text that may become an opening mark
UNDECIDED_MARK = (
    r"<\|channel\|?>[^<>]{0,80}(?:<[^<>]{0,12})?"
    r"|<(?:[a-z|:_][a-z|:_]{0,20})?"
    r"|\[(?:t(?:h(?:i(?:n(?:k(?:i(?:n(?:g)?)?)?)?)?)?)?)?"
    "|\u25c1[a-z]{0,8}"
)


def split_thoughts(text: str) -> tuple[list[str], str]:
    """Separate thoughts in marks from the answer.

    A closing mark without its opening one (templates that put it into the prompt) ends a thought
    that began with the text; an opening mark without its end lasts to the end.

    Returns:
        The thoughts, and the text with them blanked: it keeps its length.
    """
    thoughts: list[str] = []
    answer: list[str] = []
    position = 0
    orphan, first = _ORPHAN.search(text), _OPEN.search(text)
    if orphan and not (first and first.start() < orphan.start()):
        thoughts.append(text[: orphan.start()])
        position = orphan.end()
        answer.append(" " * position)
    while opened := _OPEN.search(text, position):
        answer.append(text[position : opened.start()])
        assert opened.lastindex is not None
        closed = _CLOSE[opened.lastindex - 1].search(text, opened.end())
        thoughts.append(text[opened.end() : closed.start() if closed else len(text)])
        position = closed.end() if closed else len(text)
        answer.append(" " * (position - opened.start()))
    answer.append(text[position:])
    return thoughts, "".join(answer)
